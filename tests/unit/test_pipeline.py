from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from tests.calls import MICRO, NOON, PRO, asynchronous, call, documents, entries, poster, snapshot
from tests.records import event, line, log, poison
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.core.batch import Batch
from worker.core.decoders import Decoder
from worker.core.errors import TransientError
from worker.core.evidence import Counts
from worker.core.posting import Poster
from worker.core.results import DeliveryResult, Ignored, Malformed, ObjectReference
from worker.pipeline import Digester, EvidenceRecord, Pipeline, Window
from worker.ports import Committed, Delivery


class Still:
    def now_ms(self) -> int:
        return NOON


class Faulty(MemoryLedger):
    faults = 1

    async def commit(self, batch: Batch, poster: Poster, *, touched: bool = False) -> Committed:
        if self.faults:
            self.faults -= 1
            raise TransientError("throttled")
        return await super().commit(batch, poster, touched=touched)


class FaultyQuarantine(MemoryQuarantine):
    faults = 1

    async def put(self, records: Sequence[Malformed]) -> list[str]:
        if self.faults:
            self.faults -= 1
            raise TransientError("disk full")
        return await super().put(records)


def pipeline(**parts: Any) -> Pipeline:
    made: dict[str, Any] = {
        "ledger": MemoryLedger(),
        "quarantine": MemoryQuarantine(Still()),
        "decoder": Decoder(),
        "poster": poster(),
    }
    return Pipeline(**{**made, **parts})


def lines(*records: dict[str, Any]) -> bytes:
    return b"\n".join(map(line, records))


async def kept(made: Pipeline) -> list[Any]:
    return [item.record async for item in made.quarantine.items()]


@asynchronous
async def test_every_delivery_ends_with_its_own_counts() -> None:
    made = pipeline()
    ended = await made.process(
        [
            Delivery(lines(log(1), poison(2), event(9, eventSource="s3.amazonaws.com")), "a"),
            Delivery(line(event(1)), "b"),
            Delivery(b"\x00 no payload", "c"),
            Delivery(line(log(1)), "d"),
        ]
    )
    assert [(one.receipt, one.result) for one in ended] == [
        ("a", DeliveryResult.ACKNOWLEDGED),
        ("b", DeliveryResult.ACKNOWLEDGED),
        ("c", DeliveryResult.QUARANTINED),
        ("d", DeliveryResult.ACKNOWLEDGED),
    ]
    assert [(one.records, one.ignored, one.quarantined) for one in ended] == [
        (3, 1, 1),
        (1, 0, 0),
        (1, 0, 1),
        (1, 0, 0),
    ]
    [entry] = (await entries(made.ledger)).values()
    assert entry.evidence.facts.principal_id == "AIDAALICE"
    assert sorted(one.position.source for one in await kept(made)) == ["a", "c"]


@asynchronous
async def test_nothing_to_do_is_done() -> None:
    assert await pipeline().process([]) == []


@asynchronous
async def test_a_passing_fault_defers_everything_and_the_next_try_books_it() -> None:
    made, deliveries = pipeline(ledger=Faulty()), [Delivery(line(log(1)), "a"), Delivery(b"{", "b")]
    deferred = await made.process(deliveries)
    assert {one.result for one in deferred} == {DeliveryResult.DEFERRED}
    assert all(one.reason for one in deferred)
    assert await entries(made.ledger) == {}
    ended = await made.process(deliveries)
    assert [one.result for one in ended] == ["Acknowledged", "Quarantined"]
    assert len(await entries(made.ledger)) == len(await kept(made)) == 1


@asynchronous
async def test_a_digest_that_failed_in_quarantine_is_booked_as_new_by_the_next_try() -> None:
    """What a replay says of its bookings must not depend on a fault in between."""
    made = pipeline(quarantine=FaultyQuarantine(Still()))
    digester = Digester(made.poster)
    digester.add(made.decoder.decode(lines(log(1), poison(2))))
    digest = digester.digest()
    with pytest.raises(TransientError):
        await made.book(digest)
    done = await made.book(digest)
    assert (done.recorded, done.duplicates) == (1, 0)


@asynchronous
async def test_redelivery_in_any_cut_changes_nothing() -> None:
    made = pipeline()
    everything = [log(1), log(2, user="bob"), event(1), log(1, None), poison(3)]
    await made.process([Delivery(lines(*everything), "a")])
    before = (await snapshot(made.ledger), await documents(made.ledger))
    for record in reversed(everything):
        await made.process([Delivery(line(record), "a"), Delivery(line(record), "a")])
    assert (await snapshot(made.ledger), await documents(made.ledger)) == before


