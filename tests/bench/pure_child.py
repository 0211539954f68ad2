"""One core, no I/O: the whole pure path against a bare loop over the same lines.

The bare loop is the least that can be called counting: a decode, one set of request ids, one
dictionary of sums. It knows no prices, no registry, no malformed records, no second kind of record
and no ledger. It runs in two forms: a plain `msgspec.json.decode` into dictionaries, and a decode
into types that name only the fields which decide key, price, payer and counts, so that the parser
skips the rest. The second is about three times as fast as the first.

What is measured is the middle of the million-record workload: as many lines before it fill the
caches of our side, untimed, as they would in the middle of a replay; callers, models and days
that are new in the measured lines are worked out within the measured time.
"""

import gc
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from tests.bench.measuring import DisagreementError, answer, expect_equal, pin, request
from tests.bench.workload import SEED
from worker.bootstrap import make_poster
from worker.core.decoders import Decoder
from worker.core.ledger import Amounts
from worker.core.posting import Poster
from worker.pipeline import Digest, Digester
from worker.settings import Settings
from worker.traffic.profile import bench_profile
from worker.traffic.traffic import Traffic

CALLS: Final = 900_000
"""The workload whose second hundred thousand body-less lines are measured."""


class _Identity(msgspec.Struct, gc=False):
    arn: str | None = None


class _Input(msgspec.Struct, gc=False, rename="camel"):
    input_token_count: int | None = None
    cache_read_input_token_count: int | None = None
    cache_write_input_token_count: int | None = None


class _Output(msgspec.Struct, gc=False, rename="camel"):
    output_token_count: int | None = None


class _Record(msgspec.Struct, gc=False, rename="camel"):
    schema_type: str
    timestamp: datetime
    account_id: str
    region: str
    request_id: str
    operation: str
    model_id: str
    identity: _Identity
    input: _Input
    output: _Output
    inference_region: str | None = None
    error_code: str | None = None


_decode: Final = msgspec.json.Decoder(_Record).decode

Sums = dict[tuple[str | None, str], list[int]]


def bare(lines: Sequence[bytes]) -> Sums:
    """Sum calls and tokens by principal and model, each request once."""
    seen: set[str] = set()
    sums: Sums = {}
    for line in lines:
        record = _decode(line)
        request_id = record.request_id
        if request_id in seen:
            continue
        seen.add(request_id)
        key = (record.identity.arn, record.model_id)
        cell = sums.get(key)
        if cell is None:
            cell = sums[key] = [0, 0, 0, 0, 0]
        source = record.input
        cell[0] += 1
        cell[1] += source.input_token_count or 0
        cell[2] += record.output.output_token_count or 0
        cell[3] += source.cache_read_input_token_count or 0
        cell[4] += source.cache_write_input_token_count or 0
    return sums


def bare_plain(lines: Sequence[bytes]) -> Sums:
    """Do the same as `bare`, from plain dictionaries."""
    decode = msgspec.json.Decoder().decode
    seen: set[str] = set()
    sums: Sums = {}
    for line in lines:
        record = decode(line)
        request_id = record["requestId"]
        if request_id in seen:
            continue
        seen.add(request_id)
        key = (record["identity"]["arn"], record["modelId"])
        cell = sums.get(key)
        if cell is None:
            cell = sums[key] = [0, 0, 0, 0, 0]
        source = record["input"]
        cell[0] += 1
        cell[1] += source.get("inputTokenCount") or 0
        cell[2] += record["output"].get("outputTokenCount") or 0
        cell[3] += source.get("cacheReadInputTokenCount") or 0
        cell[4] += source.get("cacheWriteInputTokenCount") or 0
    return sums


def ours(batches: Sequence[list[bytes]], decoder: Decoder, poster: Poster) -> list[Digest]:
    """Decode, price, attribute and fold, a batch at a time; the digests are dropped."""
    digester = Digester(poster)
    digests: list[Digest] = []
    for batch in batches:
        digester.add(decoder.decode_lines(batch, source="bench"))
        digests = [digester.digest()]
    return digests


def body_less_lines(traffic: Traffic, records: int) -> list[bytes]:
    """Return so many of the workload's lines, in order, without those that hold bodies."""
    lines = (line for line in traffic.lines() if b"BodyJson" not in line)
    return list(islice(lines, records))


def batches_of(lines: list[bytes], size: int) -> list[list[bytes]]:
    """Cut lines into batches."""
    return [lines[start : start + size] for start in range(0, len(lines), size)]


def check(batches: Sequence[list[bytes]], poster: Poster) -> None:
    """Compare both ways to count, batch by batch.

    Raises:
        DisagreementError: They differ.
    """
    decoder, digester = Decoder(), Digester(poster)
    for number, batch in enumerate(batches):
        digester.add(decoder.decode_lines(batch, source="bench"))
        digest = digester.digest()
        total = Amounts()
        for amounts in digest.batch.leaves.values():
            total.add(amounts)
        cells = bare(batch).values()
        written = total.cache_write_5m_tokens + total.cache_write_1h_tokens
        found = [
            total.calls,
            total.input_tokens,
            total.output_tokens,
            total.cache_read_tokens,
            written,
        ]
        where = f"pure, batch {number}: calls and tokens of our fold and of the bare loop"
        expect_equal(where, found, [sum(column) for column in zip(*cells, strict=True)])
        expect_equal(f"pure, batch {number}: records", digest.records, len(batch))
        expect_equal(f"pure, batch {number}: calls without a price", total.unpriced_calls, 0)


def measure(
    before: list[bytes], lines: list[bytes], sizes: Sequence[int], settings: Settings
) -> dict[str, float]:
    """Return the seconds of one round: of the bare loop, and of ours by size of batch."""
    gc.collect()
    started = time.perf_counter()
    bare(lines)
    seconds = {"bare": time.perf_counter() - started}
    gc.collect()
    started = time.perf_counter()
    bare_plain(lines)
    seconds["bare_plain"] = time.perf_counter() - started
    for size in sizes:
        decoder, poster = Decoder(), make_poster(settings)
        ours(batches_of(before, size), decoder, poster)
        batches = batches_of(lines, size)
        gc.collect()
        started = time.perf_counter()
        ours(batches, decoder, poster)
        seconds[str(size)] = time.perf_counter() - started
    return seconds


def main() -> None:
    """Measure what was asked and answer with the seconds of each round."""
    asked = request()
    cores = pin(1)
    traffic = Traffic(bench_profile(CALLS, SEED))
    both = body_less_lines(traffic, 2 * asked["records"])
    before, lines = both[: asked["records"]], both[asked["records"] :]
    with tempfile.TemporaryDirectory() as folder:
        registry = Path(folder, "registry.toml")
        registry.write_text(traffic.registry(), encoding="utf-8")
        settings = Settings(ledger="memory", registry=registry)
        try:
            expect_equal("pure: the two bare loops", bare_plain(lines), bare(lines))
            for size in asked["batch_sizes"]:
                check(batches_of(lines, size), make_poster(settings))
        except DisagreementError as error:
            answer({"disagreement": str(error)})
            return
        rounds = [
            measure(before, lines, asked["batch_sizes"], settings) for _ in range(asked["rounds"])
        ]
    answer(
        {
            "records": len(lines),
            "mean_line_bytes": sum(map(len, lines)) // len(lines),
            "groups_of_the_bare_loop": len(bare(lines)),
            "pinned_to": cores,
            "rounds": rounds,
        }
    )


if __name__ == "__main__":
    main()
