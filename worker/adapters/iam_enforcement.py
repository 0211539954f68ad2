"""Suspends and restores users, roles and sessions in IAM.

**Deny**, the default, puts one inline policy of the suspension's own name on the user or role;
where there is no room for it, it attaches a managed policy of such a name instead. A deny outweighs
whatever else allows, for requests signed by access keys, by sessions and by long-term API keys
alike (AWS documentation: "Policy evaluation logic"). Nothing else is touched.

**Detach** denies first, then makes long-term API keys inactive, detaches managed policies and
deletes inline ones: exactly those of the snapshot that it is given. Restoring puts them back, and
takes the deny away last. What somebody else changed in the meantime stays as they made it. A
session is only ever denied: the rest belongs to all sessions of its role.

A user or role that was deleted and made again is another one: unique ids tell them apart.

Whoever acts needs, on the users and roles of each account:

    iam:GetUser, GetRole, ListUserPolicies, ListRolePolicies, GetUserPolicy, GetRolePolicy,
    iam:ListAttachedUserPolicies, ListAttachedRolePolicies, ListServiceSpecificCredentials,
    iam:PutUserPolicy, PutRolePolicy, DeleteUserPolicy, DeleteRolePolicy,
    iam:AttachUserPolicy, AttachRolePolicy, DetachUserPolicy, DetachRolePolicy (on condition that
        `iam:PolicyARN` is like `arn:*:iam::*:policy/ledgerock/*`, unless the mode is `detach`),
    iam:UpdateServiceSpecificCredential (in mode `detach` alone);

on `policy/ledgerock/*`: iam:CreatePolicy, CreatePolicyVersion, GetPolicy, GetPolicyVersion,
ListPolicyVersions, DeletePolicyVersion, DeletePolicy, ListEntitiesForPolicy; and sts:AssumeRole on
the role that is assumed, if there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from worker.core.deny_policy import (
    deny_document,
    is_own,
    managed_name,
    policy_name,
    same_document,
)
from worker.core.errors import (
    EnforcementError,
    MissingPrincipalError,
    ReplacedPrincipalError,
    TransientError,
)
from worker.core.targets import Protection, Target, refuse_path
from worker.ports import InlinePolicy, Key, Order, Snapshot

if TYPE_CHECKING:
    from worker.adapters.iam_entities import Entity, EntityKind, Iam

ACTIVE: Final = "Active"
INACTIVE: Final = "Inactive"


class IamEnforcement:
    """`worker.ports.Enforcement` on anything that answers like IAM.

    Args:
        iam: AWS (`worker.adapters.iam_requests.IamRequests`), or IAM in memory.
        protection: Who is never suspended; whoever acts here is added to its own.
    """

    def __init__(self, iam: Iam, *, protection: Protection | None = None) -> None:
        """Ask for nothing yet."""
        self._iam = iam
        self._protection = protection or Protection()

    async def refuse(self, principal: str, targets: Sequence[Target]) -> None:
        """Raise if a principal or target is protected, or is who acts here; see the port."""
        own = await self._iam.own()
        protection = Protection(self._protection.patterns, (*self._protection.own, *own))
        protection.refuse(principal, targets)

    async def snapshot(self, target: Target) -> Snapshot:
        """Return what a target has now, without anything of ours; see the port."""
        await self.refuse(str(target), [target])
        entity = await self._find(target, target.unique_id)
        if target.kind == "session":
            return Snapshot(target, entity.unique_id, entity.path)
        attached = await self._iam.attached(entity)
        names = await self._iam.inline_names(entity)
        inline = []
        for name in sorted(name for name in names if not is_own(name)):
            document = await self._iam.inline(entity, name)
            if document is not None:
                inline.append(InlinePolicy(name, document))
        return Snapshot(
            target,
            entity.unique_id,
            entity.path,
            attached=tuple(sorted(arn for arn in attached if not is_own(arn))),
            inline=tuple(inline),
            keys=tuple(sorted(await self._iam.keys(entity))),
        )

    async def suspend(self, order: Order, snapshot: Snapshot) -> None:
        """Deny every way to spend; in mode `detach` also take what there is; see the port."""
        target = snapshot.target
        await self.refuse(order.principal, [target])
        entity = await self._find(target, snapshot.unique_id)
        await self._deny(order, target, entity)
        if not order.takes(target):
            return
        for key in await self._active(entity, snapshot):
            await self._iam.set_key(entity, key, INACTIVE)
        for arn in snapshot.attached:
            await self._iam.detach(entity, arn)
        for policy in snapshot.inline:
            if await self._iam.inline(entity, policy.name) == policy.document:
                await self._iam.delete_inline(entity, policy.name)

    async def restore(self, order: Order, snapshot: Snapshot) -> None:
        """Undo exactly what `suspend` did for this order, wherever it stopped; see the port."""
        target = snapshot.target
        try:
            entity = await self._find(target, snapshot.unique_id)
        except MissingPrincipalError:
            # Whoever deleted the user or role had to detach what was attached.
            await self._delete_managed(order, snapshot)
            raise
        missing: list[str] = []
        if order.takes(target):
            missing = await self._put_back(order, snapshot, entity)
        await self._allow(order, snapshot, entity)
        if missing:
            message = (
                f"{target} is restored, but for policies that were deleted meanwhile: "
                f"{', '.join(missing)}; make them again, and they are attached"
            )
            raise MissingPrincipalError(message)

    async def unsuspended(self, order: Order, snapshot: Snapshot) -> list[str]:
        """Return what is missing of a suspension; see the port."""
        target = snapshot.target
        entity = await self._find(target, snapshot.unique_id)
        found = []
        if not await self._is_denied(order, target, entity):
            found.append(f"{target}: the policy {policy_name(order.suspension_id)} is not there")
        if not order.takes(target):
            return found
        attached = await self._iam.attached(entity)
        found += [f"{target}: {arn} is attached" for arn in snapshot.attached if arn in attached]
        for policy in snapshot.inline:
            if await self._iam.inline(entity, policy.name) == policy.document:
                found.append(f"{target}: the inline policy {policy.name} is there")
        active = await self._active(entity, snapshot)
        return found + [f"{target}: the API key {key.id} is active" for key in active]

    async def unrestored(self, order: Order, snapshot: Snapshot) -> list[str]:
        """Return what is still there of a suspension, or not yet back; see the port."""
        target = snapshot.target
        entity = await self._find(target, snapshot.unique_id)
        name = policy_name(order.suspension_id)
        arn = await self._managed_arn(order, snapshot)
        attached = await self._iam.attached(entity)
        found = []
        if await self._iam.inline(entity, name) is not None:
            found.append(f"{target}: the policy {name} is still there")
        if arn in attached or await self._iam.managed(target.account, arn) is not None:
            found.append(f"{target}: the policy {arn} is still there")
        if not order.takes(target):
            return found
        back = (one for one in snapshot.attached if one not in attached)
        found += [f"{target}: {one} is not attached" for one in back]
        for policy in snapshot.inline:
            if await self._iam.inline(entity, policy.name) is None:
                found.append(f"{target}: the inline policy {policy.name} is not there")
        inactive = await self._inactive(entity, snapshot)
        return found + [f"{target}: the API key {key.id} is not active" for key in inactive]

    async def close(self) -> None:
        """Close connections."""
        await self._iam.close()

    # --- Steps --------------------------------------------------------------------------------

    async def _find(self, target: Target, unique_id: str) -> Entity:
        """Return the user or role, which must have the unique id if one is given."""
        kind: EntityKind = "user" if target.kind == "user" else "role"
        entity = await self._iam.find(kind, target.account, target.name)
        if unique_id and entity.unique_id != unique_id:
            message = (
                f"{target}: the {kind} that was meant ({unique_id}) is gone; the one of this name "
                f"is another ({entity.unique_id}), and is left alone"
            )
            raise ReplacedPrincipalError(message)
        if kind == "role":
            refuse_path(str(target), entity.path, entity.name)
        return entity

    async def _deny(self, order: Order, target: Target, entity: Entity) -> None:
        """Put the deny on a user or role: inline, or managed where there is no room."""
        document = _document(target, entity)
        if await self._iam.put_inline(entity, policy_name(order.suspension_id), document):
            return
        name = managed_name(order.suspension_id, entity.unique_id)
        description = f"Ledgerock suspends {order.principal}. Deleted when it is restored."
        arn = await self._iam.put_managed(entity.account, name, document, description)
        outcome = await self._iam.attach(entity, arn)
        if outcome == "missing":
            raise TransientError(f"{target}: IAM does not know the policy {arn} yet")
        if outcome == "full":
            await self._iam.delete_managed(entity.account, arn)
            message = (
                f"{target}: there is no room for a deny policy: its inline policies and its "
                "attached ones reach the quotas of IAM; detach one, or have the quota raised"
            )
            raise EnforcementError(message)

    async def _is_denied(self, order: Order, target: Target, entity: Entity) -> bool:
        document = _document(target, entity)
        found = await self._iam.inline(entity, policy_name(order.suspension_id))
        if same_document(found, document):
            return True
        name = managed_name(order.suspension_id, entity.unique_id)
        arn = await self._iam.managed_arn(entity.account, name)
        if arn not in await self._iam.attached(entity):
            return False
        return same_document(await self._iam.managed(entity.account, arn), document)

    async def _allow(self, order: Order, snapshot: Snapshot, entity: Entity) -> None:
        """Take the deny away, in either form."""
        await self._iam.delete_inline(entity, policy_name(order.suspension_id))
        await self._iam.detach(entity, await self._managed_arn(order, snapshot))
        await self._delete_managed(order, snapshot)

    async def _managed_arn(self, order: Order, snapshot: Snapshot) -> str:
        name = managed_name(order.suspension_id, snapshot.unique_id)
        return await self._iam.managed_arn(snapshot.target.account, name)

    async def _delete_managed(self, order: Order, snapshot: Snapshot) -> None:
        arn = await self._managed_arn(order, snapshot)
        if await self._iam.managed(snapshot.target.account, arn) is not None:
            await self._iam.delete_managed(snapshot.target.account, arn)

    async def _put_back(self, order: Order, snapshot: Snapshot, entity: Entity) -> list[str]:
        """Give a user or role back what the snapshot holds; return policies that are no more."""
        missing = []
        attached = await self._iam.attached(entity)
        for arn in snapshot.attached:
            if arn in attached:
                continue
            outcome = await self._iam.attach(entity, arn)
            if outcome == "full":
                # The deny may have taken the place of a policy that came in the meantime.
                await self._allow(order, snapshot, entity)
                outcome = await self._iam.attach(entity, arn)
            if outcome == "full":
                raise _no_room(snapshot, f"the policy {arn} cannot be attached")
            if outcome == "missing":
                missing.append(arn)
        for policy in snapshot.inline:
            await self._put_inline_back(order, snapshot, entity, policy)
        for key in await self._inactive(entity, snapshot):
            await self._iam.set_key(entity, key, ACTIVE)
        return missing

    async def _put_inline_back(
        self, order: Order, snapshot: Snapshot, entity: Entity, policy: InlinePolicy
    ) -> None:
        if await self._iam.inline(entity, policy.name) is not None:
            return
        if await self._iam.put_inline(entity, policy.name, policy.document):
            return
        await self._allow(order, snapshot, entity)
        if not await self._iam.put_inline(entity, policy.name, policy.document):
            raise _no_room(snapshot, f"the inline policy {policy.name} cannot be put back")

    async def _active(self, entity: Entity, snapshot: Snapshot) -> list[Key]:
        """Return the keys that were active, and are."""
        return await self._keys(entity, snapshot, ACTIVE)

    async def _inactive(self, entity: Entity, snapshot: Snapshot) -> list[Key]:
        """Return the keys that were active, and are there but are not; expired ones stay so."""
        return await self._keys(entity, snapshot, INACTIVE)

    async def _keys(self, entity: Entity, snapshot: Snapshot, status: str) -> list[Key]:
        were = {key.id for key in snapshot.keys if key.status == ACTIVE}
        if not were:
            return []
        keys: Sequence[Key] = await self._iam.keys(entity)
        return sorted(key for key in keys if key.id in were and key.status == status)


def _document(target: Target, entity: Entity) -> str:
    userid = f"{entity.unique_id}:{target.session}" if target.kind == "session" else ""
    return deny_document(target.kind, entity.arn, userid)


def _no_room(snapshot: Snapshot, what: str) -> EnforcementError:
    return EnforcementError(
        f"{snapshot.target}: {what}: other policies, put there meanwhile, reach the quota of IAM; "
        "take one away"
    )
