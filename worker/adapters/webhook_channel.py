"""Messages to a webhook: Slack's incoming webhooks in Slack's form, all others as signed JSON.

An address of a webhook is a secret: errors and logs name its host and nothing more of it.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from worker.core.errors import ConfigurationError, RefusedMessageError, TransientError
from worker.core.people import Message, escaped
from worker.ports import Clock

NAME: Final = "webhook"
VARIABLE: Final = "LEDGEROCK_WEBHOOK_URL"
CONNECT_SECONDS: Final = 3.0
TOTAL_SECONDS: Final = 8.0
"""How long a post may take in all; a receiver should answer first and work then."""
ANSWER_BYTES_MAX: Final = 200
SLACK_HOSTS: Final = ("hooks.slack.com", "hooks.slack-gov.com")
SIGNATURE: Final = "X-Ledgerock-Signature"

_TOO_MANY: Final = 429
_REQUEST_TIMEOUT: Final = 408
_REDIRECT: Final = 300
_CLIENT_FAULT: Final = 400
_SERVER_FAULT: Final = 500
_CODE: Final = re.compile(rb"[a-z][a-z_]{2,40}")
"""What Slack answers when it refuses: `invalid_payload`, `channel_is_archived`, ... No other text
of an answer is repeated, for it may hold anything."""


class WebhookChannel:
    """A `worker.ports.Channel` that posts JSON.

    Args:
        url: Where to; one of `SLACK_HOSTS` gets Slack's form.
        secret: Signs what is posted; empty for no signature.
        clock: Says when it was signed.
        slack_hosts: Hosts that are given Slack's form.

    Raises:
        ConfigurationError: It is no address of a webhook.
    """

    def __init__(
        self, url: str, secret: str, clock: Clock, *, slack_hosts: Sequence[str] = SLACK_HOSTS
    ) -> None:
        """Connect to nothing yet."""
        self._url = url
        self._host = _host(url)
        self._secret = secret.encode()
        self._clock = clock
        self._slack_hosts = tuple(slack_hosts)
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        """What notices call it."""
        return NAME

    @property
    def is_slack(self) -> bool:
        """Whether it is an incoming webhook of Slack's."""
        return self._host in self._slack_hosts

    async def tell(self, message: Message) -> None:
        """Post a message; see the port. Redirects are not followed."""
        body = slack_body(message) if self.is_slack else plain_body(message)
        headers = {"Content-Type": "application/json", "User-Agent": "ledgerock"}
        if self._secret:
            headers[SIGNATURE] = signature(self._secret, body, self._clock.now_ms() // 1000)
        try:
            async with self._opened().post(
                self._url, data=io.BytesIO(body), headers=headers, allow_redirects=False
            ) as answer:
                self._judge(answer, await answer.content.read(ANSWER_BYTES_MAX))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            # Texts of these errors may hold the address.
            text = f"webhook at {self._host}: not reached ({type(error).__name__})"
            raise TransientError(text) from None

    def _judge(self, answer: aiohttp.ClientResponse, text: bytes) -> None:
        """Raise what a status means, unless it is a success."""
        status = answer.status
        if status < _REDIRECT:
            return
        said = text.strip()
        code = f" ({said.decode()})" if _CODE.fullmatch(said) else ""
        what = f"webhook at {self._host}: it answered {status}{code}"
        if status >= _SERVER_FAULT or status in {_TOO_MANY, _REQUEST_TIMEOUT}:
            after = retry_after_seconds(
                answer.headers.get("Retry-After", ""), self._clock.now_ms() // 1000
            )
            raise TransientError(what, retry_after_seconds=after)
        if status < _CLIENT_FAULT:
            raise RefusedMessageError(
                f"{what}; redirects are not followed: {VARIABLE} must be the address itself"
            )
        raise RefusedMessageError(f"{what}; check {VARIABLE}")

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Proxies are taken from the environment, as the AWS SDK does.
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TOTAL_SECONDS, sock_connect=CONNECT_SECONDS),
                trust_env=True,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def close(self) -> None:
        """Close connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def plain_body(message: Message) -> bytes:
    """Return what a webhook is posted: detail type, event, and the message for people."""
    return msgspec.json.encode(
        {
            "detail_type": message.detail_type,
            "event": msgspec.Raw(message.detail),
            "subject": message.subject,
            "text": message.text,
        }
    )


def slack_body(message: Message) -> bytes:
    """Return what Slack is posted: blocks, and a line for notifications that is no markup."""
    return msgspec.json.encode(
        {
            "text": escaped(message.brief),
            "mrkdwn": False,
            "unfurl_links": False,
            "unfurl_media": False,
            "blocks": message.blocks,
        }
    )


def signature(secret: bytes, body: bytes, at_seconds: int) -> str:
    """Return `t=<unix seconds>,v1=<hex>`, the HMAC-SHA-256 of `t.body` under the secret."""
    signed = hmac.new(secret, f"{at_seconds}.".encode() + body, hashlib.sha256)
    return f"t={at_seconds},v1={signed.hexdigest()}"


def retry_after_seconds(text: str, now_seconds: int) -> float | None:
    """Read `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3); None for neither."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.fromtimestamp(now_seconds, UTC)).total_seconds())


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.scheme not in {"https", "http"} or not host or url != url.strip():
        message = f"{VARIABLE}: that is no address of a webhook; give https://HOST/PATH"
        raise ConfigurationError(message)
    return host
