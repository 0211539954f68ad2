"""Making users with a Bedrock API key: all or nothing, whatever fails, and wherever it dies."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.calls import NOON, asynchronous
from worker.adapters.memory_keys import MemoryKeys
from worker.adapters.memory_records import MemoryRecords
from worker.cli.keys_work import Created, KeyWish, KeyWork
from worker.core.budget_terms import Budget, Scope
from worker.core.directory import (
    MANAGED_TAG,
    PROVISIONED,
    Keys,
    LifecycleFact,
    Subject,
    encode_subject,
)
from worker.core.enforcement_names import DIRECTORY, KEYS
from worker.core.errors import ConfigurationError, LedgerockError, TransientError
from worker.core.provision import PROVISIONED_TAG
from worker.ports import Record
from worker.ports.provisioning import ApiKey, KeyUser

ACCOUNT = "111122223333"
BOT = f"user/{ACCOUNT}/ci-bot"
POLICY = "arn:aws:iam::aws:policy/AmazonBedrockLimitedAccess"


class KilledError(BaseException):
    """The process ended here."""


class Faulty:
    """Anything whose methods count as moments, before and after each; one may fail or kill."""

    def __init__(self, inner: Any, faults: "Faults", only: tuple[str, ...] = ()) -> None:
        self._inner, self._faults, self._only = inner, faults, only

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(found) or (self._only and name not in self._only):
            return found

        async def call(*arguments: Any, **named: Any) -> Any:
            self._faults.moment(f"before {name}")
            answer = await found(*arguments, **named)
            self._faults.moment(f"after {name}")
            return answer

        return call


class Faults:
    def __init__(self) -> None:
        self.moments: list[str] = []
        self.happens: Callable[[int, str], None] = lambda _number, _name: None

    def moment(self, name: str) -> None:
        self.moments.append(name)
        self.happens(len(self.moments), name)


class Budgets:
    """Budgets by name, with what they are on."""

    def __init__(self) -> None:
        self.scopes: dict[str, str] = {}

    async def give(self, budget: Budget) -> None:
        self.scopes[budget.name] = str(budget.scope)

    async def close(self, name: str) -> None:
        self.scopes.pop(name, None)


class Account:
    """An account, a ledger, and commands on them."""

    def __init__(self) -> None:
        self.iam = MemoryKeys(now_ms=NOON)
        self.records = MemoryRecords()
        self.budgets = Budgets()
        self.faults = Faults()
        self.shown: list[str] = []
        self.now = NOON

    def now_ms(self) -> int:
        return self.now

    def work(self) -> KeyWork:
        faults = self.faults
        return KeyWork(
            Faulty(self.iam, faults),
            Faulty(self.records, faults, ("write",)),
            Faulty(self.budgets, faults),
            self,
        )

    def show(self, created: Created) -> None:
        self.faults.moment("before show")
        self.shown.append(created.key.secret)

    async def create(self, name: str = "ci-bot", **wishes: Any) -> Created:
        def budgets(principal: str) -> list[Budget]:
            limit = {"limit_amount": 50 * 10**12, "scope": Scope("principal", principal)}
            return [Budget("of-key", **limit), Budget("of-tier", **limit)]  # type: ignore[arg-type]

        wish = KeyWish(name=name, budgets=budgets, **wishes)
        return await self.work().create(wish, self.show)

    async def noted(self, subject: str = BOT) -> Keys:
        """Return what the directory knows of the keys."""
        record = await self.records.get(KEYS, subject)
        assert record is not None
        return Keys(**json.loads(record.body)) if record.body else Keys(subject)

    def is_clean(self) -> bool:
        return not (self.iam.users or self.budgets.scopes)


@pytest.fixture
def account() -> Account:
    return Account()


# --- All of it -----------------------------------------------------------------------------------


@asynchronous
async def test_a_user_is_made_with_budgets_policy_and_key(account: Account) -> None:
    created = await account.create(days=30, tags=(("cost", "ci"),), boundary="arn:b")
    [user] = account.iam.users.values()
    assert (user.path, account.iam.boundaries) == ("/ledgerock/", {"ci-bot": "arn:b"})
    assert user.tags == {
        MANAGED_TAG: PROVISIONED,
        PROVISIONED_TAG: created.provision.intent,
        "cost": "ci",
    }
    assert account.iam.attached["ci-bot"] == {POLICY}
    assert account.budgets.scopes == dict.fromkeys(("of-key", "of-tier"), f"principal/{BOT}")
    [key] = user.keys
    assert (key.status, key.expires_at_ms) == ("Active", NOON + 30 * 86_400_000)
    provision = created.provision
    assert (provision.state, provision.key_ids) == ("ready", (key.id,))
    assert (provision.unique_id, provision.by) == (
        user.unique_id,
        f"arn:aws:iam::{ACCOUNT}:user/operator",
    )
    assert account.shown == [created.key.secret]


@asynchronous
async def test_the_intent_is_there_before_anything_is_made(account: Account) -> None:
    account.faults.happens = lambda _number, name: _fail() if name == "before create_user" else None
    with pytest.raises(TransientError):
        await account.create()
    writes = [name for name in account.faults.moments if "find" not in name]
    assert writes[2:5] == ["before write", "after write", "before create_user"]


@asynchronous
async def test_our_own_keys_are_no_news_and_others_are(account: Account) -> None:
    seen: list[Keys] = []

    def look(_number: int, name: str) -> None:
        if name == "before create_key":
            seen.append(Keys(**json.loads(account.records._records[KEYS, BOT].body)))

    account.faults.happens = look
    created = await account.create()
    [meanwhile] = seen
    assert meanwhile.made("ACCA-not-written-down-yet", NOON + 5_000)
    keys = await account.noted()
    assert keys.made(created.key.key.id, NOON + 86_400_000)
    assert not keys.made("ACCA-by-hand", NOON + 5_000)
    assert dict(map(tuple, keys.tags)) == {  # type: ignore[arg-type]
        MANAGED_TAG: PROVISIONED,
        PROVISIONED_TAG: created.provision.intent,
    }
    # Its events may come after it is gone already.
    await account.work().remove("ci-bot")
    after = await account.noted()
    assert after.made(created.key.key.id, NOON)
    assert after.tags == keys.tags


@asynchronous
async def test_the_tags_of_a_user_that_was_there_for_long_are_forgotten_with_it(
    account: Account,
) -> None:
    await account.create()
    account.now += 3_600_000
    await account.work().remove("ci-bot")
    assert (await account.noted()).tags == ()


@asynchronous
async def test_a_user_whose_name_was_there_before_is_another_principal(account: Account) -> None:
    facts = [
        LifecycleFact(BOT, "created", 1_000, "e1", unique_id="AIDAOLD"),
        LifecycleFact(BOT, "deleted", 2_000, "e2"),
    ]
    body = encode_subject(Subject(BOT, tuple(facts)))
    assert await account.records.write([Record(DIRECTORY, BOT, body, 1)])
    created = await account.create()
    assert created.principal == f"{BOT}/{created.provision.unique_id}"
    assert set(account.budgets.scopes.values()) == {f"principal/{created.principal}"}


# --- Refused -------------------------------------------------------------------------------------


@asynchronous
async def test_a_name_that_is_taken_is_refused_and_left_alone(account: Account) -> None:
    await account.iam.create_user("ci-bot", path="/", tags=[("mine", "yes")])
    before = account.iam.users["ci-bot"]
    with pytest.raises(ConfigurationError, match="choose another name"):
        await account.create()
    with pytest.raises(ConfigurationError, match="did not make this user"):
        await account.work().remove("ci-bot")
    assert (account.iam.users, account.budgets.scopes) == ({"ci-bot": before}, {})
    assert await account.work().listed() == []


@asynchronous
async def test_somebody_who_takes_the_name_meanwhile_keeps_it(account: Account) -> None:
    theirs = KeyUser("ci-bot", "AIDATHEIRS", "/", {}, (ApiKey("ACCATHEIRS", "Active", 0),))

    def take(_number: int, name: str) -> None:
        if name == "before create_user":
            account.iam.users["ci-bot"] = theirs

    account.faults.happens = take
    with pytest.raises(ConfigurationError, match="choose another name"):
        await account.create()
    assert account.iam.users == {"ci-bot": theirs}
    with pytest.raises(ConfigurationError, match="did not make this user"):
        await account.work().remove("ci-bot")


@asynchronous
async def test_a_second_key_of_a_name_is_refused(account: Account) -> None:
    await account.create()
    with pytest.raises(ConfigurationError, match="has a key already"):
        await account.create()
    assert len(account.iam.users["ci-bot"].keys) == 1


@pytest.mark.parametrize("name", ["", "a/b", "ü", "a b", "x" * 65])
@asynchronous
async def test_names_that_iam_does_not_take_are_refused(account: Account, name: str) -> None:
    with pytest.raises(ConfigurationError, match="will not do"):
        await account.create(name)
    assert account.faults.moments == []


# --- Failures ------------------------------------------------------------------------------------


def _fail() -> None:
    raise TransientError("cut off")


def _moments() -> list[str]:
    account = Account()
    asyncio.run(account.create())
    return account.faults.moments


MOMENTS = _moments()
CHANGING = [number for number, name in enumerate(MOMENTS, 1) if "home" not in name]


@pytest.mark.parametrize("number", CHANGING, ids=lambda number: MOMENTS[number - 1])
@asynchronous
async def test_whatever_fails_is_taken_back(account: Account, number: int) -> None:
    account.faults.happens = lambda now, _name: _fail() if now == number else None
    with pytest.raises(TransientError, match="cut off"):
        await account.create()
    assert account.is_clean()
    account.faults.happens = lambda _number, _name: None
    created = await account.create()
    assert account.iam.users["ci-bot"].keys == (created.key.key,)
    assert len(account.budgets.scopes) == 2


@pytest.mark.parametrize("again", ["create", "remove"])
@pytest.mark.parametrize("number", CHANGING, ids=lambda number: MOMENTS[number - 1])
@asynchronous
async def test_a_command_that_dies_is_cleaned_up_after(
    account: Account, number: int, again: str
) -> None:
    _die_at(account, number)
    with pytest.raises(KilledError):
        await account.create()
    account.faults.happens = lambda _number, _name: None
    if again == "create":
        if number > len(MOMENTS) - 2:  # all was written down, and the secret was lost
            with pytest.raises(ConfigurationError, match="has a key already"):
                await account.create()
            await account.work().remove("ci-bot")
        created = await account.create()
        assert account.iam.users["ci-bot"].keys == (created.key.key,)
    elif await account.records.get("p", BOT) is not None:
        await account.work().remove("ci-bot")
        assert account.is_clean()
    else:
        with pytest.raises(ConfigurationError, match="no such user"):
            await account.work().remove("ci-bot")


def _die_at(account: Account, number: int) -> None:
    """Kill the process there: nothing of it is done any more, rolling back included."""
    dead: list[int] = []

    def happens(now: int, _name: str) -> None:
        if now == number:
            dead.append(now)
        if dead:
            raise KilledError

    account.faults.happens = happens


@pytest.mark.parametrize("kept", ["delete_key", "strip", "delete_user", "close"])
@asynchronous
async def test_what_cannot_be_taken_back_is_named(account: Account, kept: str) -> None:
    def happens(_number: int, name: str) -> None:
        if name in {"before show", f"before {kept}"}:
            raise ConfigurationError(f"AWS denies {kept}")

    account.faults.happens = happens
    words = {"delete_key": "key ACCA", "strip": "policies", "close": "budget of-"}
    with pytest.raises(LedgerockError, match=r"run `ledgerock keys remove ci-bot`") as raised:
        await account.create()
    assert words.get(kept, "user ci-bot") in str(raised.value)
    assert f"AWS denies {kept}" in str(raised.value)
    assert not account.is_clean()
    [listed] = await account.work().listed()
    assert listed.provision.state == "removing"
    account.faults.happens = lambda _number, _name: None
    await account.work().remove("ci-bot")
    assert account.is_clean()


@asynchronous
async def test_a_secret_that_nobody_could_read_is_taken_back(account: Account) -> None:
    def broken(_number: int, name: str) -> None:
        if name == "before show":
            raise BrokenPipeError

    account.faults.happens = broken
    with pytest.raises(BrokenPipeError):
        await account.create()
    assert account.is_clean()


@asynchronous
async def test_an_interrupt_takes_everything_back(account: Account) -> None:
    def interrupt(_number: int, name: str) -> None:
        if name == "after create_key":
            raise asyncio.CancelledError

    account.faults.happens = interrupt
    with pytest.raises(asyncio.CancelledError):
        await account.create()
    assert account.is_clean()


# --- Removing ------------------------------------------------------------------------------------


@asynchronous
async def test_removing_takes_all_of_it_away_suspended_or_not(account: Account) -> None:
    await account.create()
    account.iam.inline["ci-bot"].add("ledgerock-deny-s1")
    account.iam.attached["ci-bot"].add(f"arn:aws:iam::{ACCOUNT}:policy/ledgerock/ledgerock-deny-s1")
    await account.iam.create_key("ci-bot")
    removed = await account.work().remove("ci-bot")
    assert (removed.state, len(removed.key_ids)) == ("removed", 2)
    assert account.is_clean()
    with pytest.raises(ConfigurationError, match="no such user"):
        await account.work().remove("ci-bot")


@asynchronous
async def test_what_others_gave_the_user_is_left_and_said(account: Account) -> None:
    await account.create()
    account.iam.inline["ci-bot"].add("theirs")
    with pytest.raises(LedgerockError, match="not made here"):
        await account.work().remove("ci-bot")
    assert account.iam.users["ci-bot"].keys == ()
    assert account.iam.inline["ci-bot"] == {"theirs"}
    assert len(account.budgets.scopes) == 2
    account.iam.inline["ci-bot"].clear()
    await account.work().remove("ci-bot")
    assert account.is_clean()


@asynchronous
async def test_a_user_that_was_replaced_is_left_alone(account: Account) -> None:
    await account.create()
    theirs = KeyUser("ci-bot", "AIDATHEIRS", "/", {})
    account.iam.users["ci-bot"] = theirs
    await account.work().remove("ci-bot")
    assert (account.iam.users, account.budgets.scopes) == ({"ci-bot": theirs}, {})


@pytest.mark.parametrize("number", range(1, 24))
@asynchronous
async def test_removing_that_dies_is_finished_by_the_next(account: Account, number: int) -> None:
    await account.create()
    account.faults.moments.clear()
    _die_at(account, number)
    try:
        await account.work().remove("ci-bot")
    except KilledError:
        account.faults.happens = lambda _number, _name: None
        if not account.is_clean() or (await account.work().listed()):
            await account.work().remove("ci-bot")
    assert account.is_clean()
