"""The Step Functions workflows of enforcement, in the Amazon States Language (ASL, JSONPath).

    suspension   notify -> wait until the deadline -> check again -> apply -> verify -> record
                 -> announce, or stand down
    restoration  check -> apply -> verify -> record -> announce, or stand down

What starts them. `Budget Grace Period Started` starts a suspension that waits: its deadline may
move or vanish meanwhile, so that what counts is the check after the wait, which may say to wait
again. `Principal Suspension Required` starts one that checks at once: of a member of a team or
pool, of a hold that was put by hand, and of one whose grace was served already. The hold that the
first one puts at the deadline causes the second event, so that a principal may have two
executions. They never act twice: an execution claims the suspension by its own id before it
acts, the other one is told to wait, and then finds it done and stands down.
`Principal Restoration Required` starts a restoration.

Every task is one function (`handlers.enforcement`) with a `step`. It answers
`{"decision", "deadline", "work"}`: what is to be done, until when a `wait` lasts, and what the
next step needs of this one. It raises errors by name: those that pass are tried again with
backoff, any other is recorded as a failure, which people are told of. The failure's own answer
says whether to try again later, or that a person is needed. `Suspended` and `Restored` come
after the verification alone; whatever else goes wrong ends an execution as failed.

AWS documentation: "Handling errors in Step Functions workflows"; "Handle transient Lambda service
exceptions" for the errors of Lambda itself; "Invoke an AWS Lambda function with Step Functions"
for the shape of a task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

Purpose = Literal["suspension", "restoration"]
Json = dict[str, Any]

SOURCE: Final = "ledgerock"
GRACE_STARTED: Final = "Budget Grace Period Started"
SUSPENSION_REQUIRED: Final = "Principal Suspension Required"
RESTORATION_REQUIRED: Final = "Principal Restoration Required"
"""Source and detail types of our own events; a test compares them with the events' own names."""

PASSING_ERRORS: Final = (
    "TransientError",
    "DeferredError",
    "States.Timeout",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
)
"""What a task is tried again after at once: our own names, and Lambda's for faults of its own.

`Lambda.Unknown` is a function that was killed: out of time, or of memory. Steps are safe to do
again after that, wherever they stopped.
"""

ENDS: Final = {"suspension": "Suspended", "restoration": "Restored"}
_INPUT: Final = "Read Event"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often and how fast a task is tried again after an error that passes.

    Attributes:
        interval_seconds: Before the second attempt.
        attempts: Further attempts at most.
        backoff: Each interval is that many times the one before.
        interval_seconds_max: No interval is longer.
        task_seconds: How long one attempt may take.
    """

    interval_seconds: int = 2
    attempts: int = 6
    backoff: int = 2
    interval_seconds_max: int = 60
    task_seconds: int = 300


RETRIES: Final = Retries()


def suspension_definition(
    function_arn: str, *, partition: str = "aws", retries: Retries = RETRIES
) -> Json:
    """Return the definition of the suspension workflow.

    Args:
        function_arn: ARN of the function that does the steps, or a CloudFormation reference's
            placeholder.
        partition: `aws`, `aws-cn` or `aws-us-gov`: part of the ARN of Lambda's integration.
        retries: Of its tasks.
    """
    build = _Builder("suspension", function_arn, partition, retries)
    states = {
        _INPUT: _read_event("What Happened"),
        "What Happened": _choice(
            "$.kind",
            {GRACE_STARTED: "Notify", SUSPENSION_REQUIRED: "Check Again"},
            "Not Understood",
        ),
        # Whoever cannot be told now is told later; it is the check that says how long to wait.
        "Notify": build.task("notify", "Wait Until Deadline", failed="Check Again"),
        "Wait Until Deadline": _wait("Check Again"),
        "Check Again": build.task("check", "Decide"),
        "Decide": _choice(
            "$.answer.decision",
            {
                "act": "Apply",
                "wait": "Wait Until Deadline",
                "stand_down": "Stand Down",
                "needs_person": "Needs Person",
            },
            "Not Understood",
        ),
        **_acting(build),
    }
    return _machine("Suspends a principal that is over budget, after its grace.", states)


def restoration_definition(
    function_arn: str, *, partition: str = "aws", retries: Retries = RETRIES
) -> Json:
    """Return the definition of the restoration workflow; arguments as of the suspension's."""
    build = _Builder("restoration", function_arn, partition, retries)
    states = {
        _INPUT: _read_event("What Happened"),
        "What Happened": _choice("$.kind", {RESTORATION_REQUIRED: "Check Again"}, "Not Understood"),
        "Check Again": build.task("check", "Decide"),
        "Decide": _choice(
            "$.answer.decision",
            {
                "act": "Apply",
                "wait": "Wait To Try Again",
                "stand_down": "Stand Down",
                "needs_person": "Needs Person",
            },
            "Not Understood",
        ),
        **_acting(build),
    }
    return _machine("Restores a principal that no budget holds any more.", states)


