"""The everyday stream of invocation-log lines: Zipf-distributed callers, in time order, fast.

Lines are put together from fragments made once, and sums are kept in one flat list of integers
that is rolled up at the end of each day: millions of lines cost seconds and constant memory.
All randomness is `getrandbits` and all distributions are integer tables, so that a seed means
the same records on every version of Python and every platform.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from random import Random
from typing import Final, NamedTuple

from worker.traffic import bodies
from worker.traffic.people import Caller
from worker.traffic.prices import Model, Tokens
from worker.traffic.profile import TrafficProfile
from worker.traffic.sums import Call, TrafficSums

SECONDS_PER_HOUR: Final = 3_600
HOURS_PER_DAY: Final = 24
TABLE_BITS: Final = 12
TABLE_SIZE: Final = 1 << TABLE_BITS
CALLER_SLOTS: Final = 1 << 16
FAVOURITES: Final = 1 << 8
"""Slots of a caller's own mix of models."""
SHARE_SLOTS: Final = 1 << 16
LATE_HELD_MAX: Final = 2_000
"""Copies held back for a later file; bounds the memory they take."""

_MINUTES_SECONDS: Final = tuple(
    f"{second // 60:02d}:{second % 60:02d}" for second in range(SECONDS_PER_HOUR)
)
_HOUR_WEIGHTS: Final = (2, 2, 2, 2, 3, 4, 6, 9, 14, 18, 20, 20, 18, 19, 20, 19, 17, 14, 11, 8, 6, 5, 4, 3)  # noqa: E501  # fmt: skip
_WEEKEND: Final = 5
_CACHED_BELOW: Final = TABLE_SIZE // 4
_WRITTEN_BELOW: Final = TABLE_SIZE // 10
_ONLY_WRITTEN_BELOW: Final = TABLE_SIZE // 40
_CELL: Final = 6


class Line(NamedTuple):
    """A line of an invocation log and the log object it belongs to.

    Attributes:
        account: Calling account.
        region: Calling Region.
        hour: Hour of its delivery, counted from the profile's start.
        text: The record, without a line end.
    """

    account: str
    region: str
    hour: int
    text: str


def log_uniform(smallest: int, octaves: int) -> tuple[int, ...]:
    """Return a table of counts spread evenly over so many doublings of the smallest."""
    steps = TABLE_SIZE // octaves
    return tuple(
        (smallest << octave) * (steps + step) // steps
        for slot in range(TABLE_SIZE)
        for octave, step in [divmod(min(slot, octaves * steps - 1), steps)]
    )


INPUT_TOKENS: Final = log_uniform(20, 10)
OUTPUT_TOKENS: Final = log_uniform(5, 9)
CACHE_READ_TOKENS: Final = log_uniform(1_024, 6)
CACHE_WRITE_TOKENS: Final = log_uniform(1_024, 4)


