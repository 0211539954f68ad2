"""The ledger's nouns: leaf, posting, amounts, entry.

An *entry* is the merged evidence of one call together with its *posting*: what the call adds
to which balances, under which catalogue and registry. Balances are kept by *leaf*: one leaf
holds every dimension that a report or a budget may ask for (who paid, whose identity, which
agent, team, application, account and model, on which day), so each scope's balance is a sum
of leaves and every scope always adds up to the same total. Postings of a call are therefore
exactly one leaf and one set of amounts.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from worker.core.evidence import Counts, Evidence

MS_PER_DAY: Final = 86_400_000


class Status(StrEnum):
    """How sure the charge of a call is."""

    PRICED = "priced"
    """Every count and every rate is known."""
    ESTIMATED = "estimated"
    """Something is assumed; the posting's reason says what."""
    UNPRICED = "unpriced"
    """Counts are known, a rate is not. Charged nothing until `rebook` finds one."""
    UNMETERED = "unmetered"
    """No counts, or a model that is not billed by token."""
    FAILED = "failed"
    """The call failed and was billed nothing."""


class Basis(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Under which revisions a posting was worked out.

    Attributes:
        catalogue_revision: `Catalogue.revision`.
        registry_revision: `Registry.revision`.
    """

    catalogue_revision: str
    registry_revision: str


class Leaf(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The finest balance: one combination of everything spend is reported by.

    Attributes:
        principal: Who pays.
        identity: The signed caller.
        agent: The agent that made the call, or empty.
        team: The payer's team, or empty.
        application: The application, or empty.
        account: AWS account of the call.
        model: Canonical model id, or the received one if it could not be resolved.
        day: UTC day of the call, days since 1970-01-01.
        local_days: `(scope kind, local day)` of every scope whose calendar puts the call on
            another day than UTC does; sorted; empty unless the registry sets calendars.
        pool: The payer's pool, or empty. Encoded only where there is one (`codec.encode_leaf`),
            so that leaves of ledgers older than pools keep their ids.
    """

    principal: str
    identity: str
    agent: str
    team: str
    application: str
    account: str
    model: str
    day: int
    local_days: tuple[tuple[str, int], ...] = ()
    pool: str = ""


class Posting(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a call adds to its balances.

    Attributes:
        leaf: The balance it is added to.
        cost_pico_usd: The charge; 0 unless `priced` or `estimated`.
        status: A `Status`.
        reason: What is assumed or missing; empty when `priced`.
        basis: The revisions it was worked out under.
    """

    leaf: Leaf
    cost_pico_usd: int
    status: Status
    reason: str
    basis: Basis


class Interned(msgspec.Struct, frozen=True, gc=False):
    """A repeated value as ledgers store it: an id taken from its content, and its encoding."""

    id: int
    encoded: bytes


class Route(msgspec.Struct, frozen=True, gc=False):
    """Everything about a call's posting that does not depend on its counts.

    Attributes:
        leaf_value: The leaf that the call is posted to.
        basis_value: The revisions in force.
        facts: The call's facts, interned.
        leaf: `leaf_value`, interned.
        basis: `basis_value`, interned.
    """

    leaf_value: Leaf
    basis_value: Basis
    facts: Interned
    leaf: Interned
    basis: Interned


class Rated(msgspec.Struct, frozen=True, gc=False):
    """A priced and attributed call: `Posting`, with what it names already interned."""

    route: Route
    cost_pico_usd: int
    status: Status
    reason: str = ""

    def posting(self) -> Posting:
        """Return the same facts as a posting."""
        return Posting(
            leaf=self.route.leaf_value,
            cost_pico_usd=self.cost_pico_usd,
            status=self.status,
            reason=self.reason,
            basis=self.route.basis_value,
        )


class Entry(msgspec.Struct, frozen=True, gc=False):
    """The ledger's record of one call.

    Attributes:
        key: See `worker.core.evidence.call_key`.
        evidence: Merged evidence of all its observations.
        posting: What it adds to which balance.
        revision: 1 when first booked, one more with every better observation or rebooking.
    """

    key: str
    evidence: Evidence
    posting: Posting
    revision: int = 1


class Amounts(msgspec.Struct, gc=False, array_like=True):
    """Additive figures of a balance. Deltas may be negative.

    Attributes:
        calls: All calls, whatever their status.
        cost_pico_usd: Sum of charges.
        input_tokens: Non-cached input.
        output_tokens: Output.
        cache_read_tokens: Read from the cache.
        cache_write_5m_tokens: Written for five minutes (or for an unknown time).
        cache_write_1h_tokens: Written for one hour.
        estimated_pico_usd: The part of `cost_pico_usd` that comes from estimated calls.
        estimated_calls: Calls whose charge assumes something.
        unpriced_calls: Calls without a rate.
        unmetered_calls: Calls without counts.
        failed_calls: Failed calls.
    """

    calls: int = 0
    cost_pico_usd: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    estimated_pico_usd: int = 0
    estimated_calls: int = 0
    unpriced_calls: int = 0
    unmetered_calls: int = 0
    failed_calls: int = 0

    def add(self, other: Amounts) -> None:
        """Add `other` to these amounts, in place."""
        for name in AMOUNT_FIELDS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def subtract(self, other: Amounts) -> None:
        """Subtract `other` from these amounts, in place."""
        for name in AMOUNT_FIELDS:
            setattr(self, name, getattr(self, name) - getattr(other, name))

    def is_zero(self) -> bool:
        """Whether adding these amounts would change nothing."""
        return not any(getattr(self, name) for name in AMOUNT_FIELDS)


AMOUNT_FIELDS: Final = Amounts.__struct_fields__


def amounts_of(evidence: Evidence, cost_pico_usd: int, status: Status) -> Amounts:
    """Return what one call adds to its balance."""
    return amounts_of_counts(evidence.counts, cost_pico_usd, status)


def amounts_of_counts(counts: Counts, cost_pico_usd: int, status: Status) -> Amounts:
    """Return what a call with these counts adds to its balance."""
    estimated = status is Status.ESTIMATED
    return Amounts(
        calls=1,
        cost_pico_usd=cost_pico_usd,
        input_tokens=counts.input_tokens or 0,
        output_tokens=counts.output_tokens or 0,
        cache_read_tokens=counts.cache_read_tokens,
        cache_write_5m_tokens=counts.cache_write_5m_tokens,
        cache_write_1h_tokens=counts.cache_write_1h_tokens,
        estimated_pico_usd=cost_pico_usd if estimated else 0,
        estimated_calls=1 if estimated else 0,
        unpriced_calls=1 if status is Status.UNPRICED else 0,
        unmetered_calls=1 if status is Status.UNMETERED else 0,
        failed_calls=1 if status is Status.FAILED else 0,
    )
