"""People who were forgotten: a pseudonym stands for their name, wherever it was. Pure.

What is kept of a forgotten person is a *mark*: a salted hash of their identity, and the pseudonym.
The mark recognises calls that come late, and says nothing to whoever does not know the name
already. It covers what happened before the person was forgotten; whoever has the name later is
somebody else.

**Merging.** The pseudonym, and nothing in place of all else that told of the person, stand in an
entry's evidence with a rank above all others. So whatever late record of the same call is merged
with it, in whatever order, the name never comes back; and a record that adds nothing else is a
duplicate, as ever.

**Sums.** A hidden call keeps its charge, and what it is posted to but for the name. A rebooking
attributes it anew: facts of the registry on the person's name do not hold for the pseudonym, until
the operator writes that instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from worker.core.attribution import encode_segment
from worker.core.batch import Batch
from worker.core.codec import Bodies, decode_key, encode_body, intern_value
from worker.core.errors import ConfigurationError
from worker.core.evidence import Evidence
from worker.core.ledger import Amounts, Entry, Leaf, Rated, Route
from worker.core.registry import plain_id

FORGOTTEN_RANK: Final = 1_000_000
"""Above the rank of any record."""

PSEUDONYM: Final = "forgotten-"
NOTE: Final = "forgotten"
"""Under which name a ledger keeps its marks, as one of its notes."""

PEOPLE_MAX: Final = 3_000
"""Marks that a ledger keeps; a note of a shared one may have 400 KB."""

KINDS: Final = {"user": 3, "session": 4, "federated": 3}
"""Identities that may be people, and how many segments they have."""

_DIGEST_BYTES: Final = 16
_TOKEN_BYTES: Final = 6
_KEYS_OF_NAMES: Final = frozenset({"actor", "by", "name", "session", "user", "user_name"})
"""Where a bare name in a document is that of a person, and not a word that happens to be one."""
_UNIQUE_ID: Final = re.compile(r"(?<![A-Z0-9])AIDA[A-Z0-9]{12,}(?![A-Z0-9])", re.ASCII)
_NOT_IN_A_KEY: Final = r"(?![A-Za-z0-9._~%-]|@[A-Za-z0-9])"
_WORD_ENDS: Final = r"(?![A-Za-z0-9_+=@/-]|[.,][A-Za-z0-9])"
"""Commas and full stops may stand in names; at the end of one they are punctuation."""
_NOT_IN_A_NAME: Final = r"(?![A-Za-z0-9_+=,.@-])"
_NOT_IN_A_SPELT_KEY: Final = r"(?![A-Za-z0-9_+=,.@%~-])"
_SENTENCE_ENDS: Final = r"(?=[.,]+(?:\s|\Z))"


class Mark(msgspec.Struct, frozen=True):
    """What is kept of a forgotten person.

    Attributes:
        name: The pseudonym: `forgotten-` and random digits.
        before_ms: Calls that happened before this are theirs, epoch milliseconds UTC.
    """

    name: str
    before_ms: int


class Marks(msgspec.Struct, frozen=True):
    """All marks of a ledger.

    Attributes:
        salt: Hexadecimal digits, hashed with every identity.
        people: Marks by the salted hash of the identity.
        changes: How often marks, or what is left of people, changed: whoever finds another
            number than before doubts what it believes to be stored.
    """

    salt: str
    people: dict[str, Mark] = {}
    changes: int = 0

    def digest(self, text: str, size: int = _DIGEST_BYTES) -> str:
        """Return the salted hash of a text."""
        content = text.encode("utf-8", "surrogatepass")
        return blake2b(content, key=bytes.fromhex(self.salt), digest_size=size).hexdigest()

    def of(self, identity: str) -> Mark | None:
        """Return the mark of an identity, whichever of those who had the name it is."""
        if identity.partition("/")[0] not in KINDS:
            return None
        return self.people.get(self.digest(plain_id(identity)))

    def with_mark(self, identity: str, mark: Mark) -> Marks:
        """Return the marks with one more.

        Raises:
            ConfigurationError: There are as many as may be.
        """
        people = {**self.people, self.digest(plain_id(identity)): mark}
        if len(people) > PEOPLE_MAX:
            message = f"a ledger keeps the marks of at most {PEOPLE_MAX} forgotten people"
            raise ConfigurationError(message)
        return Marks(self.salt, people, self.changes + 1)

    def changed(self) -> Marks:
        """Return the same marks, so that everybody doubts what they believe to be stored."""
        return msgspec.structs.replace(self, changes=self.changes + 1)


_encode: Final = msgspec.json.Encoder(order="sorted").encode
_decode: Final = msgspec.json.Decoder(Marks).decode


def marks_in(note: str | None) -> Marks | None:
    """Read a ledger's note; None if nobody was forgotten."""
    return None if note is None else _decode(note)


