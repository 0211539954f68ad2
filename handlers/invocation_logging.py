"""Switches Bedrock's model invocation logging on and off, for CloudFormation.

This file is a function by itself, on a managed runtime, beside no other file of the project. It
answers CloudFormation whatever happens, before its own time is up: a custom resource that nobody
answers for blocks its stack for an hour. What is there already, and is not the stack's own, is
never replaced unless the stack says so, and never removed.

AWS documentation: "Custom resource request types"; "Custom resource response objects"; API
reference: PutModelInvocationLoggingConfiguration.
"""

from __future__ import annotations

import json
import logging
import signal
import time
import urllib.request
from collections.abc import Mapping
from types import FrameType
from typing import Any, Final, NoReturn, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ANSWER_SECONDS: Final = 20
"""Kept of the function's time for the answer."""
ANSWER_ATTEMPTS: Final = 3
REASON_LENGTH_MAX: Final = 700
"""An answer may have 4,096 bytes, and a letter takes up to four."""
RIGHTS_SECONDS: Final = 120
"""For how long new rights may not hold yet."""
PAUSE_SECONDS: Final = 5.0
READ_BACK_ATTEMPTS: Final = 6

_DELIVERED: Final = "DataDeliveryEnabled"
"""Ends the names of the flags that have bodies logged: texts, images, and whatever else."""
_LOG: Final = logging.getLogger("ledgerock.invocation_logging")
_LOG.setLevel(logging.INFO)

Json = dict[str, Any]


class Context(Protocol):
    """What Lambda says of an invocation."""

    log_stream_name: str

    def get_remaining_time_in_millis(self) -> int:
        """Return how much time is left."""
        ...


class RefusedError(Exception):
    """It cannot be done, and says what to do about it."""


class OutOfTimeError(Exception):
    """The function's time is nearly up."""


def handler(event: Mapping[str, Any], context: Context) -> None:
    """Do what CloudFormation asks for, and answer it."""
    status, reason = "SUCCESS", ""
    try:
        _interrupt_in(context.get_remaining_time_in_millis() / 1000 - ANSWER_SECONDS)
        reason = _do(event)
    except RefusedError as error:
        status, reason = "FAILED", str(error)
    except OutOfTimeError:
        status, reason = "FAILED", "it took longer than the function may; deploy again"
    except Exception as error:  # noqa: BLE001 - whatever it is, CloudFormation is answered
        _LOG.exception("failed")
        status, reason = "FAILED", f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    _LOG.info("%s %s: %s", event.get("RequestType"), status, reason)
    _answer(event, context, status, reason)


def _do(event: Mapping[str, Any]) -> str:
    """Do what is asked; return what was done, for people."""
    wanted = event["ResourceProperties"]
    region = _Region()
    present = region.read()
    if event["RequestType"] == "Delete":
        return _switch_off(region, wanted, present)
    known = [wanted, event.get("OldResourceProperties") or {}]
    foreign = _foreign(present, known)
    if foreign and wanted["ReplaceExisting"] != "true":
        message = (
            f"model invocation logging is on in this Region already, to {' and '.join(foreign)}, "
            "which is not this stack's: have `logs.replace_existing: true` replace it, or "
            "`logs.switch_on: false` leave it, or switch it off first"
        )
        raise RefusedError(message)
    return _switch_on(region, wanted)


class _Region:
    """The configuration of this account and Region.

    What is denied is tried again for a while: rights that are as new as the stack, our own and
    those of Bedrock, which tries out whether it may write, take their time to hold.

    Attributes:
        flags: Names of all flags that have bodies logged.
    """

    def __init__(self) -> None:
        retries = {"total_max_attempts": 4}
        config = Config(connect_timeout=5, read_timeout=15, retries=retries)
        self._client = boto3.client("bedrock", config=config)
        shape = self._client.meta.service_model.shape_for("LoggingConfig")
        self.flags = [name for name in shape.members if name.endswith(_DELIVERED)]
        self._patient_until = time.monotonic() + RIGHTS_SECONDS

    def read(self) -> Json:
        """Return the present configuration; empty if logging is off."""
        found = self._request("get_model_invocation_logging_configuration")
        return dict(found.get("loggingConfig") or {})

    def put(self, configuration: Json) -> None:
        """Replace the configuration."""
        self._request("put_model_invocation_logging_configuration", loggingConfig=configuration)

    def remove(self) -> None:
        """Switch logging off."""
        self._request("delete_model_invocation_logging_configuration")

    def _request(self, operation: str, **arguments: object) -> Json:
        while True:
            try:
                return dict(getattr(self._client, operation)(**arguments))
            except ClientError as error:
                if not _is_denied(error) or time.monotonic() > self._patient_until:
                    raise
                _LOG.info("not yet: %s", error)
            time.sleep(PAUSE_SECONDS)


