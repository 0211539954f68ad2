"""Names that are taken away: whatever is merged, in whatever order, they stay away."""

import itertools
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calls import ACCOUNT, DAY, MICRO, NOON, PRO, call, fold, poster
from worker.core.attribution import attribute
from worker.core.batch import reconcile
from worker.core.codec import Bodies, decode_key
from worker.core.errors import ConfigurationError
from worker.core.evidence import Counts, Evidence, EvidenceRank, Observation, SourceRank, merge
from worker.core.forgotten import Mark, Marks, Person, hide, marks_in, note_of
from worker.core.ledger import Amounts, Entry, Leaf
from worker.core.registry import EMPTY_REGISTRY, Incarnations, LearnedFacts, Registry

POSTER = poster()
ALICE = f"user/{ACCOUNT}/alice"
HIDDEN = f"user/{ACCOUNT}/forgotten-1"
UNIQUE = "AIDAQWERTYUIOPASDFGH"
NONE = Marks("00" * 16)
MARK = Mark("forgotten-1", NOON + DAY)
MARKS = NONE.with_mark(ALICE, MARK)
PERSON = Person(ALICE, MARK, MARKS)


def _seen(kind: int, counts: int, unique: str) -> Observation:
    source, rank = (
        (SourceRank.API_EVENT, EvidenceRank.SIGHTING),
        (SourceRank.COMPLETION, EvidenceRank.PARTIAL),
        (SourceRank.LOG, EvidenceRank.METERED),
        (SourceRank.LOG, EvidenceRank.ITEMISED),
    )[kind]
    known = Counts() if rank is EvidenceRank.SIGHTING else Counts(counts, counts)
    return call(
        1,
        known,
        source=source,
        rank=rank,
        # Not every record says whose call it is.
        user="alice" if kind != 1 else "",
        principal_id=unique,
        caller_rank=int(source) if unique else 0,
        metadata=(("who", "alice"),) if kind == 3 else (),
        metadata_rank=int(source) if kind == 3 else 0,
    )


OBSERVATIONS = st.lists(
    st.builds(_seen, st.integers(0, 3), st.integers(0, 2), st.sampled_from(["", UNIQUE])),
    min_size=1,
    max_size=5,
)


def _entry(evidence: Evidence) -> Entry:
    return Entry("k", evidence, POSTER.post(evidence))


@given(OBSERVATIONS, OBSERVATIONS)
def test_what_is_merged_with_a_hidden_call_brings_no_name_back(
    before: list[Observation], after: list[Observation]
) -> None:
    known = before[0].evidence
    for one in before[1:]:
        known = merge(known, one.evidence)
    if not PERSON.owns(_entry(known)):
        known = merge(known, _seen(2, 1, "").evidence)
    hidden, rated = PERSON.hidden(_entry(known))
    assert rated.posting() == msgspec.structs.replace(
        POSTER.post(known), leaf=PERSON.leaf(POSTER.post(known).leaf)
    )
    results = set()
    for order in itertools.islice(itertools.permutations(after), 6):
        merged = hidden
        for one in order:
            merged = merge(merged, one.evidence)
        assert "alice" not in repr(merged)
        assert UNIQUE not in repr(merged)
        assert attribute(merged.facts, NOON, EMPTY_REGISTRY).principal == HIDDEN
        results.add(repr(merged))
    assert len(results) == 1
    # All that was known already is nothing new.
    assert merge(hidden, known) is hidden


