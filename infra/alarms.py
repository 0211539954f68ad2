"""The alarms of a stage: what each watches, when it goes off, what it means and what mends it.

Only metrics that are really written are watched; docs/alarms.md lists every alarm, and tests
compare both. Two kinds of silence are told apart. A count of what went wrong is written only when
something did, so that missing data is good news. What a schedule writes each minute, whatever
happens, is a heartbeat: missing, it is the very thing to be woken by.

`page` is what nobody may sleep through: calls are not booked, or nobody would be stopped. `ticket`
can wait until morning, for nothing is lost meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from aws_cdk import aws_cloudwatch as cloudwatch

from infra.alarm import AT_LEAST, BREACHING, LATE_SECONDS, Alarm, math
from infra.alarms_aws import service_alarms
from infra.watched import Watched, queue_metric, stream_metric

MAXIMUM: Final = cloudwatch.Stats.MAXIMUM


def alarms_of(watched: Watched) -> Iterator[Alarm]:
    """Yield the alarms of a stage."""
    doctor = f"`ledgerock doctor --stage-path {watched.config.path.rstrip('/')}`"
    yield from _booking(watched, doctor)
    yield from _unreadable(watched, doctor)
    yield from _uncharged(watched)
    yield from _due_work(watched, doctor)
    if watched.config.enforcement.by != "off":
        yield _suspensions(watched)
    if watched.tells_people:
        yield from _people(watched, doctor)
    if watched.service is not None:
        yield from _container(watched, doctor)
    yield from service_alarms(watched, doctor)


def _booking(watched: Watched, doctor: str) -> Iterator[Alarm]:
    """Alarms on calls that are not booked although they came in."""
    queue = watched.ingest.queue.queue_name
    yield Alarm(
        name="queue-late",
        severity="page",
        metric=queue_metric(queue, "ApproximateAgeOfOldestMessage"),
        threshold=LATE_SECONDS,
        periods=5,
        means=f"For five minutes the oldest message in the queue has been older than {LATE_SECONDS}"
        " seconds: events are not booked, or come faster than they are.",
        mend=f"{doctor} says what cannot be reached; if all is well, raise `capacity`.",
    )
    # All sources together: deliveries of one hide that another is not read, which the ages of what
    # lies in each tell of. FILL makes zeros of what is missing.
    came_in = {"visible": queue_metric(queue, "ApproximateNumberOfMessagesVisible", minutes=5)}
    coming = "FILL(visible, 0)"
    if watched.ingest.stream is not None:
        stream = watched.ingest.stream.stream_name
        came_in["records"] = stream_metric(stream, "IncomingRecords")
        coming = "FILL(visible, 0) + FILL(records, 0)"
    yield Alarm(
        name="nobody-books",
        severity="page",
        metric=math(
            f"IF({coming} > 0 AND FILL(booked, 0) == 0, 1, 0)",
            {**came_in, "booked": watched.own("deliveries", result="acknowledged")},
            "something came in and nothing was acknowledged",
            minutes=5,
        ),
        threshold=0,
        periods=3,
        means="For fifteen minutes something came in, and no delivery of any source was booked and"
        " acknowledged.",
        mend=f"{doctor} says which function or task does not run, and why.",
    )
    yield Alarm(
        name="ledger-throttled",
        severity="ticket",
        metric=watched.own("request_throttles"),
        threshold=0,
        periods=3,
        means="For fifteen minutes DynamoDB has throttled requests of the workers; calls are"
        " booked late, none is lost.",
        mend="Look at the widget on throttles for the table; docs/cost.md says how much heat a"
        " partition takes, and a quota of the account may be raised.",
    )


def _unreadable(watched: Watched, doctor: str) -> Iterator[Alarm]:
    """Alarms on what went into quarantine."""
    place = f"{_books(watched)} --quarantine s3://BUCKET/quarantine"
    mend = (
        f"`ledgerock quarantine list {place}` says what does not fit, `ledgerock quarantine redrive"
        f" ID {place}` books it once it does. {doctor} names the bucket."
    )
    yield Alarm(
        name="quarantined",
        severity="ticket",
        metric=watched.own("records", result="quarantined"),
        threshold=0,
        means="Records could not be understood, and lie in quarantine: their calls are not in any"
        " sum.",
        mend=mend,
    )
    yield Alarm(
        name="deliveries-quarantined",
        severity="ticket",
        metric=watched.own("deliveries", result="quarantined"),
        threshold=0,
        means="Deliveries were put into quarantine whole, because the ledger refused them or they"
        " failed alone three times.",
        mend=mend,
    )
    yield Alarm(
        name="quarantine-share",
        severity="page",
        metric=math(
            "IF(all >= 100, quarantined / all, 0)",
            {
                "all": watched.own("records", minutes=15),
                "quarantined": watched.own("records", minutes=15, result="quarantined"),
            },
            "share of records in quarantine",
            minutes=15,
        ),
        threshold=0.1,
        means="Of a hundred records or more in fifteen minutes, more than a tenth went into"
        " quarantine: a source carries something else, or a deployed version cannot read it.",
        mend=f"{mend} Deploy the version before if it could.",
    )


def _uncharged(watched: Watched) -> Iterator[Alarm]:
    """Alarms on calls that cost something that is not known."""
    books = _books(watched)
    yield Alarm(
        name="unpriced",
        severity="ticket",
        metric=watched.own("unpriced_calls", minutes=60),
        threshold=0,
        means="In the last hour calls were booked without a rate: they count, but cost nothing in"
        " any sum or budget.",
        mend=f"`ledgerock report --by model {books}` names the model; add a price, then"
        f" `ledgerock rebook --pending {books}`.",
    )
    if not watched.config.cross_check:
        # With it every call may be seen without counts first, and get them from its log.
        yield Alarm(
            name="unmetered",
            severity="ticket",
            metric=watched.own("unmetered_calls", minutes=60),
            threshold=0,
            means="In the last hour calls were booked without counts: they count, but cost nothing"
            " in any sum or budget.",
            mend=f"`ledgerock report --by model {books}` names the model; a log that comes later"
            " mends it by itself.",
        )


def _due_work(watched: Watched, doctor: str) -> Iterator[Alarm]:
    """Alarms on what is due whether calls come or not; both metrics come each minute."""
    yield Alarm(
        name="announcing-late",
        severity="page",
        metric=watched.own("notices_oldest_pending_seconds", MAXIMUM, minutes=1),
        threshold=60,
        periods=5,
        missing=BREACHING,
        means="For five minutes an event has waited longer than a minute for the event bus, or"
        " nobody has looked: crossings and suspensions are not announced.",
        mend=f"{doctor} says what is wrong with the bus or its permissions; events go out by"
        " themselves then.",
    )
    yield Alarm(
        name="monitor-late",
        severity="page",
        metric=watched.own("monitor_lag_seconds", MAXIMUM, minutes=1),
        threshold=300,
        periods=5,
        missing=BREACHING,
        means="For five minutes what the monitor has to do has been due for more than five minutes,"
        " or it has not run: no grace period ends, nobody is suspended or restored.",
        mend=f"{doctor} says whether the monitor runs; its log says what fails.",
    )


def _suspensions(watched: Watched) -> Alarm:
    return Alarm(
        name="suspensions-failed",
        severity="page",
        metric=watched.own("suspensions_failed"),
        threshold=0,
        means="Somebody could not be suspended or restored: spend goes on, or work stands still.",
        mend="The event `Suspension Failed` says who, why, and which permission is missing;"
        f" `ledgerock principals list {_books(watched)}` shows everybody.",
    )


def _people(watched: Watched, doctor: str) -> Iterator[Alarm]:
    """Alarms on messages that do not reach anybody."""
    mend = f"{doctor} says which subscription is not confirmed, the log what the webhook answers."
    yield Alarm(
        name="people-late",
        severity="ticket",
        metric=watched.own("people_oldest_pending_seconds", MAXIMUM),
        threshold=LATE_SECONDS,
        periods=3,
        means="For fifteen minutes a message to people has not been taken by its channel.",
        mend=mend,
    )
    yield Alarm(
        name="people-given-up",
        severity="ticket",
        metric=watched.own("people_given_up"),
        threshold=0,
        means="A message to people was given up: nobody was told of a budget, and nobody will be.",
        mend=f"{mend} `ledgerock budgets list {_books(watched)}` shows where budgets stand.",
    )


def _container(watched: Watched, doctor: str) -> Iterator[Alarm]:
    """Alarms on what only the container's own loop can meet with."""
    yield Alarm(
        name="breaker-open",
        severity="page",
        metric=watched.own("breaker_open", MAXIMUM, minutes=1),
        threshold=0.5,
        comparison=AT_LEAST,
        periods=2,
        means="A worker has stopped receiving, because most of the latest records were"
        " quarantined.",
        mend=f"`ledgerock quarantine list {_books(watched)} --quarantine s3://BUCKET/quarantine`"
        " says what does not fit; point the source elsewhere, or deploy a version that reads it.",
    )
    yield Alarm(
        name="batches-failed",
        severity="page",
        metric=watched.own("batches_failed"),
        threshold=0,
        means="A batch ended with an error that nobody expected; it is tried again delivery by"
        " delivery.",
        mend=f"`aws logs tail {watched.config.name}-worker --since 1h` has the error; go back to"
        " the version before if it began with a deployment.",
    )
    yield Alarm(
        name="receives-failed",
        severity="ticket",
        metric=watched.own("receives_failed"),
        threshold=0,
        periods=3,
        means="For fifteen minutes polls of a queue or stream have failed.",
        mend=f"{doctor} says which permission or source is missing.",
    )


def _books(watched: Watched) -> str:
    """Return what tells a command which ledger is meant."""
    return f"--ledger dynamodb:{watched.config.name}"
