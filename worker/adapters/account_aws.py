"""Reading an account of AWS, for `ledgerock doctor`: the whole port, with requests that only read.

`docs/doctor.md` lists the permissions; a test compares them with the `action`s of these modules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from worker.adapters.account_compute import ComputeReads
from worker.adapters.account_events import EventReads
from worker.adapters.account_logs import LogReads
from worker.adapters.account_reads import Answer
from worker.adapters.account_tables import TableReads
from worker.adapters.account_transport import TransportReads
from worker.core.doctor import CannotReadError
from worker.ports.account import Caller

SKEW_MS: Final = 300_000
"""A signature is good for five minutes (AWS documentation: "Elements of an AWS API request
signature")."""
_SESSION: Final = re.compile(r"arn:([\w-]+):sts::(\d{12}):assumed-role/([^/]+)/.+", re.ASCII)


class AwsAccount(LogReads, EventReads, TransportReads, TableReads, ComputeReads):
    """A `worker.ports.account.Account` of AWS, reached as the environment says."""

    async def caller(self) -> Caller:
        """Return who looks.

        Where AWS refuses a signature because the clock is wrong, account and ARN are empty.
        """
        try:
            found = await self.ask(
                "sts",
                "get_caller_identity",
                subject="the account",
                action="sts:GetCallerIdentity",
            )
        except CannotReadError as error:
            skew_ms = _skew_ms(getattr(error.__cause__, "response", {}))
            if skew_ms is None or abs(skew_ms) < SKEW_MS:
                raise
            return Caller("", "", skew_ms)
        answer = found or {}
        return Caller(str(answer["Account"]), str(answer["Arn"]), _skew_ms(answer))

    async def parameter(self, name: str) -> str | None:
        """Return a parameter of the Parameter Store."""
        found = await self.ask(
            "ssm",
            "get_parameter",
            subject=f"parameter {name}",
            action="ssm:GetParameter",
            missing=("ParameterNotFound",),
            Name=name,
        )
        return None if found is None else str(found["Parameter"]["Value"])

    async def key(self, arn: str) -> str | None:
        """Return the state of a KMS key."""
        found = await self.ask(
            "kms",
            "describe_key",
            subject=arn,
            action="kms:DescribeKey",
            missing=("NotFoundException",),
            KeyId=arn,
        )
        return None if found is None else str(found["KeyMetadata"]["KeyState"])

    async def not_allowed(
        self, principal: str, actions: Sequence[str], resource: str
    ) -> Sequence[str]:
        """Return those of some actions that a principal's policies do not allow."""
        found = await self.ask(
            "iam",
            "simulate_principal_policy",
            subject=f"policies of {principal}",
            action="iam:SimulatePrincipalPolicy",
            PolicySourceArn=await self._role_of(principal),
            ActionNames=list(actions),
            ResourceArns=[resource],
        )
        return [
            str(one["EvalActionName"])
            for one in (found or {}).get("EvaluationResults", ())
            if one["EvalDecision"] != "allowed"
        ]

    async def _role_of(self, principal: str) -> str:
        """Return the ARN, path included, of the role that a session is one of."""
        session = _SESSION.fullmatch(principal)
        if session is None:
            return principal
        found = await self.ask(
            "iam",
            "get_role",
            subject=f"role {session[3]}",
            action="iam:GetRole",
            RoleName=session[3],
        )
        return str((found or {})["Role"]["Arn"])


def _skew_ms(answer: Answer) -> int | None:
    """Return how far this machine's clock is ahead of the service's that answered."""
    headers: dict[str, Any] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        theirs = parsedate_to_datetime(str(headers.get("date", "")))
    except ValueError:
        return None
    return round((datetime.now(UTC) - theirs).total_seconds() * 1000)
