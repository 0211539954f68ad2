"""How `ledgerock doctor` shows what it found."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from worker.cli.output import cells, console, printable, table
from worker.core.doctor import AREAS, VERDICTS, Diagnosis, Finding, Verdict

if TYPE_CHECKING:
    from rich.console import Console

_STYLES: Final[dict[Verdict, str]] = {
    "wrong": "bold red",
    "unknown": "bold magenta",
    "warning": "yellow",
    "ok": "green",
}


def diagnosis_document(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return everything that was found as one document."""
    return {
        "patient": diagnosis.patient,
        "well": diagnosis.is_well,
        "counts": {verdict: diagnosis.count(verdict) for verdict in VERDICTS},
        "findings": [
            {
                "check": one.check,
                "area": one.area,
                "subject": one.subject,
                "verdict": one.verdict,
                "what": one.what,
                "why": one.why or None,
                "mend": one.mend or None,
            }
            for one in diagnosis.findings
        ],
        "unchecked": [{"what": one.what, "how": one.how} for one in diagnosis.unchecked],
    }


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Print what is not well by area, each with why and what mends it; then what is; a summary."""
    out = console()
    ill = [one for one in diagnosis.findings if one.verdict != "ok"]
    for area, findings in groupby(_by_area(ill), key=lambda one: one.area):
        out.print(area.upper(), style="bold")
        for finding in findings:
            _print_finding(out, finding)
        out.print()
    well = [one for one in diagnosis.findings if one.verdict == "ok"]
    if well:
        columns = table(("area", "well", "what is so"))
        for finding in _by_area(well):
            columns.add_row(*cells(finding.area, finding.subject, finding.what))
        out.print(columns)
        out.print()
    for one in diagnosis.unchecked:
        out.print(f"not looked at: {printable(one.what)}", soft_wrap=True)
        out.print(f"  how: {printable(one.how)}", soft_wrap=True)
    if diagnosis.unchecked:
        out.print()
    out.print(printable(diagnosis.summary), soft_wrap=True)


def _by_area(findings: list[Finding]) -> list[Finding]:
    """Return findings by area, those with the worst finding first; their order stays else."""
    worst: dict[str, int] = {}
    for one in findings:
        rank = VERDICTS.index(one.verdict)
        worst[one.area] = min(rank, worst.get(one.area, rank))
    return sorted(findings, key=lambda one: (worst[one.area], AREAS.index(one.area)))


def _print_finding(out: Console, finding: Finding) -> None:
    from rich.text import Text

    line = Text(f"  {finding.verdict:<8}", style=_STYLES[finding.verdict])
    line.append(
        f"{printable(finding.subject)}: {printable(finding.what)}", style="not bold default"
    )
    out.print(line, soft_wrap=True)
    if finding.why:
        out.print(f"          why   {printable(finding.why)}", soft_wrap=True)
    if finding.mend:
        out.print(f"          mend  {printable(finding.mend)}", soft_wrap=True)
