"""The bus that events go out on, and the topic that people hear."""

import pytest

from tests.infra.shapes import ACCOUNT
from tests.infra.templates import Json, Template, ledger

NAME = "ledgerock-try"
EMAILS = ["finops@example.com", "people@example.com"]
UNDELIVERED = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{NAME}-undelivered"
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:{NAME}-people"
WITH_PEOPLE: Json = {"people": {"emails": EMAILS}}
WITH_KEY: Json = {"data": {"customer_key": True}}


def topics(template: Template) -> list[str]:
    return [one.get("TopicName", "") for one in template.all("AWS::SNS::Topic")]


def senders(template: Template) -> dict[str, object]:
    """Return who may put messages aside, and for what."""
    return {
        one["Principal"]["Service"]: one["Condition"]["ArnEquals"]["aws:SourceArn"]
        for one in template.statements("AWS::SQS::QueuePolicy")
        if one["Resource"] == UNDELIVERED and one["Effect"] == "Allow"
    }


def test_there_is_a_bus_of_the_stages_own() -> None:
    bus = ledger().only("AWS::Events::EventBus")
    assert bus["Name"] == NAME
    assert "KmsKeyIdentifier" not in bus
    assert "DeadLetterConfig" not in bus
    assert ledger().all("AWS::Events::EventBusPolicy") == []


def test_without_people_there_is_no_topic() -> None:
    assert f"{NAME}-people" not in topics(ledger())
    queues = [one["QueueName"] for one in ledger().all("AWS::SQS::Queue")]
    assert f"{NAME}-undelivered" not in queues


def test_people_have_emails_and_what_cannot_be_delivered_is_kept() -> None:
    template = ledger(**WITH_PEOPLE)
    subscribed = [one for one in template.all("AWS::SNS::Subscription") if one["TopicArn"] == TOPIC]
    assert [one["Endpoint"] for one in subscribed] == EMAILS
    for one in subscribed:
        assert one["Protocol"] == "email"
        assert one["RedrivePolicy"] == {"deadLetterTargetArn": UNDELIVERED}
    assert senders(template) == {"sns.amazonaws.com": TOPIC}
    queue = template.only("AWS::SQS::Queue", QueueName=f"{NAME}-undelivered")
    assert queue["RedriveAllowPolicy"] == {"redrivePermission": "denyAll"}


@pytest.mark.parametrize(
    "document, key",
    [(WITH_PEOPLE, "alias/aws/sns"), ({**WITH_PEOPLE, **WITH_KEY}, "EncryptionKey")],
)
def test_what_people_hear_is_encrypted(document: Json, key: str) -> None:
    topic = ledger(**document).only("AWS::SNS::Topic", TopicName=f"{NAME}-people")
    assert key in topic["KmsMasterKeyId"]


def test_the_topic_is_reached_over_tls_alone() -> None:
    refused = [
        one
        for one in ledger(**WITH_PEOPLE).statements("AWS::SNS::TopicPolicy")
        if one["Resource"] == TOPIC
    ]
    assert [one["Effect"] for one in refused] == ["Deny"]
    assert refused[0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert refused[0]["Action"] == "sns:Publish"


def test_events_that_cannot_be_decrypted_are_kept() -> None:
    template = ledger(**WITH_KEY)
    assert template.only("AWS::Events::EventBus")["DeadLetterConfig"] == {"Arn": UNDELIVERED}
    bus = f"arn:aws:events:us-east-1:{ACCOUNT}:event-bus/{NAME}"
    assert senders(template) == {"events.amazonaws.com": [bus]}
