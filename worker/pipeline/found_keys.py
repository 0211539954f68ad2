"""Keys that were not made through provisioning, and tags of ours that others changed.

What is to be done to a user's tags is written down, and done by the monitor, which finds it through
a queue: metering never waits for IAM.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from worker.core.directory import (
    BEDROCK_SERVICE,
    DETECTED,
    MANAGED_TAG,
    OWN_TAG_PREFIX,
    Keys,
    LifecycleFact,
    is_own,
)
from worker.core.directory_events import tags_changed, unprovisioned_key
from worker.core.directory_views import TEAM_TAG, View
from worker.core.enforcement_names import KEYS, QUEUE_TAGS
from worker.core.errors import EnforcementError, TransientError
from worker.core.tiers import TIER_TAG
from worker.pipeline.notices import notice_of
from worker.ports import Clock, Outbox, Record, Records, Tagging

ATTEMPTS: Final = 10
TRY_AGAIN_MS: Final = 60_000
"""When tags that could not be mended are tried again."""
WAIT_SECONDS: Final = 10.0
"""How long IAM is waited for."""
IDS_MAX: Final = 200
"""Keys of one user that are remembered; a user has two at a time at most."""
OPERATORS_TAGS: Final = frozenset({TIER_TAG, TEAM_TAG, "ledgerock:application"})
"""Tags of our prefix that are the operator's to set."""


