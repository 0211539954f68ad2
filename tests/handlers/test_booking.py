"""Real events through the real handlers into DynamoDB: exact, whatever happens half-way."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from handlers import announcer, cloudwatch_logs, eventbridge, kinesis, monitor, runtime, sqs
from handlers.opening import open_function
from handlers.runtime import DeferredError, FailedError, Process
from tests import dynamodb
from tests.calls import PRO
from tests.dynamodb import environment_of, ledger_at, local_endpoint, new_prefix
from tests.events import checked_all, checked_event
from tests.faults import error
from tests.handlers.lambdas import (
    awslogs_event,
    context,
    failures,
    kinesis_event,
    message_id,
    scheduled_event,
    sequence_number,
    sqs_event,
    subscription,
    table_event,
    trail_event,
)
from tests.records import completion, event, line, log, poison
from tests.unit.core.decoders.payloads import aggregate
from worker.adapters import aws_client, dynamodb_requests
from worker.adapters.dynamodb_requests import Dynamo
from worker.bootstrap import Booking
from worker.core.budget_terms import Budget, Scope
from worker.core.ledger import Amounts
from worker.pipeline.budget_looks import keep_budget
from worker.ports import Notice

CALL_PICO_USD = 2_400_000_000
"""1,000 tokens in at 0.8 and 500 out at 3.2 USD a million."""


class Function:
    """A function on a ledger of its own; may be started anew, as Lambda does.

    Attributes:
        prefix: Of its tables.
        announced: File that its events are announced in.
    """

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.prefix = new_prefix()
        self.announced = home / "events.jsonl"
        self._monkeypatch = monkeypatch
        self._environment = {
            "LEDGEROCK_LEDGER": f"dynamodb:{self.prefix}",
            "LEDGEROCK_CREATE_TABLES": "1",
            "LEDGEROCK_QUARANTINE": str(home / "quarantine"),
            "LEDGEROCK_RESOLVE_PROFILES": "0",
            "LEDGEROCK_BUS": f"file:{self.announced}",
        }
        self._process: Process | None = None
        asyncio.run(self._make_tables())
        self._environment["LEDGEROCK_CREATE_TABLES"] = "0"
        self.start()

    async def _make_tables(self) -> None:
        async with self._opened() as booking:
            await booking.pipeline.ledger.balances()
            await booking.state.budgets.budgets()

    def start(self) -> None:
        """Begin a new process; the one before is gone with all that it knew."""
        self.end()
        self._process = Process(lambda: open_function(self._environment))
        self._monkeypatch.setattr(runtime, "PROCESS", self._process)

    def end(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def totals(self) -> Amounts:
        """Return what is booked, of a ledger that is sound."""
        return asyncio.run(self._totals())

    async def _totals(self) -> Amounts:
        async with ledger_at(local_endpoint(), self.prefix) as ledger:
            verified = await ledger.verify()
            assert verified.differences == ()
            return (await ledger.totals("model")).get(PRO, Amounts())

    def set_budget(self, budget: Budget) -> None:
        async def put() -> None:
            async with self._opened() as booking:
                registry = booking.pipeline.poster.registry
                state, looks = booking.state, booking.budgets.looks
                assert await keep_budget(state.budgets, looks, budget, registry)

        asyncio.run(put())

    def notices(self, subject: str) -> list[Notice]:
        async def about() -> list[Notice]:
            async with self._opened() as booking:
                return await booking.state.outbox.about(subject)

        found = asyncio.run(about())
        checked_all(found)
        return found

    def events(self) -> list[dict[str, Any]]:
        """Return the details of all events that were announced, each checked by its schema."""
        if not self.announced.exists():
            return []
        lines = [json.loads(line) for line in self.announced.read_text().splitlines()]
        return [checked_event(one) for one in lines]

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Booking]:
        async with open_function(self._environment) as booking:
            yield booking


@pytest.fixture
def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Function]:
    for name, text in environment_of(local_endpoint()).items():
        monkeypatch.setenv(name, text)
    # Reading the service's description takes most of the time that a client takes to make.
    monkeypatch.setattr(dynamodb_requests, "get_session", lambda: dynamodb._SESSION)
    monkeypatch.setattr(aws_client, "get_session", lambda: dynamodb._SESSION)
    made = Function(tmp_path, monkeypatch)
    yield made
    made.end()


def test_every_trigger_and_payload_counts_a_call_once(function: Function) -> None:
    """Thirty calls, each told of by several events, through all functions, shuffled."""
    seed = random.randrange(10**6)
    shuffled = random.Random(seed)
    numbers = list(range(1, 31))
    logs = [log(number) for number in numbers]
    trails = [event(number, (1_000, 500)) for number in numbers]
    ends = [completion(number, (1_000, 500)) for number in numbers[:10]]
    invocations: list[tuple[Any, Any]] = []
    for _ in range(2):
        everything = [line(one) for one in (*logs, *trails, *ends)] + [b"\x00poison"]
        shuffled.shuffle(everything)
        invocations += [
            (sqs.handler, sqs_event(*everything[:20])),
            (sqs.handler, sqs_event(*everything[20:40], fifo=True)),
            (kinesis.handler, kinesis_event(aggregate(*everything[40:60]), *everything[60:])),
            (kinesis.handler, kinesis_event(subscription(*shuffled.sample(logs, 12)))),
            (cloudwatch_logs.handler, awslogs_event(*shuffled.sample(logs, 12), poison(7))),
            (eventbridge.handler, trail_event(shuffled.choice(trails))),
        ]
    shuffled.shuffle(invocations)
    for number, (handler, sent) in enumerate(invocations):
        if number % 4 == 0:
            function.start()
        answer = handler(sent, context(request=number))
        if handler in {sqs.handler, kinesis.handler}:
            assert failures(answer) == []
        else:
            assert answer is None
    totals = function.totals()
    assert (totals.calls, totals.cost_pico_usd) == (30, 30 * CALL_PICO_USD), f"seed {seed}"


def test_text_that_is_no_text_is_poison_and_no_error(function: Function) -> None:
    sent = sqs_event("\ud800", line(log(1)))
    assert failures(sqs.handler(sent, context())) == []
    broken = kinesis_event(b"", line(log(2)))
    broken["Records"][0]["kinesis"]["data"] = "not base64!"
    assert failures(kinesis.handler(broken, context())) == []
    assert cloudwatch_logs.handler({"awslogs": {"data": "####"}}, context()) is None
    assert function.totals().calls == 2


# --- Crossings -------------------------------------------------------------------------------


def test_a_crossing_is_announced_once_by_schedule_or_stream(function: Function) -> None:
    limit = 10 * CALL_PICO_USD
    function.set_budget(Budget("all", Scope("everything"), limit, period="monthly"))
    now = [line(log(number, at_ms=_now_ms())) for number in range(1, 9)]
    assert failures(sqs.handler(sqs_event(*now), context())) == []
    [warning] = function.notices("budget/all")
    assert (warning.state, warning.detail_type) == ("pending", "Budget Threshold Crossed")
    # What the announcer itself changes is no news, and what is new is announced at once.
    assert failures(announcer.handler(table_event("MODIFY", "REMOVE"), context())) == []
    assert function.events() == []
    assert failures(announcer.handler(table_event("MODIFY", "INSERT"), context())) == []
    assert [one["event_id"] for one in function.events()] == [warning.id]
    assert announcer.handler(scheduled_event(), context()) is None
    assert len(function.events()) == 1
    [warning] = function.notices("budget/all")
    assert warning.state == "announced"


def test_the_schedule_finds_what_no_call_will(function: Function) -> None:
    """A budget that is over its limit from the start is announced without another call."""
    assert failures(sqs.handler(sqs_event(line(log(1, at_ms=_now_ms()))), context())) == []
    function.set_budget(Budget("late", Scope("everything"), CALL_PICO_USD // 2))
    function.start()
    assert monitor.handler(scheduled_event(), context()) is None
    notices = function.notices("budget/late")
    assert {one.state for one in notices} == {"announced"}
    assert sorted(one["event_id"] for one in function.events()) == sorted(it.id for it in notices)
    assert notices


def _now_ms() -> int:
    from worker.adapters.clock import SystemClock  # noqa: PLC0415

    return SystemClock().now_ms()


# --- Half-way --------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone: nothing that it would still have done happens."""


