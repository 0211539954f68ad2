"""One contract for all outboxes: a notice is kept once, is due until it is settled, and stays."""

import asyncio
import json
from typing import Any

import msgspec

from tests.calls import asynchronous
from tests.contract.conftest import OpenState
from worker.ports import Notice, NoticeState, Outbox

NOW = 1_790_856_000_000


def notice(number: int, subject: str = "budget/a", **more: Any) -> Notice:
    fields: dict[str, Any] = {"state": "pending", "recorded_at_ms": NOW + number, **more}
    detail = json.dumps({"event_id": f"e{number}", "spent_usd": "0.000000000001"})
    return Notice(
        id=f"e{number}",
        detail_type="Budget Threshold Crossed",
        subject=subject,
        detail=msgspec.Raw(detail.encode()),
        **fields,
    )


async def due(outbox: Outbox, now_ms: int = NOW, channel: str = "") -> list[Notice]:
    chunks = outbox.due(now_ms, channel) if channel else outbox.due(now_ms)
    return [one async for chunk in chunks for one in chunk]


@asynchronous
async def test_a_notice_is_new_once(open_state: OpenState) -> None:
    async with open_state() as state:
        first, other = notice(1), notice(2)
        assert await state.outbox.put([]) == []
        assert await state.outbox.put([first]) == [first]
        again = notice(1, recorded_at_ms=NOW + 99, due_at_ms=5)
        assert await state.outbox.put([again, other, other]) == [other]
        assert await state.outbox.about("budget/a") == [first, other], "what was there stays"
        assert await state.outbox.put([first, other]) == []


@asynchronous
async def test_who_writes_a_notice_down_at_the_same_time_as_others_may_be_first(
    open_state: OpenState,
) -> None:
    async with open_state() as state:
        rivals = [notice(1, recorded_at_ms=NOW + number) for number in range(8)]
        answers = await asyncio.gather(*(state.outbox.put([rival]) for rival in rivals))
        [[won]] = [answer for answer in answers if answer]
        assert await state.outbox.about("budget/a") == [won]


@asynchronous
async def test_notices_on_a_subject_come_by_time(open_state: OpenState) -> None:
    async with open_state() as state:
        late = notice(1, state="late", recorded_at_ms=NOW + 50)
        early = notice(2, recorded_at_ms=NOW - 50)
        longer = [notice(3, "budget/ab"), notice(4, "budget/"), notice(5, "s" * 3_000)]
        assert await state.outbox.put([late, early, *longer]) == [late, early, *longer]
        assert await state.outbox.about("budget/a") == [early, late]
        assert [await state.outbox.about(one.subject) for one in longer] == [[o] for o in longer]
        assert await state.outbox.about("budget/none") == []


@asynchronous
async def test_what_is_pending_and_due_is_found_the_longest_due_first(
    open_state: OpenState,
) -> None:
    async with open_state() as state:
        due_ms = [NOW, NOW - 5, 0, NOW - 5_000, NOW - 3]
        pending = [notice(number, due_at_ms=at_ms) for number, at_ms in enumerate(due_ms)]
        later = notice(10, due_at_ms=NOW + 1)
        never: list[NoticeState] = ["late", "lapsed", "announced"]
        others = [notice(20 + number, state=name) for number, name in enumerate(never)]
        await state.outbox.put([*pending, later, *others])
        ordered = sorted(pending, key=lambda one: one.due_at_ms)
        assert await due(state.outbox) == ordered
        assert await due(state.outbox, NOW + 1) == [*ordered, later]
        assert await due(state.outbox, -1) == []


@asynchronous
async def test_what_is_settled_is_due_no_more(open_state: OpenState) -> None:
    async with open_state() as state:
        one, two, three = notice(1), notice(2), notice(3, "usage/x")
        await state.outbox.put([one, two, three])
        assert await state.outbox.settle(one, "announced", NOW + 7, b'{"announced":1}')
        assert await state.outbox.settle(two, "lapsed", NOW + 8)
        assert await due(state.outbox) == [three]
        assert not await state.outbox.settle(one, "lapsed", NOW + 9, b"{}"), "it was announced"
        assert not await state.outbox.settle(notice(9), "announced", NOW), "there is none"
        announced, lapsed = await state.outbox.about("budget/a")
        assert announced == msgspec.structs.replace(
            one, state="announced", announced_at_ms=NOW + 7, detail=msgspec.Raw(b'{"announced":1}')
        )
        assert lapsed == msgspec.structs.replace(two, state="lapsed", announced_at_ms=NOW + 8)
        assert await state.outbox.put([one]) == [], "nor is it new again"
        assert await state.outbox.about("budget/none") == []


