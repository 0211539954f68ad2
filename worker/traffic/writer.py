"""Files as AWS lays them out: gzipped log objects under `AWSLogs/`, in constant memory."""

import gzip
import hashlib
import json
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final

from worker.traffic.profile import TrafficProfile
from worker.traffic.stream import Line
from worker.traffic.sums import TrafficSums

GZIP_LEVEL: Final = 1
_GZIP_WINDOW_BITS: Final = 31
_BUFFER_CHARACTERS: Final = 256 * 1024
_COMPACT: Final = (",", ":")


def to_json(value: object) -> str:
    """Write JSON the way AWS does: without spaces, characters outside ASCII as they are."""
    return json.dumps(value, ensure_ascii=False, separators=_COMPACT)


def to_gzip(text: str) -> bytes:
    """Compress text; equal texts give equal bytes (no time is stored)."""
    return gzip.compress(text.encode(), GZIP_LEVEL, mtime=0)


def name_hex(*parts: object) -> str:
    """Return sixteen hexadecimal digits that depend on nothing but the parts."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:16]


class _LogObject:
    """One gzipped object of invocation-log lines, written as they come."""

    def __init__(self, path: Path, hour: int) -> None:
        self.hour = hour
        self.lines = 0
        self._compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW_BITS)
        self._buffer: list[str] = []
        self._buffered = 0
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("wb")

    def append(self, text: str) -> None:
        self.lines += 1
        self._buffer.append(text)
        self._buffered += len(text)
        if self._buffered >= _BUFFER_CHARACTERS:
            self._drain()

    def close(self) -> int:
        """Finish the object and return its size."""
        self._drain()
        self._file.write(self._compressor.flush())
        self._file.close()
        return self._path.stat().st_size

    def _drain(self) -> None:
        self._buffer.append("")
        self._file.write(self._compressor.compress("\n".join(self._buffer).encode()))
        self._buffer.clear()
        self._buffered = 0


class BucketWriter:
    """Writes a bucket's objects below a folder and counts them.

    Log objects of an account and Region rotate with the hour and when they are full; one is open
    at a time for each, so that memory does not grow with the traffic.
    """

    def __init__(self, root: Path, profile: TrafficProfile, sums: TrafficSums) -> None:
        self.root = root
        self._profile = profile
        self._sums = sums
        self._start = datetime.fromisoformat(profile.start).replace(tzinfo=UTC)
        self._open: dict[tuple[str, str], _LogObject] = {}

    def time(self, hour: int, second: int = 0) -> datetime:
        """Return a time by its hour, counted from the profile's start."""
        return self._start + timedelta(hours=hour, seconds=second)

    def folder(self, account: str, region: str, hour: int) -> str:
        """Return the prefix of an hour's invocation-log objects."""
        return (
            f"AWSLogs/{account}/BedrockModelInvocationLogs/{region}/{self.time(hour):%Y/%m/%d/%H}"
        )

    def line(self, line: Line) -> None:
        """Append a line to the log object it belongs to."""
        key = (line.account, line.region)
        current = self._open.get(key)
        if current is not None and (
            current.hour != line.hour or current.lines >= self._profile.lines_per_file_max
        ):
            self._close(key)
            current = None
        if current is None:
            number = self._sums.files
            stamp = f"{self.time(line.hour, number % 3_600):%Y%m%dT%H%M%S}{number % 1_000:03d}Z"
            name = f"{stamp}_{name_hex(self._profile.seed, *key, number)}.json.gz"
            self._sums.files += 1
            path = self.root / self.folder(line.account, line.region, line.hour) / name
            current = self._open[key] = _LogObject(path, line.hour)
        current.append(line.text)

    def put(self, key: str, data: bytes) -> None:
        """Write a whole object."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self._sums.files += 1
        self._sums.bytes_written += len(data)

    def close(self) -> None:
        """Finish every open log object."""
        for key in tuple(self._open):
            self._close(key)

    def _close(self, key: tuple[str, str]) -> None:
        self._sums.bytes_written += self._open.pop(key).close()