class Fate:
    """Lets requests to DynamoDB through until one is the last, or never comes back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        self.is_made = False
        self.hangs = False
        real = Dynamo._once

        async def once(dynamo: Dynamo, operation: str, arguments: Any) -> Any:
            if self.left == 0:
                if self.is_made:
                    await real(dynamo, operation, arguments)
                if self.hangs:
                    await asyncio.Event().wait()
                raise Killed
            self.left -= 1
            return await real(dynamo, operation, arguments)

        monkeypatch.setattr(Dynamo, "_once", once)

    def after(self, requests: int, *, is_made: bool, hangs: bool = False) -> None:
        """Let so many pass; of the next, only its answer may be lost, or all of it."""
        self.left, self.is_made, self.hangs = requests, is_made, hangs


@pytest.mark.parametrize(
    "handler, make, is_made",
    [(sqs.handler, sqs_event, False), (kinesis.handler, kinesis_event, True)],
    ids=["before", "after"],
)
def test_a_process_that_dies_at_any_request_doubles_and_loses_nothing(
    function: Function, monkeypatch: pytest.MonkeyPatch, handler: Any, make: Any, is_made: bool
) -> None:
    """The same event is handed over until it is answered; then it is booked, and once."""
    function.set_budget(Budget("all", Scope("everything"), CALL_PICO_USD))
    fate = Fate(monkeypatch)
    deaths = calls = 0
    while True:
        sent = make(
            *[
                line(log(number, user=f"user-{number}", at_ms=_now_ms()))
                for number in range(1 + calls, 4 + calls)
            ]
        )
        calls += 3
        fate.after(deaths, is_made=is_made)
        try:
            answer = handler(sent, context())
        except Killed:
            deaths += 1
            function.start()
            fate.after(-1, is_made=False)
            assert failures(handler(sent, context())) == []
            continue
        assert failures(answer) == []
        break
    assert deaths >= 3
    fate.after(-1, is_made=False)
    totals = function.totals()
    assert (totals.calls, totals.cost_pico_usd) == (calls, calls * CALL_PICO_USD)
    assert len(function.notices("budget/all")) == 3


@pytest.mark.parametrize("is_made", [False, True], ids=["before", "after"])
def test_an_invocation_that_is_stuck_gives_up_in_time(
    function: Function, monkeypatch: pytest.MonkeyPatch, is_made: bool
) -> None:
    """Whatever its last request did, the batch comes again, and nothing is booked twice."""
    assert failures(sqs.handler(sqs_event(line(log(100))), context())) == []
    fate = Fate(monkeypatch)
    messages = sqs_event(*[line(log(number)) for number in range(3)])
    records = kinesis_event(*[line(log(number)) for number in range(3, 6)])
    bodies = awslogs_event(*[log(number) for number in range(6, 9)])
    fate.after(1, is_made=is_made, hangs=True)
    answer = sqs.handler(messages, context(seconds=0.3))
    assert failures(answer) == [message_id(number) for number in range(3)]
    fate.after(1, is_made=is_made, hangs=True)
    assert failures(kinesis.handler(records, context(seconds=0.3))) == [sequence_number(0)]
    fate.after(1, is_made=is_made, hangs=True)
    with pytest.raises(DeferredError):
        cloudwatch_logs.handler(bodies, context(seconds=0.3))
    fate.after(-1, is_made=False)
    # The same process goes on with the same clients.
    assert failures(sqs.handler(messages, context())) == []
    assert failures(kinesis.handler(records, context())) == []
    assert cloudwatch_logs.handler(bodies, context()) is None
    totals = function.totals()
    assert (totals.calls, totals.cost_pico_usd) == (10, 10 * CALL_PICO_USD)


def test_faults_that_passed_are_counted(
    function: Function, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = ["ThrottlingException", "TransactionConflictException"]
    real = Dynamo._once

    async def once(dynamo: Dynamo, operation: str, arguments: Any) -> Any:
        if operation == "transact_write_items" and faults:
            raise error(faults.pop(), operation)
        return await real(dynamo, operation, arguments)

    monkeypatch.setattr(Dynamo, "_once", once)
    assert failures(sqs.handler(sqs_event(line(log(1))), context())) == []
    met: dict[str, list[float]] = {}
    for row in capsys.readouterr().out.splitlines():
        printed = json.loads(row)
        if "_aws" in printed:
            met |= {name: printed[name] for name in printed if name.startswith("request_")}
    assert met == {"request_retries": [2], "request_conflicts": [1], "request_throttles": [1]}
    assert function.totals().calls == 1


def test_a_table_that_is_missing_is_the_operators_to_make(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    function._environment["LEDGEROCK_LEDGER"] = f"dynamodb:{new_prefix()}"
    with pytest.raises(Exception, match="there is no table") as found:
        sqs.handler(sqs_event(line(log(1))), context())
    assert not isinstance(found.value, FailedError)
