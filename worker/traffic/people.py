"""Who calls: made-up people, services and agents, and the registry that says who pays for them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final
from urllib.parse import quote

from worker.traffic.sums import Payer

ACCOUNTS: Final = ("111122223333", "444455556666", "777788889999")
REGIONS: Final = ("us-east-1", "us-west-2")
ORGANISATION: Final = "acme"
_CROWD_ROLE: Final = "AWSReservedSSO_Builder_0a1b2c3d4e5f6071"
SESSIONS: Final = 16
"""Session names that one role is seen with, a power of two."""

FIRST_NAMES: Final = (
    "amara", "boris", "carmen", "dmitri", "elif", "farid", "greta", "hana", "ivo", "jonas",
    "kira", "luca", "mina", "nadia", "oskar", "priya", "quinn", "rosa", "sami", "tove",
)  # fmt: skip
LAST_NAMES: Final = (
    "abel", "brandt", "costa", "dufour", "egede", "fields", "gomez", "holm", "ishii", "jansen",
    "kaya", "lindt", "moreau", "novak", "okafor",
)  # fmt: skip


def account_id(index: int) -> str:
    """Return the made-up account number of an index."""
    return ACCOUNTS[index] if index < len(ACCOUNTS) else str(800_000_000_000 + index)


def segment(text: str) -> str:
    """Percent-encode one segment of an identity; what IAM names may hold stands for itself."""
    return quote(text, safe="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Someone or something that calls models.

    Attributes:
        account: Account number.
        region: Where it usually calls.
        arns: ARNs as they are logged: one, or one for each session name.
        identity: The signed caller, as the ledger should name it.
        principal: Who pays; the identity unless the registry says otherwise.
        team: The principal's team; empty if it has none.
        role_arn: Full ARN of the role behind a session, with its path.
        agent_name: Name of the agent that the registry maps the role to.
        effective_from: ISO date from which `principal` pays instead of `identity`.
        metadata: `requestMetadata` that it sends.
    """

    account: str
    region: str
    arns: tuple[str, ...]
    identity: str
    principal: str
    team: str = ""
    role_arn: str = ""
    agent_name: str = ""
    effective_from: str = ""
    metadata: tuple[tuple[str, str], ...] = ()

    def payer(self, day: str) -> Payer:
        """Return who pays for a call on an ISO date."""
        if day < self.effective_from:
            return Payer(identity=self.identity, principal=self.identity)
        return Payer(identity=self.identity, principal=self.principal, team=self.team)

    def unlabelled(self) -> "Caller":
        """Return the caller as CloudTrail knows it: without metadata, hence no application."""
        if self.principal.startswith("app/"):
            return replace(self, principal=self.identity, team="", metadata=())
        return replace(self, metadata=())


def user(account: str, region: str, name: str, *, path: str = "/", team: str = "") -> Caller:
    """Return an IAM user; `path` begins and ends with a slash and is no part of the identity."""
    identity = f"user/{account}/{segment(name)}"
    return Caller(
        account=account,
        region=region,
        arns=(f"arn:aws:iam::{account}:user{path}{name}",),
        identity=identity,
        principal=identity,
        team=team,
    )


def role(
    account: str,
    region: str,
    name: str,
    sessions: Iterable[str],
    *,
    path: str = "/",
    team: str = "",
) -> Caller:
    """Return an assumed role. AWS drops the role's path from the ARNs of its sessions."""
    identity = f"role/{account}/{segment(name)}"
    return Caller(
        account=account,
        region=region,
        arns=tuple(f"arn:aws:sts::{account}:assumed-role/{name}/{each}" for each in sessions),
        identity=identity,
        principal=identity,
        team=team,
        role_arn=f"arn:aws:iam::{account}:role{path}{name}",
    )


def person(account: str, region: str, role_name: str, name: str, *, team: str = "") -> Caller:
    """Return a person who signs in through IAM Identity Center."""
    identity = f"session/{account}/{segment(role_name)}/{segment(name)}"
    path = f"/aws-reserved/sso.amazonaws.com/{region}/"
    return Caller(
        account=account,
        region=region,
        arns=(f"arn:aws:sts::{account}:assumed-role/{role_name}/{name}",),
        identity=identity,
        principal=identity,
        team=team,
        role_arn=f"arn:aws:iam::{account}:role{path}{role_name}",
    )


def task_sessions(prefix: str) -> tuple[str, ...]:
    """Return the session names of a service that runs as several tasks."""
    return tuple(f"{prefix}-{0x9E3779B1 * (number + 1) % 2**32:08x}" for number in range(SESSIONS))


