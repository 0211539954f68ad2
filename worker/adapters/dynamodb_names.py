"""How entries in DynamoDB name what they share: in parts that recur, so that few are written.

Elsewhere an entry's body names its facts, leaf and basis by their ids. Here a table row costs a
write unit, and sessions and days make ever new facts and leaves; but what they are made of
recurs. So an entry's item says beside the body (which stays the same in every ledger):

* the *shape* of its leaf, by id: the leaf without its day, which the call's time gives;
* the *route* of its facts, by id: where the call went and what it asked for;
* its caller and whatever else the facts hold, in full: an entry is billed as a started kilobyte,
  of which its body takes a tenth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec

from worker.core.codec import encode_leaf, intern_id, intern_value
from worker.core.errors import LedgerCorruptError
from worker.core.evidence import Facts
from worker.core.ledger import MS_PER_DAY, Leaf

RECENT_PER_GENERATION: Final = 50_000
ROUTE_FIELDS: Final = (
    "account",
    "region",
    "region_rank",
    "model_id",
    "model_id_rank",
    "operation",
    "operation_rank",
    "service_tier",
    "service_tier_rank",
    "inference_region",
    "inference_region_rank",
    "invoked_by",
)
"""The fields of `Facts` that make a route. Never reordered."""
CALLER_FIELDS: Final = tuple(name for name in Facts.__struct_fields__ if name not in ROUTE_FIELDS)
"""All its other fields, in their order; new ones come last."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode
_decode_facts: Final = msgspec.msgpack.Decoder(type=Facts).decode
_decode_leaf: Final = msgspec.msgpack.Decoder(type=Leaf).decode
_UNKNOWN_ACCOUNT: Final = Facts("")

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Values by id that were used not long ago.

    Forgetting all of them when there are too many would forget what a commit in flight is about
    to read, so they are kept in two generations: what was used since the last turn survives it.

    Args:
        per_generation: Values kept at least, twice as many at most. Must exceed what all the
            commits of a process need at a time.
    """

    def __init__(self, per_generation: int = RECENT_PER_GENERATION) -> None:
        """Start empty."""
        self._per_generation = per_generation
        self._young: dict[int, Value] = {}
        self._old: dict[int, Value] = {}

    def get(self, value_id: int) -> Value | None:
        """Return a value, or None if it is not known any more."""
        value = self._young.get(value_id)
        if value is None:
            value = self._old.get(value_id)
            if value is not None:
                self._young[value_id] = value
        return value

    def keep(self, values: Mapping[int, Value]) -> None:
        """Take values in."""
        if len(self._young) > self._per_generation:
            self._old, self._young = self._young, {}
        self._young.update(values)


class FactsParts(msgspec.Struct, frozen=True, gc=False):
    """Facts taken apart: the route by its id, everything else in full."""

    route_id: int
    caller: list[Any]


def split_facts(facts: Facts) -> tuple[FactsParts, bytes]:
    """Take facts apart; also returns the encoding of the route."""
    route = b"R" + _encode([getattr(facts, name) for name in ROUTE_FIELDS])
    caller = [getattr(facts, name) for name in CALLER_FIELDS]
    while caller and caller[-1] == getattr(_UNKNOWN_ACCOUNT, CALLER_FIELDS[len(caller) - 1]):
        caller.pop()
    return FactsParts(intern_id(route), caller), route


def join_facts(route: bytes, caller: list[Any]) -> bytes:
    """Undo `split_facts`: return the encoding of the facts."""
    fields = dict(zip(ROUTE_FIELDS, _decode(route[1:]), strict=True))
    fields.update(zip(CALLER_FIELDS, caller, strict=False))
    for name in CALLER_FIELDS[len(caller) :]:
        fields[name] = getattr(_UNKNOWN_ACCOUNT, name)
    return b"F" + _encode([fields[name] for name in Facts.__struct_fields__])


def split_leaf(leaf: Leaf) -> bytes:
    """Return the encoding of a leaf's shape: its days are counted from its UTC day."""
    local = tuple((kind, day - leaf.day) for kind, day in leaf.local_days)
    return b"S" + encode_leaf(msgspec.structs.replace(leaf, day=0, local_days=local))


def join_leaf(shape: bytes, day: int) -> Leaf:
    """Undo `split_leaf`."""
    leaf = _decode_leaf(shape[1:])
    local = tuple((kind, day + offset) for kind, offset in leaf.local_days)
    return msgspec.structs.replace(leaf, day=day, local_days=local)


