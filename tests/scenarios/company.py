"""A company with Ledgerock: everything is real but AWS, which is in memory, and the time.

What a scenario does is what the company's systems do: events arrive, time passes, the monitor's
schedule runs, somebody types a budget. What it looks at is what people see: policies in IAM, events
on the bus, what a budget says.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from tests.calls import ACCOUNT, NOON, REGION
from tests.events import checked
from tests.records import iso, line, log
from worker.adapters.iam_enforcement import IamEnforcement
from worker.adapters.memory_enforcement import MemoryEntity, MemoryIam
from worker.adapters.memory_tagging import MemoryTagging
from worker.bootstrap import Booking, booking, directory, enforcing, open_booking
from worker.core.budget_terms import Budget
from worker.core.enforcement import BudgetStatus
from worker.core.enforcement_names import status_partition
from worker.core.results import DeliveryResult
from worker.core.targets import Protection
from worker.pipeline import directory as learning
from worker.pipeline import known_budgets
from worker.pipeline.budget_looks import keep_budget
from worker.ports import Delivery
from worker.settings import EnforcementSettings, Settings

CALL_PICO_USD: Final = 2_400_000_000
"""1,000 tokens in at 0.80 and 500 out at 3.20 USD a million: 0.0024 USD."""
CALL_USD: Final = "0.0024"
ARN: Final = f"arn:aws:bedrock-agentcore:{REGION}:{ACCOUNT}:"
SECOND: Final = 1_000
ROUND_SECONDS: Final = 5
"""How often the monitor runs."""
QUIET_ROUNDS: Final = 3
DAY: Final = 86_400_000

TIERS: Final = """
[defaults]
user = "standard"
role = "standard"
agent = "agents"
unprovisioned_key = "small"

[tiers.standard.budgets.monthly]
limit = "0.048"
grace_seconds = 300

[tiers.small.budgets.daily]
limit = "0.012"
period = "daily"
grace_seconds = 0

[tiers.large.budgets.monthly]
limit = "0.96"

[tiers.agents.budgets.monthly]
limit = "0.024"
grace_seconds = 60
"""


FIRST_NUMBERS: dict[Path, int] = {}
"""Where the numbers of a company's calls begin: each time that it is opened, anew."""


class Clock:
    """Stands still until somebody moves it."""

    def __init__(self) -> None:
        self.at_ms = NOON

    def now_ms(self) -> int:
        return self.at_ms


