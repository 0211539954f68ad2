"""IAM for tests, of every kind alike; here the one in memory."""

import json
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Protocol

from worker.adapters.iam_enforcement import IamEnforcement
from worker.adapters.memory_enforcement import Hook, MemoryEnforcement, MemoryEntity
from worker.core.targets import Protection
from worker.ports import Key

HOME: Final = "111122223333"
ABROAD: Final = "444455556666"
SELF: Final = "LedgerockWorker"
PROTECTION: Final = Protection(("user/*/break-glass", "role/*/prod-*"))

READ_LOGS: Final = (
    '{\n  "Version": "2012-10-17",\n  "Statement": [\n    {"Sid": "Ünicode", "Effect": "Allow",'
    ' "Action": ["logs:Get*"], "Resource": "*"}\n  ]\n}'
)
"""Laid out as people do: what is put back must be this very text."""
CALL_MODELS: Final = (
    '{"Version":"2012-10-17","Statement":[{"Action":"bedrock:InvokeModel","Effect":"Allow",'
    '"Resource":"arn:aws:bedrock:*::foundation-model/*"}]}'
)
CHANGES: Final = ("put_", "delete_", "attach_", "detach_", "create_", "update_", "set_")


def unused(word: str) -> str:
    """Return a name that nobody has yet."""
    return f"{word}-{uuid.uuid4().hex[:12]}"


def is_change(call: str) -> bool:
    """Whether a call, by its name, changes something."""
    return call in {"attach", "detach"} or call.startswith(CHANGES)


class State(NamedTuple):
    """All that a user or role has."""

    attached: list[str]
    inline: dict[str, str]
    keys: dict[str, str]


class World(Protocol):
    """IAM, and what a test does to it besides enforcement.

    Attributes:
        hook: As of `MemoryIam`; setting it forgets the calls made so far.
    """

    hook: Hook | None

    @property
    def enforcement(self) -> IamEnforcement:
        """What is under test."""

    @property
    def calls(self) -> list[str]:
        """Names of what enforcement asked for."""

    async def policy(self, account: str = HOME) -> str:
        """Make a managed policy; return its ARN."""

    async def delete_policy(self, arn: str) -> None:
        """Delete a managed policy."""

    async def policies(self, suspension: str, account: str = HOME) -> list[str]:
        """Return the names of Ledgerock's managed policies for a suspension."""

    async def make(
        self,
        kind: str,
        name: str,
        *,
        account: str = HOME,
        path: str = "/",
        attached: Iterable[str] = (),
        inline: Mapping[str, str] | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> str:
        """Make a user or role; return its unique id."""

    async def put_inline(self, kind: str, name: str, policy: str, document: str) -> None:
        """Give one an inline policy, whatever the quota."""

    async def attach(self, kind: str, name: str, arn: str) -> None:
        """Attach a policy, whatever the quota."""

    async def detach(self, kind: str, name: str, arn: str) -> None:
        """Detach a policy."""

    async def remove(self, kind: str, name: str) -> None:
        """Delete a user or role with all that it has."""

    async def state(self, kind: str, name: str, account: str = HOME) -> State:
        """Return all that a user or role has."""


# --- In memory -----------------------------------------------------------------------------------


class MemoryWorld:
    """IAM in a dictionary."""

    def __init__(self) -> None:
        self._enforcement = MemoryEnforcement(
            protection=PROTECTION, own=(f"role/{HOME}/{SELF}", "role/*/LedgerockEnforcement")
        )
        self._iam = self._enforcement.iam

    @property
    def enforcement(self) -> IamEnforcement:
        return self._enforcement

    @property
    def hook(self) -> Hook | None:
        return self._iam.hook

    @hook.setter
    def hook(self, hook: Hook | None) -> None:
        self._iam.hook = hook
        self._iam.calls.clear()

    @property
    def calls(self) -> list[str]:
        return self._iam.calls

    async def policy(self, account: str = HOME) -> str:
        arn = f"arn:aws:iam::{account}:policy/{unused('theirs')}"
        self._iam.policies[arn] = CALL_MODELS
        return arn

    async def delete_policy(self, arn: str) -> None:
        del self._iam.policies[arn]

    async def policies(self, suspension: str, account: str = HOME) -> list[str]:
        own = f"arn:aws:iam::{account}:policy/ledgerock/"
        return [arn for arn in self._iam.policies if arn.startswith(own) and suspension in arn]

    async def make(
        self,
        kind: Any,
        name: str,
        *,
        account: str = HOME,
        path: str = "/",
        attached: Iterable[str] = (),
        inline: Mapping[str, str] | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> str:
        made = MemoryEntity(kind, account, name, path=path, attached={*attached})
        made.inline = dict(inline or {})
        made.keys = {one: Key(one, status) for one, status in (keys or {}).items()}
        return self._iam.put(made).unique_id

    async def put_inline(self, kind: str, name: str, policy: str, document: str) -> None:
        self._iam.entities[kind, HOME, name].inline[policy] = document

    async def attach(self, kind: str, name: str, arn: str) -> None:
        self._iam.entities[kind, HOME, name].attached.add(arn)

    async def detach(self, kind: str, name: str, arn: str) -> None:
        self._iam.entities[kind, HOME, name].attached.discard(arn)

    async def remove(self, kind: Any, name: str) -> None:
        self._iam.remove(kind, HOME, name)

    async def state(self, kind: str, name: str, account: str = HOME) -> State:
        one = self._iam.entities[kind, account, name]
        keys = {key.id: key.status for key in one.keys.values()}
        return State(sorted(one.attached), dict(one.inline), keys)


@asynccontextmanager
async def in_memory() -> AsyncIterator[World]:
    yield MemoryWorld()


def document_with(letters: int) -> str:
    """Return a policy's document of some length."""
    found = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::"}],
        },
        separators=(",", ":"),
    )
    return found.replace("s3:::", f"s3:::{'x' * (letters - len(found))}")
