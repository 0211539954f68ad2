"""What is examined, and how a check is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from worker.core.doctor import Sign, aws
from worker.ports import BudgetStore, Clock, Ledger, Outbox, Quarantine, Records
from worker.ports.account import Account, TableState
from worker.settings import Settings
from worker.settings.deployment import Deployment

CHECK_SECONDS: Final = 30.0
"""How long a check may take."""
BOOKS_SECONDS: Final = 120.0
"""How long one may take that goes through balances."""

_STACK: Final = "STACK"

Run = Callable[[], Awaitable[Sequence[Sign]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The ledger, and what is kept beside it.

    Attributes:
        ledger: Says what was spent.
        budgets: Which budgets there are.
        outbox: What waits to be announced.
        records: Suspensions, the directory, what is due.
        quarantine: What could not be understood; None where none is kept.
    """

    ledger: Ledger
    budgets: BudgetStore
    outbox: Outbox
    records: Records
    quarantine: Quarantine | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What is examined.

    Attributes:
        account: Reads AWS; None where nothing there is named.
        deployment: What there is to be; made from the settings where nothing was deployed.
        settings: Of this environment.
        clock: Ledger time.
        books: The ledger; None where it cannot be opened.
        books_problem: Why it cannot; empty if it can.
        tables: The tables as the code needs them; none for an embedded ledger.
        stage_path: `/PREFIX/STAGE`; empty where nothing was deployed.
    """

    account: Account | None
    deployment: Deployment
    settings: Settings
    clock: Clock
    books: Books | None = None
    books_problem: str = ""
    tables: Sequence[TableState] = ()
    stage_path: str = ""

    @property
    def is_deployed(self) -> bool:
        """Whether a deployment said what there is to be."""
        return bool(self.stage_path)

    @property
    def has_worker(self) -> bool:
        """Whether somebody is to work here: anything brings deliveries."""
        return self.is_deployed or bool(self.deployment.queues or self.deployment.streams)

    @property
    def redeploy(self) -> str:
        """The commands that make the stage's own stack again what its template says."""
        return _revert(self.deployment.name, self.deployment.region)

    def redeploy_in(self, region: str) -> str:
        """Return the commands that make a Region's stacks again what their templates say."""
        if region == self.deployment.region:
            return self.redeploy
        listed = aws(
            "cloudformation describe-stacks",
            query=f"Stacks[?starts_with(StackName, '{self.deployment.name}-')].StackName",
            output="text",
            region=region,
        )
        return f"for stack in $({listed}); do {_revert('$stack', region)}; done"

    def work(self, *hints: str) -> str:
        """Return the command that shows, or brings about, that somebody works.

        Args:
            *hints: What the function's purpose or name has in it, of those that work here.
        """
        deployment = self.deployment
        if deployment.service:
            return aws(
                "ecs update-service",
                cluster=deployment.cluster,
                service=deployment.service,
                force_new_deployment=True,
                region=deployment.region,
            )
        named = [
            name
            for purpose, name in sorted(deployment.functions.items())
            if any(hint in f"{purpose} {name}".lower() for hint in hints)
        ]
        names = named or sorted(deployment.functions.values())
        tails = [
            aws(f"logs tail /aws/lambda/{name}", since="1h", region=deployment.region)
            for name in names
        ]
        return "; ".join(tails) or "ledgerock worker" + self.ledger_option

    @property
    def ledger_option(self) -> str:
        """` --ledger NAME`, for commands that are suggested."""
        return f" --ledger {self.settings.ledger}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing to look at.

    Attributes:
        id: Names the check, for scripts.
        area: One of `worker.core.doctor.AREAS`.
        subject: What is looked at.
        well: What is so if there is nothing to say of it.
        run: Looks.
        seconds: How long it may take.
    """

    id: str
    area: str
    subject: str
    well: str
    run: Run
    seconds: float = CHECK_SECONDS


def checking(
    check_id: str,
    area: str,
    subject: str,
    well: str,
    look: Callable[..., Awaitable[Sequence[Sign]]],
    *arguments: object,
    seconds: float = CHECK_SECONDS,
) -> Check:
    """Return a check that looks with some arguments; see `Check`."""
    return Check(
        id=check_id,
        area=area,
        subject=subject,
        well=well,
        run=partial(look, *arguments),
        seconds=seconds,
    )


def _revert(stack: str, region: str) -> str:
    """Return the commands that make a stack what its template says.

    A plain deployment of an unchanged template changes nothing, whatever became of the resources
    (AWS documentation: "Using drift-aware change sets").
    """
    create = aws(
        "cloudformation create-change-set",
        use_previous_template=True,
        deployment_mode="REVERT_DRIFT",
        capabilities=["CAPABILITY_NAMED_IAM"],
        **_change(region),
    )
    wait = aws("cloudformation wait change-set-create-complete", **_change(region))
    execute = aws("cloudformation execute-change-set", **_change(region))
    return f"{create} && {wait} && {execute}".replace(_STACK, stack)


def _change(region: str) -> dict[str, str]:
    return {"stack_name": _STACK, "change_set_name": "ledgerock-doctor", "region": region}
