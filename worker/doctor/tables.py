"""The tables of a ledger, against what the code needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from worker.core.doctor import Sign, aws
from worker.doctor.patient import Check, Patient, checking
from worker.ports.account import Account, IndexState, TableState

AREA: Final = "tables"
USABLE: Final = frozenset({"ACTIVE", "UPDATING"})


def checks(patient: Patient) -> list[Check]:
    """Return the checks of this part."""
    account = patient.account
    if account is None:
        return []
    well = "the table has the keys, indexes, stream and protection that it needs"
    return [
        checking("table", AREA, wanted.name, well, _table, patient, account, wanted)
        for wanted in patient.tables
    ]


async def _table(patient: Patient, account: Account, wanted: TableState) -> Sequence[Sign]:
    found = await account.table(wanted.name)
    if found is None:
        mend = patient.redeploy if patient.is_deployed else _make(patient, wanted)
        return [Sign("wrong", "there is no such table", "nothing can be booked", mend)]
    signs = []
    if found.status not in USABLE:
        mend = aws(
            "dynamodb wait table-exists",
            table_name=wanted.name,
            region=patient.deployment.region,
        )
        signs.append(Sign("wrong", f"the table is {found.status}", "nothing can be booked", mend))
    if found.keys != wanted.keys:
        signs.append(
            Sign(
                "wrong",
                f"its keys are {_shown(found.keys)}, not {_shown(wanted.keys)}",
                "it is a table of something else: nothing can be booked there",
                "keys cannot be changed: name other tables, with another prefix in "
                "LEDGEROCK_LEDGER=dynamodb:PREFIX, and replay the logs into them",
            )
        )
    signs += _index_signs(patient, found, wanted)
    signs += _stream_signs(patient, found, wanted)
    signs += _kept_signs(patient, found, wanted)
    return signs


def _make(patient: Patient, wanted: TableState) -> str:
    """Return the command that makes a table where nothing is deployed."""
    reads = "budgets list" if wanted.name.endswith("-state") else "report"
    return f"LEDGEROCK_CREATE_TABLES=1 ledgerock {reads}{patient.ledger_option}"


def _shown(keys: Iterable[tuple[str, str, str]]) -> str:
    return ", ".join(f"{name} ({kind}, {of})" for name, kind, of in keys)


def _index_signs(patient: Patient, found: TableState, wanted: TableState) -> list[Sign]:
    there = {one.name: one for one in found.indexes}
    signs = []
    for index in wanted.indexes:
        one = there.get(index.name)
        why = "what waits for its time, or for a price, is not found"
        if one is None or one.status == "DELETING":
            mend = _create_index(patient, wanted, index)
            signs.append(Sign("wrong", f"the index {index.name} is missing", why, mend))
        elif (one.keys, one.projection) != (index.keys, index.projection):
            what = f"the index {index.name} has the keys {_shown(one.keys)} ({one.projection})"
            delete = _change_index(patient, wanted, {"Delete": {"IndexName": index.name}})
            mend = f"{delete}; once it is gone: {_create_index(patient, wanted, index)}"
            signs.append(Sign("wrong", what, why, mend))
        elif one.status != "ACTIVE":
            mend = aws(
                "dynamodb describe-table",
                table_name=wanted.name,
                query="Table.GlobalSecondaryIndexes[].IndexStatus",
                region=patient.deployment.region,
            )
            what = f"the index {index.name} is {one.status}"
            signs.append(Sign("warning", what, f"until it is ACTIVE, {why}", mend))
    return signs


def _create_index(patient: Patient, wanted: TableState, index: IndexState) -> str:
    schema = [{"AttributeName": name, "KeyType": kind} for name, kind, _ in index.keys]
    create = {
        "IndexName": index.name,
        "KeySchema": schema,
        "Projection": {"ProjectionType": index.projection},
    }
    return _change_index(patient, wanted, {"Create": create})


def _change_index(patient: Patient, wanted: TableState, update: dict[str, object]) -> str:
    keys = {*wanted.keys, *(key for one in wanted.indexes for key in one.keys)}
    types = {name: of for name, _, of in keys}
    definitions = [
        {"AttributeName": name, "AttributeType": of} for name, of in sorted(types.items())
    ]
    return aws(
        "dynamodb update-table",
        table_name=wanted.name,
        attribute_definitions=definitions,
        global_secondary_index_updates=[update],
        region=patient.deployment.region,
    )


def _stream_signs(patient: Patient, found: TableState, wanted: TableState) -> list[Sign]:
    if not wanted.stream or found.stream == wanted.stream:
        return []
    mend = aws(
        "dynamodb update-table",
        table_name=wanted.name,
        stream_specification={"StreamEnabled": True, "StreamViewType": wanted.stream},
        region=patient.deployment.region,
    )
    is_needed = patient.deployment.shape == "functions"
    what = f"its stream holds {found.stream}" if found.stream else "it has no stream"
    why = (
        "the function that announces is not woken by it: nobody hears of anything in time"
        if is_needed
        else "functions that announce could not be woken by it; a container does not need it"
    )
    return [Sign("wrong" if is_needed else "warning", what, why, mend)]


def _kept_signs(patient: Patient, found: TableState, wanted: TableState) -> list[Sign]:
    """Return what is the matter with how long things are kept, and how safely."""
    region, signs = patient.deployment.region, []
    named = {"table_name": wanted.name, "region": region}
    if wanted.expires and found.expires != wanted.expires:
        specification = {"Enabled": True, "AttributeName": wanted.expires}
        mend = aws(
            "dynamodb update-time-to-live", time_to_live_specification=specification, **named
        )
        what = f"its time to live is not switched on for the attribute {wanted.expires}"
        why = "small notes that nobody needs any more stay, and are paid for"
        signs.append(Sign("warning", what, why, mend))
    if wanted.has_recovery and not found.has_recovery:
        specification = {"PointInTimeRecoveryEnabled": True}
        mend = aws(
            "dynamodb update-continuous-backups",
            point_in_time_recovery_specification=specification,
            **named,
        )
        why = "what is deleted or spoilt by mistake cannot be brought back"
        signs.append(Sign("warning", "it has no point-in-time recovery", why, mend))
    if wanted.is_protected and not found.is_protected:
        mend = aws("dynamodb update-table", deletion_protection_enabled=True, **named)
        why = "one command deletes the books"
        signs.append(Sign("warning", "it is not protected from deletion", why, mend))
    key = patient.deployment.customer_key
    if key and found.key != key:
        specification = {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key}
        mend = aws("dynamodb update-table", sse_specification=specification, **named)
        what = f"it is encrypted with {found.key or 'a key of DynamoDB'}, not with the stage's key"
        why = "the key that was promised to protect it does not"
        signs.append(Sign("wrong", what, why, mend))
    return signs
