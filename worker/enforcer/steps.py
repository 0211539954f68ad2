"""The steps of suspension and restoration one by one, for workflows that drive them from outside.

Each is a plain function of `StepTask`, safe to do again after any failure, at any point, and
reads afresh what is to be done: nothing that a workflow carries along is believed.

step        what it does                                         decision
check       reads how the suspension stands; writes nothing      act, wait, stand_down,
                                                                 needs_person
apply       claims the suspension for `claim`; writes snapshots  applied
            once; suspends or restores, whichever is wanted
verify      reads back from IAM                                  verified, or raises
record      verifies once more, then writes down the phase, the  recorded
            audit entry, and the notice that people are told of
announce    announces what waits of this principal               announced
fail        writes down why a step failed, and tells people;     wait, needs_person, stand_down
            gives the claim back
stand_down  gives the claim back, if it is ours                  stood_down

What they raise, by class name: `TransientError` (try again at once, with backoff; also while
somebody else's claim holds), any other `EnforcementError` (`MissingPrincipalError`,
`NeedsPersonError`, `ProtectedPrincipalError`, `UnverifiedError`: go to `fail`), `ChangedError`
(what is wanted changed meanwhile: go to `fail`, which says `stand_down`).
`fail` without an error that it knows records what `StepTask.cause` says.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Workflow = Literal["suspension", "restoration"]
Decision = Literal[
    "act",
    "wait",
    "stand_down",
    "needs_person",
    "applied",
    "verified",
    "recorded",
    "announced",
    "stood_down",
]


class StepTask(msgspec.Struct, frozen=True):
    """What a step is asked to do.

    Attributes:
        workflow: Which one asks. A suspension never restores, nor the other way round: it
            stands down where the opposite is wanted by now.
        principal: Whose suspension.
        claim: Names the execution; the same in all its steps, so that one execution acts.
        error: For `fail`: class name of the error that a step raised.
        cause: For `fail`: its message.
    """

    workflow: Workflow
    principal: str
    claim: str
    error: str = ""
    cause: str = ""


class StepAnswer(msgspec.Struct, frozen=True):
    """What came of a step.

    Attributes:
        decision: See the table.
        deadline_ms: For `wait`: until when, epoch milliseconds UTC; 0 otherwise.
        reason: Why, one line for people.
        suspension_id: Which suspension; empty if there is none.
        phase: How far it was carried out.
    """

    decision: Decision
    deadline_ms: int = 0
    reason: str = ""
    suspension_id: str = ""
    phase: str = "clear"
