import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.unit.core.decoders.payloads import (
    cloudtrail_event,
    invocation_log,
    log_key,
    log_line,
    payload,
    subscription,
    text,
)
from worker.core.decoders import Decoder, Limits
from worker.core.evidence import Observation
from worker.core.results import Ignored, Malformed, Outcome

MIB = 1024 * 1024


def read(chunks: Iterable[bytes] | bytes, limits: Limits | None = None) -> list[Outcome]:
    decoder = Decoder(limits or Limits())
    pieces = [chunks] if isinstance(chunks, bytes) else chunks
    blocks = decoder.decode_stream(pieces, source="file")
    return [outcome for block in blocks for outcome in block.outcomes]


def places(outcomes: list[Outcome]) -> list[tuple[str, int, str]]:
    """Outcomes as (key of the call or kind of outcome, line, path)."""
    return [
        (outcome.key, 0, "")
        if isinstance(outcome, Observation)
        else (type(outcome).__name__, outcome.position.line, outcome.position.path)
        for outcome in outcomes
    ]


def call(number: int) -> tuple[str, int, str]:
    return (log_key(number), 0, "")


def bad(line: int, path: str = "$") -> tuple[str, int, str]:
    return ("Malformed", line, path)


def pretty(number: int) -> bytes:
    return json.dumps(invocation_log(number), indent=2).encode()


ONE, TWO, THREE = log_line(1), log_line(2), log_line(3)


@pytest.mark.parametrize(
    "content, expected",
    [
        pytest.param(ONE + b"\n" + TWO + b"\n", [call(1), call(2)], id="lines"),
        pytest.param(ONE + b"\n" + TWO, [call(1), call(2)], id="no last line feed"),
        pytest.param(ONE + b"\r\n" + TWO + b"\r\n", [call(1), call(2)], id="carriage returns"),
        pytest.param(b"\n \n" + ONE + b"\n\n", [call(1)], id="blank lines"),
        pytest.param(b"\xef\xbb\xbf" + ONE + b"\n" + TWO, [call(1), call(2)], id="mark"),
        pytest.param(ONE + TWO + b" " + THREE, [call(1), call(2), call(3)], id="joined"),
        pytest.param(pretty(1), [call(1)], id="pretty"),
        pytest.param(pretty(1) + b"\n" + pretty(2) + b"\n", [call(1), call(2)], id="two pretty"),
        pytest.param(pretty(1) + pretty(2) + ONE, [call(1), call(2), call(1)], id="pretty joined"),
        pytest.param(
            b"[\n" + ONE + b",\n" + TWO + b"\n]\n", [call(1), call(2)], id="array over lines"
        ),
        pytest.param(
            json.dumps({"Records": [cloudtrail_event(1), cloudtrail_event(2)]}, indent=1).encode(),
            [call(1), call(2)],
            id="pretty CloudTrail file",
        ),
        pytest.param(
            ONE + b"\n" + TWO[:90] + b"\n" + THREE + b"\n",
            [call(1), bad(2), call(3)],
            id="line cut inside a string",
        ),
        pytest.param(
            TWO[: TWO.index(b'"input"')] + b"\n" + ONE + b"\n" + THREE + b"\n",
            [bad(1), call(1), call(3)],
            id="line cut behind a comma",
        ),
        pytest.param(
            TWO[: TWO.index(b'{"input')] + b"\n" + ONE + b"\n" + THREE + b"\n",
            [bad(1), call(1), call(3)],
            id="line cut behind a colon",
        ),
        pytest.param(
            TWO[:-2] + b"\n" + ONE + b"\n" + THREE + b"\n",
            [bad(1), call(1), call(3)],
            id="line cut before its brackets",
        ),
        pytest.param((TWO[:-2] + b"\n") * 3 + ONE, [bad(1), bad(2), bad(3), call(1)], id="all cut"),
        pytest.param(b"{\n" + ONE + b"\n", [bad(1), call(1)], id="bracket alone"),
        pytest.param(
            b'{\n\n \n"a":\n\n}\n' + ONE, [bad(1), bad(4), bad(6), call(1)], id="blank lines inside"
        ),
        pytest.param(
            pretty(1)[:-2] + b"\n" + pretty(2) + b"\n" + ONE,
            [*(bad(line) for line in range(1, pretty(1).count(b"\n") + 1)), call(2), call(1)],
            id="pretty document without its end",
        ),
        pytest.param(
            b"{} nonsense\n" + ONE, [bad(1), bad(1, "$#1"), call(1)], id="value and nonsense"
        ),
        pytest.param(b"[oops] more words {}\n" + ONE, [bad(1), call(1)], id="prose"),
        pytest.param(b"a,b,c\n1,2,3\n", [bad(1), bad(2)], id="no JSON"),
        pytest.param(b"\x00\x0b\x0c\x1c\x85\n" + ONE, [bad(1), call(1)], id="other separators"),
        pytest.param(b"", [("Ignored", 0, "$")], id="empty"),
        pytest.param(b"\n\n", [], id="only blank lines"),
        pytest.param(
            payload(subscription(ONE.decode())) + payload(subscription("no", TWO.decode())),
            [call(1), bad(1, "$#1.logEvents[0].message"), call(2)],
            id="joined subscriptions",
        ),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zlib.compress])
