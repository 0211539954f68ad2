"""Merging the listings of two tables into catalogue rows, with a reason for every choice."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from tools.prices.tables import Listing

ANY = "*"
GUARDRAIL = "amazon.bedrock-guardrail"
REGIONS_BY_GEOGRAPHY = {
    "eu": ("eu-*",),
    "apac": ("ap-*",),
    "jp": ("ap-northeast-1", "ap-northeast-3"),
    "au": ("ap-southeast-2", "ap-southeast-4"),
    "in": ("ap-south-1", "ap-south-2"),
    "ca": ("ca-*",),
    "us-gov": ("us-gov-*",),
}
"""Calling Regions of a geography's inference profiles (AWS documentation: "Supported Regions
and models for inference profiles"). `us` is the basis of both tables and needs no rows."""

TIER_RATIOS = {
    "batch": Decimal("0.5"),
    "flex": Decimal("0.5"),
    "priority": Decimal("1.75"),
}
CACHE_RATIOS = {
    "cache_read_tokens": Decimal("0.1"),
    "cache_write_5m_tokens": Decimal("1.25"),
    "cache_write_1h_tokens": Decimal(2),
}
REGIONAL_RATIO = Decimal("1.1")

Slot = tuple[str, str, int]
"""(tier, unit, above)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the catalogue in the making; `usd` is per unit."""

    model: str
    routing: str
    region: str
    tier: str
    unit: str
    above: int
    usd: Decimal
    since: date | None = None
    until: date | None = None
    tables: tuple[str, ...] = ()
    ratio: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def confirmed(self) -> bool:
        """Whether two tables agree, or one agrees with a ratio that AWS publishes."""
        return len(self.tables) > 1 or bool(self.ratio)


def merge(model: str, listings: list[Listing]) -> list[Row]:
    """All rows of one model."""
    rows: list[Row] = []
    slots: dict[Slot, list[Listing]] = defaultdict(list)
    for listing in listings:
        slots[listing.tier, listing.unit, listing.above].append(listing)
    for slot, choices in sorted(slots.items(), key=_slot_order):
        rows += _regional(model, slot, choices)
        rows += _global(model, slot, choices)
        rows += _by_region(model, slot, choices, rows)
    if model == GUARDRAIL:
        rows = [replace(row, routing=ANY) for row in rows]
    rows = [_note_flat_reference(row, listings) for row in rows]
    rows = _note_tier_rounding(rows)
    return _collapse_routing(_confirm_by_ratio(rows))


def _note_flat_reference(row: Row, listings: list[Listing]) -> Row:
    """Say where genai-prices lists a model without the long-context rates that litellm lists."""
    if not row.above or row.tables != ("litellm",) or row.region != ANY or row.tier != "standard":
        return row
    flat = any(
        listing.table == "genai-prices"
        and listing.unit == row.unit
        and (listing.geography == "global") == (row.routing == "global")
        for listing in listings
    )
    note = "genai-prices lists one rate for every context length; litellm's bracket is taken"
    return replace(row, notes=(*row.notes, note)) if flat else row


def _note_tier_rounding(rows: list[Row]) -> list[Row]:
    """Say where a tier is listed at another multiple of standard than the published one."""
    standard = {
        (row.routing, row.region, row.unit, row.above): row.usd
        for row in rows
        if row.tier == "standard" and row.until is None
    }
    noted = []
    for row in rows:
        ratio = TIER_RATIOS.get(row.tier)
        base = standard.get((row.routing, row.region, row.unit, row.above))
        if ratio and base and row.usd != base * ratio:
            note = (
                f"deviates from {ratio} x standard ({_mtok(base * ratio, row.unit)}):"
                " the price that is listed, rounded, is taken"
            )
            noted.append(replace(row, notes=(*row.notes, note)))
        else:
            noted.append(row)
    return noted


def _slot_order(item: tuple[Slot, list[Listing]]) -> tuple[bool, str, int, str]:
    (tier, unit, above), _ = item
    return tier != "standard", tier, above, unit


