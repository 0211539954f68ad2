"""Who made a call, and who pays for it.

**Identity** is read from the signed caller's ARN, completed by what CloudTrail adds:

| caller | identity |
|---|---|
| IAM user (path dropped: names are unique in an account) | `user/A/NAME` |
| root user | `root/A` |
| federated user | `federated/A/NAME` |
| role or assumed role | `role/A/ROLE` |
| session of an Identity Center role | `session/A/ROLE/USER` |
| session of a role whose session names a rule trusts | `session/A/ROLE/SESSION` |
| AWS service, service-linked role proven by its path | `service/NAME` |
| web identity, SAML, directory, Identity Center user without an ARN | `federated/A/TYPE%3AID` |
| anything else | `unknown/A` |

A user or role that was deleted and made again under its name is somebody else: the first known
one keeps the plain id, later ones carry their unique id as a further segment
(`user/A/NAME/AIDA…`). Which one made a call is told by the unique id in CloudTrail's record of it,
else by its time; invocation logs carry no such id.

A is the account in the caller's ARN, which differs from the call's account where a caller comes
from elsewhere; of `unknown/A` it is the call's. A session name is text of the caller's choosing,
so it names nobody by itself. Identity Center sets it itself, and reserves the path of its roles
(AWS documentation: "CloudTrail userIdentity element", "IAM identifiers", "Referencing permission
sets in resource policies").

**Principal**, who pays, is the first of

1. what an exact trust rule for the role says (`session`, `metadata`);
2. the one agent that the role is mapped to at that time; a role that several share is nobody's;
3. what a wildcard trust rule says;
4. the identity.

A rule that finds nothing to go by (no metadata under its key, no session name) leaves the decision
to the next in line and says so in the reason. A rule that pays by `role` makes the role pay where
its sessions would, and never overrides an agent. Metadata counts for nothing without a rule.

**Segments** are percent-encoded: letters, digits and `-._` stand for themselves, every other byte
of the UTF-8 form becomes `%XX` (`alice@example.com` is `alice%40example.com`). Longer ones than
`SEGMENT_LENGTH_MAX` keep their beginning and end in `~` and a hash, which an encoded segment never
contains otherwise; so different names stay different, and none holds a slash.
"""

import hashlib
import re
from typing import Final, NamedTuple
from urllib.parse import quote

import msgspec

from worker.core.evidence import Facts
from worker.core.model_id import is_application_profile
from worker.core.registry import Agent, AmbiguousAgents, Registry, TrustRule, parse_role_arn

SEGMENT_LENGTH_MAX: Final = 192
"""Longest encoded segment kept whole; two of them leave room in a database key of 1,024 bytes."""

_SEGMENT_KEPT: Final = 128
_SEGMENT_HASH_LENGTH: Final = 32
_SHOWN_LENGTH_MAX: Final = 160
_ARN_PARTS: Final = 6
_AGENTS_NAMED_MAX: Final = 5

_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_PARTITION = re.compile(r"aws(-[a-z0-9-]{1,24})?", re.ASCII)
_SERVICE_NAME = re.compile(r"[a-z0-9-]{1,64}(\.[a-z0-9-]{1,64})*\.amazonaws\.com(\.cn)?", re.ASCII)
_IDENTITY_CENTER_ROLE = re.compile(r"AWSReservedSSO_.+_[0-9a-f]{16}", re.ASCII)
_IDENTITY_CENTER_PATH: Final = "/aws-reserved/sso.amazonaws.com/"
_SERVICE_LINKED_PATH: Final = "/aws-service-role/"

_TYPES_OF_SERVICES: Final = frozenset({"AWSService", "Unknown", ""})
_TYPES_WITHOUT_ARN: Final = frozenset(
    {"IdentityCenterUser", "WebIdentityUser", "SAMLUser", "Directory", "AWSAccount"}
)


class Attribution(msgspec.Struct, frozen=True):
    """Who made a call and who pays for it; empty means none.

    Attributes:
        principal: Who pays: the agent, the application, or the identity. Never empty.
        identity: The signed caller. Never empty.
        agent: The agent's id if it pays.
        team: The team of the principal, else of the identity.
        application: The application that pays, else that of the inference profile used.
        reason: What is ambiguous or was not trusted.
        pool: The pool of the principal, else of the identity.
    """

    principal: str
    identity: str
    agent: str = ""
    team: str = ""
    application: str = ""
    reason: str = ""
    pool: str = ""


class Identity(msgspec.Struct, frozen=True):
    """The signed caller of a call.

    Attributes:
        key: The identity, such as `user/111122223333/alice`. Never empty.
        account: The caller's account, empty if unknown.
        role: Name of the role, without path; empty if the caller is not a role.
        session: Session name, empty if there is none.
        role_arn: Full ARN of the role, with path, if known; else empty.
        reason: Why the caller is not known better.
    """

    key: str
    account: str = ""
    role: str = ""
    session: str = ""
    role_arn: str = ""
    reason: str = ""


