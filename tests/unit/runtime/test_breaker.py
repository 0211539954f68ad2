from worker.runtime.breaker import (
    REST_SECONDS,
    REST_SECONDS_MAX,
    WINDOW_RECORDS,
    WINDOW_SECONDS,
    Breaker,
)


def feed(breaker: Breaker, count: int, *, bad: bool, at: float = 0.0) -> list[bool]:
    """Take in single-record deliveries; return what each said."""
    return [breaker.add(at, records=1, quarantined=int(bad), deliveries=1) for _ in range(count)]


def test_a_bad_deploy_opens_it_after_a_hundred_records() -> None:
    breaker = Breaker()
    assert not any(feed(breaker, WINDOW_RECORDS - 1, bad=True))
    assert breaker.state(0.0) == "closed"
    assert feed(breaker, 1, bad=True) == [True]
    assert breaker.state(0.0) == "open"
    assert breaker.share == 1.0


def test_a_lone_poison_message_never_opens_it_however_many_records_it_holds() -> None:
    breaker = Breaker()
    assert not breaker.add(0.0, records=50_000, quarantined=50_000, deliveries=1)
    assert breaker.state(0.0) == "closed"


def test_a_quiet_queue_of_poison_now_and_then_never_opens_it() -> None:
    breaker = Breaker()
    for day in range(500):
        assert feed(breaker, 1, bad=True, at=day * WINDOW_SECONDS) == [False]


def test_less_than_half_leaves_it_closed_and_half_opens_it() -> None:
    breaker = Breaker()
    feed(breaker, 51, bad=False)
    assert not any(feed(breaker, 49, bad=True))
    # The first good one leaves the window: it is half and half.
    assert feed(breaker, 1, bad=True) == [True]


def test_what_was_good_long_ago_does_not_outweigh_what_is_bad_now() -> None:
    breaker = Breaker()
    feed(breaker, 100_000, bad=False)
    assert any(feed(breaker, WINDOW_RECORDS, bad=True))


def test_a_large_object_counts_with_its_delivery() -> None:
    breaker = Breaker()
    for _ in range(2):
        breaker.add(0.0, records=1_000, quarantined=1_000, deliveries=0)
        assert not breaker.add(0.0, records=0, quarantined=0, deliveries=1)
    breaker.add(0.0, records=1_000, quarantined=1_000, deliveries=0)
    assert breaker.add(0.0, records=0, quarantined=0, deliveries=1)


def test_half_open_one_batch_decides() -> None:
    breaker = Breaker()
    feed(breaker, WINDOW_RECORDS, bad=True)
    assert breaker.state(REST_SECONDS - 0.1) == "open"
    assert breaker.seconds_to_rest(REST_SECONDS - 1) == 1
    assert not breaker.add(1.0, records=9, quarantined=0, deliveries=9)  # was in flight
    assert breaker.state(REST_SECONDS) == "half-open"
    assert not breaker.add(REST_SECONDS, records=0, quarantined=0, deliveries=1)
    assert breaker.state(REST_SECONDS) == "half-open"
    assert not breaker.add(REST_SECONDS, records=10, quarantined=4, deliveries=3)
    assert breaker.state(REST_SECONDS) == "closed"
    assert breaker.share == 0.0
    assert breaker.seconds_to_rest(0.0) == 0.0


def test_what_stays_bad_is_tried_ever_more_rarely() -> None:
    breaker = Breaker()
    feed(breaker, WINDOW_RECORDS, bad=True)
    at, rests = 0.0, []
    for _ in range(7):
        rests.append(breaker.seconds_to_rest(at))
        at += rests[-1]
        assert breaker.add(at, records=1, quarantined=1, deliveries=1)
    assert rests[:3] == [REST_SECONDS, 2 * REST_SECONDS, 4 * REST_SECONDS]
    assert rests[-1] == REST_SECONDS_MAX


def test_half_open_good_news_waits_for_the_end_of_a_delivery_and_bad_news_does_not() -> None:
    breaker = Breaker()
    feed(breaker, WINDOW_RECORDS, bad=True)
    at = REST_SECONDS
    # A notification of an object that is not read yet, then a part of the object.
    assert not breaker.add(at, records=1, quarantined=0, deliveries=0)
    assert breaker.state(at) == "half-open"
    assert breaker.add(at, records=50, quarantined=50, deliveries=0)
    assert breaker.state(at) == "open"
    at += 2 * REST_SECONDS
    assert not breaker.add(at, records=50, quarantined=5, deliveries=0)
    assert breaker.state(at) == "half-open"
    assert not breaker.add(at, records=0, quarantined=0, deliveries=1)
    assert breaker.state(at) == "closed"
