"""Checked fields: what the record decoders share when a value is read, bounded or refused.

A decoder never trusts a record. Values arrive typed by msgspec, or they are refused with the
JSON path, what was expected and what was found, so that a quarantined record explains itself.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, NoReturn

import msgspec

from worker.core.evidence import QUANTITY_MAX, REQUEST_ID_LENGTH_MAX
from worker.core.results import Malformed

QUARANTINED_BODY_BYTES_MAX: Final = 262_144
"""Most bytes of a refused record that are kept; the rest is at its source."""
FOUND_LENGTH_MAX: Final = 80
"""Most characters of an offending value that a message quotes."""
ACCOUNT_LENGTH_MAX: Final = 64
MODEL_ID_LENGTH_MAX: Final = 2048
IDENTITY_LENGTH_MAX: Final = 2048
REGION_LENGTH_MAX: Final = 64
NAME_LENGTH_MAX: Final = 256
METADATA_PAIRS_MAX: Final = 16
"""AWS documentation: "Converse", `requestMetadata`: at most 16 pairs."""
METADATA_LENGTH_MAX: Final = 256
"""AWS documentation: "Converse", `requestMetadata`: keys and values of at most 256."""
OCCURRED_AT_MS_MIN: Final = 1_672_531_200_000
"""2023-01-01T00:00:00Z, before the service existed."""
OCCURRED_AT_MS_MAX: Final = 4_102_444_800_000
"""2100-01-01T00:00:00Z."""
DEPTH_MAX: Final = 64
"""Nesting that is kept of JSON which is nested too deeply to be parsed."""
NOTHING: Final = "nothing"
TIME_EXPECTED: Final = "an RFC 3339 time with an offset"
MS_PER_MINUTE: Final = 60_000

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MESSAGE: Final = re.compile(r"(?P<what>.*?)(?: - at `(?P<path>.*)`)?", re.DOTALL)
_GOT: Final = re.compile(r"Expected (?P<expected>.*), got (?P<found>.*)", re.DOTALL)
_BRACKET_OR_TEXT: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_CARRYING: Final = re.compile(r"\.9{6}", re.ASCII)
_STEP: Final = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+|\.\.\.)\]")

Quantity = Annotated[int, msgspec.Meta(ge=0, le=QUANTITY_MAX)]
"""A count as a record may carry it; msgspec refuses others."""
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with an offset; msgspec refuses times without one."""


class _Times(msgspec.Struct, gc=False):
    """The time of a record as it was written: of an invocation log, or of a CloudTrail event."""

    timestamp: str | None = None
    event_time: str | None = msgspec.field(name="eventTime", default=None)


_decode_times: Final = msgspec.json.Decoder(_Times).decode
_decode_metadata: Final = msgspec.json.Decoder(dict[str, str | None] | None).decode
_decode_pairs: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text: Final = msgspec.json.Decoder(str).decode


class FieldError(Exception):
    """A value that cannot be accepted.

    Attributes:
        path: JSON path of the value.
        expected: What was expected there.
        found: What was found, shortened.
    """

    def __init__(self, path: str, expected: str, found: str) -> None:
        super().__init__(path, expected, found)
        self.path = path
        self.expected = expected
        self.found = found


def malformed(raw: bytes | msgspec.Raw, path: str, expected: str, found: str) -> Malformed:
    """Return the outcome for a refused record, with its body cut to what is kept."""
    body = bytes(raw)
    return Malformed(
        path=path,
        expected=expected,
        found=found,
        body=body[:QUARANTINED_BODY_BYTES_MAX],
        truncated=len(body) > QUARANTINED_BODY_BYTES_MAX,
    )


def field_error(raw: bytes | msgspec.Raw, message: str, prefix: str = "$") -> FieldError:
    """Translate msgspec's complaint about `raw` into path, expected and found.

    Args:
        raw: The JSON that was refused.
        message: The text of the `ValidationError`.
        prefix: Where `raw` stands within its record.
    """
    match = _MESSAGE.fullmatch(message)
    what = match["what"] if match else message
    path = (match["path"] if match else None) or "$"
    got = _GOT.fullmatch(what)
    expected = (got["expected"] if got else what.removeprefix("Expected ")).replace("`", "")
    if expected.startswith(("datetime", "Invalid RFC3339")):
        expected = TIME_EXPECTED
    value = _value_at(raw, path)
    kind = got["found"].replace("`", "") if got else ""
    found = f"{kind} {value}".strip() or "another value"
    return FieldError(prefix + path[1:], expected.replace(" | null", ""), found)


def _value_at(raw: bytes | msgspec.Raw, path: str) -> str:
    """Return the value at a path, shortened, or an empty text where it cannot be told."""
    if "..." in path:
        return ""
    try:
        value = msgspec.json.decode(raw)
        for step in _STEP.finditer(path, 1):
            value = value[step["name"] or int(step["index"])]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return quote(value)


def quote(value: object) -> str:
    """Return a value as JSON of at most `FOUND_LENGTH_MAX` characters, control-free."""
    if isinstance(value, str):
        value = value[:FOUND_LENGTH_MAX]
    try:
        text = msgspec.json.encode(value).decode("utf-8", "replace")
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return shorten(text, FOUND_LENGTH_MAX)


def shorten(text: str, length_max: int) -> str:
    """Cut a text and replace what does not print, for use in messages."""
    if len(text) > length_max:
        text = text[: length_max - 1] + "…"
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)


def no_time(path: str) -> NoReturn:
    """Refuse a record without a time."""
    raise FieldError(path, TIME_EXPECTED, NOTHING)


