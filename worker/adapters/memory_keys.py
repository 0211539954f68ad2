"""Users and Bedrock API keys in memory: for tests, and for trying commands out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from worker.core.deny_policy import PREFIX
from worker.core.errors import ConfigurationError
from worker.core.provision import KEYS_PER_USER_MAX
from worker.ports.provisioning import ApiKey, Home, KeyUser, NewKey

MS_PER_DAY: Final = 86_400_000


class MemoryKeys:
    """`worker.ports.provisioning.Provisioning` in a dictionary.

    Args:
        account: Where users are made.
        now_ms: When keys are made.

    Attributes:
        users: The users, by name.
        attached: ARNs of the managed policies of each.
        inline: Names of the inline policies of each.
        boundaries: ARN of the permissions boundary of each that has one.
    """

    def __init__(self, account: str = "111122223333", *, now_ms: int = 0) -> None:
        """Start without users."""
        self._home = Home(account, "aws", f"arn:aws:iam::{account}:user/operator")
        self._now_ms = now_ms
        self._made = 0
        self.users: dict[str, KeyUser] = {}
        self.attached: dict[str, set[str]] = {}
        self.inline: dict[str, set[str]] = {}
        self.boundaries: dict[str, str] = {}

    async def home(self) -> Home:
        """Return the account."""
        return self._home

    async def find(self, name: str) -> KeyUser | None:
        """Return a user."""
        return self.users.get(name)

    async def create_user(
        self, name: str, *, path: str, tags: Sequence[tuple[str, str]], boundary: str = ""
    ) -> KeyUser | None:
        """Make a user; see the port."""
        if name in self.users:
            return None
        self._made += 1
        user = KeyUser(name, f"AIDA{self._made:016d}", path, dict(tags))
        self.users[name] = user
        self.attached[name], self.inline[name] = set(), set()
        if boundary:
            self.boundaries[name] = boundary
        return user

    async def attach(self, name: str, policy: str) -> None:
        """Attach a policy."""
        self._user(name)
        self.attached[name].add(policy)

    async def create_key(self, name: str, days: int | None = None) -> NewKey:
        """Make a key."""
        user = self._user(name)
        if len(user.keys) >= KEYS_PER_USER_MAX:
            message = f"user {name}: has {KEYS_PER_USER_MAX} keys already"
            raise ConfigurationError(message)
        self._made += 1
        ends = 0 if days is None else self._now_ms + days * MS_PER_DAY
        key = ApiKey(f"ACCA{self._made:016d}", "Active", self._now_ms, ends)
        self.users[name] = msgspec.structs.replace(user, keys=(*user.keys, key))
        return NewKey(key, f"ABSK-secret-of-{key.id}")

    async def delete_key(self, name: str, key_id: str) -> None:
        """Delete a key."""
        user = self.users.get(name)
        if user is not None:
            left = tuple(key for key in user.keys if key.id != key_id)
            self.users[name] = msgspec.structs.replace(user, keys=left)

    async def strip(self, name: str, policies: Collection[str]) -> None:
        """Take policies away."""
        if name in self.users:
            self.attached[name] -= {*policies}
            self.attached[name] = {
                one for one in self.attached[name] if not _is_own(one.rpartition("/")[2])
            }
            self.inline[name] = {one for one in self.inline[name] if not _is_own(one)}

    async def delete_user(self, name: str) -> None:
        """Delete a user that has nothing any more."""
        user = self.users.get(name)
        if user is None:
            return
        if user.keys or self.attached[name] or self.inline[name]:
            message = f"user {name}: has something that was not made here; take that away first"
            raise ConfigurationError(message)
        del self.users[name]
        self.boundaries.pop(name, None)

    async def close(self) -> None:
        """Nothing is open."""

    def _user(self, name: str) -> KeyUser:
        user = self.users.get(name)
        if user is None:
            message = f"user {name}: there is no such thing"
            raise ConfigurationError(message)
        return user


def _is_own(policy_name: str) -> bool:
    return policy_name.startswith(PREFIX)