@pytest.mark.parametrize("piece", [1, 7, 1_000_000])
def test_texts_of_many_shapes(
    content: bytes,
    expected: list[tuple[str, int, str]],
    pack: Callable[[bytes], bytes],
    piece: int,
) -> None:
    packed = pack(content)
    chunks = [packed[start : start + piece] for start in range(0, len(packed), piece)]
    limits = Limits(block_bytes=piece)
    assert places(read(chunks, limits)) == expected


def test_lines_are_counted_across_blocks() -> None:
    lines = [log_line(number) for number in range(3_000)]
    lines[1_234] = b"{oops"
    lines[2_999] = b"oops}"
    outcomes = read(b"\n".join(lines))
    assert len(outcomes) == 3_000
    assert places([outcomes[1_234], outcomes[2_999]]) == [bad(1_235), bad(3_000)]


def test_blocks_tell_how_far_the_reading_is() -> None:
    content = b"".join(log_line(number) + b"\n" for number in range(3_000))
    blocks = list(Decoder().decode_stream([gzip.compress(content)], source="file"))
    assert len(blocks) > 2
    assert blocks[-1].bytes_read == len(content)
    assert blocks[-1].line == 3_001
    assert [block.bytes_read for block in blocks] == sorted(b.bytes_read for b in blocks)


def test_lines_in_memory_are_decoded_like_those_of_a_file() -> None:
    lines = [ONE, b"{", b"oops", TWO, b"", *pretty(3).split(b"\n")]
    outcomes = Decoder().decode_lines(lines, source="file", first_line=11)
    assert places(outcomes) == [call(1), bad(12), bad(13), call(2), call(3)]


