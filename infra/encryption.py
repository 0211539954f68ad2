"""Encryption at rest: the keys of AWS, or one of the stage's own."""

from __future__ import annotations

from aws_cdk import aws_kms as kms
from constructs import Construct

from infra.config import StageConfig


class Encryption(Construct):
    """The key of a stage, if it is to have one.

    Attributes:
        key: For everything at rest; None for the keys that AWS owns.
    """

    def __init__(self, scope: Construct, name: str, config: StageConfig) -> None:
        super().__init__(scope, name)
        self.key: kms.Key | None = None
        if config.data.customer_key:
            self.key = kms.Key(self, "Key", enable_key_rotation=True)
