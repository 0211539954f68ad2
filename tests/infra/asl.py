"""Runs what our workflows use of the Amazon States Language, in memory and without waiting.

Only that: an unknown field, state or function is an error of the test. AWS documentation: "Using
Amazon States Language to define Step Functions workflows".
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Json = dict[str, Any]
Task = Callable[[Json], Any]
"""Does a task: takes the payload of the function and returns its answer, or raises."""

STATES_MAX: Final = 500
FIELDS: Final = {
    "Pass": {"Type", "Parameters", "Next"},
    "Choice": {"Type", "Choices", "Default"},
    "Wait": {"Type", "TimestampPath", "Next"},
    "Task": {
        "Type",
        "Resource",
        "Parameters",
        "ResultSelector",
        "ResultPath",
        "TimeoutSeconds",
        "Retry",
        "Catch",
        "Next",
    },
    "Succeed": {"Type"},
    "Fail": {"Type", "Error", "Cause"},
}
_STEP: Final = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\['([^']+)'\]")


class TaskError(Exception):
    """An error of a task, by its name."""

    def __init__(self, name: str, cause: str = "") -> None:
        super().__init__(name)
        self.name = name
        self.cause = cause


@dataclass
class Ended:
    """How an execution ended.

    Attributes:
        state: The last state.
        status: `SUCCEEDED` or `FAILED`.
        entered: All states in order.
        waited: The instants that were waited for.
        failures: Attempts at tasks that failed.
        error: Of an execution that failed.
    """

    state: str = ""
    status: str = ""
    entered: list[str] = field(default_factory=list)
    waited: list[str] = field(default_factory=list)
    failures: int = 0
    error: str = ""


def run(
    definition: Json,
    event: Json,
    task: Task,
    *,
    execution: str = "execution-1",
    wait: Callable[[str], object] = lambda _timestamp: None,
) -> Ended:
    """Run an execution to its end.

    Args:
        definition: Of the state machine.
        event: The input.
        task: Does tasks.
        execution: Its id.
        wait: Called for each wait, with the instant that is waited for.
    """
    ended = Ended()
    data: Any = event
    context = {"Execution": {"Id": execution}}
    name = definition["StartAt"]
    for _ in range(STATES_MAX):
        state = definition["States"][name]
        assert state.keys() <= FIELDS[state["Type"]], f"{name}: {state.keys()}"
        ended.entered.append(name)
        match state["Type"]:
            case "Pass":
                data, name = _template(state["Parameters"], data, context), state["Next"]
            case "Choice":
                name = _chosen(state, data, context)
            case "Wait":
                ended.waited.append(read(state["TimestampPath"], data, context))
                wait(ended.waited[-1])
                name = state["Next"]
            case "Task":
                data, name = _task(state, data, context, task, ended)
            case kind:
                ended.state = name
                ended.status = "SUCCEEDED" if kind == "Succeed" else "FAILED"
                ended.error = state.get("Error", "")
                return ended
    message = f"no end after {STATES_MAX} states: {ended.entered[-10:]}"
    raise AssertionError(message)


def _task(state: Json, data: Any, context: Json, task: Task, ended: Ended) -> tuple[Any, str]:
    attempts = 0
    while True:
        try:
            given = _template(state["Parameters"], data, context)
            answer = {"StatusCode": 200, "Payload": task(given["Payload"])}
        except TaskError as error:
            attempts += 1
            ended.failures += 1
            if attempts <= _attempts(state["Retry"], error.name):
                continue
            caught = _catcher(state["Catch"], error.name)
            failure = {"Error": error.name, "Cause": error.cause}
            return _put(data, caught["ResultPath"], failure), caught["Next"]
        result = _template(state["ResultSelector"], answer, context)
        return _put(data, state["ResultPath"], result), state["Next"]


def _attempts(retries: list[Json], error: str) -> int:
    return next((one["MaxAttempts"] for one in retries if error in one["ErrorEquals"]), 0)


def _catcher(catchers: list[Json], error: str) -> Json:
    return next(one for one in catchers if {error, "States.ALL"} & set(one["ErrorEquals"]))


def _chosen(state: Json, data: Any, context: Json) -> str:
    for choice in state["Choices"]:
        assert choice.keys() == {"Variable", "StringEquals", "Next"}
        if read(choice["Variable"], data, context) == choice["StringEquals"]:
            following: str = choice["Next"]
            return following
    default: str = state["Default"]
    return default


def read(path: str, data: Any, context: Mapping[str, Any]) -> Any:
    """Read a JSONPath: members alone, of the data (`$`) or of the context (`$$`)."""
    value: Any = context if path.startswith("$$") else data
    rest = path.lstrip("$")
    for step in _STEP.finditer(rest):
        value = value[step[1] or step[2]]
    assert _STEP.sub("", rest) == "", path
    return value


def _template(template: Any, data: Any, context: Json) -> Any:
    if not isinstance(template, dict):
        return template
    return {
        name.removesuffix(".$"): read(value, data, context)
        if name.endswith(".$")
        else _template(value, data, context)
        for name, value in template.items()
    }


def _put(data: Json, path: str, value: Any) -> Json:
    [step] = _STEP.findall(path.removeprefix("$"))
    return {**data, step[0] or step[1]: value}
