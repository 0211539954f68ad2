"""From files and objects to digests: the work that a replay spreads over the cores.

Each child process decodes, prices, attributes and folds; what it sends to the parent is ready
to be booked. A child has at most a few digests on their way, so memory stays bounded however
slow the ledger is.
"""

from __future__ import annotations

import os
import queue
import signal
import stat
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

import msgspec

from worker.bootstrap import make_poster, open_object_store
from worker.core.decoders import Decoder, ignored_object
from worker.core.errors import UnreadableObjectError
from worker.core.results import Ignored, Malformed, Outcome, Position
from worker.pipeline import Digest, Digester, Window, undecodable
from worker.ports import ObjectStore
from worker.replay.files import LogFile
from worker.replay.objects import ReadAhead, is_object, key_of
from worker.settings import Settings

BATCH_CALLS: Final = 32_768
"""Calls folded into one digest, and booked in one transaction."""

BATCH_MALFORMED: Final = 256
"""Malformed records held before a digest is sent; each may be 256 KiB."""

READ_BYTES: Final = 1024 * 1024
DIGESTS_WAITING: Final = 1


class Progress(msgspec.Struct, gc=False):
    """A digest and how far it got.

    Attributes:
        digest: Everything decoded since the last one.
        files: Files finished since the last one.
        bytes_read: Stored bytes read since the last one.
    """

    digest: Digest
    files: int
    bytes_read: int


