"""What came of a load, as JSON and for people."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tools.laptop.crossings import CrossingWatch
from tools.laptop.host import Metrics
from tools.laptop.publishing import Publisher
from worker.core.ledger import AMOUNT_FIELDS, Amounts, Leaf
from worker.core.money import format_pico_usd
from worker.traffic.live import LiveTraffic
from worker.traffic.sums import Total

NOTHING: Final = dict.fromkeys(AMOUNT_FIELDS, 0)


@dataclass(slots=True)
class Lags:
    """Seconds from making calls to finding them in the ledger; those never found are missing."""

    seconds: list[float] = field(default_factory=list)
    missing: int = 0


@dataclass(slots=True)
class Booked:
    """What an account's balances say."""

    total: Amounts = field(default_factory=Amounts)
    by_principal: dict[str, Amounts] = field(default_factory=dict)
    by_model: dict[str, Amounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A load that is over.

    Attributes:
        traffic: What was sent, with its sums.
        booked: What the ledger has of it.
        lags: How long that took.
        crossings: What the bus announced of its budget.
        publisher: What delivered it.
        metrics: What the worker counted meanwhile, other traffic included.
    """

    traffic: LiveTraffic
    booked: Booked
    lags: Lags
    crossings: CrossingWatch
    publisher: Publisher
    metrics: Metrics


def booked_of(balances: Iterable[tuple[Leaf, Amounts]], account: str) -> Booked:
    """Add up the balances of one account."""
    booked = Booked()
    for leaf, amounts in balances:
        if leaf.account == account:
            booked.total.add(amounts)
            booked.by_principal.setdefault(leaf.principal, Amounts()).add(amounts)
            booked.by_model.setdefault(leaf.model, Amounts()).add(amounts)
    return booked


def quantiles(seconds: Iterable[float]) -> dict[str, Any]:
    """Return how many there are, and the half, the 99 of 100 and the most, by nearest rank."""
    ordered = sorted(seconds)
    if not ordered:
        return {"samples": 0, "p50": None, "p99": None, "max": None}
    ranked = {
        name: ordered[max(0, -(-len(ordered) * per_cent // 100) - 1)]
        for name, per_cent in (("p50", 50), ("p99", 99), ("max", 100))
    }
    return {"samples": len(ordered)} | {name: round(each, 3) for name, each in ranked.items()}


def differences(
    sent: Mapping[str, Total], booked: Mapping[str, Amounts], field_name: str
) -> list[dict[str, Any]]:
    """List the keys whose figures differ, in any of them."""
    found = []
    for key in sorted({*sent, *booked}):
        made, kept = (_figures(each.get(key)) for each in (sent, booked))
        if made != kept:
            found.append(
                {
                    field_name: key,
                    "sent_calls": made["calls"],
                    "booked_calls": kept["calls"],
                    "sent_usd": format_pico_usd(made["cost_pico_usd"]),
                    "booked_usd": format_pico_usd(kept["cost_pico_usd"]),
                    "differs_in": [name for name in AMOUNT_FIELDS if made[name] != kept[name]],
                }
            )
    return found


def _figures(amounts: Amounts | Total | None) -> dict[str, int]:
    if amounts is None:
        return NOTHING
    return {name: getattr(amounts, name) for name in AMOUNT_FIELDS}


def report_document(ran: Ran, run: Mapping[str, Any]) -> dict[str, Any]:
    """Put the report together; `run` is what was asked for and how long it took."""
    traffic, booked, metrics, crossings = ran.traffic, ran.booked, ran.metrics, ran.crossings
    sums = traffic.sums
    losses = differences(sums.by_principal, booked.by_principal, "principal")
    losses += differences(sums.by_model, booked.by_model, "model")
    return {
        "exact": not losses and _figures(sums.total) == _figures(booked.total),
        **run,
        "sent": {
            "calls": sums.calls,
            "records": sums.records,
            "duplicates": sums.duplicates,
            "cost_usd": format_pico_usd(sums.cost_pico_usd),
        },
        "booked": {
            "calls": booked.total.calls,
            "cost_usd": format_pico_usd(booked.total.cost_pico_usd),
        },
        "losses": losses,
        "lag_seconds": quantiles(ran.lags.seconds) | {"missing": ran.lags.missing},
        "crossings": {
            "reached": crossings.reached,
            "announced": len(crossings.latencies),
            "events": crossings.events,
            "ids": len(crossings.ids),
            "latency_seconds": quantiles(crossings.latencies.values()),
        },
        "worker": {
            "records": metrics.by_result("records"),
            "deliveries": metrics.by_result("deliveries"),
            "call_to_booked_seconds": _worker_quantiles(metrics, "call_to_booked_seconds"),
            "call_to_crossing_seconds": _worker_quantiles(metrics, "call_to_crossing_seconds"),
            "commit_seconds": _worker_quantiles(metrics, "commit_seconds"),
            "throttles": int(metrics.of("request_throttles")),
            "retries": int(metrics.of("request_retries")),
            "conflicts": int(metrics.of("request_conflicts")),
        },
        "publisher": {"requests": ran.publisher.requests, "refused": ran.publisher.refused},
    }


def _worker_quantiles(metrics: Metrics, name: str) -> dict[str, float | None]:
    found = {text: metrics.quantile(name, share) for text, share in (("p50", 0.5), ("p99", 0.99))}
    return {text: None if each is None else round(each, 3) for text, each in found.items()}


def print_report(document: Mapping[str, Any], console: Console) -> None:
    """Print the report as a table."""
    sent, booked, worker = document["sent"], document["booked"], document["worker"]
    lag, crossings = document["lag_seconds"], document["crossings"]
    table = Table(show_header=False, box=None)
    table.add_column("what", style="bold", no_wrap=True)
    table.add_column("figure", overflow="fold")
    table.add_row("rate", f"{document['achieved_rate']} of {document['rate']:g} calls/s")
    table.add_row(
        "sent", f"{sent['calls']} calls in {sent['records']} records, {sent['cost_usd']} USD"
    )
    table.add_row("booked", f"{booked['calls']} calls, {booked['cost_usd']} USD")
    table.add_row(
        "exact", "to the pico-dollar, by principal and model" if document["exact"] else "NO"
    )
    table.add_row("call to booked", _spread(lag))
    latency = crossings["latency_seconds"]
    table.add_row("call to event", f"{_spread(latency)}; {crossings['announced']} of "
                  f"{crossings['reached']} thresholds announced")  # fmt: skip
    table.add_row("records", _counts(worker["records"]))
    table.add_row("deliveries", _counts(worker["deliveries"]))
    troubles = {name: worker[name] for name in ("throttles", "retries", "conflicts")}
    table.add_row("requests", _counts(troubles | {"refused": document["publisher"]["refused"]}))
    for loss in document["losses"]:
        key = loss.get("principal") or loss.get("model")
        table.add_row(
            "differs",
            f"{key}: {loss['sent_calls']} calls, {loss['sent_usd']} USD sent; "
            f"{loss['booked_calls']} calls, {loss['booked_usd']} USD booked",
            style="red",
        )
    console.print(table)


def _spread(found: Mapping[str, Any]) -> str:
    if not found["samples"]:
        return "-"
    return f"p50 {found['p50']:.2f} s, p99 {found['p99']:.2f} s of {found['samples']}"


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in found.items()) or "-"
