"""Making and taking away users with a Bedrock API key: all of it or nothing, whatever fails.

    create  intent -> user -> budgets -> policy -> key -> ready        undone in reverse order
    remove  removing -> keys -> policies -> user -> budgets -> removed

Every step is safe to do again, and what is written down names all there may be. A command that
dies leaves `creating` or `removing`: the next `create` or `remove` of that name cleans up first.
Nobody can spend before the budgets are there, and they stay until nobody can any more.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import unquote

import msgspec

from worker.core.attribution import encode_segment
from worker.core.budget_terms import Budget
from worker.core.directory import Keys, decode_subject
from worker.core.directory_views import lives_of
from worker.core.enforcement_names import DIRECTORY, KEYS, PROVISIONED
from worker.core.errors import ConfigurationError, LedgerockError, TransientError
from worker.core.provision import (
    LIMITED_ACCESS,
    PROVISIONED_TAG,
    USER_PATH,
    Provision,
    check_user_name,
    noted,
    own_tags,
)
from worker.ports import Clock, Record, Records
from worker.ports.provisioning import Home, KeyUser, NewKey, Provisioning

ATTEMPTS: Final = 3
"""How often taking away is tried when something passes."""
ATTEMPTS_KEEPING: Final = 10
_decode: Final = msgspec.json.Decoder(Provision).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWish:
    """What `keys create` was asked for.

    Attributes:
        name: Name of the user.
        budgets: Returns the budgets for a principal; called once its id is known.
        tier: The tier that they come from; empty for none.
        policy: ARN or name of AWS's managed policy that lets the user call models.
        boundary: ARN of the permissions boundary; empty for none.
        days: How long the key is good for; None for ever.
        tags: Tags of the user, besides ours.
    """

    name: str
    budgets: Callable[[str], Sequence[Budget]]
    tier: str = ""
    policy: str = LIMITED_ACCESS
    boundary: str = ""
    days: int | None = None
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """What came of `keys create`: what is written down, whose calls it is, the key itself."""

    provision: Provision
    principal: str
    key: NewKey = field(repr=False)
    was_cleaned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One of the users, and what IAM says of it by now.

    Attributes:
        provision: What is written down.
        user: None if IAM knows it no more, or was not asked.
        is_elsewhere: It is in another account than the one that can be asked now.
    """

    provision: Provision
    user: KeyUser | None
    is_elsewhere: bool = False


class BudgetKeeper(Protocol):
    """Sets and removes budgets."""

    async def give(self, budget: Budget) -> None:
        """Set a budget, unless it is set like that already."""

    async def close(self, name: str) -> None:
        """Remove a budget, unless it is gone."""