def suspension_pattern() -> Json:
    """Return the EventBridge pattern of the events that start a suspension."""
    return _pattern(GRACE_STARTED, SUSPENSION_REQUIRED)


def restoration_pattern() -> Json:
    """Return the EventBridge pattern of the event that starts a restoration."""
    return _pattern(RESTORATION_REQUIRED)


def _pattern(*detail_types: str) -> Json:
    return {"source": [SOURCE], "detail-type": list(detail_types)}


# --- States -----------------------------------------------------------------------------------


class _Builder:
    """Makes the tasks of one workflow."""

    def __init__(
        self, purpose: Purpose, function_arn: str, partition: str, retries: Retries
    ) -> None:
        self.purpose = purpose
        self._function_arn = function_arn
        self._resource = f"arn:{partition}:states:::lambda:invoke"
        self._retries = retries

    def task(self, step: str, following: str, *, failed: str = "Record Failure") -> Json:
        """Return a task that does a step.

        Args:
            step: Its name, as the function knows it.
            following: The state after it.
            failed: The state after an error that is not tried again, or too often.
        """
        retries = self._retries
        return {
            "Type": "Task",
            "Resource": self._resource,
            "Parameters": {
                "FunctionName": self._function_arn,
                "Payload": {
                    "workflow": self.purpose,
                    "step": step,
                    "execution.$": "$$.Execution.Id",
                    "kind.$": "$.kind",
                    "detail.$": "$.detail",
                    "work.$": "$.answer.work",
                    "error.$": "$.error",
                },
            },
            "ResultSelector": {
                "decision.$": "$.Payload.decision",
                "deadline.$": "$.Payload.deadline",
                "work.$": "$.Payload.work",
            },
            "ResultPath": "$.answer",
            "TimeoutSeconds": retries.task_seconds,
            "Retry": [
                {
                    "ErrorEquals": list(PASSING_ERRORS),
                    "IntervalSeconds": retries.interval_seconds,
                    "MaxAttempts": retries.attempts,
                    "BackoffRate": retries.backoff,
                    "MaxDelaySeconds": retries.interval_seconds_max,
                    "JitterStrategy": "FULL",
                }
            ],
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": failed}],
            "Next": following,
        }


def _acting(build: _Builder) -> Json:
    """Return the states from acting to the ends, which both workflows have."""
    end = ENDS[build.purpose]
    return {
        "Apply": build.task("apply", "Verify"),
        "Verify": build.task("verify", "Is It Verified"),
        "Is It Verified": _choice("$.answer.decision", {"verified": "Record"}, "Record Failure"),
        "Record": build.task("record", "Announce"),
        # By now it is done and written down, and so is what people are told of it: whatever
        # cannot be announced now, the announcer announces later.
        "Announce": build.task("announce", end, failed=end),
        "Stand Down": build.task("stand_down", "Stood Down", failed="Not Recorded"),
        "Record Failure": build.task("fail", "After Failure", failed="Not Recorded"),
        "After Failure": _choice(
            "$.answer.decision",
            {
                "wait": "Wait To Try Again",
                "stand_down": "Stand Down",
                "needs_person": "Needs Person",
            },
            "Failed",
        ),
        "Wait To Try Again": _wait("Check Again"),
        end: {"Type": "Succeed"},
        "Stood Down": {"Type": "Succeed"},
        "Needs Person": _fail("NeedsPerson", "AWS offers no way to do this; a person has to."),
        "Failed": _fail("Failed", "It failed, and is recorded so; `ledgerock principals show`."),
        "Not Recorded": _fail("NotRecorded", "It failed, and not even that could be recorded."),
        "Not Understood": _fail("NotUnderstood", "An event or an answer that nobody expected."),
    }


def _machine(comment: str, states: Json) -> Json:
    return {"Comment": comment, "QueryLanguage": "JSONPath", "StartAt": _INPUT, "States": states}


def _read_event(following: str) -> Json:
    """Return the state that keeps of an event what the steps need."""
    return {
        "Type": "Pass",
        "Parameters": {
            "kind.$": "$['detail-type']",
            "detail.$": "$.detail",
            "answer": {"decision": "", "deadline": "", "work": {}},
            "error": {"Error": "", "Cause": ""},
        },
        "Next": following,
    }


def _choice(variable: str, following: dict[str, str], default: str) -> Json:
    choices = [
        {"Variable": variable, "StringEquals": text, "Next": state}
        for text, state in following.items()
    ]
    return {"Type": "Choice", "Choices": choices, "Default": default}


def _wait(following: str) -> Json:
    return {"Type": "Wait", "TimestampPath": "$.answer.deadline", "Next": following}


def _fail(error: str, cause: str) -> Json:
    return {"Type": "Fail", "Error": error, "Cause": cause}