class Company:
    """One account, its IAM, its ledger and whoever works for it."""

    def __init__(self, parts: Booking, iam: MemoryIam, clock: Clock, events: Path) -> None:
        self.parts, self.iam, self.clock = parts, iam, clock
        self._events = events
        self._number = FIRST_NUMBERS.setdefault(events, 0)
        FIRST_NUMBERS[events] += 1_000

    # --- What happens -------------------------------------------------------------------------

    async def call(
        self, *, user: str = "alice", role: str = "", times: int = 1, **more: Any
    ) -> None:
        """Have somebody call a model now, for 0.0024 USD a call."""
        arn = f"arn:aws:iam::{ACCOUNT}:user/{user}"
        if role:
            arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/session-1"
        bodies = []
        for _ in range(times):
            self._number += 1
            mine: dict[str, Any] = {"at_ms": self.clock.at_ms, "identity": {"arn": arn}} | more
            bodies.append(line(log(self._number, **mine)))
        await self.receive(b"\n".join(bodies))

    async def trail(self, name: str, source: str, **parts: Any) -> None:
        """Have CloudTrail tell of an API call now."""
        self._number += 1
        event = {
            "eventVersion": "1.11",
            "eventTime": iso(self.clock.at_ms),
            "eventSource": f"{source}.amazonaws.com",
            "eventName": name,
            "eventID": f"00000000-0000-4000-8000-{self._number:012d}",
            "awsRegion": REGION,
            "recipientAccountId": ACCOUNT,
            "userIdentity": {
                "type": "IAMUser",
                "arn": f"arn:aws:iam::{ACCOUNT}:user/admin",
                "accountId": ACCOUNT,
            },
            **parts,
        }
        await self.receive(json.dumps(event).encode())

    async def receive(self, body: bytes) -> None:
        """Have a delivery arrive; it is settled at once."""
        self._number += 1
        [done] = await self.parts.pipeline.process([Delivery(body, receipt=str(self._number))])
        assert (done.result, done.quarantined) == (DeliveryResult.ACKNOWLEDGED, 0), done.reason

    async def create_user(self, name: str, tags: dict[str, str] | None = None) -> MemoryEntity:
        """Make a user who may call everything."""
        user = self.iam.put(
            MemoryEntity("user", ACCOUNT, name, inline={"mine": '{"Statement": []}'})
        )
        await self.trail(
            "CreateUser",
            "iam",
            requestParameters={
                "userName": name,
                "tags": [{"key": key, "value": value} for key, value in (tags or {}).items()],
            },
            responseElements={
                "user": {
                    "userName": name,
                    "userId": user.unique_id,
                    "arn": f"arn:aws:iam::{ACCOUNT}:user/{name}",
                    "path": "/",
                    "createDate": "Nov 21, 2026 12:00:00 PM",
                }
            },
        )
        return user

    async def create_key(self, user: str, key_id: str = "ACCA1234567890ABCDEFG") -> None:
        """Make a Bedrock API key, past Ledgerock."""
        await self.trail(
            "CreateServiceSpecificCredential",
            "iam",
            requestParameters={"userName": user, "serviceName": "bedrock.amazonaws.com"},
            responseElements={
                "serviceSpecificCredential": {
                    "serviceSpecificCredentialId": key_id,
                    "serviceName": "bedrock.amazonaws.com",
                    "userName": user,
                    "status": "Active",
                    "createDate": "Nov 21, 2026 12:00:00 PM",
                }
            },
        )

    async def create_agent(self, name: str, role: str, event: str = "CreateAgentRuntime") -> str:
        """Make or change an agent on AgentCore; return its id."""
        if ("role", ACCOUNT, role) not in self.iam.entities:
            attached = {"arn:aws:iam::aws:policy/AmazonBedrockFullAccess"}
            self.iam.put(MemoryEntity("role", ACCOUNT, role, path="/agents/", attached=attached))
        runtime = f"{name}-a1b2c3d4e5"
        asked = {"roleArn": f"arn:aws:iam::{ACCOUNT}:role/agents/{role}"}
        asked |= (
            {"agentRuntimeName": name}
            if event == "CreateAgentRuntime"
            else {"agentRuntimeId": runtime}
        )
        await self.trail(
            event,
            "bedrock-agentcore",
            requestParameters=asked,
            responseElements={
                "agentRuntimeArn": f"{ARN}runtime/{runtime}",
                "agentRuntimeId": runtime,
                "agentRuntimeVersion": "1",
                "status": "CREATING",
            },
        )
        return f"agent/{ACCOUNT}/{REGION}/{runtime}"

    async def set_budget(self, budget: Budget) -> None:
        """Set or change a budget, as the command does."""
        before = await self.parts.state.budgets.find(budget.name)
        revision = 1 if before is None else before.revision + 1
        budget = msgspec.structs.replace(budget, revision=revision, created_at_ms=self.clock.at_ms)
        registry = self.parts.pipeline.poster.registry
        state, looks = self.parts.state, self.parts.budgets.looks
        assert await keep_budget(state.budgets, looks, budget, registry)

    async def work(self, seconds: int = 0) -> None:
        """Let time pass while everybody works, until nothing more comes of it."""
        end_ms = self.clock.at_ms + seconds * SECOND
        step_ms = max(ROUND_SECONDS, seconds // 60) * SECOND
        quiet = 0
        for _ in range(200):
            quiet = 0 if await self._round() else quiet + 1
            if quiet >= QUIET_ROUNDS and self.clock.at_ms >= end_ms:
                return
            self.clock.at_ms += step_ms
        pytest.fail("there is always more to do")

    async def _round(self) -> bool:
        await self.parts.pipeline.keep_up()
        assert self.parts.announcer is not None
        done = await self.parts.monitor.run_due()
        enforced = await self.parts.enforcing.enforcer.run_due()
        announced = await self.parts.announcer.announce_due()
        assert not announced.faults
        return bool(done or enforced.changed or announced.announced)

    # --- What people see ----------------------------------------------------------------------

    def events(self, detail_type: str) -> list[dict[str, Any]]:
        """Return the details of a type that were announced; each keeps to its schema."""
        if not self._events.exists():
            return []
        found = [json.loads(text) for text in self._events.read_text("utf-8").splitlines()]
        return [
            checked(detail_type, json.dumps(one["detail"]).encode())
            for one in found
            if one["detail-type"] == detail_type
        ]

    def is_denied(self, kind: Any, name: str) -> bool:
        return self.iam.is_denied(kind, ACCOUNT, name)

    async def budgets(self) -> dict[str, Budget]:
        """Return the budgets in force, by the scope that they are on."""
        found = await self.parts.state.budgets.budgets()
        return {str(one.scope): one for one in found if not one.is_removed}

    async def state_of(self, name: str) -> str:
        """Return the state of a budget in the newest period that has one."""
        records = await self.parts.state.records.partition(status_partition(name), "0")
        kept = [
            msgspec.json.decode(one.body, type=BudgetStatus)
            for one in records
            if "#" not in one.name
        ]
        return kept[-1].state if kept else "active"

    async def spent(self, principal: str) -> int:
        """Return what was booked for a principal, in pico-dollars."""
        totals = await self.parts.pipeline.ledger.totals("principal")
        return totals[principal].cost_pico_usd if principal in totals else 0


Scenario = Callable[..., Coroutine[Any, Any, None]]


def scenario(test: Scenario) -> Callable[..., None]:
    """Give a test a company, whose parts are closed afterwards."""

    @functools.wraps(test)
    def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
        async def work() -> None:
            async with company_in(tmp_path, monkeypatch) as company:
                await test(company, **more)

        asyncio.run(work())

    # Pytest asks for the fixtures that the signature names.
    own = list(inspect.signature(run, follow_wrapped=False).parameters.values())[:2]
    asked = list(inspect.signature(test).parameters.values())[1:]
    run.__signature__ = inspect.Signature([*own, *asked])  # type: ignore[attr-defined]
    return run


@asynccontextmanager
async def company_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, keeps_tiers: bool = False, **settings: Any
) -> AsyncIterator[Company]:
    clock, iam = Clock(), MemoryIam()
    monkeypatch.setattr(booking, "SystemClock", lambda: clock)
    monkeypatch.setattr(
        enforcing, "open_enforcement", lambda _: IamEnforcement(iam, protection=Protection())
    )
    # Processes know what others did after some seconds, of which a scenario has none.
    monkeypatch.setattr(known_budgets, "REFRESH_SECONDS", 0)
    monkeypatch.setattr(learning, "REFRESH_SECONDS", 0)
    monkeypatch.setattr(directory, "_tagging", lambda *_: MemoryTagging())
    tiers = folder / "tiers.toml"
    if not keeps_tiers:
        tiers.write_text(TIERS, encoding="utf-8")
    events = folder / "events.jsonl"
    base = Settings.read(
        {
            "LEDGEROCK_LEDGER": f"sqlite:{folder}/ledger.db",
            "LEDGEROCK_BUS": f"file:{events}",
            "LEDGEROCK_TIERS": str(tiers),
            "LEDGEROCK_RESOLVE_PROFILES": "0",
        }
    )
    enforcement = EnforcementSettings(acts="worker", account=ACCOUNT, tiers=str(tiers), **settings)
    async with open_booking(replace(base, enforcement=enforcement)) as parts:
        yield Company(parts, iam, clock, events)
