"""The chain of the audit log: what is hashed, and that whatever is done to it is found."""

import hashlib
import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.core.audit import (
    GENESIS,
    TEXT_BYTES_MAX,
    AuditDetails,
    AuditEntry,
    AuditHead,
    Replacement,
    audit_text,
    chained,
    check_chain,
    commitment_of,
    with_details,
)

SALT = bytes(range(32))
DETAILS = AuditDetails("ledgerock", "user/111122223333/alice", "500 of 100 USD", "", '{"a":1}')


def chain(length: int, forgotten: tuple[int, ...] = ()) -> tuple[list[AuditEntry], AuditHead]:
    """Return a log whose last entry forgets whom the given ones name."""
    entries: list[AuditEntry] = []
    head = AuditHead()
    for number in range(1, length + 1):
        details = msgspec.structs.replace(DETAILS, why=f"reason {number % 3}")
        entry = chained(
            head,
            at_ms=1_790_856_000_000 + number,
            act="Principal Suspended",
            details=details,
            salt=hashlib.sha256(bytes([number])).digest(),
        )
        entries.append(entry)
        head = AuditHead(entry.number, entry.hash)
    if forgotten:
        new = msgspec.structs.replace(DETAILS, subject="person/1")
        salts = {number: hashlib.sha256(bytes([number, 1])).digest() for number in forgotten}
        replaced = [Replacement(number, commitment_of(new, salt)) for number, salt in salts.items()]
        said = AuditDetails("carol", "person/1")
        entry = chained(
            head, at_ms=1, act="Person Forgotten", details=said, salt=SALT, replaced=replaced
        )
        entries.append(entry)
        head = AuditHead(entry.number, entry.hash)
        for number, salt in salts.items():
            entries[number - 1] = with_details(entries[number - 1], new, salt, entry.number)
    return entries, head


def problems(entries: list[AuditEntry], head: AuditHead | None) -> list[tuple[int, str]]:
    return [(one.number, one.problem) for one in check_chain(entries, head)]


def test_what_is_hashed_is_what_is_written_down_here() -> None:
    """Worked out by other means: the format may not change unnoticed."""
    entry = chained(AuditHead(), at_ms=7, act="Key Created", details=DETAILS, salt=SALT)
    details = ["ledgerock", "user/111122223333/alice", "500 of 100 USD", "", '{"a":1}']
    compact = json.dumps(details, separators=(",", ":")).encode()
    commitment = hashlib.sha256(SALT + compact).hexdigest()
    assert entry.commitment == commitment
    hashed = ["ledgerock-audit-1", 1, 7, "Key Created", commitment, [], "0" * 64]
    compact = json.dumps(hashed, separators=(",", ":")).encode()
    assert entry.hash == hashlib.sha256(compact).hexdigest()
    assert (entry.number, entry.previous_hash, entry.salt) == (1, GENESIS, SALT.hex())
    after = chained(
        AuditHead(1, entry.hash),
        at_ms=8,
        act="Person Forgotten",
        details=DETAILS,
        salt=SALT,
        replaced=[Replacement(1, "c" * 64)],
    )
    hashed = ["ledgerock-audit-1", 2, 8, "Person Forgotten", commitment]
    compact = json.dumps([*hashed, [[1, "c" * 64]], entry.hash], separators=(",", ":")).encode()
    assert after.hash == hashlib.sha256(compact).hexdigest()


def test_a_salt_that_hides_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes, this one 15"):
        chained(AuditHead(), at_ms=7, act="x", details=DETAILS, salt=bytes(15))


@pytest.mark.parametrize("length", [0, 1, 2, 9])
def test_a_log_that_nobody_touched_is_sound(length: int) -> None:
    assert problems(*chain(length)) == []
    assert check_chain([], None) == []


def test_a_log_in_which_a_person_was_forgotten_is_sound() -> None:
    entries, head = chain(6, forgotten=(2, 5))
    assert problems(entries, head) == []
    assert "alice" not in str([entries[1], entries[4]])


def test_forgetting_that_was_not_completed_is_told() -> None:
    entries, head = chain(6, forgotten=(2, 5))
    entries[1] = chain(6)[0][1]
    [(number, problem)] = problems(entries, head)
    assert number == 2
    assert "were to be forgotten by entry 7" in problem
    assert "principals forget" in problem


def test_of_two_who_replace_details_the_last_one_counts() -> None:
    entries, head = chain(3, forgotten=(2,))
    first = entries[1]
    new = msgspec.structs.replace(first.details, actor="person/2")
    replaced = [Replacement(2, commitment_of(new, SALT))]
    entries.append(
        chained(head, at_ms=9, act="Person Forgotten", details=new, salt=SALT, replaced=replaced)
    )
    head = AuditHead(5, entries[-1].hash)
    [(number, problem)] = problems(entries, head)
    assert (number, "by entry 5" in problem) == (2, True)
    entries[1] = with_details(first, new, SALT, 5)
    assert problems(entries, head) == []
    entries[1] = with_details(first, new, SALT, 4)
    assert [number for number, _ in problems(entries, head)] == [2]


