"""IAM in a dictionary, and enforcement on it: gone with the process. For dry runs and tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import msgspec

from worker.adapters.iam_enforcement import IamEnforcement
from worker.adapters.iam_entities import Attached, Entity, EntityKind
from worker.core.attribution import key_of
from worker.core.deny_policy import PATH, is_own, length_of
from worker.core.errors import EnforcementError, MissingPrincipalError
from worker.core.targets import Protection
from worker.ports import Key

INLINE_MAX: Final = {"user": 2_048, "role": 10_240}
"""Characters of all inline policies (AWS documentation: "IAM and AWS STS quotas")."""
ATTACHED_MAX: Final = 10

AWS_MANAGED: Final = "arn:aws:iam::aws:policy/"

Found = TypeVar("Found")
Hook = Callable[[str, int, str], None]
"""Called `before` and `after` each call with its number, from 1 on, and its name; may raise."""


class MemoryEntity(msgspec.Struct):
    """A user or role, as IAM keeps it.

    Attributes:
        kind: Which of the two.
        account: Its AWS account.
        name: Without path.
        unique_id: `AIDA…` or `AROA…`; made up where it is empty.
        path: `/` for none.
        attached: ARNs of attached managed policies.
        inline: Documents of inline policies, by name.
        keys: Long-term API keys, by id.
    """

    kind: EntityKind
    account: str
    name: str
    unique_id: str = ""
    path: str = "/"
    attached: set[str] = msgspec.field(default_factory=set)
    inline: dict[str, str] = msgspec.field(default_factory=dict)
    keys: dict[str, Key] = msgspec.field(default_factory=dict)


class MemoryIam:
    """`worker.adapters.iam_entities.Iam` in a dictionary.

    Args:
        entities: Users and roles to begin with; more can be put at any time.
        own: Patterns of the principals that enforcement acts as.

    Attributes:
        entities: By kind, account and name.
        policies: Documents of managed policies, by ARN. AWS's own (`arn:aws:iam::aws:policy/…`)
            need not be listed.
        calls: What was asked for, in order.
        hook: See `Hook`; for faults between any two calls.
        attached_max: How many managed policies may be attached.
    """

    def __init__(self, entities: Iterable[MemoryEntity] = (), *, own: tuple[str, ...] = ()) -> None:
        """Start with some users and roles."""
        self.entities: dict[tuple[str, str, str], MemoryEntity] = {}
        self.policies: dict[str, str] = {}
        self.calls: list[str] = []
        self.hook: Hook | None = None
        self.attached_max = ATTACHED_MAX
        self._own = own
        self._made = 0
        for entity in entities:
            self.put(entity)

    def put(self, entity: MemoryEntity) -> MemoryEntity:
        """Add a user or role, in place of one of its name; it gets a unique id if it has none."""
        if not entity.unique_id:
            self._made += 1
            prefix = "AIDA" if entity.kind == "user" else "AROA"
            entity.unique_id = f"{prefix}MEMORY{self._made:010d}"
        self.entities[entity.kind, entity.account, entity.name] = entity
        for arn in entity.attached:
            self.policies.setdefault(arn, "{}")
        return entity

    def remove(self, kind: EntityKind, account: str, name: str) -> None:
        """Delete a user or role, with all that it has."""
        del self.entities[kind, account, name]

    def is_denied(self, kind: EntityKind, account: str, name: str) -> bool:
        """Whether any policy of ours is on a user or role now."""
        entity = self.entities[kind, account, name]
        return any(map(is_own, (*entity.inline, *entity.attached)))

    # --- What is asked of IAM -----------------------------------------------------------------

    async def own(self) -> tuple[str, ...]:
        """Return patterns of the principals that enforcement itself acts as."""
        return self._own

    async def find(self, kind: EntityKind, account: str, name: str) -> Entity:
        """Return a user or role."""

        def work() -> Entity:
            one = self._kept(kind, account, name)
            arn = f"arn:aws:iam::{account}:{kind}{one.path}{name}"
            return Entity(kind, account, name, one.unique_id, one.path, arn)

        return await self._call("find", work)

    async def attached(self, entity: Entity) -> list[str]:
        """Return the ARNs of attached managed policies."""
        return await self._call("attached", lambda: sorted(self._of(entity).attached))

    async def inline_names(self, entity: Entity) -> list[str]:
        """Return the names of inline policies."""
        return await self._call("inline_names", lambda: sorted(self._of(entity).inline))

    async def inline(self, entity: Entity, name: str) -> str | None:
        """Return the document of an inline policy."""
        return await self._call("inline", lambda: self._of(entity).inline.get(name))

    async def put_inline(self, entity: Entity, name: str, document: str) -> bool:
        """Put an inline policy, if there is room for it."""

        def work() -> bool:
            inline = self._of(entity).inline
            after = inline | {name: document}
            if sum(map(length_of, after.values())) > INLINE_MAX[entity.kind]:
                return False
            inline[name] = document
            return True

        return await self._call("put_inline", work)

    async def delete_inline(self, entity: Entity, name: str) -> None:
        """Take an inline policy away."""
        await self._call("delete_inline", lambda: self._of(entity).inline.pop(name, None))

    async def attach(self, entity: Entity, arn: str) -> Attached:
        """Attach a managed policy."""

        def work() -> Attached:
            attached = self._of(entity).attached
            if self._document(arn) is None:
                return "missing"
            if arn not in attached and len(attached) >= self.attached_max:
                return "full"
            attached.add(arn)
            return "attached"

        return await self._call("attach", work)

    async def detach(self, entity: Entity, arn: str) -> None:
        """Detach a managed policy."""
        await self._call("detach", lambda: self._of(entity).attached.discard(arn))

    async def managed_arn(self, account: str, name: str) -> str:
        """Return the ARN of a managed policy of ours."""
        return f"arn:aws:iam::{account}:policy{PATH}{name}"

    async def put_managed(self, account: str, name: str, document: str, description: str) -> str:
        """Make a managed policy of ours say this."""
        del description
        arn = await self.managed_arn(account, name)
        await self._call("put_managed", lambda: self.policies.__setitem__(arn, document))
        return arn

    async def managed(self, account: str, arn: str) -> str | None:
        """Return the document of a managed policy."""
        del account
        return await self._call("managed", lambda: self._document(arn))

    async def delete_managed(self, account: str, arn: str) -> None:
        """Delete a managed policy that is attached nowhere."""
        del account

        def work() -> None:
            if any(arn in one.attached for one in self.entities.values()):
                raise EnforcementError(f"{arn} is attached to others: detach it from them")
            self.policies.pop(arn, None)

        await self._call("delete_managed", work)

    async def keys(self, entity: Entity) -> list[Key]:
        """Return the long-term API keys of a user."""
        return await self._call("keys", lambda: list(self._of(entity).keys.values()))

    async def set_key(self, entity: Entity, key: Key, status: str) -> bool:
        """Make a key active or inactive."""

        def work() -> bool:
            keys = self._of(entity).keys
            if key.id in keys:
                keys[key.id] = msgspec.structs.replace(keys[key.id], status=status)
            return key.id in keys

        return await self._call("set_key", work)

    async def close(self) -> None:
        """Keep everything: it may be used again."""

    async def _call(self, name: str, work: Callable[[], Found]) -> Found:
        """Do some work as one call, with the hook around it."""
        await asyncio.sleep(0)
        self.calls.append(name)
        number = len(self.calls)
        if self.hook is not None:
            self.hook("before", number, name)
        found = work()
        if self.hook is not None:
            self.hook("after", number, name)
        return found

    def _document(self, arn: str) -> str | None:
        return self.policies.get(arn, "{}" if arn.startswith(AWS_MANAGED) else None)

    def _of(self, entity: Entity) -> MemoryEntity:
        return self._kept(entity.kind, entity.account, entity.name)

    def _kept(self, kind: EntityKind, account: str, name: str) -> MemoryEntity:
        found = self.entities.get((kind, account, name))
        if found is None:
            raise MissingPrincipalError(f"{key_of(kind, account, name)}: IAM knows no such {kind}")
        return found


class MemoryEnforcement(IamEnforcement):
    """`worker.ports.Enforcement` on IAM in a dictionary: the very steps that are taken in AWS.

    Args:
        entities: Users and roles to begin with.
        protection: Who is never suspended.
        own: Patterns of the principals that enforcement acts as.

    Attributes:
        iam: The dictionary: look into it, change it, put faults into it.
    """

    def __init__(
        self,
        entities: Iterable[MemoryEntity] = (),
        *,
        protection: Protection | None = None,
        own: tuple[str, ...] = (),
    ) -> None:
        """Start with some users and roles."""
        self.iam = MemoryIam(entities, own=own)
        super().__init__(self.iam, protection=protection)
