import asyncio
import errno
import functools
import uuid
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from tests.calls import asynchronous
from worker.adapters.quarantine_files import FileQuarantine
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.adapters.quarantine_records import quarantine_id
from worker.adapters.quarantine_s3 import S3Quarantine
from worker.core.errors import ConfigurationError, TransientError
from worker.core.results import Malformed, Position
from worker.ports import Quarantine

KINDS = ("memory", "files", "s3")


class Ticking:
    """A clock that goes on by a second with every look."""

    def __init__(self) -> None:
        self.at_ms = 1_790_856_000_000

    def now_ms(self) -> int:
        self.at_ms += 1_000
        return self.at_ms


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The endpoint of a server that speaks S3."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    name = f"aside-{uuid.uuid4().hex}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=name)
    client.close()
    return name


@pytest.fixture(params=KINDS)
def quarantine(request: pytest.FixtureRequest, tmp_path: Path) -> Quarantine:
    if request.param == "memory":
        return MemoryQuarantine(Ticking())
    if request.param == "files":
        return FileQuarantine(tmp_path / "aside", Ticking())
    return S3Quarantine(f"s3://{request.getfixturevalue('bucket')}/a/b", Ticking())


def kept(
    test: Callable[[Quarantine], Coroutine[Any, Any, None]],
) -> Callable[[Quarantine], None]:
    """Run a test that is a coroutine, and close its quarantine."""

    @functools.wraps(test)
    @asynchronous
    async def run(quarantine: Quarantine) -> None:
        try:
            await test(quarantine)
        finally:
            await quarantine.close()

    return run


def record(line: int = 1, body: bytes = b'{"x":1}', source: str = "logs/a.json") -> Malformed:
    return Malformed(
        path="$.input.inputTokenCount",
        expected="a whole number",
        found='"many"',
        body=body,
        truncated=line % 2 == 0,
        position=Position(source, line, f"$.Records[{line}]"),
    )


@kept
async def test_records_come_back_as_they_were_put(quarantine: Quarantine) -> None:
    records = [record(1), record(2, b"\x00\xff not text \x1f\x8b"), record(3, b"")]
    ids = await quarantine.put(records)
    assert len(set(ids)) == 3
    items = [item async for item in quarantine.items()]
    assert [item.id for item in items] == sorted(ids)
    assert {item.id: item.record for item in items} == dict(zip(ids, records, strict=True))
    assert all(item.quarantined_at_ms > 1_790_856_000_000 for item in items)


@kept
async def test_the_same_record_again_is_the_same_item_with_its_first_time(
    quarantine: Quarantine,
) -> None:
    [first] = await quarantine.put([record()])
    [before] = [item async for item in quarantine.items()]
    assert await quarantine.put([record(), record()]) == [first, first]
    assert [item async for item in quarantine.items()] == [before]


@kept
async def test_equal_bodies_in_different_places_are_different_items(quarantine: Quarantine) -> None:
    ids = await quarantine.put([record(1), record(2), record(1, source="logs/b.json")])
    assert len(set(ids)) == 3


@kept
async def test_an_item_is_found_by_an_unambiguous_beginning(quarantine: Quarantine) -> None:
    ids = await quarantine.put([record(line) for line in range(40)])
    assert await quarantine.get("nothing") is None
    for item_id in ids:
        item = await quarantine.get(item_id)
        assert item is not None
        assert item.id == item_id
    shared = next(one[0] for one in ids if sum(other[0] == one[0] for other in ids) > 1)
    with pytest.raises(ConfigurationError, match="give more digits"):
        await quarantine.get(shared)
    with pytest.raises(ConfigurationError, match="40 quarantined records"):
        await quarantine.get("")


@kept
async def test_removed_items_are_gone_and_may_be_removed_again(quarantine: Quarantine) -> None:
    first, second = await quarantine.put([record(1), record(2)])
    await quarantine.remove(first)
    await quarantine.remove(first)
    assert [item.id async for item in quarantine.items()] == [second]
    assert await quarantine.get(first) is None
    assert await quarantine.put([record(1)]) == [first]


