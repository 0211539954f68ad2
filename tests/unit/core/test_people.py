"""What people read: golden texts of every kind of event, whatever things are called."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events import checked
from tests.unit.core.people_events import EVENTS, EVIL, HOSTILE, LONG
from worker.core.events import DETAIL_TYPES, Event
from worker.core.people import Message, escaped, is_told, is_told_by_hand, message_of


def of(detail_type: str) -> Event:
    return [one for one in EVENTS if one.detail_type == detail_type][-1]


def message(event: Event) -> Message:
    return message_of(event.detail_type, event.detail)


GOLDEN = {
    "Budget Threshold Crossed": (
        "Ledgerock: budget alice at 102.5 % (exceeded)",
        """\
Budget alice (exceeded): principal user/111122223333/alice spent 20.5 of 20 USD (102.5 %) from \
2026-10-01 to 2026-10-31, and crossed the threshold of 100 %.

Who:     user/111122223333/alice
Budget:  alice, revision 3, monthly
Spent:   20.5 of 20 USD (102.5 %)
Period:  2026-10-01 to 2026-10-31 (UTC), ends 2026-11-01 00:00:00 UTC
Next:    A grace period of 1 hour begins; then principal user/111122223333/alice is suspended, \
until the period ends (2026-11-01T00:00:00.000Z) or the limit is raised.
Command: ledgerock budgets set alice --limit NEW_LIMIT

Budget Threshold Crossed, event crossing-alice-r3-2026-10-01-100-a6ad99a79caf, \
2026-10-01T12:00:00.000Z""",
    ),
    "Budget Grace Period Started": (
        "Ledgerock: user/111122223333/alice: suspension at 2026-10-01 13:00:00 UTC",
        """\
Budget alice: principal user/111122223333/alice spent 20.5 of 20 USD (102.5 %) from 2026-10-01 \
to 2026-10-31. Principal user/111122223333/alice is suspended at 2026-10-01T13:00:00.000Z.

Who:      user/111122223333/alice
Budget:   alice, revision 3, monthly
Spent:    20.5 of 20 USD (102.5 %)
Period:   2026-10-01 to 2026-10-31 (UTC), ends 2026-11-01 00:00:00 UTC
Deadline: 2026-10-01 13:00:00 UTC
Next:     Principal user/111122223333/alice is suspended at the deadline if the limit is still \
reached then, and is restored when the period ends (2026-11-01T00:00:00.000Z) or the limit is \
raised.
Command:  ledgerock budgets set alice --limit NEW_LIMIT

Budget Grace Period Started, event grace-98779fac7c9e99db83fb9143, 2026-10-01T12:00:00.000Z""",
    ),
    "Principal Suspended": (
        "Ledgerock: suspended user/111122223333/alice",
        """\
user/111122223333/alice is suspended and cannot call Bedrock any more: 20.5 of 20 USD are spent.

Who:      user/111122223333/alice
Held for: alice, 20.5 of 20 USD, 2026-10-01 until 2026-10-31 12:00:00 UTC
Next:     It is restored at the end of the period, 2026-10-31T12:00:00.000Z, or once alice has \
room again.
Command:  ledgerock budgets set alice --limit AMOUNT

Principal Suspended, event principal-suspended-4286a2d59424a0ed38fe6fd0, \
2026-10-01T12:01:01.000Z""",
    ),
    "Suspension Failed": (
        "Ledgerock: FAILED to suspend user/111122223333/alice",
        """\
user/111122223333/alice could not be suspended: AccessDenied: 20.5 of 20 USD are spent.

Who:      user/111122223333/alice
Held for: alice, 20.5 of 20 USD, 2026-10-01 until 2026-10-31 12:00:00 UTC
Reason:   AccessDenied: 20.5 of 20 USD are spent
Next:     It is tried again at 2026-10-01T12:00:15.002Z, and so on until it is done.
Command:  ledgerock principals show user/111122223333/alice

Suspension Failed, event suspension-failed-b4ee68afff05744763f735bf, 2026-10-01T12:00:00.002Z""",
    ),
    "Unprovisioned Key Detected": (
        "Ledgerock: unprovisioned key of user/111122223333/alice",
        """\
user/111122223333/alice was given the Bedrock API key ACCAEXAMPLE by \
arn:aws:iam::111122223333:user/mallory, not through Ledgerock.

Who:     user/111122223333/alice
Next:    The user is tagged as detected. It has the budgets of tier standard.
Command: ledgerock suspend user/111122223333/alice --reason 'unprovisioned key'

