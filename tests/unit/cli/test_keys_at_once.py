"""Several commands on one user at once: what the one made and showed, the other leaves alone."""

import asyncio
from typing import Any

import pytest

from tests.calls import asynchronous
from tests.unit.cli.test_keys_work import POLICY, Account
from worker.cli.keys_work import Created, KeyWork
from worker.core.errors import LedgerockError, TransientError


@pytest.fixture
def account() -> Account:
    return Account()


@asynchronous
async def test_two_commands_at_once_make_one_user(account: Account) -> None:
    ended = await asyncio.gather(*(account.create() for _ in range(4)), return_exceptions=True)
    made = [one for one in ended if isinstance(one, Created)]
    assert len(made) == 1
    assert account.iam.users["ci-bot"].keys == (made[0].key.key,)
    assert len(account.budgets.scopes) == 2


class Slow:
    """Anything one of whose methods waits once, until it may go on."""

    def __init__(self, inner: Any, name: str) -> None:
        self._inner, self._name = inner, name
        self.waits, self.goes_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._name:
            return found

        async def call(*arguments: Any, **named: Any) -> Any:
            self.waits.set()
            await self.goes_on.wait()
            return await found(*arguments, **named)

        return call

    def work(self, account: Account) -> KeyWork:
        is_iam = self._inner is account.iam
        iam, budgets = (self, account.budgets) if is_iam else (account.iam, self)
        return KeyWork(iam, account.records, budgets, account)


def _slow(account: Account, step: str) -> Slow:
    return Slow(account.budgets if step in {"give", "close"} else account.iam, step)


@pytest.mark.parametrize("step", ["create_user", "give", "attach", "create_key"])
@asynchronous
async def test_a_slow_command_takes_nothing_away_that_another_one_made(
    account: Account, step: str
) -> None:
    slow, work = _slow(account, step), account.work
    account.work = lambda: slow.work(account)  # type: ignore[method-assign]
    first = asyncio.create_task(account.create())
    await slow.waits.wait()
    account.work = work  # type: ignore[method-assign]
    made = await account.create()
    slow.goes_on.set()
    with pytest.raises(LedgerockError, match="at the same time"):
        await first
    assert account.shown == [made.key.secret]
    assert account.iam.users["ci-bot"].unique_id == made.provision.unique_id
    assert account.iam.users["ci-bot"].keys == (made.key.key,)
    assert account.iam.attached["ci-bot"] == {POLICY}
    assert set(account.budgets.scopes) == {"of-key", "of-tier"}
    await account.work().remove("ci-bot")
    assert account.is_clean()


@asynchronous
async def test_a_slow_command_takes_its_own_user_back_from_under_another_one(
    account: Account,
) -> None:
    work = account.work
    first, second = _slow(account, "create_user"), _slow(account, "create_user")
    account.work = lambda: first.work(account)  # type: ignore[method-assign]
    slow = asyncio.create_task(account.create())
    await first.waits.wait()
    account.work = lambda: second.work(account)  # type: ignore[method-assign]
    other = asyncio.create_task(account.create())
    await second.waits.wait()
    first.goes_on.set()
    with pytest.raises(TransientError, match="at the same time"):
        await slow
    assert account.is_clean()
    second.goes_on.set()
    made = await other
    assert account.iam.users["ci-bot"].keys == (made.key.key,)
    account.work = work  # type: ignore[method-assign]
    assert [one.provision.state for one in await account.work().listed()] == ["ready"]


@pytest.mark.parametrize("step", ["find", "delete_key", "strip", "close"])
@asynchronous
async def test_a_slow_removal_takes_nothing_away_that_was_made_since(
    account: Account, step: str
) -> None:
    await account.create()
    slow = _slow(account, step)
    first = asyncio.create_task(slow.work(account).remove("ci-bot"))
    await slow.waits.wait()
    await account.work().remove("ci-bot")
    made = await account.create()
    slow.goes_on.set()
    with pytest.raises(TransientError, match="at the same time"):
        await first
    assert account.iam.users["ci-bot"].keys == (made.key.key,)
    if step != "strip":  # asked for already: what is in IAM has no version
        assert account.iam.attached["ci-bot"] == {POLICY}
    if step != "close":
        assert set(account.budgets.scopes) == {"of-key", "of-tier"}