class _Arn(NamedTuple):
    service: str
    account: str
    resource: str


class _Payer(NamedTuple):
    principal: str
    agent: str = ""
    application: str = ""


def encode_segment(text: str) -> str:
    """Encode one segment of a key, injectively and bounded; see the module's introduction."""
    encoded = quote(text, safe="", errors="surrogatepass").replace("~", "%7E")
    if len(encoded) <= SEGMENT_LENGTH_MAX:
        return encoded
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    # The cut must not leave half of a %XX behind.
    kept = re.sub(r"%[0-9A-F]?\Z", "", encoded[:_SEGMENT_KEPT])
    return f"{kept}~{digest[:_SEGMENT_HASH_LENGTH]}"


def key_of(kind: str, *segments: str) -> str:
    """Join a kind and its segments, encoded: `key_of("role", "111122223333", "Gateway")`."""
    return "/".join((kind, *map(encode_segment, segments)))


def attribute(facts: Facts, at_ms: int, registry: Registry) -> Attribution:
    """Say who made a call and who pays for it.

    Args:
        facts: Merged evidence of who called what.
        at_ms: Time of the call, epoch milliseconds UTC.
        registry: Agents, teams, applications and trust rules.

    Returns:
        The attribution. Never raises, whatever the strings.
    """
    identity = identity_of(facts)
    reasons = [identity.reason] if identity.reason else []
    key = registry.incarnation_of(identity.key, facts.principal_id, at_ms)
    payer = _Payer(key)
    if identity.role:
        rule = registry.rule_for(identity.account, identity.role, identity.role_arn, at_ms)
        if rule is not None and rule.pay_by == "session" and identity.session:
            key = key_of("session", identity.account, identity.role, identity.session)
        agent = registry.agent_for_role(identity.account, identity.role, identity.role_arn, at_ms)
        payer = _role_payer(facts, identity, key, rule, agent, reasons)
        principal = registry.incarnation_of(payer.principal, facts.principal_id, at_ms)
        payer = payer._replace(principal=principal)
    application = payer.application
    if not application and is_application_profile(facts.model_id):
        application = registry.application_of_profile(facts.model_id, at_ms)
    return Attribution(
        principal=payer.principal,
        identity=key,
        agent=payer.agent,
        team=registry.team_of(payer.principal, key, at_ms),
        application=application,
        reason="; ".join(reasons),
        pool=registry.pool_of(payer.principal, key, at_ms),
    )


def _role_payer(
    facts: Facts,
    identity: Identity,
    key: str,
    rule: TrustRule | None,
    agent: Agent | AmbiguousAgents | None,
    reasons: list[str],
) -> _Payer:
    """Decide who pays for a role's call; appends to `reasons` what could not be followed."""
    by_rule = _payer_by_rule(facts, identity, key, rule, reasons)
    if by_rule is not None and rule is not None and "*" not in rule.role_arn:
        return by_rule
    if isinstance(agent, Agent):
        return _Payer(agent.agent_id, agent=agent.agent_id)
    if isinstance(agent, AmbiguousAgents):
        named = ", ".join(agent.agent_ids[:_AGENTS_NAMED_MAX])
        more = len(agent.agent_ids) - _AGENTS_NAMED_MAX
        reasons.append(
            f"role {_shown(identity.role)} is shared by agents {named}"
            + (f" and {more} more" if more > 0 else "")
        )
    if by_rule is not None:
        return by_rule
    if rule is not None and rule.pay_by == "role":
        return _Payer(key_of("role", identity.account, identity.role))
    return _Payer(key)


def _payer_by_rule(
    facts: Facts, identity: Identity, key: str, rule: TrustRule | None, reasons: list[str]
) -> _Payer | None:
    """Return who pays by the rule, or None if the rule leaves it to others."""
    if rule is None or rule.pay_by == "role":
        return None
    if rule.pay_by == "session":
        if identity.session:
            return _Payer(key)
        reasons.append(f"role {_shown(identity.role)} pays by session, but has no session name")
        return None
    value = dict(facts.metadata).get(rule.metadata_key, "")
    if value.strip():
        application = key_of("app", rule.organisation, value)
        return _Payer(application, application=application)
    reasons.append(
        f"role {_shown(identity.role)} pays by the metadata key {_shown(rule.metadata_key)},"
        " which the call does not carry"
    )
    return None


def session_decides(facts: Facts, at_ms: int, registry: Registry) -> bool:
    """Whether the name of a role's session has a say in who made its calls, or who pays.

    Args:
        facts: The call's facts; the session may be left out of the caller's ARN.
        at_ms: Time of the call, epoch milliseconds UTC.
        registry: Who is trusted to name sessions.
    """
    identity = identity_of(facts)
    if not identity.role:
        return False
    if _IDENTITY_CENTER_ROLE.fullmatch(identity.role):
        return True
    rule = registry.rule_for(identity.account, identity.role, identity.role_arn, at_ms)
    return rule is not None and rule.pay_by == "session"


