"""Rebuild the packaged price catalogue from two public tables and the decisions beside them.

    pip download --no-deps litellm==VERSION genai-prices==VERSION    (unzip both wheels)
    python -m tools.build_prices \
        --litellm litellm/model_prices_and_context_window_backup.json --litellm-version VERSION \
        --genai genai_prices/data.py --genai-version VERSION \
        --read-on YYYY-MM-DD

writes worker/data/prices/*.csv and tests/unit/data/known_model_ids.csv. The same inputs give
the same bytes. Both tables are read as data; neither package is imported.

How a rate is chosen, row by row, is in tools/prices/merge.py; what only a person can decide
(two ids of one model, models without a rate, prices of zero, prices that neither table has) is
in tools/prices/decisions.csv.
After a rebuild run `ledgerock prices check` and read the diff: a price that AWS changed needs
its old row ended (`effective_to`) and a new one begun, which the tables mostly do not date.
"""

import argparse
import csv
import fnmatch
import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path

from tools.prices.merge import ANY, Row, merge, price_text
from tools.prices.tables import (
    Json,
    Listing,
    genai_listings,
    litellm_listings,
    read_genai,
    read_litellm,
    split_geography,
    split_litellm_id,
)
from worker.core.catalogue_text import MODEL_COLUMNS, RATE_COLUMNS, TIER_COLUMNS

ROOT = Path(__file__).parent.parent
PRICES = ROOT / "worker/data/prices"
KNOWN_IDS = ROOT / "tests/unit/data/known_model_ids.csv"
DECISIONS = ROOT / "tools/prices/decisions.csv"

LAUNCH = date(2023, 9, 28)
PRICING_PAGE = "AWS Bedrock pricing page"
PRICING_PAGE_SOURCE = f"{PRICING_PAGE} (2026-09, as quoted by public price lists)"
"""Where the prices of decisions.csv come from; change the date when they are read again."""
KINDS_BY_MODE = {
    "chat": "text",
    "responses": "text",
    "embedding": "embedding",
    "image_generation": "image",
    "image_edit": "image",
    "rerank": "rerank",
    "realtime": "speech",
    "guardrail": "guardrail",
}
TIERS = (
    ("flex", "0.5", 'AWS documentation: "Amazon Bedrock pricing", flex is 50 % below standard'),
    ("priority", "1.75", 'AWS documentation: "Amazon Bedrock pricing", priority is 75 % above'),
    ("batch", "0.5", 'AWS documentation: "Amazon Bedrock pricing", batch is 50 % below standard'),
)


@dataclass(slots=True)
class Decisions:
    """What decisions.csv settles."""

    aliases: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    unpriced: dict[str, tuple[str, str]] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)
    zeros: dict[str, str] = field(default_factory=dict)
    notes: list[tuple[str, str, str]] = field(default_factory=list)
    rejected: dict[tuple[str, str], str] = field(default_factory=dict)
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    prices: list[tuple[str, str, str]] = field(default_factory=list)

    def exclusion(self, identifier: str) -> str:
        """Why an id of a table is no model id, or ``."""
        for pattern, why in self.excluded.items():
            if fnmatch.fnmatchcase(identifier, pattern):
                return why
        return ""

    def canonical(self, model: str) -> str:
        """The canonical id of a model."""
        return self.aliases.get(model, model)


def read_decisions() -> Decisions:
    """Read tools/prices/decisions.csv."""
    decisions = Decisions()
    with DECISIONS.open(encoding="utf-8", newline="") as file:
        for record in csv.DictReader(file):
            action, subject = record["action"], record["subject"]
            value, why = record["value"], record["why"]
            if action == "alias":
                decisions.aliases[subject] = value
            elif action == "kind":
                decisions.kinds[subject] = value
            elif action == "unpriced":
                decisions.unpriced[subject] = (value, why)
            elif action == "exclude":
                decisions.excluded[subject] = why
            elif action == "zero":
                decisions.zeros[subject] = why
            elif action == "note":
                decisions.notes.append((subject, value, why))
            elif action == "reject":
                decisions.rejected[subject, value] = why
            elif action == "row":
                decisions.rows.append((subject, value, why))
            elif action == "price":
                decisions.prices.append((subject, value, why))
            else:
                message = f"{DECISIONS}: unknown action {action!r}"
                raise SystemExit(message)
    return decisions


