"""The tables of the ledger; `worker.adapters` defines what their keys mean."""

from __future__ import annotations

from typing import Final, NamedTuple

from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from infra.config import StageConfig
from infra.encryption import Encryption, removal_policy

EXPIRES: Final = "x"
"""Attribute of the time to live, epoch seconds, of all three tables."""

_TEXT: Final = dynamodb.AttributeType.STRING
_NUMBER: Final = dynamodb.AttributeType.NUMBER
_BYTES: Final = dynamodb.AttributeType.BINARY


class _Key(NamedTuple):
    """A partition key and, mostly, a sort key."""

    hash: tuple[str, dynamodb.AttributeType]
    range: tuple[str, dynamodb.AttributeType] | None = None


class _Layout(NamedTuple):
    """How a table and its only index lie."""

    key: _Key
    index_name: str
    index_key: _Key
    streamed: bool = False


_ENTRIES: Final = _Layout(
    _Key(("r", _BYTES), ("o", _BYTES)),
    "by-leaf",
    _Key(("u", _NUMBER)),
)
_BALANCES: Final = _Layout(
    _Key(("pk", _TEXT), ("sk", _TEXT)),
    "by-day",
    _Key(("g", _TEXT), ("pk", _TEXT)),
)
_STATE: Final = _Layout(
    _Key(("pk", _TEXT), ("sk", _TEXT)),
    "due",
    _Key(("q", _TEXT), ("t", _NUMBER)),
    streamed=True,
)


class LedgerTables(Construct):
    """The three tables of a ledger, on demand.

    Attributes:
        entries: `NAME-entries`.
        balances: `NAME-balances`.
        state: `NAME-state`, with a stream of keys.
    """

    def __init__(
        self, scope: Construct, name: str, config: StageConfig, encryption: Encryption
    ) -> None:
        super().__init__(scope, name)
        self._config = config
        self._encryption = encryption
        self.entries = self._table("Entries", _ENTRIES)
        self.balances = self._table("Balances", _BALANCES)
        self.state = self._table("State", _STATE)

    def _table(self, name: str, layout: _Layout) -> dynamodb.Table:
        config, key = self._config, self._encryption.key
        table = dynamodb.Table(
            self,
            name,
            table_name=f"{config.name}-{name.lower()}",
            partition_key=_attribute(layout.key.hash),
            sort_key=_attribute(layout.key.range),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            stream=dynamodb.StreamViewType.KEYS_ONLY if layout.streamed else None,
            time_to_live_attribute=EXPIRES,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True,
                recovery_period_in_days=config.data.recovery_days,
            ),
            # Without one, by a key that AWS owns.
            encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED if key else None,
            encryption_key=key,
            deletion_protection=config.data.keep,
            removal_policy=removal_policy(config),
        )
        table.add_global_secondary_index(
            index_name=layout.index_name,
            partition_key=_attribute(layout.index_key.hash),
            sort_key=_attribute(layout.index_key.range),
            projection_type=dynamodb.ProjectionType.KEYS_ONLY,
        )
        return table


def _attribute(named: tuple[str, dynamodb.AttributeType] | None) -> dynamodb.Attribute | None:
    return dynamodb.Attribute(name=named[0], type=named[1]) if named else None
