"""Whether what is due is done, and whether the settings of enforcement can be meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from worker.core.doctor import Sign, age
from worker.core.enforcement_names import QUEUE_ENFORCE, QUEUE_MONITOR
from worker.core.errors import ConfigurationError
from worker.core.targets import own_patterns
from worker.doctor.patient import Books, Check, Patient, checking
from worker.pipeline.chunks import taken

AREA: Final = "enforcement"
LATE_MS: Final = 300_000
"""What has been due for longer is what nobody does; the monitor looks every few seconds, and what
fails is tried again within ten minutes at a later time that is written down."""
COUNTED_MAX: Final = 1_000
KINDS: Final = frozenset({"agent", "role", "session", "user"})
"""Who can be suspended, and so protected."""


def checks(patient: Patient) -> list[Check]:
    """Return the checks of this part."""
    books = patient.books
    found = [
        checking(
            "enforcement-settings",
            AREA,
            f"enforcement: {_acts(patient)}",
            "the settings say who acts, and who is never acted on",
            _settings,
            patient,
        )
    ]
    if books is not None:
        well = "nothing that is due waits"
        found.append(checking("monitor", AREA, "the monitor", well, _monitor, patient, books))
        if _acts(patient) != "off":
            check = checking("enforcer", AREA, "the enforcer", well, _enforcer, patient, books)
            found.append(check)
    return found


def _acts(patient: Patient) -> str:
    """Return who acts, as the deployment or the environment says."""
    if patient.is_deployed:
        return patient.deployment.enforcement
    return patient.settings.enforcement.acts


async def _settings(patient: Patient) -> Sequence[Sign]:
    settings, signs = patient.settings.enforcement, []
    try:
        own_patterns(settings.own_roles)
    except ConfigurationError as error:
        why = "enforcement does not start with it"
        mend = "export LEDGEROCK_OWN_ROLES=arn:aws:iam::ACCOUNT:role/NAME,... (ARNs of roles)"
        signs.append(Sign("wrong", f"LEDGEROCK_OWN_ROLES: {error}", why, mend))
    signs += _protected_signs(settings.protected)
    is_heard = (
        patient.deployment.bus
        or patient.deployment.topics
        or settings.sns_topic
        or settings.webhook_url
    )
    if _acts(patient) != "off" and not is_heard:
        signs.append(
            Sign(
                "wrong",
                f"enforcement is on ({_acts(patient)}), and nobody announces: no bus, no topic, "
                "no webhook",
                "a grace period begins when it is announced: nobody is ever suspended",
                "export LEDGEROCK_BUS=NAME_OF_A_BUS for whoever books",
            )
        )
    return signs


def _protected_signs(patterns: Sequence[str]) -> list[Sign]:
    signs = []
    for pattern in patterns:
        if pattern.strip("*/") == "":
            what = f"LEDGEROCK_PROTECTED: {pattern} protects everybody"
            why = "nobody is ever suspended"
            mend = "export LEDGEROCK_PROTECTED=role/*/Admin,user/ACCOUNT/NAME (only who is meant)"
            signs.append(Sign("warning", what, why, mend))
            continue
        kind = pattern.partition("/")[0]
        if kind not in KINDS and "*" not in kind:
            what = f"LEDGEROCK_PROTECTED: {pattern} is the id of nobody who can be suspended"
            why = "whoever is meant is not protected"
            mend = "`ledgerock principals list` names ids: user/ACCOUNT/NAME, role/ACCOUNT/NAME"
            signs.append(Sign("wrong", what, why, mend))
    return signs


# --- What is due ------------------------------------------------------------------------------


async def _monitor(patient: Patient, books: Books) -> Sequence[Sign]:
    number, longest_ms = await _late(patient, books, QUEUE_MONITOR)
    if not number:
        return []
    return [
        Sign(
            "wrong" if patient.has_worker else "warning",
            f"nobody monitors: {number} things are due, the longest for {age(longest_ms)}",
            "grace periods do not end, periods do not turn, holds are neither put nor lifted",
            patient.work("monitor"),
        )
    ]


async def _enforcer(patient: Patient, books: Books) -> Sequence[Sign]:
    number, longest_ms = await _late(patient, books, QUEUE_ENFORCE)
    if not number:
        return []
    return [
        Sign(
            "wrong",
            f"nobody enforces: {number} suspensions or restorations wait, the longest for "
            f"{age(longest_ms)}",
            "who is over budget goes on spending, or who is not any more stays suspended",
            patient.work("enforce", "monitor"),
        )
    ]


async def _late(patient: Patient, books: Books, queue: str) -> tuple[int, int]:
    """Return how much has been due for long in a queue, and for how long at most."""
    now_ms = patient.clock.now_ms()
    number, longest_ms = 0, 0
    async with taken(books.records.due(queue, now_ms - LATE_MS)) as chunks:
        async for records in chunks:
            number += len(records)
            longest_ms = max(longest_ms, *(now_ms - one.due_at_ms for one in records))
            if number >= COUNTED_MAX:
                break
    return number, longest_ms