def zipf_slots(ranks: int, slots: int) -> tuple[int, ...]:
    """Return a table to draw ranks 0, 1, ... from with weights 1, 1/2, 1/3, ...

    Args:
        ranks: How many; each gets at least one slot.
        slots: Size of the table, at least `ranks`.

    Raises:
        ValueError: There are more ranks than slots.
    """
    if ranks > slots:
        raise ValueError(f"{ranks} ranks do not fit {slots} slots: ask for fewer principals")
    weights = [10**12 // (rank + 1) for rank in range(ranks)]
    whole, spare = sum(weights), slots - ranks
    counts = [1 + weight * spare // whole for weight in weights]
    counts[0] += slots - sum(counts)
    return tuple(rank for rank, count in enumerate(counts) for _ in range(count))


def hourly_calls(profile: TrafficProfile, calls: int) -> tuple[int, ...]:
    """Spread the calls over the hours: busy days, quiet nights and weekends."""
    first = date.fromisoformat(profile.start).weekday()
    weights = [
        weight * (2 if (first + day) % 7 >= _WEEKEND else 5)
        for day in range(profile.days)
        for weight in _HOUR_WEIGHTS
    ]
    whole, reached, done = sum(weights), 0, 0
    shares = []
    for weight in weights:
        reached += weight
        shares.append(calls * reached // whole - done)
        done += shares[-1]
    return tuple(shares)


def day_of(profile: TrafficProfile, hour: int) -> str:
    """Return the ISO date of an hour counted from the profile's start."""
    start = date.fromisoformat(profile.start)
    return (start + timedelta(days=hour // HOURS_PER_DAY)).isoformat()


def request_id(bits: int) -> str:
    """Return a random UUID (version 4) from the lowest 122 bits."""
    return (
        f"{bits & 0xFFFFFFFF:08x}-{bits >> 32 & 0xFFFF:04x}-4{bits >> 48 & 0xFFF:03x}-"
        f"{bits >> 60 & 0x3FFF | 0x8000:04x}-{bits >> 74 & 0xFFFFFFFFFFFF:012x}"
    )


def caller_head(caller: Caller, arn: str, region: str) -> str:
    """Return the fragment of a line between its time and its request id."""
    metadata = ",".join(f'"{key}":"{value}"' for key, value in caller.metadata)
    extra = f'"requestMetadata":{{{metadata}}},' if metadata else ""
    return (
        f'"accountId":"{caller.account}",{extra}"identity":{{"arn":"{arn}"}},'
        f'"region":"{region}","requestId":"'
    )


class EverydayStream:
    """Makes the stream once. Iterate `hour` for each hour in turn, then call `finish`."""

    def __init__(
        self,
        profile: TrafficProfile,
        callers: Sequence[Caller],
        models: Sequence[Model],
        calls: int,
        sums: TrafficSums,
    ) -> None:
        """Prepare tables and fragments.

        Args:
            profile: What to make.
            callers: Who calls, the busiest first.
            models: What is called, the most used first.
            calls: How many calls, of the profile's, belong to this stream.
            sums: Where the expected totals are added.
        """
        self._profile = profile
        self._callers = callers
        self._models = models
        self._sums = sums
        self._random = Random(profile.seed)  # noqa: S311  made-up data, not secrets
        self.shares = hourly_calls(profile, calls)
        self._caller_slots = zipf_slots(len(callers), CALLER_SLOTS)
        model_slots = zipf_slots(len(models), FAVOURITES)
        # Everybody has favourites of their own: the same mix, rotated.
        self._favourites = [
            [(slot + 5 * index) % len(models) for slot in model_slots]
            for index in range(len(callers))
        ]
        self._heads = [
            [caller_head(caller, arn, caller.region) for arn in caller.arns] for caller in callers
        ]
        homes = sorted({(caller.account, caller.region) for caller in callers})
        by_home = {home: _model_fragments(*home, models) for home in homes}
        self._fragments = [by_home[caller.account, caller.region] for caller in callers]
        self._cells = [0] * (len(callers) * len(models) * 2 * _CELL)
        self._late: deque[Line] = deque()
        self._late_max = min(LATE_HELD_MAX, max(1, calls // 200))

    def hour(self, hour: int) -> Iterator[Line]:
        """Yield the lines of one hour."""
        calls, duplicates = self.shares[hour], 0
        profile, callers, late = self._profile, self._callers, self._late
        # The share is of all records, copies included; each call is copied once at most.
        share = profile.duplicate_share / (1 - profile.duplicate_share)
        soon_below, late_below = int(share * SHARE_SLOTS / 2), int(share * SHARE_SLOTS)
        prefix = f"{day_of(profile, hour)}T{hour % HOURS_PER_DAY:02d}:"
        getrandbits, compose = self._random.getrandbits, self._compose
        repeated: Line | None = None
        for index in range(calls):
            bits = getrandbits(256)
            time = prefix + _MINUTES_SECONDS[index * SECONDS_PER_HOUR // calls]
            rank = self._caller_slots[bits >> 128 & 0xFFFF]
            caller = callers[rank]
            line = Line(caller.account, caller.region, hour, compose(time, rank, bits))
            yield line
            if repeated is not None:
                yield repeated
                repeated = None
            copies = bits >> 144 & 0xFFFF
            if copies < late_below:
                duplicates += 1
                if copies < soon_below:
                    repeated = line
                else:
                    late.append(line)
                    if len(late) > self._late_max:
                        yield late.popleft()._replace(hour=hour)
        if repeated is not None:
            yield repeated
        self._sums.records += calls + duplicates
        self._sums.duplicates += duplicates
        if hour % HOURS_PER_DAY == HOURS_PER_DAY - 1:
            self._roll_up(day_of(profile, hour))

    def finish(self) -> Iterator[Line]:
        """Yield the copies that are still held back."""
        while self._late:
            yield self._late.popleft()._replace(hour=len(self.shares) - 1)

    def _compose(self, time: str, rank: int, bits: int) -> str:
        """Return one line and count it."""
        heads = self._heads[rank]
        head = heads[(bits >> 160 & 0xF) % len(heads)]
        number = self._favourites[rank][bits >> 164 & 0xFF]
        model = self._models[number]
        input_tokens = INPUT_TOKENS[bits >> 172 & 0xFFF]
        output_tokens = OUTPUT_TOKENS[bits >> 184 & 0xFFF] if model.streams else 0
        read = write = 0
        cache, estimated = "", 0
        if model.price.cache_read:
            draw = bits >> 196 & 0xFFF
            if draw < _CACHED_BELOW:
                if draw >= _ONLY_WRITTEN_BELOW:
                    read = CACHE_READ_TOKENS[(draw << 2) & 0xFFF]
                if draw < _WRITTEN_BELOW and model.price.cache_write_5m:
                    write = CACHE_WRITE_TOKENS[(draw << 4) & 0xFFF]
                    estimated = 1 if model.price.cache_write_1h else 0
            cache = f',"cacheReadInputTokenCount":{read},"cacheWriteInputTokenCount":{write}'
        form = bits >> 208 & 0x7
        sent = received = ""
        hour_write = 0
        if (bits >> 211 & 0xFFFF) < self._profile.body_share * SHARE_SLOTS:
            if write and model.price.cache_write_1h and bits >> 227 & 1:
                hour_write = write
            estimated = 0
            sent, received = _bodies(
                form,
                model,
                Tokens(
                    input=input_tokens,
                    output=output_tokens,
                    cache_read=read,
                    cache_write_5m=write - hour_write,
                    cache_write_1h=hour_write,
                ),
                bits >> 228 & 0x3F,
            )
        cells, cell = self._cells, ((rank * len(self._models) + number) * 2 + estimated) * _CELL
        cells[cell] += 1
        cells[cell + 1] += input_tokens
        cells[cell + 2] += output_tokens
        cells[cell + 3] += read
        cells[cell + 4] += write - hour_write
        cells[cell + 5] += hour_write
        counted = f',"outputTokenCount":{output_tokens}' if model.streams else ""
        return (
            f'{{"timestamp":"{time}Z",{head}{request_id(bits)}{self._fragments[rank][number][form]}'
            f'"input":{{"inputContentType":"application/json"{sent},"inputTokenCount":{input_tokens}'
            f'{cache}}},"output":{{"outputContentType":"application/json"{received}{counted}}},'
            '"schemaType":"ModelInvocationLog","schemaVersion":"1.0"}'
        )

    def _roll_up(self, day: str) -> None:
        """Add a day's cells to the sums and clear them. Costs are linear: sums price exactly."""
        cells, width = self._cells, len(self._models)
        for cell in range(0, len(cells), _CELL):
            calls, *counts = cells[cell : cell + _CELL]
            if calls:
                rest, estimated = divmod(cell // _CELL, 2)
                rank, number = divmod(rest, width)
                caller, model = self._callers[rank], self._models[number]
                tokens = Tokens(
                    input=counts[0],
                    output=counts[1],
                    cache_read=counts[2],
                    cache_write_5m=counts[3],
                    cache_write_1h=counts[4],
                )
                self._sums.add(
                    Call(
                        payer=caller.payer(day),
                        account=caller.account,
                        model=model.model,
                        day=day,
                        status="estimated" if estimated else "priced",
                        tokens=tokens,
                        cost_pico_usd=model.price.cost_pico_usd(tokens),
                        calls=calls,
                    )
                )
        self._cells = [0] * len(cells)


def _operation(form: int, model: Model) -> str:
    """Return the API that a form of the call goes through; Claude is called in every way."""
    if not model.streams:
        return "InvokeModel"
    if model.model.startswith("anthropic.") and form & 2:
        return "InvokeModelWithResponseStream" if form & 1 else "InvokeModel"
    return "ConverseStream" if form & 1 else "Converse"


def _bodies(form: int, model: Model, tokens: Tokens, text: int) -> tuple[str, str]:
    """Return the fragments of a request and its response, in the shape of the operation."""
    asked, answered = bodies.TEXTS[text], bodies.TEXTS[text ^ 0x2A]
    operation = _operation(form, model)
    if operation.startswith("Converse"):
        sent, received = bodies.converse_input(asked), bodies.converse_output(answered, tokens)
    elif not model.streams:
        sent, received = f'{{"inputText":"{asked}"}}', bodies.embedding_output(tokens.input)
    elif operation == "InvokeModel":
        sent, received = bodies.claude_input(asked), bodies.claude_output(answered, tokens)
    else:
        sent, received = bodies.claude_input(asked), bodies.claude_stream(answered, tokens)
    return f',"inputBodyJson":{sent}', f',"outputBodyJson":{received}'


def _model_fragments(account: str, region: str, models: Sequence[Model]) -> list[tuple[str, ...]]:
    """Return, by model and form, the fragment of a line between request id and input."""
    elsewhere = "us-east-2"
    fragments = []
    for model in models:
        profile = f"arn:aws:bedrock:{region}:{account}:inference-profile/{model.model_id}"
        forms = []
        for form in range(8):
            named = profile if model.geography and form & 4 else model.model_id
            routed = f'"inferenceRegion":"{elsewhere}",' if model.geography and form & 1 else ""
            operation = _operation(form, model)
            forms.append(f'","operation":"{operation}",{routed}"modelId":"{named}",')
        fragments.append(tuple(forms))
    return fragments