class Breaking:
    """A decoder that breaks on some payloads, which the real one should never do."""

    def decode(self, payload: bytes, *, source: str) -> Any:
        if payload == b"break":
            raise RuntimeError("a bug")
        return Decoder().decode(payload, source=source)


@asynchronous
async def test_a_decoder_that_breaks_spoils_one_delivery_only() -> None:
    made = pipeline(decoder=Breaking())
    ended = await made.process([Delivery(b"break", "a"), Delivery(line(log(1)), "b")])
    assert [one.result for one in ended] == ["Quarantined", "Acknowledged"]
    [record] = await kept(made)
    assert (record.found, record.body) == ("RuntimeError: a bug", b"break")
    assert len(await entries(made.ledger)) == 1


@asynchronous
async def test_calls_that_cannot_be_priced_are_kept_with_their_evidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = pipeline()
    real = made.poster.rate

    def rate(one: Any) -> Any:
        if one.facts.model_id == MICRO:
            raise ZeroDivisionError("no such luck")
        return real(one)

    monkeypatch.setattr(made.poster, "rate", rate)
    body = lines(log(1, model=MICRO), log(1, model=MICRO), event(1, model=MICRO), log(2))
    digester = Digester(made.poster)
    digester.add(made.decoder.decode(body))
    digest = digester.digest()
    assert (digest.records, digest.batch.records, digest.quarantined) == (4, 1, 3)
    [ended] = await made.process([Delivery(body, "a")])
    assert (ended.records, ended.ignored, ended.quarantined) == (4, 0, 3)
    [record] = await kept(made)
    assert "ZeroDivisionError: no such luck" in record.reason
    stored = msgspec.json.decode(record.body, type=EvidenceRecord)
    assert stored.key == call(1).key
    assert stored.evidence.counts == Counts(1_000, 500)
    assert stored.evidence.facts.principal_id == "AIDAALICE"


# --- Digesting -------------------------------------------------------------------------------


def test_windows_are_half_open() -> None:
    window = Window(10, 20)
    assert [window.holds(at_ms) for at_ms in (9, 10, 19, 20)] == [False, True, True, False]
    assert Window().is_open
    assert not Window(0, None).is_open
    assert Window(None, 20).holds(-1)
    assert Window(10, None).holds(10**15)


def test_calls_outside_the_window_are_ignored_and_said_to_be() -> None:
    digester = Digester(poster(), Window(NOON, NOON + 1))
    digester.add([call(1, at_ms=NOON - 1), call(2), call(3, at_ms=NOON + 1)])
    digest = digester.digest()
    assert len(digest.batch.bodies) == 1
    assert (digest.records, digest.ignored, digest.quarantined) == (3, 2, 0)
    assert digest.ignored_reasons == {"outside of --since and --until": 2}


def test_a_digest_counts_every_record_once_and_starts_anew() -> None:
    digester = Digester(poster())
    bad = Malformed("$", "a", "b", b"x")
    digester.add([call(1), call(1), Ignored("x"), Ignored("x"), bad])
    digester.add([ObjectReference("bucket", "key"), Ignored("y"), bad])
    digest = digester.digest()
    assert digest.records == 8
    assert (digest.batch.records, digest.ignored, digest.quarantined) == (2, 4, 2)
    assert digest.ignored_reasons["x"] == 2
    assert digest.malformed == [bad, bad]
    assert digest.references == [ObjectReference("bucket", "key")]
    empty = digester.digest()
    assert (empty.records, empty.ignored, empty.malformed, empty.references) == (0, 0, [], [])


def test_reasons_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.pipeline.digest.REASONS_MAX", 3)
    digester = Digester(poster())
    digester.add([Ignored(f"reason {number}") for number in range(10)])
    digest = digester.digest()
    assert digest.ignored_reasons == {
        "reason 0": 1,
        "reason 1": 1,
        "reason 2": 1,
        "other reasons": 7,
    }
    assert digest.ignored == 10


def test_a_digester_is_full_by_calls_or_by_malformed_records() -> None:
    digester = Digester(poster())
    digester.add([call(1), call(1), call(2, model=PRO)])
    assert digester.is_full(2, 100)
    assert not digester.is_full(3, 100)
    digester.add([Malformed("$", "a", "b", b"x")] * 3)
    assert digester.is_full(100, 3)
    assert not digester.is_full(100, 4)