class TestCompression:
    def test_members_and_padding(self) -> None:
        cut = len(ONE) // 2
        members = [ONE[:cut], ONE[cut:] + b"\n", b"", TWO]
        content = b"".join(gzip.compress(member) for member in members) + b"\0" * 1_000
        for piece in (1, 3, 100_000):
            chunks = [content[start : start + piece] for start in range(0, len(content), piece)]
            assert places(read(chunks)) == [call(1), call(2)]

    def test_many_small_members(self) -> None:
        content = b"".join(gzip.compress(log_line(n) + b"\n") for n in range(2_000))
        assert places(read(content)) == [call(n) for n in range(2_000)]

    @pytest.mark.parametrize("damage", ["cut", "checksum", "length", "garbage", "flip"])
    def test_lines_before_the_damage_count(self, damage: str) -> None:
        lines = b"".join(log_line(number) + b"\n" for number in range(4_000))
        content = bytearray(gzip.compress(lines))
        if damage == "cut":
            del content[-20:]
        elif damage == "checksum":
            content[-8] ^= 1
        elif damage == "length":
            content[-1] ^= 1
        elif damage == "garbage":
            content += b"garbage"
        else:
            content[len(content) // 2] ^= 0xFF
        outcomes = read(bytes(content))
        last = outcomes.pop()
        assert isinstance(last, Malformed)
        assert last.expected == "a complete gzip stream"
        assert "decompressed bytes" in last.found
        assert last.truncated
        good = [outcome for outcome in outcomes if isinstance(outcome, Observation)]
        if damage == "flip":
            # The bytes after a flipped one are anybody's guess; those before it are not.
            assert 1_500 < len(good) < 4_000
            assert places(outcomes[:1_500]) == [call(number) for number in range(1_500)]
        elif damage == "cut":
            assert 3_900 < len(good) < 4_000
            assert len(good) == len(outcomes)
        else:
            assert places(outcomes) == [call(number) for number in range(4_000)]

    def test_a_damaged_member_leaves_the_ones_before_it(self) -> None:
        outcomes = read(gzip.compress(ONE + b"\n") + gzip.compress(TWO)[:-4])
        assert places(outcomes) == [call(1), call(2), bad(2)]

    def test_a_cut_cloudtrail_file_keeps_the_records_before_the_cut(self) -> None:
        file = payload({"Records": [cloudtrail_event(number) for number in range(50)]})
        assert places(read(file[:-200])) == [*(call(n) for n in range(49)), bad(1, "$.Records[49]")]
        outcomes = read(gzip.compress(file)[:-9])
        assert isinstance(outcomes[-1], Malformed)
        assert places(outcomes[:-1])[:40] == [call(number) for number in range(40)]

    def test_utf_16_is_refused_once(self) -> None:
        (outcome,) = read(("\ufeff" + ONE.decode() * 3).encode("utf-16-le"))
        assert isinstance(outcome, Malformed)
        assert (outcome.expected, outcome.found) == ("UTF-8", "UTF-16")

    def test_an_empty_member_is_an_empty_object(self) -> None:
        (outcome,) = read(gzip.compress(b""))
        assert isinstance(outcome, Ignored)


class TestLongLines:
    LIMITS = Limits(line_bytes_max=4_000, block_bytes=1_000)

    @pytest.mark.parametrize("piece", [1, 333, 1_000, 4_000])
    def test_a_long_line_costs_only_itself(self, piece: int) -> None:
        long = b'{"odd":"' + b"x" * 9_000 + b'"}'
        junk = b"x" * 9_000
        content = b"\n".join([ONE, long, TWO, junk, THREE, b'{"cut":"' + junk, ONE])
        limits = Limits(line_bytes_max=4_000, block_bytes=piece)
        outcomes = read(content, limits)
        expected = [call(1), bad(2), call(2), bad(4), call(3), bad(6), call(1)]
        assert places(outcomes) == expected
        refused = outcomes[1]
        assert isinstance(refused, Malformed)
        assert "4,000 bytes" in refused.expected
        assert refused.truncated
        assert refused.body.startswith(b'{"odd":"xxx')

    @pytest.mark.parametrize("piece", [1, 333, 1_000, 4_000])
    def test_a_long_cloudtrail_file_is_read_record_by_record(self, piece: int) -> None:
        events = [cloudtrail_event(number) for number in range(40)]
        elements = [text(event) for event in events]
        elements[3] = '{"odd":"' + "y" * 5_000 + '"}'
        elements[5] = '"a, b] c"'
        elements[6] = "null"
        elements[7] = "[]"
        line = '{ "Records" : [ ' + " , ".join(elements) + ' ], "more": [{}] } '
        content = ONE + b"\n" + line.encode() + b"\n" + TWO
        outcomes = read(content, Limits(line_bytes_max=4_000, block_bytes=piece))
        expected = [call(number) for number in range(40)]
        for index in (3, 5, 6):
            expected[index] = bad(2, f"$.Records[{index}]")
        expected[7] = ("Ignored", 2, "$.Records[7]")
        assert places(outcomes) == [call(1), *expected, call(2)]

    def test_joined_values_on_a_long_line(self) -> None:
        values = [payload(subscription(log_line(n).decode())) for n in range(30)]
        outcomes = read(b"".join(values) + b'{"cut', self.LIMITS)
        assert places(outcomes) == [*(call(n) for n in range(30)), bad(1, "$#30")]

    def test_a_long_pretty_cloudtrail_file(self) -> None:
        file = {"Records": [cloudtrail_event(number) for number in range(30)]}
        content = json.dumps(file, indent=2).encode() + b"\n" + ONE + b"\n"
        assert places(read(content, self.LIMITS)) == [*(call(n) for n in range(30)), call(1)]

    def test_a_long_pretty_cloudtrail_file_that_is_cut(self) -> None:
        file = {"Records": [cloudtrail_event(number) for number in range(30)]}
        content = json.dumps(file, indent=2).encode()[:-200]
        outcomes = read(content + b"\n\n", self.LIMITS)
        assert places(outcomes) == [*(call(n) for n in range(29)), bad(1, "$.Records[29]")]

    def test_a_long_cloudtrail_file_that_is_cut(self) -> None:
        file = payload({"Records": [cloudtrail_event(number) for number in range(30)]})
        outcomes = read(file[:-100] + b"\n" + ONE, self.LIMITS)
        expected = [*(call(n) for n in range(29)), bad(1, "$.Records[29]"), call(1)]
        assert places(outcomes) == expected

    def test_a_document_that_never_ends_is_taken_line_by_line(self) -> None:
        lines = [b"{", *(b'"k%d": {},' % number for number in range(1_000))]
        outcomes = read(b"\n".join(lines) + b"\n" + ONE, self.LIMITS)
        assert len(outcomes) == 1_002
        assert places(outcomes)[-1] == call(1)


class TestBounds:
    def test_decompressed_size(self) -> None:
        lines = b"".join(log_line(number) + b"\n" for number in range(100))
        limits = Limits(object_bytes_max=len(lines) // 2)
        for content in (lines, gzip.compress(lines)):
            *good, last = read(content, limits)
            assert places(good) == [call(number) for number in range(len(good))]
            assert 45 <= len(good) <= 50
            assert isinstance(last, Malformed)
            assert f"at most {len(lines) // 2:,} bytes" in last.expected

    def test_records(self) -> None:
        lines = b"".join(log_line(number) + b"\n" for number in range(100))
        *good, last = read(lines, Limits(object_records_max=30, block_bytes=2_000))
        assert places(good) == [call(number) for number in range(30)]
        assert isinstance(last, Malformed)
        assert last.expected == "at most 30 records in one object"

    def test_repetitive_logs_pass(self) -> None:
        line = log_line(1) + b"\n"
        content = gzip.compress(b"".join(log_line(n % 10_000) + b"\n" for n in range(100_000)))
        assert len(line) * 100_000 / len(content) > 30
        assert len(read(content)) == 100_000

    @pytest.mark.parametrize(
        "filler", [b"\0", b" ", b"x", b'"', b"{", b"[", b'{"a":', b"\n", b"{}", b"1,"]
    )
    def test_a_bomb_is_refused_early_in_little_memory(self, filler: bytes) -> None:
        outcomes, peak_bytes = measured(bomb(filler, repetitions=1_280), Limits(records_max=20_000))
        last = outcomes[-1]
        assert isinstance(last, Malformed)
        assert "per compressed byte" in last.expected or "records at once" in last.expected
        assert peak_bytes < 120 * MIB

    def test_a_line_of_100_mib_is_passed_over_in_little_memory(self) -> None:
        def chunks() -> Iterator[bytes]:
            yield ONE + b'\n{"schemaType":"ModelInvocationLog","text":"'
            for _ in range(1_600):
                yield b'x\\"' * 21_845
            yield b'"}\n' + TWO + b"\n"

        outcomes, peak_bytes = measured(chunks())
        assert places(outcomes) == [call(1), bad(2), call(2)]
        assert peak_bytes < 80 * MIB


def bomb(filler: bytes, repetitions: int) -> Iterator[bytes]:
    """Gzip of 8 MiB of one text, again and again: 10 GiB after 1,280 repetitions."""
    member = gzip.compress(filler * (8 * MIB // len(filler)), 9)
    for _ in range(repetitions):
        yield member


def measured(chunks: Iterable[bytes], limits: Limits | None = None) -> tuple[list[Outcome], int]:
    """Return the outcomes and the peak of the memory that was taken meanwhile."""
    tracemalloc.start()
    try:
        outcomes = read(chunks, limits)
        return outcomes, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
