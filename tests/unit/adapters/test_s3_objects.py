"""Reading from S3 when the network, the bucket or the permissions are not as they should be."""

import io
from collections.abc import Iterable
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    ReadTimeoutError,
)

from worker.adapters.s3_objects import RESUMES_MAX, S3ObjectStore, make_client
from worker.core.errors import ConfigurationError, TransientError, UnreadableObjectError

NAME = "s3://logs/2026/a.json.gz"
CONTENT = bytes(range(256)) * 40


class BreakingBody(io.BytesIO):
    """A body whose connection breaks after some bytes."""

    def __init__(self, content: bytes, whole: bool) -> None:
        super().__init__(content)
        self.whole = whole

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(min(size or 700, 700))
        if not data and not self.whole:
            raise ReadTimeoutError(endpoint_url="https://s3")
        return data


class FakeClient:
    """Serves one object; `breaks` says after how many bytes each connection is lost."""

    def __init__(
        self, breaks: Iterable[int] = (), error: Exception | None = None, error_after: int = 0
    ) -> None:
        self.breaks = list(breaks)
        self.error = error
        self.error_after = error_after
        self.asked: list[dict[str, str]] = []

    def get_object(self, **arguments: str) -> dict[str, Any]:
        self.asked.append(arguments)
        if self.error is not None and len(self.asked) > self.error_after:
            raise self.error
        start = int(arguments.get("Range", "bytes=0-")[6:-1])
        rest = CONTENT[start:]
        kept = self.breaks.pop(0) if self.breaks else None
        return {
            "ETag": '"one"',
            "ContentLength": len(rest),
            "Body": BreakingBody(rest if kept is None else rest[:kept], kept is None),
        }

    def get_paginator(self, operation: str, /) -> "FakeClient":
        assert operation == "list_objects_v2"
        return self

    def paginate(self, **arguments: str) -> Iterable[dict[str, Any]]:
        self.asked.append(arguments)
        if self.error is not None:
            raise self.error
        return [{}]


def refusal(code: str, status: int = 400) -> ClientError:
    answer = {
        "Error": {"Code": code, "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "GetObject")


def read(client: FakeClient, waits: list[float] | None = None) -> bytes:
    return b"".join(S3ObjectStore(client, (waits if waits is not None else []).append).open(NAME))


@pytest.mark.parametrize("breaks", [[], [700], [1, 2, 3], [0, 5_000], [1] * 30])
def test_a_lost_connection_is_taken_up_where_it_broke_off(breaks: list[int]) -> None:
    client = FakeClient(breaks)
    assert read(client) == CONTENT
    assert len(client.asked) == len(breaks) + 1
    at = 0
    for kept, asked in zip([0, *breaks], client.asked, strict=True):
        at += kept
        assert asked.get("Range") == (f"bytes={at}-" if at else None)
    # A version that was begun is the only one that is read on.
    assert all(asked["IfMatch"] == '"one"' for asked in client.asked[1:])


def test_connections_that_bring_nothing_are_given_up() -> None:
    waits: list[float] = []
    with pytest.raises(TransientError, match=r"s3://logs/2026/a\.json\.gz.*lost 6 times"):
        read(FakeClient([700] + [0] * 50), waits)
    assert len(waits) == RESUMES_MAX
    assert waits == sorted(waits)


def test_a_break_at_the_very_end_is_none() -> None:
    assert read(FakeClient([len(CONTENT)])) == CONTENT


@pytest.mark.parametrize(
    "error, raised, text",
    [
        (refusal("AccessDenied", 403), ConfigurationError, "s3:GetObject on the bucket s3://logs"),
        (refusal("NoSuchKey", 404), UnreadableObjectError, "deleted"),
        (refusal("InvalidObjectState", 403), UnreadableObjectError, "archived"),
        (refusal("PreconditionFailed", 412), UnreadableObjectError, "replaced"),
        (refusal("NoSuchBucket", 404), ConfigurationError, "no such bucket"),
        (refusal("SlowDown", 503), TransientError, "cannot do"),
        (refusal("InternalError", 500), TransientError, "cannot do"),
        (refusal("ExpiredToken"), ConfigurationError, "ExpiredToken"),
        (NoCredentialsError(), ConfigurationError, "AWS_PROFILE"),
        (EndpointConnectionError(endpoint_url="https://s3"), TransientError, "be reached"),
    ],
)
@pytest.mark.parametrize("error_after", [0, 1])
def test_what_goes_wrong_is_named_by_whose_fault_it_is(
    error: Exception, raised: type[Exception], text: str, error_after: int
) -> None:
    with pytest.raises(raised, match=text) as caught:
        read(FakeClient([700], error, error_after))
    assert "s3://logs" in str(caught.value)


def test_a_bucket_that_may_not_be_listed_is_named_with_the_action() -> None:
    store = S3ObjectStore(FakeClient(error=refusal("AccessDenied", 403)))
    with pytest.raises(ConfigurationError, match="s3:ListBucket on the bucket s3://logs"):
        list(store.objects("s3://logs/2026/"))
    with pytest.raises(ConfigurationError, match="s3:ListBucket on the bucket s3://logs"):
        list(store.level("s3://logs/2026/"))


def test_a_name_without_a_bucket_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="s3://BUCKET/PREFIX"):
        list(S3ObjectStore(FakeClient()).objects("s3://"))


def test_other_faults_of_a_stream_are_resumed_too() -> None:
    class Short(FakeClient):
        def get_object(self, **arguments: str) -> dict[str, Any]:
            answer = super().get_object(**arguments)
            if len(self.asked) == 1:
                answer["Body"].read = broken
            return answer

    def broken(size: int) -> bytes:
        raise IncompleteReadError(actual_bytes=0, expected_bytes=size)

    client = Short()
    assert read(client) == CONTENT
    assert "Range" not in client.asked[1]


def test_the_endpoint_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://emulator.test:4566")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    client: Any = make_client()
    assert client.meta.endpoint_url == "http://emulator.test:4566"
    assert client.meta.config.s3["addressing_style"] == "path"
    monkeypatch.setenv("AWS_PROFILE", "of-nobody")
    with pytest.raises(ConfigurationError, match="of-nobody"):
        make_client()
