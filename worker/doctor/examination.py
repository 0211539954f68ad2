"""The check-up: all checks side by side, each with a time of its own; none stops another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain

from worker.core.doctor import (
    CannotReadError,
    Diagnosis,
    Finding,
    Sign,
    Unchecked,
    finding_of,
    in_order,
    unreadable,
)
from worker.core.errors import LedgerockError
from worker.doctor import (
    accounts,
    announcing,
    enforcement,
    events,
    invocation_logs,
    permissions,
    principals,
    tables,
    transport,
    usage,
    workers,
)
from worker.doctor.patient import Check, Patient

AT_ONCE = 8
"""Checks that are made side by side."""

_PARTS = (
    accounts,
    invocation_logs,
    events,
    transport,
    tables,
    workers,
    permissions,
    announcing,
    enforcement,
    usage,
    principals,
)


def checks_of(patient: Patient) -> list[Check]:
    """Return everything that there is to look at."""
    return list(chain.from_iterable(part.checks(patient) for part in _PARTS))


def unchecked_of(patient: Patient) -> tuple[Unchecked, ...]:
    """Return what cannot be looked at from here, whatever may be read."""
    found: list[Unchecked] = []
    if not patient.is_deployed:
        found.append(
            Unchecked(
                "what was deployed: invocation logging, rules, log groups, functions, topics",
                "name the stage: ledgerock doctor --stage-path /ledgerock/dev",
            )
        )
    if patient.account is None:
        found.append(
            Unchecked(
                "AWS: the environment names no queue, stream, bus, topic or table",
                "set LEDGEROCK_QUEUES, LEDGEROCK_STREAMS, LEDGEROCK_LEDGER=dynamodb, or name a "
                "stage",
            )
        )
    for account, regions in sorted(patient.deployment.members.items()):
        where = ", ".join(regions)
        found.append(
            Unchecked(
                f"account {account} ({where}): its invocation logging, rules and trails",
                "with credentials of that account, for each Region: aws bedrock "
                "get-model-invocation-logging-configuration --region REGION",
            )
        )
    return tuple(found)


async def examine(patient: Patient) -> Diagnosis:
    """Make all checks; read, and change nothing."""
    checks = checks_of(patient)
    caller = await _caller(patient)
    places = asyncio.Semaphore(AT_ONCE)
    made = await asyncio.gather(*(_made(check, caller, places) for check in checks))
    return Diagnosis(
        patient=patient.stage_path or patient.settings.ledger,
        findings=in_order(chain.from_iterable(made)),
        unchecked=unchecked_of(patient),
    )


async def _caller(patient: Patient) -> str:
    """Return the ARN of whoever looks, for what is to be allowed; empty if it is not known."""
    if patient.account is None:
        return ""
    try:
        async with asyncio.timeout(accounts.SECONDS):
            return (await patient.account.caller()).arn
    except (CannotReadError, TimeoutError):
        return ""


async def _made(check: Check, caller: str, places: asyncio.Semaphore) -> list[Finding]:
    async with places:
        signs = await _signs(check, caller)
    return [
        finding_of(sign, check=check.id, area=check.area, subject=check.subject) for sign in signs
    ]


async def _signs(check: Check, caller: str) -> Sequence[Sign]:
    try:
        async with asyncio.timeout(check.seconds):
            signs = await check.run()
    except CannotReadError as error:
        return [unreadable(error, caller)]
    except TimeoutError:
        message = f"no answer within {check.seconds:.0f} seconds"
        return [unreadable(CannotReadError(message), caller)]
    except LedgerockError as error:
        return [unreadable(CannotReadError(str(error)), caller)]
    except Exception as error:  # noqa: BLE001 - what is damaged is what a doctor is called for
        message = f"it cannot be understood ({type(error).__name__}: {error})"
        return [unreadable(CannotReadError(message), caller)]
    return signs or [Sign("ok", check.well)]
