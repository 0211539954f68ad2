"""Messages on an Amazon SNS topic, for email above all: `sns:Publish`."""

from __future__ import annotations

import re
from typing import Any, Final

from worker.adapters.aws_client import FAULTS, AwsClient
from worker.adapters.aws_errors import error_code, explained, passes
from worker.core.errors import ConfigurationError, RefusedMessageError, TransientError
from worker.core.people import Message

NAME: Final = "sns"
READ_SECONDS: Final = 5.0
ATTEMPTS_MAX: Final = 2
"""What fails twice is tried again with the next look, so that a worker that ends can end."""
PUBLISH: Final = "sns:Publish"
VARIABLE: Final = "LEDGEROCK_SNS_TOPIC"

_TOPIC: Final = re.compile(
    r"arn:aws[a-z-]*:sns:(?P<region>[a-z0-9-]+):[0-9]{12}:(?P<name>[A-Za-z0-9_-]{1,256})(\.fifo)?",
    re.ASCII,
)
_REFUSED: Final = frozenset(
    {"InvalidParameter", "InvalidParameterValue", "ParameterValueInvalid", "ValidationException"}
)
"""The message will not do (API reference: Publish, errors)."""
_MISSING: Final = frozenset({"NotFound", "NotFoundException"})
_PASSING: Final = frozenset({"Throttled", "KMSThrottling"})


class SnsChannel:
    """A `worker.ports.Channel` on a standard topic.

    A message is a subject line and plain text; its attributes `detail_type` and `event_id` are for
    filters of subscriptions.

    Args:
        topic: ARN of the topic, whose Region is spoken to.
        client: For tests; by default one is opened on first use.

    Raises:
        ConfigurationError: It is no ARN of a standard topic.
    """

    def __init__(self, topic: str, *, client: AwsClient | None = None) -> None:
        """Connect to nothing yet."""
        match = _TOPIC.fullmatch(topic)
        if match is None:
            message = (
                f"{VARIABLE}={topic}: give the ARN of a topic, such as "
                "arn:aws:sns:us-east-1:111122223333:ledgerock"
            )
            raise ConfigurationError(message)
        if topic.endswith(".fifo"):
            message = f"{VARIABLE}={topic}: FIFO topics take no email; give a standard topic"
            raise ConfigurationError(message)
        self._topic = topic
        self._client = client or AwsClient(
            "sns", read_seconds=READ_SECONDS, attempts_max=ATTEMPTS_MAX, region=match["region"]
        )

    @property
    def name(self) -> str:
        """What notices call it."""
        return NAME

    async def tell(self, message: Message) -> None:
        """Publish a message; see the port."""
        try:
            await self._client.request(
                "publish",
                TopicArn=self._topic,
                Subject=message.subject,
                Message=message.text,
                MessageAttributes=_attributes(message),
            )
        except FAULTS as error:
            raise self._explained(error) from error

    def _explained(self, error: BaseException) -> Exception:
        code = error_code(error)
        if code in _REFUSED:
            return RefusedMessageError(f"SNS refuses the message ({error})")
        if code in _MISSING:
            text = f"{self._topic}: there is no such topic; {VARIABLE} names it ({error})"
            return ConfigurationError(text)
        if passes(error, _PASSING):
            return TransientError(f"{self._topic}: {PUBLISH} is not possible now ({error})")
        advice = f"{VARIABLE} names the topic"
        return explained(error, subject=self._topic, action=PUBLISH, advice=advice)

    async def close(self) -> None:
        """Close connections."""
        await self._client.close()


def _attributes(message: Message) -> dict[str, Any]:
    """Return the attributes; an empty one is refused."""
    values = {"detail_type": message.detail_type, "event_id": message.event_id}
    return {
        name: {"DataType": "String", "StringValue": value}
        for name, value in values.items()
        if value
    }
