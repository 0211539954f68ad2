"""`aws SERVICE OPERATION --option value ...`, as guides show it: checked, and run on an emulator.

AWS's own program pins a botocore of its own, which is not the one that the worker stands on. What
guides need of it is little: names and options are those of the API, in its own spelling, and the
descriptions of the services, which botocore has, say which there are and what type each has.
`Terminal` is that program for a guide's shell.
"""

import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

import botocore.session
import jmespath  # type: ignore[import-untyped]  # it has none
from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError

GLOBAL_OPTIONS: Final = {"--region", "--profile", "--query", "--output"}
"""Options of every command, each with a value."""
FILE_COMMANDS: Final = {"ls", "cp", "sync", "rm", "rb", "mb"}
"""Of `aws s3`, which is no service's API: known by name alone, and not run."""
ADDED: Final = {("ecr", "get-login-password"): "get-authorization-token"}
"""Commands that the program has beside the API's, and what they ask. They are not run."""
RENAMED: Final = {("sns", "subscribe", "--notification-endpoint"): "Endpoint"}
"""Options that the program calls otherwise, for the API's name means something else there."""
BY_SHELL: Final = re.compile(r"\$")
"""What a shell would put in: its type is not known before."""


class CommandError(ValueError):
    """No such service, operation or option; or a value that is not what it should be."""


@dataclass(frozen=True)
class Command:
    """A command that was understood.

    Attributes:
        service: Its name on the command line, `dynamodb`.
        operation: Its name there, `restore-table-from-backup`; of a waiter, what it waits for.
        arguments: As botocore takes them.
        waits: It is `aws SERVICE wait ...`.
        query: What is taken from the answer, in JMESPath.
        output: `json` or `text`.
        region: Where, if it says so.
    """

    service: str
    operation: str
    arguments: dict[str, Any]
    waits: bool = False
    query: str = ""
    output: str = "json"
    region: str = ""


@cache
def _session() -> Any:
    return botocore.session.get_session()


@cache
def _service(name: str) -> Any:
    try:
        return _session().get_service_model(name)
    except Exception as error:
        message = f"aws has no service {name!r}"
        raise CommandError(message) from error


def parse(words: Sequence[str]) -> Command:
    """Understand the words after `aws`.

    Raises:
        CommandError: AWS's own program would refuse them.
    """
    options, rest = _options(words)
    found = {name: options.pop(name) for name in GLOBAL_OPTIONS & options.keys()}
    if rest[:1] == ["s3"] and len(rest) > 1 and rest[1] in FILE_COMMANDS:
        return Command("s3", rest[1], {"paths": rest[2:]})
    waits = rest[1:2] == ["wait"]
    if len(rest) != 2 + waits:
        message = f"aws {' '.join(rest)}: a service and an operation, and options"
        raise CommandError(message)
    service, operation = rest[0], rest[-1]
    if waits:
        asked = _waiters(service).get(operation)
        if asked is None:
            message = f"aws {service} wait has no {operation!r}"
            raise CommandError(message)
    else:
        asked = ADDED.get((service, operation), operation)
    query = found.get("--query", "")
    if query:
        jmespath.compile(query)
    return Command(
        service=service,
        operation=operation,
        arguments=_arguments(service, asked, options),
        waits=waits,
        query=query,
        output=found.get("--output", "json"),
        region=found.get("--region", ""),
    )


