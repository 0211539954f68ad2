"""The S3 reader against a server that speaks just enough S3, and drops connections."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import MissingDependencyException, NoCredentialsError

from tests.calls import asynchronous
from worker.adapters.aws_client import AwsClient
from worker.adapters.s3_reader import READ_BYTES, RESUMES_MAX, S3Reader
from worker.core.errors import (
    ConfigurationError,
    MissingObjectError,
    TransientError,
    UnreadableObjectError,
)
from worker.core.results import ObjectReference

REFERENCE = ObjectReference("call-logs", "a b/ü+.json.gz")
NAME = "s3://call-logs/a b/ü+.json.gz"
CONTENT = bytes(range(256)) * 12_000
"""About 3 MB."""

_SESSION = get_session()


@dataclass
class Server:
    """An S3 of one object.

    Attributes:
        content: The object; may be replaced while it is read.
        etag: Its entity tag.
        version_id: Its version id; None where there are no versions.
        cuts: After how many bytes of the answer the connections are dropped, one after another.
        refusals: Answers (status, code) instead of the object, one after another.
        requests: First line and headers of every request.
        dropped: Connections that the client let go of before it had read the answer.
    """

    content: bytes = CONTENT
    etag: str = '"tag-1"'
    version_id: str | None = None
    cuts: deque[int] = field(default_factory=deque)
    refusals: deque[tuple[int, str] | None] = field(default_factory=deque)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    dropped: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode().strip().split("\r\n")
                headers = {
                    name.lower(): text for name, text in (line.split(": ", 1) for line in lines)
                }
                self.requests.append((first, headers))
                refusal = self.refusals.popleft() if self.refusals else None
                answer = self._answer(headers, refusal)
                cut = self.cuts.popleft() if self.cuts and refusal is None else None
                begin = answer.index(b"\r\n\r\n") + 4
                writer.write(answer if cut is None else answer[: begin + cut])
                await writer.drain()
                if cut is not None:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.dropped.set()
        finally:
            writer.close()

    def _answer(self, headers: dict[str, str], refusal: tuple[int, str] | None) -> bytes:
        if refusal is None and headers.get("if-match", self.etag) != self.etag:
            refusal = (412, "PreconditionFailed")
        if refusal is not None:
            status, code = refusal
            body = f"<Error><Code>{code}</Code><Message>so it is</Message></Error>".encode()
            more = "Content-Type: application/xml"
        else:
            start = int(headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            status, body = (206 if start else 200), self.content[start:]
            more = f"ETag: {self.etag}"
            if self.version_id is not None:
                more += f"\r\nx-amz-version-id: {self.version_id}"
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{more}\r\n\r\n".encode()
        return head + body


@asynccontextmanager
async def reading(endpoint: str) -> AsyncIterator[tuple[S3Reader, list[float]]]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    context = _SESSION.create_client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=AioConfig(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            response_checksum_validation="when_required",
        ),
    )
    async with context as client:
        yield S3Reader(AwsClient("s3", client=client), sleep), slept


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[tuple[S3Reader, list[float]]]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        async with reading(f"http://127.0.0.1:{port}") as reader:
            yield reader
    finally:
        listening.close()
        await listening.wait_closed()


async def content(reader: S3Reader, reference: ObjectReference = REFERENCE) -> list[bytes]:
    opened = await reader.open(reference)
    try:
        return [piece async for piece in opened.pieces()]
    finally:
        await opened.close()


@asynchronous
async def test_an_object_is_read_in_pieces() -> None:
    async with serving(server := Server()) as (reader, slept):
        pieces = await content(reader)
    assert b"".join(pieces) == CONTENT
    assert [len(piece) for piece in pieces] == [READ_BYTES, READ_BYTES, len(CONTENT) % READ_BYTES]
    [(first, headers)] = server.requests
    assert first == "GET /call-logs/a%20b/%C3%BC%2B.json.gz HTTP/1.1"
    assert "range" not in headers
    assert slept == []


@asynchronous
async def test_an_empty_object_has_no_pieces() -> None:
    async with serving(Server(b"")) as (reader, _):
        assert await content(reader) == []


@pytest.mark.parametrize(
    "version_id, version",
    [
        pytest.param(None, 'etag:"tag-1"', id="never-versioned"),
        pytest.param("null", 'etag:"tag-1"', id="before-versions"),
        pytest.param("aBc", "version:aBc", id="version"),
    ],
)
@asynchronous
async def test_the_version_is_what_is_never_replaced(version_id: str | None, version: str) -> None:
    server = Server(version_id=version_id)
    async with serving(server) as (reader, _):
        reference = ObjectReference("call-logs", "key", version_id=version_id or "")
        opened = await reader.open(reference)
        assert opened.version == version
        await opened.close()
    [(first, _)] = server.requests
    assert ("?versionId=" in first) is (version_id is not None)


@asynchronous
async def test_a_lost_connection_is_taken_up_where_it_broke_off() -> None:
    server = Server(cuts=deque([0, 1_500_000, 0, 700_000]))
    async with serving(server) as (reader, slept):
        assert b"".join(await content(reader)) == CONTENT
    ranges = [headers["range"] for _, headers in server.requests if "range" in headers]
    assert ranges == ["bytes=1500000-", "bytes=1500000-", "bytes=2200000-"]
    assert {headers.get("if-match") for _, headers in server.requests[1:]} == {'"tag-1"'}
    assert len(slept) == 4


@asynchronous
async def test_a_connection_lost_over_and_over_is_given_up_for_now() -> None:
    server = Server(cuts=deque([1_000] + [0] * (RESUMES_MAX + 5)))
    async with serving(server) as (reader, slept):
        with pytest.raises(TransientError, match="the connection was lost 6 times"):
            await content(reader)
    assert len(server.requests) == RESUMES_MAX + 1
    assert slept == sorted(slept)


Refusals = list[tuple[int, str, type[Exception], str]]

NOT_TAKEN_UP: Refusals = [
    (412, "PreconditionFailed", UnreadableObjectError, "replaced"),
    (416, "InvalidRange", UnreadableObjectError, "replaced"),
    (404, "NoSuchKey", UnreadableObjectError, "deleted"),
    (503, "SlowDown", TransientError, "SlowDown"),
    (403, "AccessDenied", ConfigurationError, "s3:GetObject"),
]


@asynchronous
async def test_what_cannot_be_taken_up_says_why() -> None:
    async with serving(server := Server()) as (reader, _):
        for status, code, kind, found in NOT_TAKEN_UP:
            server.cuts.append(1_500_000)
            server.refusals += [None, (status, code)]
            with pytest.raises(kind, match=found) as caught:
                await content(reader)
            assert NAME in str(caught.value), code


@asynchronous
async def test_an_object_replaced_meanwhile_is_not_mixed_with_its_successor() -> None:
    server = Server(cuts=deque([1_500_000]))
    async with serving(server) as (reader, _):
        opened = await reader.open(REFERENCE)
        server.etag = '"tag-2"'
        with pytest.raises(UnreadableObjectError, match="another version"):
            [piece async for piece in opened.pieces()]
        await opened.close()


NOT_OPENED: Refusals = [
    (404, "NoSuchKey", MissingObjectError, "no such object"),
    (404, "NoSuchVersion", MissingObjectError, "no such object"),
    (405, "MethodNotAllowed", MissingObjectError, "no such object"),
    (403, "InvalidObjectState", UnreadableObjectError, "archived"),
    (400, "InvalidArgument", UnreadableObjectError, "no name"),
    (400, "KeyTooLongError", UnreadableObjectError, "no name"),
    (503, "SlowDown", TransientError, "SlowDown"),
    (500, "InternalError", TransientError, "InternalError"),
    (400, "ExpiredToken", TransientError, "credentials"),
    (403, "InvalidAccessKeyId", TransientError, "credentials"),
    (403, "AccessDenied", ConfigurationError, "kms:Decrypt"),
    (404, "NoSuchBucket", ConfigurationError, "no such thing"),
    (400, "KMS.DisabledException", ConfigurationError, "KMS"),
]


@asynchronous
async def test_what_cannot_be_opened_says_why() -> None:
    async with serving(server := Server()) as (reader, _):
        for status, code, kind, found in NOT_OPENED:
            server.refusals.append((status, code))
            with pytest.raises(kind, match=found) as caught:
                await reader.open(REFERENCE)
            assert NAME in str(caught.value), code


@pytest.mark.parametrize(
    "bucket",
    [
        "not a bucket!",
        "ab",
        "two..dots",
        "-dash",
        "line\n",
        "x" * 256,
        "arn:aws:s3:us-east-1:123456789012:accesspoint/abc",
        "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/abc",
        "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap",
    ],
)
@asynchronous
async def test_a_name_that_cannot_be_one_is_no_fault_of_ours(bucket: str) -> None:
    async with serving(server := Server()) as (reader, _):
        with pytest.raises(UnreadableObjectError, match="no name of an object"):
            await reader.open(ObjectReference(bucket, "key"))
    assert server.requests == []


@pytest.mark.parametrize("bucket", ["abc", "my.call-logs-1", "Old_Bucket_"])
@asynchronous
async def test_a_plain_name_is_asked_for(bucket: str) -> None:
    async with serving(server := Server()) as (reader, _):
        opened = await reader.open(ObjectReference(bucket, "key"))
        await opened.close()
    [(first, _)] = server.requests
    assert first == f"GET /{bucket}/key HTTP/1.1"


class Refusing:
    """A client that refuses before it asks."""

    async def get_object(self, **_arguments: object) -> object:
        raise MissingDependencyException(msg="awscrt is not installed")


@asynchronous
async def test_what_the_sdk_never_asks_for_does_not_pass() -> None:
    reader = S3Reader(AwsClient("s3", client=Refusing()))
    with pytest.raises(ConfigurationError, match="awscrt is not installed"):
        await reader.open(REFERENCE)


@asynchronous
async def test_an_object_that_is_let_go_of_is_not_read_on() -> None:
    server = Server(CONTENT * 20)
    async with serving(server) as (reader, _):
        opened = await reader.open(REFERENCE)
        async with aclosing(opened.pieces()) as pieces:
            assert len(await anext(pieces)) == READ_BYTES
        await opened.close()
        async with asyncio.timeout(30):
            await server.dropped.wait()


class Nobody:
    """A client without credentials."""

    async def get_object(self, **_arguments: object) -> object:
        raise NoCredentialsError


@asynchronous
async def test_no_credentials_are_no_fault_of_an_object() -> None:
    reader = S3Reader(AwsClient("s3", client=Nobody()))
    with pytest.raises(TransientError, match="AWS_PROFILE"):
        await reader.open(REFERENCE)


@asynchronous
async def test_no_region_is_no_fault_of_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no address")
    reader = S3Reader()
    with pytest.raises(TransientError, match="AWS_ENDPOINT_URL"):
        await reader.open(REFERENCE)
    await reader.close()


@asynchronous
async def test_an_unreachable_s3_is_a_passing_fault() -> None:
    async with reading("http://127.0.0.1:9") as (reader, _):
        with pytest.raises(TransientError, match="cannot be reached"):
            await reader.open(REFERENCE)
