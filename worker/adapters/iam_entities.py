"""What enforcement asks of IAM: a user or role, and the few things that are done to one.

`IamRequests` asks AWS; `MemoryIam` is IAM in a dictionary.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from worker.core.attribution import key_of
from worker.ports import Key

EntityKind = Literal["user", "role"]
Attached = Literal["attached", "full", "missing"]
"""What came of attaching a policy: done, no room for another one, no such policy."""


class Entity(msgspec.Struct, frozen=True):
    """A user or role as IAM knows it.

    Attributes:
        kind: Which of the two.
        account: Its AWS account.
        name: Without path.
        unique_id: `AIDA…` or `AROA…`.
        path: `/` for none.
        arn: With path.
    """

    kind: EntityKind
    account: str
    name: str
    unique_id: str
    path: str
    arn: str

    def __str__(self) -> str:
        """Return `user/111122223333/alice`, spelt as ids of principals are."""
        return key_of(self.kind, self.account, self.name)


class Iam(Protocol):
    """IAM, account by account.

    What is gone already is no error where it is to be taken away. All methods raise
    `TransientError`, and `EnforcementError` where AWS denies or refuses what is asked for;
    `MissingPrincipalError` where the user or role itself is not there (any more).
    """

    async def own(self) -> tuple[str, ...]:
        """Return patterns of the principals that enforcement itself acts as."""

    async def find(self, kind: EntityKind, account: str, name: str) -> Entity:
        """Return a user or role."""

    async def attached(self, entity: Entity) -> list[str]:
        """Return the ARNs of attached managed policies."""

    async def inline_names(self, entity: Entity) -> list[str]:
        """Return the names of inline policies."""

    async def inline(self, entity: Entity, name: str) -> str | None:
        """Return the document of an inline policy, or None if there is none of the name."""

    async def put_inline(self, entity: Entity, name: str, document: str) -> bool:
        """Put an inline policy, over one of its name; return False if there is no room for it."""

    async def delete_inline(self, entity: Entity, name: str) -> None:
        """Take an inline policy away."""

    async def attach(self, entity: Entity, arn: str) -> Attached:
        """Attach a managed policy, unless it is attached already."""

    async def detach(self, entity: Entity, arn: str) -> None:
        """Detach a managed policy."""

    async def managed_arn(self, account: str, name: str) -> str:
        """Return the ARN of a managed policy of ours, whether there is one or not."""

    async def put_managed(self, account: str, name: str, document: str, description: str) -> str:
        """Make a managed policy of ours say this; return its ARN."""

    async def managed(self, account: str, arn: str) -> str | None:
        """Return the document of a managed policy, or None if there is none."""

    async def delete_managed(self, account: str, arn: str) -> None:
        """Delete a managed policy that is attached nowhere, with all its versions."""

    async def keys(self, entity: Entity) -> list[Key]:
        """Return the long-term API keys of a user; of a role there are none."""

    async def set_key(self, entity: Entity, key: Key, status: str) -> bool:
        """Make a key `Active` or `Inactive`; return False if there is no such key."""

    async def close(self) -> None:
        """Close connections."""