def identity_of(facts: Facts) -> Identity:
    """Read the signed caller from the evidence.

    The caller's ARN comes first; where it is missing or malformed, what CloudTrail says of the
    caller takes its place. Never raises, whatever the strings.
    """
    arn = _parse_arn(facts.identity_arn)
    found = _from_arn(arn, facts) if arn is not None else None
    if found is None:
        found = _from_cloudtrail(facts)
    if found is not None:
        return found
    if not facts.identity_arn:
        reason = "the record names no caller"
        if facts.identity_type:
            reason += f" of type {_shown(facts.identity_type)}"
    else:
        reason = f"the caller's ARN is not understood: {_shown(facts.identity_arn)}"
    return Identity(key=key_of("unknown", facts.account), reason=reason)


def _parse_arn(text: str) -> _Arn | None:
    """Split an IAM or STS ARN of any partition; None if it is neither."""
    parts = text.split(":", _ARN_PARTS - 1)
    if len(parts) != _ARN_PARTS or parts[0] != "arn" or parts[3]:
        return None
    _arn, partition, service, _region, account, resource = parts
    if service not in {"iam", "sts"} or not _PARTITION.fullmatch(partition):
        return None
    if not _ACCOUNT.fullmatch(account):
        return None
    return _Arn(service, account, resource)


def _from_arn(arn: _Arn, facts: Facts) -> Identity | None:
    kind, _separator, rest = arn.resource.partition("/")
    if arn.service == "iam":
        name = rest.rpartition("/")[2]
        if arn.resource == "root":
            return Identity(key=key_of("root", arn.account), account=arn.account)
        if kind == "user" and name:
            return Identity(key=key_of("user", arn.account, name), account=arn.account)
        if kind == "role" and name:
            return _role_identity(arn.account, name, "", facts.identity_arn, facts)
        return None
    if kind == "federated-user" and rest:
        return Identity(key=key_of("federated", arn.account, rest), account=arn.account)
    if kind == "assumed-role":
        # AWS allows no slash in either name; whatever follows the first one is the session's.
        role, _separator, session = rest.partition("/")
        if role:
            return _role_identity(arn.account, role, session, "", facts)
    return None


def _from_cloudtrail(facts: Facts) -> Identity | None:
    issuer = _parse_arn(facts.issuer_arn)
    if issuer is not None:
        role = parse_role_arn(facts.issuer_arn)
        if role is not None:
            return _role_identity(role.account, role.name, "", facts.issuer_arn, facts)
        if facts.issuer_arn != facts.identity_arn:
            return _from_arn(issuer, facts)
    account = facts.account
    if facts.identity_type == "Root":
        return Identity(key=key_of("root", account), account=account)
    # Services make calls for others, who are then named by their type: `invokedBy` is the caller
    # only where there is nobody else.
    if facts.identity_type in _TYPES_OF_SERVICES:
        for name in (facts.invoked_by, facts.identity_arn, facts.principal_id):
            if _SERVICE_NAME.fullmatch(name):
                return Identity(key=key_of("service", name))
    if facts.identity_type == "AWSService":
        name = facts.invoked_by or facts.principal_id
        return Identity(key=key_of("service", name)) if name else None
    if facts.identity_type in _TYPES_WITHOUT_ARN:
        name = facts.on_behalf_of or facts.principal_id
        # A colon cannot stand in the name of a federated user, which its requester chooses.
        if name:
            return Identity(
                key=key_of("federated", account, f"{facts.identity_type}:{name}"), account=account
            )
    return None


def _role_identity(account: str, role: str, session: str, role_arn: str, facts: Facts) -> Identity:
    """Build the identity of a role, from its names and, if they agree, the issuer's full ARN."""
    reason = ""
    full_arn = role_arn or facts.issuer_arn
    parsed = parse_role_arn(full_arn) if full_arn else None
    if full_arn and (parsed is None or (parsed.account, parsed.name) != (account, role)):
        reason = f"the session's issuer {_shown(full_arn)} is not the caller's role"
        full_arn, parsed = "", None
    path = parsed.path if parsed is not None else ""
    key = key_of("role", account, role)
    if path.startswith(_SERVICE_LINKED_PATH):
        service = facts.invoked_by or path.removeprefix(_SERVICE_LINKED_PATH).strip("/")
        key = key_of("service", service or role)
    elif _IDENTITY_CENTER_ROLE.fullmatch(role):
        if path and not path.startswith(_IDENTITY_CENTER_PATH):
            reason = f"role {_shown(role)} is named like one of Identity Center, but is not"
        elif session:
            key = key_of("session", account, role, session)
    return Identity(
        key=key, account=account, role=role, session=session, role_arn=full_arn, reason=reason
    )


def _shown(text: str) -> str:
    """Return text of unknown origin in a form that is safe to print, cut short."""
    shown = quote(text[:_SHOWN_LENGTH_MAX], safe="@+=,:/ ", errors="replace")
    return shown if len(shown) <= _SHOWN_LENGTH_MAX else f"{shown[:_SHOWN_LENGTH_MAX]}..."
