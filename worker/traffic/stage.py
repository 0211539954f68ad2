"""Where scenes play: makes calls, books what they should come to, and puts records into files."""

from collections.abc import Sequence
from random import Random
from typing import Final

from worker.traffic.cloudtrail import Event, foreign_event
from worker.traffic.invocation import Invocation
from worker.traffic.people import Caller
from worker.traffic.prices import Model, Tokens
from worker.traffic.profile import TrafficProfile
from worker.traffic.stream import (
    CALLER_SLOTS,
    HOURS_PER_DAY,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    SECONDS_PER_HOUR,
    SHARE_SLOTS,
    Line,
    request_id,
    zipf_slots,
)
from worker.traffic.sums import Call, Status, TrafficSums
from worker.traffic.writer import BucketWriter, name_hex, to_gzip, to_json

_SEED_OFFSET: Final = 0x5CE7E
_TRAIL_EVENTS_MAX: Final = 100
_FOREIGN_EVERY: Final = 9


class Stage:
    """Everything that a scene needs. The hour is set from outside, in order."""

    def __init__(
        self,
        profile: TrafficProfile,
        callers: Sequence[Caller],
        bucket: BucketWriter,
        sums: TrafficSums,
    ) -> None:
        self.hour = 0
        self.bucket = bucket
        self.sums = sums
        self._profile = profile
        self._callers = callers
        self._slots = zipf_slots(len(callers), CALLER_SLOTS)
        self._random = Random(profile.seed + _SEED_OFFSET)  # noqa: S311  made-up data
        self._late: list[Line] = []
        self._trails: dict[tuple[str, str], list[Event]] = {}
        self._trail_files = 0
        self._foreign = 0

    def below(self, bound: int) -> int:
        """Draw an integer from 0 to `bound` - 1."""
        return self._random.getrandbits(32) % bound

    def tokens(self, *, read: int = 0, write_5m: int = 0, write_1h: int = 0) -> Tokens:
        """Draw input and output counts."""
        return Tokens(
            input=INPUT_TOKENS[self.below(len(INPUT_TOKENS))],
            output=OUTPUT_TOKENS[self.below(len(OUTPUT_TOKENS))],
            cache_read=read,
            cache_write_5m=write_5m,
            cache_write_1h=write_1h,
        )

    def caller(self, account: str = "") -> Caller:
        """Draw who calls, of one account if it is given."""
        chosen = self._callers[self._slots[self.below(CALLER_SLOTS)]]
        while account and chosen.account != account:
            chosen = self._callers[self._slots[self.below(CALLER_SLOTS)]]
        return chosen

    def invocation(
        self,
        model_id: str,
        operation: str = "Converse",
        *,
        tokens: Tokens | None = None,
        caller: Caller | None = None,
        region: str = "",
    ) -> Invocation:
        """Make a call in the current hour."""
        who = caller or self.caller()
        return Invocation(
            caller=who,
            arn=who.arns[self.below(len(who.arns))],
            region=region or who.region,
            hour=self.hour,
            time=f"{self.bucket.time(self.hour, self.below(SECONDS_PER_HOUR)):%Y-%m-%dT%H:%M:%S}Z",
            operation=operation,
            model_id=model_id,
            request=request_id(self._random.getrandbits(128)),
            tokens=tokens or self.tokens(),
        )

    def book(
        self,
        call: Invocation,
        model: Model | str,
        status: Status = "priced",
        *,
        cost_pico_usd: int | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        """Say what a call should be booked as; the cost follows from the model's price.

        Args:
            call: The call.
            model: What was called; a name alone has no price.
            status: How sure the figure is.
            cost_pico_usd: The cost, where it does not follow from the tokens.
            tokens: What can be known of the counts, where that is not all of them.
        """
        known = call.tokens if tokens is None else tokens
        if cost_pico_usd is None:
            cost_pico_usd = model.price.cost_pico_usd(known) if isinstance(model, Model) else 0
        self.sums.add(
            Call(
                payer=call.caller.payer(call.day),
                account=call.caller.account,
                model=model.model if isinstance(model, Model) else model,
                day=call.day,
                status=status,
                tokens=known,
                cost_pico_usd=cost_pico_usd,
            )
        )

    def log(self, call: Invocation, text: str) -> None:
        """Deliver a log record; some are delivered once more, in a later object."""
        line = Line(call.caller.account, call.region, call.hour, text)
        self.bucket.line(line)
        self.sums.records += 1
        if self.below(SHARE_SLOTS) < self._profile.duplicate_share * SHARE_SLOTS:
            self._late.append(line)

    def poison(self, call: Invocation, text: str) -> None:
        """Put a line that cannot be understood among the log records."""
        self.bucket.line(Line(call.caller.account, call.region, call.hour, text))
        self.sums.poison_lines += 1

    def trail(self, call: Invocation, event: Event) -> None:
        """Deliver a CloudTrail event, and now and then one that has nothing to do with us."""
        events = self._trails.setdefault((call.caller.account, call.region), [])
        events.append(event)
        self.sums.records += 1
        self._foreign += 1
        if self._foreign % _FOREIGN_EVERY == 0:
            events.append(
                foreign_event(call.caller, time=call.time, number=self._foreign // _FOREIGN_EVERY)
            )
            self.sums.ignored_records += 1
        if len(events) >= _TRAIL_EVENTS_MAX:
            self._put_trail(call.caller.account, call.region)

    def put(self, key: str, data: bytes) -> None:
        """Write an object of its own."""
        self.bucket.put(key, data)

    def begin_hour(self, hour: int) -> None:
        """Deliver what was held back, and the day's CloudTrail files at its end."""
        self.hour = hour
        self._deliver_late()
        if hour % HOURS_PER_DAY == HOURS_PER_DAY - 1:
            self._put_trails()

    def finish(self) -> None:
        """Deliver the rest."""
        self._deliver_late()
        self._put_trails()

    def _deliver_late(self) -> None:
        for line in self._late:
            self.bucket.line(line._replace(hour=self.hour))
            self.sums.records += 1
            self.sums.duplicates += 1
        self._late.clear()

    def _put_trails(self) -> None:
        for account, region in sorted(self._trails):
            self._put_trail(account, region)

    def _put_trail(self, account: str, region: str) -> None:
        events = self._trails.pop((account, region))
        # CloudTrail does not order the events of a file.
        events.sort(key=lambda event: str(event["eventID"]))
        self._trail_files += 1
        time = self.bucket.time(self.hour)
        unique = name_hex(self._profile.seed, "trail", self._trail_files)
        name = f"{account}_CloudTrail_{region}_{time:%Y%m%dT%H%M}Z_{unique}.json.gz"
        key = f"AWSLogs/{account}/CloudTrail/{region}/{time:%Y/%m/%d}/{name}"
        self.put(key, to_gzip(to_json({"Records": events})))