class KeyWork:
    """The work of `ledgerock keys`.

    Args:
        provisioning: Makes users and keys.
        records: Keep what is made, and the directory.
        budgets: Sets and removes budgets.
        clock: Ledger time.
    """

    def __init__(
        self, provisioning: Provisioning, records: Records, budgets: BudgetKeeper, clock: Clock
    ) -> None:
        """Take what is open."""
        self._iam = provisioning
        self._records = records
        self._budgets = budgets
        self._clock = clock

    async def create(self, wish: KeyWish, show: Callable[[Created], None]) -> Created:
        """Make a user with a key.

        Args:
            wish: What is asked for.
            show: Shows the secret, once; if that fails, all of it is taken back.

        Raises:
            ConfigurationError: There is such a user already, or AWS refuses something.
            TransientError: AWS or the ledger is not available now.
            LedgerockError: Not everything could be taken back; says what is left.
        """
        check_user_name(wish.name)
        home = await self._iam.home()
        subject = f"user/{home.account}/{encode_segment(wish.name)}"
        before = await self._find(subject)
        was_cleaned = before is not None and await self._is_left(wish.name, before)
        if before is not None and was_cleaned:
            before = await self._take_away(wish.name, before)
        await self._check_free(wish.name, before)
        provision = await self._begin(wish, home, subject, before)
        try:
            created = await self._make(wish, provision, was_cleaned=was_cleaned)
            show(created)
        except BaseException as error:
            await self._roll_back(wish.name, subject, error)
            raise
        return created

    async def listed(self) -> list[Listed]:
        """Return the users that were made and not removed, by name."""
        records = await self._records.partition(PROVISIONED)
        found = [one for one in map(_provision, records) if one.state != "removed"]
        if not found:
            return []
        beginning = f"user/{(await self._iam.home()).account}/"
        listed = []
        for one in found:
            is_elsewhere = not one.subject.startswith(beginning)
            user = None if is_elsewhere else await self._own_user(name_of(one), one)
            listed.append(Listed(provision=one, user=user, is_elsewhere=is_elsewhere))
        return listed

    async def remove(self, name: str) -> Provision:
        """Take a user, its keys and its budgets away.

        Raises:
            ConfigurationError: It was not made here, or has what was not made here.
            LedgerockError: Not everything could be taken away; says what is left.
        """
        home = await self._iam.home()
        subject = f"user/{home.account}/{encode_segment(name)}"
        before = await self._find(subject)
        if before is not None and (before.state == "ready" or await self._is_left(name, before)):
            return await self._take_away(name, before)
        user = await self._iam.find(name)
        if user is None:
            message = f"{name}: there is no such user; `ledgerock keys list` names them all"
        elif PROVISIONED_TAG in user.tags:
            message = (
                f"{name}: `ledgerock keys create` made this user with another ledger; name that "
                "with --ledger"
            )
        else:
            message = (
                f"{name}: `ledgerock keys create` did not make this user, so nothing is removed; "
                "whoever made it has to"
            )
        raise ConfigurationError(message)

    # --- Making -------------------------------------------------------------------------------

    async def _check_free(self, name: str, before: Provision | None) -> None:
        if before is not None and before.state == "ready":
            message = (
                f"{name}: has a key already, {', '.join(before.key_ids)}; remove it first with "
                f"`ledgerock keys remove {name}`"
            )
            raise ConfigurationError(message)
        if await self._iam.find(name) is not None:
            raise _taken(name)

    async def _begin(
        self, wish: KeyWish, home: Home, subject: str, before: Provision | None
    ) -> Provision:
        """Write the intent down."""
        policy = wish.policy
        if not policy.startswith("arn:"):
            policy = f"arn:{home.partition}:iam::aws:policy/{policy}"
        provision = Provision(
            subject=subject,
            intent=uuid.uuid4().hex,
            state="creating",
            created_at_ms=self._clock.now_ms(),
            key_ids=() if before is None else before.key_ids,
            policy=policy,
            tier=wish.tier,
            by=home.caller,
            version=0 if before is None else before.version,
        )
        kept = await self._keep(provision)
        if kept is None:
            message = f"{wish.name}: another command is making or removing this user right now"
            raise ConfigurationError(message)
        return kept

    async def _make(self, wish: KeyWish, provision: Provision, *, was_cleaned: bool) -> Created:
        name = wish.name
        tags = [*own_tags(provision), *wish.tags]
        user = await self._iam.create_user(name, path=USER_PATH, tags=tags, boundary=wish.boundary)
        if user is None:
            # An answer that was lost, or somebody who was faster than us by a moment.
            user = await self._iam.find(name)
            if user is None or user.tags.get(PROVISIONED_TAG) != provision.intent:
                raise _taken(name)
        principal = await self._principal(provision.subject, user.unique_id)
        budgets = wish.budgets(principal)
        provision = await self._next(
            provision,
            unique_id=user.unique_id,
            budgets=tuple(budget.name for budget in budgets),
        )
        for budget in budgets:
            await self._budgets.give(budget)
        await self._iam.attach(name, provision.policy)
        key = await self._iam.create_key(name, wish.days)
        provision = await self._next(
            provision,
            state="ready",
            key_ids=(*provision.key_ids, key.key.id),
            expires_at_ms=key.key.expires_at_ms,
        )
        return Created(provision=provision, principal=principal, key=key, was_cleaned=was_cleaned)

    async def _principal(self, subject: str, unique_id: str) -> str:
        """Return the id that the user's calls are booked under; see the directory's lives."""
        record = await self._records.get(DIRECTORY, subject)
        if record is None:
            return subject
        lives = lives_of(subject, decode_subject(subject, record.body).facts)
        known = next((life for life in lives if life.unique_id == unique_id), None)
        if known is not None:
            return known.principal
        was_there = any(life.unique_id or life.to_ms is not None for life in lives)
        return f"{subject}/{unique_id}" if was_there else subject

    # --- Taking away --------------------------------------------------------------------------

    async def _roll_back(self, name: str, subject: str, error: BaseException) -> None:
        """Take back whatever was made; raise what could not be, with the error that led here."""
        try:
            found = await self._find(subject)
            if found is not None:
                await self._take_away(name, found)
        except LedgerockError as fault:
            reason = str(error) or type(error).__name__
            message = (
                f"{name}: no key was made ({reason}), and not everything could be taken back: "
                f"{fault}; when that is mended, run `ledgerock keys remove {name}`"
            )
            raise LedgerockError(message) from error

    async def _take_away(self, name: str, provision: Provision) -> Provision:
        """Take everything away that a command made, or may have made.

        Raises:
            LedgerockError: Something is left; says what, and why.
        """
        if provision.state != "removing":
            provision = await self._next(provision, state="removing")
        left: list[str] = []
        user = await self._own_user(name, provision)
        if user is not None:
            seen = {key.id for key in user.keys}
            if not seen <= {*provision.key_ids}:
                ids = (*provision.key_ids, *sorted(seen - {*provision.key_ids}))
                provision = await self._next(provision, key_ids=ids)
            for key in user.keys:
                await _tried(f"key {key.id}", left, self._iam.delete_key, name, key.id)
            await _tried("policies", left, self._iam.strip, name, [provision.policy])
            if not left:
                await _tried(f"user {name}", left, self._iam.delete_user, name)
        if not left:
            for budget in reversed(provision.budgets):
                await _tried(f"budget {budget}", left, self._budgets.close, budget)
        if left:
            raise LedgerockError("; ".join(left))
        return await self._next(provision, state="removed")

    async def _is_left(self, name: str, provision: Provision) -> bool:
        """Whether a command that died, or that IAM was behind for, left something."""
        if provision.state in {"creating", "removing"}:
            return True
        return provision.state == "removed" and await self._own_user(name, provision) is not None

    async def _own_user(self, name: str, provision: Provision) -> KeyUser | None:
        """Return the user that a command made; None if it is gone, or was never made."""
        user = await self._iam.find(name)
        if user is None:
            return None
        if provision.unique_id:
            is_own = user.unique_id == provision.unique_id
        else:
            is_own = user.tags.get(PROVISIONED_TAG) == provision.intent
        return user if is_own else None  # somebody else's by now is left alone

    # --- What is written down -----------------------------------------------------------------

    async def _find(self, subject: str) -> Provision | None:
        record = await self._records.get(PROVISIONED, subject)
        return None if record is None else _provision(record)

    async def _next(self, provision: Provision, **changes: object) -> Provision:
        kept = await self._keep(msgspec.structs.replace(provision, **changes))
        if kept is None:
            message = f"{provision.subject}: another command changes this user at the same time"
            raise TransientError(message)
        return kept

    async def _keep(self, provision: Provision) -> Provision | None:
        """Write the next version, here and in the directory at once; None if somebody else did."""
        version = provision.version + 1
        body = msgspec.json.encode(msgspec.structs.replace(provision, version=0))
        own = Record(PROVISIONED, provision.subject, body, version)
        for _ in range(ATTEMPTS_KEEPING):
            record = await self._records.get(KEYS, provision.subject)
            keys = Keys(provision.subject)
            if record is not None:
                keys = msgspec.json.decode(record.body, type=Keys)
            encoded = msgspec.json.encode(noted(keys, provision, self._clock.now_ms()))
            queue, due_at_ms = ("", 0) if record is None else (record.queue, record.due_at_ms)
            after = 1 if record is None else record.version + 1
            both = [own, Record(KEYS, provision.subject, encoded, after, queue, due_at_ms)]
            if await self._records.write(both):
                return msgspec.structs.replace(provision, version=version)
            now = await self._find(provision.subject)
            if (0 if now is None else now.version) != provision.version:
                return None
        message = f"{provision.subject}: its keys are noted by others at the same time; try again"
        raise TransientError(message)


async def _tried(
    what: str, left: list[str], act: Callable[..., Awaitable[object]], *arguments: object
) -> None:
    """Do something, again where that may help; note what is left if it cannot be done."""
    for attempt in range(ATTEMPTS):
        try:
            await act(*arguments)
        except TransientError as error:
            if attempt == ATTEMPTS - 1:
                left.append(f"{what} ({error})")
        except LedgerockError as error:
            left.append(f"{what} ({error})")
            return
        else:
            return


def name_of(provision: Provision) -> str:
    """Return the name of a user; the characters that it may have need no decoding but these."""
    encoded = provision.subject.rpartition("/")[2]
    return unquote(encoded)


def _provision(record: Record) -> Provision:
    return msgspec.structs.replace(_decode(record.body), version=record.version)


def _taken(name: str) -> ConfigurationError:
    message = (
        f"{name}: there is a user of this name, and `ledgerock keys create` did not make it; "
        "choose another name"
    )
    return ConfigurationError(message)
