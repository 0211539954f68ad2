"""One call of a scene, and the invocation-log record that tells of it."""

from dataclasses import dataclass

from worker.traffic.people import Caller
from worker.traffic.prices import Tokens
from worker.traffic.stream import caller_head


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """A call as AWS sees it.

    Attributes:
        caller: Who calls.
        arn: The ARN that is logged for the caller this time.
        region: Where.
        hour: When, in hours from the profile's start.
        time: When, ISO 8601 in UTC.
        operation: Name of the API.
        model_id: The model as the caller named it.
        request: Request id.
        tokens: True counts.
    """

    caller: Caller
    arn: str
    region: str
    hour: int
    time: str
    operation: str
    model_id: str
    request: str
    tokens: Tokens

    @property
    def day(self) -> str:
        """ISO date, UTC."""
        return self.time[:10]


def counted(invocation: Invocation, *, output: bool = True) -> tuple[str, str]:
    """Return the fragments of a record that carry the counts, for `log_text`."""
    tokens = invocation.tokens
    write = tokens.cache_write_5m + tokens.cache_write_1h
    sent = f'"inputTokenCount":{tokens.input}'
    if tokens.cache_read or write:
        sent += (
            f',"cacheReadInputTokenCount":{tokens.cache_read},"cacheWriteInputTokenCount":{write}'
        )
    return sent, f'"outputTokenCount":{tokens.output}' if output else ""


def with_body(fragment: str, name: str, body: str) -> str:
    """Put a body (JSON text) in front of a fragment of counts."""
    content = f'"{name}ContentType":"application/json","{name}BodyJson":{body}'
    return f"{content},{fragment}" if fragment else content


def log_text(invocation: Invocation, sent: str, received: str, *, error: str = "") -> str:
    """Return the invocation-log record, in the order of fields of older records.

    Args:
        invocation: The call.
        sent: What stands in `input`.
        received: What stands in `output`.
        error: Error code of a failed call.
    """
    head = caller_head(invocation.caller, invocation.arn, invocation.region)
    failed = f'"errorCode":"{error}",' if error else ""
    return (
        '{"schemaType":"ModelInvocationLog","schemaVersion":"1.0",'
        f'"timestamp":"{invocation.time}",{head}{invocation.request}",'
        f'"operation":"{invocation.operation}","modelId":"{invocation.model_id}",{failed}'
        f'"input":{{{sent}}},"output":{{{received}}}}}'
    )


def metered_text(invocation: Invocation) -> str:
    """Return the plain record of a call: all counts, no bodies."""
    return log_text(invocation, *counted(invocation))
