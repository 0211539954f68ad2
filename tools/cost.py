"""What running Ledgerock costs, worked out from measured units and AWS's list prices.

    python -m tools.cost            prints the tables of docs/cost.md
    python -m tools.cost --write    writes them there, and the figures of the README

A test compares the pages with what this prints, and the figures with what the bench measures and
with what is deployed.
"""

import argparse
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Final

from tools.cost_figures import (
    ALARM_METRICS,
    ASSUMED,
    CPU_MS,
    DEPLOYED,
    ENTRY_BYTES,
    ENTRY_UNITS,
    FUNCTION_GB,
    GB,
    HOURS,
    LEASE_SECONDS,
    MILLION,
    MINUTES,
    PARTITION_UNITS,
    PRICES,
    RATE,
    READ_ON,
    READ_UNITS,
    SHARD_BYTES,
    SHARD_RECORDS,
    STREAM_DAYS,
    TABLE_UNITS_QUOTA,
    TASK,
    WIDE_UNITS,
    WRITE_UNITS,
)

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs/cost.md"
README: Final = ROOT / "README.md"

Row = tuple[str, str, Decimal]


def price(name: str) -> Decimal:
    """Return what one of something costs."""
    return PRICES[name][0]


def gigabytes(calls: int) -> Decimal:
    """Return the size of the log records of so many calls."""
    return Decimal(calls * ASSUMED["log_bytes"]) / GB


def function_cpu() -> Decimal:
    """Return how many vCPU a function has."""
    return FUNCTION_GB * 1024 / ASSUMED["vcpu_mb"]


def function_seconds() -> Decimal:
    """Return how long a function takes a call, in batches of 500."""
    return (CPU_MS / function_cpu() + ASSUMED["waiting_ms"]) / 1000


def per_million(shape: str) -> Iterator[Row]:
    """Yield what a million calls cost: what, how that is worked out, US dollars."""
    size = gigabytes(MILLION)
    units = WRITE_UNITS[500]
    yield ("DynamoDB, writes", f"{units} units x ${price('write')}", units * price("write"))
    yield ("DynamoDB, reads", f"{READ_UNITS} units x ${price('read')}", READ_UNITS * price("read"))
    yield (
        "CloudWatch Logs, invocation logs",
        f"{size:.3f} GB x (${price('logs')} + ${price('logs_kept')} for 30 days)",
        size * (price("logs") + price("logs_kept")),
    )
    weeks = price("stream_kept") * (STREAM_DAYS - 1) / 30
    yield (
        "Kinesis on demand",
        f"{size:.3f} GB x (${price('stream_in')} in, ${price('stream_out')} out, {weeks:.3f} kept)",
        size * (price("stream_in") + price("stream_out") + weeks),
    )
    if shape == "functions":
        seconds = function_seconds() * MILLION
        invocations = MILLION // 500
        yield (
            "Lambda",
            f"{seconds:,.0f} s x {FUNCTION_GB} GB x ${price('gb_second')}; {invocations:,} times",
            seconds * FUNCTION_GB * price("gb_second")
            + Decimal(invocations) / MILLION * price("invocation"),
        )


def kept() -> Decimal:
    """Return what a million calls cost a month for as long as they are kept."""
    return Decimal(ENTRY_BYTES * MILLION) / GB * (price("table") + price("recovery"))


def at_rest(shape: str) -> Iterator[Row]:
    """Yield what a stage costs a month without a single call."""
    yield ("Kinesis on demand", f"{HOURS} h x ${price('stream')}", HOURS * price("stream"))
    count = ALARM_METRICS[shape]
    yield ("alarms", f"{count} metrics x ${price('alarm')}", count * price("alarm"))
    yield ("dashboard", f"1 x ${price('dashboard')}", price("dashboard"))
    count = DEPLOYED["own_metrics"]
    yield (
        "metrics of its own, at most",
        f"{count} x ${price('metric')}",
        count * price("metric"),
    )
    written = Decimal(MINUTES * ASSUMED["own_log_bytes"]) / GB
    yield ("its own logs", f"{written:.2f} GB x ${price('logs')}", written * price("logs"))
    if shape == "functions":
        runs = 2 * MINUTES
        seconds = runs * ASSUMED["due_seconds"]
        yield (
            "monitor and announcer, each minute",
            f"{runs:,} x {ASSUMED['due_seconds']} s x {FUNCTION_GB} GB x ${price('gb_second')}",
            seconds * FUNCTION_GB * price("gb_second")
            + Decimal(runs) / MILLION * price("invocation"),
        )
        polls = 5 * 3 * MINUTES
        yield (
            "polls of the queue",
            f"5 pollers x 3 a minute = {polls:,} x ${price('queue')} a million",
            Decimal(polls) / MILLION * price("queue"),
        )
        return
    cpu, memory = TASK
    hourly = cpu * price("cpu") + memory * price("memory")
    yield (
        "Fargate, one task",
        f"{HOURS} h x ({cpu} vCPU x ${price('cpu')} + {memory} GB x ${price('memory')})",
        HOURS * hourly,
    )
    yield ("its address", f"{HOURS} h x ${price('address')}", HOURS * price("address"))
    renewals = DEPLOYED["shards"] * HOURS * 3600 // LEASE_SECONDS
    yield (
        "leases of a stream's shards",
        f"{DEPLOYED['shards']} each {LEASE_SECONDS} s = {renewals:,} x ${price('write')} a million",
        Decimal(renewals) / MILLION * price("write"),
    )
    polls = 4 * 3 * MINUTES
    yield (
        "polls of the queue",
        f"4 receivers x 3 a minute = {polls:,} x ${price('queue')} a million",
        Decimal(polls) / MILLION * price("queue"),
    )