def _is_denied(error: ClientError) -> bool:
    """Whether somebody lacks a right: we, or the role that Bedrock is to have."""
    found = error.response.get("Error", {})
    code, text = found.get("Code"), str(found.get("Message", "")).lower()
    return code == "AccessDeniedException" or (
        code == "ValidationException" and "permission" in text
    )


# --- On and off ------------------------------------------------------------------------------


def _switch_on(region: _Region, wanted: Mapping[str, str]) -> str:
    """Put our configuration, and read back that it is there."""
    bodies = wanted["Bodies"] == "true"
    ours = {**_destination(wanted), **dict.fromkeys(region.flags, bodies)}
    region.put(ours)
    present: Json = {}
    for attempt in range(READ_BACK_ATTEMPTS):
        time.sleep(PAUSE_SECONDS if attempt else 0)
        present = region.read()
        flags = {bool(present.get(flag)) for flag in region.flags}
        if _destinations(present) == _destinations(ours) and flags == {bodies}:
            return f"on, to {_shown(ours)}"
    message = (
        f"model invocation logging was switched on, and reads back as {_shown(present)}: "
        "somebody else changes it; deploy again"
    )
    raise RefusedError(message)


def _switch_off(region: _Region, wanted: Mapping[str, str], present: Json) -> str:
    """Remove the configuration if it is ours, whole."""
    if not present:
        return "off already"
    foreign = _foreign(present, [wanted])
    if foreign:
        return f"left as it is, to {' and '.join(foreign)}: not this stack's"
    region.remove()
    return "off"


def _destination(wanted: Mapping[str, str]) -> Json:
    """Return where logs are to go: the part of a configuration that says so."""
    if wanted["Bucket"]:
        return {"s3Config": {"bucketName": wanted["Bucket"]}}
    return {"cloudWatchConfig": {"logGroupName": wanted["LogGroup"], "roleArn": wanted["Role"]}}


def _destinations(configuration: Json) -> list[str]:
    """Return where a configuration sends logs to, for people and to compare."""
    found = []
    group = (configuration.get("cloudWatchConfig") or {}).get("logGroupName")
    if group:
        found.append(f"the log group {group}")
    large = (configuration.get("cloudWatchConfig") or {}).get("largeDataDeliveryS3Config") or {}
    for place in (configuration.get("s3Config") or {}, large):
        if place.get("bucketName"):
            prefix = place.get("keyPrefix")
            found.append(f"the bucket {place['bucketName']}" + (f"/{prefix}" if prefix else ""))
    return found


def _foreign(present: Json, known: list[Mapping[str, str]]) -> list[str]:
    """Return the destinations of the present configuration that are not ours."""
    ours = {name for one in known if one for name in _destinations(_destination(one))}
    return [name for name in _destinations(present) if name not in ours]


def _shown(configuration: Json) -> str:
    return " and ".join(_destinations(configuration)) or "off"


# --- The answer ------------------------------------------------------------------------------


def _interrupt_in(seconds: float) -> None:
    """Have `OutOfTimeError` raised, whatever is waited for."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise OutOfTimeError

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.1))


def _answer(event: Mapping[str, Any], context: Context, status: str, reason: str) -> None:
    """Answer CloudFormation, at the address that it gave.

    The id stays the same for ever: another one would have CloudFormation delete the old
    resource, and so switch off what was just switched on.
    """
    wanted = event.get("ResourceProperties") or {}
    body = {
        "Status": status,
        "Reason": f"{reason[:REASON_LENGTH_MAX]} (log stream {context.log_stream_name})",
        "PhysicalResourceId": event.get("PhysicalResourceId")
        or wanted.get("Id")
        or event["LogicalResourceId"],
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    request = urllib.request.Request(  # noqa: S310 - CloudFormation's own address, HTTPS
        event["ResponseURL"],
        data=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
        # The address is signed for no content type at all.
        headers={"Content-Type": ""},
        method="PUT",
    )
    for attempt in range(1, ANSWER_ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=5):  # noqa: S310 - as above
                return
        except OSError:
            if attempt == ANSWER_ATTEMPTS:
                raise
            _LOG.exception("CloudFormation could not be answered; again")
