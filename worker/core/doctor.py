"""What a check-up found: what is wrong, why it matters, and the command that mends it. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from worker.core.errors import LedgerockError

Verdict = Literal["wrong", "unknown", "warning", "ok"]
Option = str | int | bool | Sequence[str] | Sequence[Mapping[str, object]] | Mapping[str, object]

VERDICTS: Final[tuple[Verdict, ...]] = ("wrong", "unknown", "warning", "ok")
"""The worst first."""
AREAS: Final = (
    "account",
    "invocation logs",
    "events",
    "queues and streams",
    "tables",
    "workers",
    "announcing",
    "enforcement",
    "usage",
    "principals",
)
"""What findings are grouped by, in the order in which a call goes through them."""


class CannotReadError(LedgerockError):
    """Something could not be looked at, so that nothing can be said of it.

    Attributes:
        permission: What is to be allowed, if that is why (`sqs:GetQueueAttributes`); else empty.
    """

    def __init__(self, message: str, permission: str = "") -> None:
        """Say what could not be read and why."""
        super().__init__(message)
        self.permission = permission


class Sign(msgspec.Struct, frozen=True):
    """One thing that a check saw.

    Attributes:
        verdict: How bad it is; `ok` for what is worth knowing and no fault.
        what: What is so, one line.
        why: Why it matters.
        mend: The command that mends it; where there is none, what a person is to do.
    """

    verdict: Verdict
    what: str
    why: str = ""
    mend: str = ""


class Finding(msgspec.Struct, frozen=True):
    """A sign, and where it was seen.

    Attributes:
        check: Names the check: `queue`, `table`, ...
        area: One of `AREAS`.
        subject: What was looked at: a queue's URL, a table's name, `us-east-1`.
        verdict: As of the sign.
        what: As of the sign.
        why: As of the sign.
        mend: As of the sign.
    """

    check: str
    area: str
    subject: str
    verdict: Verdict
    what: str
    why: str = ""
    mend: str = ""


class Unchecked(msgspec.Struct, frozen=True):
    """What cannot be looked at from here, by its nature, and how it can be."""

    what: str
    how: str


class Diagnosis(msgspec.Struct, frozen=True):
    """Everything that a check-up found.

    Attributes:
        patient: What was looked at: a stage's path, or the ledger of the environment.
        findings: The worst first, then by area and subject.
        unchecked: What was not looked at.
    """

    patient: str
    findings: tuple[Finding, ...]
    unchecked: tuple[Unchecked, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong, and everything could be looked at; warnings are allowed."""
        return not any(one.verdict in {"wrong", "unknown"} for one in self.findings)

    def count(self, verdict: Verdict) -> int:
        """Return how many findings there are of a kind."""
        return sum(one.verdict == verdict for one in self.findings)

    @property
    def summary(self) -> str:
        """Return one line on all of it."""
        words = {
            "wrong": "wrong",
            "unknown": "could not be looked at",
            "warning": "to think about",
            "ok": "well",
        }
        parts = [
            f"{self.count(verdict)} {words[verdict]}"
            for verdict in VERDICTS
            if self.count(verdict) or verdict in {"wrong", "ok"}
        ]
        return f"{self.patient} is {'well' if self.is_well else 'not well'}: {', '.join(parts)}"


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings the worst first, then by area, subject and what they say."""
    return tuple(
        sorted(
            findings,
            key=lambda one: (
                VERDICTS.index(one.verdict),
                AREAS.index(one.area),
                one.subject,
                one.check,
                one.what,
            ),
        )
    )


def finding_of(sign: Sign, *, check: str, area: str, subject: str) -> Finding:
    """Return a sign with where it was seen."""
    return Finding(check, area, subject, sign.verdict, sign.what, sign.why, sign.mend)


def unreadable(error: CannotReadError, caller: str = "") -> Sign:
    """Return what it means that something could not be looked at.

    Args:
        error: Why.
        caller: ARN of whoever looked; empty if that is not known.
    """
    mend = "run `ledgerock doctor` again; if it stays, mend what the message names"
    if error.permission:
        whom = caller or "whoever runs this"
        mend = f"allow {error.permission} to {whom}; docs/doctor.md has the whole policy"
    return Sign(
        "unknown",
        str(error),
        "nothing can be said of what cannot be looked at: it may be broken",
        mend,
    )


def aws(command: str, *, region: str = "", **options: Option) -> str:
    """Return a command of the AWS command-line tool, quoted for a shell.

    Args:
        command: Service and operation: `sqs set-queue-attributes`.
        region: Of the service; empty for that of the environment.
        **options: By name, with underscores; True is a flag, False its opposite (`--no-...`), a
            map is written as JSON, and so are several; several texts are as many words.
    """
    words = ["aws", *command.split()]
    for name, value in options.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
            continue
        words.append(f"--{option}")
        if isinstance(value, str | int):
            words.append(str(value))
        elif isinstance(value, Mapping) or not all(isinstance(one, str) for one in value):
            words.append(json.dumps(value, separators=(",", ":")))
        else:
            words += [str(one) for one in value]
    if region:
        words += ["--region", region]
    return " ".join(shlex.quote(word) for word in words)


def age(milliseconds: int) -> str:
    """Return a time span as people say it: `42 seconds`, `7 minutes`, `3 hours`, `2 days`."""
    seconds = max(milliseconds, 0) // 1000
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}s"
    return f"{seconds} second{'' if seconds == 1 else 's'}"
