"""Calls booked now, and budgets set, listed and shown on the command line."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import ALICE, log, write

ALICES = f"principal/{ALICE}"
NOW = "2026-11-22T12:00:00Z"
NOW_MS = round(datetime.fromisoformat(NOW).timestamp() * 1_000)


def book_now(run: Run, folder: Path, *calls: str) -> None:
    """Book calls of alice's that cost 0.0105 each, made now."""
    write(folder / "logs" / "now.json", *(log(one, at=NOW) for one in calls))
    run("replay", "logs")


def put(run: Run, *arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run("budgets", "set", *arguments, "--json"))
    return document


def listed(run: Run, *arguments: str) -> list[dict[str, Any]]:
    document = json.loads(run("budgets", "list", "--json", *arguments))
    assert document["count"] == len(document["budgets"])
    found: list[dict[str, Any]] = document["budgets"]
    return found


def shown(run: Run, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run("budgets", "show", name, "--json"))
    return document
