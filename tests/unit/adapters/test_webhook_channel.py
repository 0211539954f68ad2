"""What is posted to a webhook, how it is signed, and what its answers mean."""

import asyncio
import hashlib
import hmac
import json
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from tests.calls import NOON, asynchronous
from tests.unit.adapters.webhooks import receiving
from tests.unit.core.people_events import EVENTS
from tests.unit.test_announcer import Clock
from worker.adapters import webhook_channel
from worker.adapters.webhook_channel import (
    SIGNATURE,
    WebhookChannel,
    retry_after_seconds,
    slack_body,
)
from worker.core.errors import ConfigurationError, RefusedMessageError, TransientError
from worker.core.people import Message, message_of

SECRET = "correct horse"


def message() -> Message:
    return message_of(EVENTS[-1].detail_type, EVENTS[-1].detail)


def verified(header: str, body: bytes, secret: str, now: int, tolerance: int = 300) -> bool:
    """What a receiver does; the page on enforcement shows the same."""
    parts = dict(part.split("=", 1) for part in header.split(","))
    expected = hmac.new(secret.encode(), parts["t"].encode() + b"." + body, hashlib.sha256)
    is_recent = abs(now - int(parts["t"])) <= tolerance
    return is_recent and hmac.compare_digest(expected.hexdigest(), parts["v1"])


async def answered(answer: Callable[[], Any]) -> BaseException | None:
    """Return what telling raises when the receiver answers so, and check that it was asked once."""
    async with receiving() as receiver:
        receiver.answer = answer
        channel = WebhookChannel(receiver.url, SECRET, Clock())
        try:
            await channel.tell(message())
        except (TransientError, RefusedMessageError) as error:
            raised: BaseException | None = error
        else:
            raised = None
        finally:
            await channel.close()
        assert len(receiver.posts) == 1
        for secret in ("s3cr3t", SECRET):
            assert secret not in str(raised)
            assert secret not in repr(raised)
        return raised


@asynchronous
async def test_the_event_is_posted_with_its_text_and_signed() -> None:
    async with receiving() as receiver:
        channel = WebhookChannel(receiver.url, SECRET, Clock())
        await channel.tell(message())
        await channel.close()
        [post] = receiver.posts
    assert post.path == "/services/T0/B0/s3cr3t?token=s3cr3t"
    assert post.headers["Content-Type"] == "application/json"
    body = json.loads(post.body)
    assert body["event"] == json.loads(EVENTS[-1].detail)
    assert body["detail_type"] == "Principal Tags Changed"
    assert body["text"] == message().text
    header = post.headers[SIGNATURE]
    now = NOON // 1000
    assert header.startswith(f"t={now},v1=")
    assert verified(header, post.body, SECRET, now)
    assert not verified(header, post.body + b" ", SECRET, now)
    assert not verified(header, post.body, "another", now)
    assert not verified(header, post.body, SECRET, now + 301)


def test_a_signature_is_what_it_is_everywhere() -> None:
    # echo -n '1790856000.{}' | openssl dgst -sha256 -hmac key
    assert webhook_channel.signature(b"key", b"{}", 1790856000) == (
        "t=1790856000,v1=" + hmac.new(b"key", b"1790856000.{}", "sha256").hexdigest()
    )


@asynchronous
async def test_without_a_secret_nothing_is_signed() -> None:
    async with receiving() as receiver:
        channel = WebhookChannel(receiver.url, "", Clock())
        await channel.tell(message())
        await channel.close()
        assert SIGNATURE not in receiver.posts[0].headers


@pytest.mark.parametrize(
    "host, is_slack",
    [
        ("hooks.slack.com", True),
        ("hooks.slack-gov.com", True),
        ("HOOKS.slack.com", True),
        ("hooks.slack.com.example.com", False),
        ("example.com", False),
    ],
)
def test_slack_is_known_by_its_host(host: str, is_slack: bool) -> None:
    assert WebhookChannel(f"https://{host}/services/T/B/x", "", Clock()).is_slack is is_slack


