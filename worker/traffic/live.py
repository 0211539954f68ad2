"""Traffic as it happens: one call after another, at whatever time it is, with its own exact sums.

What an everyday call is logged as is a matter of its account, as it is with AWS: invocation logs
go to S3, to CloudWatch Logs, or to both; CloudTrail knows some calls as well, and a few are known
to CloudTrail alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final, Literal

from worker.traffic import bodies
from worker.traffic.cloudtrail import (
    EntriesShape,
    Event,
    api_event,
    completion_event,
    eventbridge,
)
from worker.traffic.invocation import Invocation, counted, log_text, with_body
from worker.traffic.people import ACCOUNTS, Caller, cast, role, task_sessions, user
from worker.traffic.prices import MODELS, Model, Tokens
from worker.traffic.registry import registry_toml
from worker.traffic.stream import (
    CACHE_READ_TOKENS,
    CACHE_WRITE_TOKENS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    TABLE_SIZE,
    request_id,
    zipf_slots,
)
from worker.traffic.sums import Call, Status, TrafficSums

Destination = Literal["s3", "logs"]

CAST_SINCE: Final = "2026-01-01"
"""Whoever is registered, is so since the first days of this year."""

_SLOTS: Final = 1 << 10
_PER_CENT: Final = 100
_TRAIL_ALONE_BELOW: Final = 8
_TRAIL_TOO_BELOW: Final = 30
_CACHED_BELOW: Final = 25
_WRITTEN_BELOW: Final = 10
_BODY_BELOW: Final = 10
_REPEATED_BELOW: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCall:
    """A call and what tells of it.

    Attributes:
        request: Its request id.
        account: Calling account.
        region: Calling Region.
        principal: Who should pay for it.
        log: The invocation-log record; empty if there is none.
        destinations: Where the log goes; the same place twice for a repeated record.
        events: CloudTrail's events, as EventBridge delivers them.
    """

    request: str
    account: str
    region: str
    principal: str
    log: str
    destinations: tuple[Destination, ...]
    events: tuple[Event, ...]


def company() -> tuple[Caller, ...]:
    """Return the demo's people, services and agents, all registered long ago."""
    return cast(CAST_SINCE)


def company_registry() -> str:
    """Return the registry that the sums of `company` presume, as TOML."""
    return registry_toml(company(), scenes=True)


def visitors(account: str, principals: int = 40) -> tuple[Caller, ...]:
    """Return callers of an account of their own, whom no registry mentions."""
    return tuple(
        user(account, "us-east-1", f"visitor-{index:03d}")
        if index % 2
        else role(account, "us-east-1", f"visiting-{index:03d}", task_sessions("task"))
        for index in range(principals)
    )