def _options(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Tell options, each with its values, from what stands before them."""
    options: dict[str, Any] = {}
    rest: list[str] = []
    name = ""
    for word in words:
        if word.startswith("--"):
            name = word
            options[name] = []
        elif name:
            options[name].append(word)
        else:
            rest.append(word)
    for name in GLOBAL_OPTIONS & options.keys():
        values = options[name]
        if len(values) != 1:
            message = f"{name} takes one value"
            raise CommandError(message)
        options[name] = values[0]
    return options, rest


@cache
def _waiters(service: str) -> dict[str, str]:
    """Return what a service's waiters ask, both by their names on the command line."""
    _service(service)
    loader = _session().get_component("data_loader")
    described = loader.load_service_model(service, "waiters-2")["waiters"]
    return {
        xform_name(name, "-"): xform_name(one["operation"], "-") for name, one in described.items()
    }


def _arguments(service: str, operation: str, options: dict[str, list[str]]) -> dict[str, Any]:
    model = _service(service)
    names = {xform_name(name, "-"): name for name in model.operation_names}
    if operation not in names:
        message = f"aws {service} has no {operation!r}"
        raise CommandError(message)
    shape = model.operation_model(names[operation]).input_shape
    members = {} if shape is None else shape.members
    by_option = {f"--{xform_name(name, '-')}": name for name in members}
    for (its, one, renamed), member in RENAMED.items():
        if (its, one) == (service, operation):
            by_option = {key: value for key, value in by_option.items() if value != member}
            by_option[renamed] = member
    arguments: dict[str, Any] = {}
    for option, values in options.items():
        is_off = option.startswith("--no-") and option not in by_option
        name = by_option.get(f"--{option.removeprefix('--no-')}" if is_off else option)
        if name is None or (is_off and members[name].type_name != "boolean"):
            message = f"aws {service} {operation} has no option {option}"
            raise CommandError(message)
        arguments[name] = _value(members[name], [] if is_off else values, option, is_on=not is_off)
    missing = set([] if shape is None else shape.required_members) - arguments.keys()
    if missing:
        message = f"aws {service} {operation} needs {', '.join(sorted(missing))}"
        raise CommandError(message)
    return arguments


def _value(shape: Any, values: list[str], option: str, *, is_on: bool) -> Any:
    kind = shape.type_name
    if kind == "boolean" and not values:
        return is_on
    if not values:
        message = f"{option} has no value"
        raise CommandError(message)
    if kind == "list":
        if len(values) == 1 and values[0].startswith("["):
            return _json(values[0], option)
        return [_one(shape.member, text, option) for text in values]
    if len(values) != 1:
        message = f"{option} has {len(values)} values"
        raise CommandError(message)
    return _one(shape, values[0], option)


def _one(shape: Any, text: str, option: str) -> Any:
    """Read a value: JSON, the short form `Name=value,Name=value`, or the text itself."""
    kind = shape.type_name
    if kind in {"structure", "map"}:
        return _json(text, option) if text.startswith("{") else _short_form(shape, text, option)
    if kind in {"integer", "long"} and not BY_SHELL.search(text):
        if not re.fullmatch(r"-?[0-9]+", text):
            message = f"{option} is {text!r}, no number"
            raise CommandError(message)
        return int(text)
    if kind == "boolean":
        if text not in {"true", "false"}:
            message = f"{option} is {text!r}, neither true nor false"
            raise CommandError(message)
        return text == "true"
    choices = getattr(shape, "enum", None) if kind == "string" else None
    if choices and text not in choices and not BY_SHELL.search(text):
        message = f"{option} is {text!r}, none of {', '.join(choices)}"
        raise CommandError(message)
    return text


def _short_form(shape: Any, text: str, option: str) -> dict[str, Any]:
    pairs = [pair.partition("=") for pair in text.split(",")]
    if shape.type_name == "map":
        return {name: _one(shape.value, value, option) for name, _, value in pairs}
    unknown = [name for name, _, _ in pairs if name not in shape.members]
    if unknown:
        message = f"{option} has no {', '.join(unknown)}"
        raise CommandError(message)
    return {name: _one(shape.members[name], value, option) for name, _, value in pairs}


def _json(text: str, option: str) -> Any:
    if BY_SHELL.search(text):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        message = f"{option} is no JSON: {error}"
        raise CommandError(message) from error


# --- Running it ------------------------------------------------------------------------------


def run(command: Command, client_of: Callable[[str], Any]) -> str:
    """Run a command; return what it prints."""
    is_of_files = command.service == "s3" and command.operation in FILE_COMMANDS
    if is_of_files or (command.service, command.operation) in ADDED:
        message = f"aws {command.service} {command.operation} is checked, but not run"
        raise CommandError(message)
    client = client_of(command.service)
    method = command.operation.replace("-", "_")
    if command.waits:
        client.get_waiter(method).wait(
            **command.arguments, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        return ""
    if client.can_paginate(method):
        answer = client.get_paginator(method).paginate(**command.arguments).build_full_result()
    else:
        answer = getattr(client, method)(**command.arguments)
        answer.pop("ResponseMetadata", None)
    answer = json.loads(json.dumps(answer, default=_text))  # times are texts there
    if command.query:
        answer = jmespath.search(command.query, answer)
    if command.output == "text":
        return "".join(f"{line}\n" for line in _lines(answer))
    return "" if answer is None else f"{json.dumps(answer, indent=4)}\n"


def _lines(answer: Any) -> Iterator[str]:
    """Print as `--output text` does: a row a line, its cells with tabs between."""
    if not isinstance(answer, list):
        yield _text(answer)
    elif any(isinstance(one, list) for one in answer):
        for one in answer:
            yield from _lines(one)
    elif answer:
        yield "\t".join(map(_text, answer))


def _text(value: Any) -> str:
    if value is None:
        return "None"
    return value.isoformat() if isinstance(value, datetime) else str(value)


class Terminal:
    """Answers `aws ...` in a guide's shell from this process, where everything is loaded already.

    Args:
        folder: Gets a program `aws`, for the front of the shell's PATH.
        client: Makes a client of a service.
    """

    def __init__(self, folder: Path, client: Callable[[str], Any]) -> None:
        self._client = cache(client)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        program = folder / "aws"
        program.write_text(PROGRAM.format(sys.executable, self._server.getsockname()[1]))
        program.chmod(0o755)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                asking, _ = self._server.accept()
            except OSError:  # closed
                return
            with asking, asking.makefile("rw", encoding="utf-8") as stream:
                try:
                    answer = [0, run(parse(json.loads(stream.readline())), self._client)]
                except (CommandError, BotoCoreError, ClientError) as error:
                    answer = [1, f"aws: {error}\n"]
                stream.write(json.dumps(answer))


PROGRAM: Final = """#!{0} -SEI
import json, socket, sys
with socket.create_connection(("127.0.0.1", {1})) as asking, asking.makefile("rw") as stream:
    stream.write(json.dumps(sys.argv[1:]) + chr(10))
    stream.flush()
    code, text = json.load(stream)
(sys.stderr if code else sys.stdout).write(text)
sys.exit(code)
"""
"""What a shell runs as `aws`: it loads nothing, so that it takes no time."""
