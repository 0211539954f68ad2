"""Every fault that is planted into a healthy stage is found, by its check and no other."""

import re
import shlex

import pytest

from tests.aws_command import parse
from tests.calls import asynchronous
from tests.unit.doctor.faults import FAULTS
from tests.unit.doctor.planting import Fault
from tests.unit.doctor.world import World
from worker.cli.main import app
from worker.doctor.examination import checks_of

ONLY_IN_THE_PROGRAM = {("cloudtrail", "create-subscription"), ("logs", "tail")}
"""Commands that AWS's command-line tool has and its API has not."""
RENAMED = {"s3api": "s3"}
"""What that tool calls otherwise than the API does (AWS documentation: "AWS CLI Command
Reference")."""


@asynchronous
async def test_a_healthy_stage_is_well_in_every_respect() -> None:
    diagnosis = await World().examined()
    assert [one for one in diagnosis.findings if one.verdict != "ok"] == []
    assert diagnosis.is_well
    made = {check.id for check in checks_of(World().patient())}
    assert {one.check for one in diagnosis.findings} == made
    assert {fault.check for fault in FAULTS} == made - {"enforcement-settings"}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@asynchronous
async def test_a_fault_is_found_by_its_check_and_by_no_other(fault: Fault) -> None:
    world = World()
    await fault.plant(world)
    [found] = await world.found()
    assert (found.check, found.verdict) == (fault.check, fault.verdict)
    assert fault.says in found.what
    assert fault.mend in found.mend
    assert found.why
    assert (await world.examined()).is_well == (fault.verdict == "warning")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@asynchronous
async def test_what_mends_a_fault_is_a_command_that_there_is(fault: Fault) -> None:
    world = World()
    await fault.plant(world)
    [found] = await world.found()
    commands = commands_in(found.mend)
    for words in commands:
        check_command(words)
    if not commands:
        assert fault.name in {"table of texts", "topic half confirmed"}


def commands_in(mend: str) -> list[list[str]]:
    """Return the commands of a line for the shell, as their words."""
    found = []
    line = re.sub(r"  # .*", "", mend)
    line = re.sub(r"for stack in \$\((.*?)\); do (.*); done", r"\1; \2", line)
    for part in re.split(r"; | && |: (?=aws )", line):
        words = shlex.split(part)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words[:1] in (["aws"], ["ledgerock"]) or words[:1] == ["sudo"]:
            found.append(words)
    return found


def check_command(words: list[str]) -> None:
    program, *rest = words
    if program == "sudo":
        assert rest == ["timedatectl", "set-ntp", "true"]
    elif program == "aws":
        if tuple(rest[:2]) not in ONLY_IN_THE_PROGRAM:
            parse([RENAMED.get(word, word) for word in rest])
    else:
        names = [
            one.name or getattr(one.callback, "__name__", "") for one in app.registered_commands
        ]
        groups = [one.name for one in app.registered_groups]
        assert rest[0] in {*names, *groups}
