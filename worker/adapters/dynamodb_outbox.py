"""Notices in the state table: a partition for each subject, and the index of what is pending."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from worker.adapters.dynamodb_requests import WRITES_AT_ONCE
from worker.adapters.dynamodb_state import HASH_BYTES_MAX, RANGE_BYTES_MAX, StateTable, bounded
from worker.adapters.state_values import decoded_notice, encoded, settled
from worker.ports import Notice, NoticeState

QUEUE: Final = "announce"
"""What the index `due` calls this kind of work; `announce#sns` where a channel is to be told."""

NOTICES_PER_CHUNK: Final = 100


class DynamoOutbox:
    """A `worker.ports.Outbox` in DynamoDB.

    `b` is the notice as it was put, as JSON; `s` its state, and once it is settled, `a` when and
    `d` the detail that was announced. `q` and `t` put pending notices into the index.
    """

    def __init__(self, table: StateTable) -> None:
        """Keep the table."""
        self._table = table
        self._writing = asyncio.Semaphore(WRITES_AT_ONCE)

    async def put(self, notices: Sequence[Notice]) -> list[Notice]:
        """Keep notices whose ids are new: a conditional write for each.

        A notice whose answer was lost is new nevertheless: the repeated request recognises what
        the first one wrote, unless it was announced by then. It is kept either way.
        """
        distinct: dict[tuple[str, str], Notice] = {}
        for notice in notices:
            distinct.setdefault((notice.subject, notice.id), notice)
        answers = await asyncio.gather(
            *(self._put(notice) for notice in distinct.values()), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [notice for notice, is_new in zip(distinct.values(), answers, strict=True) if is_new]

    async def _put(self, notice: Notice) -> bool:
        item: dict[str, Any] = {
            **_key(notice.subject, notice.id),
            "b": {"S": encoded(notice)},
            "s": {"S": notice.state},
        }
        if notice.state == "pending":
            item |= {"q": {"S": _queue(notice.channel)}, "t": {"N": str(notice.due_at_ms)}}
        async with self._writing:
            return await self._table.put_if(item, "attribute_not_exists(pk)") is None

    async def due(self, now_ms: int, channel: str = "") -> AsyncIterator[Sequence[Notice]]:
        """Yield what is pending and due: the index says where, strong reads say whether."""
        async for keys in self._table.due(_queue(channel), now_ms, NOTICES_PER_CHUNK):
            found = await self._table.dynamo.get_many(self._table.name, keys)
            notices = [_notice(item) for item in found if item["s"]["S"] == "pending"]
            if notices:
                yield sorted(notices, key=lambda one: (one.due_at_ms, one.subject, one.id))

    async def settle(
        self, notice: Notice, state: NoticeState, at_ms: int, detail: bytes | None = None
    ) -> bool:
        """Turn a pending notice into an announced or lapsed one, and take it out of the index.

        If the answer to the write is lost, it is found out whether it was made.
        """
        values: dict[str, Any] = {
            ":s": {"S": state},
            ":a": {"N": str(at_ms)},
            ":p": {"S": "pending"},
        }
        update = "SET s = :s, a = :a"
        if detail is not None:
            update += ", d = :d"
            values[":d"] = {"S": detail.decode()}
        update += " REMOVE q, t"
        return (
            await self._table.update_if(_key(notice.subject, notice.id), update, "s = :p", values)
            is None
        )

    async def find(self, subject: str, notice_id: str) -> Notice | None:
        """Return one notice: one strong read."""
        item = await self._table.get(_key(subject, notice_id))
        return None if item is None else _notice(item)

    async def about(self, subject: str) -> list[Notice]:
        """Return the notices on a subject, by time: one query, strongly read."""
        found = [_notice(item) for item in await self._table.partition(_partition(subject))]
        return sorted(found, key=lambda notice: (notice.recorded_at_ms, notice.id))


def _partition(subject: str) -> str:
    return f"s#{bounded(subject, HASH_BYTES_MAX)}"


def _queue(channel: str) -> str:
    return f"{QUEUE}#{channel}" if channel else QUEUE


def _key(subject: str, notice_id: str) -> dict[str, Any]:
    return {
        "pk": {"S": _partition(subject)},
        "sk": {"S": bounded(notice_id, RANGE_BYTES_MAX)},
    }


def _notice(item: dict[str, Any]) -> Notice:
    notice = decoded_notice(item["b"]["S"])
    state: NoticeState = item["s"]["S"]
    if state == notice.state:
        return notice
    detail = item["d"]["S"].encode() if "d" in item else None
    return settled(notice, state, int(item["a"]["N"]), detail)