def note_of(marks: Marks) -> str:
    """Write marks down."""
    return _encode(marks).decode()


class Person:
    """A person to be forgotten, and the pseudonym that stands for them.

    Args:
        identity: `user/A/NAME`, `session/A/ROLE/NAME` or `federated/A/NAME`, encoded or not.
        mark: Their mark.
        marks: All marks: unique ids are hashed with the same salt.

    Attributes:
        identity: Without a unique id: all who had the name one after another are forgotten.
        name: The name, as it was before it was encoded.
        pseudonym: The identity with the pseudonym in place of the name.
        mark: The mark.

    Raises:
        ConfigurationError: The identity is not that of a person.
    """

    def __init__(self, identity: str, mark: Mark, marks: Marks) -> None:
        """Work out what names the person."""
        self.mark = mark
        self._marks = marks
        kind, *parts = plain_id(identity).split("/")
        if KINDS.get(kind) != len(parts) + 1 or not all(parts):
            message = (
                f"{identity!r} is not a person's identity: give user/ACCOUNT/NAME, "
                "session/ACCOUNT/ROLE/NAME or federated/ACCOUNT/NAME, as reports show it"
            )
            raise ConfigurationError(message)
        parts = [_spelt(part) for part in parts]
        self.identity = "/".join((kind, *parts))
        self._kind, self._account, self._role = kind, parts[0], unquote(parts[1])
        self.pseudonym = "/".join((kind, *parts[:-1], mark.name))
        self.name = unquote(parts[-1], errors="surrogatepass")
        self._key, self._said = self._key_patterns(parts)
        self._arn = re.compile(self._arn_pattern(), re.ASCII)
        # `AROA...:NAME` of a session, `AIDA...:NAME` of a federated user.
        self._own = re.compile(
            rf"A[A-Z]{{3}}[A-Z0-9]{{12,}}:{re.escape(self.name)}{_NOT_IN_A_NAME}"
        )
        self._renamed: dict[str, str] = {}
        self._others: re.Pattern[str] | None = None
        self._word = re.compile(
            rf"(?<![A-Za-z0-9_+=,.@/-]){re.escape(self.name)}{_WORD_ENDS}", re.ASCII
        )

    def _key_patterns(self, parts: Sequence[str]) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """Match the identity as keys spell it, and as people and AWS do; at a sentence's end."""
        key = re.escape(self.identity)
        plain = (unquote(part, errors="surrogatepass") for part in parts)
        said = re.escape("/".join((self._kind, *plain)))
        before = r"(?<![A-Za-z0-9._~%-])"
        spelt = rf"{before}(?:{key}{_NOT_IN_A_KEY}|{said}{_NOT_IN_A_SPELT_KEY})"
        ending = rf"{before}(?:{key}|{said}){_SENTENCE_ENDS}"
        return re.compile(spelt, re.ASCII), re.compile(ending, re.ASCII)

    def _arn_pattern(self) -> str:
        account, name = re.escape(self._account), re.escape(self.name)
        if self._kind == "user":
            place = rf"iam::{account}:user/)(?:[^\s\"/]+/)*"
        elif self._kind == "session":
            place = rf"sts::{account}:assumed-role/{re.escape(self._role)}/)"
        else:
            place = rf"sts::{account}:federated-user/)"
        return rf"(arn:aws[a-z-]*:{place}{name}{_NOT_IN_A_NAME}"

    # --- Entries -----------------------------------------------------------------------------

    def owns(self, entry: Entry) -> bool:
        """Whether a call is this person's, and to be hidden.

        A session's call is, also where it is the role's by now: no rule trusts its name any more.
        """
        leaf, evidence = entry.posting.leaf, entry.evidence
        if evidence.occurred_at_ms >= self.mark.before_ms:
            return False
        if self.identity in {plain_id(leaf.identity), plain_id(leaf.principal)}:
            return True
        arn = f"{evidence.facts.identity_arn}/{evidence.session}"
        return self._kind == "session" and self._arn.fullmatch(arn) is not None

    def hidden(self, entry: Entry) -> tuple[Evidence, Rated]:
        """Return what is left of a call's evidence, and its posting, under the pseudonym."""
        evidence, posting = self._evidence(entry.evidence), entry.posting
        leaf = self.leaf(posting.leaf)
        route = Route(
            leaf_value=leaf,
            basis_value=posting.basis,
            facts=intern_value(evidence.facts),
            leaf=intern_value(leaf),
            basis=intern_value(posting.basis),
        )
        reason = self.text(posting.reason)
        return evidence, Rated(route, posting.cost_pico_usd, posting.status, reason)

    def leaf(self, leaf: Leaf) -> Leaf:
        """Return a leaf with the pseudonym in place of the name."""
        names = {"principal": self.text(leaf.principal), "identity": self.text(leaf.identity)}
        return msgspec.structs.replace(leaf, **names)

    def _evidence(self, evidence: Evidence) -> Evidence:
        facts = evidence.facts
        changes: dict[str, object] = {
            "metadata": (),
            "metadata_rank": FORGOTTEN_RANK,
            "principal_id": self._unique(facts.principal_id) if self._kind == "user" else "",
            "source_identity": "",
            "on_behalf_of": "",
            "caller_rank": FORGOTTEN_RANK,
        }
        if self._kind != "session":
            partition = facts.identity_arn.split(":", 2)[1:2] or ["aws"]
            service, what = ("iam", "user") if self._kind == "user" else ("sts", "federated-user")
            changes["identity_arn"] = (
                f"arn:{partition[0]}:{service}::{self._account}:{what}/{self.mark.name}"
            )
            changes["identity_arn_rank"] = FORGOTTEN_RANK
        hidden = msgspec.structs.replace(evidence, facts=msgspec.structs.replace(facts, **changes))
        session = self.mark.name if self._kind == "session" else ""
        return msgspec.structs.replace(hidden, session=session, session_rank=FORGOTTEN_RANK)

    # --- Texts -------------------------------------------------------------------------------

    def text(self, text: str) -> str:
        """Return a text with the pseudonym in place of keys and ARNs that name the person."""
        text = self._key.sub(self.pseudonym, text)
        if " " in text:
            text = self._said.sub(self.pseudonym, text)
        text = self._arn.sub(rf"\g<1>{self.mark.name}", text)
        return _UNIQUE_ID.sub(self._token, text) if self.pseudonym in text else text

    def is_in(self, encoded: bytes) -> bool:
        """Whether the encoding of facts or of a leaf names the person."""
        text = encoded.decode("utf-8", "replace")
        return bool(self._key.search(text) or self._arn.search(text) or self._own.search(text))

    def rename(self, names: Mapping[str, str]) -> None:
        """Have other names stand for names that tell of the person, such as their budgets'."""
        self._renamed = dict(names)
        words = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        if words:
            self._others = re.compile(
                rf"(?<![A-Za-z0-9._-])(?:{words})(?![A-Za-z0-9._-])", re.ASCII
            )

    def texts(self, texts: Sequence[str]) -> list[str]:
        """Return the texts of something that is kept: keys as they are, documents as JSON.

        Unchanged unless one of them names the person. Where one does, what is written for people
        to read loses the bare name as well.
        """
        if not any(self._is_about(text) for text in texts):
            return list(texts)
        return [self._document(text) for text in texts]

    def _is_about(self, text: str) -> bool:
        if self.mark.name in text or (" " in text and self._said.search(text)):
            return True
        return any(one and one.search(text) for one in (self._key, self._arn, self._others))

    def _document(self, text: str) -> str:
        if text[:1] in {"{", "["}:
            try:
                document = msgspec.json.decode(text)
            except msgspec.DecodeError:
                return self._words(text, "")
            changed = self._changed(document, "")
            return text if changed == document else msgspec.json.encode(changed).decode()
        return self._words(text, "")

    def _changed(self, value: Any, key: str) -> Any:  # noqa: ANN401 - whatever JSON may be
        if isinstance(value, dict):
            return {self._words(name, ""): self._changed(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [self._changed(one, key) for one in value]
        if isinstance(value, str):
            is_json = value[:1] in {"{", "["}
            return self._document(value) if is_json else self._words(value, key)
        return value

    def _words(self, text: str, key: str) -> str:
        text = _UNIQUE_ID.sub(self._token, self.text(text))
        if self._others is not None:
            text = self._others.sub(lambda found: self._renamed[found.group()], text)
        if " " in text or (text == self.name and key in _KEYS_OF_NAMES):
            text = self._word.sub(self.mark.name, text)
        return text

    def short_hash(self, text: str) -> str:
        """Return a short salted hash, which tells names apart and does not give them away."""
        return self._marks.digest(text, _TOKEN_BYTES)

    def _token(self, found: re.Match[str]) -> str:
        return self._unique(found.group())

    def _unique(self, unique_id: str) -> str:
        """Return what stands for a unique id: it tells those of one name apart, and no more."""
        if not unique_id or "FORGOTTEN" in unique_id:
            return unique_id
        return f"{unique_id[:4]}FORGOTTEN{self._marks.digest(unique_id, _TOKEN_BYTES).upper()}"


def _spelt(segment: str) -> str:
    """Return a segment as keys have it, also if it was given as people spell it."""
    if "~" in segment:  # cut, and a hash
        return segment
    return encode_segment(unquote(segment, errors="surrogatepass"))


def hide(batch: Batch, marks: Marks | None) -> Batch:
    """Return a batch in which forgotten people's calls are under their pseudonyms.

    Args:
        batch: It is left as it was.
        marks: None if nobody was forgotten.
    """
    if marks is None or not marks.people:
        return batch
    bodies = Bodies(batch.interned.get)
    people = _people(marks, ((leaf_id, bodies.leaf(leaf_id)) for leaf_id in batch.leaves))
    if not people:
        return batch
    return _Hiding(batch, bodies, people).result()


def _people(marks: Marks, leaves: Iterable[tuple[int, Leaf]]) -> dict[int, Person]:
    people = {}
    for leaf_id, leaf in leaves:
        mark = marks.of(leaf.identity)
        if mark is not None:
            people[leaf_id] = Person(leaf.identity, mark, marks)
    return people


class _Hiding:
    """Rewrites the calls of some leaves of a batch."""

    def __init__(self, batch: Batch, bodies: Bodies, people: dict[int, Person]) -> None:
        self._batch = batch
        self._bodies = bodies
        self._people = people
        self._interned: dict[int, bytes] = {}
        self._leaves: dict[int, Amounts] = {}

    def result(self) -> Batch:
        made = {key: self._body(key, body) for key, body in self._batch.bodies.items()}
        return msgspec.structs.replace(
            self._batch, bodies=made, interned=self._interned, leaves=self._leaves
        )

    def _body(self, key: bytes, body: bytes) -> bytes:
        names, amounts = self._bodies.names_and_amounts(body)
        person = self._people.get(names[1])
        if person is not None:
            entry = self._bodies.entry(decode_key(key), body)
            if person.owns(entry):
                evidence, rated = person.hidden(entry)
                for one in (rated.route.facts, rated.route.leaf, rated.route.basis):
                    self._interned[one.id] = one.encoded
                self._leaves.setdefault(rated.route.leaf.id, Amounts()).add(amounts)
                return encode_body(evidence, rated, entry.revision)
        for value_id in names:
            self._interned[value_id] = self._batch.interned[value_id]
        self._leaves.setdefault(names[1], Amounts()).add(amounts)
        return body
