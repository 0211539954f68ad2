"""What CloudTrail events of users, roles and agents have in common.

AWS documentation: "CloudTrail record contents", "CloudTrail userIdentity element".
"""

from __future__ import annotations

from typing import Final

import msgspec

from worker.core.attribution import encode_segment
from worker.core.decoders import fields
from worker.core.decoders.fields import FieldError, Instant
from worker.core.registry import parse_role_arn

NAME_LENGTH_MAX: Final = 256
"""Names of users (64), roles (64) and agents (100), with room; longer ones are refused."""
EVENT_ID_LENGTH_MAX: Final = 64
ACTOR_LENGTH_MAX: Final = 700
"""An ARN has a path of at most 512 characters and a name of 64 (IAM: "IAM and STS quotas")."""
TAGS_MAX: Final = 100
"""IAM and STS quotas: 50 tags for each user or role."""
TAG_KEY_LENGTH_MAX: Final = 128
TAG_VALUE_LENGTH_MAX: Final = 256


class Caller(msgspec.Struct, gc=False, rename="camel"):
    """`userIdentity`, as far as it says who acted."""

    type: str | None = None
    arn: str | None = None
    user_name: str | None = None
    invoked_by: str | None = None
    principal_id: str | None = None


class Tag(msgspec.Struct, gc=False):
    """A tag as IAM's and AgentCore's requests have it, whatever its case."""

    key: str | None = None
    value: str | None = None
    capital_key: str | None = msgspec.field(name="Key", default=None)
    capital_value: str | None = msgspec.field(name="Value", default=None)


class Header(msgspec.Struct, gc=False, rename="camel"):
    """What every event has."""

    event_time: Instant | None = None
    event_id: str | None = msgspec.field(name="eventID", default=None)
    event_name: str = ""
    aws_region: str | None = None
    recipient_account_id: str | None = None
    error_code: str | None = None
    user_identity: Caller | None = None

    @property
    def caller(self) -> Caller:
        """Who acted."""
        return self.user_identity or NO_CALLER

    @property
    def actor(self) -> str:
        """ARN of who acted, or the service that did; empty if unknown."""
        caller = self.caller
        name = caller.arn or caller.invoked_by or caller.principal_id
        return fields.cut(name, ACTOR_LENGTH_MAX)

    def at_ms(self, raw: bytes | msgspec.Raw) -> int:
        """Return when it happened, epoch milliseconds UTC.

        Raises:
            FieldError: It names no time, or one beyond belief.
        """
        path = "$.eventTime"
        return fields.epoch_ms(self.event_time or fields.no_time(path), path, raw)

    def account(self) -> str:
        """Return the account that it happened in.

        Raises:
            FieldError: It names none.
        """
        return fields.checked_account(self.recipient_account_id, "$.recipientAccountId")

    def id(self) -> str:
        """Return the event's own id: a fact that comes twice is one fact.

        Raises:
            FieldError: It has none, or none that is real.
        """
        what = f"an event id of 1 to {EVENT_ID_LENGTH_MAX} characters"
        found = (self.event_id or "").strip()
        return fields.required_name(found or None, EVENT_ID_LENGTH_MAX, "$.eventID", what)


NO_CALLER: Final = Caller()


def name_segment(name: str | None, path: str, what: str) -> str:
    """Return a name as a segment of a key.

    Raises:
        FieldError: It is absent, or too long to be real.
    """
    return encode_segment(fields.required_name(name, NAME_LENGTH_MAX, path, what))


def role_arn(arn: str | None, path: str) -> str:
    """Return the full ARN of a role.

    Raises:
        FieldError: It is none.
    """
    if not arn or len(arn) > fields.IDENTITY_LENGTH_MAX or parse_role_arn(arn) is None:
        found = fields.quote(arn) if arn else fields.NOTHING
        raise FieldError(path, "the ARN of a role", found)
    return arn


def tags_of(tags: list[Tag | None] | dict[str, str | None] | None) -> tuple[tuple[str, str], ...]:
    """Return tags by key, bounded as AWS bounds them."""
    if not tags:
        return ()
    if isinstance(tags, dict):
        pairs = [(key, value or "") for key, value in tags.items()]
    else:
        pairs = [
            (tag.key or tag.capital_key or "", tag.value or tag.capital_value or "")
            for tag in tags
            if tag is not None
        ]
    kept = {
        key[:TAG_KEY_LENGTH_MAX]: value[:TAG_VALUE_LENGTH_MAX]
        for key, value in pairs[:TAGS_MAX]
        if key
    }
    return tuple(sorted(kept.items()))
