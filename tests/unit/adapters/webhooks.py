"""A receiver of webhooks: a server in this process that answers as it is told."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web


class Post(msgspec.Struct):
    """What was posted."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Keeps what is posted.

    Attributes:
        answer: Makes each answer; a 200 by default.
    """

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.url = ""
        self.answer: Callable[[], Any] = lambda: web.Response(text="ok")

    async def receive(self, request: web.Request) -> web.StreamResponse:
        self.posts.append(Post(request.path_qs, dict(request.headers), await request.read()))
        made = self.answer()
        answered: web.StreamResponse = made if isinstance(made, web.StreamResponse) else await made
        return answered


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Serve a receiver on loopback."""
    receiver = Receiver()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", receiver.receive)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [address] = runner.addresses
    receiver.url = f"http://127.0.0.1:{address[1]}/services/T0/B0/s3cr3t?token=s3cr3t"
    try:
        yield receiver
    finally:
        await runner.cleanup()
