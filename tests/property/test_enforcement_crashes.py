"""Promise 10: suspension leaves no trace, whoever crashes where and in whatever order."""

import asyncio
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from tests.iam_worlds import CALL_MODELS, READ_LOGS
from worker.adapters.memory_enforcement import MemoryEnforcement, MemoryEntity
from worker.core.enforcement import Mode
from worker.core.errors import TransientError
from worker.core.targets import Target
from worker.ports import Key, Order, Snapshot

HOME: Final = "111122223333"
POLICIES: Final = tuple(f"arn:aws:iam::{HOME}:policy/p{number}" for number in range(3))
TARGETS: Final = (
    Target("role", HOME, "Scout"),
    Target("session", HOME, "Scout", "ann"),
    Target("session", HOME, "Scout", "bob"),
    Target("user", HOME, "alice"),
)
ACTS: Final = ("suspend", "restore")

Step = tuple[int, str, int]
"""Which suspension, what is done, after how many calls it is cut short (0: never)."""


def started() -> MemoryEnforcement:
    keys = {one: Key(one, status) for one, status in (("A1", "Active"), ("A2", "Inactive"))}
    return MemoryEnforcement(
        [
            MemoryEntity(
                "role", HOME, "Scout", attached={*POLICIES[:2]}, inline={"logs": READ_LOGS}
            ),
            MemoryEntity(
                "user",
                HOME,
                "alice",
                attached={POLICIES[2]},
                inline={"models": CALL_MODELS, "logs": READ_LOGS},
                keys=keys,
            ),
        ]
    )


def cut_after(enforcement: MemoryEnforcement, calls: int) -> None:
    """Have enforcement crash after some more calls; never for 0."""
    last = len(enforcement.iam.calls) + calls

    def hook(moment: str, number: int, _name: str) -> None:
        if calls and moment == "after" and number >= last:
            raise TransientError("cut off")

    enforcement.iam.hook = hook


async def act(
    enforcement: MemoryEnforcement, what: str, order: Order, snapshot: Snapshot, calls: int
) -> None:
    cut_after(enforcement, calls)
    try:
        await getattr(enforcement, what)(order, snapshot)
    except TransientError:
        assert calls
    enforcement.iam.hook = None


@given(
    modes=st.lists(st.sampled_from(["deny", "detach"]), min_size=4, max_size=4),
    pick=st.lists(st.sampled_from(range(4)), min_size=1, max_size=3),
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(ACTS), st.integers(0, 14)), max_size=12
    ),
    last=st.permutations(range(3)),
    together=st.booleans(),
)
def test_whatever_crashes_where_policies_end_as_they_began(
    modes: list[Mode], pick: list[int], steps: list[Step], last: list[int], together: bool
) -> None:
    """Suspensions of the same and of different targets, cut short anywhere, then all restored."""

    async def run() -> None:
        enforcement = started()
        before = [
            (one.attached.copy(), one.inline.copy(), one.keys.copy())
            for one in enforcement.iam.entities.values()
        ]
        policies = dict(enforcement.iam.policies)
        orders: dict[int, tuple[Order, Snapshot]] = {}
        done: set[int] = set()

        async def held(number: int) -> tuple[Order, Snapshot] | None:
            if number >= len(pick) or number in done:
                return None
            if number not in orders:
                target = TARGETS[pick[number]]
                order = Order(f"s{number}", modes[pick[number]], str(target))
                orders[number] = order, await enforcement.snapshot(target)
            return orders[number]

        if together:
            for number in range(len(pick)):
                await held(number)
        for number, what, calls in steps:
            found = await held(number)
            if found is None:
                continue
            await act(enforcement, what, *found, calls)
            if what == "suspend" and not calls:
                assert await enforcement.unsuspended(*found) == []
        for number in last:
            if number in orders:
                await enforcement.restore(*orders[number])
                await enforcement.restore(*orders[number])
                assert await enforcement.unrestored(*orders[number]) == []
                done.add(number)
        after = [(one.attached, one.inline, one.keys) for one in enforcement.iam.entities.values()]
        assert after == before
        assert enforcement.iam.policies == policies

    asyncio.run(run())