def test_what_is_wrong_is_told_entry_by_entry() -> None:
    entries, head = chain(6)
    assert problems([*entries[:2], *entries[4:]], head) == [(3, "and all up to 4 are missing")]
    assert problems([*entries[:2], *entries[3:]], head) == [(3, "is missing")]
    assert problems(entries[:-1], head) == [(6, "is missing")]
    assert problems([], head) == [(1, "and all up to 6 are missing")]
    assert [number for number, _ in problems(entries, None)] == [0]
    assert [number for number, _ in problems(entries, chain(5)[1])] == [0]
    swapped = [entries[0], entries[2], entries[1], *entries[3:]]
    assert problems(swapped, head) == [
        (2, "is missing"),
        (2, "is out of order: it stands after entry 3"),
    ]
    changed = msgspec.structs.replace(entries[3], act="Principal Restored")
    assert problems([*entries[:3], changed, *entries[4:]], head) == [
        (4, "was changed: its hash is not that of what it says")
    ]


def test_a_forger_who_hashes_anew_is_found_at_the_next_entry() -> None:
    entries, head = chain(4)
    before = AuditHead(1, entries[0].hash)
    forged = chained(before, at_ms=1, act="Other", details=DETAILS, salt=SALT)
    [(number, problem)] = problems([entries[0], forged, *entries[2:]], head)
    assert (number, "does not follow" in problem) == (3, True)
    last = chained(AuditHead(3, entries[2].hash), at_ms=1, act="x", details=DETAILS, salt=SALT)
    [(number, problem)] = problems([*entries[:3], last], head)
    assert (number, "head names entry 4" in problem) == (0, True)


# --- Whatever one does -----------------------------------------------------------------------

LOGS = st.tuples(st.integers(1, 7), st.sets(st.integers(1, 7), max_size=3)).map(
    lambda drawn: chain(drawn[0], tuple(sorted(n for n in drawn[1] if n <= drawn[0])))
)
FIELDS = [*AuditEntry.__struct_fields__, *(f"details.{n}" for n in AuditDetails.__struct_fields__)]


Draw = Callable[[st.SearchStrategy[str]], str]


def _changed(entry: AuditEntry, field: str, draw: Draw) -> AuditEntry:
    """Return an entry with one of its fields changed, as by hand in its JSON."""
    document = msgspec.to_builtins(entry)
    outer, _, inner = field.partition(".")
    place, name = (document[outer], inner) if inner else (document, outer)
    before = place[name]
    if isinstance(before, str):
        place[name] = draw(
            st.one_of(
                st.text(max_size=3),
                st.sampled_from([before.upper(), before[:-1], f"{before} ", before[::-1]]),
            ).filter(lambda text: text != before)
        )
    elif isinstance(before, int):
        place[name] = before + int(draw(st.sampled_from(["1", "-1", "7", "1000000"])))
    elif name == "replaced":
        more = {"number": 1, "commitment": "0" * 64}
        place[name] = before[1:] if before else [more]
    else:
        place[name] = {**before, "subject": before["subject"] + "x"}
    return msgspec.convert(document, AuditEntry)


@settings(max_examples=5 * settings().max_examples)
@given(log=LOGS, data=st.data())
def test_any_change_of_any_one_entry_is_found(
    log: tuple[list[AuditEntry], AuditHead], data: st.DataObject
) -> None:
    entries, head = log
    at = data.draw(st.integers(0, len(entries) - 1))
    changed = _changed(entries[at], data.draw(st.sampled_from(FIELDS)), data.draw)
    assert changed != entries[at]
    assert check_chain([*entries[:at], changed, *entries[at + 1 :]], head)


@settings(max_examples=5 * settings().max_examples)
@given(log=LOGS, data=st.data())
def test_any_removal_swap_repetition_or_truncation_is_found(
    log: tuple[list[AuditEntry], AuditHead], data: st.DataObject
) -> None:
    entries, head = log
    first, second = (data.draw(st.integers(0, len(entries) - 1)) for _ in "ab")
    assert check_chain([*entries[:first], *entries[first + 1 :]], head), "removed"
    assert check_chain(entries[:first], head), "truncated"
    assert check_chain(entries[first + 1 :], head), "its beginning is gone"
    assert check_chain([*entries[: first + 1], *entries[first:]], head), "twice"
    assert check_chain(entries, AuditHead(first, entries[first - 1].hash)), "the head set back"
    assert check_chain(entries, AuditHead(head.number, "f" * 64)), "the head changed"
    if first != second:
        swapped = list(entries)
        swapped[first], swapped[second] = swapped[second], swapped[first]
        assert check_chain(swapped, head), "swapped"
        crossed = list(entries)
        details = entries[second].details, bytes.fromhex(entries[second].salt)
        crossed[first] = with_details(entries[first], *details, entries[first].replaced_by)
        assert check_chain(crossed, head), "another entry's details"


# --- Texts -----------------------------------------------------------------------------------


def test_details_hold_any_value_as_text() -> None:
    assert audit_text("as it is") == "as it is"
    assert audit_text(None) == ""
    assert audit_text({"b": 1, "a": ["x"]}) == '{"a":["x"],"b":1}'
    assert audit_text(AuditHead(2, "x")) == '{"hash":"x","number":2}'
    assert audit_text("lone \ud800") == "lone ?"


@pytest.mark.parametrize("character", ["x", '"', "\x00", "ä", "😀"])
def test_text_that_no_record_could_hold_is_cut_and_says_what_it_was(character: str) -> None:
    short = character * (TEXT_BYTES_MAX // 8)
    assert audit_text(short) == short
    whole = character * TEXT_BYTES_MAX
    cut = audit_text(whole)
    assert len(msgspec.json.encode(cut)) <= TEXT_BYTES_MAX
    assert cut.startswith(character * 1_000)
    assert hashlib.sha256(whole.encode()).hexdigest() in cut
    assert f"{len(whole.encode())} bytes" in cut
