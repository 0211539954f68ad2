"""Reading an account: tables as they are, and as the code needs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from worker.adapters.account_reads import AccountReads, Answer
from worker.adapters.dynamodb_items import EXPIRES, balances_table, table_definitions
from worker.adapters.dynamodb_state import state_table_definition
from worker.ports.account import IndexState, TableState

_MISSING: Final = ("ResourceNotFoundException", "TableNotFoundException")


class TableReads(AccountReads):
    """The part of `worker.ports.account.Account` on tables."""

    async def table(self, name: str) -> TableState | None:
        """Return a table."""
        found = await self._of_table("describe_table", name, "dynamodb:DescribeTable")
        if found is None:
            return None
        backups = await self._of_table(
            "describe_continuous_backups", name, "dynamodb:DescribeContinuousBackups"
        )
        expiry = await self._of_table("describe_time_to_live", name, "dynamodb:DescribeTimeToLive")
        recovery = (backups or {}).get("ContinuousBackupsDescription", {})
        point = recovery.get("PointInTimeRecoveryDescription", {})
        return described(
            found["Table"],
            expires=_expires((expiry or {}).get("TimeToLiveDescription", {})),
            has_recovery=point.get("PointInTimeRecoveryStatus") == "ENABLED",
        )

    async def _of_table(self, operation: str, name: str, action: str) -> Answer | None:
        return await self.ask(
            "dynamodb",
            operation,
            subject=f"table {name}",
            action=action,
            missing=_MISSING,
            TableName=name,
        )


def wanted_tables(prefix: str) -> tuple[TableState, ...]:
    """Return the tables of a ledger as the code needs them."""
    expiring = {balances_table(prefix), state_table_definition(prefix)["TableName"]}
    return tuple(
        described(
            definition,
            expires=EXPIRES if definition["TableName"] in expiring else "",
            has_recovery=True,
            is_protected=True,
        )
        for definition in (*table_definitions(prefix), state_table_definition(prefix))
    )


def described(
    table: Mapping[str, Any], *, expires: str, has_recovery: bool, is_protected: bool | None = None
) -> TableState:
    """Return what a definition or description of a table says (CreateTable, DescribeTable).

    Args:
        table: The definition or description.
        expires: Attribute of its time to live; empty for none.
        has_recovery: It can be restored to any point in time.
        is_protected: It cannot be deleted; as the description says if None.
    """
    types = {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]}
    stream = table.get("StreamSpecification") or {}
    protected = bool(table.get("DeletionProtectionEnabled"))
    return TableState(
        name=table["TableName"],
        keys=_keys(table["KeySchema"], types),
        indexes=tuple(
            sorted(
                IndexState(
                    name=one["IndexName"],
                    keys=_keys(one["KeySchema"], types),
                    projection=one["Projection"]["ProjectionType"],
                    status=one.get("IndexStatus", "ACTIVE"),
                )
                for one in table.get("GlobalSecondaryIndexes", ())
            )
        ),
        stream=stream.get("StreamViewType", "") if stream.get("StreamEnabled") else "",
        status=table.get("TableStatus", "ACTIVE"),
        expires=expires,
        has_recovery=has_recovery,
        is_protected=protected if is_protected is None else is_protected,
        key=(table.get("SSEDescription") or {}).get("KMSMasterKeyArn", ""),
    )


def _keys(
    schema: Iterable[Mapping[str, str]], types: Mapping[str, str]
) -> tuple[tuple[str, str, str], ...]:
    # The type of a key of an index that is being deleted may be gone already.
    return tuple(
        (one["AttributeName"], one["KeyType"], types.get(one["AttributeName"], ""))
        for one in schema
    )


def _expires(description: Mapping[str, str]) -> str:
    is_on = description.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}
    return description.get("AttributeName", "") if is_on else ""
