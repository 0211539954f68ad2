"""Exact expected totals of generated traffic, added up call by call as it is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from worker.traffic.prices import NO_TOKENS, PICO_USD_PER_USD, Tokens

Status = Literal["priced", "estimated", "unpriced", "unmetered", "failed"]

DECIMALS: Final = 12


def usd(cost_pico_usd: int) -> str:
    """Write pico-USD as exact decimal USD: no exponent, no trailing zeros."""
    whole, rest = divmod(cost_pico_usd, PICO_USD_PER_USD)
    decimals = str(rest).zfill(DECIMALS).rstrip("0")
    return f"{whole}.{decimals}" if decimals else str(whole)


@dataclass(slots=True, kw_only=True)
class Total:
    """What a group of calls adds up to. Mutable: it grows while the traffic is made."""

    calls: int = 0
    cost_pico_usd: int = 0
    estimated_pico_usd: int = 0
    estimated_calls: int = 0
    unpriced_calls: int = 0
    unmetered_calls: int = 0
    failed_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0

    def add(self, status: Status, tokens: Tokens, cost_pico_usd: int, calls: int) -> None:
        """Add calls of one status; the tokens and the cost are theirs together."""
        self.calls += calls
        self.cost_pico_usd += cost_pico_usd
        if status == "estimated":
            self.estimated_pico_usd += cost_pico_usd
            self.estimated_calls += calls
        elif status == "unpriced":
            self.unpriced_calls += calls
        elif status == "unmetered":
            self.unmetered_calls += calls
        elif status == "failed":
            self.failed_calls += calls
        self.input_tokens += tokens.input
        self.output_tokens += tokens.output
        self.cache_read_tokens += tokens.cache_read
        self.cache_write_5m_tokens += tokens.cache_write_5m
        self.cache_write_1h_tokens += tokens.cache_write_1h

    def document(self) -> dict[str, object]:
        """Return the total for JSON."""
        return {
            "calls": self.calls,
            "cost_usd": usd(self.cost_pico_usd),
            "cost_pico_usd": self.cost_pico_usd,
            "estimated_usd": usd(self.estimated_pico_usd),
            "estimated_calls": self.estimated_calls,
            "unpriced_calls": self.unpriced_calls,
            "unmetered_calls": self.unmetered_calls,
            "failed_calls": self.failed_calls,
            "tokens": {
                "input": self.input_tokens,
                "output": self.output_tokens,
                "cache_read": self.cache_read_tokens,
                "cache_write_5m": self.cache_write_5m_tokens,
                "cache_write_1h": self.cache_write_1h_tokens,
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """Whom a call is charged to.

    Attributes:
        identity: The signed caller.
        principal: Who pays: the identity, or an agent or application in its place.
        team: The principal's team in the registry; empty if it has none.
    """

    identity: str
    principal: str
    team: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a generated call, or a number of alike ones of one day, should be booked as.

    Attributes:
        payer: Whom it is charged to.
        account: Calling account.
        model: Foundation-model id; the ARN's resource part where that names no model.
        day: ISO date, UTC.
        status: How sure the figure is.
        tokens: Counts, of all the calls together.
        cost_pico_usd: Exact cost, of all the calls together; 0 where there is none.
        calls: How many.
    """

    payer: Payer
    account: str
    model: str
    day: str
    status: Status = "priced"
    tokens: Tokens = NO_TOKENS
    cost_pico_usd: int = 0
    calls: int = 1


@dataclass(slots=True, kw_only=True)
class TrafficSums:
    """Exact expected totals of a piece of traffic.

    Attributes:
        total: All calls, each once.
        by_principal: Totals by principal.
        by_identity: Totals by signed caller.
        by_account: Totals by calling account.
        by_model: Totals by foundation-model id; by the ARN's resource where that names no model.
        by_day: Totals by ISO date, UTC.
        by_team: Totals by team, of the principals that have one.
        records: Records that describe a call, repetitions included.
        duplicates: Of these, exact copies of an earlier record.
        companions: Of these, further records of a call that was described before by another
            kind of record (CloudTrail beside a log, an empty twin).
        ignored_records: Records that describe no call, by design.
        ignored_files: Files that hold no records: side objects, markers, digests.
        poison_lines: Records that must be quarantined.
        corrupt_files: Files that break off in the middle; what stands before is counted.
        files: Files written.
        bytes_written: Their size.
    """

    total: Total = field(default_factory=Total)
    by_principal: dict[str, Total] = field(default_factory=dict)
    by_identity: dict[str, Total] = field(default_factory=dict)
    by_account: dict[str, Total] = field(default_factory=dict)
    by_model: dict[str, Total] = field(default_factory=dict)
    by_day: dict[str, Total] = field(default_factory=dict)
    by_team: dict[str, Total] = field(default_factory=dict)
    records: int = 0
    duplicates: int = 0
    companions: int = 0
    ignored_records: int = 0
    ignored_files: int = 0
    poison_lines: int = 0
    corrupt_files: int = 0
    files: int = 0
    bytes_written: int = 0

    @property
    def calls(self) -> int:
        """Distinct calls."""
        return self.total.calls

    @property
    def cost_pico_usd(self) -> int:
        """What all calls cost together."""
        return self.total.cost_pico_usd

    def add(self, call: Call) -> None:
        """Book a call, or alike calls, in every scope."""
        groups = [
            (self.by_principal, call.payer.principal),
            (self.by_identity, call.payer.identity),
            (self.by_account, call.account),
            (self.by_model, call.model),
            (self.by_day, call.day),
        ]
        if call.payer.team:
            groups.append((self.by_team, call.payer.team))
        totals = [group.setdefault(key, Total()) for group, key in groups]
        for total in (self.total, *totals):
            total.add(call.status, call.tokens, call.cost_pico_usd, call.calls)

    def document(self) -> dict[str, object]:
        """Return everything for JSON, keys in order."""
        return {
            "total": self.total.document(),
            "records": self.records,
            "duplicates": self.duplicates,
            "companions": self.companions,
            "ignored_records": self.ignored_records,
            "ignored_files": self.ignored_files,
            "poison_lines": self.poison_lines,
            "corrupt_files": self.corrupt_files,
            "files": self.files,
            "bytes_written": self.bytes_written,
            "by_principal": _documents(self.by_principal),
            "by_identity": _documents(self.by_identity),
            "by_account": _documents(self.by_account),
            "by_model": _documents(self.by_model),
            "by_day": _documents(self.by_day),
            "by_team": _documents(self.by_team),
        }


def _documents(totals: Mapping[str, Total]) -> dict[str, object]:
    return {key: totals[key].document() for key in sorted(totals)}
