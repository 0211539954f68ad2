"""One replay through the public function, timed and weighed in a process of its own."""

import asyncio
import resource
import time
from pathlib import Path
from typing import Any

from tests.bench.measuring import CORES, answer, peak_rss_bytes, pin, request
from worker.bootstrap import open_ledger
from worker.core.ledger import Amounts
from worker.replay import replay
from worker.settings import Settings


def document(amounts: Amounts) -> dict[str, int]:
    """Return the figures that are compared."""
    return {
        "calls": amounts.calls,
        "cost_pico_usd": amounts.cost_pico_usd,
        "estimated_calls": amounts.estimated_calls,
        "unpriced_calls": amounts.unpriced_calls,
        "input": amounts.input_tokens,
        "output": amounts.output_tokens,
        "cache_read": amounts.cache_read_tokens,
        "cache_write_5m": amounts.cache_write_5m_tokens,
        "cache_write_1h": amounts.cache_write_1h_tokens,
    }


async def _measure(settings: Settings, logs: str) -> dict[str, Any]:
    started = time.perf_counter()
    figures = await replay(settings, [logs])
    seconds = time.perf_counter() - started
    result: dict[str, Any] = {
        "seconds": seconds,
        "peak_rss_bytes": {
            "writer": peak_rss_bytes(resource.RUSAGE_SELF),
            "decoder": peak_rss_bytes(resource.RUSAGE_CHILDREN),
        },
        "records": figures.records,
        "recorded": figures.recorded,
        "duplicates": figures.duplicates,
        "posted": document(figures.totals),
    }
    if settings.ledger == "memory":
        by_principal, by_model = figures.by_principal, figures.by_model
    else:
        ledger = open_ledger(settings, must_exist=True)
        by_principal, by_model = await ledger.totals("principal"), await ledger.totals("model")
        await ledger.close()
    result["by_principal"] = {key: document(amounts) for key, amounts in by_principal.items()}
    result["by_model"] = {key: document(amounts) for key, amounts in by_model.items()}
    return result


def main() -> None:
    """Replay what was asked and answer with the time, the memory and the totals."""
    asked = request()
    pin(CORES)
    settings = Settings(ledger=asked["ledger"], registry=Path(asked["registry"]))
    answer(asyncio.run(_measure(settings, asked["logs"])))


if __name__ == "__main__":
    main()
