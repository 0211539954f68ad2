"""`ledgerock worker`: the container worker."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.cli.options import (
    LedgerOption,
    PricesOption,
    QuarantineOption,
    RegistryOption,
    read_settings,
)

BurstOption = Annotated[
    bool,
    typer.Option("--burst", help="Exit once the queues and streams are drained."),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ledgerock worker --ledger dynamodb --registry registry.toml")(
        worker
    )


def worker(
    ledger: LedgerOption = None,
    registry: RegistryOption = None,
    prices: PricesOption = None,
    quarantine: QuarantineOption = None,
    burst: BurstOption = False,
) -> None:
    """Book what comes in on SQS queues and Kinesis streams until told to stop.

    LEDGEROCK_QUEUES names queues by URL, LEDGEROCK_STREAMS streams by name, LEDGEROCK_BUS the
    EventBridge bus for threshold events. /healthz, /readyz and /metrics are served on
    LEDGEROCK_HTTP_PORT (8080). SIGTERM and Ctrl-C drain: nothing is lost, whatever happens.
    """
    import asyncio

    from worker.runtime.serving import serve
    from worker.telemetry import configure_logs, log_level

    settings = read_settings(ledger=ledger, registry=registry, prices=prices, quarantine=quarantine)
    configure_logs(log_level())
    raise typer.Exit(asyncio.run(serve(settings, burst=burst)))