def build(litellm: dict[str, Json], genai: list[Json], decisions: Decisions) -> list[Row]:
    """All rows, by model."""
    by_model: dict[str, list[Listing]] = defaultdict(list)
    rejections: dict[tuple[str, str], str] = {}
    for listing in (*litellm_listings(litellm), *genai_listings(genai)):
        why = decisions.rejected.get((listing.id, listing.unit))
        if why:
            listed = f"{listing.table} lists {listing.id} at {price_text(listing)}: {why}"
            rejections[decisions.canonical(listing.model), listing.unit] = listed
        elif not decisions.exclusion(listing.id):
            by_model[decisions.canonical(listing.model)].append(listing)
    rows = []
    for model, listings in sorted(by_model.items()):
        if model in decisions.unpriced:
            continue
        model_rows = merge(model, listings)
        for pattern, unit, why in decisions.rows:
            if fnmatch.fnmatchcase(model, pattern):
                model_rows += _zero_cache_writes(model_rows, unit, why)
        model_rows = _decided(model, model_rows, decisions)
        rows += [_noted(row, rejections) for row in model_rows]
    return rows


def _decided(model: str, rows: list[Row], decisions: Decisions) -> list[Row]:
    """The rows with those that decisions.csv prices; the figure that one replaces is noted."""
    prices = [(value, why) for subject, value, why in decisions.prices if subject == model]
    for value, why in prices:
        unit, _, usd = value.partition("=")
        place = (ANY, "standard", unit)
        replaced = [row for row in rows if (row.region, row.tier, row.unit) == place]
        general = unit.partition("/")[0]
        whole = [row for row in rows if (row.region, row.tier, row.unit) == (*place[:2], general)]
        listed = [
            f"{' and '.join(row.tables)} lists ${row.usd.normalize():f} for {what}"
            for row, what in (*((r, unit) for r in replaced), *((w, "any size") for w in whole))
        ]
        decided = Row(
            model=model,
            routing=replaced[0].routing if replaced else "regional",
            region=ANY,
            tier="standard",
            unit=unit,
            above=0,
            usd=Decimal(usd),
            tables=(PRICING_PAGE,),
            notes=(why, *listed),
        )
        rows = [*(row for row in rows if row not in replaced), decided]
    return rows


def _noted(row: Row, rejections: dict[tuple[str, str], str]) -> Row:
    """The row with the rejection of another Region's listing, where it is the one that counts."""
    why = rejections.get((row.model, row.unit))
    if why and (row.region, row.tier, row.above) == (ANY, "standard", 0):
        return replace(row, notes=(*row.notes, why))
    return row


def _zero_cache_writes(rows: list[Row], unit: str, why: str) -> list[Row]:
    """Rows of $0 wherever a model sells cache reads in general and lists no cache write."""
    return [
        Row(
            model=row.model,
            routing=row.routing,
            region=ANY,
            tier="standard",
            unit=unit,
            above=0,
            usd=Decimal(0),
            tables=("AWS Price List",),
            notes=(why,),
        )
        for row in rows
        if (row.unit, row.tier, row.region) == ("cache_read_tokens", "standard", ANY)
    ]


def model_kinds(litellm: dict[str, Json], rows: list[Row], decisions: Decisions) -> dict[str, str]:
    """The kind of every model that has rows."""
    kinds = {row.model: "text" for row in rows}
    for identifier, entry in litellm.items():
        model = decisions.canonical(split_litellm_id(identifier)[0])
        if model in kinds and not decisions.exclusion(identifier):
            kinds[model] = KINDS_BY_MODE[entry["mode"]]
    return kinds | {model: kind for model, kind in decisions.kinds.items() if model in kinds}


def model_aliases(models: set[str], decisions: Decisions) -> dict[str, list[str]]:
    """Other ids of every model: decided ones, and forms that differ only by the version tail."""
    aliases: dict[str, set[str]] = defaultdict(set)
    for alias, model in decisions.aliases.items():
        aliases[model].add(alias)
    taken = models | set(decisions.aliases)
    forms: dict[str, set[str]] = defaultdict(set)
    for model in models:
        # A later revision (`:1`) makes the unrevised form ambiguous, but is not meant by it.
        for form in _version_forms(re.sub(r":[1-9][0-9]*$", ":0", model)):
            forms[form].add(model)
    for form, owners in forms.items():
        owner = min(owners)
        if form not in taken and len(owners) == 1 and not re.search(r":[1-9][0-9]*$", owner):
            aliases[owner].add(form)
    return {model: sorted(names) for model, names in aliases.items()}


