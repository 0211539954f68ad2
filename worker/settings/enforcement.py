"""Settings of set-up without hands, enforcement, and of how people hear of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from worker.core.errors import ConfigurationError
from worker.settings.values import values_of

ENFORCEMENT_ENVIRONMENT: Final = {
    "acts": "LEDGEROCK_ENFORCEMENT",
    "agents": "LEDGEROCK_AGENTS",
    "keys": "LEDGEROCK_KEYS",
    "mode": "LEDGEROCK_ENFORCEMENT_MODE",
    "role": "LEDGEROCK_ENFORCEMENT_ROLE",
    "account": "LEDGEROCK_ACCOUNT",
    "protected": "LEDGEROCK_PROTECTED",
    "own_roles": "LEDGEROCK_OWN_ROLES",
    "tiers": "LEDGEROCK_TIERS",
    "monitor_seconds": "LEDGEROCK_MONITOR_SECONDS",
    "sns_topic": "LEDGEROCK_SNS_TOPIC",
    "webhook_url": "LEDGEROCK_WEBHOOK_URL",
    "webhook_secret": "LEDGEROCK_WEBHOOK_SECRET",
}
"""The environment variable behind each setting."""

SECRETS: Final = ("webhook_url", "webhook_secret")
"""What no log may show: whoever knows the address of an incoming webhook may post to it."""

ACTS: Final = ("off", "worker", "workflows")
MODES: Final = ("deny", "detach")
_ACCOUNT: Final = re.compile(r"([0-9]{12})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnforcementSettings:
    """What enforcement needs to know.

    Attributes:
        acts: Who suspends and restores: `off` (nobody; states are kept and announced all the
            same), `worker` (the container's monitor, or the monitor function) or `workflows`
            (Step Functions, driven by events).
        agents: Register agents from their lifecycle events, and give them budgets.
        keys: Watch users, roles and their keys, and give them budgets.
        mode: `deny` adds a deny policy; `detach` also takes away what the principal has.
        role: ARN of the role to assume in the principal's account, with `{account}` in place of
            the account; empty to act with the worker's own rights, in its own account alone.
        account: The worker's own account; empty to ask STS.
        protected: Principal ids that are never acted on; `*` stands for any text.
        own_roles: ARNs of Ledgerock's own roles: never acted on, and what they do to tags and
            keys is no news. The role that the worker runs under is always among them.
        tiers: The tiers and defaults: a TOML file, or `ssm:/path` for a Parameter Store tree.
        monitor_seconds: How often the monitor looks for due work.
        sns_topic: ARN of the SNS topic that people are told through; empty for none.
        webhook_url: Where messages are posted to, Slack's incoming webhooks or any other.
        webhook_secret: Signs what is posted; empty for no signature.
    """

    acts: str = "off"
    agents: bool = True
    keys: bool = True
    mode: str = "deny"
    role: str = ""
    account: str = ""
    protected: tuple[str, ...] = ()
    own_roles: tuple[str, ...] = ()
    tiers: str = ""
    monitor_seconds: int = 5
    sns_topic: str = ""
    webhook_url: str = field(default="", repr=False)
    webhook_secret: str = field(default="", repr=False)

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> EnforcementSettings:
        """Read the settings from the environment.

        Raises:
            ConfigurationError: A value is not what it must be.
        """
        values = values_of(cls, ENFORCEMENT_ENVIRONMENT, environment)
        settings = cls(**values)  # type: ignore[arg-type]  # each value has its default's type
        for name, allowed in (("acts", ACTS), ("mode", MODES)):
            found = getattr(settings, name)
            if found not in allowed:
                message = f"{ENFORCEMENT_ENVIRONMENT[name]}={found}: give {', '.join(allowed)}"
                raise ConfigurationError(message)
        if not _ACCOUNT.fullmatch(settings.account):
            message = f"LEDGEROCK_ACCOUNT={settings.account}: give the twelve digits of an account"
            raise ConfigurationError(message)
        if settings.webhook_url and not settings.webhook_url.startswith(("https://", "http://")):
            message = "LEDGEROCK_WEBHOOK_URL: give an https:// address"
            raise ConfigurationError(message)
        return settings
