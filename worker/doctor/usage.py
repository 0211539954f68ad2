"""What is booked without a price or a count, and what was not understood."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from worker.core.doctor import Sign
from worker.core.ledger import MS_PER_DAY, Amounts
from worker.doctor.patient import BOOKS_SECONDS, Books, Check, Patient, checking
from worker.pipeline.chunks import taken
from worker.ports import Quarantine

AREA: Final = "usage"
DAYS: Final = 30
UNMETERED_PER_CENT: Final = 1
"""A larger share of calls without counts says that a way in does not work."""
QUARANTINED_MAX: Final = 100
"""As many as are counted: each of them is read."""
MODELS_SHOWN: Final = 10


def checks(patient: Patient) -> list[Check]:
    """Return the checks of this part."""
    books, ledger = patient.books, patient.settings.ledger
    if books is None:
        return [checking("ledger", AREA, ledger, "the ledger opens", _no_books, patient)]
    found = [
        checking(
            "prices",
            AREA,
            f"calls of the last {DAYS} days",
            "every call with counts has a price, and hardly any is without counts",
            _usage,
            patient,
            books,
            seconds=BOOKS_SECONDS,
        )
    ]
    if books.quarantine is not None:
        subject = str(patient.settings.quarantine or patient.deployment.quarantine or "quarantine")
        found.append(
            checking(
                "quarantine",
                AREA,
                subject,
                "nothing is in quarantine",
                _quarantine,
                patient,
                books.quarantine,
                seconds=BOOKS_SECONDS,
            )
        )
    return found


async def _no_books(patient: Patient) -> Sequence[Sign]:
    mend = "ledgerock replay LOGS" + patient.ledger_option
    why = "nothing is booked, so that nothing can be said of spend or budgets"
    return [Sign("wrong", patient.books_problem, why, mend)]


async def _usage(patient: Patient, books: Books) -> Sequence[Sign]:
    today = patient.clock.now_ms() // MS_PER_DAY
    totals = await books.ledger.totals("model", today - DAYS + 1, today)
    return [*_unpriced_signs(patient, totals), *_unmetered_signs(patient, totals)]


def _unpriced_signs(patient: Patient, totals: Mapping[str, Amounts]) -> list[Sign]:
    unpriced = {model: one.unpriced_calls for model, one in totals.items() if one.unpriced_calls}
    largest = sorted(unpriced, key=lambda model: (-unpriced[model], model))
    signs = [
        Sign(
            "wrong",
            f"{unpriced[model]:,} calls of {model or 'an unknown model'} have no price",
            "they cost something, and count as nothing in every budget until they have one",
            _price(patient, model),
        )
        for model in largest[:MODELS_SHOWN]
    ]
    if len(largest) > MODELS_SHOWN:
        rest = sum(unpriced[model] for model in largest[MODELS_SHOWN:])
        what = f"{rest:,} calls of {len(largest) - MODELS_SHOWN} more models have no price"
        mend = f"ledgerock report --by model{patient.ledger_option}"
        signs.append(Sign("wrong", what, "they count as nothing in every budget", mend))
    return signs


def _price(patient: Patient, model: str) -> str:
    prices = patient.settings.prices
    file = shlex.quote(str(prices)) if prices else "ours.csv"
    show = f"ledgerock prices show {shlex.quote(model)}"
    update = f"ledgerock prices update --prices {file} --write"
    rebook = f"ledgerock rebook --pending --prices {file}{patient.ledger_option}"
    return f"{show}; {update}; {rebook}"


def _unmetered_signs(patient: Patient, totals: Mapping[str, Amounts]) -> list[Sign]:
    calls = sum(one.calls for one in totals.values())
    unmetered = sum(one.unmetered_calls for one in totals.values())
    if unmetered * 100 <= calls * UNMETERED_PER_CENT:
        return []
    per_mille = unmetered * 1000 // calls
    return [
        Sign(
            "warning",
            f"{unmetered:,} of {calls:,} calls ({per_mille // 10}.{per_mille % 10}%) have no "
            "counts",
            "CloudTrail saw them, and no invocation log came: what they cost is not known",
            f"ledgerock report --by model{patient.ledger_option}",
        )
    ]


async def _quarantine(patient: Patient, quarantine: Quarantine) -> Sequence[Sign]:
    number = 0
    async with taken(quarantine.items()) as items:
        async for _ in items:
            number += 1
            if number >= QUARANTINED_MAX:
                break
    if not number:
        return []
    at_least = "at least " if number >= QUARANTINED_MAX else ""
    option = patient.ledger_option
    if patient.settings.quarantine is not None:
        option += f" --quarantine {shlex.quote(str(patient.settings.quarantine))}"
    return [
        Sign(
            "wrong",
            f"{at_least}{number} records are in quarantine",
            "they were not understood, and the calls in them are not booked",
            f"ledgerock quarantine list{option}; ledgerock quarantine redrive --all{option}",
        )
    ]