def cross_check() -> Iterator[Row]:
    """Yield what `cross_check` costs a million calls more."""
    units = WRITE_UNITS[500]
    yield (
        "DynamoDB, the same writes again",
        f"{units} units x ${price('write')}",
        units * price("write"),
    )
    requests = Decimal("1.2")
    yield (
        "SQS: sent one by one, taken and deleted by tens",
        f"{requests} requests x ${price('queue')}",
        requests * price("queue"),
    )


def private_network() -> Decimal:
    """Return what the endpoints of a private container cost a month, beyond no address."""
    endpoints = DEPLOYED["endpoints"] * 2 * price("endpoint") * HOURS
    return endpoints - HOURS * price("address")


def at_rate() -> Iterator[tuple[str, str, str]]:
    """Yield what ten thousand calls a second ask for: what, how that is worked out, how much."""
    writes, wide = RATE * WRITE_UNITS[500], RATE * WIDE_UNITS[500]
    yield "write units a second", f"{RATE:,} x {WRITE_UNITS[500]}", f"{writes:,.0f}"
    entries = RATE * ENTRY_UNITS
    yield (
        "of these, of the table `entries`",
        f"{RATE:,} x {ENTRY_UNITS}; quota of a table {TABLE_UNITS_QUOTA:,}",
        f"{entries:,}",
    )
    yield (
        "of the table `balances`",
        f"{RATE:,} x ({WRITE_UNITS[500]} - {ENTRY_UNITS})",
        f"{writes - entries:,.0f}",
    )
    yield (
        "partitions of `entries` that this takes",
        f"{entries:,} / {PARTITION_UNITS:,}; keys are request ids, so that all take the same",
        f"{math.ceil(entries / PARTITION_UNITS)}",
    )
    yield (
        "hottest key: everybody's day",
        f"{RATE:,} x {WIDE_UNITS[500]}; a partition takes {PARTITION_UNITS:,}",
        f"{wide:,.0f} units a second",
    )
    yield (
        "the same in batches of 2,000",
        f"{RATE:,} x {WIDE_UNITS[2_000]}",
        f"{RATE * WIDE_UNITS[2_000]:,.0f} units a second",
    )
    size = RATE * ASSUMED["log_bytes"]
    by_bytes = math.ceil(size / SHARD_BYTES)
    by_records = math.ceil(RATE / SHARD_RECORDS)
    shards = 2 * max(by_bytes, by_records)
    yield (
        "shards",
        f"2 x the larger of {size:,} bytes / {SHARD_BYTES:,}, {RATE:,} records / {SHARD_RECORDS:,}",
        f"{shards}",
    )
    seconds = 500 * function_seconds()
    yield (
        "a function's batch of 500",
        f"500 x ({CPU_MS} ms / {function_cpu():.2f} vCPU + {ASSUMED['waiting_ms']} ms of waiting)",
        f"{seconds:.2f} s",
    )
    yield (
        "functions at work at once",
        f"{RATE:,} / 500 x {seconds:.2f} s; one a shard runs at most, {shards}",
        f"{math.ceil(RATE * function_seconds())}",
    )
    cpu = TASK[0] * ASSUMED["busy"]
    yield (
        "tasks of half a vCPU",
        f"{RATE:,} x {CPU_MS} ms / ({TASK[0]} x {ASSUMED['busy']})",
        f"{math.ceil(RATE * CPU_MS / 1000 / cpu)}",
    )


