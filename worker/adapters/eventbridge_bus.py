"""Events on an Amazon EventBridge bus: `events:PutEvents` and `events:DescribeEventBus`.

PutEvents says that it took events for a bus that does not exist, and drops them. So the bus is
looked up before the first events and from time to time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from worker.adapters.aws_client import FAULTS, AwsClient
from worker.adapters.aws_errors import DENIED_CODES, error_code, explained
from worker.core.errors import ConfigurationError
from worker.core.events import SOURCE
from worker.ports import BusEvent

LOOKED_UP_SECONDS: Final = 60.0
"""For how long a bus that was there is taken to be there still."""
READ_SECONDS: Final = 10.0
PUBLISH: Final = "events:PutEvents"
LOOK_UP: Final = "events:DescribeEventBus"
ADVICE: Final = "LEDGEROCK_BUS names the bus, or its ARN"

_DENIED: Final = DENIED_CODES | {
    "InvalidAccountIdException",
    "NotAuthorizedForSourceException",
}
"""Codes of an entry that no entry would fare better than.

API reference: PutEventsResultEntry.
"""
_REFUSED: Final = frozenset({"SerializationException", "ValidationError", "ValidationException"})
"""The request is refused for what one of its entries says."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class EventBridgeBus:
    """A `worker.ports.EventBus` on EventBridge; takes ten events at a time, as AWS does.

    Args:
        bus: Name or ARN.
        client: For tests; by default one is opened on first use.
    """

    def __init__(self, bus: str, *, client: AwsClient | None = None) -> None:
        """Connect to nothing yet."""
        self._bus = bus
        self._client = client or AwsClient("events", read_seconds=READ_SECONDS)
        self._looked_up = float("-inf")

    async def publish(self, events: Sequence[BusEvent]) -> list[str]:
        """Publish at most ten events; see the port."""
        if not events:
            return []
        await self._look_up()
        entries = [self._entry(event) for event in events]
        try:
            return await self._put(entries)
        except FAULTS as error:
            if error_code(error) not in _REFUSED:
                raise self._explained(error, PUBLISH) from error
            if len(entries) == 1:
                return [str(error)]
        # One entry that AWS does not even read must not hold up the others.
        return [problem for event in events for problem in await self.publish([event])]

    async def _put(self, entries: list[dict[str, Any]]) -> list[str]:
        answer = await self._client.request("put_events", Entries=entries)
        problems = [_problem(result) for result in answer["Entries"]]
        if len(problems) != len(entries):
            return ["EventBridge did not say what became of it"] * len(entries)
        denied = [result for result in answer["Entries"] if result.get("ErrorCode") in _DENIED]
        if len(denied) == len(entries):
            message = f"{self._bus}: AWS denies {PUBLISH}; allow it; {ADVICE} ({problems[0]})"
            raise ConfigurationError(message)
        return problems

    def _entry(self, event: BusEvent) -> dict[str, Any]:
        return {
            "EventBusName": self._bus,
            "Source": SOURCE,
            "DetailType": event.detail_type,
            "Detail": event.detail.decode(),
            "Time": _EPOCH + timedelta(milliseconds=event.occurred_at_ms),
        }

    async def _look_up(self) -> None:
        if time.monotonic() - self._looked_up < LOOKED_UP_SECONDS:
            return
        try:
            await self._client.request("describe_event_bus", Name=self._bus)
        except FAULTS as error:
            # Who may publish, need not be allowed to look: another account's bus, for one.
            if error_code(error) not in DENIED_CODES:
                raise self._explained(error, LOOK_UP) from error
        self._looked_up = time.monotonic()

    def _explained(self, error: BaseException, action: str) -> Exception:
        return explained(error, subject=f"bus {self._bus}", action=action, advice=ADVICE)

    async def close(self) -> None:
        """Close connections."""
        await self._client.close()


def _problem(result: dict[str, Any]) -> str:
    code = result.get("ErrorCode")
    return f"{code}: {result.get('ErrorMessage', '')}" if code else ""
