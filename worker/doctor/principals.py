"""Keys outside provisioning, budgets of those who are gone, suspensions that wait for a person."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import unquote

import msgspec

from worker.core.directory import Keys, decode_subject
from worker.core.directory_views import View, view_of
from worker.core.doctor import Sign
from worker.core.enforcement_names import DIRECTORY, KEYS
from worker.core.events import bounded
from worker.core.registry import plain_id
from worker.doctor.patient import BOOKS_SECONDS, Books, Check, Patient, checking
from worker.pipeline.suspensions import Suspensions
from worker.ports import Record

AREA: Final = "principals"
PAGE: Final = 500
SHOWN_MAX: Final = 20


def checks(patient: Patient) -> list[Check]:
    """Return the checks of this part."""
    books = patient.books
    if books is None:
        return []
    parts = (
        ("keys", "every Bedrock API key was made through provisioning", _keys),
        ("budgets", "every budget is of somebody who exists", _budgets),
        ("suspensions", "no suspension waits for a person", _suspensions),
    )
    return [
        checking(name, AREA, name, well, look, patient, books, seconds=BOOKS_SECONDS)
        for name, well, look in parts
    ]


async def _keys(patient: Patient, books: Books) -> Sequence[Sign]:
    signs = []
    async for record in _all(books, KEYS):
        keys = msgspec.json.decode(record.body, type=Keys)
        if not keys.found_ids:
            continue
        view = await _view(books, keys.user)
        if view is None or not view.last.is_alive:
            continue
        live = [one for one in view.keys if one.is_live and one.id in keys.found_ids]
        if live:
            listed = ", ".join(one.id for one in live)
            maker = f", made by {live[0].made_by}" if live[0].made_by else ""
            principal = view.last.principal
            what = f"{principal} has keys outside provisioning: {listed}{maker}"
            why = "nobody chose its limit or its end; it spends as its user's other budgets allow"
            mend = f"ledgerock principals show {shlex.quote(principal)}{patient.ledger_option}"
            delete = [
                f"aws iam delete-service-specific-credential --user-name "
                f"{shlex.quote(_name(keys.user))} --service-specific-credential-id {one.id}"
                for one in live
            ]
            signs.append(Sign("warning", what, why, "; ".join((mend, *delete))))
    return _shortened(signs, f"ledgerock principals list{patient.ledger_option}")


def _name(user: str) -> str:
    return unquote(user.rpartition("/")[2])


async def _budgets(patient: Patient, books: Books) -> Sequence[Sign]:
    signs = []
    for budget in await books.budgets.budgets():
        if budget.is_removed or budget.scope.kind not in {"principal", "agent"}:
            continue
        view = await _view(books, plain_id(budget.scope.id))
        if view is None or view.is_alive(budget.scope.id):
            continue
        what = f"the budget {budget.name} is of {budget.scope.id}, who was deleted"
        why = "it limits nobody any more"
        mend = f"ledgerock budgets remove {shlex.quote(budget.name)}{patient.ledger_option}"
        signs.append(Sign("warning", what, why, mend))
    return _shortened(signs, f"ledgerock budgets list{patient.ledger_option}")


async def _suspensions(patient: Patient, books: Books) -> Sequence[Sign]:
    suspensions = Suspensions(records=books.records, outbox=books.outbox, clock=patient.clock)
    signs = []
    for one in await suspensions.listed():
        if not one.needs_person:
            continue
        wanted = "suspended" if one.phase in {"required", "suspended"} else "restored"
        what = f"{one.principal} cannot be {wanted} by Ledgerock: {bounded(one.failure)}"
        why = (
            "it is over budget and goes on spending"
            if wanted == "suspended"
            else "it may still be denied what it is allowed"
        )
        mend = f"ledgerock principals show {shlex.quote(one.principal)}{patient.ledger_option}"
        signs.append(Sign("wrong", what, why, mend))
    return _shortened(signs, f"ledgerock principals list{patient.ledger_option}")


def _shortened(signs: list[Sign], command: str) -> list[Sign]:
    """Return the first of many signs, and one that says how many more there are."""
    if len(signs) <= SHOWN_MAX:
        return signs
    first = signs[0]
    more = Sign(first.verdict, f"{len(signs) - SHOWN_MAX} more like these", first.why, command)
    return [*signs[:SHOWN_MAX], more]


async def _view(books: Books, subject: str) -> View | None:
    record = await books.records.get(DIRECTORY, subject)
    return None if record is None else view_of(decode_subject(subject, record.body))


async def _all(books: Books, partition: str) -> AsyncIterator[Record]:
    after = ""
    while page := await books.records.partition(partition, after=after, limit=PAGE):
        for record in page:
            yield record
        after = page[-1].name
