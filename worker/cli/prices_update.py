"""`ledgerock prices update`: what the AWS Price List has otherwise, shown, then written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.group import EXIT_WRONG
from worker.cli.options import JsonOption, PricesOption, read_settings
from worker.cli.times import parse_time

if TYPE_CHECKING:
    from worker.core.catalogue import Catalogue
    from worker.core.price_list import Reading, Unknown
    from worker.core.price_update import Change, Kept, Plan


FromFileOption = Annotated[
    Path | None,
    typer.Option(
        "--from-file",
        metavar="DIR|FILE",
        help="Read what GetProducts answered from JSON files instead of asking AWS. "
        "Example: --from-file price-list/",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="FILE",
        help="With --write: where to, if not the file of --prices.",
    ),
]
WriteOption = Annotated[
    bool, typer.Option("--write", help="Write the changes; without it they are only shown.")
]
KnownOnlyOption = Annotated[
    bool,
    typer.Option(
        "--known-only",
        help="With --write: write what is understood although something is not.",
    ),
]
EffectiveFromOption = Annotated[
    int | None,
    typer.Option(
        "--effective-from",
        metavar="TIME",
        parser=parse_time,
        help="Since when a price holds whose offer does not say. Default: today.",
    ),
]
MapOption = Annotated[
    Path | None,
    typer.Option(
        "--map",
        metavar="FILE",
        help="Your own mapping of products to models, a TOML file that is read before the "
        "packaged worker/data/price_list_map.toml. Example: --map ours.toml",
    ),
]
EndpointOption = Annotated[
    str,
    typer.Option(
        "--region-endpoint",
        metavar="REGION",
        help="Where the Price List is asked; it knows the prices of all Regions.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ledgerock prices update --prices ours.csv --write")(update)


def update(
    from_file: FromFileOption = None,
    prices: PricesOption = None,
    output: OutputOption = None,
    write: WriteOption = False,
    known_only: KnownOnlyOption = False,
    effective_from: EffectiveFromOption = None,
    price_map: MapOption = None,
    endpoint_region: EndpointOption = "us-east-1",
    as_json: JsonOption = False,
) -> None:
    """Bring your price rows up to date with the AWS Price List.

    Shows every rate that the Price List has otherwise. With --write, changed prices become new
    rows with a date in your own file (--prices); the packaged catalogue stays as it is. Needs
    credentials that allow pricing:GetProducts, or --from-file.

    Exits with 1, and writes nothing, if a product is not understood.
    """
    from worker.adapters.clock import SystemClock
    from worker.adapters.price_list import load_price_map, read_price_rows
    from worker.cli.output import print_json
    from worker.core.price_list import read_products
    from worker.core.price_update import DAY_MS, plan_update
    from worker.core.price_update_text import apply_changes
    from worker.core.report import iso_time

    own = read_settings(prices=prices).prices
    target = output or own
    if write and target is None:
        message = "--write needs a file for the rows: --prices FILE (it may be new), or --output"
        raise typer.BadParameter(message)
    catalogue = _catalogue(own)
    now_ms = SystemClock().now_ms()
    reading = read_products(
        _products(from_file, endpoint_region), load_price_map(price_map), catalogue
    )
    undated_ms = now_ms - now_ms % DAY_MS if effective_from is None else effective_from
    plan = plan_update(reading.quotes, catalogue, now_ms, undated_ms)
    document = {"at": iso_time(now_ms)} | _document(reading, plan)
    text = apply_changes(read_price_rows(own) if own else "", str(own), plan.changes)
    if not as_json:
        _print(document)
    if write and target and (known_only or not reading.unknown):
        document |= _write(target, text, changes=len(plan.changes), in_place=target == own)
        if not as_json:
            _print_written(document)
    elif not as_json and plan.changes:
        _print_unwritten(target, unknown=len(reading.unknown), write=write)
    if as_json:
        print_json(document)
    if reading.unknown or (document["check"] or {}).get("errors"):
        raise typer.Exit(EXIT_WRONG)


def _catalogue(own: Path | None) -> Catalogue:
    """Load the catalogue; the operator's file need not exist before the first update."""
    from worker.adapters.catalogue_files import load_catalogue

    return load_catalogue(own if own and own.exists() else None)


def _products(from_file: Path | None, endpoint_region: str) -> Iterable[object]:
    from worker.adapters import price_list

    if from_file is not None:
        return price_list.read_saved_products(from_file)
    return price_list.fetch_products(price_list.pricing_client(endpoint_region))


def _write(target: Path, text: str, *, changes: int, in_place: bool) -> dict[str, Any]:
    """Write the rows if there are any, and test the catalogue with them."""
    from worker.adapters.catalogue_files import load_catalogue
    from worker.adapters.price_list import replace_price_rows
    from worker.core.catalogue_check import check_catalogue

    if not changes and (in_place or not text):
        return {}
    loaded: list[Catalogue] = []
    replace_price_rows(target, text, lambda path: loaded.append(load_catalogue(path)))
    severities = Counter(finding.severity for finding in check_catalogue(loaded[0]))
    return {
        "written": str(target),
        "check": {
            "errors": severities["error"],
            "warnings": severities["warning"],
            "infos": severities["info"],
        },
        "next": [
            f"ledgerock prices check --prices {target}",
            f"ledgerock rebook --prices {target} --dry-run",
        ],
    }


