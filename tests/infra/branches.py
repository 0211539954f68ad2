"""Every branch of the workflows: what the steps answer, and where that must end.

`tests/infra` goes through them in memory, `tests/drill/test_workflows.py` in Step Functions.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from tests.infra.asl import TaskError
from worker.core.events import (
    BUDGET_GRACE_STARTED,
    BUDGET_REFRESHED,
    RESTORATION_REQUIRED,
    SUSPENSION_REQUIRED,
)

Answer = str | TaskError
STATES: Final = {
    "notify": "Notify",
    "check": "Check Again",
    "apply": "Apply",
    "verify": "Verify",
    "record": "Record",
    "announce": "Announce",
    "stand_down": "Stand Down",
    "fail": "Record Failure",
}
"""The state that does each step."""
PASSED: Final = "2026-11-01T12:00:00Z"
SLOW: Final = TaskError("TransientError", "AWS is throttling")
KILLED: Final = TaskError("Lambda.Unknown", "out of memory")
MISSING: Final = TaskError("MissingPrincipalError", "there is no user alice")
UNABLE: Final = TaskError("NeedsPersonError", "IAM cannot change an Identity Center role")
UNVERIFIED: Final = TaskError("UnverifiedError", "not complete yet: the deny policy")
CHANGED: Final = TaskError("ChangedError", "the opposite is wanted by now")
BROKEN: Final = TaskError("FailedError", "KeyError at steps.py:7")
DONE: Final = ["Apply", "Verify", "Is It Verified", "Record", "Announce"]
CHECK: Final = ["Check Again", "Decide"]
FAILURE: Final = ["Record Failure", "After Failure"]
STANDING_DOWN: Final = ["Stand Down", "Stood Down"]


@dataclass(frozen=True)
class Branch:
    """One way through a workflow.

    Attributes:
        name: Letters alone.
        kind: Detail type of the event that starts it.
        path: The states that it must go through after `What Happened`, in order.
        answers: What each step answers, in order; the last answer of a step stays. Steps that
            are not named answer nothing in particular.
        status: How the execution must end.
        failures: Attempts that must have failed.
    """

    name: str
    kind: str
    path: list[str]
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    status: str = "SUCCEEDED"
    failures: int = 0

    @property
    def is_restoration(self) -> bool:
        return self.name.startswith("Restoration")

    @property
    def end(self) -> str:
        return self.path[-1]


def answer_of(decision: str, deadline: str = PASSED) -> dict[str, Any]:
    """Return what the function answers."""
    return {"decision": decision, "deadline": deadline, "work": {"claim": "c1"}}


def _both(
    name: str, path: list[str], answers: dict[str, list[Answer]] | None = None, **values: Any
) -> list[Branch]:
    """Return a branch that both workflows have, beginning with the check."""
    every: dict[str, list[Answer]] = {"check": ["act"], "verify": ["verified"], **(answers or {})}
    return [
        Branch(
            f"{workflow}{name}",
            kind,
            [end if state == "END" else state for state in path],
            every,
            **values,
        )
        for workflow, kind, end in (
            ("Suspension", SUSPENSION_REQUIRED, "Suspended"),
            ("Restoration", RESTORATION_REQUIRED, "Restored"),
        )
    ]


def _failing(name: str, path: list[str], failures: int, **answers: list[Answer]) -> list[Branch]:
    return _both(name, path, answers, status="FAILED", failures=failures)


GRACE: Final = [
    Branch(
        "GraceServed",
        BUDGET_GRACE_STARTED,
        ["Notify", "Wait Until Deadline", *CHECK, *DONE, "Suspended"],
        {"check": ["act"], "verify": ["verified"]},
    ),
    Branch(
        "GraceProlonged",
        BUDGET_GRACE_STARTED,
        [
            "Notify",
            *(["Wait Until Deadline", *CHECK] * 2),
            "Wait Until Deadline",
            *CHECK,
            *DONE,
            "Suspended",
        ],
        {"check": ["wait", "wait", "act"], "verify": ["verified"]},
    ),
    Branch(
        "GraceEndedByAHigherLimit",
        BUDGET_GRACE_STARTED,
        ["Notify", "Wait Until Deadline", *CHECK, *STANDING_DOWN],
        {"check": ["stand_down"]},
    ),
    Branch(
        "GraceToldLater",
        BUDGET_GRACE_STARTED,
        ["Notify", *CHECK, "Wait Until Deadline", *CHECK, *DONE, "Suspended"],
        {"notify": [BROKEN], "check": ["wait", "act"], "verify": ["verified"]},
        failures=1,
    ),
]
SAME_IN_BOTH: Final = [
    *_both("Done", [*CHECK, *DONE, "END"]),
    *_both("StoodDown", [*CHECK, *STANDING_DOWN], answers={"check": ["stand_down"]}),
    *_both(
        "SlowAtFirst",
        [*CHECK, *DONE, "END"],
        answers={"apply": [SLOW, KILLED, ""]},
        failures=2,
    ),
    *_both(
        "TriedAgainLater",
        [*CHECK, "Apply", *FAILURE, "Wait To Try Again", *CHECK, *DONE, "END"],
        answers={"apply": [MISSING, ""], "fail": ["wait"]},
        failures=1,
    ),
    *_both(
        "Overtaken",
        [*CHECK, "Apply", *FAILURE, *STANDING_DOWN],
        answers={"apply": [CHANGED], "fail": ["stand_down"]},
        failures=1,
    ),
    *_both("AnnouncedLater", [*CHECK, *DONE, "END"], answers={"announce": [BROKEN]}, failures=1),
    *_failing("CheckFails", ["Check Again", *FAILURE, "Failed"], 1, check=[BROKEN]),
    *_failing("ApplyFails", [*CHECK, "Apply", *FAILURE, "Failed"], 1, apply=[MISSING]),
    *_failing("ApplyStaysSlow", [*CHECK, "Apply", *FAILURE, "Failed"], 3, apply=[SLOW]),
    *_failing(
        "VerifyFails", [*CHECK, "Apply", "Verify", *FAILURE, "Failed"], 1, verify=[UNVERIFIED]
    ),
    *_failing(
        "NotVerified",
        [*CHECK, "Apply", "Verify", "Is It Verified", *FAILURE, "Failed"],
        0,
        verify=["missing"],
    ),
    *_failing("RecordFails", [*CHECK, *DONE[:4], *FAILURE, "Failed"], 1, record=[BROKEN]),
    *_failing(
        "NeedsPerson",
        [*CHECK, "Apply", *FAILURE, "Needs Person"],
        1,
        apply=[UNABLE],
        fail=["needs_person"],
    ),
    *_failing("KnownToNeedPerson", [*CHECK, "Needs Person"], 0, check=["needs_person"]),
    *_failing(
        "NotRecorded",
        [*CHECK, "Apply", "Record Failure", "Not Recorded"],
        2,
        apply=[MISSING],
        fail=[BROKEN],
    ),
    *_failing(
        "StandDownFails",
        [*CHECK, "Stand Down", "Not Recorded"],
        1,
        check=["stand_down"],
        stand_down=[BROKEN],
    ),
    *_failing("NotUnderstood", [*CHECK, "Not Understood"], 0, check=["whatever"]),
]
OTHERS: Final = [
    Branch(
        "RestorationWaits",
        RESTORATION_REQUIRED,
        [*CHECK, "Wait To Try Again", *CHECK, *DONE, "Restored"],
        {"check": ["wait", "act"], "verify": ["verified"]},
    ),
    *(
        Branch(f"{workflow}ForeignEvent", BUDGET_REFRESHED, ["Not Understood"], status="FAILED")
        for workflow in ("Suspension", "Restoration")
    ),
]
BRANCHES: Final = [*GRACE, *SAME_IN_BOTH, *OTHERS]