@kept
async def test_names_that_are_no_unicode_are_kept(quarantine: Quarantine) -> None:
    """On Linux a file's name is bytes; Python hands over what is not UTF-8 as surrogates."""
    [item_id] = await quarantine.put([record(source="logs/caf\udce9.json")])
    item = await quarantine.get(item_id)
    assert item is not None
    assert item.record.position.source.startswith("logs/caf")
    assert item.record.body == record().body


@kept
async def test_an_empty_quarantine_has_no_items(quarantine: Quarantine) -> None:
    assert [item async for item in quarantine.items()] == []
    assert await quarantine.get("0") is None


# --- Files -----------------------------------------------------------------------------------


@asynchronous
async def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """What a kill leaves of a file being written is no item, and does not hinder the next try."""
    quarantine = FileQuarantine(tmp_path, Ticking())
    item_id = quarantine_id(record())
    (tmp_path / item_id[:2]).mkdir()
    (tmp_path / item_id[:2] / f"{item_id}.999999.part").write_bytes(b'{"id": "')
    assert [item async for item in quarantine.items()] == []
    assert await quarantine.put([record()]) == [item_id]
    assert [item.id async for item in quarantine.items()] == [item_id]


@asynchronous
async def test_a_foreign_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    quarantine = FileQuarantine(tmp_path, Ticking())
    [item_id] = await quarantine.put([record()])
    for content in (b"", b"[]", b'{"id": 1}'):
        path = tmp_path / item_id[:2] / f"{item_id}.json"
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match="move it out") as raised:
            await quarantine.get(item_id)
        assert str(path) in str(raised.value)


@asynchronous
async def test_a_folder_that_can_never_be_written_is_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "aside").write_text("a file stands where the folder should be")
    quarantine = FileQuarantine(tmp_path / "aside", Ticking())
    with pytest.raises(ConfigurationError, match="cannot be written there"):
        await quarantine.put([record()])


@asynchronous
async def test_a_full_disk_is_a_passing_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    quarantine = FileQuarantine(tmp_path / "aside", Ticking())
    with monkeypatch.context() as patch:
        patch.setattr("worker.adapters.quarantine_files.os.fsync", full)
        with pytest.raises(TransientError, match="cannot be written"):
            await quarantine.put([record()])
    assert [item async for item in quarantine.items()] == []
    await quarantine.put([record()])
    assert len([item async for item in quarantine.items()]) == 1


# --- S3 --------------------------------------------------------------------------------------


@asynchronous
async def test_what_else_lies_in_the_bucket_is_no_item(bucket: str) -> None:
    quarantine = S3Quarantine(f"s3://{bucket}", Ticking())
    try:
        [item_id] = await quarantine.put([record()])
        client = boto3.client("s3")
        for key in ("notes.txt", "ab/notes.txt", f"{item_id[:2]}/other/x.json", "AWSLogs/x.json"):
            client.put_object(Bucket=bucket, Key=key, Body=b"{}")
        client.close()
        assert [item.id async for item in quarantine.items()] == [item_id]
    finally:
        await quarantine.close()


@asynchronous
async def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    quarantine = S3Quarantine(f"s3://{bucket}-gone/x", Ticking())
    try:
        with pytest.raises(ConfigurationError, match=f"{bucket}-gone.*LEDGEROCK_QUARANTINE"):
            await quarantine.put([record()])
    finally:
        await quarantine.close()


def test_a_place_without_a_bucket_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="s3://BUCKET/PREFIX"):
        S3Quarantine("s3://", Ticking())


class _Failing:
    """An S3 that answers a put with a fault first."""

    def __init__(self, code: str) -> None:
        self.code = code

    async def put_object(self, **_arguments: Any) -> dict[str, Any]:
        raise ClientError({"Error": {"Code": self.code, "Message": "no"}}, "PutObject")


@pytest.mark.parametrize("code", ["SlowDown", "InternalError", "ConditionalRequestConflict"])
def test_an_s3_that_cannot_take_records_now_is_a_passing_fault(code: str) -> None:
    quarantine = S3Quarantine("s3://aside", Ticking(), _Failing(code))
    with pytest.raises(TransientError):
        asyncio.run(quarantine.put([record()]))