class Names:
    """What a process knows of the names in a ledger.

    Attributes:
        parts: Encodings of shapes, routes and bases by id, as the ledger stores them, or did.
    """

    def __init__(self) -> None:
        """Start knowing nothing."""
        self.parts: Recent[bytes] = Recent()
        self._stored: Recent[bool] = Recent()
        self._values: Recent[bytes] = Recent()
        self._facts: Recent[FactsParts] = Recent()
        self._shapes: Recent[int] = Recent()

    def stored(self, parts: Mapping[int, bytes]) -> None:
        """Take in parts that the ledger holds for sure."""
        self.parts.keep(parts)
        self._stored.keep(dict.fromkeys(parts, True))

    def doubt(self) -> None:
        """Believe no more that the ledger holds what it did: somebody took something away."""
        self._stored = Recent()

    def value(self, value_id: int) -> bytes | None:
        """Return the encoding of facts, a leaf or a basis by id, for `Bodies`."""
        return self._values.get(value_id)

    def take_apart(self, values: Mapping[int, bytes]) -> dict[int, bytes]:
        """Take in facts, leaves and bases that are about to be stored.

        Returns:
            The parts by id, without those that are known to be stored.
        """
        parts = {}
        for value_id, encoded in values.items():
            if self._is_stored(value_id):
                continue
            match encoded[:1]:
                case b"F":
                    split, route = split_facts(_decode_facts(encoded[1:]))
                    self._facts.keep({value_id: split})
                    parts[split.route_id] = route
                case b"L":
                    shape = split_leaf(_decode_leaf(encoded[1:]))
                    shape_id = intern_id(shape)
                    self._shapes.keep({value_id: shape_id})
                    parts[shape_id] = shape
                case _:
                    parts[value_id] = encoded
        self._values.keep(values)
        return parts

    def _is_stored(self, value_id: int) -> bool:
        """Whether it is known that the ledger holds the parts of a value; touches all of it."""
        if self._values.get(value_id) is None:
            return False
        split = self._facts.get(value_id)
        part_id = self._shapes.get(value_id) if split is None else split.route_id
        place = value_id if part_id is None else part_id
        return self.parts.get(place) is not None and self._stored.get(place) is not None

    def shape_id(self, leaf_id: int) -> int:
        """Return the shape of a leaf that was taken in."""
        shape_id = self._shapes.get(leaf_id)
        if shape_id is None:
            message = f"the shape of leaf {leaf_id} is not at hand"
            raise LedgerCorruptError(message)
        return shape_id

    def of_entry(self, facts_id: int, leaf_id: int) -> bytes:
        """Return what an entry's item says beside its body."""
        split = self._facts.get(facts_id)
        if split is None:
            message = f"the parts of facts {facts_id} are not at hand"
            raise LedgerCorruptError(message)
        return _encode([split.route_id, self.shape_id(leaf_id), *split.caller])

    def unknown(self, bodies: Iterable[tuple[bytes, bytes]]) -> dict[int, None]:
        """Return the ids of parts that are needed to read some `(body, names)` and not known."""
        needed: dict[int, None] = {}
        for body, names in bodies:
            _, facts_id, leaf_id, basis_id = _decode(body)[:4]
            route_id, shape_id = _decode(names)[:2]
            if not self._has_facts(facts_id):
                needed[route_id] = None
            if not self._has_leaf(leaf_id):
                needed[shape_id] = None
            if self._values.get(basis_id) is None:
                needed[basis_id] = None
        return {part_id: None for part_id in needed if self.parts.get(part_id) is None}

    def learn(self, bodies: Iterable[tuple[bytes, bytes]]) -> None:
        """Make the facts, leaves and bases of some `(body, names)` known, from known parts."""
        for body, names in bodies:
            _, facts_id, leaf_id, basis_id, occurred_at_ms = _decode(body)[:5]
            route_id, shape_id, *caller = _decode(names)
            if not self._has_facts(facts_id):
                self._keep(facts_id, join_facts(self._part(route_id), caller))
                self._facts.keep({facts_id: FactsParts(route_id, caller)})
            if not self._has_leaf(leaf_id):
                leaf = join_leaf(self._part(shape_id), occurred_at_ms // MS_PER_DAY)
                self._keep(leaf_id, intern_value(leaf).encoded)
                self._shapes.keep({leaf_id: shape_id})
            if self._values.get(basis_id) is None:
                self._keep(basis_id, self._part(basis_id))

    def _has_facts(self, facts_id: int) -> bool:
        return self._values.get(facts_id) is not None and self._facts.get(facts_id) is not None

    def _has_leaf(self, leaf_id: int) -> bool:
        return self._values.get(leaf_id) is not None and self._shapes.get(leaf_id) is not None

    def _part(self, part_id: int) -> bytes:
        part = self.parts.get(part_id)
        if part is None:
            message = f"interned part {part_id} is missing from the ledger"
            raise LedgerCorruptError(message)
        return part

    def _keep(self, value_id: int, encoded: bytes) -> None:
        if intern_id(encoded) != value_id:
            message = f"value {value_id} is not what an entry's names say"
            raise LedgerCorruptError(message)
        self._values.keep({value_id: encoded})