@given(st.lists(st.tuples(st.sampled_from(["alice", "bob"]), st.integers(0, 3)), max_size=8))
def test_a_batch_keeps_its_sums_and_other_peoples_calls_as_they_are(
    made: list[tuple[str, int]],
) -> None:
    seen = [
        call(number, Counts(100, 10), user=user, model=(PRO, MICRO)[days % 2], at_ms=NOON - days)
        for number, (user, days) in enumerate(made)
    ]
    batch = fold(POSTER, seen)
    before = msgspec.msgpack.encode(batch.bodies)
    changed = hide(batch, MARKS)
    assert msgspec.msgpack.encode(batch.bodies) == before
    assert hide(batch, None) is hide(batch, NONE) is batch
    assert batch.bodies.keys() == changed.bodies.keys()
    bodies = Bodies(changed.interned.get)
    total: dict[str, Amounts] = {}
    for key, body in changed.bodies.items():
        entry = bodies.entry(decode_key(key), body)
        leaf_id, amounts = bodies.amounts(body)
        total.setdefault(entry.posting.leaf.principal, Amounts()).add(amounts)
        assert changed.leaves.get(leaf_id) is not None
        if body == batch.bodies[key]:
            assert entry.posting.leaf.principal == f"user/{ACCOUNT}/bob"
    folded: dict[str, Amounts] = {}
    for leaf_id, amounts in changed.leaves.items():
        folded.setdefault(bodies.leaf(leaf_id).principal, Amounts()).add(amounts)
    assert folded == total
    assert set(total) == {
        HIDDEN if user == "alice" else f"user/{ACCOUNT}/{user}" for user, _ in made
    }
    result = reconcile(changed, {}, changed.interned.get, POSTER)
    assert result.recorded == len(made)
    assert not any(b"alice" in encoded for encoded in changed.interned.values())


def test_later_calls_of_the_same_name_are_somebody_elses() -> None:
    batch = fold(POSTER, [call(1, at_ms=MARK.before_ms - 1), call(2, at_ms=MARK.before_ms)])
    bodies = hide(batch, MARKS)
    leaves = Bodies(bodies.interned.get)
    assert {leaves.leaf(one).principal for one in bodies.leaves} == {ALICE, HIDDEN}


def test_marks_say_nothing_of_the_name_and_keep_it_apart_from_others() -> None:
    note = note_of(MARKS)
    assert "alice" not in note
    assert marks_in(note) == MARKS
    assert marks_in(None) is None
    assert MARKS.of(ALICE) == MARKS.of(f"{ALICE}/{UNIQUE}") == MARK
    assert MARKS.of(f"{ALICE}2") is MARKS.of(f"role/{ACCOUNT}/alice") is None
    assert MARKS.digest("x") != Marks("01" * 16).digest("x")
    assert MARKS.changed().people == MARKS.people
    assert note_of(MARKS.changed()) != note


@pytest.mark.parametrize(
    "identity", ["role/1/x", "agent/1/r/x", "user/1", "user//x", "user/1/", "session/1/x", "", "*"]
)
def test_only_people_can_be_forgotten(identity: str) -> None:
    with pytest.raises(ConfigurationError, match="not a person's identity"):
        Person(identity, MARK, MARKS)


def test_those_who_had_one_name_after_another_stay_apart() -> None:
    learned = LearnedFacts(
        incarnations=(Incarnations(ALICE, ((0, UNIQUE), (NOON, "AIDASECONDSECONDSECO"))),)
    )
    directory = poster(registry=Registry(learned=learned))
    first = call(1, at_ms=NOON - 1, principal_id=UNIQUE).evidence
    second = call(2, at_ms=NOON, principal_id="AIDASECONDSECONDSECO").evidence
    hidden = [
        PERSON.hidden(Entry("k", one, directory.post(one)))[1].posting().leaf.principal
        for one in (first, second)
    ]
    assert hidden[0] == HIDDEN
    assert hidden[1].startswith(f"{HIDDEN}/AIDAFORGOTTEN")
    assert "SECOND" not in hidden[1]


@pytest.mark.parametrize(
    "text,expected",
    [
        (ALICE, HIDDEN),
        (f"principal/{ALICE}", f"principal/{HIDDEN}"),
        (f"{ALICE}2 {ALICE}-x {ALICE}%40", None),
        (f"x{ALICE}", None),
        (f"user/{ACCOUNT}1/alice user/{ACCOUNT}/malice", None),
        (f"arn:aws:iam::{ACCOUNT}:user/a/b/alice", f"arn:aws:iam::{ACCOUNT}:user/forgotten-1"),
        (f"arn:aws-cn:iam::{ACCOUNT}:user/alice.", None),
        (f"arn:aws:iam::{ACCOUNT}:user/alice-2", None),
        (f"arn:aws:iam::{ACCOUNT}:role/alice", None),
        (f"{ALICE}/{UNIQUE}#x", f"{HIDDEN}/AIDAFORGOTTEN"),
        ("alice spent $5", None),
    ],
)
def test_texts_lose_keys_and_arns_and_nothing_that_only_looks_like_them(
    text: str, expected: str | None
) -> None:
    found = PERSON.text(text)
    if expected is None:
        assert found == text
    else:
        assert found.startswith(expected)
        assert "alice" not in found


