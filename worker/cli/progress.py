"""Progress on stderr: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from worker.cli.output import quantity
from worker.replay import ReplayProgress

LINE_EVERY_SECONDS: Final = 5

OnReplayProgress = Callable[[ReplayProgress], None]


@contextmanager
def replay_progress(*, lines: bool) -> Iterator[OnReplayProgress | None]:
    """Show how far a replay has got.

    Args:
        lines: Whether to write lines where stderr is no terminal.

    Yields:
        What to call with progress, or None if nothing is shown.
    """
    if sys.stderr.isatty():
        with _replay_bar() as on_progress:
            yield on_progress
    else:
        yield _ReplayLines().update if lines else None


@contextmanager
def _replay_bar() -> Iterator[OnReplayProgress]:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from worker.cli.output import error_console

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[records]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=error_console(), transient=True) as bar:
        task = bar.add_task("replaying", total=None, records="")

        def on_progress(progress: ReplayProgress) -> None:
            files = f"{progress.files_done:,}/{progress.files_total:,} files"
            bar.update(
                task,
                total=progress.bytes_total,
                completed=progress.bytes_done,
                description=files,
                records=quantity(progress.records, "record"),
            )

        yield on_progress


class _ReplayLines:
    """Writes a line now and then: bytes, rate, and the time that is left at that rate."""

    def __init__(self) -> None:
        self._started = self._written = time.monotonic()

    def update(self, progress: ReplayProgress) -> None:
        now = time.monotonic()
        if now - self._written < LINE_EVERY_SECONDS:
            return
        self._written = now
        seconds = now - self._started
        print(progress_line(progress, seconds), file=sys.stderr, flush=True)


def progress_line(progress: ReplayProgress, seconds: float) -> str:
    """Return one line of progress after `seconds` of work."""
    megabyte = 1_000_000
    done, total = progress.bytes_done, progress.bytes_total
    left = seconds * (total - done) / done if done else 0
    percent = min(100 * done // total, 100) if total else 100
    return (
        f"{percent}%  {done / megabyte:,.1f} of {total / megabyte:,.1f} MB  "
        f"{progress.files_done:,} of {quantity(progress.files_total, 'file')}  "
        f"{quantity(progress.records, 'record')}  "
        f"{done / megabyte / seconds if seconds else 0:,.1f} MB/s  "
        f"{progress.records / seconds if seconds else 0:,.0f} records/s  about {left:,.0f} s left"
    )


@contextmanager
def entries_progress() -> Iterator[Callable[[int], None] | None]:
    """Show, on a terminal alone, how many entries were looked at."""
    if not sys.stderr.isatty():
        yield None
        return
    from worker.cli.output import error_console

    with error_console().status("reading entries") as status:
        yield lambda entries: status.update(f"{quantity(entries, 'entry', 'entries')} looked at")
