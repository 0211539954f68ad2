"""Topics of SNS: which ones, and what its errors mean."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.calls import asynchronous
from tests.unit.core.people_events import EVENTS, HOSTILE
from worker.adapters.aws_client import AwsClient
from worker.adapters.sns_channel import SnsChannel
from worker.core.errors import ConfigurationError, RefusedMessageError, TransientError
from worker.core.people import message_of

TOPIC = "arn:aws:sns:eu-west-1:111122223333:ledgerock"


class Sns:
    """A client of SNS that raises what it is told."""

    def __init__(self, fault: BaseException | None = None) -> None:
        self.fault = fault
        self.published: list[dict[str, Any]] = []

    async def publish(self, **arguments: Any) -> dict[str, Any]:
        if self.fault is not None:
            raise self.fault
        self.published.append(arguments)
        return {"MessageId": "1"}


def channel(sns: Sns) -> SnsChannel:
    return SnsChannel(TOPIC, client=AwsClient("sns", client=sns))


def refused(code: str, status: int = 400) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "Publish")


@pytest.mark.parametrize("event", [*EVENTS, *HOSTILE], ids=lambda one: one.id[:40])
@asynchronous
async def test_what_is_published_keeps_to_the_limits(event: Any) -> None:
    sns = Sns()
    await channel(sns).tell(message_of(event.detail_type, event.detail))
    [published] = sns.published
    assert published["TopicArn"] == TOPIC
    # "less than 100 characters", no line breaks or control characters (API reference: Publish)
    assert 0 < len(published["Subject"]) < 100
    assert published["Subject"].isascii()
    assert published["Subject"].isprintable()
    assert 0 < len(published["Message"].encode()) <= 262_144
    assert published["MessageAttributes"]["detail_type"]["StringValue"] == event.detail_type
    assert all(one["StringValue"] for one in published["MessageAttributes"].values())


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "ledgerock",
        "arn:aws:sqs:eu-west-1:111122223333:q",
        f"{TOPIC}:subscription",
        f"{TOPIC}\n",
    ],
)
def test_what_is_no_topic_is_refused(topic: str) -> None:
    with pytest.raises(ConfigurationError, match="give the ARN of a topic"):
        SnsChannel(topic)


def test_fifo_topics_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="FIFO topics take no email"):
        SnsChannel(f"{TOPIC}.fifo")


@pytest.mark.parametrize(
    "fault, kind, text",
    [
        (refused("InvalidParameter"), RefusedMessageError, "SNS refuses the message"),
        (refused("NotFound", 404), ConfigurationError, "there is no such topic"),
        (refused("AuthorizationError", 403), ConfigurationError, "AWS denies sns:Publish"),
        (refused("KMSAccessDenied"), ConfigurationError, "AWS"),
        (refused("Throttled", 429), TransientError, "not possible now"),
        (refused("KMSThrottling"), TransientError, "not possible now"),
        (refused("InternalError", 500), TransientError, "not possible now"),
        (EndpointConnectionError(endpoint_url="x"), TransientError, "cannot be reached"),
    ],
)
@asynchronous
async def test_errors_say_whose_they_are(fault: BaseException, kind: Any, text: str) -> None:
    message = message_of(EVENTS[0].detail_type, EVENTS[0].detail)
    with pytest.raises(kind, match=text):
        await channel(Sns(fault)).tell(message)
