"""Usage that is not charged is noticed once per subject, cause and day, whoever makes up names."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from tests.calls import DAY, HOUR, NOON, asynchronous
from tests.events import checked_all
from worker.adapters.memory_state import MemoryOutbox
from worker.core.errors import TransientError
from worker.core.ledger import MS_PER_DAY, Amounts, Leaf
from worker.core.results import Malformed, Position
from worker.pipeline.usage import (
    DAYS_MAX,
    SUBJECTS_MAX,
    UsageWatch,
    cause_of,
    is_day_over,
    source_of,
)
from worker.ports import Notice

TODAY = NOON // MS_PER_DAY
MODEL = "acme.unheard-of-v1:0"


class Clock:
    def __init__(self, now_ms: int = NOON) -> None:
        self.at_ms = now_ms

    def now_ms(self) -> int:
        return self.at_ms


class CountingOutbox(MemoryOutbox):
    """Counts requests; the first `faults` puts fail."""

    def __init__(self, faults: int = 0) -> None:
        super().__init__()
        self.requests: list[str] = []
        self.faults = faults

    async def put(self, notices: Sequence[Notice]) -> list[Notice]:
        self.requests.append("put")
        if self.faults:
            self.faults -= 1
            raise TransientError("throttled")
        return await super().put(notices)

    async def about(self, subject: str) -> list[Notice]:
        self.requests.append("about")
        return await super().about(subject)


def posting(
    model: str = MODEL, day: int = TODAY, user: str = "alice", **amounts: int
) -> tuple[Leaf, Amounts]:
    payer = f"user/111122223333/{user}"
    leaf = Leaf(payer, payer, "", "", "", "111122223333", model, day)
    return leaf, Amounts(calls=1, **amounts)


def malformed(source: str = "s3://logs/2026/a.json.gz", **more: Any) -> Malformed:
    fields = {"path": "$.input", "expected": "an object", "found": "4", "body": b"{}", **more}
    return Malformed(position=Position(source, line=7), **fields)


def watch(outbox: MemoryOutbox, now_ms: int = NOON) -> UsageWatch:
    return UsageWatch(outbox=outbox, clock=Clock(now_ms))


@asynchronous
async def test_charged_usage_costs_no_request() -> None:
    outbox = CountingOutbox()
    made = watch(outbox)
    assert await made.look([posting(cost_pico_usd=5)], []) == []
    assert await made.look([], []) == []
    assert outbox.requests == []


@asynchronous
async def test_uncharged_calls_are_noticed_once_per_model_cause_and_day() -> None:
    outbox = CountingOutbox()
    made = watch(outbox)
    postings = [
        posting(unpriced_calls=2),
        posting(user="bob", unpriced_calls=3),
        posting(unmetered_calls=1),
        posting(day=TODAY - 1, unpriced_calls=1),
        posting("acme.second", unpriced_calls=1),
    ]
    new = await made.look(postings, [])
    details = checked_all(new)
    assert sorted(
        (one["cause"], one["scope"]["id"], one["period"]["first_day"], one["calls"])
        for one in details
    ) == [
        ("unmetered", MODEL, "2026-10-01", 1),
        ("unpriced", "acme.second", "2026-10-01", 1),
        ("unpriced", MODEL, "2026-09-30", 1),
        ("unpriced", MODEL, "2026-10-01", 5),
    ]
    assert {notice.subject for notice in new} == {"usage/2026-10-01", "usage/2026-09-30"}
    requests = len(outbox.requests)
    assert await made.look(postings, []) == []
    assert len(outbox.requests) == requests
    # Another worker writes the same notices; a third knows them from a single look.
    assert await watch(outbox).look(postings, []) == []


@asynchronous
async def test_calls_that_only_move_between_payers_are_no_news() -> None:
    moved, leaf = posting(unmetered_calls=1), posting(user="bob", unmetered_calls=-1)
    assert await watch(MemoryOutbox()).look([moved, leaf], []) == []


@asynchronous
async def test_unmetered_calls_are_told_of_an_hour_later_and_unpriced_ones_soon() -> None:
    postings = [posting(unpriced_calls=1), posting(unmetered_calls=1)]
    new = await watch(MemoryOutbox()).look(postings, [malformed()])
    due = {notice.detail_type: notice.due_at_ms - NOON for notice in new}
    assert due == {"Usage Unpriced": 60_000, "Usage Unmetered": HOUR, "Usage Quarantined": 60_000}


@pytest.mark.parametrize(
    "day, due_in_ms",
    [(TODAY - 2, 60_000), (TODAY + 1, HOUR), (TODAY + 9, 60_000), (0, HOUR)],
    ids=["past", "tomorrow", "somebody's clock is wrong", "time not known yet"],
)
@asynchronous
async def test_nobody_waits_for_days_that_are_over(day: int, due_in_ms: int) -> None:
    [notice] = await watch(MemoryOutbox()).look([posting(day=day, unmetered_calls=1)], [])
    assert notice.due_at_ms == NOON + due_in_ms


def test_a_day_is_over_an_hour_after_its_end() -> None:
    end_ms = (TODAY + 1) * MS_PER_DAY
    assert not is_day_over(TODAY, end_ms + HOUR - 1)
    assert is_day_over(TODAY, end_ms + HOUR)


@asynchronous
async def test_made_up_models_are_told_of_together_after_the_first_two_hundred() -> None:
    outbox = MemoryOutbox()
    made = watch(outbox)
    numbers = count()
    for size in (150, 150, 500):
        names = [f"made-up-{next(numbers):04d}" for _ in range(size)]
        await made.look([posting(name, unpriced_calls=1) for name in names], [])
    fresh = watch(outbox)
    await fresh.look([posting("made-up-later", unpriced_calls=1)], [])
    details = checked_all(await outbox.about("usage/2026-10-01"))
    [folded] = [one for one in details if one["scope"]["kind"] == "other"]
    assert len(details) == SUBJECTS_MAX + 1
    assert folded["calls"] == 100
    assert folded["message"].startswith("100 calls of many models")
    # Another cause and another day have room of their own.
    assert len(await made.look([posting("made-up-9", unmetered_calls=1)], [])) == 1
    assert len(await made.look([posting("made-up-9", day=TODAY - 1, unpriced_calls=1)], [])) == 1


@asynchronous
async def test_quarantined_records_are_told_of_by_source_and_cause_with_their_number() -> None:
    outbox = CountingOutbox()
    made = watch(outbox)
    records = [
        malformed("s3://logs/a/1.json.gz", path="$.Records[3].eventTime"),
        malformed("s3://logs/b/2.json.gz", path="$.Records[41].eventTime"),
        malformed("sqs:audit/5f1c", path="$.Records[3].eventTime"),
        malformed("s3://logs/a/1.json.gz", expected="a string"),
    ]
    new = await made.look([], records)
    found = {
        (one["scope"]["id"], one["cause"]): (one["records"], one["position"])
        for one in checked_all(new)
    }
    assert found == {
        ("s3://logs", "$.Records[*].eventTime: expected an object"): (
            2,
            "s3://logs/a/1.json.gz line 7",
        ),
        ("sqs:audit", "$.Records[*].eventTime: expected an object"): (1, "sqs:audit/5f1c line 7"),
        ("s3://logs", "$.input: expected a string"): (1, "s3://logs/a/1.json.gz line 7"),
    }
    requests = len(outbox.requests)
    assert await made.look([], records[:2]) == []
    assert len(outbox.requests) == requests
    assert [made.quarantined_records(notice.id) for notice in new] == [4, 1, 1]
    assert made.quarantined_records("unheard of") == 0


@asynchronous
async def test_made_up_causes_are_told_of_together() -> None:
    outbox = MemoryOutbox()
    made = watch(outbox)
    records = [malformed(path=f"$.key{number}") for number in range(SUBJECTS_MAX + 50)]
    await made.look([], records)
    await made.look([], [malformed(path=f"$.more{number}") for number in range(50)])
    notices = await outbox.about("usage/2026-10-01")
    assert len(notices) == SUBJECTS_MAX + 1
    [(folded, detail)] = [
        (notice, one)
        for notice, one in zip(notices, checked_all(notices), strict=True)
        if one["scope"]["kind"] == "other"
    ]
    assert detail["records"] == 50
    assert made.quarantined_records(folded.id) == 100


@asynchronous
async def test_what_could_not_be_written_down_is_written_down_by_the_next_attempt() -> None:
    outbox = CountingOutbox(faults=1)
    made = watch(outbox)
    arguments = [posting(unpriced_calls=1)], [malformed()]
    with pytest.raises(TransientError):
        await made.look(*arguments)
    new = await made.look(*arguments)
    assert {notice.detail_type for notice in new} == {"Usage Unpriced", "Usage Quarantined"}
    assert [one.get("records") for one in checked_all(new)] == [None, 1]


@asynchronous
async def test_a_replay_of_years_remembers_few_days() -> None:
    outbox = MemoryOutbox()
    made = watch(outbox)
    days = range(TODAY - 3 * DAYS_MAX, TODAY)
    new = await made.look([posting(day=day, unpriced_calls=1) for day in days], [])
    assert len({notice.subject for notice in new}) == len(days)
    assert len(made._days) == DAYS_MAX
    assert await made.look([posting(day=days[0], unpriced_calls=1)], []) == []


@asynchronous
async def test_the_next_day_is_news_again() -> None:
    outbox = MemoryOutbox()
    clock = Clock()
    made = UsageWatch(outbox=outbox, clock=clock)
    assert len(await made.look([], [malformed()])) == 1
    clock.at_ms += DAY
    assert len(await made.look([], [malformed()])) == 1


@pytest.mark.parametrize(
    "source, common",
    [
        ("s3://logs/AWSLogs/a/b.json.gz", "s3://logs"),
        ("sqs:queue/5f1c-77", "sqs:queue"),
        ("kinesis:trail/shardId-0/4959", "kinesis:trail/shardId-0"),
        ("/var/logs/a.json", "/var/logs"),
        ("-", "-"),
        ("", ""),
    ],
)
def test_records_are_grouped_by_where_they_stood(source: str, common: str) -> None:
    assert source_of(Position(source)) == common


def test_a_cause_does_not_depend_on_the_place_in_a_list() -> None:
    one, other = malformed(path="$.Records[3].a[0]"), malformed(path="$.Records[71].a[12]")
    assert cause_of(one) == cause_of(other) == "$.Records[*].a[*]: expected an object"