def test_documents_lose_the_name_where_people_read_it_and_keep_their_form() -> None:
    document = {
        "principal": ALICE,
        "message": "alice, malice and alice's cat: alice.",
        "by": "alice",
        "state": "alice",
        "policy": json.dumps({"who": f"arn:aws:iam::{ACCOUNT}:user/alice", "n": 1}),
        "of": {ALICE: [1, None, True, 2**60]},
    }
    [key, text] = PERSON.texts(["alice", json.dumps(document)])
    assert key == "alice"
    assert json.loads(text) == {
        "principal": HIDDEN,
        "message": "forgotten-1, malice and forgotten-1's cat: forgotten-1.",
        "by": "forgotten-1",
        "state": "alice",
        "policy": '{"who":"arn:aws:iam::111122223333:user/forgotten-1","n":1}',
        "of": {HIDDEN: [1, None, True, 2**60]},
    }
    assert PERSON.texts(["x", text]) == ["x", text]
    others = ["alice", '{"message": "alice, whoever that is"}']
    assert PERSON.texts(others) == others


def test_what_is_called_after_a_person_gets_another_name() -> None:
    person = Person(ALICE, MARK, MARKS)
    person.rename({"user-alice-daily": "forgotten-1-x"})
    assert person.texts(["t#user-alice-daily", "{}"]) == ["t#forgotten-1-x", "{}"]
    assert person.texts(["t#user-alice-daily-2", "{}"]) == ["t#user-alice-daily-2", "{}"]


def test_names_that_are_encoded_are_found_in_their_own_form() -> None:
    key = f"federated/{ACCOUNT}/a.b%40x.org"
    person = Person(key, MARK, MARKS)
    assert person.text(f"arn:aws:sts::{ACCOUNT}:federated-user/a.b@x.org") == (
        f"arn:aws:sts::{ACCOUNT}:federated-user/forgotten-1"
    )
    arn = f"arn:aws:sts::{ACCOUNT}:federated-user/a.b@x.org"
    evidence = call(1, user="", identity_arn=arn).evidence
    hidden, _ = person.hidden(_entry(evidence))
    assert attribute(hidden.facts, 0, EMPTY_REGISTRY).principal == person.pseudonym


MAIL = f"session/{ACCOUNT}/Data%2BLab/al%40x.org"
SPELT = f"session/{ACCOUNT}/Data+Lab/al@x.org"


@pytest.mark.parametrize(
    "text,expected",
    [
        (SPELT, "{}"),
        (f"snapshot/{SPELT}", "snapshot/{}"),
        (f"{SPELT}: denied", "{}: denied"),
        (f"of {SPELT}.", "of {}."),
        (f"of {MAIL}, {SPELT}, and others", "of {}, {}, and others"),
        (f"{SPELT}.", None),  # a name may end so
        (f"{SPELT}2 {SPELT}-x {SPELT}.uk {SPELT}@y x{SPELT}", None),
        (SPELT.replace("+", "-"), None),
        (MAIL.replace("Data%2BLab", "Data"), None),
    ],
)
def test_names_are_found_as_people_and_aws_spell_them(text: str, expected: str | None) -> None:
    person = Person(MAIL, MARK, MARKS)
    alias = f"session/{ACCOUNT}/Data%2BLab/forgotten-1"
    assert person.pseudonym == alias
    assert person.text(text) == (text if expected is None else expected.replace("{}", alias))
    assert person.texts([text]) == [person.text(text)]


def test_a_person_may_be_named_as_people_and_aws_spell_them() -> None:
    assert Person(SPELT, MARK, MARKS).identity == MAIL
    assert Person(f"user/{ACCOUNT}/a%40b", MARK, MARKS).identity == f"user/{ACCOUNT}/a%40b"
    # Who has a longer name is somebody else, in either spelling.
    assert PERSON.text(f"{ALICE}@x.org") == f"{ALICE}@x.org"


def test_a_leaf_keeps_everything_but_the_name() -> None:
    leaf = Leaf(ALICE, ALICE, "", "research", "", ACCOUNT, MICRO, 1, (), "people")
    assert PERSON.leaf(leaf) == msgspec.structs.replace(leaf, principal=HIDDEN, identity=HIDDEN)
