import pytest

from tests.calls import asynchronous, poster
from tests.unit.runtime.made import Hand
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.core.decoders import Decoder
from worker.core.errors import (
    ConfigurationError,
    LedgerCorruptError,
    RefusedError,
    TransientError,
)
from worker.pipeline import Isolation, Pipeline, isolation, put_aside
from worker.ports import Delivery

BUG = ValueError("a bug")


def deliveries(count: int) -> list[Delivery]:
    return [Delivery(b"{}", f"receipt-{number}", f"q/{number}") for number in range(count)]


def test_what_the_ledger_refuses_is_given_up_at_once_however_often_that_happens() -> None:
    known = Isolation()
    assert all(known.gives_up(one, RefusedError("too large")) for one in deliveries(20))


def test_what_fails_unexpectedly_is_given_up_at_the_third_try() -> None:
    known = Isolation()
    [one] = deliveries(1)
    again = Delivery(b"{}", "another receipt", one.name)
    assert [known.gives_up(each, BUG) for each in (one, again, one, again)] == [
        False,
        False,
        True,
        True,  # it could not be put aside, and came again
    ]


@pytest.mark.parametrize("error", [TransientError("throttled"), ConfigurationError("denied")])
def test_what_says_nothing_of_a_delivery_never_gives_it_up(error: Exception) -> None:
    known = Isolation()
    [one] = deliveries(1)
    for _ in range(5):
        with pytest.raises(type(error)):
            known.gives_up(one, error)


def test_an_error_that_hits_whatever_is_tried_is_raised_unless_something_is_booked() -> None:
    known, given = Isolation(), deliveries(10)
    for one in given[:4]:
        assert not known.gives_up(one, BUG)
    assert not known.gives_up(given[4], LedgerCorruptError("another error"))
    with pytest.raises(ValueError, match="a bug"):
        known.gives_up(given[4], BUG)
    known.booked()
    assert not known.gives_up(given[5], BUG)


def test_tries_are_forgotten_beyond_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "REMEMBERED_MAX", 2)
    known, given = Isolation(), deliveries(3)
    for one in given:
        known.gives_up(one, BUG)
    assert list(known._tries) == ["q/1", "q/2"]


@asynchronous
async def test_a_delivery_is_put_aside_whole_and_can_be_found() -> None:
    quarantine = MemoryQuarantine(Hand())
    made = Pipeline(
        ledger=MemoryLedger(), quarantine=quarantine, decoder=Decoder(), poster=poster()
    )
    ended = await put_aside(made, Delivery(b"body", "r", "q/1"), RefusedError("too large"))
    assert (ended.receipt, ended.result, ended.records) == ("r", "Quarantined", 1)
    [item] = [one async for one in quarantine.items()]
    assert item.record.reason == (
        "$: expected something that can be booked, found RefusedError: too large"
    )
    assert (item.record.body, item.record.position.source) == (b"body", "q/1")
    assert not item.record.truncated
