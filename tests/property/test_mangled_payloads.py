"""Whatever arrives, nothing raises, and every record ends as exactly one outcome."""

import gzip
import random
import re
import zlib
from collections.abc import Callable, Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.core.decoders.payloads import (
    aggregate,
    batch_job_created,
    batch_job_event,
    batch_line,
    batch_manifest,
    bridge_event,
    cloudtrail_event,
    invocation_log,
    log_key,
    log_line,
    notification,
    packed,
    payload,
    queue_event,
    s3_event,
    stream_event,
    subscription,
    text,
)
from worker.core.decoders import Decoder, Limits
from worker.core.evidence import QUANTITY_MAX, Observation
from worker.core.results import (
    Ignored,
    LifecycleSeen,
    Malformed,
    ObjectReference,
    Outcome,
    ProfileSeen,
)

BATCHES = 25
PAYLOADS_PER_EXAMPLE = 5
"""`dev` has 20 examples and `ci` 200: 2,500 and 62,500 payloads over all batches, twice."""

LOG = text(invocation_log(1))
EVENT = text(cloudtrail_event(2))
SEEDS: tuple[bytes, ...] = (
    LOG.encode(),
    payload(invocation_log(1, requestMetadata={"team": "writers"}, errorCode="Throttling")),
    EVENT.encode(),
    payload({"Records": [cloudtrail_event(1), cloudtrail_event(2)]}),
    payload(subscription(LOG, EVENT)),
    gzip.compress(payload(subscription(LOG, EVENT))),
    zlib.compress(payload(subscription(LOG))),
    payload({"awslogs": {"data": packed(subscription(LOG))}}),
    payload(queue_event(LOG, text(notification(EVENT)))),
    payload(stream_event(gzip.compress(payload(subscription(LOG))))),
    payload(bridge_event("AWS API Call via CloudTrail", cloudtrail_event(2))),
    payload(s3_event("logs/2026+10/a.json.gz")),
    b"\n".join(log_line(number) for number in range(4)),
    gzip.compress(b"\n".join(log_line(number) for number in range(4))),
    log_line(1) + log_line(2),
    payload(stream_event(aggregate(LOG.encode(), EVENT.encode(), gzip.compress(LOG.encode())))),
    aggregate(LOG.encode(), aggregate(EVENT.encode())),
    gzip.compress(payload(subscription(LOG))) + gzip.compress(payload(subscription(EVENT))),
    payload(batch_job_created()),
    payload(batch_job_event()),
    payload(batch_manifest(3, 36, 6)),
    b"\n".join(payload(batch_line(number)) for number in range(3)),
    b"2026-10-05T12:00:00.000Z " + LOG.encode() + b"\n2026-10-05T12:00:01.000Z " + EVENT.encode(),
    payload({"events": [{"timestamp": 1, "message": LOG}, {"timestamp": 2, "message": EVENT}]}),
    payload({"Events": [{"EventId": "1", "CloudTrailEvent": EVENT}]}),
    payload({"results": [[{"field": "@message", "value": LOG}]]}),
)
STRANGE: tuple[bytes, ...] = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-1",
    b"1" * 400,
    b"9223372036854775808",
    b"1.5",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"[" * 300,
    b'{"a":' * 300,
    b'"\\ud800"',
    b'"\\udc00\\ud800x"',
    b'"\\u0000"',
    b'"\xff\xfe"',
    b'"\xed\xa0\x80"',
    b'"',
    b"\\",
    b"\n",
    b"\0",
    b"\xef\xbb\xbf",
    b"\x1f\x8b\x08",
    b"\x78\x9c",
    b"\xf3\x89\x9a\xc2",
    b'"Records":[{}],',
    b'"eventSource":"aws:sqs",',
    b'"schemaType":"ModelInvocationLog",',
)
VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+|true|false|null|\{\}|\[\]')


def mangle(raw: bytes, randomness: random.Random) -> bytes:
    """Return a payload with one to four things wrong with it."""
    for _ in range(randomness.randint(1, 4)):
        raw = randomness.choice(MUTATIONS)(raw, randomness)
    return raw


def flip(raw: bytes, randomness: random.Random) -> bytes:
    changed = bytearray(raw or b"\0")
    for _ in range(randomness.randint(1, 3)):
        changed[randomness.randrange(len(changed))] = randomness.randrange(256)
    return bytes(changed)


def cut(raw: bytes, randomness: random.Random) -> bytes:
    start, end = sorted(randomness.randint(0, len(raw)) for _ in range(2))
    return randomness.choice((raw[:end], raw[start:], raw[:start] + raw[end:]))


def repeat(raw: bytes, randomness: random.Random) -> bytes:
    start = randomness.randint(0, len(raw))
    end = min(len(raw), start + randomness.randint(0, 200))
    return raw[:end] + raw[start:end] + raw[end:]


def insert(raw: bytes, randomness: random.Random) -> bytes:
    at = randomness.randint(0, len(raw))
    return raw[:at] + randomness.choice(STRANGE) + raw[at:]


def swap_value(raw: bytes, randomness: random.Random) -> bytes:
    """Replace a string, number or literal by another type of value."""
    places = [match.span() for match in VALUE.finditer(raw)]
    if not places:
        return raw
    start, end = randomness.choice(places)
    return raw[:start] + randomness.choice(STRANGE) + raw[end:]