def test_slack_is_given_blocks_and_no_markup() -> None:
    body = json.loads(slack_body(message()))
    assert body["mrkdwn"] is False
    assert [one["type"] for one in body["blocks"]] == [
        "header",
        *["section"] * (len(body["blocks"]) - 2),
        "context",
    ]


@pytest.mark.parametrize("status", [200, 201, 204])
@asynchronous
async def test_a_success_is_one(status: int) -> None:
    assert await answered(lambda: web.Response(status=status)) is None


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@asynchronous
async def test_what_passes_is_tried_again(status: int) -> None:
    error = await answered(lambda: web.Response(status=status, text="s3cr3t"))
    assert isinstance(error, TransientError)
    assert str(error) == f"webhook at 127.0.0.1: it answered {status}"
    assert error.retry_after_seconds is None


@asynchronous
async def test_a_receiver_says_how_long_to_wait() -> None:
    error = await answered(lambda: web.Response(status=429, headers={"Retry-After": "30"}))
    assert isinstance(error, TransientError)
    assert error.retry_after_seconds == 30


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("30", 30),
        (" 0 ", 0),
        ("Thu, 01 Oct 2026 12:01:00 GMT", 60),
        ("Thu, 01 Oct 2026 11:00:00 GMT", 0),
        ("Thu, 01 Oct 2026 12:01:00", 60),
        ("99999999999999999999", 999_999_999),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
    ],
)
def test_how_long_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after_seconds(text, NOON // 1000) == seconds


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
@asynchronous
async def test_what_is_refused_is_said_with_slacks_own_word_and_no_other(status: int) -> None:
    error = await answered(lambda: web.Response(status=status, text="channel_is_archived\n"))
    assert isinstance(error, RefusedMessageError)
    assert str(error) == (
        f"webhook at 127.0.0.1: it answered {status} (channel_is_archived); "
        "check LEDGEROCK_WEBHOOK_URL"
    )
    error = await answered(lambda: web.Response(status=status, text="<b>s3cr3t</b>" * 1000))
    assert "(" not in str(error)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@asynchronous
async def test_redirects_are_not_followed(status: int) -> None:
    error = await answered(
        lambda: web.Response(status=status, headers={"Location": "/elsewhere?token=s3cr3t"})
    )
    assert isinstance(error, RefusedMessageError)
    assert "redirects are not followed" in str(error)


@asynchronous
async def test_a_receiver_that_does_not_answer_is_given_up_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook_channel, "TOTAL_SECONDS", 0.05)

    async def hang() -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    error = await answered(hang)
    assert isinstance(error, TransientError)
    assert str(error) == "webhook at 127.0.0.1: not reached (TimeoutError)"


@asynchronous
async def test_an_answer_that_never_ends_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await answered(lambda: web.Response(body=b"x" * 5_000_000)) is None


@asynchronous
async def test_a_receiver_that_is_not_there_is_tried_again_and_its_address_kept_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://user:s3cr3t@127.0.0.1:{taken.getsockname()[1]}/s3cr3t"
        channel = WebhookChannel(url, SECRET, Clock())
        with pytest.raises(TransientError) as raised:
            await channel.tell(message())
        await channel.close()
    assert str(raised.value) == "webhook at 127.0.0.1: not reached (ClientConnectorError)"
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert "s3cr3t" not in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "url", ["", "example.com/hook", "ftp://example.com/", "https://", "https://[::1", " https://a/"]
)
def test_what_is_no_address_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="LEDGEROCK_WEBHOOK_URL: that is no") as raised:
        WebhookChannel(url, "", Clock())
    assert "example" not in str(raised.value)


@asynchronous
async def test_it_may_be_used_again_after_it_was_closed() -> None:
    async with receiving() as receiver:
        channel = WebhookChannel(receiver.url, "", Clock())
        for _ in range(2):
            await channel.tell(message())
            await channel.close()
        assert len(receiver.posts) == 2
