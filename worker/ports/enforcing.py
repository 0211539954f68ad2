"""What can be done to those who are over budget: in IAM, or in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from worker.core.enforcement import Hold, Mode
from worker.core.targets import Target, TargetKind

__all__ = [
    "Enforcement",
    "Holds",
    "InlinePolicy",
    "Key",
    "Order",
    "Snapshot",
    "Target",
    "TargetKind",
]


class Order(msgspec.Struct, frozen=True):
    """What a suspension does to one target.

    Attributes:
        suspension_id: `[A-Za-z0-9-]{1,40}`; names the policy, so that no other is ever touched.
        mode: `deny` adds a deny policy. `detach` also detaches what the target has.
        principal: For whom; stands in the managed policy's description and in errors.
    """

    suspension_id: str
    mode: Mode
    principal: str

    def takes(self, target: Target) -> bool:
        """Whether it takes away what a target has; all that a session has is its role's."""
        return self.mode == "detach" and target.kind != "session"


class InlinePolicy(msgspec.Struct, frozen=True, order=True):
    """An inline policy: its name and its document, as IAM keeps it, decoded."""

    name: str
    document: str


class Key(msgspec.Struct, frozen=True, order=True):
    """A credential of a user: of `service` (a Bedrock API key), its id and status."""

    id: str
    status: str
    service: str = "bedrock.amazonaws.com"


class Snapshot(msgspec.Struct, frozen=True):
    """What a target had before it was suspended.

    Attributes:
        target: Whose.
        unique_id: `AIDA…` or `AROA…`: who it was, whatever is called so by now.
        path: IAM path, `/` for none.
        attached: ARNs of attached managed policies, sorted.
        inline: Inline policies, by name.
        keys: Long-term Bedrock API keys, by id.
    """

    target: Target
    unique_id: str
    path: str = "/"
    attached: tuple[str, ...] = ()
    inline: tuple[InlinePolicy, ...] = ()
    keys: tuple[Key, ...] = ()

    def bare(self) -> Snapshot:
        """Return who the target was, without what it had: nothing to take away or put back."""
        return Snapshot(self.target, self.unique_id, self.path)


class Enforcement(Protocol):
    """Acts on targets. Every method may be called again after any failure, at any point.

    All raise `TransientError` (throttled, cut off: try again) and `EnforcementError` with its
    subclasses (see `worker.core.errors`): `MissingPrincipalError` (no such user or role, or
    another one of that name), `NeedsPersonError` (IAM cannot do it), `ProtectedPrincipalError`.
    """

    async def refuse(self, principal: str, targets: Sequence[Target]) -> None:
        """Raise `ProtectedPrincipalError` for whoever is never acted on; see `Protection`."""

    async def snapshot(self, target: Target) -> Snapshot:
        """Return what a target has now, without anything of ours.

        Raises also what says that the target cannot be suspended at all: nothing was done then.
        """

    async def suspend(self, order: Order, snapshot: Snapshot) -> None:
        """Deny every way to spend on Bedrock; in mode `detach` also detach and deactivate.

        Only ever adds a policy of this order's own name and, in mode `detach`, removes what the
        snapshot holds: nothing if it is bare. What is done already stays done.
        """

    async def restore(self, order: Order, snapshot: Snapshot) -> None:
        """Undo exactly what `suspend` did for this order, wherever it stopped."""

    async def unsuspended(self, order: Order, snapshot: Snapshot) -> list[str]:
        """Return what is missing of a suspension, read back from IAM; empty if it is complete."""

    async def unrestored(self, order: Order, snapshot: Snapshot) -> list[str]:
        """Return what is still there of a suspension, or not yet back; empty if all is well."""

    async def close(self) -> None:
        """Close connections."""


class Holds(Protocol):
    """Puts reasons for suspension on principals, and lifts them. Each is one conditional write."""

    async def hold(self, principal: str, hold: Hold) -> bool:
        """Put a hold on a principal; return whether it was new.

        A hold of the same budget and period that is there already stays as it is. The first one
        makes the suspension required, which somebody else then carries out.

        Raises:
            TransientError: It may have been put or not; doing it again is safe.
        """

    async def lift(self, principal: str, budget: str, first_day: int) -> bool:
        """Lift one hold; return whether it was there. With the last one, restoration begins."""
