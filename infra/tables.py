"""The tables of the ledger; `worker.adapters` defines what their keys mean."""

from __future__ import annotations

from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from infra.config import StageConfig
from infra.encryption import Encryption


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
        self.entries = self._table("Entries", f"{config.name}-entries", "r", "o")
        self.balances = self._table("Balances", f"{config.name}-balances", "pk", "sk")
        self.state = self._table("State", f"{config.name}-state", "pk", "sk")

    def _table(self, name: str, table: str, key: str, sort: str) -> dynamodb.Table:
        return dynamodb.Table(
            self,
            name,
            table_name=table,
            partition_key=dynamodb.Attribute(name=key, type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name=sort, type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
        )