@asynchronous
async def test_a_late_notice_cannot_be_announced(open_state: OpenState) -> None:
    async with open_state() as state:
        late = notice(1, state="late")
        await state.outbox.put([late])
        assert not await state.outbox.settle(late, "announced", NOW)
        assert await state.outbox.about("budget/a") == [late]


@asynchronous
async def test_of_several_who_settle_a_notice_one_does(open_state: OpenState) -> None:
    async with open_state() as state:
        one = notice(1)
        await state.outbox.put([one])
        tries = (state.outbox.settle(one, "announced", NOW + number) for number in range(8))
        won = await asyncio.gather(*tries)
        assert won.count(True) == 1
        [settled] = await state.outbox.about("budget/a")
        assert settled.announced_at_ms == NOW + won.index(True)


@asynchronous
async def test_many_notices_come_in_chunks_and_may_be_settled_meanwhile(
    open_state: OpenState,
) -> None:
    async with open_state() as state:
        many = [notice(number, f"usage/{number % 3}", due_at_ms=number) for number in range(110)]
        assert await state.outbox.put(many) == many
        found: list[Notice] = []
        chunks = 0
        async for chunk in state.outbox.due(NOW):
            chunks += 1
            found += chunk
            settle = (state.outbox.settle(one, "announced", NOW) for one in chunk)
            assert all(await asyncio.gather(*settle))
        assert found == many
        assert chunks > 1
        assert await due(state.outbox) == []


@asynchronous
async def test_notices_outlive_the_process(open_kept_state: OpenState) -> None:
    one, two = notice(1), notice(2)
    async with open_kept_state() as state:
        await state.outbox.put([one, two])
        assert await state.outbox.settle(two, "announced", NOW)
    async with open_kept_state() as state:
        assert await state.outbox.put([one, two]) == []
        assert await due(state.outbox) == [one]


@asynchronous
async def test_a_notice_is_found_by_its_subject_and_id(open_state: OpenState) -> None:
    async with open_state() as state:
        one, longest = notice(1), notice(2, "s" * 3_000)
        await state.outbox.put([one, longest])
        assert await state.outbox.find("budget/a", "e1") == one
        assert await state.outbox.find(longest.subject, "e2") == longest
        assert await state.outbox.find("budget/a", "e2") is None
        assert await state.outbox.find("budget/b", "e1") is None
        assert await state.outbox.settle(one, "announced", NOW + 5, b"[1]")
        assert await state.outbox.find("budget/a", "e1") == msgspec.structs.replace(
            one, state="announced", announced_at_ms=NOW + 5, detail=msgspec.Raw(b"[1]")
        )


@asynchronous
async def test_each_channel_has_its_own_copies_and_holds_up_no_other(
    open_state: OpenState,
) -> None:
    async with open_state() as state:
        bus = notice(1)
        sns, webhook = (
            msgspec.structs.replace(bus, id=f"e1/{name}", channel=name)
            for name in ("sns", "webhook")
        )
        later = msgspec.structs.replace(sns, id="e2/sns", due_at_ms=NOW + 1)
        assert await state.outbox.put([bus, sns, webhook, later]) == [bus, sns, webhook, later]
        for channel, waiting in (("", [bus]), ("sns", [sns]), ("webhook", [webhook]), ("sn", [])):
            assert await due(state.outbox, NOW, channel) == waiting
        assert await due(state.outbox, NOW + 1, "sns") == [sns, later]
        assert await state.outbox.settle(sns, "announced", NOW, b"{}")
        assert not await state.outbox.settle(sns, "announced", NOW)
        assert await due(state.outbox, NOW + 1, "sns") == [later]
        assert [await due(state.outbox, NOW, channel) for channel in ("", "webhook")] == [
            [bus],
            [webhook],
        ]
        assert await state.outbox.settle(webhook, "lapsed", NOW)
        assert await due(state.outbox, NOW, "webhook") == []
        assert await due(state.outbox) == [bus]
        found = await state.outbox.about("budget/a")
        assert [(one.id, one.channel, one.state) for one in found] == [
            ("e1", "", "pending"),
            ("e1/sns", "sns", "announced"),
            ("e1/webhook", "webhook", "lapsed"),
            ("e2/sns", "sns", "pending"),
        ]


@asynchronous
async def test_copies_for_a_channel_come_in_chunks_the_longest_due_first(
    open_state: OpenState,
) -> None:
    async with open_state() as state:
        many = [
            notice(number, f"usage/{number % 3}", due_at_ms=number, channel="sns")
            for number in range(110)
        ]
        await state.outbox.put(many)
        found: list[Notice] = []
        async for chunk in state.outbox.due(NOW, "sns"):
            found += chunk
            settle = (state.outbox.settle(one, "announced", NOW) for one in chunk)
            assert all(await asyncio.gather(*settle))
        assert found == many
        assert await due(state.outbox) == []
