"""`/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from aiohttp import web

from worker.core.errors import ConfigurationError
from worker.runtime.metrics import CONTENT_TYPE

EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - orchestrators and Prometheus ask from outside

Reasons = Callable[[], Sequence[str]]


def make_application(
    *, unhealthy: Reasons, unready: Reasons, metrics: Callable[[], bytes | None]
) -> web.Application:
    """Return the pages.

    Args:
        unhealthy: Says why the worker is not well.
        unready: Says why it is not ready.
        metrics: Renders the metrics in Prometheus' text format; None if there are none in it.
    """

    def answer(word: str, reasons: Sequence[str]) -> web.Response:
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        document = {"status": f"not {word}" if reasons else word, "reasons": list(reasons)}
        return web.json_response(document, status=status)

    async def healthz(_request: web.Request) -> web.Response:
        return answer("healthy", unhealthy())

    async def readyz(_request: web.Request) -> web.Response:
        return answer("ready", unready())

    async def metricsz(_request: web.Request) -> web.Response:
        text = metrics()
        if text is None:
            raise web.HTTPNotFound(text="LEDGEROCK_METRICS=emf: metrics are printed, not served")
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    application = web.Application()
    application.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", metricsz),
        ]
    )
    return application


@asynccontextmanager
async def served(application: web.Application, port: int) -> AsyncIterator[None]:
    """Serve the pages on a port of all addresses; 0 serves them nowhere.

    Raises:
        ConfigurationError: The port is taken, or not ours to take.
    """
    if not port:
        yield
        return
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, EVERYWHERE, port, reuse_port=False).start()
        except OSError as error:
            message = (
                f"LEDGEROCK_HTTP_PORT={port}: cannot listen there ({error.strerror}); "
                "name another port, or 0 to serve no pages"
            )
            raise ConfigurationError(message) from error
        yield
    finally:
        await runner.cleanup()
