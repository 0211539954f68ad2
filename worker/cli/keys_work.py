"""Making and taking away users with a Bedrock API key: all of it or nothing, whatever fails.

    create  intent -> user -> budgets -> policy -> key -> ready        undone in reverse order
    remove  removing -> keys -> policies -> user -> budgets -> removed

Every step is safe to do again, and what is written down names all there may be. A command that
dies leaves `creating` or `removing`: the next `create` or `remove` of that name cleans up first.
Nobody can spend before the budgets are there, and they stay until nobody can any more.

One that is slow looks the same as one that died. Once another command has taken its place it stops
before its next step, and takes back what it made itself; what the other made stays.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import unquote

from worker.cli.keys_notes import KeyNotes
from worker.core.attribution import encode_segment
from worker.core.budget_terms import Budget
from worker.core.errors import ConfigurationError, LedgerockError, TransientError
from worker.core.provision import (
    LIMITED_ACCESS,
    PROVISIONED_TAG,
    USER_PATH,
    Provision,
    check_user_name,
    own_tags,
)
from worker.ports import Clock, Records
from worker.ports.provisioning import Home, KeyUser, NewKey, Provisioning

ATTEMPTS: Final = 3
"""How often taking away is tried when something passes."""


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


@dataclass(slots=True)
class _Run:
    """How far making a user has come: what this command wrote down last, and the key it made."""

    provision: Provision
    key_id: str = ""


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
        self._notes = KeyNotes(records, clock)
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
        before = await self._notes.find(subject)
        was_cleaned = before is not None and await self._is_left(wish.name, before)
        if before is not None and was_cleaned:
            before = await self._take_away(wish.name, before)
        await self._check_free(wish.name, before)
        run = _Run(await self._begin(wish, home, subject, before))
        try:
            created = await self._make(wish, run, was_cleaned=was_cleaned)
            show(created)
        except BaseException as error:
            await self._roll_back(wish.name, run, error)
            raise
        return created

    async def listed(self) -> list[Listed]:
        """Return the users that were made and not removed, by name."""
        found = await self._notes.all()
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
        before = await self._notes.find(subject)
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
        user = await self._iam.find(name)
        if user is not None:
            raise _taken(name, user)

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
        kept = await self._notes.keep(provision)
        if kept is None:
            message = f"{wish.name}: another command is making or removing this user right now"
            raise ConfigurationError(message)
        return kept

    async def _make(self, wish: KeyWish, run: _Run, *, was_cleaned: bool) -> Created:
        name, subject, policy = wish.name, run.provision.subject, run.provision.policy
        tags = [*own_tags(run.provision), *wish.tags]
        user = await self._iam.create_user(name, path=USER_PATH, tags=tags, boundary=wish.boundary)
        if user is None:
            # An answer that was lost, or somebody who was faster than us by a moment.
            user = await self._iam.find(name)
            if user is None or user.tags.get(PROVISIONED_TAG) != run.provision.intent:
                raise _taken(name, user)
        principal = await self._notes.principal(subject, user.unique_id)
        budgets = wish.budgets(principal)
        run.provision = await self._notes.next(
            run.provision,
            unique_id=user.unique_id,
            budgets=tuple(budget.name for budget in budgets),
        )
        for budget in budgets:
            await self._notes.check(run.provision)
            await self._budgets.give(budget)
        # The name may be another user's by now: these two steps say no more than the name.
        run.provision = await self._notes.next(run.provision)
        await self._iam.attach(name, policy)
        run.provision = await self._notes.next(run.provision)
        key = await self._iam.create_key(name, wish.days)
        run.key_id = key.key.id
        run.provision = await self._notes.next(
            run.provision,
            state="ready",
            key_ids=(*run.provision.key_ids, key.key.id),
            expires_at_ms=key.key.expires_at_ms,
        )
        return Created(
            provision=run.provision, principal=principal, key=key, was_cleaned=was_cleaned
        )

    # --- Taking away --------------------------------------------------------------------------

    async def _roll_back(self, name: str, run: _Run, error: BaseException) -> None:
        """Take back whatever was made; raise what could not be, with the error that led here."""
        mend = f"run `ledgerock keys remove {name}`"
        try:
            found = await self._notes.find(run.provision.subject)
            if found is not None and found.intent == run.provision.intent:
                await self._take_away(name, found)
            elif found is not None:
                mend = "take it away by hand: by now the name is another command's"
                await self._withdraw(name, run, found)
        except LedgerockError as fault:
            reason = str(error) or type(error).__name__
            message = (
                f"{name}: no key was made ({reason}), and not everything could be taken back: "
                f"{fault}; when that is mended, {mend}"
            )
            raise LedgerockError(message) from error

    async def _withdraw(self, name: str, run: _Run, found: Provision) -> None:
        """Take back what a run made although another command had taken its place, and no more.

        Args:
            name: Of the user.
            run: What this command made.
            found: What the other one wrote down.

        Raises:
            LedgerockError: Something is left; says what, and why.
        """
        left: list[str] = []
        user = await self._own_user(name, run.provision)
        keys = {key.id for key in user.keys} if user else {run.key_id} - {""}
        for key_id in sorted(keys):
            await _tried(f"key {key_id}", left, self._iam.delete_key, name, key_id)
        if user is not None:
            await _tried("policies", left, self._iam.strip, name, [run.provision.policy])
            if not left:
                await _tried(f"user {name}", left, self._iam.delete_user, name)
        # One that is just being made may be about to set budgets of the same names: they stay.
        if found.state in {"ready", "removed"} and not left:
            kept = found.budgets if found.state == "ready" else ()
            for budget in run.provision.budgets:
                if budget not in kept:
                    await _tried(f"budget {budget}", left, self._budgets.close, budget)
        if left:
            raise LedgerockError("; ".join(left))

    async def _take_away(self, name: str, provision: Provision) -> Provision:
        """Take everything away that a command made, or may have made.

        Raises:
            LedgerockError: Something is left; says what, and why.
        """
        # Written in any case: of two who take away at once the first one stops. Else it could
        # take away what is made under the name as soon as the second one is done.
        provision = await self._notes.next(provision, state="removing")
        left: list[str] = []
        user = await self._own_user(name, provision)
        if user is not None:
            seen = {key.id for key in user.keys}
            if not seen <= {*provision.key_ids}:
                ids = (*provision.key_ids, *sorted(seen - {*provision.key_ids}))
                provision = await self._notes.next(provision, key_ids=ids)
            for key in user.keys:
                await _tried(f"key {key.id}", left, self._iam.delete_key, name, key.id)
            await self._notes.check(provision)
            await _tried("policies", left, self._iam.strip, name, [provision.policy])
            if not left:
                await self._notes.check(provision)
                await _tried(f"user {name}", left, self._iam.delete_user, name)
        if not left:
            for budget in reversed(provision.budgets):
                await self._notes.check(provision)
                await _tried(f"budget {budget}", left, self._budgets.close, budget)
        if left:
            raise LedgerockError("; ".join(left))
        return await self._notes.next(provision, state="removed")

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


def _taken(name: str, user: KeyUser | None) -> ConfigurationError:
    if user is not None and PROVISIONED_TAG in user.tags:
        message = (
            f"{name}: `ledgerock keys create` made a user of this name at the same time, or with "
            "another ledger; choose another name"
        )
    else:
        message = (
            f"{name}: there is a user of this name, and `ledgerock keys create` did not make it; "
            "choose another name"
        )
    return ConfigurationError(message)
