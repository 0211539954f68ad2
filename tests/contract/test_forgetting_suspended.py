"""Whoever was suspended, restored and forgotten is named nowhere, however the name is spelt."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.calls import ACCOUNT, DAY, NOON, asynchronous
from tests.contract.test_forgetting import Still, World, _everything, _world
from worker.adapters.memory_enforcement import MemoryEnforcement, MemoryEntity
from worker.bootstrap.enforcing import Enforcing, open_enforcing
from worker.cli.by_hand import ByHand
from worker.core.attribution import key_of
from worker.core.enforcement import Hold
from worker.core.errors import EnforcementError
from worker.core.forgotten import NOTE, marks_in
from worker.core.registry import Registry
from worker.settings import EnforcementSettings

NEEDLE = "dormouse"
NAMES = {
    "user": ("user", f"{NEEDLE}@tea.example"),
    "session": ("session", "Data+Lab", f"a={NEEDLE},x@tea.example"),
}


async def _is_gone(_subject: str) -> bool:
    return False


def _enforcing(world: World, enforcement: MemoryEnforcement, stack: AsyncExitStack) -> Enforcing:
    return open_enforcing(
        EnforcementSettings(acts="worker", mode="detach"),
        records=world.state.records,
        outbox=world.state.outbox,
        clock=Still(),
        registry=Registry,
        stack=stack,
        enforcement=enforcement,
        is_gone=_is_gone,
    )


async def _suspended_and_restored(world: World, kind: str, names: tuple[str, ...]) -> None:
    """Suspend by a budget and by hand, with a refusal that names the person; restore by hand."""
    who = key_of(kind, ACCOUNT, *names)
    entity = MemoryEntity("user" if kind == "user" else "role", ACCOUNT, names[0])
    enforcement = MemoryEnforcement([entity])
    refusals = [f"AWS denies it: not authorized on resource: {kind} {names[-1]}"]

    def refuse(_when: str, _number: int, name: str) -> None:
        if name == "put_inline" and refusals:
            raise EnforcementError(refusals.pop())

    enforcement.iam.hook = refuse
    spelt = "/".join((kind, ACCOUNT, *names))
    async with AsyncExitStack() as stack:
        enforcing = _enforcing(world, enforcement, stack)
        hold = Hold("b1", NOON // DAY, 1, NOON, f"{spelt}: spent 5 of 1", end_ms=NOON + DAY)
        await enforcing.suspensions.hold(who, hold)
        await enforcing.enforcer.act_now(who)
        by_hand = ByHand(enforcing, Still(), "op@host")
        await by_hand.suspend(who, f"a key of {spelt}.")
        await enforcing.suspensions.lift(who, "b1", NOON // DAY)
        await by_hand.restore(who, f"asked {names[-1]}", all_holds=True)
    assert not refusals


def _read(folder: Path) -> bytes:
    return b"".join(one.read_bytes() for one in folder.iterdir())


@pytest.mark.parametrize("given", ["encoded", "as it is"])
@pytest.mark.parametrize("kind", NAMES)
@asynchronous
async def test_nothing_of_the_name_is_left(tmp_path: Path, kind: str, given: str) -> None:
    _kind, *names = NAMES[kind]
    plain = "/".join((kind, ACCOUNT, *names))
    who = key_of(kind, ACCOUNT, *names) if given == "encoded" else plain
    async with _world(f"sqlite:{tmp_path / 'ledger.db'}") as world:
        await _suspended_and_restored(world, kind, tuple(names))
        # Spelt in a record as AWS does, whoever wrote it.
        await world.audit.append(act="Seen", actor="x", subject=plain, before=f"snapshot/{plain}")
        assert NEEDLE in await _everything(world)
        done = await world.forget(who)
        said = await _everything(world)
        assert NEEDLE not in said
        assert done.pseudonym in said
        assert (await world.audit.check()).problems == ()
        marks = marks_in(await world.ledger.progress(NOTE))
        assert marks is not None
        assert marks.of(key_of(kind, ACCOUNT, *names)) is not None
    assert NEEDLE.encode() not in _read(tmp_path)
