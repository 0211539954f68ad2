"""A proxy between workers and emulated AWS that lets a share of the requests fail.

It fails them as AWS does: throttled, cancelled by a conflict, refused by a busy server, cut off
before they arrive, or carried out and cut off before the answer. Several processes may use it.

    python -m tests.fault_proxy '{"dynamodb": URL, "others": URL, "share": 0.2, "seed": 1}'

prints its port, and answers `GET /faults` with what it did so far.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from typing import Any, Final

import aiohttp
from aiohttp import web

TARGET: Final = "X-Amz-Target"
BODY_BYTES_MAX: Final = 64 * 1024 * 1024
NOT_FORWARDED: Final = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "content-encoding", "date"}
)


class FaultProxy:
    """Forwards requests, some of them in vain.

    Args:
        dynamodb: Address of DynamoDB.
        others: Address of everything else.
        share: Of the requests that fail.
        seed: Of the dice.
    """

    def __init__(self, dynamodb: str, others: str, share: float, seed: int) -> None:
        self._dynamodb, self._others, self.share = dynamodb, others, share
        self.down = ""
        """Beginning of the targets (`AWSEvents`) of a service that is down; empty for none."""
        self._dice = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self._session: aiohttp.ClientSession | None = None

    def application(self) -> web.Application:
        made = web.Application(client_max_size=BODY_BYTES_MAX)
        made.router.add_get("/faults", self._figures)
        made.router.add_post("/share", self._set_share)
        made.router.add_route("*", "/{rest:.*}", self._forward)
        made.cleanup_ctx.append(self._client)
        return made

    async def _client(self, _application: web.Application) -> Any:
        timeout = aiohttp.ClientTimeout(total=120)
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(
            timeout=timeout, connector=connector, auto_decompress=False
        )
        yield
        await self._session.close()

    async def _figures(self, _request: web.Request) -> web.Response:
        return web.json_response(dict(self.counts))

    async def _set_share(self, request: web.Request) -> web.Response:
        self.share = float(await request.text())
        return web.Response()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        target = request.headers.get(TARGET, "")
        self.counts["requests"] += 1
        fault = self._fault(target)
        if fault is not None:
            self.counts[fault] += 1
        if fault == "cut off before":
            return _cut_off(request)
        if fault == "throttled":
            return _throttled(target)
        if fault == "busy":
            return web.Response(status=503, text="busy")
        if fault == "conflict":
            return _conflict(body, self._dice)
        try:
            answer = await self._send(request, body, target)
        except (aiohttp.ClientError, OSError, TimeoutError):
            self.counts["unreachable"] += 1
            return web.Response(status=503, text="unreachable")
        return _cut_off(request) if fault == "cut off after" else answer

    def _fault(self, target: str) -> str | None:
        if self.down and target.startswith(self.down):
            return self._dice.choice(["cut off before", "busy"])
        if self._dice.random() >= self.share:
            return None
        kinds = ["cut off before", "cut off after", "busy"]
        if target:
            kinds.append("throttled")
        if target.endswith(".TransactWriteItems"):
            kinds += ["conflict", "conflict"]
        return self._dice.choice(kinds)

    async def _send(self, request: web.Request, body: bytes, target: str) -> web.StreamResponse:
        assert self._session is not None
        upstream = self._dynamodb if target.startswith("DynamoDB_") else self._others
        headers = {
            name: text
            for name, text in request.headers.items()
            if name.lower() not in NOT_FORWARDED
        }
        async with self._session.request(
            request.method, f"{upstream}{request.raw_path}", data=body, headers=headers
        ) as answer:
            content = await answer.read()
            kept = {
                name: text
                for name, text in answer.headers.items()
                if name.lower() not in NOT_FORWARDED or name.lower() == "content-encoding"
            }
            return web.Response(status=answer.status, headers=kept, body=content)


def _cut_off(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    if request.transport is not None:  # else the worker was killed meanwhile
        request.transport.abort()
    return web.Response()


def _throttled(target: str) -> web.Response:
    service = target.partition(".")[0]
    code = {
        "AmazonSQS": "com.amazonaws.sqs#RequestThrottled",
        "AWSEvents": "ThrottlingException",
    }.get(service, "ProvisionedThroughputExceededException")
    return _refusal(code)


def _conflict(body: bytes, dice: random.Random) -> web.Response:
    """Cancel a transaction; one of its items was in somebody else's."""
    items = len(json.loads(body)["TransactItems"])
    reasons: list[dict[str, Any]] = [{"Code": "None"} for _ in range(items)]
    reasons[dice.randrange(items)] = {"Code": "TransactionConflict", "Message": "in use"}
    return _refusal("TransactionCanceledException", CancellationReasons=reasons)


def _refusal(code: str, **more: Any) -> web.Response:
    document = {"__type": code, "message": "injected", "Message": "injected", **more}
    return web.Response(
        status=400, body=json.dumps(document), content_type="application/x-amz-json-1.0"
    )


async def serve(task: dict[str, Any]) -> None:
    """Run until killed."""
    proxy = FaultProxy(task["dynamodb"], task["others"], task["share"], task["seed"])
    runner = web.AppRunner(proxy.application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    [socket] = site._server.sockets  # type: ignore[attr-defined]
    sys.stdout.write(f"{socket.getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
