"""The competitor: one query of DuckDB over the same files, in a process of its own.

It is given everything that makes it quick: the columns, the compression, one thread for each
core, and prices joined to the few sums rather than to every call. It reads the counts of the
envelope alone: it looks into no body, attributes nothing, checks nothing and keeps nothing.
"""

import time
from typing import Any, Final

import duckdb

from tests.bench.measuring import CORES, answer, pin, request
from worker.traffic.prices import MODELS, PICO_USD_PER_USD

QUERY: Final = """
WITH record AS (
  SELECT DISTINCT ON (requestId) identity.arn AS principal, modelId AS model_id, input, output
  FROM read_json(
    $files,
    format = 'newline_delimited',
    compression = 'gzip',
    columns = {
      requestId: 'VARCHAR',
      modelId: 'VARCHAR',
      identity: 'STRUCT(arn VARCHAR)',
      input: 'STRUCT(inputTokenCount BIGINT, cacheReadInputTokenCount BIGINT,
                     cacheWriteInputTokenCount BIGINT)',
      output: 'STRUCT(outputTokenCount BIGINT)'
    }
  )
),
summed AS (
  SELECT principal, model_id,
    count(*) AS calls,
    sum(input.inputTokenCount)::BIGINT AS input,
    coalesce(sum(output.outputTokenCount), 0)::BIGINT AS output,
    coalesce(sum(input.cacheReadInputTokenCount), 0)::BIGINT AS cache_read,
    coalesce(sum(input.cacheWriteInputTokenCount), 0)::BIGINT AS cache_write
  FROM record
  GROUP BY ALL
)
SELECT principal, price.model, calls, input, output, cache_read, cache_write,
  input * input_usd + output * output_usd + cache_read * cache_read_usd
    + cache_write * cache_write_usd AS cost_usd
FROM summed JOIN price ON price.model_id = split_part(summed.model_id, '/', -1)
"""

PRICE_TABLE: Final = """
CREATE TABLE price (
  model_id VARCHAR, model VARCHAR,
  input_usd DECIMAL(18, 12), output_usd DECIMAL(18, 12), cache_read_usd DECIMAL(18, 12),
  cache_write_usd DECIMAL(18, 12)
)
"""


def price_rows() -> list[tuple[str, ...]]:
    """Return the list prices as decimal USD per token, exact."""
    rows = []
    for model in MODELS:
        price = model.price
        rates = (price.input, price.output, price.cache_read, price.cache_write_5m)
        decimals = len(str(PICO_USD_PER_USD)) - 1
        rows.append((model.model_id, model.model, *(f"0.{rate:0{decimals}d}" for rate in rates)))
    return rows


def main() -> None:
    """Run the query and answer with its time and its sums."""
    asked = request()
    pin(CORES)
    rows = price_rows()
    started = time.perf_counter()
    connection = duckdb.connect()
    connection.execute(f"SET threads = {CORES}")
    connection.execute(PRICE_TABLE)
    connection.executemany("INSERT INTO price VALUES (?, ?, ?, ?, ?, ?)", rows)
    groups = connection.execute(QUERY, {"files": asked["glob"]}).fetchall()
    seconds = time.perf_counter() - started
    by_model: dict[str, dict[str, Any]] = {}
    names = ("calls", "input", "output", "cache_read", "cache_write")
    for _, model, *counts, cost_usd in groups:
        sums = by_model.setdefault(model, dict.fromkeys((*names, "cost_pico_usd"), 0))
        for name, count in zip(names, counts, strict=True):
            sums[name] += count
        # Twelve decimals are whole pico-USD.
        sums["cost_pico_usd"] += int(cost_usd.scaleb(12))
    answer({"seconds": seconds, "version": duckdb.__version__, "by_model": by_model})


if __name__ == "__main__":
    main()