def epoch_ms(instant: datetime, path: str, raw: bytes | msgspec.Raw) -> int:
    """Return an aware time as epoch milliseconds, exactly; refuse times beyond belief.

    A time with more than six decimals was rounded when it was decoded. Where that carried it
    into the next minute, hence perhaps into another day, month or price, it is taken back.

    Args:
        instant: The time as decoded.
        path: Where it stands.
        raw: The record, for the time as it was written.

    Raises:
        FieldError: The time lies outside 2023 to 2099.
    """
    # Integer parts of the difference: a float timestamp could round to another millisecond.
    since = instant - EPOCH
    time_ms = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    if time_ms % MS_PER_MINUTE == 0:
        times = _decode_times(raw)
        # Decimals of all nines within a time that reads as a whole minute: only by a carry.
        time_ms -= _CARRYING.search(times.timestamp or times.event_time or "") is not None
    if OCCURRED_AT_MS_MIN <= time_ms < OCCURRED_AT_MS_MAX:
        return time_ms
    raise FieldError(path, "a time from 2023 to 2099", quote(instant.isoformat()))


def checked_request_id(value: str | None, path: str) -> str:
    """Return a request id that is present, printable and of at most 128 characters."""
    if value and len(value) <= REQUEST_ID_LENGTH_MAX and value.isprintable():
        return value
    expected = f"a request id of 1 to {REQUEST_ID_LENGTH_MAX} printable characters"
    raise FieldError(path, expected, _found(value))


def checked_account(value: str | None, path: str) -> str:
    """Return an account id that can be part of a call key: 12 digits in production."""
    if value and len(value) <= ACCOUNT_LENGTH_MAX and value.isprintable() and "/" not in value:
        return value
    raise FieldError(path, "an account id", _found(value))


def checked_name(value: str | None, length_max: int, path: str) -> str:
    """Return an optional text, empty if absent; refuse one that is too long to be real.

    Texts that decide price or payer are refused rather than cut: two that differ beyond the
    cut would become one.
    """
    if not value:
        return ""
    if len(value) <= length_max:
        return value
    raise FieldError(path, f"a text of at most {length_max} characters", quote(value))


def required_name(value: str | None, length_max: int, path: str, what: str) -> str:
    """Return a text that must be there; refuse what is absent, empty or too long."""
    if not value:
        raise FieldError(path, what, _found(value))
    return checked_name(value, length_max, path)


def cut(value: str | None, length_max: int = NAME_LENGTH_MAX) -> str:
    """Return an optional informing text, cut to a length; empty if absent."""
    return value[:length_max] if value else ""


def read_metadata(raw: msgspec.Raw) -> tuple[tuple[str, str], ...]:
    """Return an undecoded object of caller-supplied metadata, see `bounded_metadata`.

    Metadata informs and never keeps a call from being counted: pairs whose value is no text are
    left out, and what is no object has no pairs.
    """
    if not raw:
        return ()
    try:
        return bounded_metadata(_decode_metadata(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return bounded_metadata(_texts_of(raw))


def _texts_of(raw: msgspec.Raw) -> dict[str, str | None]:
    texts: dict[str, str | None] = {}
    try:
        pairs = _decode_pairs(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return texts
    for key, value in pairs.items():
        try:
            texts[key] = _decode_text(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return texts


def bounded_metadata(pairs: Mapping[str, str | None] | None) -> tuple[tuple[str, str], ...]:
    """Return caller-supplied metadata sorted by key, within the documented limits.

    Untrusted: more pairs or longer texts than AWS allows are cut, never refused, so that they
    cannot keep a call from being counted.
    """
    if not pairs:
        return ()
    kept: dict[str, str] = {}
    for key in sorted(pairs):
        value = pairs[key]
        if value is None:
            continue
        kept.setdefault(key[:METADATA_LENGTH_MAX], value[:METADATA_LENGTH_MAX])
        if len(kept) == METADATA_PAIRS_MAX:
            break
    return tuple(kept.items())


TIERS: Final[Mapping[str, str]] = {"default": "standard", "on_demand": "standard", "auto": ""}
"""Service tiers whose name differs from ours; `auto` asks for no tier in particular."""


def service_tier(value: str | None) -> str:
    """Return a service tier as the catalogue names it, empty if unknown.

    AWS documentation: "ServiceTier" (priority, default, flex, reserved). Unknown names are
    kept, so that an unpriced tier shows rather than passing for the standard one.
    """
    if not value:
        return ""
    tier = value[:ACCOUNT_LENGTH_MAX].strip().lower()
    return TIERS.get(tier, tier)


def _found(value: str | None) -> str:
    return NOTHING if value is None else quote(value)


def without_deep_values(raw: bytes) -> bytes:
    """Return JSON with every value nested deeper than `DEPTH_MAX` replaced by null.

    Parsers give up on JSON nested some hundreds deep, wherever in it that is. A caller could
    nest a request body so and thereby hide the call; nothing that is counted lies that deep.
    """
    kept: list[bytes] = []
    depth = 0
    start = 0
    for match in _BRACKET_OR_TEXT.finditer(raw):
        token = match[0]
        if token in {b"{", b"["}:
            depth += 1
            if depth == DEPTH_MAX + 1:
                kept += (raw[start : match.start()], b"null")
        elif token in {b"}", b"]"}:
            depth -= 1
            if depth == DEPTH_MAX:
                start = match.end()
    if depth <= DEPTH_MAX:
        kept.append(raw[start:])
    return b"".join(kept)
