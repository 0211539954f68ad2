"""Notes of booked calls: what is noted is found, by its caller alone, in bounded items."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.codec import encode_key
from worker.core.errors import LedgerCorruptError
from worker.core.journal import (
    BODY_BYTES_MAX,
    BUCKETS,
    bucket_of,
    caller_id,
    caller_of,
    noted_keys,
    notes,
)

A = "111122223333"
UUID = "0000000{}-0000-4000-8000-00000000000{}"
IDENTITIES = [f"user/{A}/alice", f"role/{A}/Bot", f"session/{A}/Bot/s", "service/x.amazonaws.com"]
CALLS = st.lists(
    st.tuples(
        st.sampled_from(IDENTITIES),
        st.builds(
            lambda namespace, account, name: encode_key(f"{namespace}/{account}/{name}"),
            st.sampled_from(["aws", "batch", "api"]),
            st.sampled_from([A, "444455556666", ""]),
            st.integers(0, 9).map(lambda n: UUID.format(n, n)) | st.text(max_size=8),
        ),
    ),
    max_size=30,
)


@given(CALLS)
def test_what_is_noted_is_found_by_its_caller_alone(calls: list[tuple[str, bytes]]) -> None:
    made = list(notes(calls))
    assert len({bucket for bucket, _ in made}) == len(made) <= BUCKETS
    for identity in IDENTITIES:
        caller = caller_id(identity)
        found = Counter(
            key
            for bucket, body in made
            if bucket == bucket_of(caller)
            for key in noted_keys(body, [caller])
        )
        assert found == Counter(key for who, key in calls if caller_id(who) == caller)


def test_sessions_are_noted_under_their_role() -> None:
    assert caller_of(f"session/{A}/Bot/s") == caller_of(f"role/{A}/Bot") == f"role/{A}/Bot"
    assert caller_of(f"role/{A}/Bot/AROA1234567890ABCDEF") == f"role/{A}/Bot"
    assert caller_of(f"user/{A}/session") == f"user/{A}/session"
    assert caller_of("session/odd") == "session/odd"
    assert caller_of("") == ""
    assert caller_id(f"session/{A}/Bot/s") == caller_id(f"role/{A}/Bot")


def test_notes_stay_within_what_an_item_may_hold() -> None:
    calls = [("role/1/r", encode_key(f"aws/{A}/{number:>900}")) for number in range(500)]
    made = list(notes(calls))
    assert len(made) == 3  # 500 keys of about 910 bytes
    assert all(len(body) <= BODY_BYTES_MAX for _, body in made)
    caller = caller_id("role/1/r")
    assert sorted(key for _, body in made for key in noted_keys(body, {caller})) == sorted(
        key for _, key in calls
    )


def test_a_call_with_a_common_id_takes_about_sixteen_bytes() -> None:
    calls = [
        ("role/1/r", encode_key(f"aws/{A}/{number:08x}-0000-4000-8000-000000000000"))
        for number in range(100)
    ]
    [(_, body)] = notes(calls)
    assert len(body) < 100 * 16 + 40


def test_a_note_that_is_none_is_refused() -> None:
    with pytest.raises(LedgerCorruptError, match="cannot be read"):
        list(noted_keys(b"\xc1", [1]))
