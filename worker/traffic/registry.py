"""The registry file that goes with the traffic: agents, teams, profiles and rules, in TOML."""

from collections.abc import Iterable, Iterator
from typing import Final

from worker.traffic.people import ACCOUNTS, ORGANISATION, REGIONS, Caller
from worker.traffic.prices import SONNET_4_5

_PROFILES: Final = f"arn:aws:bedrock:{REGIONS[0]}:{ACCOUNTS[0]}:application-inference-profile"
APPLICATION_PROFILE: Final = f"{_PROFILES}/abcd1234efgh"
"""Resolved by the registry to Claude Sonnet 4.5."""
UNRESOLVED_PROFILE: Final = f"{_PROFILES}/zyxw9876vuts"
"""Known to nobody: its calls cannot be priced."""
PROFILE_ACCOUNT: Final = ACCOUNTS[0]
PROFILE_REGION: Final = REGIONS[0]


def registry_toml(callers: Iterable[Caller], *, scenes: bool) -> str:
    """Return the registry as TOML.

    Args:
        callers: Everybody who calls.
        scenes: Whether application profiles and trust rules are needed as well.
    """
    everybody = tuple(callers)
    tables = [*_agents(everybody), *_teams(everybody)]
    if scenes:
        tables += [*_applications(), *_rules()]
    return "\n".join(tables)


def _agents(callers: Iterable[Caller]) -> Iterator[str]:
    for caller in callers:
        if caller.agent_name:
            yield (
                "[[agents]]\n"
                f'id = "{caller.principal}"\n'
                f'name = "{caller.agent_name}"\n'
                f'role_arns = ["{caller.role_arn}"]\n'
            ) + (
                f"effective_from = {caller.effective_from}T00:00:00Z\n"
                if caller.effective_from
                else ""
            )


def _teams(callers: Iterable[Caller]) -> Iterator[str]:
    seen = set[str]()
    for caller in callers:
        if caller.team and caller.principal not in seen:
            seen.add(caller.principal)
            cost_center = 4700 + sum(caller.team.encode()) % 100
            yield (
                "[[principals]]\n"
                f'match = "{caller.principal}"\n'
                f'team = "{caller.team}"\n'
                f'tags = {{ cost_center = "{cost_center}" }}\n'
            )


def _applications() -> Iterator[str]:
    profile = f"arn:aws:bedrock:{PROFILE_REGION}:{PROFILE_ACCOUNT}:inference-profile"
    yield (
        "[[applications]]\n"
        f'arn = "{APPLICATION_PROFILE}"\n'
        f'model = "{profile}/{SONNET_4_5.model_id}"\n'
        'application = "checkout-assistant"\n'
    )


def _rules() -> Iterator[str]:
    yield (
        "[[rules]]\n"
        f'role_arn = "arn:aws:iam::{ACCOUNTS[0]}:role/GatewayRole"\n'
        'pay_by = "metadata"\n'
        'metadata_key = "application"\n'
        f'organisation = "{ORGANISATION}"\n'
    )
    yield (
        "[[rules]]\n"
        f'role_arn = "arn:aws:iam::{ACCOUNTS[2]}:role/NotebookRole"\n'
        'pay_by = "session"\n'
    )
