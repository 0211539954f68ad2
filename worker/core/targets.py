"""Whom IAM is asked to act on, where a principal is to be suspended. Pure.

| principal | target |
|---|---|
| `user/A/NAME` | the IAM user |
| `role/A/NAME` | the role, whoever assumes it |
| `session/A/ROLE/NAME` | that session name of the role |
| `agent/A/REGION/ID` | the roles that the agent has now, unless another agent has them too |

A user, role or session that was made again under a name that had been another's carries its unique
id as one more segment (`user/A/NAME/AIDA…`); it is acted on only as long as IAM says the same id.
Who had such a name first has no such segment, and is told by what the directory learned. An agent,
and a session that pays by its name, go on when their role is made again, and so does what holds
them.

All others need a person: roles of IAM Identity Center and roles that AWS services made for
themselves cannot be changed through IAM, a root user has no policies, and what is neither user nor
role has none of its own (AWS documentation: "Referencing permission sets in resource policies",
"Create a service-linked role", "AWS account root user", "IAM identifiers").
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal
from urllib.parse import unquote

import msgspec

from worker.core.attribution import encode_segment, key_of
from worker.core.errors import (
    ConfigurationError,
    MissingPrincipalError,
    NeedsPersonError,
    ProtectedPrincipalError,
    ReplacedPrincipalError,
)
from worker.core.registry import WILDCARD, matches_pattern, parse_role_arn
from worker.core.registry_facts import Incarnations

TargetKind = Literal["user", "role", "session"]

SERVICE_LINKED_PATH: Final = "/aws-service-role/"
RESERVED_PATH: Final = "/aws-reserved/"
"""Path of the roles that Identity Center makes."""

ACCOUNT_FIELD: Final = "{account}"
"""Stands for the account in the ARN of a role that is assumed in many."""

_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)
_NAMES: Final[Mapping[str, re.Pattern[str]]] = {
    "user": re.compile(r"[\w+=,.@-]{1,64}", re.ASCII),
    "role": re.compile(r"[\w+=,.@-]{1,64}", re.ASCII),
    "session": re.compile(r"[\w+=,.@-]{2,64}", re.ASCII),
}
"""Names as IAM and STS allow them (IAM API reference: CreateUser, CreateRole; STS: AssumeRole)."""
_UNIQUE_ID: Final = re.compile(r"A(IDA|ROA)[A-Z0-9]{8,124}", re.ASCII)
_IDENTITY_CENTER_ROLE: Final = re.compile(r"AWSReservedSSO_.+_[0-9a-f]{16}", re.ASCII)
_LENGTHS: Final[Mapping[str, int]] = {"user": 3, "role": 3, "session": 4, "agent": 4}
"""Segments of an id, its kind included, without a unique id."""
_CALLER_PARTS: Final = 6


class Target(msgspec.Struct, frozen=True, order=True):
    """Who is acted on in IAM.

    Attributes:
        kind: `user`, `role`, or `session`: one session name of a role.
        account: Its AWS account.
        name: Of the user or role, without path.
        session: Of a session its name, as in `aws:userid`; empty otherwise.
        unique_id: `AIDA…` or `AROA…` that the user or role must have; empty for whoever has the
            name.
    """

    kind: TargetKind
    account: str
    name: str
    session: str = ""
    unique_id: str = ""

    def __str__(self) -> str:
        """Return `user/111122223333/alice`, spelt as ids of principals are."""
        session = (self.session,) if self.session else ()
        return key_of(self.kind, self.account, self.name, *session)


class SharedRoleError(NeedsPersonError):
    """Roles of an agent serve others too, who would be suspended with it.

    Attributes:
        targets: Those roles.
    """

    def __init__(self, message: str, targets: Sequence[Target]) -> None:
        """Say which."""
        super().__init__(message)
        self.targets = tuple(targets)


class Protection(msgspec.Struct, frozen=True):
    """Who is never acted on.

    Attributes:
        patterns: Principal ids of the operator's choice; `*` stands for any text.
        own: The same, of Ledgerock's own users and roles.
    """

    patterns: tuple[str, ...] = ()
    own: tuple[str, ...] = ()

    def refuse(self, principal: str, targets: Iterable[Target] = ()) -> None:
        """Raise if a principal, or anything that it would be acted on through, is protected.

        A session is as protected as its role.

        Raises:
            ProtectedPrincipalError: It is; says by what.
        """
        ids = {_without_unique_id(principal): principal}
        for target in targets:
            kind = "role" if target.kind == "session" else target.kind
            ids.setdefault(key_of(kind, target.account, target.name), str(target))
            ids.setdefault(str(target), str(target))
        for key, shown in ids.items():
            if any(matches_pattern(pattern, key) for pattern in self.own):
                raise ProtectedPrincipalError(f"{shown} is Ledgerock's own: it is never suspended")
            for pattern in self.patterns:
                if matches_pattern(pattern, key):
                    message = f"{shown} is protected by {pattern} in LEDGEROCK_PROTECTED"
                    raise ProtectedPrincipalError(message)


def own_patterns(role_arns: Iterable[str]) -> tuple[str, ...]:
    """Return patterns of the principals that roles are, given their ARNs.

    `{account}` or `*` in place of the account stands for every account.

    Raises:
        ConfigurationError: One is no ARN of a role.
    """
    found = []
    for arn in role_arns:
        role = parse_role_arn(arn)
        if role is None:
            message = f"{arn} is not the ARN of a role; give arn:aws:iam::ACCOUNT:role/NAME"
            raise ConfigurationError(message)
        account = WILDCARD if role.account in {ACCOUNT_FIELD, WILDCARD} else role.account
        found.append(f"role/{account}/{encode_segment(role.name)}")
    return tuple(found)


def caller_principal(arn: str) -> str:
    """Return who an ARN as STS gives it is: a user or role; empty for anybody else.

    Args:
        arn: As of `GetCallerIdentity`: of a user, or of an assumed role.
    """
    parts = arn.split(":", _CALLER_PARTS - 1)
    if len(parts) != _CALLER_PARTS:
        return ""
    kind, _separator, rest = parts[5].partition("/")
    if parts[2] == "sts" and kind == "assumed-role":
        return key_of("role", parts[4], rest.partition("/")[0])
    if parts[2] == "iam" and kind in {"user", "role"}:
        return key_of(kind, parts[4], rest.rpartition("/")[2])
    return ""


def targets_of(
    principal: str,
    role_arns: Sequence[str] = (),
    shared: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Target, ...]:
    """Return whom to act on in order to suspend a principal.

    Args:
        principal: Its id.
        role_arns: Of an agent: the ARNs of the roles that it has now.
        shared: Of an agent: by the ARN of a role, the ids of all other agents that have it.

    Returns:
        One target; of an agent one for each role, sorted.

    Raises:
        MissingPrincipalError: No user, role or session can have that name, or no role is known.
        NeedsPersonError: IAM cannot do it, or not without harming others (`SharedRoleError`); says
            what to do.
    """
    kind, *segments = principal.split("/")
    if kind not in _LENGTHS:
        raise NeedsPersonError(f"{principal}: {_advice(kind, segments)}")
    unique_id = ""
    if len(segments) == _LENGTHS[kind] and kind != "agent":
        unique_id = segments.pop()
        if not _UNIQUE_ID.fullmatch(unique_id):
            raise MissingPrincipalError(f"{principal}: {unique_id} is not a unique id of IAM")
    if len(segments) != _LENGTHS[kind] - 1:
        raise MissingPrincipalError(f"{principal}: no {kind} has such an id")
    if kind == "agent":
        return _agent_targets(principal, role_arns, shared or {})
    account, name, *session = [_decoded(principal, segment) for segment in segments]
    return (_target(principal, kind, account, (name, *session), unique_id),)


def _target(
    principal: str, kind: str, account: str, names: tuple[str, ...], unique_id: str = ""
) -> Target:
    """Return the target of a user, role or session, whose names are checked."""
    if not _ACCOUNT.fullmatch(account):
        raise MissingPrincipalError(f"{principal}: {account} is not an AWS account")
    for name, pattern in zip(names, (_NAMES["role"], _NAMES["session"]), strict=False):
        if not pattern.fullmatch(name):
            raise MissingPrincipalError(f"{principal}: AWS allows no such name of a {kind}")
    if kind != "user" and _IDENTITY_CENTER_ROLE.fullmatch(names[0]):
        message = (
            f"{principal}: IAM cannot change the role {names[0]} of IAM Identity Center; take the "
            "assignment away there, or deny Bedrock in the permission set or in a service control "
            "policy"
        )
        raise NeedsPersonError(message)
    if kind == "session":
        return Target("session", account, names[0], names[1], unique_id)
    return Target("user" if kind == "user" else "role", account, names[0], unique_id=unique_id)


def _agent_targets(
    principal: str, role_arns: Sequence[str], shared: Mapping[str, Sequence[str]]
) -> tuple[Target, ...]:
    if not role_arns:
        message = (
            f"{principal}: no role of this agent is known; register it: ledgerock principals map"
        )
        raise MissingPrincipalError(message)
    targets = set()
    faults: dict[str, list[Target]] = {}
    for arn in role_arns:
        role = parse_role_arn(arn)
        if role is None:
            raise MissingPrincipalError(f"{principal}: {arn} is not the ARN of a role")
        others = sorted({*shared.get(arn, ())} - {principal})
        if others:
            message = (
                f"{principal}: its role {arn} also serves {', '.join(others)}, who would be "
                "suspended with it; give each agent a role of its own, or stop this one by hand"
            )
            faults.setdefault(message, []).append(Target("role", role.account, role.name))
            continue
        refuse_path(principal, role.path, role.name)
        targets.add(_target(principal, "role", role.account, (role.name,)))
    if faults:
        raise SharedRoleError(next(iter(faults)), [one for some in faults.values() for one in some])
    return tuple(sorted(targets))


def follows_name(principal: str) -> bool:
    """Whether a principal goes on when the role that it has is made again under its name."""
    kind, *segments = principal.split("/")
    return kind == "agent" or (kind == "session" and len(segments) < _LENGTHS[kind])


def of_one_life(
    principal: str, targets: Sequence[Target], incarnations: Iterable[Incarnations]
) -> tuple[Target, ...]:
    """Return the targets of a user or role, told from whoever had its name later.

    Args:
        principal: Whose; one whose id ends in a unique id is told already.
        targets: As `targets_of` returns them.
        incarnations: Names that were used again, as the directory learned.

    Raises:
        ReplacedPrincipalError: It had the name before anybody whose unique id is known, and
            somebody else has it since.
    """
    made = next((one.made for one in incarnations if one.key == principal), ())
    if len(made) < 2:  # noqa: PLR2004 - one who had the name, and one who has it
        return tuple(targets)
    unique_id = made[0][1]
    if not unique_id:
        message = f"{principal}: who had this name first is gone; it was made again, and left alone"
        raise ReplacedPrincipalError(message)
    return tuple(msgspec.structs.replace(target, unique_id=unique_id) for target in targets)


def refuse_path(principal: str, path: str, name: str) -> None:
    """Raise if the path of a role says that AWS alone may change it.

    Raises:
        NeedsPersonError: It does; says what to do.
    """
    if path.startswith(SERVICE_LINKED_PATH):
        message = (
            f"{principal}: the role {name} is linked to an AWS service, and IAM cannot change it; "
            "stop the service's use of Bedrock there"
        )
        raise NeedsPersonError(message)
    if path.startswith(RESERVED_PATH):
        message = (
            f"{principal}: the role {name} is managed by IAM Identity Center, and IAM cannot "
            "change it; take the assignment away there, or deny Bedrock in the permission set or "
            "in a service control policy"
        )
        raise NeedsPersonError(message)


def _decoded(principal: str, segment: str) -> str:
    if "~" in segment:
        message = f"{principal}: its name is longer than Ledgerock keeps; suspend it in IAM by hand"
        raise NeedsPersonError(message)
    return unquote(segment, errors="replace")


def _without_unique_id(principal: str) -> str:
    """Return a principal's id without the unique id of its present bearer, for patterns."""
    kind, *segments = principal.split("/")
    if len(segments) == _LENGTHS.get(kind) and _UNIQUE_ID.fullmatch(segments[-1]):
        return "/".join((kind, *segments[:-1]))
    return principal


def _advice(kind: str, segments: Sequence[str]) -> str:
    account = segments[0] if segments else ""
    if kind == "root":
        return (
            f"IAM cannot deny anything to a root user; deny Bedrock to the account {account} in a "
            "service control policy, which reaches every account but the organization's own"
        )
    if kind == "service":
        return "an AWS service calls in its own right; stop its use of Bedrock in that service"
    if kind == "federated":
        return (
            "a federated user has no policies of its own; suspend who gives it its credentials, or "
            "deny Bedrock in a service control policy"
        )
    if kind == "app":
        return "an application is not known to IAM; suspend the role that calls for it"
    if kind == "unknown":
        return "who called is not known; find the caller in CloudTrail"
    return "only users, roles, sessions and agents can be suspended"