Unprovisioned Key Detected, event unprovisioned-key-bd27e4bf33c8d2c9aadd30a4, \
2026-10-01T12:00:00.000Z""",
    ),
}


@pytest.mark.parametrize("detail_type", GOLDEN)
def test_a_message_says_who_how_much_until_when_what_next_and_what_changes_it(
    detail_type: str,
) -> None:
    made = message(of(detail_type))
    assert (made.subject, made.text) == GOLDEN[detail_type]


@pytest.mark.parametrize("event", EVENTS, ids=lambda one: one.id)
def test_every_event_for_people_keeps_to_its_schema_and_says_it_all(event: Event) -> None:
    detail = checked(event.detail_type, event.detail)
    made = message(event)
    shown = shown_by(made)
    for part in ("message", "next", "command", "event_id"):
        assert detail[part]
        assert detail[part] in made.text
        assert detail[part] in shown
    assert made.brief == detail["message"]
    assert made.event_id == event.id
    assert made.detail == event.detail
    assert "user/111122223333/alice" in made.text


def shown_by(made: Message) -> str:
    parts = [part for one in made.blocks for part in (one.get("elements") or [one["text"]])]
    text = "\n".join(part["text"] for part in parts)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


# --- Who hears of what ------------------------------------------------------------------------


def told(detail_type: str, **detail: Any) -> tuple[bool, bool]:
    body = json.dumps(detail).encode()
    return is_told(detail_type, body), is_told_by_hand(detail_type, body)


def test_people_hear_of_what_they_may_act_on() -> None:
    heard = {one for one in DETAIL_TYPES if told(one)[0]}
    assert heard == {
        "Budget Threshold Crossed",
        "Budget Grace Period Started",
        "Budget Limit Forecast",
        "Principal Suspended",
        "Principal Restored",
        "Suspension Failed",
        "Unprovisioned Key Detected",
        "Principal Tags Changed",
    }
    by_hand = {one for one in DETAIL_TYPES if told(one)[1]}
    assert by_hand - heard == {"Principal Suspension Required", "Principal Restoration Required"}


def test_people_hear_of_each_effect_once() -> None:
    crossed, grace = "Budget Threshold Crossed", "Budget Grace Period Started"
    assert told(crossed, highest_of_jump=True, late=False) == (True, True)
    assert told(crossed, highest_of_jump=False, late=False) == (False, False)
    assert told(crossed, highest_of_jump=True, late=True) == (False, False)
    assert told(grace, grace_seconds=60) == (True, True)
    assert told(grace, grace_seconds=0) == (False, False)
    assert told("Principal Suspension Required", reminder=False) == (False, True)
    assert told("Principal Suspension Required", reminder=True) == (False, False)


def test_of_a_jump_over_three_thresholds_one_is_told() -> None:
    crossings = [one for one in EVENTS if one.detail_type == "Budget Threshold Crossed"]
    assert [is_told(one.detail_type, one.detail) for one in crossings] == [False, False, True]


# --- Names that mean harm ---------------------------------------------------------------------

ENTITY = re.compile(r"&(amp|lt|gt);")


def check(made: Message) -> None:
    """Check what every message is, whatever it is about."""
    assert 0 < len(made.subject) < 100
    assert made.subject.isascii()
    assert made.subject.isprintable()
    assert made.subject[0].isalnum()
    assert len(made.text) < 20_000
    assert made.text.count("\n") < 20
    assert all(character.isprintable() or character == "\n" for character in made.text)
    assert 2 <= len(made.blocks) <= 50
    for block in made.blocks:
        for part in block.get("elements") or [block["text"]]:
            assert part["type"] == "plain_text"
            assert 0 < len(part["text"]) <= (150 if block["type"] == "header" else 3_000)
            assert not re.search(r"[<>]", part["text"])
            assert "&" not in ENTITY.sub("", part["text"])
    msgspec.json.encode(made.blocks)


@pytest.mark.parametrize("event", HOSTILE, ids=lambda one: one.id[:40])
def test_hostile_names_stay_text_on_one_line_and_short(event: Event) -> None:
    made = message(event)
    check(made)
    assert not any(line.startswith("Bcc:") for line in made.text.splitlines())


@given(
    detail_type=st.sampled_from(DETAIL_TYPES),
    detail=st.dictionaries(
        st.sampled_from(
            ["event_id", "message", "next", "command", "scope", "budget", "period", "holds", "late"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers(-9, 2**60) | st.text() | st.just(LONG),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["kind", "id", "name", "budget"]), inner, max_size=3
                )
            ),
            max_leaves=6,
        ),
    ),
)
def test_whatever_a_detail_holds_there_is_a_message(detail_type: str, detail: Any) -> None:
    body = json.dumps(detail).encode()
    is_told(detail_type, body)
    made = message_of(detail_type, body)
    assert made.subject.isascii()
    assert len(made.subject) < 100
    json.dumps(made.blocks)


@pytest.mark.parametrize("detail", [b"", b"[]", b"null", b'"text"', b"{", b'{"message": 7}'])
def test_what_is_no_detail_is_told_by_its_kind(detail: bytes) -> None:
    made = message_of("Principal Suspended", detail)
    assert made.brief in {"Principal Suspended", "7"}
    assert made.subject == "Ledgerock: suspended"


@pytest.mark.parametrize("length_max", [1, 2, 10, 150, 3_000])
def test_escapes_are_never_cut_in_two(length_max: int) -> None:
    for text in (LONG, EVIL, "&" * 5_000, "plain"):
        cut = escaped(text, length_max)
        assert len(cut) <= length_max
        assert "&" not in ENTITY.sub("", cut)
    assert escaped("a <!channel> & b") == "a &lt;!channel&gt; &amp; b"
    assert escaped("&&&", 10) == "&amp;…"
