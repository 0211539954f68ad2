"""What code can ask of AWS, computed from the code itself.

1. The code is opened by the real bootstrap with the very environment that is deployed; which lines
   of the bootstrap run says which adapters there are, and who is handed to whom.
2. From there, and from the handler, the call graph says which functions can come to run.
3. Each text, or name of a method, in those of `worker.adapters` that is an operation of a client
   that their module works with is a request (`botocore` knows all operations).
4. A request takes the permission of its name, with the exceptions below.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import Any, Final
from unittest.mock import patch

import botocore.session
from botocore import xform_name

from tests.infra.call_graph import Code, Reach
from tests.infra.code_references import Body, Loose, Reference, Text, Virtual
from worker.adapters import iam_tagging
from worker.adapters.aws_client import AwsClient
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.dynamodb_state import StateTable
from worker.settings import Settings

ADAPTERS: Final = "worker.adapters."
DYNAMO: Final = Dynamo.__module__
STATE: Final = StateTable.__module__
OPENING: Final = ("worker.bootstrap.", "handlers.opening.")
"""Code that puts things together: of what runs of it at the start, lines count one by one."""

ACTIONS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    # A notification may name a version of its object, which is another permission.
    ("s3", "get_object"): ("s3:GetObject", "s3:GetObjectVersion"),
    ("s3", "list_objects_v2"): ("s3:ListBucket",),
    ("sqs", "delete_message_batch"): ("sqs:DeleteMessage",),
    ("sqs", "change_message_visibility_batch"): ("sqs:ChangeMessageVisibility",),
    # Nobody needs a permission for it (API reference: GetCallerIdentity).
    ("sts", "get_caller_identity"): (),
    # A transaction takes the permissions of what is in it, see `TRANSACTIONS`.
    ("dynamodb", "transact_write_items"): (),
}
"""Permissions of requests whose names differ from theirs."""
TRANSACTIONS: Final = {
    "Put": "dynamodb:PutItem",
    "Update": "dynamodb:UpdateItem",
    "Delete": "dynamodb:DeleteItem",
    "ConditionCheck": "dynamodb:ConditionCheckItem",
}
"""Permissions by what a transaction consists of (AWS documentation: "Using IAM with DynamoDB
transactions")."""
HOLES: Final = {"worker.adapters.iam_tagging": tuple(iam_tagging._NAMES)}
"""What stands for `{}` in texts that are formatted."""


# --- Opening ----------------------------------------------------------------------------------


async def _no_answer(_self: object, operation: str, _arguments: object = None, **_: Any) -> Any:
    """Answer as empty tables and an empty Parameter Store do."""
    empty: dict[str, Any] = {
        "batch_get_item": {"Responses": {}},
        "get_item": {},
        "get_parameters_by_path": {"Parameters": []},
        "put_item": {},
        "query": {"Items": []},
    }
    return empty[operation]


def opened(open_it: Callable[[], AbstractAsyncContextManager[Any]]) -> dict[str, frozenset[int]]:
    """Open something, and return which lines of which opening function ran, by full name."""
    lines: dict[str, set[int]] = {}

    def trace(frame: FrameType, _event: str, _argument: object) -> Any:
        module = frame.f_globals.get("__name__", "")
        if not f"{module}.".startswith(OPENING):
            return None
        # What a function defines within itself is part of it.
        outer = frame.f_code.co_qualname.partition(".<locals>")[0]
        lines.setdefault(f"{module}.{outer}", set()).add(frame.f_lineno)
        return trace

    async def run() -> None:
        async with open_it():
            pass

    before = sys.gettrace()
    with (
        patch.object(Dynamo, "_once", _no_answer),
        patch.object(AwsClient, "request", _no_answer),
    ):
        sys.settrace(trace)
        try:
            asyncio.run(run())
        finally:
            sys.settrace(before)
    return {name: frozenset(found) for name, found in lines.items()}


# --- Requests ---------------------------------------------------------------------------------


@cache
def operations(service: str) -> Mapping[str, str]:
    """Return the operations of a service by the names of its client's methods."""
    session = botocore.session.get_session()
    return {xform_name(one): one for one in session.get_service_model(service).operation_names}


@cache
def all_services() -> frozenset[str]:
    """Return all services that the SDK knows."""
    return frozenset(botocore.session.get_session().get_available_services())


class Asking:
    """What functions of adapters ask for.

    Args:
        code: The code.
    """

    def __init__(self, code: Code) -> None:
        self.code = code
        self._own: dict[str, set[str]] = {}
        for body in code.bodies.values():
            if body.module.startswith(ADAPTERS) and body.module != AwsClient.__module__:
                found = _texts(body.references, body) & all_services()
                self._own.setdefault(body.module, set()).update(found)

    @cache  # noqa: B019 - there is one, for all tests
    def services(self, module: str) -> frozenset[str]:
        """Return the services whose clients a module of adapters works with: it makes them, or
        one that it imports does."""
        found, left, seen = set(), [module], {module}
        while left:
            one = left.pop()
            found |= self._own.get(one, set())
            imported = {name for name in self.code.imports[one] if name.startswith(ADAPTERS)}
            left += (imported & self.code.imports.keys()) - seen
            seen |= imported
        return frozenset(found)

    def actions(self, reach: Reach) -> dict[str, str]:
        """Return the permissions that whatever can come to run takes, and where."""
        found: dict[str, str] = {}
        for name in sorted(reach.bodies):
            body = self.code.bodies[name]
            if not body.module.startswith(ADAPTERS):
                continue
            references = list(reach.references(name))
            for service, method in self._requests(body, references):
                prefix = f"{service}:"
                named = (prefix + operations(service)[method],)
                for action in ACTIONS.get((service, method), named):
                    found.setdefault(action, name)
            if "dynamodb" in self.services(body.module):
                for part in _texts(references, body) & TRANSACTIONS.keys():
                    found.setdefault(TRANSACTIONS[part], name)
        return found

    def of_tables(self, reach: Reach) -> dict[str, frozenset[str]]:
        """Return the permissions on the tables of the `ledger` and of the `state` beside it.

        Whatever works with the state's table, imports its module; all else works with the ledger.
        """
        found: dict[str, set[str]] = {"ledger": set(), "state": set()}
        for name in reach.bodies:
            body = self.code.bodies[name]
            if body.module == DYNAMO or "dynamodb" not in self.services(body.module):
                continue
            is_state = body.module == STATE or STATE in self.code.imports[body.module]
            actions = found["state" if is_state else "ledger"]
            references = list(reach.references(name))
            texts = _texts(references, body)
            for method in texts & operations("dynamodb").keys():
                named = (f"dynamodb:{operations('dynamodb')[method]}",)
                actions.update(ACTIONS.get(("dynamodb", method), named))
            actions.update(TRANSACTIONS[part] for part in texts & TRANSACTIONS.keys())
            for one in references:
                if isinstance(one, Virtual) and f"{DYNAMO}.Dynamo.{one.member}" in reach.bodies:
                    actions |= self._through(one.member)
        return {table: frozenset(actions) for table, actions in found.items()}

    @cache  # noqa: B019 - as above
    def _through(self, method: str) -> frozenset[str]:
        """Return what a method of the client of DynamoDB asks for by itself."""
        return frozenset(self.actions(Reach(self.code, [f"{DYNAMO}.Dynamo.{method}"])))

    def _requests(self, body: Body, references: list[Reference]) -> set[tuple[str, str]]:
        names = _texts(references, body) | {
            one.member for one in references if isinstance(one, Loose)
        }
        return {
            (service, name)
            for service in self.services(body.module)
            for name in names & operations(service).keys()
        }


def _texts(references: list[Reference], body: Body) -> set[str]:
    """Return the texts of a body, their holes filled."""
    found: set[str] = set()
    for one in references:
        if isinstance(one, Text):
            for text in one.texts:
                holes = HOLES.get(body.module, ()) if "{}" in text else ()
                found.update(text.replace("{}", hole) for hole in holes)
                found.add(text)
    return found


# --- What a setting shuts ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gate:
    """Functions that are not entered under some settings, for a reason that types do not show.

    Attributes:
        names: Full names.
        is_shut: Under which settings.
        reason: Why; tests of those functions prove it.
    """

    names: tuple[str, ...]
    is_shut: Callable[[Settings], bool]
    reason: str


GATES: Final = (
    Gate(
        (
            "worker.adapters.dynamodb_requests.Dynamo.create_table",
            "worker.adapters.dynamodb_requests.Dynamo.expire",
            "worker.adapters.dynamodb_state.StateTable._let_items_expire",
        ),
        lambda settings: not settings.create_tables,
        "tables are made on emulators alone; a deployment makes its own",
    ),
    Gate(
        ("worker.enforcer.enforcer.Enforcer._carry_out",),
        lambda settings: settings.enforcement.acts != "worker",
        "Enforcer.run_due does nothing with `off`, and reminds the workflows with `workflows`",
    ),
    Gate(
        ("worker.adapters.iam_requests.IamRequests.set_key",),
        lambda settings: settings.enforcement.mode != "detach",
        "keys are made inactive in mode `detach`, and active again after it",
    ),
    Gate(
        ("worker.adapters.iam_clients.AssumingClient.assume",),
        lambda settings: not settings.enforcement.role,
        "IamClients._made assumes a role only if there is one",
    ),
)
CALLED_BY_OTHERS: Final = ("worker.adapters.iam_clients._Assumed.load",)
"""Functions that the SDK calls, with what our code made."""


def shut_by(settings: Settings) -> frozenset[str]:
    """Return the functions that are not entered under some settings."""
    return frozenset(name for gate in GATES if gate.is_shut(settings) for name in gate.names)
