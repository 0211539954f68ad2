"""Whether whoever works may do what the work takes, as IAM's policy simulator has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from worker.core.doctor import CannotReadError, Sign
from worker.doctor.patient import Check, Patient, checking
from worker.ports.account import Account

AREA: Final = "workers"
TABLE_ACTIONS: Final = (
    "dynamodb:BatchGetItem",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
)
BOOKS_ACTIONS: Final = (*TABLE_ACTIONS, "dynamodb:BatchWriteItem", "dynamodb:ConditionCheckItem")
"""On entries and balances, from which nothing is deleted."""
STATE_ACTIONS: Final = (*TABLE_ACTIONS, "dynamodb:DeleteItem")
QUEUE_ACTIONS: Final = ("sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage")
STREAM_ACTIONS: Final = ("kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards")
BUS_ACTIONS: Final = ("events:PutEvents",)
QUARANTINE_ACTIONS: Final = ("s3:PutObject",)
_ARN_PARTS: Final = 6


def checks(patient: Patient) -> list[Check]:
    """Return the checks of this part."""
    account, deployment = patient.account, patient.deployment
    is_by_hand = not patient.is_deployed and patient.has_worker
    if account is None or not (is_by_hand or deployment.service):
        return []
    subject = deployment.service or "whoever runs this"
    well = "the worker may do what its work takes"
    return [checking("permissions", AREA, subject, well, _permissions, patient, account)]


async def _permissions(patient: Patient, account: Account) -> Sequence[Sign]:
    deployment = patient.deployment
    if deployment.service:
        service = await account.service(deployment.cluster, deployment.service)
        principal = service.role if service else ""
    else:
        principal = (await account.caller()).arn
    if not principal or principal.endswith(":root"):
        return []
    signs = []
    for resource, actions in await _needs(patient, account, principal):
        missing = await account.not_allowed(principal, actions, resource)
        if missing:
            listed = ", ".join(missing)
            mend = f"allow {listed} on {resource} to {principal}"
            if patient.is_deployed:
                mend = patient.redeploy
            signs.append(
                Sign(
                    "wrong",
                    f"{principal} may not do {listed} on {resource}",
                    "the worker fails where it needs them",
                    mend,
                )
            )
    return signs


async def _needs(
    patient: Patient, account: Account, principal: str
) -> list[tuple[str, Sequence[str]]]:
    """Return the actions that a worker needs, by the ARN of what it needs them on."""
    deployment = patient.deployment
    parts = principal.split(":", _ARN_PARTS - 1)
    partition, number = parts[1], parts[4]

    def arn(service: str, name: str) -> str:
        return f"arn:{partition}:{service}:{deployment.region}:{number}:{name}"

    needs: list[tuple[str, Sequence[str]]] = [
        (arn("dynamodb", f"table/{table.name}"), table_actions(table.name))
        for table in patient.tables
    ]
    for url in deployment.queues:
        queue = await _queue_arn(account, url)
        if queue:
            needs.append((queue, QUEUE_ACTIONS))
    for name in deployment.streams:
        stream = name if name.startswith("arn:") else arn("kinesis", f"stream/{name}")
        needs.append((stream, STREAM_ACTIONS))
    bus = deployment.bus
    if bus:
        named = bus if bus.startswith("arn:") else arn("events", f"event-bus/{bus}")
        needs.append((named, BUS_ACTIONS))
    if deployment.quarantine.startswith("s3://"):
        place = deployment.quarantine.removeprefix("s3://").rstrip("/")
        needs.append((f"arn:{partition}:s3:::{place}/*", QUARANTINE_ACTIONS))
    return needs


def table_actions(name: str) -> Sequence[str]:
    """Return what a worker needs to do on a table."""
    return STATE_ACTIONS if name.endswith("-state") else BOOKS_ACTIONS


async def _queue_arn(account: Account, url: str) -> str:
    """Return a queue's ARN; empty where its own check says what is the matter."""
    try:
        found = await account.queue(url)
    except CannotReadError:
        return ""
    return "" if found is None else found.arn