def _document(reading: Reading, plan: Plan) -> dict[str, Any]:
    skipped = Counter(item.reason for item in reading.skipped)
    return {
        "products": reading.products,
        "rates": len(reading.quotes),
        "unchanged": plan.unchanged,
        "changes": [_change(change) for change in plan.changes],
        "kept": [_kept(kept) for kept in plan.kept],
        "skipped": [
            {"reason": reason, "products": number}
            for reason, number in sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
        ],
        "unknown": _unknown(reading.unknown),
        "written": None,
        "check": None,
        "next": [],
    }


def _change(change: Change) -> dict[str, Any]:
    from worker.core.money import format_atto_usd
    from worker.core.price_update_text import row_fields

    fields = row_fields(change)
    before = change.before
    return {
        "action": change.action,
        **{name: fields[name] for name in ("model", "routing", "region")},
        "service_tier": fields["tier"],
        "unit": fields["unit"],
        "above_input_tokens": change.quote.above_input_tokens,
        "usd_before": (
            None if before is None else format_atto_usd(before.rate_atto * int(fields["per"]))
        ),
        "usd": fields["usd"],
        "per": int(fields["per"]),
        "effective_from": fields["effective_from"],
        "effective_to": fields["effective_to"] or None,
        "confidence": fields["confidence"],
        "source": fields["sources"],
        "before": None if before is None else before.origin,
        "ends_before": change.ends,
    }


def _kept(kept: Kept) -> dict[str, Any]:
    from worker.core.money import format_atto_usd

    quote = kept.quote
    per = 1_000_000 if quote.unit.endswith("_tokens") else 1
    return {
        "model": quote.model,
        "routing": quote.routing,
        "region": quote.region,
        "service_tier": quote.tier,
        "unit": quote.unit,
        "above_input_tokens": quote.above_input_tokens,
        "usd_price_list": format_atto_usd(quote.rate_atto * per),
        "usd_kept": format_atto_usd(kept.row.rate_atto * per),
        "per": per,
        "row": kept.row.origin,
        "reason": kept.reason,
    }


def _unknown(unknown: Sequence[Unknown]) -> list[dict[str, Any]]:
    """Group what is not understood by what it says, whatever its Region."""
    groups: dict[tuple[tuple[str, str], ...], list[Unknown]] = {}
    placed = ("sku", "regionCode", "location", "description", "usagetype")
    for item in unknown:
        said = {name: value for name, value in item.fields.items() if name not in placed}
        head, _, core = item.fields.get("usagetype", "").partition("-")
        said["usagetype"] = core.partition("_")[2] if core.startswith("MP:") else core or head
        said["problem"] = "" if said["usagetype"] else item.problem
        groups.setdefault(tuple(sorted(said.items())), []).append(item)
    return [
        {
            "problem": items[0].problem,
            "products": len(items),
            "skus": [item.sku for item in items],
            "regions": sorted({item.fields.get("regionCode", "") for item in items}),
            "attributes": dict(items[0].fields),
            "description": items[0].fields.get("description"),
        }
        for items in groups.values()
    ]


def _print(document: dict[str, Any]) -> None:
    from worker.cli.output import cells, console, count, printable, quantity, table

    out = console()
    out.print(
        f"{quantity(document['products'], 'product')}, {quantity(document['rates'], 'rate')}: "
        f"{count(document['unchanged'])} as they are, {count(len(document['changes']))} to write"
    )
    if document["changes"]:
        names = ("what", "model", "routing", "region", "tier", "unit")
        columns = table((*names, "USD before", "USD", "per", "valid", "source"), right=("USD",))
        for change in document["changes"]:
            above = change["above_input_tokens"]
            until = f" until {change['effective_to']}" if change["effective_to"] else ""
            columns.add_row(
                *cells(
                    *(change[name] for name in ("action", "model", "routing", "region")),
                    change["service_tier"],
                    change["unit"] + (f" above {above:,}" if above else ""),
                    change["usd_before"] or "-",
                    change["usd"],
                    "1M tokens" if change["per"] > 1 else "1",
                    f"from {change['effective_from']}{until}",
                    change["source"],
                )
            )
        out.print(columns)
    for kept in document["kept"]:
        out.print(
            f"* kept {printable(kept['row'])}: {printable(kept['model'])} {kept['routing']} "
            f"{kept['region']} {kept['service_tier']} {kept['unit']} at ${kept['usd_kept']} "
            f"(Price List: ${kept['usd_price_list']}): {kept['reason']}"
        )
    for skipped in document["skipped"]:
        out.print(f"* left out {quantity(skipped['products'], 'product')}: {skipped['reason']}")
    for unknown in document["unknown"]:
        skus = ", ".join(unknown["skus"])
        said = ", ".join(f"{n}={v!r}" for n, v in sorted(unknown["attributes"].items()))
        out.print(f"! not understood: {printable(unknown['problem'])}")
        out.print(f"  SKU {printable(skus)}")
        out.print(f"  {printable(said)}")


def _print_written(document: dict[str, Any]) -> None:
    from worker.cli.output import console, printable

    out = console()
    if document["written"] is None:
        out.print("nothing to write")
        return
    check = document["check"]
    out.print(
        f"wrote {printable(document['written'])}; the catalogue with it has {check['errors']} "
        f"errors, {check['warnings']} warnings"
    )
    for command in document["next"]:
        out.print(f"next: {printable(command)}")


def _print_unwritten(target: Path | None, *, unknown: int, write: bool) -> None:
    from worker.cli.group import say

    if unknown:
        say(
            f"{unknown} products are not understood, so nothing is written; say what they mean in "
            "a file of your own (--map FILE), or write the rest with --write --known-only"
        )
    elif not write:
        file = f"--prices {target}" if target else "--prices FILE"
        say(f"nothing is written yet; to write it: {file} --write")