class LiveTraffic:
    """Makes calls. Equal seeds, callers and times make equal calls.

    Args:
        callers: Who calls, the busiest first.
        seed: Of the random numbers; request ids follow from it.
    """

    def __init__(self, callers: Sequence[Caller], seed: int) -> None:
        """Make nothing yet."""
        self.sums = TrafficSums()
        self._callers = callers
        self._models = MODELS[:12]
        self._random = Random(seed)  # noqa: S311  made-up data, not secrets
        self._caller_slots = zipf_slots(len(callers), _SLOTS)
        self._model_slots = zipf_slots(len(self._models), _SLOTS)
        # The end of a stream names the foundation model, whatever profile it was called through.
        self._unrouted = tuple(
            model for model in self._models if model.streams and not model.geography
        )

    def call(self, at_ms: int) -> LiveCall:
        """Make a call at a time, epoch milliseconds UTC, and count it.

        Logs tell the time to the millisecond, for the sake of measuring; AWS writes seconds.
        """
        kind = self._below(_PER_CENT)
        if kind < _TRAIL_ALONE_BELOW:
            return self._known_to_cloudtrail_alone(at_ms)
        model = self._models[self._model_slots[self._below(_SLOTS)]]
        with_trail = kind < _TRAIL_TOO_BELOW and model.streams
        call = self._invocation(model, self._caller(), self._tokens(model), at_ms)
        text = self._log(call, model)
        events = self._events(call, model, counts_at_end=bool(self._below(2))) if with_trail else []
        destinations = self._destinations(call.caller.account)
        self._count_records(len(destinations) + len(events), copies=len(destinations) - 1)
        return _live(call, text, destinations, events)

    def _known_to_cloudtrail_alone(self, at_ms: int) -> LiveCall:
        """No log, and no metadata: input and output of the end of a stream, or of the call."""
        model = self._unrouted[self._below(len(self._unrouted))]
        tokens = Tokens(input=self._draw(INPUT_TOKENS), output=self._draw(OUTPUT_TOKENS))
        call = self._invocation(model, self._caller().unlabelled(), tokens, at_ms)
        events = self._events(call, model, counts_at_end=bool(self._below(2)))
        self._book(call, model, "estimated")
        self._count_records(len(events), copies=0)
        return _live(call, "", (), events)

    def _invocation(self, model: Model, caller: Caller, tokens: Tokens, at_ms: int) -> Invocation:
        time = datetime.fromtimestamp(at_ms // 1_000, UTC)
        if not model.streams:
            operation = "InvokeModel"
        else:
            operation = "ConverseStream" if self._below(2) else "Converse"
        return Invocation(
            caller=caller,
            arn=caller.arns[self._below(len(caller.arns))],
            region=caller.region,
            hour=0,
            time=f"{time:%Y-%m-%dT%H:%M:%S}.{at_ms % 1_000:03d}Z",
            operation=operation,
            model_id=model.model_id,
            request=request_id(self._random.getrandbits(128)),
            tokens=tokens,
        )

    def _tokens(self, model: Model) -> Tokens:
        read = write = 0
        draw = self._below(_PER_CENT)
        if model.price.cache_read and draw < _CACHED_BELOW:
            read = self._draw(CACHE_READ_TOKENS)
            if model.price.cache_write_5m and draw < _WRITTEN_BELOW:
                write = self._draw(CACHE_WRITE_TOKENS)
        return Tokens(
            input=self._draw(INPUT_TOKENS),
            output=self._draw(OUTPUT_TOKENS) if model.streams else 0,
            cache_read=read,
            cache_write_5m=write,
        )

    def _log(self, call: Invocation, model: Model) -> str:
        """Return the record, now and then with bodies, and say what it should come to."""
        sent, received = counted(call, output=model.streams)
        status: Status = "priced"
        if model.streams and self._below(_PER_CENT) < _BODY_BELOW:
            text = bodies.TEXTS[self._below(len(bodies.TEXTS))]
            sent = with_body(sent, "input", bodies.converse_input(text))
            received = with_body(received, "output", bodies.converse_output(text, call.tokens))
        elif call.tokens.cache_write_5m and model.price.cache_write_1h:
            status = "estimated"  # nothing says for how long it was written
        self._book(call, model, status)
        return log_text(call, sent, received)

    def _events(self, call: Invocation, model: Model, *, counts_at_end: bool) -> list[Event]:
        """Return the call's events; a stream's counts come with its end."""
        if call.operation == "ConverseStream":
            shape: EntriesShape = "list" if counts_at_end else "object"
            events = [api_event(call, counts=False), completion_event(call, model.model, shape)]
        else:
            events = [api_event(call, counts=True)]
        return [eventbridge(event) for event in events]

    def _destinations(self, account: str) -> tuple[Destination, ...]:
        """Say where an account's logs go; a few records come twice."""
        choices: tuple[tuple[Destination, ...], ...] = (("s3",), ("logs",), ("s3", "logs"))
        number = ACCOUNTS.index(account) if account in ACCOUNTS else self._below(len(choices))
        chosen = choices[number % len(choices)]
        return (*chosen, chosen[0]) if self._below(_PER_CENT) < _REPEATED_BELOW else chosen

    def _book(self, call: Invocation, model: Model, status: Status) -> None:
        self.sums.add(
            Call(
                payer=call.caller.payer(call.day),
                account=call.caller.account,
                model=model.model,
                day=call.day,
                status=status,
                tokens=call.tokens,
                cost_pico_usd=model.price.cost_pico_usd(call.tokens),
            )
        )

    def _count_records(self, records: int, *, copies: int) -> None:
        self.sums.records += records
        self.sums.duplicates += copies
        self.sums.companions += records - copies - 1

    def _caller(self) -> Caller:
        return self._callers[self._caller_slots[self._below(_SLOTS)]]

    def _draw(self, table: Sequence[int]) -> int:
        return table[self._random.getrandbits(32) % TABLE_SIZE]

    def _below(self, bound: int) -> int:
        return self._random.getrandbits(32) % bound


def _live(
    call: Invocation, log: str, destinations: tuple[Destination, ...], events: Sequence[Event]
) -> LiveCall:
    return LiveCall(
        request=call.request,
        account=call.caller.account,
        region=call.region,
        principal=call.caller.payer(call.day).principal,
        log=log,
        destinations=destinations,
        events=tuple(events),
    )
