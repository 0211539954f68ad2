"""Users with a Bedrock API key that Ledgerock makes: what is written down of each. Pure.

The intent is written before anything is made, so that a crash leaves a trace that the next command
finds, and so that the events of our own making are no news. Whose key it is stays known for ever:
events may come late.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from worker.core.directory import INTENT_MS, MANAGED_TAG, PROVISIONED, Keys
from worker.core.errors import ConfigurationError

PROVISIONED_TAG: Final = "ledgerock:provisioned"
"""Tag of every user that was made here; its value is the intent's id."""
USER_PATH: Final = "/ledgerock/"
LIMITED_ACCESS: Final = "AmazonBedrockLimitedAccess"
"""The managed policy that AWS gives to users of Bedrock API keys (AWS documentation: "API keys for
Amazon Bedrock")."""
USER_NAME_LENGTH_MAX: Final = 64
"""AWS documentation: "IAM and AWS STS quotas"."""
KEYS_PER_USER_MAX: Final = 2
"""AWS documentation: "API keys for Amazon Bedrock" (IAM User Guide)."""
KEY_DAYS_MAX: Final = 36_600
"""AWS documentation: `CreateServiceSpecificCredential`, `CredentialAgeDays`."""

ProvisionState = Literal["creating", "ready", "removing", "removed"]

_IDS_MAX: Final = 200
"""Ids of keys that are remembered of one user."""
_USER_NAME: Final = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}", re.ASCII)


class Provision(msgspec.Struct, frozen=True, omit_defaults=True):
    """A user with a Bedrock API key that `ledgerock keys` makes, made, removes or removed.

    Attributes:
        subject: `user/A/NAME`; its calls may be booked under a longer id, if another user of that
            name was there before.
        intent: Id of the command that made it; the value of the user's `PROVISIONED_TAG`.
        state: `creating` and `removing` until all of it is done: a crash leaves them so.
        created_at_ms: When the command began, epoch milliseconds UTC.
        unique_id: `AIDA…`; empty before the user is made.
        key_ids: Of its API keys (`ACCA…`), deleted ones included.
        expires_at_ms: When the key ends; 0 for never.
        policy: ARN of the policy that was attached.
        tier: Empty for none.
        budgets: Names of the budgets that were set with it.
        by: Who asked.
        version: 0 as long as it is not stored; one more with each write.
    """

    subject: str
    intent: str
    state: ProvisionState
    created_at_ms: int
    unique_id: str = ""
    key_ids: tuple[str, ...] = ()
    expires_at_ms: int = 0
    policy: str = ""
    tier: str = ""
    budgets: tuple[str, ...] = ()
    by: str = ""
    version: int = 0


def noted(keys: Keys, provision: Provision, now_ms: int) -> Keys:
    """Return what the directory is to know of a user's keys, so that our own are no news.

    Args:
        keys: What is written down there by now.
        provision: What is written down here, as of the same moment.
        now_ms: Ledger time, epoch milliseconds UTC.
    """
    is_wanted = provision.state == "creating"
    known = [*keys.key_ids, *(one for one in provision.key_ids if one not in keys.key_ids)]
    own = {MANAGED_TAG: PROVISIONED, PROVISIONED_TAG: provision.intent}
    tags = {key: value for key, value in keys.tags if key not in own}
    # The events of what is taken away at once come later, and must be no news either.
    if provision.state != "removed" or now_ms < provision.created_at_ms + INTENT_MS:
        tags |= own
    return msgspec.structs.replace(
        keys,
        wanted_at_ms=provision.created_at_ms if is_wanted else 0,
        key_ids=tuple(known[-_IDS_MAX:]),
        found_ids=tuple(one for one in keys.found_ids if one not in provision.key_ids),
        tags=tuple(sorted(tags.items())),
        by=provision.by,
    )


def own_tags(provision: Provision) -> list[tuple[str, str]]:
    """Return the tags that say that a user was made here."""
    return [(MANAGED_TAG, PROVISIONED), (PROVISIONED_TAG, provision.intent)]


def check_user_name(name: str) -> None:
    """Refuse what cannot be the name of an IAM user.

    Raises:
        ConfigurationError: Says what will do.
    """
    if not _USER_NAME.fullmatch(name):
        message = (
            f"the user name {name!r} will not do: letters, digits and any of _+=,.@- , "
            f"1 to {USER_NAME_LENGTH_MAX}, without path"
        )
        raise ConfigurationError(message)