def _regional(model: str, slot: Slot, choices: list[Listing]) -> list[Row]:
    """The general regional rate: genai-prices', else litellm's US profile, else its bare id."""
    genai = [c for c in choices if c.table == "genai-prices" and c.geography != "global"]
    profile = [c for c in choices if c.table == "litellm" and c.geography == "us"]
    bare = sorted(
        (c for c in choices if c.table == "litellm" and not c.geography and not c.region),
        key=lambda c: (c.id.startswith("bedrock_mantle/"), c.id),
    )
    chosen = genai or profile[:1] or bare[:1]
    if not chosen:
        return []
    current = chosen[-1].usd
    global_usd = {c.usd for c in choices if c.geography == "global"}
    differing: dict[tuple[str, str], list[str]] = defaultdict(list)
    for other in (*profile, *bare):
        if other.usd == current:
            continue
        if other.usd in global_usd:
            why = "the global rate; AWS bills bare and geography ids at the regional rate"
        elif genai:
            why = "genai-prices is taken, which quotes the AWS price list"
        elif other.id.startswith("bedrock_mantle/"):
            why = "the rate of the bedrock-runtime endpoint is taken"
        else:
            why = "the rate of the US inference profile is taken"
        differing[price_text(other), why].append(other.id)
    notes = [
        f"litellm lists {' and '.join(ids)} at {usd}: {why}"
        for (usd, why), ids in differing.items()
    ]
    agreeing = any(other.usd == current for other in (*profile, *bare))
    tables = ("genai-prices", "litellm") if genai and agreeing else (chosen[-1].table,)
    return _phases(model, "regional", slot, chosen, (tables, tuple(notes)))


def _global(model: str, slot: Slot, choices: list[Listing]) -> list[Row]:
    genai = [c for c in choices if c.table == "genai-prices" and c.geography == "global"]
    other = [c for c in choices if c.table == "litellm" and c.geography == "global"]
    chosen = genai or other[:1]
    if not chosen:
        return []
    current = chosen[-1].usd
    tables: tuple[str, ...] = (chosen[-1].table,)
    notes: tuple[str, ...] = ()
    if genai and other:
        if other[0].usd == current:
            tables = ("genai-prices", "litellm")
        else:
            why = "genai-prices is taken, which quotes the AWS price list"
            notes = (f"litellm lists {other[0].id} at {price_text(other[0])}: {why}",)
    return _phases(model, "global", slot, chosen, (tables, notes))


def _phases(
    model: str,
    routing: str,
    slot: Slot,
    chosen: list[Listing],
    evidence: tuple[tuple[str, ...], tuple[str, ...]],
) -> list[Row]:
    """One row per dated phase; what agrees with the second table is the last one."""
    tier, unit, above = slot
    tables, notes = evidence
    rows = []
    for listing in chosen:
        last = listing is chosen[-1]
        rows.append(
            Row(
                model=model,
                routing=routing,
                region=ANY,
                tier=tier,
                unit=unit,
                above=above,
                usd=listing.usd,
                since=listing.since,
                until=listing.until,
                tables=tables if last else (listing.table,),
                notes=notes if last else ("an earlier price, dated by genai-prices alone",),
            )
        )
    return rows


def _by_region(model: str, slot: Slot, choices: list[Listing], rows: list[Row]) -> Iterator[Row]:
    """Rows where litellm lists another rate for a geography or a Region."""
    tier, unit, above = slot
    own_standard = {
        row.region
        for row in rows
        if (row.unit, row.above, row.tier) == (unit, above, "standard") and row.region != ANY
    }
    rates = {
        row.region: row.usd
        for row in rows
        if (row.routing, row.tier, row.unit, row.above) == ("regional", tier, unit, above)
    }
    genai = [c for c in choices if c.table == "genai-prices" and c.geography != "global"]
    for place, listing in _places(choices):
        broader = rates.get(_geography(place), rates.get(ANY))
        if place in rates or (listing.usd == broader and place not in own_standard):
            continue
        rates[place] = listing.usd
        notes = []
        if genai and not place.startswith("us-gov"):
            usd = price_text(genai[-1])
            notes.append(
                f"genai-prices lists {usd} for every Region (us-east-1 basis);"
                f" litellm's rate of {listing.id} is taken"
            )
        others = {c.usd for p, c in _places(choices) if p == place} - {listing.usd}
        notes += [f"litellm also lists {_mtok(usd, unit)} here" for usd in sorted(others)]
        yield Row(
            model=model,
            routing="regional",
            region=place,
            tier=tier,
            unit=unit,
            above=above,
            usd=listing.usd,
            tables=("litellm",),
            notes=tuple(notes),
        )


