"""How entries are stored: compact, content-addressed, the same in every ledger and process.

A call's *key* becomes bytes that start with the request id. Its *body* holds the numbers of
its evidence and posting, and names the descriptive values (facts, leaf, basis), which repeat
millions of times, by *interned ids*: 64-bit hashes of their content, so that any process can
make a body without asking another, and the same value has the same id everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import msgspec

from worker.core.errors import LedgerCorruptError
from worker.core.evidence import Counts, Evidence, Facts
from worker.core.ledger import (
    MS_PER_DAY,
    Amounts,
    Basis,
    Entry,
    Interned,
    Leaf,
    Posting,
    Rated,
    Status,
    amounts_of_counts,
)
from worker.core.memo import remember

INT64_MAX: Final = 2**63 - 1

STATUS_CODES: Final[dict[Status, int]] = {
    Status.PRICED: 0,
    Status.ESTIMATED: 1,
    Status.UNPRICED: 2,
    Status.UNMETERED: 3,
    Status.FAILED: 4,
}
"""How a status is stored. Codes are never reused."""
_STATUS_BY_CODE: Final = {code: status for status, code in STATUS_CODES.items()}

NAMESPACES: Final = ("aws", "batch", "api")


# --- Keys ------------------------------------------------------------------------------------


def encode_key(key: str) -> bytes:
    """Return the stored form of a call key; the request id leads, so that a prefix finds it.

    A canonical UUID takes 16 bytes instead of 36, a 12-digit account 5 instead of 12. The
    first byte says which form follows, so that no two keys share a stored form.
    """
    namespace, account, request_id = key.split("/", 2)
    return encode_request_id(request_id) + _encode_owner(namespace, account)


def encode_request_id(request_id: str) -> bytes:
    """Return the leading part of `encode_key` for any namespace and account."""
    if len(request_id) == UUID_LENGTH and (
        request_id[8] == request_id[13] == request_id[18] == request_id[23] == "-"
    ):
        digits = request_id.replace("-", "")
        try:
            raw = bytes.fromhex(digits)
        except ValueError:
            raw = b""
        # An id with more dashes has fewer digits, and would share its form with other ids.
        if len(raw) == UUID_BYTES and raw.hex() == digits:
            return b"u" + raw
    return b"t" + request_id.encode("utf-8", "surrogatepass") + b"\xff"


def owner_offset(stored: bytes) -> int:
    """Return where the request id of a stored key ends and its namespace and account begin."""
    return 1 + UUID_BYTES if stored[:1] == b"u" else stored.index(b"\xff") + 1


def decode_key(stored: bytes) -> str:
    """Undo `encode_key`."""
    if stored[:1] == b"u":
        digits = stored[1:17].hex()
        groups = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
        request_id, owner = "-".join(groups), stored[17:]
    else:
        # 0xff never occurs in UTF-8, so it ends the text safely.
        text, _, owner = stored[1:].partition(b"\xff")
        request_id = text.decode("utf-8", "surrogatepass")
    namespace = NAMESPACES[owner[0]]
    account = (
        f"{int.from_bytes(owner[2:], 'big'):012d}" if owner[1:2] == b"n" else owner[2:].decode()
    )
    return f"{namespace}/{account}/{request_id}"


UUID_LENGTH: Final = 36
UUID_BYTES: Final = 16
ACCOUNT_DIGITS: Final = 12
_ACCOUNT_BYTES: Final = 5


@lru_cache(maxsize=1_024)
def _encode_owner(namespace: str, account: str) -> bytes:
    prefix = bytes((NAMESPACES.index(namespace),))
    if len(account) == ACCOUNT_DIGITS and account.isascii() and account.isdigit():
        return prefix + b"n" + int(account).to_bytes(_ACCOUNT_BYTES, "big")
    return prefix + b"t" + account.encode()


# --- Interned values and bodies --------------------------------------------------------------

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_body: Final = msgspec.msgpack.Decoder(type=list[Any], strict=True).decode
_decode_facts: Final = msgspec.msgpack.Decoder(type=Facts).decode
_decode_leaf: Final = msgspec.msgpack.Decoder(type=Leaf).decode
_LEAF_FIELDS_ALWAYS: Final = tuple(name for name in Leaf.__struct_fields__ if name != "pool")
_decode_basis: Final = msgspec.msgpack.Decoder(type=Basis).decode


def intern_id(encoded: bytes) -> int:
    """Return the 64-bit id of an interned value, from its encoding.

    Two values share an id with a chance of about n^2 / 2^65 for n distinct values (one in
    30 million for a million of them); ledgers compare the content when they store it and
    refuse a collision loudly.
    """
    return int.from_bytes(blake2b(encoded, digest_size=8).digest(), "big", signed=True)


def intern_value(value: Facts | Leaf | Basis) -> Interned:
    """Encode a value and name it by its content."""
    # The kind is part of the encoding: a leaf and a basis must never share an id.
    content = encode_leaf(value) if isinstance(value, Leaf) else _encode(value)
    encoded = type(value).__name__[0].encode() + content
    return Interned(id=intern_id(encoded), encoded=encoded)


def encode_leaf(leaf: Leaf) -> bytes:
    """Encode a leaf; without its pool where it has none, as before there were pools.

    So the same leaf has the same id in ledgers of every age.
    """
    if leaf.pool:
        return _encode(leaf)
    return _encode([getattr(leaf, name) for name in _LEAF_FIELDS_ALWAYS])


def encode_body(evidence: Evidence, rated: Rated, revision: int = 1) -> bytes:
    """Return the stored body of an entry; what it names must be interned beside it."""
    counts = evidence.counts
    route = rated.route
    cost = rated.cost_pico_usd
    return _encode(
        (
            revision,
            route.facts.id,
            route.leaf.id,
            route.basis.id,
            evidence.occurred_at_ms,
            evidence.occurred_at_rank,
            evidence.rank,
            evidence.conflicting,
            counts.input_tokens,
            counts.output_tokens,
            counts.cache_read_tokens,
            counts.cache_write_5m_tokens,
            counts.cache_write_1h_tokens,
            counts.cache_write_ttl_known,
            counts.units,
            # MessagePack integers end at 64 bits; a charge need not.
            cost if cost <= INT64_MAX else str(cost),
            STATUS_CODES[rated.status],
            rated.reason,
            evidence.session,
            evidence.session_rank,
        )
    )


class Bodies:
    """Decodes entry bodies; keeps the interned values it has met, up to a bound.

    Args:
        lookup: Returns the encoding of an interned value, or None if there is none.
    """

    def __init__(self, lookup: Callable[[int], bytes | None]) -> None:
        """Start with an empty cache."""
        self._lookup = lookup
        self._facts: dict[int, Facts] = {}
        self._leaves: dict[int, Leaf] = {}
        self._bases: dict[int, Basis] = {}

    def entry(self, key: str, body: bytes) -> Entry:
        """Decode one entry.

        Raises:
            LedgerCorruptError: The body, or what it refers to, cannot be read.
        """
        try:
            fields = _decode_body(body)
            evidence = Evidence(
                facts=self._facts_of(fields[1]),
                occurred_at_ms=fields[4],
                occurred_at_rank=fields[5],
                rank=fields[6],
                conflicting=fields[7],
                session=fields[18],
                session_rank=fields[19],
                counts=Counts(
                    input_tokens=fields[8],
                    output_tokens=fields[9],
                    cache_read_tokens=fields[10],
                    cache_write_5m_tokens=fields[11],
                    cache_write_1h_tokens=fields[12],
                    cache_write_ttl_known=fields[13],
                    units=tuple((unit, quantity) for unit, quantity in fields[14]),
                ),
            )
            posting = Posting(
                leaf=self.leaf(fields[2]),
                cost_pico_usd=int(fields[15]),
                status=_STATUS_BY_CODE[fields[16]],
                reason=fields[17],
                basis=self._basis_of(fields[3]),
            )
        except (msgspec.MsgspecError, IndexError, KeyError, TypeError, ValueError) as error:
            message = f"entry {key}: its stored body cannot be read ({error})"
            raise LedgerCorruptError(message) from error
        return Entry(key=key, evidence=evidence, posting=posting, revision=fields[0])

    def names(self, body: bytes) -> tuple[int, int, int]:
        """Return the ids of the facts, leaf and basis that a body names."""
        fields = _decode_body(body)
        return fields[1], fields[2], fields[3]

    def day(self, body: bytes) -> int:
        """Return the UTC day of a body's call; 0 if nothing says when it happened."""
        return self.at_ms(body) // MS_PER_DAY

    def at_ms(self, body: bytes) -> int:
        """Return when a body's call happened, epoch milliseconds UTC; 0 if nothing says."""
        at_ms: int = _decode_body(body)[4]
        return at_ms

    def check_names(self, facts_ids: Iterable[int], basis_ids: Iterable[int]) -> None:
        """Make sure that facts and bases can be read.

        Raises:
            LedgerCorruptError: One is missing or damaged.
        """
        for facts_id in facts_ids:
            self._facts_of(facts_id)
        for basis_id in basis_ids:
            self._basis_of(basis_id)

    def amounts(self, body: bytes) -> tuple[int, Amounts]:
        """Return the leaf id of a body and what its call adds there, without decoding the rest."""
        (_, leaf_id, _), amounts = self.names_and_amounts(body)
        return leaf_id, amounts

    def names_and_amounts(self, body: bytes) -> tuple[tuple[int, int, int], Amounts]:
        """Return the ids of the facts, leaf and basis of a body, and what its call adds."""
        try:
            fields = _decode_body(body)
            counts = Counts(*fields[8:13])
            status = _STATUS_BY_CODE[fields[16]]
            amounts = amounts_of_counts(counts, int(fields[15]), status)
            return (fields[1], fields[2], fields[3]), amounts
        except (msgspec.MsgspecError, IndexError, KeyError, TypeError, ValueError) as error:
            message = f"an entry's stored body cannot be read ({error})"
            raise LedgerCorruptError(message) from error

    def leaf(self, leaf_id: int, encoded: bytes | None = None) -> Leaf:
        """Return the leaf behind an id, whose encoding may be at hand already."""
        leaf = self._leaves.get(leaf_id)
        if leaf is None:
            content = self._content(leaf_id, b"L") if encoded is None else encoded[1:]
            try:
                leaf = _decode_leaf(content)
            except msgspec.MsgspecError as error:
                message = f"interned value {leaf_id} (L) cannot be read ({error})"
                raise LedgerCorruptError(message) from error
            remember(self._leaves, leaf_id, leaf, INTERN_CACHE_MAX)
        return leaf

    def _facts_of(self, facts_id: int) -> Facts:
        facts = self._facts.get(facts_id)
        if facts is None:
            facts = _decode_facts(self._content(facts_id, b"F"))
            remember(self._facts, facts_id, facts, INTERN_CACHE_MAX)
        return facts

    def _basis_of(self, basis_id: int) -> Basis:
        basis = self._bases.get(basis_id)
        if basis is None:
            basis = _decode_basis(self._content(basis_id, b"B"))
            remember(self._bases, basis_id, basis, INTERN_CACHE_MAX)
        return basis

    def _content(self, value_id: int, kind: bytes) -> bytes:
        encoded = self._lookup(value_id)
        if encoded is None or encoded[:1] != kind:
            message = f"interned value {value_id} ({kind.decode()}) is missing from the ledger"
            raise LedgerCorruptError(message)
        return encoded[1:]


INTERN_CACHE_MAX: Final = 30_000