class FileDecoder:
    """Decodes files into digests.

    Args:
        settings: Which prices and registry.
        window: Calls outside it are ignored.
        store: Opens the store of objects in S3.
    """

    def __init__(
        self,
        settings: Settings,
        window: Window,
        store: Callable[[], ObjectStore] = open_object_store,
    ) -> None:
        """Load prices and registry."""
        self._open_store = store
        self._store: ObjectStore | None = None
        self._ahead = ReadAhead(self._object_store)
        self._decoder = Decoder()
        self._digester = Digester(make_poster(settings), window)
        self._own_files, self._own_folder = _own_paths(settings)
        self._files = 0
        self._bytes = 0

    def decode(self, files: Iterable[LogFile]) -> Iterator[Progress]:
        """Yield a digest whenever enough has been collected.

        Raises:
            ConfigurationError: S3 refuses to read an object.
            TransientError: An object could not be read, and may be readable later.
        """
        sizes: deque[int] = deque()
        for name, content in self._ahead.read(_wanted(files, sizes)):
            file = LogFile(name, sizes.popleft())
            for outcomes in self._outcomes(file, content):
                self._digester.add(outcomes)
                if self._digester.is_full(BATCH_CALLS, BATCH_MALFORMED):
                    yield self.flush()
            self._files += 1

    def flush(self) -> Progress:
        """Return what was collected since the last digest."""
        progress = Progress(self._digester.digest(), self._files, self._bytes)
        self._files = self._bytes = 0
        return progress

    def _outcomes(self, file: LogFile, content: Iterator[bytes]) -> Iterator[list[Outcome]]:
        if is_object(file.path):
            yield from self._object_outcomes(file, content)
            return
        position = Position(file.path)
        reason = ignored_object(Path(file.path).as_posix()) or self._own_reason(file)
        if reason is not None:
            self._bytes += file.size_bytes
            yield [Ignored(reason, position)]
            return
        try:
            mode = Path(file.path).stat().st_mode
            if not stat.S_ISREG(mode):
                yield [_no_file(Path(file.path), mode, position)]
                return
            with Path(file.path).open("rb") as stream:
                blocks = self._decoder.decode_stream(self._read(stream), source=file.path)
                for block in blocks:
                    yield block.outcomes
        except OSError as error:
            found = error.strerror or str(error)
            yield [Malformed("$", "a readable file", found, b"", position=position, truncated=True)]
        except Exception as error:  # noqa: BLE001 - one file must not hold up the others
            yield [undecodable(error, b"", position)]

    def _object_outcomes(self, file: LogFile, content: Iterator[bytes]) -> Iterator[list[Outcome]]:
        position = Position(file.path)
        reason = ignored_object(key_of(file.path))
        if reason is not None:
            self._bytes += file.size_bytes
            yield [Ignored(reason, position)]
            return
        try:
            for block in self._decoder.decode_stream(self._count(content), source=file.path):
                yield block.outcomes
        except UnreadableObjectError as error:
            expected = "a readable object"
            yield [Malformed("$", expected, error.found, b"", position=position, truncated=True)]

    def _object_store(self) -> ObjectStore:
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def _own_reason(self, file: LogFile) -> str | None:
        """Say so if a file is this replay's own, which may lie in the folder of the logs."""
        path = _absolute(file.path)
        if path in self._own_files:
            return "file of the ledger itself"
        if self._own_folder and path.startswith(self._own_folder):
            return "quarantined record of the ledger itself"
        return None

    def _read(self, stream: BinaryIO) -> Iterator[bytes]:
        return self._count(iter(lambda: stream.read(READ_BYTES), b""))

    def _count(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._bytes += len(chunk)
            yield chunk


def _wanted(files: Iterable[LogFile], sizes: deque[int]) -> Iterator[tuple[str, int]]:
    """Yield names and sizes; the sizes also wait for the turn of their files."""
    for file in files:
        sizes.append(file.size_bytes)
        # What holds no records is not worth fetching.
        ignored = is_object(file.path) and ignored_object(key_of(file.path)) is not None
        yield file.path, 0 if ignored else file.size_bytes


def _own_paths(settings: Settings) -> tuple[frozenset[str], str]:
    """Return the files of the ledger, and the folder of its quarantine, as absolute paths."""
    ledger, quarantine = settings.ledger_file, settings.quarantine_directory
    files = () if ledger is None else ("", "-wal", "-shm", "-journal")
    folder = "" if quarantine is None else _absolute(f"{quarantine}") + os.sep
    return frozenset(_absolute(f"{ledger}{suffix}") for suffix in files), folder


def _absolute(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - without following links, which costs a look


def _no_file(path: Path, mode: int, position: Position) -> Ignored | Malformed:
    """Say why something that is no regular file is not read."""
    if not stat.S_ISDIR(mode):
        return Ignored("not a regular file", position)
    if path.is_symlink():
        return Ignored("link to a folder, not followed: replay that folder itself", position)
    found = "one that cannot be listed"
    return Malformed("$", "a readable folder", found, b"", position=position, truncated=True)


class Failure(msgspec.Struct, frozen=True):
    """A child's last word: what it could not survive."""

    error: Exception
    trace: str


Message = Progress | Failure | None
"""What a child sends: digests; a failure; or None, asking for more files."""


def decode_in_child(
    tasks: Connection, results: Connection, settings: Settings, window: Window
) -> None:
    """Decode chunks of files until there are no more. The main function of a child process.

    Args:
        tasks: Lists of files arrive here; None ends the work.
        results: `Message`s leave here; a request for files is sent as soon as the previous
            chunk has arrived, so that the next one is there when it is needed.
        settings: Which prices and registry.
        window: Calls outside it are ignored.
    """
    # The parent decides what an interrupt means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    outbox: queue.Queue[Message] = queue.Queue(maxsize=DIGESTS_WAITING)
    sender = threading.Thread(target=_send_all, args=(outbox, results), daemon=True)
    sender.start()
    try:
        decoder = FileDecoder(settings, window)
        while (files := _next_files(tasks)) is not None:
            outbox.put(None)
            for progress in decoder.decode(files):
                outbox.put(progress)
        outbox.put(decoder.flush())
    except Exception as error:  # noqa: BLE001 - the parent must hear of anything
        outbox.put(Failure(_portable(error), traceback.format_exc()))
    outbox.put(_END)
    sender.join()


_END: Final = Failure(EOFError("end of work"), "")


def _next_files(tasks: Connection) -> list[LogFile] | None:
    try:
        files: list[LogFile] | None = tasks.recv()
    except (EOFError, OSError):
        _leave_orphaned()
    return files


def _send_all(outbox: queue.Queue[Message], results: Connection) -> None:
    try:
        while (message := outbox.get()) is not _END:
            results.send(message)
        results.close()
    except OSError:
        _leave_orphaned()


def _leave_orphaned() -> NoReturn:
    """End this process at once, whatever its threads wait for: the parent is gone."""
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """Return an error that survives the way to the parent."""
    return (
        type(error)(str(error))
        if type(error).__module__ == "worker.core.errors"
        else RuntimeError(f"{type(error).__name__}: {error}")
    )