def _places(choices: Iterable[Listing]) -> list[tuple[str, Listing]]:
    """(Region or geography pattern, listing), broader places first, mantle ids last."""
    places = []
    for listing in choices:
        if listing.table != "litellm":
            continue
        if listing.region:
            places.append((listing.region, listing))
        regions = REGIONS_BY_GEOGRAPHY.get(listing.geography, ())
        places.extend((region, listing) for region in regions)
    return sorted(
        places,
        key=lambda item: (
            not item[0].endswith("*"),
            item[0],
            item[1].id.startswith("bedrock_mantle/"),
            not item[1].region,
            item[1].id,
        ),
    )


def _geography(place: str) -> str:
    return place.rsplit("-", 2)[0] + "-*"


def _confirm_by_ratio(rows: list[Row]) -> list[Row]:
    """Mark rows that one table lists and that follow, by a published ratio, from a confirmed one.

    Repeated until nothing changes: a tier's rate may follow from a regional rate that itself
    follows from the global one.
    """
    changed = True
    while changed:
        changed = False
        known = {
            (row.routing, row.region, row.tier, row.unit, row.above): row.usd
            for row in rows
            if row.confirmed and row.until is None
        }
        for index, row in enumerate(rows):
            ratio = "" if row.confirmed or row.until else _ratio(row, known)
            if ratio:
                rows[index] = replace(row, ratio=ratio)
                changed = True
    return rows


def _ratio(row: Row, known: dict[tuple[str, str, str, str, int], Decimal]) -> str:
    def base(routing: str, tier: str, unit: str) -> Decimal | None:
        return known.get((routing, row.region, tier, unit, row.above))

    tier_ratio = TIER_RATIOS.get(row.tier)
    standard = base(row.routing, "standard", row.unit)
    if tier_ratio and standard and row.usd == standard * tier_ratio:
        return f"{row.tier} is {tier_ratio} x standard"
    cache_ratio = CACHE_RATIOS.get(row.unit)
    tokens = base(row.routing, row.tier, "input_tokens")
    if (
        cache_ratio
        and tokens
        and row.model.startswith("anthropic.")
        and row.usd == tokens * cache_ratio
    ):
        return f"{row.unit} is {cache_ratio} x input_tokens"
    other = base("global" if row.routing == "regional" else "regional", row.tier, row.unit)
    pair = (row.usd, other) if row.routing == "regional" else (other, row.usd)
    if other and pair[0] == (pair[1] or 0) * REGIONAL_RATIO:
        return f"regional is {REGIONAL_RATIO} x global"
    return ""


def _collapse_routing(rows: list[Row]) -> list[Row]:
    """Write a rate that is the same regional and global once, with routing `*`."""
    by_place: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        place = (row.region, row.tier, row.unit, row.above, row.since, row.until, row.usd)
        by_place[place].append(row)
    merged = []
    for row in rows:
        place = (row.region, row.tier, row.unit, row.above, row.since, row.until, row.usd)
        twins = by_place[place]
        if len(twins) == 1:
            merged.append(row)
        elif row is twins[0]:
            tables = tuple(sorted({table for twin in twins for table in twin.tables}))
            ratio = next((twin.ratio for twin in twins if twin.ratio), "")
            notes = tuple(dict.fromkeys(note for twin in twins for note in twin.notes))
            merged.append(replace(row, routing=ANY, tables=tables, ratio=ratio, notes=notes))
    return merged


def price_text(listing: Listing) -> str:
    """A price as a person reads it: per million tokens, or per unit."""
    return _mtok(listing.usd, listing.unit)


def _mtok(usd: Decimal, unit: str) -> str:
    if unit.endswith("_tokens"):
        return f"${(usd * 1_000_000).normalize():f} per million"
    return f"${usd.normalize():f}"
