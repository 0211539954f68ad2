"""What is asked of AWS IAM, request by request (AWS documentation: "IAM API reference").

Users and roles are asked about in the same words: `PutUserPolicy` and `PutRolePolicy`. A request
that has been made already does no harm when it is made again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, Protocol
from urllib.parse import unquote

from worker.adapters.aws_client import FAULTS, AwsClient
from worker.adapters.aws_errors import error_code
from worker.adapters.iam_clients import Caller, refusal
from worker.adapters.iam_entities import Attached, Entity, EntityKind
from worker.core.attribution import key_of
from worker.core.deny_policy import PATH, same_document
from worker.core.errors import (
    ConfigurationError,
    EnforcementError,
    MissingPrincipalError,
    NeedsPersonError,
    TransientError,
)
from worker.ports import Key

MISSING: Final = "NoSuchEntity"
FULL: Final = "LimitExceeded"
EXISTS: Final = "EntityAlreadyExists"
IN_USE: Final = "DeleteConflict"
PASSING: Final = frozenset({"ConcurrentModification", "EntityTemporarilyUnmodifiable"})
UNMODIFIABLE: Final = "UnmodifiableEntity"
UNSUPPORTED: Final = "NotSupportedService"
"""Error codes of IAM. The last one: of a partition without API keys; emulators say `MISSING`."""

KEY_SERVICES: Final = frozenset({"bedrock.amazonaws.com", "aws-external-anthropic.amazonaws.com"})
"""Services whose long-term API keys spend (AWS documentation: "API keys for AWS services")."""

DESCRIPTION_LENGTH_MAX: Final = 1_000
_ARN_PARTS: Final = 6
_NAMES: Final = {"user": "UserName", "role": "RoleName"}


class Clients(Protocol):
    """Where clients come from."""

    async def caller(self) -> Caller:
        """Return who acts."""

    async def own(self) -> tuple[str, ...]:
        """Return patterns of the principals that act here."""

    async def of(self, account: str) -> AwsClient:
        """Return the client of an account."""

    async def close(self) -> None:
        """Close all connections."""


class IamRequests:
    """`worker.adapters.iam_entities.Iam` in AWS.

    Args:
        clients: Clients of IAM, account by account.
    """

    def __init__(self, clients: Clients) -> None:
        """Ask for nothing yet."""
        self._clients = clients

    async def own(self) -> tuple[str, ...]:
        """Return patterns of the principals that enforcement itself acts as."""
        return await self._clients.own()

    async def find(self, kind: EntityKind, account: str, name: str) -> Entity:
        """Return a user or role."""
        subject = key_of(kind, account, name)
        answer, _code = await self._ask(account, f"get_{kind}", subject, {_NAMES[kind]: name})
        found = answer[kind.capitalize()]
        if found["Arn"].split(":", _ARN_PARTS - 1)[4] != account:
            message = (
                f"{subject}: IAM answered for another account, with {found['Arn']}; look at the "
                "worker's credentials and LEDGEROCK_ENFORCEMENT_ROLE"
            )
            raise EnforcementError(message)
        return Entity(
            kind=kind,
            account=account,
            name=found[_NAMES[kind]],
            unique_id=found["UserId" if kind == "user" else "RoleId"],
            path=found["Path"],
            arn=found["Arn"],
        )

    async def attached(self, entity: Entity) -> list[str]:
        """Return the ARNs of attached managed policies."""
        operation = f"list_attached_{entity.kind}_policies"
        return [
            policy["PolicyArn"]
            async for page in self._pages(entity, operation)
            for policy in page["AttachedPolicies"]
        ]

    async def inline_names(self, entity: Entity) -> list[str]:
        """Return the names of inline policies."""
        operation = f"list_{entity.kind}_policies"
        return [
            name async for page in self._pages(entity, operation) for name in page["PolicyNames"]
        ]

    async def inline(self, entity: Entity, name: str) -> str | None:
        """Return the document of an inline policy, byte for byte."""
        operation = f"get_{entity.kind}_policy"
        answer, code = await self._about(entity, operation, MISSING, PolicyName=name)
        return None if code else unquote(answer["PolicyDocument"])

    async def put_inline(self, entity: Entity, name: str, document: str) -> bool:
        """Put an inline policy; return False if the quota leaves no room for it."""
        _answer, code = await self._about(
            entity, f"put_{entity.kind}_policy", FULL, PolicyName=name, PolicyDocument=document
        )
        return not code

    async def delete_inline(self, entity: Entity, name: str) -> None:
        """Take an inline policy away."""
        await self._about(entity, f"delete_{entity.kind}_policy", MISSING, PolicyName=name)

    async def attach(self, entity: Entity, arn: str) -> Attached:
        """Attach a managed policy."""
        operation = f"attach_{entity.kind}_policy"
        _answer, code = await self._about(entity, operation, MISSING, FULL, PolicyArn=arn)
        if code == FULL:
            return "full"
        return "missing" if code else "attached"

    async def detach(self, entity: Entity, arn: str) -> None:
        """Detach a managed policy."""
        await self._about(entity, f"detach_{entity.kind}_policy", MISSING, PolicyArn=arn)

    async def managed_arn(self, account: str, name: str) -> str:
        """Return the ARN of a managed policy of ours."""
        caller = await self._clients.caller()
        return f"arn:{caller.partition}:iam::{account}:policy{PATH}{name}"

    async def put_managed(self, account: str, name: str, document: str, description: str) -> str:
        """Make a managed policy of ours say this; a new version where it says something else."""
        arn = await self.managed_arn(account, name)
        values: dict[str, Any] = {"PolicyName": name, "Path": PATH, "PolicyDocument": document}
        values["Description"] = description[:DESCRIPTION_LENGTH_MAX]
        _answer, code = await self._ask(account, "create_policy", arn, values, EXISTS)
        if code and not same_document(await self.managed(account, arn), document):
            values = {"PolicyArn": arn, "PolicyDocument": document, "SetAsDefault": True}
            await self._ask(account, "create_policy_version", arn, values)
        return arn

    async def managed(self, account: str, arn: str) -> str | None:
        """Return the document of a managed policy."""
        values = {"PolicyArn": arn}
        answer, code = await self._ask(account, "get_policy", arn, values, MISSING)
        if code:
            return None
        values["VersionId"] = answer["Policy"]["DefaultVersionId"]
        answer, code = await self._ask(account, "get_policy_version", arn, values, MISSING)
        return None if code else unquote(answer["PolicyVersion"]["Document"])

    async def delete_managed(self, account: str, arn: str) -> None:
        """Delete a managed policy with all its versions."""
        values = {"PolicyArn": arn}
        answer, code = await self._ask(account, "list_policy_versions", arn, values, MISSING)
        for version in () if code else answer["Versions"]:
            if not version["IsDefaultVersion"]:
                one = values | {"VersionId": version["VersionId"]}
                await self._ask(account, "delete_policy_version", arn, one, MISSING)
        _answer, code = await self._ask(account, "delete_policy", arn, values, MISSING, IN_USE)
        if code == IN_USE:
            raise await self._in_use(account, arn)

    async def _in_use(self, account: str, arn: str) -> TransientError | EnforcementError:
        """Return why a policy cannot be deleted: IAM is behind, or others have it by now."""
        answer, _code = await self._ask(
            account, "list_entities_for_policy", arn, {"PolicyArn": arn}, MISSING
        )
        names = sorted(
            f"{kind.lower()} {found[f'{kind}Name']}"
            for kind in ("User", "Role", "Group")
            for found in (answer or {}).get(f"Policy{kind}s", ())
        )
        if not names:
            return TransientError(f"{arn}: IAM does not let it go yet")
        message = f"{arn} was also attached to {', '.join(names)}: detach it there, and it goes"
        return EnforcementError(message)

    async def keys(self, entity: Entity) -> list[Key]:
        """Return the long-term API keys of a user, of all services that spend."""
        if entity.kind != "user":
            return []
        operation = "list_service_specific_credentials"
        # The user was there a moment ago: what is missing is the service.
        return [
            Key(found["ServiceSpecificCredentialId"], found["Status"], found["ServiceName"])
            async for page in self._pages(entity, operation, UNSUPPORTED, MISSING)
            for found in page["ServiceSpecificCredentials"]
            if found["ServiceName"] in KEY_SERVICES
        ]

    async def set_key(self, entity: Entity, key: Key, status: str) -> bool:
        """Make a key active or inactive."""
        operation = "update_service_specific_credential"
        values = {"ServiceSpecificCredentialId": key.id, "Status": status}
        _answer, code = await self._about(entity, operation, MISSING, **values)
        return not code

    async def close(self) -> None:
        """Close connections."""
        await self._clients.close()

    # --- Requests -----------------------------------------------------------------------------

    async def _about(
        self, entity: Entity, operation: str, *expected: str, **values: str
    ) -> tuple[Any, str]:
        """Ask about a user or role; see `_ask`."""
        values[_NAMES[entity.kind]] = entity.name
        return await self._ask(entity.account, operation, str(entity), values, *expected)

    async def _pages(
        self, entity: Entity, operation: str, *expected: str
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield all pages of an answer; none if it is an expected error."""
        marker: dict[str, str] = {}
        while True:
            page, code = await self._about(entity, operation, *expected, **marker)
            if code:
                return
            yield page
            if not page.get("IsTruncated"):
                return
            marker = {"Marker": page["Marker"]}

    async def _ask(
        self, account: str, operation: str, subject: str, values: dict[str, Any], *expected: str
    ) -> tuple[Any, str]:
        """Make one request; return its answer, or none and an error code that was expected.

        Args:
            account: Where.
            operation: Name of the client's method.
            subject: Whom or what it is about, in errors.
            values: Its arguments.
            *expected: Codes of errors that are answers, too.
        """
        client = await self._clients.of(account)
        try:
            return await client.request(operation, **values), ""
        except (*FAULTS, ConfigurationError) as error:
            code = error_code(error)
            if code in expected:
                return None, code
            raise _meaning(error, code, subject, _action(operation)) from error


def _action(operation: str) -> str:
    """Return the permission that a client's method takes: `put_user_policy`, `iam:PutUserPolicy`.

    IAM has no exception to this among the methods used here.
    """
    return f"iam:{operation.replace('_', ' ').title().replace(' ', '')}"


def _meaning(error: BaseException, code: str, subject: str, action: str) -> Exception:
    if code == MISSING:
        return MissingPrincipalError(f"{subject}: IAM knows no such thing ({action}: {error})")
    if code == UNMODIFIABLE:
        message = f"{subject}: AWS alone may change it; stop its use of Bedrock where it is used"
        return NeedsPersonError(message)
    if code in PASSING:
        return TransientError(f"{subject}: {action} is not possible now ({error})")
    if code == FULL:
        return EnforcementError(f"{subject}: {action} would exceed a quota of IAM ({error})")
    return refusal(error, subject=subject, action=action)