class KeyWatch:
    """Tells keys that were made through provisioning from others, and mends our own tags.

    Args:
        records: Which keys are known.
        outbox: Keeps what is announced.
        clock: Ledger time.
        own_roles: ARNs of Ledgerock's own roles: what they do is no news.
        tagging: Changes tags; None where that is not wanted: then nobody is told of tags either.
        operators_tags: Tags that begin like ours and are the operator's.

    Attributes:
        fault: Why tags could not be mended lately; empty if they could.
    """

    def __init__(
        self,
        *,
        records: Records,
        outbox: Outbox,
        clock: Clock,
        own_roles: Sequence[str] = (),
        tagging: Tagging | None = None,
        operators_tags: Collection[str] = OPERATORS_TAGS,
    ) -> None:
        """Start without faults."""
        self._records = records
        self._outbox = outbox
        self._clock = clock
        self._own_roles = tuple(own_roles)
        self._tagging = tagging
        self._operators_tags = frozenset(operators_tags) | OPERATORS_TAGS
        self.fault = ""

    async def judge(self, facts: Sequence[LifecycleFact]) -> None:
        """Write down which keys were found; before the user's budgets are settled.

        Raises:
            TransientError: Judging again is safe.
        """
        for fact in facts:
            if fact.kind != "key_created" or fact.service != BEDROCK_SERVICE:
                continue
            if is_own(fact.actor, self._own_roles):
                continue
            await self._change(fact.subject, fact)

    async def tell(self, view: View, facts: Sequence[LifecycleFact], tier: str) -> None:
        """Announce found keys and changed tags of a user or role, and have its tags mended.

        Args:
            view: What is known of it.
            facts: What events told of it just now.
            tier: The tier whose budgets it has.

        Raises:
            TransientError: Telling again is safe.
        """
        keys = (await self._read(view.id))[0]
        now_ms = self._clock.now_ms()
        found = {fact.key_id for fact in facts if fact.kind == "key_created"}
        events = [
            unprovisioned_key(view.last.principal, key, tier, now_ms)
            for key in view.keys
            if key.id in found and key.id in keys.found_ids
        ]
        must_mend = bool(events)
        if self._tagging is not None:
            changed = [one for one in facts if self._is_tampering(one, view, dict(keys.tags))]
            wanted = dict(keys.tags)
            events += [tags_changed(view.last.principal, one, wanted, now_ms) for one in changed]
            must_mend = must_mend or bool(changed)
        if events:
            await self._outbox.put([notice_of(event, now_ms) for event in events])
        if must_mend and self._tagging is not None and view.last.is_alive:
            await self._change(view.id, None)

    async def keep_up(self) -> None:
        """Mend tags where that is due. For the monitor: IAM may take its time.

        Raises:
            TransientError: The queue cannot be read now.
        """
        if self._tagging is None:
            return
        async for records in self._records.due(QUEUE_TAGS, self._clock.now_ms()):
            for record in records:
                if not await self._mend(record.name):
                    return  # whatever is due besides does not wait for an IAM that is down

    def _is_tampering(self, fact: LifecycleFact, view: View, wanted: Mapping[str, str]) -> bool:
        """Whether somebody else made our own tags other than they are to be."""
        if not (view.last.is_alive and view.last.holds(fact.at_ms)):
            return False
        if is_own(fact.actor, self._own_roles):
            return False
        return any(
            self._is_ours(key) and wanted.get(key) != value for key, value in fact.tags
        ) or any(self._is_ours(key) and key in wanted for key in fact.tag_keys)

    def _is_ours(self, key: str) -> bool:
        return key.startswith(OWN_TAG_PREFIX) and key not in self._operators_tags

    async def _read(self, subject: str) -> tuple[Keys, Record | None]:
        record = await self._records.get(KEYS, subject)
        if record is None:
            return Keys(subject), None
        return msgspec.json.decode(record.body, type=Keys), record

    async def _change(self, subject: str, made: LifecycleFact | None) -> None:
        """Note a key that was made, unless it was provisioned; queue the user's tags."""
        now_ms = self._clock.now_ms()
        for _ in range(ATTEMPTS):
            keys, record = await self._read(subject)
            if made is not None:
                if made.key_id in keys.found_ids or keys.made(made.key_id, made.at_ms):
                    return
                found = (*keys.found_ids, made.key_id)[-IDS_MAX:]
                tags = dict(keys.tags)
                tags.setdefault(MANAGED_TAG, DETECTED)
                keys = msgspec.structs.replace(
                    keys, found_ids=found, tags=tuple(sorted(tags.items()))
                )
            version = 1 if record is None else record.version + 1
            queue = "" if self._tagging is None else QUEUE_TAGS
            body = msgspec.json.encode(keys)
            if await self._records.write([Record(KEYS, subject, body, version, queue, now_ms)]):
                return
        raise TransientError(f"{subject}: others are noting its keys at the same time; try again")

    async def _mend(self, subject: str) -> bool:
        """Make our own tags of a user or role what they are to be; what fails stays queued.

        Returns:
            Whether IAM answered.
        """
        assert self._tagging is not None  # noqa: S101 - nothing is mended otherwise
        keys, record = await self._read(subject)
        if record is None:
            return True
        has_answered = True
        self.fault = ""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._make(self._tagging, subject, dict(keys.tags))
        except TimeoutError:
            self.fault = f"tags of {subject}: IAM did not answer within {WAIT_SECONDS:.0f} seconds"
            has_answered = False
        except (TransientError, EnforcementError) as error:
            self.fault = str(error)
            has_answered = not isinstance(error, TransientError)
        queue, due_at_ms = "", 0
        if self.fault:
            queue, due_at_ms = QUEUE_TAGS, self._clock.now_ms() + TRY_AGAIN_MS
        version = record.version + 1
        # Where somebody else wrote meanwhile, what they queued stays queued.
        await self._records.write([Record(KEYS, subject, record.body, version, queue, due_at_ms)])
        return has_answered

    async def _make(self, tagging: Tagging, subject: str, wanted: Mapping[str, str]) -> None:
        found = await tagging.tags(subject)
        if found is None:
            return
        missing = {key: value for key, value in wanted.items() if found.get(key) != value}
        if missing:
            await tagging.tag(subject, missing)
        strange = sorted(key for key in found if self._is_ours(key) and key not in wanted)
        if strange:
            await tagging.untag(subject, strange)