def sign(raw: bytes, randomness: random.Random) -> bytes:
    """Give an aggregate, whatever it holds by now, a digest that agrees."""
    at = raw.find(b"\xf3\x89\x9a\xc2")
    return raw if at else aggregate(message=raw[4:-16])


def splice(raw: bytes, randomness: random.Random) -> bytes:
    other = randomness.choice(SEEDS)
    return raw[: randomness.randint(0, len(raw))] + other[randomness.randint(0, len(other)) :]


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip,
    cut,
    repeat,
    insert,
    swap_value,
    swap_value,
    splice,
    sign,
)


def check(outcome: Outcome) -> None:
    if isinstance(outcome, Observation):
        counts = outcome.evidence.counts
        for count in (counts.input_tokens, counts.output_tokens, counts.cache_read_tokens):
            assert count is None or 0 <= count <= QUANTITY_MAX
        assert outcome.key.count("/") >= 2
        return
    assert isinstance(outcome, Ignored | Malformed | ObjectReference | ProfileSeen | LifecycleSeen)
    assert outcome.position.path.startswith("$")
    if isinstance(outcome, Malformed):
        assert outcome.expected
        assert outcome.found
        assert outcome.reason.isprintable()
        assert len(outcome.body) <= 262_144


def streamed(decoder: Decoder, raw: bytes, pieces: Iterator[int]) -> list[Outcome]:
    def chunks() -> Iterator[bytes]:
        start = 0
        while start < len(raw):
            size = next(pieces)
            yield raw[start : start + size]
            start += size

    blocks = decoder.decode_stream(chunks(), source="abcdefghwxyz/manifest.json.out")
    return [outcome for block in blocks for outcome in block.outcomes]


@pytest.mark.parametrize("batch", range(BATCHES))
@settings(max_examples=PAYLOADS_PER_EXAMPLE * settings().max_examples // 2)
@given(seed=st.integers(min_value=0, max_value=2**48))
def test_mangled_payloads_never_raise(batch: int, seed: int) -> None:
    randomness = random.Random(f"{batch} {seed}")
    raw = randomness.choice(SEEDS)
    for _ in range(PAYLOADS_PER_EXAMPLE):
        raw = mangle(randomness.choice(SEEDS), randomness)
        outcomes = list(Decoder().decode(raw, source="message"))
        assert outcomes
        for outcome in outcomes:
            check(outcome)
    # The last one as a file too: how a transport cuts it must not matter.
    limits = randomness.choice((Limits(), Limits(block_bytes=64), Limits(block_bytes=1)))
    sizes = iter(lambda: randomness.choice((1, 2, 50, 5_000)), 0)
    first = streamed(Decoder(limits), raw, sizes)
    assert first == streamed(Decoder(limits), raw, iter(lambda: 1_000_000, 0))
    for outcome in first:
        check(outcome)


@settings(max_examples=5 * settings().max_examples)
@given(
    data=st.lists(
        st.one_of(
            st.integers(min_value=0, max_value=9_999).map(log_line),
            st.sampled_from((b"nonsense", b"{}", b'{"a":"b', b"[1]", b'"x"', b"\xff\xff")),
        ),
        max_size=12,
    ),
    block_bytes=st.sampled_from((1, 10, 333, 4_000)),
    line_bytes_max=st.sampled_from((4_000, 1_000_000)),
    compress=st.booleans(),
)
def test_every_line_ends_as_one_outcome(
    data: list[bytes], block_bytes: int, line_bytes_max: int, *, compress: bool
) -> None:
    content = b"".join(line + b"\n" for line in data)
    limits = Limits(block_bytes=block_bytes, line_bytes_max=line_bytes_max)
    raw = gzip.compress(content) if compress else content
    outcomes = streamed(Decoder(limits), raw, iter(lambda: 77, 0))
    if not data:
        outcomes = outcomes[1:]
    assert len(outcomes) == len(data)
    for number, (line, outcome) in enumerate(zip(data, outcomes, strict=True), 1):
        if isinstance(outcome, Observation):
            assert outcome.key.rsplit("/", 1)[1].encode() in line
        else:
            assert isinstance(outcome, Malformed)
            assert outcome.position.line == number
            assert not line.startswith(b'{"schemaType"')


@settings(max_examples=5 * settings().max_examples)
@given(
    bad=st.sets(st.integers(min_value=0, max_value=9), max_size=9),
    junk=st.sampled_from((None, 5, "x", {}, [], {"eventSource": "aws:sqs"}, {"body": LOG})),
    wrapper=st.sampled_from(("queue", "file", "array")),
)
def test_every_element_ends_as_one_outcome(bad: set[int], junk: object, wrapper: str) -> None:
    elements: list[object] = list(
        queue_event(*(log_line(n).decode() for n in range(10)))["Records"]
        if wrapper == "queue"
        else [cloudtrail_event(n) for n in range(10)]
    )
    for index in bad:
        elements[index] = junk
    raw = msgspec.json.encode(elements if wrapper == "array" else {"Records": elements})
    outcomes = list(Decoder().decode(raw))
    assert len(outcomes) == 10
    prefix = "$" if wrapper == "array" else "$.Records"
    for index, outcome in enumerate(outcomes):
        if index in bad:
            assert not isinstance(outcome, Observation)
            assert outcome.position.path.startswith(f"{prefix}[{index}]")
        else:
            assert isinstance(outcome, Observation)
            assert outcome.key == log_key(index)
