"""Redriving: quarantined records are decoded again and booked, each by itself."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from worker.bootstrap import load_poster, open_pipeline
from worker.core.errors import ConfigurationError, TransientError
from worker.core.evidence import Observation
from worker.core.results import POSTABLE, Malformed, ObjectReference, Outcome, Position
from worker.core.seal import REASON
from worker.pipeline import Digest, Digester, EvidenceRecord, Pipeline, Window
from worker.pipeline.objects import STRANGE_RECORDS, no_log
from worker.ports import Committed, Quarantine, QuarantinedRecord
from worker.replay.decoding import FileDecoder
from worker.replay.files import find_files
from worker.replay.objects import is_object
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
    # Everything begins like an empty text; that names nothing.
    item = await quarantine.get(item_id) if item_id else None
    if item is None:
        message = (
            f"{item_id or 'an empty id'}: no such record in quarantine; "
            "see `ledgerock quarantine list`"
        )
        raise ConfigurationError(message)
    return item


async def redrive_items(settings: Settings, item_ids: Sequence[str]) -> list[Redriven]:
    """Redrive some items, or all if none are named.

    Raises:
        ConfigurationError: An item is named that does not exist; nothing was done then.
    """
    async with open_pipeline(settings, must_exist=True) as pipeline:
        pipeline.poster = await load_poster(settings)
        sources = _Sources(settings, pipeline)
        quarantine = pipeline.quarantine
        if item_ids:
            items = [await find_item(quarantine, item_id) for item_id in item_ids]
            ids = list(dict.fromkeys(item.id for item in items))
        else:
            ids = [item.id async for item in quarantine.items()]
        return [
            await _redrive(pipeline, sources, await find_item(quarantine, item_id))
            for item_id in ids
        ]


class _Reading(msgspec.Struct):
    """What came of reading a source again.

    Attributes:
        committed: What its calls did to the ledger.
        ids: Items of quarantine that it holds.
        reasons: What is wrong with them, by where they stand.
        calls: Records of calls that were booked.
        ignored: Why records are ignored.
        failure: Why the source could not be read; empty if it was.
    """

    committed: Committed
    ids: set[str]
    reasons: dict[Position, str]
    calls: int = 0
    ignored: dict[str, int] = {}
    failure: str = ""


class _Sources:
    """Reads files and objects again that items of quarantine came from, each once."""

    def __init__(self, settings: Settings, pipeline: Pipeline) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._known: dict[str, _Reading] = {}

    async def redrive(self, item: QuarantinedRecord) -> Redriven:
        """Book what an item's source holds now; the item goes if its fault is gone."""
        source = item.record.position.source
        if not _is_here(source):
            reason = (
                "its body was not kept whole, and its source is neither a file here nor in S3; "
                f"replay {source or 'its source'} instead, then drop it"
            )
            return Redriven(id=item.id, outlook=Outlook.QUARANTINED, reason=reason)
        first_time = source not in self._known
        reading = await self._reading(source)
        committed = reading.committed if first_time else Committed(0, 0, 0, [])
        reason = reading.failure or reading.reasons.get(item.record.position, "")
        if reading.failure or item.id in reading.ids:
            return _result(item, Outlook.QUARANTINED, committed, reason)
        if item.record.body and not reading.calls:
            reason = reason or f"{source} holds no such record now; drop it if that is meant"
            return _result(item, Outlook.QUARANTINED, committed, reason)
        await self._pipeline.quarantine.remove(item.id)
        if reason:
            # Not understood for another reason now, under which it was just put aside.
            return _result(item, Outlook.QUARANTINED, committed, reason)
        if reading.calls:
            return _result(item, Outlook.BOOKED, committed)
        return _result(item, Outlook.IGNORED, committed, "; ".join(reading.ignored))

    async def redrive_notification(
        self, item: QuarantinedRecord, names: Sequence[str], others: Committed
    ) -> Redriven:
        """Book the objects that an item's body names; the item goes if all could be read."""
        committed = msgspec.structs.replace(others)
        for name in names:
            reading = await self._reading(name)
            committed.recorded += reading.committed.recorded
            committed.upgraded += reading.committed.upgraded
            committed.duplicates += reading.committed.duplicates
            committed.sealed += reading.committed.sealed
            unread = reading.failure or "; ".join(reading.reasons.values())
            if unread:
                return _result(item, Outlook.QUARANTINED, committed, f"{name}: {unread}")
        await self._pipeline.quarantine.remove(item.id)
        return _result(item, Outlook.BOOKED, committed)

    async def _reading(self, source: str) -> _Reading:
        """Read a source again, once; what cannot be read stays where it is, with the reason."""
        reading = self._known.get(source)
        if reading is None:
            try:
                reading = await self._read(source)
            except (ConfigurationError, TransientError) as error:
                reading = _Reading(Committed(0, 0, 0, []), set(), {}, failure=str(error))
            self._known[source] = reading
        return reading

    async def _read(self, source: str) -> _Reading:
        reading = _Reading(Committed(0, 0, 0, []), set(), {})
        decoder = FileDecoder(self._settings, Window())
        for progress in decoder.decode(find_files([source])):
            if self._is_strange(source, progress.digest, reading):
                return reading
            await self._book(progress.digest, reading)
        digest = decoder.flush().digest
        if not self._is_strange(source, digest, reading):
            await self._book(digest, reading)
        return reading

    def _is_strange(self, source: str, digest: Digest, reading: _Reading) -> bool:
        """Whether an object begins as no log does: it stays what it is, one item."""
        begun = reading.calls or reading.ignored or reading.ids
        malformed = digest.malformed
        if begun or not is_object(source) or digest.records < STRANGE_RECORDS:
            return False
        if len(malformed) < digest.records or digest.unpostable:
            return False
        reason = no_log(source, malformed[0].found).reason
        reading.failure = f"{reason}; replay it to book what may come after them, or drop this"
        return True

    async def _book(self, digest: Digest, reading: _Reading) -> None:
        reading.ids.update(await self._pipeline.quarantine.put(digest.malformed))
        reading.reasons.update((record.position, record.reason) for record in digest.malformed)
        reading.calls += digest.batch.records
        reading.ignored |= digest.ignored_reasons
        committed = await self._pipeline.ledger.commit(digest.batch, self._pipeline.poster)
        reading.committed.recorded += committed.recorded
        reading.committed.upgraded += committed.upgraded
        reading.committed.duplicates += committed.duplicates
        reading.committed.sealed += committed.sealed


