"""The journal of booked calls: which caller's calls were booked when. Pure.

A mapping that becomes known late moves calls that are booked already, and they must be found
without going through all entries. A shared ledger therefore notes, with every commit, which
callers' calls it is about to book. A note is a superset: a commit that is killed after it leaves
calls in the journal that were never booked, which hurts nobody.

Callers are spread over `BUCKETS` by hash, so that a commit of many callers makes few notes, and
looking for one caller reads a share of them. Sessions are noted under their role: roles are what
mappings are about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import Final

import msgspec

from worker.core.codec import UUID_BYTES, intern_id, owner_offset
from worker.core.errors import LedgerCorruptError
from worker.core.registry import plain_id

JOURNAL_DAYS: Final = 100
"""How long the journal remembers."""

BUCKETS: Final = 8

SKEW_MS: Final = 86_400_000
"""How much earlier than it happened a call may seem to be booked: clocks differ."""

BODY_BYTES_MAX: Final = 200_000
"""Of one note; an item may have 400 KB (AWS documentation: "Quotas in Amazon DynamoDB")."""

_SESSION_SEGMENTS: Final = 4
_CALLERS_KEPT: Final = 20_000
_UUID_KEY: Final = b"u"
_ROOM_FOR_NAMES: Final = 32

_Notes = dict[int, dict[bytes, bytes | list[bytes]]]
"""By caller and owner (namespace and account) the request ids: canonical UUIDs one after another,
16 bytes each; under an empty owner whole stored keys of any other form."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Notes).decode


def caller_of(identity: str) -> str:
    """Return whom calls of an identity are noted under.

    That is the identity itself, whichever of those who had its name one after another; or the role
    of a session.
    """
    segments = identity.split("/")
    if segments[0] == "session" and len(segments) == _SESSION_SEGMENTS:
        return "/".join(("role", *segments[1:3]))
    return plain_id(identity)


@lru_cache(maxsize=_CALLERS_KEPT)
def caller_id(identity: str) -> int:
    """Return the short hash that calls of an identity are noted under."""
    return intern_id(caller_of(identity).encode("utf-8", "surrogatepass"))


def bucket_of(caller: int) -> int:
    """Return the bucket of a caller's hash."""
    return caller % BUCKETS


def notes(calls: Iterable[tuple[str, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield what to note of calls, given by identity and stored key, as (bucket, body)."""
    buckets: dict[int, list[tuple[int, bytes]]] = {}
    for identity, key in calls:
        caller = caller_id(identity)
        buckets.setdefault(bucket_of(caller), []).append((caller, key))
    for bucket, listed in sorted(buckets.items()):
        listed.sort()
        first = size = 0
        for place, (_, key) in enumerate(listed):
            size += len(key) + _ROOM_FOR_NAMES
            if size > BODY_BYTES_MAX and place > first:
                yield bucket, _body(listed[first:place])
                first, size = place, len(key) + _ROOM_FOR_NAMES
        yield bucket, _body(listed[first:])


def _body(calls: Iterable[tuple[int, bytes]]) -> bytes:
    requests: dict[int, dict[bytes, bytearray]] = {}
    others: dict[int, list[bytes]] = {}
    for caller, key in calls:
        if key[:1] == _UUID_KEY:
            owners = requests.setdefault(caller, {})
            owners.setdefault(key[owner_offset(key) :], bytearray()).extend(key[1 : 1 + UUID_BYTES])
        else:
            others.setdefault(caller, []).append(key)
    packed: dict[int, dict[bytes, object]] = {
        caller: {owner: bytes(ids) for owner, ids in owners.items()}
        for caller, owners in requests.items()
    }
    for caller, keys in others.items():
        packed.setdefault(caller, {})[b""] = keys
    return _encode(packed)


def noted_keys(body: bytes, callers: Collection[int]) -> Iterator[bytes]:
    """Yield the stored keys of some callers' calls that a note names.

    Raises:
        LedgerCorruptError: The note cannot be read.
    """
    try:
        found = _decode(body)
    except msgspec.MsgspecError as error:
        message = f"a note of the journal cannot be read ({error})"
        raise LedgerCorruptError(message) from error
    for caller in callers:
        for owner, requests in found.get(caller, {}).items():
            if isinstance(requests, list):
                yield from requests
            else:
                for at in range(0, len(requests), UUID_BYTES):
                    yield _UUID_KEY + requests[at : at + UUID_BYTES] + owner
