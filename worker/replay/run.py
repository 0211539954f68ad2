"""Booking what the decoders send, and keeping count of it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final

from worker.bootstrap import open_pipeline
from worker.core.errors import LedgerockError, TransientError
from worker.core.ledger import Amounts, Leaf
from worker.core.seal import REASON
from worker.pipeline import Digest, Pipeline, Window
from worker.ports import Committed
from worker.replay.budgets import Watching, watching
from worker.replay.decoding import Failure, FileDecoder, Message, Progress, decode_in_child
from worker.replay.distinct import DistinctKeys
from worker.replay.files import Listing, LogFile, chunks, find_files
from worker.settings import Settings

PARALLEL_FROM_BYTES: Final = 4 * 1024 * 1024
"""Below this much input, starting processes takes longer than decoding in this one."""

COMMIT_ATTEMPTS: Final = 5
RETRY_SECONDS: Final = 0.5


@dataclass(slots=True, kw_only=True)
class ReplayFigures:
    """What one replay did.

    Attributes:
        deliveries: Files and objects met.
        records: Records decoded; the sum of the five results below.
        calls: Distinct calls among them.
        recorded: First sight of a call.
        upgraded: Better evidence of a known call.
        duplicates: Nothing new.
        ignored: No calls, and calls that the ledger's seal holds.
        quarantined: Not understood, kept aside.
        totals: What was posted, net, all together.
        by_principal: The same by who pays.
        by_model: The same by model.
        ignored_reasons: How many records were ignored for which reason.
        bytes_read: Stored bytes read.
        crossings: Thresholds of budgets that were newly written down as crossed.
        announced: Events that were announced, if that was asked for.
        unannounced: Events that could not be announced, and wait for the next attempt.
        faults: Why not.
        seconds: Wall time.
    """

    deliveries: int = 0
    records: int = 0
    calls: int = 0
    recorded: int = 0
    upgraded: int = 0
    duplicates: int = 0
    ignored: int = 0
    quarantined: int = 0
    totals: Amounts = field(default_factory=Amounts)
    by_principal: dict[str, Amounts] = field(default_factory=dict)
    by_model: dict[str, Amounts] = field(default_factory=dict)
    ignored_reasons: dict[str, int] = field(default_factory=dict)
    bytes_read: int = 0
    crossings: int = 0
    announced: int = 0
    unannounced: int = 0
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def post(self, postings: Iterable[tuple[Leaf, Amounts]]) -> None:
        """Add what a commit posted."""
        for leaf, amounts in postings:
            self.totals.add(amounts)
            self.by_principal.setdefault(leaf.principal, Amounts()).add(amounts)
            self.by_model.setdefault(leaf.model, Amounts()).add(amounts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayProgress:
    """How far a replay has got."""

    bytes_done: int
    bytes_total: int
    records: int
    files_done: int
    files_total: int


OnProgress = Callable[[ReplayProgress], None]


async def replay(  # noqa: PLR0913 - what a replay may be asked for
    settings: Settings,
    paths: Sequence[str],
    *,
    window: Window | None = None,
    dry_run: bool = False,
    announce: bool = False,
    jobs: int | None = None,
    on_progress: OnProgress | None = None,
) -> ReplayFigures:
    """Book every call in the files under `paths`.

    Calls that are booked already change nothing, so a replay may be repeated, or interrupted
    anywhere and run again.

    Args:
        settings: Which ledger, prices, registry and quarantine.
        paths: Files and folders, and `s3://bucket/prefix` of objects.
        window: Event times to book; others are ignored.
        dry_run: Work out everything against the ledger, keep nothing.
        announce: Write crossings of open periods down as well, and announce what is pending.
        jobs: Decoder processes; by default one for each core when there is enough to do.
        on_progress: Called after every commit.

    Raises:
        ConfigurationError: A path, setting or file of the operator is wrong.
        LedgerockError: The ledger or S3 stayed unavailable, or a decoder process died; everything
            committed so far is booked, and running again finishes the rest.
    """
    started = time.monotonic()
    window = window or Window()
    with Listing(find_files(paths, window)) as listing:
        jobs = jobs or _default_jobs(listing.files, listing.size_bytes)
        source = (
            _decode_here(settings, listing, window)
            if jobs == 1
            else _decode_in_children(settings, listing, window, min(jobs, listing.files))
        )
        figures = ReplayFigures()
        # The source is closed at once when booking fails, and its child processes with it.
        async with open_pipeline(settings, discard=dry_run) as pipeline, AsyncExitStack() as stack:
            await stack.enter_async_context(aclosing(source))
            watch = Watching()
            if not dry_run:
                watched = watching(settings, pipeline, announce=announce)
                watch = await stack.enter_async_context(watched)
            with DistinctKeys() as keys:
                async for progress in source:
                    keys.add(progress.digest.batch.bodies)
                    await _book(pipeline, progress, figures)
                    if on_progress is not None:
                        on_progress(_how_far(figures, listing))
                figures.calls = keys.count()
            await _finish(pipeline, figures)
            done = await watch.announce()
            figures.announced, figures.unannounced = done.announced, done.failed
            figures.faults = done.faults
    figures.seconds = time.monotonic() - started
    return figures


async def _finish(pipeline: Pipeline, figures: ReplayFigures) -> None:
    """Move what profiles, agents and principals say that became known on the way."""
    moved: set[Leaf] = set()
    if pipeline.profiles is not None:
        learned = await pipeline.profiles.finish(pipeline.poster)
        figures.post(learned.postings)
        moved |= learned.moved
    if pipeline.directory is not None:
        followed = await pipeline.directory.finish(pipeline.poster)
        figures.post(followed.postings)
        moved |= followed.moved
    if pipeline.budgets is not None and moved:
        # Who is moved spends nothing just now.
        await pipeline.budgets.look(moved, spending=())


def _how_far(figures: ReplayFigures, listing: Listing) -> ReplayProgress:
    return ReplayProgress(
        bytes_done=figures.bytes_read,
        bytes_total=listing.size_bytes,
        records=figures.records,
        files_done=figures.deliveries,
        files_total=listing.files,
    )


def _default_jobs(files_total: int, bytes_total: int) -> int:
    if bytes_total < PARALLEL_FROM_BYTES or files_total == 1:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def _book(pipeline: Pipeline, progress: Progress, figures: ReplayFigures) -> None:
    digest = progress.digest
    figures.deliveries += progress.files
    figures.bytes_read += progress.bytes_read
    figures.records += digest.records
    figures.ignored += digest.ignored
    figures.quarantined += digest.quarantined
    for reason, count in digest.ignored_reasons.items():
        figures.ignored_reasons[reason] = figures.ignored_reasons.get(reason, 0) + count
    committed = await _commit(pipeline, digest)
    figures.recorded += committed.recorded
    figures.upgraded += committed.upgraded
    figures.duplicates += committed.duplicates
    if committed.sealed:
        figures.ignored += committed.sealed
        reasons = figures.ignored_reasons
        reasons[REASON] = reasons.get(REASON, 0) + committed.sealed
    figures.crossings += committed.crossings
    figures.post(committed.postings)


async def _commit(pipeline: Pipeline, digest: Digest) -> Committed:
    """Book a digest, trying again after passing faults."""
    for attempt in range(1, COMMIT_ATTEMPTS):
        try:
            return await pipeline.book(digest)
        except TransientError:
            await asyncio.sleep(RETRY_SECONDS * attempt)
    return await pipeline.book(digest)


async def _decode_here(
    settings: Settings, listing: Listing, window: Window
) -> AsyncGenerator[Progress, None]:
    decoder = FileDecoder(settings, window)
    for progress in decoder.decode(listing):
        yield progress
    yield decoder.flush()


class _Child:
    """A decoder process and the two pipes to it."""

    def __init__(self, settings: Settings, window: Window) -> None:
        # A fresh interpreter: a forked one would share the parent's open ledger.
        context = multiprocessing.get_context("spawn")
        tasks_out, self.tasks = context.Pipe(duplex=False)
        self.results, results_in = context.Pipe(duplex=False)
        self.process: BaseProcess = context.Process(
            target=decode_in_child, args=(tasks_out, results_in, settings, window), daemon=True
        )
        self.process.start()
        tasks_out.close()
        results_in.close()

    def give(self, files: list[LogFile] | None) -> None:
        try:
            self.tasks.send(files)
        except OSError as error:
            raise self.died() from error

    def died(self) -> LedgerockError:
        self.process.join(timeout=1)
        message = (
            f"a decoder process ended early (exit code {self.process.exitcode}); what was "
            "booked is safe, run the same replay again to finish it"
        )
        return LedgerockError(message)


async def _decode_in_children(
    settings: Settings, listing: Listing, window: Window, jobs: int
) -> AsyncGenerator[Progress, None]:
    work = chunks(iter(listing))
    children = {child.results: child for child in (_Child(settings, window) for _ in range(jobs))}
    finished: set[Connection] = set()
    try:
        for child in children.values():
            child.give(next(work, None))
        while len(finished) < len(children):
            waiting = [results for results in children if results not in finished]
            for ready in await asyncio.to_thread(wait, waiting):
                assert isinstance(ready, Connection)  # noqa: S101 - only pipes were given
                child = children[ready]
                message = _receive(child, finished)
                if isinstance(message, Progress):
                    yield message
                elif ready not in finished:
                    child.give(next(work, None))
    finally:
        for child in children.values():
            child.process.kill()
            child.process.join()
            child.results.close()
            child.tasks.close()


def _receive(child: _Child, finished: set[Connection]) -> Message:
    try:
        message: Message = child.results.recv()
    except (EOFError, OSError):  # OSError where a message breaks off in the middle
        child.process.join(timeout=10)
        if child.process.exitcode != 0:
            raise child.died() from None
        finished.add(child.results)
        return None
    if isinstance(message, Failure):
        if isinstance(message.error, LedgerockError):
            raise message.error
        text = f"a decoder process failed: {message.error}\n{message.trace}"
        raise LedgerockError(text)
    return message