def crowd(*, principals: int, accounts: int, teams: int) -> tuple[Caller, ...]:
    """Return made-up callers: half IAM users, the rest roles and Identity Center people."""
    return tuple(_one_of_the_crowd(index, accounts, teams) for index in range(principals))


def _one_of_the_crowd(index: int, accounts: int, teams: int) -> Caller:
    home = index % accounts
    account, region = account_id(home), REGIONS[home % len(REGIONS)]
    team = f"team-{index % teams + 1:02d}"
    first = FIRST_NAMES[index % len(FIRST_NAMES)]
    last = LAST_NAMES[index // len(FIRST_NAMES) % len(LAST_NAMES)]
    again = index // (len(FIRST_NAMES) * len(LAST_NAMES))
    name = f"{first}.{last}{again or ''}"
    match index % 10:
        case 5 | 6 | 7:
            sessions = task_sessions("task")
            return role(account, region, f"service-{index:03d}", sessions, team=team)
        case 8 | 9:
            return person(account, region, _CROWD_ROLE, name, team=team)
        case _:
            return user(account, region, name, team=team)


def cast(start: str) -> tuple[Caller, ...]:
    """Return the demo's named people, services and agents, the busiest first.

    Args:
        start: First day, ISO date; one agent is registered from the fifth day on.
    """
    one, two, three = ACCOUNTS
    east, west = REGIONS
    scientist = "AWSReservedSSO_DataScientist_ab12cd34ef56ab78"
    builder = "AWSReservedSSO_PowerUser_12ab34cd56ef78ab"
    fifth_day = (date.fromisoformat(start) + timedelta(days=4)).isoformat()
    return (
        _agent(
            role(one, east, "SupportBotRole", task_sessions("bot"), path="/agents/"),
            "support-bot", f"agent/{one}/{east}/SUPPORTBOT", team="support",
        ),
        person(one, east, scientist, "alice@example.com", team="research"),
        role(one, east, "CheckoutServiceRole", task_sessions("ecs"), team="commerce"),
        _agent(
            role(two, west, "ResearchAgentRole", task_sessions("agentcore"), path="/service-role/"),
            "research-agent", f"agent/{two}/{west}/research_agent-a1B2c3D4e5",
            team="research", effective_from=fifth_day,
        ),
        user(two, west, "chandra", path="/engineering/platform/", team="platform"),
        _metered_gateway("search", team="commerce"),
        user(one, east, "ben", team="research"),
        person(two, west, builder, "dana@example.com", team="platform"),
        _metered_gateway("chat", team="support"),
        role(three, east, "NightlyReportRole", ("nightly-report",), team="analytics"),
        _notebook("farah"),
        user(two, west, "BedrockAPIKey-ab12"),
        # Caller-supplied metadata that nobody trusts: it must not move the charge.
        replace(
            user(three, east, "hugo", team="analytics"), metadata=(("application", "search"),)
        ),
        _notebook("gil"),
        _federated(three, east, "partner-erin"),
        _metered_gateway("", team=""),
        _root(three, east),
    )  # fmt: skip


def _agent(
    caller: Caller, name: str, principal: str, *, team: str, effective_from: str = ""
) -> Caller:
    return replace(
        caller, agent_name=name, principal=principal, team=team, effective_from=effective_from
    )


def _metered_gateway(application: str, *, team: str) -> Caller:
    """A gateway whose role is trusted to say which application a call is for."""
    caller = role(ACCOUNTS[0], REGIONS[0], "GatewayRole", task_sessions("gateway"), team=team)
    if not application:
        return caller
    return replace(
        caller,
        principal=f"app/{ORGANISATION}/{segment(application)}",
        metadata=(("application", application), ("environment", "production")),
    )


def _notebook(name: str) -> Caller:
    """A shared role whose sessions are people, as a rule of the registry says."""
    caller = role(ACCOUNTS[2], REGIONS[0], "NotebookRole", (name,), team="analytics")
    identity = f"session/{ACCOUNTS[2]}/NotebookRole/{segment(name)}"
    return replace(caller, identity=identity, principal=identity)


def _federated(account: str, region: str, name: str) -> Caller:
    identity = f"federated/{account}/{segment(name)}"
    arn = f"arn:aws:sts::{account}:federated-user/{name}"
    return Caller(
        account=account, region=region, arns=(arn,), identity=identity, principal=identity
    )


def _root(account: str, region: str) -> Caller:
    identity = f"root/{account}"
    arn = f"arn:aws:iam::{account}:root"
    return Caller(
        account=account, region=region, arns=(arn,), identity=identity, principal=identity
    )
