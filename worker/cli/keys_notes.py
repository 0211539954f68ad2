"""What is written down of users with a Bedrock API key, version by version."""

from __future__ import annotations

from typing import Final

import msgspec

from worker.core.directory import Keys, decode_subject
from worker.core.directory_views import lives_of
from worker.core.enforcement_names import DIRECTORY, KEYS, PROVISIONED
from worker.core.errors import TransientError
from worker.core.provision import Provision, noted
from worker.ports import Clock, Record, Records

ATTEMPTS_KEEPING: Final = 10
_decode: Final = msgspec.json.Decoder(Provision).decode


class KeyNotes:
    """What is written down of the users, here and in the directory at once.

    Of several commands on one user only one writes the next version; the others stop. So whoever
    writes before each step knows that nobody else is at it, up to that step.

    Args:
        records: Keep it, and the directory.
        clock: Ledger time.
    """

    def __init__(self, records: Records, clock: Clock) -> None:
        """Read nothing yet."""
        self._records = records
        self._clock = clock

    async def all(self) -> list[Provision]:
        """Return the users that were made and not removed, by name."""
        found = map(_provision, await self._records.partition(PROVISIONED))
        return [one for one in found if one.state != "removed"]

    async def find(self, subject: str) -> Provision | None:
        """Return what is written down of a user; None if nothing is."""
        record = await self._records.get(PROVISIONED, subject)
        return None if record is None else _provision(record)

    async def check(self, provision: Provision) -> None:
        """Make sure that nobody else changes a user meanwhile.

        Raises:
            TransientError: Somebody does.
        """
        found = await self.find(provision.subject)
        if found is None or found.version != provision.version:
            raise _others(provision)

    async def next(self, provision: Provision, **changes: object) -> Provision:
        """Write the next version, and return it.

        Raises:
            TransientError: Somebody else did.
        """
        kept = await self.keep(msgspec.structs.replace(provision, **changes))
        if kept is None:
            raise _others(provision)
        return kept

    async def keep(self, provision: Provision) -> Provision | None:
        """Write the next version, and return it; None if somebody else did."""
        version = provision.version + 1
        body = msgspec.json.encode(msgspec.structs.replace(provision, version=0))
        own = Record(PROVISIONED, provision.subject, body, version)
        for _ in range(ATTEMPTS_KEEPING):
            record = await self._records.get(KEYS, provision.subject)
            keys = Keys(provision.subject)
            if record is not None:
                keys = msgspec.json.decode(record.body, type=Keys)
            encoded = msgspec.json.encode(noted(keys, provision, self._clock.now_ms()))
            queue, due_at_ms = ("", 0) if record is None else (record.queue, record.due_at_ms)
            after = 1 if record is None else record.version + 1
            both = [own, Record(KEYS, provision.subject, encoded, after, queue, due_at_ms)]
            if await self._records.write(both):
                return msgspec.structs.replace(provision, version=version)
            now = await self.find(provision.subject)
            if (0 if now is None else now.version) != provision.version:
                return None
        message = f"{provision.subject}: its keys are noted by others at the same time; try again"
        raise TransientError(message)

    async def principal(self, subject: str, unique_id: str) -> str:
        """Return the id that the user's calls are booked under; see the directory's lives."""
        record = await self._records.get(DIRECTORY, subject)
        if record is None:
            return subject
        lives = lives_of(subject, decode_subject(subject, record.body).facts)
        known = next((life for life in lives if life.unique_id == unique_id), None)
        if known is not None:
            return known.principal
        was_there = any(life.unique_id or life.to_ms is not None for life in lives)
        return f"{subject}/{unique_id}" if was_there else subject


def _provision(record: Record) -> Provision:
    return msgspec.structs.replace(_decode(record.body), version=record.version)


def _others(provision: Provision) -> TransientError:
    message = f"{provision.subject}: another command changes this user at the same time"
    return TransientError(message)