def _is_here(source: str) -> bool:
    if is_object(source):
        return True
    try:
        return bool(source) and Path(source).exists()
    except OSError:
        return False


async def _redrive(pipeline: Pipeline, sources: _Sources, item: QuarantinedRecord) -> Redriven:
    record = item.record
    if record.truncated or not record.body:
        return await sources.redrive(item)
    outcomes = decode_again(pipeline, record)
    digester = Digester(pipeline.poster)
    digester.add(outcomes)
    digest = digester.digest()
    committed = await pipeline.ledger.commit(digest.batch, pipeline.poster)
    # Still malformed ones keep this item; quarantining them would only file them twice.
    if digest.malformed:
        return _result(item, Outlook.QUARANTINED, committed, digest.malformed[0].reason)
    names = [
        f"s3://{outcome.bucket}/{outcome.key}"
        for outcome in outcomes
        if isinstance(outcome, ObjectReference)
    ]
    if names:
        return await sources.redrive_notification(item, names, committed)
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
    if outlook is Outlook.BOOKED and committed.sealed and not _has_calls(committed):
        outlook, reason = Outlook.IGNORED, REASON
    return Redriven(
        id=item.id,
        outlook=outlook,
        reason=reason,
        recorded=committed.recorded,
        upgraded=committed.upgraded,
        duplicates=committed.duplicates,
    )


def _has_calls(committed: Committed) -> bool:
    return bool(committed.recorded or committed.upgraded or committed.duplicates)


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
