"""What AWS is told to hand over again: exactly what is not booked, in the shape it documents."""

import random
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import booking, kinesis, runtime, sqs
from tests.handlers.conftest import Start
from tests.handlers.lambdas import (
    ScriptedPipeline,
    context,
    failures,
    kinesis_event,
    message,
    message_id,
    opener,
    scripted,
    sequence_number,
    sqs_event,
)
from worker.core.errors import ConfigurationError, LedgerCorruptError, RefusedError
from worker.pipeline import Digest, Figures, Step
from worker.ports import Delivery

DEFERRED = "Deferred"
QUARANTINED = "Quarantined"

SQS_TABLE: list[tuple[str, bool, list[int], list[int]]] = [
    ("all is well", False, [], []),
    ("one of the middle", False, [2], [2]),
    ("several, in the order of the batch", False, [3, 0], [0, 3]),
    ("everything", False, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
    ("all is well in order", True, [], []),
    ("the first failed and all after it", True, [2], [2, 3, 4]),
    ("the first failed, whatever else did", True, [1, 3], [1, 2, 3, 4]),
    ("everything in order", True, [0], [0, 1, 2, 3, 4]),
    ("the last in order", True, [4], [4]),
]


@pytest.mark.parametrize(
    "fifo, deferred, expected", [row[1:] for row in SQS_TABLE], ids=[row[0] for row in SQS_TABLE]
)
def test_messages_that_come_again(
    start: Start, fifo: bool, deferred: list[int], expected: list[int]
) -> None:
    pipeline = ScriptedPipeline({message_id(number): DEFERRED for number in deferred})
    start(opener(scripted(pipeline)))
    answer = sqs.handler(sqs_event(*["{}"] * 5, fifo=fifo), context())
    assert failures(answer) == [message_id(number) for number in expected]


def test_a_queue_is_fifo_by_its_name_alone(start: Start) -> None:
    """A message without the attribute must not make the batch an unordered one."""
    event = sqs_event("{}", "{}", "{}", fifo=True)
    for record in event["Records"]:
        del record["attributes"]["MessageGroupId"]
    start(opener(scripted(ScriptedPipeline({message_id(1): DEFERRED}))))
    assert failures(sqs.handler(event, context())) == [message_id(1), message_id(2)]


def test_nothing_after_the_first_failure_of_a_fifo_batch_is_begun(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(booking, "SLICE_BYTES", 1)
    pipeline = ScriptedPipeline({message_id(1): DEFERRED})
    start(opener(scripted(pipeline)))
    answer = sqs.handler(sqs_event(*["{}"] * 4, fifo=True), context())
    assert failures(answer) == [message_id(1), message_id(2), message_id(3)]
    assert pipeline.seen == [[message_id(0)], [message_id(1)]]


def test_a_standard_batch_goes_on_after_a_failure(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(booking, "SLICE_BYTES", 1)
    pipeline = ScriptedPipeline({message_id(1): DEFERRED})
    start(opener(scripted(pipeline)))
    assert failures(sqs.handler(sqs_event(*["{}"] * 4), context())) == [message_id(1)]
    assert len(pipeline.seen) == 4


@pytest.mark.parametrize("fifo", [False, True])
def test_a_message_that_is_twice_in_a_batch_is_booked_and_reported_once(
    start: Start, fifo: bool
) -> None:
    event = sqs_event("{}", "{}", fifo=fifo)
    event["Records"] += [message(0, "{}", fifo=fifo), message(1, "{}", fifo=fifo)]
    pipeline = ScriptedPipeline({message_id(1): DEFERRED})
    start(opener(scripted(pipeline)))
    assert failures(sqs.handler(event, context())) == [message_id(1)]
    assert pipeline.seen == [[message_id(0), message_id(1)]]


@pytest.mark.parametrize("handler", [sqs.handler, kinesis.handler])
def test_an_empty_batch_is_a_success(start: Start, handler: Any) -> None:
    start(opener(scripted(ScriptedPipeline())))
    assert failures(handler({"Records": []}, context())) == []


# --- Kinesis ---------------------------------------------------------------------------------

KINESIS_TABLE: list[tuple[str, list[str], list[str], list[str]]] = [
    ("all is well", ["8", "9", "10"], [], []),
    ("one of them", ["8", "9", "10"], ["9"], ["9"]),
    ("the lowest as a number, not as a text", ["99", "100"], ["99", "100"], ["99"]),
    ("the lowest, wherever it stands", ["100", "99"], ["99", "100"], ["99"]),
    ("numbers of 56 digits", [sequence_number(one) for one in (9, 10, 11)],
     [sequence_number(10), sequence_number(11)], [sequence_number(10)]),
    ("shorter ones first", ["9" * 55, "1" + "0" * 55], ["9" * 55, "1" + "0" * 55], ["9" * 55]),
]  # fmt: skip


@pytest.mark.parametrize(
    "numbers, deferred, expected",
    [row[1:] for row in KINESIS_TABLE],
    ids=[row[0] for row in KINESIS_TABLE],
)
def test_records_that_come_again(
    start: Start, numbers: list[str], deferred: list[str], expected: list[str]
) -> None:
    start(opener(scripted(ScriptedPipeline(dict.fromkeys(deferred, DEFERRED)))))
    event = kinesis_event(*[b"{}"] * len(numbers), numbers=numbers)
    assert failures(kinesis.handler(event, context())) == expected


def test_poison_never_holds_up_a_shard(start: Start) -> None:
    script = {sequence_number(number): QUARANTINED for number in range(3)}
    start(opener(scripted(ScriptedPipeline(script))))
    assert failures(kinesis.handler(kinesis_event(*[b"poison"] * 3), context())) == []


def test_what_is_done_before_a_failure_is_kept(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(booking, "SLICE_BYTES", 4)
    pipeline = ScriptedPipeline({sequence_number(3): DEFERRED})
    start(opener(scripted(pipeline)))
    event = kinesis_event(*[b"{}"] * 6)
    assert failures(kinesis.handler(event, context())) == [sequence_number(3)]
    assert [len(one) for one in pipeline.seen] == [2, 2]


# --- Any outcome -----------------------------------------------------------------------------

OUTCOMES = st.lists(
    st.sampled_from(["Acknowledged", "Deferred", "Quarantined"]), min_size=1, max_size=20
)


@given(outcomes=OUTCOMES, cut=st.integers(1, 21), fifo=st.booleans(), seed=st.integers(0, 99))
def test_exactly_what_did_not_end_comes_again(
    outcomes: list[str], cut: int, fifo: bool, seed: int
) -> None:
    """However a batch is cut into slices; in a FIFO one, with everything that follows."""
    ids = [message_id(number) for number in range(len(outcomes))]
    settings = {"LEDGEROCK_BATCH_DELIVERIES_MAX": str(cut)}
    process = runtime.Process(
        opener(scripted(ScriptedPipeline(dict(zip(ids, outcomes, strict=True))), **settings))
    )
    deferred = [one for one, outcome in zip(ids, outcomes, strict=True) if outcome == DEFERRED]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "PROCESS", process)
        found = failures(sqs.handler(sqs_event(*["{}"] * len(ids), fifo=fifo), context()))
        expected = ids[ids.index(deferred[0]) :] if fifo and deferred else deferred
        assert found == expected
        numbers = [sequence_number(number) for number in range(len(ids))]
        shuffled = random.Random(seed).sample(range(len(ids)), len(ids))
        script = dict(zip(numbers, outcomes, strict=True))
        process.close()
        process = runtime.Process(opener(scripted(ScriptedPipeline(script), **settings)))
        patch.setattr(runtime, "PROCESS", process)
        event = kinesis_event(*[b"{}"] * len(ids))
        found = failures(kinesis.handler(event, context()))
        assert found == [one for one in numbers if script[one] == DEFERRED][:1]
        # Out of order, nothing is ever skipped: all below what is reported was acknowledged.
        event["Records"] = [event["Records"][at] for at in shuffled]
        process.close()
        process = runtime.Process(opener(scripted(ScriptedPipeline(script), **settings)))
        patch.setattr(runtime, "PROCESS", process)
        found = failures(kinesis.handler(event, context()))
        below = [one for one in numbers if not found or int(one) < int(found[0])]
        assert all(script[one] != DEFERRED for one in below)
        process.close()


# --- Errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ConfigurationError("no such table"), LedgerCorruptError("a person must look")]
)
def test_an_error_of_ours_fails_the_whole_batch_as_it_is(start: Start, error: Exception) -> None:
    start(opener(scripted(ScriptedPipeline(error=error))))
    with pytest.raises(type(error), match=str(error)):
        sqs.handler(sqs_event("{}"), context())


def test_an_error_nobody_expected_quotes_no_text(start: Start) -> None:
    """The runtime prints what is raised, and so would what a caller wrote be printed."""
    start(opener(scripted(ScriptedPipeline(error=ValueError("secret prompt")))))
    with pytest.raises(
        runtime.FailedError, match=r"ValueError at .*lambdas\.py:\d+ steps"
    ) as found:
        kinesis.handler(kinesis_event(b"{}"), context())
    assert "secret" not in str(found.value)
    assert found.value.__suppress_context__


# --- Deliveries that can never be booked -----------------------------------------------------


class Strict(ScriptedPipeline):
    """Fails with whatever holds one of some deliveries; keeps what it is told to put aside."""

    def __init__(self, refused: set[str], error: Exception) -> None:
        super().__init__()
        self.refused, self.failure = refused, error
        self.put_aside: list[str] = []

    async def steps(
        self, deliveries: Sequence[Delivery], *, deadline: float | None = None
    ) -> AsyncGenerator[Step, None]:
        if any(one.receipt in self.refused for one in deliveries):
            raise self.failure
        async for step in super().steps(deliveries, deadline=deadline):
            yield Step(step.processed, Figures(recorded=1))

    async def book(self, digest: Digest) -> None:
        self.put_aside += [one.position.source for one in digest.malformed]


@pytest.mark.parametrize("fifo", [False, True])
def test_what_the_ledger_refuses_is_put_aside_at_once(start: Start, fifo: bool) -> None:
    pipeline = Strict({message_id(1), message_id(3)}, RefusedError("too large"))
    start(opener(scripted(pipeline)))
    assert failures(sqs.handler(sqs_event(*["{}"] * 5, fifo=fifo), context())) == []
    assert [one.rpartition("/")[2] for one in pipeline.put_aside] == [message_id(1), message_id(3)]


def test_a_record_that_always_fails_holds_up_its_shard_for_three_tries(start: Start) -> None:
    pipeline = Strict({sequence_number(1)}, LedgerCorruptError("an entry cannot be read"))
    start(opener(scripted(pipeline)))
    event = kinesis_event(*[b"{}"] * 3)
    answers = [failures(kinesis.handler(event, context())) for _ in range(3)]
    assert answers == [[sequence_number(1)], [sequence_number(1)], []]
    assert len(pipeline.put_aside) == 1


def test_an_error_that_hits_everything_fails_every_invocation(start: Start) -> None:
    pipeline = Strict({message_id(number) for number in range(9)}, ValueError("a bug"))
    start(opener(scripted(pipeline)))
    for _ in range(4):
        with pytest.raises(runtime.FailedError, match="ValueError"):
            sqs.handler(sqs_event(*["{}"] * 9), context())
    assert pipeline.put_aside == []
