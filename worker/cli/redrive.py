"""Redriving: quarantined records are decoded again and booked, each by itself."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from worker.bootstrap import open_pipeline
from worker.core.errors import ConfigurationError
from worker.core.evidence import Observation
from worker.core.results import POSTABLE, Malformed, ObjectReference, Outcome
from worker.pipeline import Digester, EvidenceRecord, Pipeline
from worker.ports import Committed, Quarantine, QuarantinedRecord
from worker.settings import Settings

_EVIDENCE_RECORD: Final = msgspec.json.Decoder(EvidenceRecord)


class Outlook(StrEnum):
    """What became of a quarantined record."""

    BOOKED = "Booked"
    """Everything in it is booked, or was already; it is out of quarantine."""
    IGNORED = "Ignored"
    """It turned out to hold no call; it is out of quarantine."""
    QUARANTINED = "Quarantined"
    """It stays; the reason says why."""


class Redriven(msgspec.Struct, frozen=True, kw_only=True):
    """How the redrive of one item ended.

    Attributes:
        id: The item.
        outlook: What became of it.
        reason: Why it stays or is ignored; else empty.
        recorded: Calls that were new.
        upgraded: Records that improved what was known.
        duplicates: Records that added nothing.
    """

    id: str
    outlook: Outlook
    reason: str = ""
    recorded: int = 0
    upgraded: int = 0
    duplicates: int = 0


async def find_item(quarantine: Quarantine, item_id: str) -> QuarantinedRecord:
    """Return an item.

    Raises:
        ConfigurationError: There is none by this id, or several begin like it.
    """
    item = await quarantine.get(item_id)
    if item is None:
        message = f"{item_id}: no such record in quarantine; see `ledgerock quarantine list`"
        raise ConfigurationError(message)
    return item


async def redrive_items(settings: Settings, item_ids: Sequence[str]) -> list[Redriven]:
    """Redrive some items, or all if none are named.

    Raises:
        ConfigurationError: An item is named that does not exist; nothing was done then.
    """
    async with open_pipeline(settings) as pipeline:
        quarantine = pipeline.quarantine
        if item_ids:
            items = [await find_item(quarantine, item_id) for item_id in item_ids]
            ids = list(dict.fromkeys(item.id for item in items))
        else:
            ids = [item.id async for item in quarantine.items()]
        return [await _redrive(pipeline, await find_item(quarantine, item_id)) for item_id in ids]


async def _redrive(pipeline: Pipeline, item: QuarantinedRecord) -> Redriven:
    record = item.record
    if record.truncated:
        source = record.position.source or "its source"
        reason = f"its body was not kept whole; replay {source} instead"
        return Redriven(id=item.id, outlook=Outlook.QUARANTINED, reason=reason)
    outcomes = decode_again(pipeline, record)
    digester = Digester(pipeline.poster)
    digester.add(outcomes)
    digest = digester.digest()
    committed = await pipeline.ledger.commit(digest.batch, pipeline.poster)
    # Still malformed ones keep this item; quarantining them would only file them twice.
    if digest.malformed:
        return _result(item, Outlook.QUARANTINED, committed, digest.malformed[0].reason)
    for outcome in outcomes:
        if isinstance(outcome, ObjectReference):
            reason = f"names s3://{outcome.bucket}/{outcome.key}, which is to be replayed itself"
            return _result(item, Outlook.QUARANTINED, committed, reason)
    await pipeline.quarantine.remove(item.id)
    if any(isinstance(outcome, Observation) for outcome in outcomes):
        return _result(item, Outlook.BOOKED, committed)
    return _result(item, Outlook.IGNORED, committed, "; ".join(digest.ignored_reasons))


def decode_again(pipeline: Pipeline, record: Malformed) -> list[Outcome]:
    """Decode a quarantined body: evidence that could not be posted, or any payload."""
    # Only these are read as evidence: anyone may send a payload that looks like one.
    if record.expected == POSTABLE:
        try:
            kept = _EVIDENCE_RECORD.decode(record.body)
        except msgspec.DecodeError as error:
            found = f"something else: {error}"
            return [Malformed("$", "evidence as this version keeps it", found, record.body)]
        return [Observation(kept.key, kept.evidence)]
    return list(pipeline.decoder.decode(record.body, source=record.position.source))


def _result(
    item: QuarantinedRecord, outlook: Outlook, committed: Committed, reason: str = ""
) -> Redriven:
    return Redriven(
        id=item.id,
        outlook=outlook,
        reason=reason,
        recorded=committed.recorded,
        upgraded=committed.upgraded,
        duplicates=committed.duplicates,
    )


def redriven_document(redriven: Sequence[Redriven]) -> dict[str, Any]:
    """Return the outcome of a redrive as `--json` prints it."""
    return {
        "booked": _number(redriven, Outlook.BOOKED),
        "ignored": _number(redriven, Outlook.IGNORED),
        "quarantined": _number(redriven, Outlook.QUARANTINED),
        "items": [
            {
                "id": item.id,
                "result": item.outlook.value,
                "recorded": item.recorded,
                "upgraded": item.upgraded,
                "duplicates": item.duplicates,
                "reason": item.reason,
            }
            for item in redriven
        ],
    }


def _number(redriven: Sequence[Redriven], outlook: Outlook) -> int:
    return sum(item.outlook is outlook for item in redriven)


def print_redriven(redriven: Sequence[Redriven]) -> None:
    """Print the outcome of a redrive for people."""
    from worker.cli.output import cells, console, table

    out = console()
    if not redriven:
        out.print("nothing is in quarantine")
        return
    columns = table(("id", "result", "recorded", "upgraded", "duplicates", "reason"))
    for item in redriven:
        figures = (str(item.recorded), str(item.upgraded), str(item.duplicates))
        columns.add_row(*cells(item.id, item.outlook.value, *figures, item.reason))
    out.print(columns)
    out.print()
    out.print(
        f"{_number(redriven, Outlook.BOOKED):,} booked, "
        f"{_number(redriven, Outlook.IGNORED):,} ignored, "
        f"{_number(redriven, Outlook.QUARANTINED):,} still in quarantine"
    )