def _version_forms(model: str) -> set[str]:
    match = re.fullmatch(r"(.+?)(-v[0-9]+)?(:[0-9]+)?", model)
    stem = match[1] if match else model
    version, revision = (match[2], match[3]) if match else (None, None)
    if version and revision == ":0":
        return {stem, stem + version} if version == "-v1" else {stem + version}
    if version and not revision:
        return {model + ":0"}
    if not version and model.startswith("anthropic."):
        return {model + "-v1:0", model + "-v1"}
    return set()


def write_csv(path: Path, header: list[str], records: list[list[str]]) -> None:
    """Write one table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(records)


def rate_record(row: Row, sources: dict[str, str], decisions: Decisions) -> list[str]:
    """The fields of a rate row."""
    per = 1_000_000 if row.unit.endswith("_tokens") else 1
    notes = [*row.notes, decisions.zeros.get(row.unit, "")] if not row.usd else list(row.notes)
    notes += [
        why
        for pattern, unit, why in decisions.notes
        if row.unit == unit and fnmatch.fnmatchcase(row.model, pattern)
    ]
    named = [sources[table] for table in row.tables]
    if row.ratio:
        named.append(f"AWS published ratio: {row.ratio}")
    return [
        row.model,
        row.routing,
        row.region,
        row.tier,
        row.unit,
        str(row.above),
        f"{(row.usd * per).normalize():f}",
        str(per),
        (row.since or LAUNCH).isoformat(),
        row.until.isoformat() if row.until else "",
        "confirmed" if row.confirmed else "single-source",
        "; ".join(named),
        "; ".join(dict.fromkeys(note for note in notes if note)),
    ]


def known_ids(litellm: dict[str, Json], genai: list[Json], decisions: Decisions) -> list[list[str]]:
    """Every Bedrock id of both tables: (id, table, canonical model, reason if it is no model)."""
    records = []
    for identifier in litellm:
        why = decisions.exclusion(identifier)
        model = "" if why else decisions.canonical(split_litellm_id(identifier)[0])
        records.append([identifier, "litellm", model, why])
    for entry in genai:
        identifier = entry["id"].removeprefix("regional.")
        model = decisions.canonical(split_geography(identifier)[1])
        records.append([entry["id"], "genai-prices", model, ""])
    return sorted(records)


def main() -> None:
    """Read the tables, write the catalogue and print what it holds."""
    parser = argparse.ArgumentParser(description="Rebuild the packaged price catalogue.")
    parser.add_argument("--litellm", type=Path, required=True)
    parser.add_argument("--litellm-version", required=True)
    parser.add_argument("--genai", type=Path, required=True)
    parser.add_argument("--genai-version", required=True)
    parser.add_argument("--read-on", type=date.fromisoformat, required=True)
    arguments = parser.parse_args()
    decisions = read_decisions()
    litellm, genai = read_litellm(arguments.litellm), read_genai(arguments.genai)
    sources = {
        "litellm": f"litellm {arguments.litellm_version} ({arguments.read_on})",
        "genai-prices": f"genai-prices {arguments.genai_version} ({arguments.read_on})",
        "AWS Price List": f"AWS Price List ({arguments.read_on:%Y-%m})",
        PRICING_PAGE: PRICING_PAGE_SOURCE,
    }
    rows = build(litellm, genai, decisions)
    for stale in PRICES.glob("*.csv"):
        stale.unlink()
    files: dict[str, list[list[str]]] = defaultdict(list)
    for row in rows:
        files[row.model.partition(".")[0]].append(rate_record(row, sources, decisions))
    for provider, records in files.items():
        write_csv(PRICES / f"{provider}.csv", list(RATE_COLUMNS), records)
    kinds = model_kinds(litellm, rows, decisions)
    aliases = model_aliases(set(kinds) | set(decisions.unpriced), decisions)
    models = [[model, kind, "", ";".join(aliases.get(model, ()))] for model, kind in kinds.items()]
    models += [[model, kind, why, ""] for model, (kind, why) in decisions.unpriced.items()]
    write_csv(PRICES / "models.csv", list(MODEL_COLUMNS), sorted(models))
    write_csv(PRICES / "tiers.csv", list(TIER_COLUMNS), [list(t) for t in TIERS])
    header = ["id", "table", "model", "reason"]
    write_csv(KNOWN_IDS, header, known_ids(litellm, genai, decisions))
    confirmed = sum(row.confirmed for row in rows)
    print(f"{len(models)} models, {len(rows)} rows, {confirmed} confirmed")


if __name__ == "__main__":
    main()
