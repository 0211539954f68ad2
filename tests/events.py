"""The JSON Schemas of the events, for every test that emits some."""

import functools
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

import jsonschema

from worker.ports import BusEvent, Notice


@functools.cache
def schemas() -> dict[str, dict[str, Any]]:
    """Return the schemas by detail type."""
    folder = resources.files("worker") / "data" / "schemas"
    found = [json.loads(file.read_text("utf-8")) for file in folder.iterdir()]
    return {schema["title"]: schema for schema in found}


@functools.cache
def _validator(detail_type: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schemas()[detail_type])


def checked(detail_type: str, detail: bytes) -> dict[str, Any]:
    """Return a detail that keeps to its schema; fail the test if it does not."""
    found: dict[str, Any] = json.loads(detail)
    _validator(detail_type).validate(found)
    return found


def checked_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the detail of an event as EventBridge delivers it, checked against its schema."""
    return checked(event["detail-type"], json.dumps(event["detail"]).encode())


def checked_all(events: Iterable[BusEvent | Notice]) -> list[dict[str, Any]]:
    """Return the details of events or notices, each checked against its schema."""
    return [checked(one.detail_type, bytes(one.detail)) for one in events]