def at_rate_monthly() -> Iterator[Row]:
    """Yield what that costs a month."""
    calls = RATE * HOURS * 3600
    millions = Decimal(calls) / MILLION
    size = gigabytes(calls)
    tables = WRITE_UNITS[500] * price("write") + READ_UNITS * price("read")
    yield (
        "DynamoDB",
        f"{millions:,.0f} million calls x ${tables:.5f}",
        millions * tables,
    )
    yield (
        "CloudWatch Logs",
        f"{size:,.0f} GB x (${price('logs')} + ${price('logs_kept')})",
        size * (price("logs") + price("logs_kept")),
    )
    shard = price("shard") + price("shard_kept")
    yield (
        "Kinesis, 20 shards",
        f"20 x {HOURS} h x ${shard} + {millions:,.0f} million units x ${price('payload')}",
        20 * HOURS * shard + millions * price("payload"),
    )
    seconds = function_seconds() * calls
    yield (
        "Lambda",
        f"{seconds:,.0f} GB-s x ${price('gb_second')}",
        seconds * FUNCTION_GB * price("gb_second"),
    )


# --- Text -------------------------------------------------------------------------------------


def _money_table(rows: Iterator[Row], total: str) -> str:
    listed = list(rows)
    lines = ["| what | how | USD |", "|---|---|---:|"]
    lines += [f"| {what} | {how} | {usd:,.2f} |" for what, how, usd in listed]
    lines.append(f"| **{total}** | | **{sum(usd for *_, usd in listed):,.2f}** |")
    return "\n".join(lines)


def _units_table() -> str:
    lines = ["| batch | write units a call | USD a million calls |", "|---:|---:|---:|"]
    lines += [
        f"| {size:,} | {units} | {units * price('write'):.2f} |"
        for size, units in WRITE_UNITS.items()
    ]
    return "\n".join(lines)


def _prices_table() -> str:
    lines = ["| USD | for | page |", "|---:|---|---|"]
    source = ""
    for usd, what, page in PRICES.values():
        source = source if page == "as above" else page
        lines.append(f"| {usd} | {what} | {source} |")
    return "\n".join(lines)


def _rate_table() -> str:
    lines = ["| what | how | how much |", "|---|---|---:|"]
    return "\n".join([*lines, *(f"| {what} | {how} | {much} |" for what, how, much in at_rate())])


def _total(rows: Iterator[Row]) -> Decimal:
    return sum((usd for *_, usd in rows), Decimal(0))


def _summary() -> str:
    lines = ["| | a million calls | a month without any |", "|---|---:|---:|"]
    lines += [
        f"| {shape} | ${_total(per_million(shape)):.2f} | ${_total(at_rest(shape)):.2f} |"
        for shape in ("functions", "container")
    ]
    return "\n".join(lines)


def blocks() -> dict[str, str]:
    """Return the tables by their names."""
    return {
        "summary": _summary(),
        "units": _units_table(),
        "functions": _money_table(per_million("functions"), "a million calls"),
        "container": _money_table(per_million("container"), "a million calls"),
        "rest-functions": _money_table(at_rest("functions"), "a month"),
        "rest-container": _money_table(at_rest("container"), "a month"),
        "cross-check": _money_table(cross_check(), "a million calls"),
        "rate": _rate_table(),
        "rate-monthly": _money_table(at_rate_monthly(), "a month"),
        "prices": _prices_table(),
        "kept": f"A million calls that are kept cost ${kept():.2f} a month: {ENTRY_BYTES} bytes"
        f" each x (${price('table')} + ${price('recovery')}) a GB.",
        "private": f"`network.private` costs ${private_network():.2f} a month more:"
        f" {DEPLOYED['endpoints']} interface endpoints in 2 zones x {HOURS} h x"
        f" ${price('endpoint')}, less the address; and ${price('endpoint')} a GB through them.",
        "read-on": f"Read in {READ_ON}.",
    }


def filled(text: str) -> str:
    """Return a page with every block that it names filled in."""
    made = blocks()

    def block(match: re.Match[str]) -> str:
        return f"<!-- cost: {match[1]} -->\n{made[match[1]]}\n<!-- end -->"

    return re.sub(r"<!-- cost: ([\w-]+) -->\n.*?<!-- end -->", block, text, flags=re.DOTALL)


def main() -> None:
    """Print the tables, or write them into their pages."""
    parser = argparse.ArgumentParser(description="what running Ledgerock costs")
    parser.add_argument("--write", action="store_true", help="write docs/cost.md and README.md")
    if not parser.parse_args().write:
        print("\n\n".join(f"{name}\n{text}" for name, text in blocks().items()))
        return
    for path in (PAGE, README):
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
