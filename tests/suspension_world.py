"""A small company whose principals are held, suspended and restored, with faults between any two
writes and calls."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from tests.calls import ACCOUNT, DAY, NOON
from tests.events import checked_all
from worker.adapters.memory_enforcement import MemoryEnforcement, MemoryEntity
from worker.adapters.memory_records import MemoryRecords
from worker.adapters.memory_state import MemoryOutbox
from worker.core.enforcement import Hold, Mode, Suspension
from worker.core.errors import NeedsPersonError
from worker.core.targets import Protection, targets_of
from worker.enforcer import Acts, Enforced, Enforcer, Hands, Snapshots, Steps
from worker.pipeline.audit import AuditLog
from worker.pipeline.suspensions import Suspensions
from worker.ports import Key, Notice, Outbox, Record, Records, Target

ALICE = f"user/{ACCOUNT}/alice"
GATEWAY = f"role/{ACCOUNT}/Gateway"
AGENT = f"agent/{ACCOUNT}/us-east-1/helper-a1b2c3d4e5"
TODAY = NOON // DAY
USD = 10**12
AWS_POLICY = "arn:aws:iam::aws:policy/AmazonBedrockLimitedAccess"
OWN_POLICY = f"arn:aws:iam::{ACCOUNT}:policy/team/models"
ALLOW = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'


class KilledError(BaseException):
    """The process ended here: nothing catches this."""


class Faults:
    """Numbers every moment at which something is about to be written or called, or just was.

    Attributes:
        moments: How many there were.
        at: What happens at one of them, by its number.
    """

    def __init__(self) -> None:
        self.moments = 0
        self.at: dict[int, Callable[[], object]] = {}

    def kill(self, number: int) -> None:
        self.at[number] = _kill

    def stop(self, number: int) -> asyncio.Event:
        """Have whoever comes to a moment wait there until the event that is returned is set."""
        gate = asyncio.Event()
        self.at[number] = lambda: gate
        return gate

    async def moment(self) -> None:
        await asyncio.sleep(0)
        self.moments += 1
        happens = self.at.get(self.moments)
        found = None if happens is None else happens()
        if isinstance(found, asyncio.Event):
            await found.wait()


def _kill() -> None:
    raise KilledError


class FaultyRecords:
    """Records whose writes have a moment before and after them."""

    def __init__(self, records: Records, faults: Faults) -> None:
        self.records, self.faults = records, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self.records, name)

    async def get(self, partition: str, name: str) -> Record | None:
        await asyncio.sleep(0)
        return await self.records.get(partition, name)

    async def get_many(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Record]:
        await asyncio.sleep(0)
        return await self.records.get_many(keys)

    async def write(self, records: Sequence[Record]) -> bool:
        await self.faults.moment()
        written = await self.records.write(records)
        await self.faults.moment()
        return written


class FaultyOutbox:
    """An outbox whose writes have a moment before and after them."""

    def __init__(self, outbox: Outbox, faults: Faults) -> None:
        self.outbox, self.faults = outbox, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self.outbox, name)

    async def put(self, notices: Sequence[Notice]) -> list[Notice]:
        await self.faults.moment()
        new = await self.outbox.put(notices)
        await self.faults.moment()
        return new


def entities() -> list[MemoryEntity]:
    """Return everybody, each with something to be found again exactly."""
    return [
        MemoryEntity(
            "user",
            ACCOUNT,
            "alice",
            unique_id="AIDA0000000000000000A",
            path="/people/",
            attached={AWS_POLICY, OWN_POLICY},
            inline={"mine": ALLOW, "other": ALLOW.replace("*", "s3:*", 1)},
            keys={
                "ACCA1": Key("ACCA1", "Active"),
                "ACCA2": Key("ACCA2", "Inactive"),
            },
        ),
        MemoryEntity(
            "role",
            ACCOUNT,
            "Gateway",
            unique_id="AROA0000000000000000G",
            attached={OWN_POLICY},
            inline={"models": ALLOW},
        ),
        MemoryEntity("role", ACCOUNT, "Helper", unique_id="AROA0000000000000000H"),
    ]


class World:
    """Suspensions and who carries them out, at a time that a test sets."""

    def __init__(
        self,
        *,
        mode: Mode = "deny",
        records: Records | None = None,
        outbox: Outbox | None = None,
        protected: tuple[str, ...] = (),
    ) -> None:
        self.now = NOON
        self.faults = Faults()
        self.records = FaultyRecords(records or MemoryRecords(), self.faults)
        self.outbox = FaultyOutbox(outbox or MemoryOutbox(), self.faults)
        self.enforcement = MemoryEnforcement(entities(), protection=Protection(protected))
        self.iam = self.enforcement.iam
        call: Any = self.iam._call

        async def with_moments(name: str, work: Callable[[], object]) -> object:
            await self.faults.moment()
            found: object = await call(name, work)
            await self.faults.moment()
            return found

        iam: Any = self.iam
        iam._call = with_moments
        self.start = self.policies()
        self.mode: Mode = mode
        self.agent_roles: dict[str, list[str]] = {AGENT: [f"arn:aws:iam::{ACCOUNT}:role/Helper"]}
        self.shared: dict[str, list[str]] = {}
        self.deleted: set[str] = set()
        self.pauses: list[float] = []
        self.suspensions = Suspensions(
            records=self.records, outbox=self.outbox, clock=self, mode=mode
        )
        self.audit = AuditLog(self.records, self, pause=self.pause)

    def now_ms(self) -> int:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def targets(self, principal: str) -> tuple[Target, ...]:
        return targets_of(principal, self.agent_roles.get(principal, ()), self.shared)

    async def is_gone(self, subject: str) -> bool:
        return subject in self.deleted

    def enforcer(self, acts: Acts = "worker") -> Enforcer:
        """Return a new one, as another process would have it."""
        hands = Hands(
            enforcement=self.enforcement,
            snapshots=Snapshots(self.records),
            audit=AuditLog(self.records, self, pause=self.pause),
            targets_of=self.targets,
            is_gone=self.is_gone,
        )
        return Enforcer(
            suspensions=self.suspensions, hands=hands, clock=self, acts=acts, pause=self.pause
        )

    def steps(self, acts: Acts = "workflows", **more: Any) -> Steps:
        return Steps(suspensions=self.suspensions, enforcer=self.enforcer(acts), clock=self, **more)

    def hold_of(self, budget: str = "monthly", first_day: int = TODAY, **more: Any) -> Hold:
        fields: dict[str, Any] = {
            "revision": 1,
            "since_ms": self.now,
            "reason": f"{budget}: 5 of 1 USD are spent",
            "end_ms": (first_day + 30) * DAY,
            "spent_amount": 5 * USD,
            "limit_amount": USD,
            "crossed_at_ms": self.now - 2_000,
        }
        return Hold(budget, first_day, **{**fields, **more})

    async def hold(self, principal: str = ALICE, budget: str = "monthly", **more: Any) -> bool:
        return await self.suspensions.hold(principal, self.hold_of(budget, **more))

    async def lift(self, principal: str = ALICE, budget: str = "monthly", **more: Any) -> bool:
        return await self.suspensions.lift(principal, budget, TODAY, **more)

    async def run(self, times: int = 1) -> list[Enforced]:
        """Run so many enforcers at the same time."""
        return list(await asyncio.gather(*(self.enforcer().run_due() for _ in range(times))))

    async def settle(self) -> None:
        """Run what is due until nothing is for the next hour."""
        until = self.now + 3_600_000
        while self.now < until:
            await self.enforcer().run_due()
            waiting = [one.due_at_ms async for one in self.suspensions.waiting(until)]
            self.now = max(self.now + 1, min(waiting, default=until))

    async def get(self, principal: str = ALICE) -> Suspension:
        return await self.suspensions.get(principal)

    def policies(self) -> dict[Any, MemoryEntity]:
        """Return a copy of everybody as they are now."""
        return {
            key: msgspec.structs.replace(
                one, attached=set(one.attached), inline=dict(one.inline), keys=dict(one.keys)
            )
            for key, one in self.iam.entities.items()
        }

    def is_denied(self, kind: Any = "user", name: str = "alice") -> bool:
        return self.iam.is_denied(kind, ACCOUNT, name)

    async def told(self, principal: str = ALICE) -> list[str]:
        """Return the types of the events on a principal, each checked against its schema."""
        notices = await self.outbox.about(f"principal/{principal}")
        checked_all(notices)
        return sorted(one.detail_type for one in notices)

    async def details(self, detail_type: str, principal: str = ALICE) -> list[dict[str, Any]]:
        notices = await self.outbox.about(f"principal/{principal}")
        return checked_all(one for one in notices if one.detail_type == detail_type)

    async def acts(self) -> list[str]:
        """Return the acts of the audit log, in order; fail if its chain is broken."""
        assert not (await self.audit.check()).problems
        return [entry.act async for page in self.audit.entries() for entry in page]


async def ambiguous(_principal: str) -> tuple[Target, ...]:
    raise NeedsPersonError("its role also serves another")
