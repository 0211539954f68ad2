"""The key of a stage: who may use it, for what."""

import pytest

from tests.infra.shapes import ACCOUNT
from tests.infra.templates import Json, Template, ledger

NAME = "ledgerock-try"
WITH_KEY: Json = {"data": {"customer_key": True}}
TO_S3: Json = {**WITH_KEY, "logs": {"via": "s3"}}


def services(template: Template) -> dict[str, list[Json]]:
    """Return what services may do with the key, by service."""
    found: dict[str, list[Json]] = {}
    for one in template.statements("AWS::KMS::Key"):
        if "Service" in one["Principal"]:
            found.setdefault(one["Principal"]["Service"], []).append(one)
    return found


def test_there_is_a_key_if_one_is_wanted() -> None:
    assert ledger().all("AWS::KMS::Key") == []
    assert ledger().all("AWS::KMS::Alias") == []
    key = ledger(**WITH_KEY).only("AWS::KMS::Key")
    assert key["EnableKeyRotation"] is True
    assert ledger(**WITH_KEY).only("AWS::KMS::Alias")["AliasName"] == f"alias/{NAME}"


KEPT = {"Retain": "RetainExceptOnCreate"}
"""What is kept goes with a first deployment that fails."""


@pytest.mark.parametrize("keep, policy", [(True, "Retain"), (False, "Delete")])
def test_it_stays_as_long_as_what_it_encrypts(keep: bool, policy: str) -> None:
    [key] = ledger(data={"customer_key": True, "keep": keep}).whole("AWS::KMS::Key")
    assert key["UpdateReplacePolicy"] == policy
    assert key["DeletionPolicy"] == KEPT.get(policy, policy)


@pytest.mark.parametrize(
    "document, more", [(WITH_KEY, set[str]()), (TO_S3, {"bedrock.amazonaws.com"})]
)
def test_only_services_that_write_may_use_it(document: Json, more: set[str]) -> None:
    assert services(ledger(**document)).keys() == more | {
        "logs.us-east-1.amazonaws.com",
        "events.amazonaws.com",
        "sns.amazonaws.com",
        "cloudwatch.amazonaws.com",
    }


@pytest.mark.parametrize("service", ["events", "sns", "cloudwatch", "bedrock"])
def test_a_service_may_use_it_for_this_account_alone(service: str) -> None:
    [first, *_] = services(ledger(**TO_S3))[f"{service}.amazonaws.com"]
    assert first["Action"] == ["kms:GenerateDataKey", "kms:Decrypt"]
    assert first["Condition"] == {
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
        "ArnLike": {"aws:SourceArn": f"arn:aws:{service}:us-east-1:{ACCOUNT}:*"},
    }


def test_log_groups_of_the_stage_alone_are_encrypted_with_it() -> None:
    [statement] = services(ledger(**WITH_KEY))["logs.us-east-1.amazonaws.com"]
    assert statement["Condition"] == {
        "ArnLike": {
            "kms:EncryptionContext:aws:logs:arn": (
                f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:*{NAME}-*"
            )
        }
    }
    assert not any("*" in action for action in statement["Action"])


@pytest.mark.parametrize("document", [WITH_KEY, TO_S3], ids=["kinesis", "s3"])
def test_every_log_group_has_it(document: Json) -> None:
    groups = ledger(**document).all("AWS::Logs::LogGroup")
    assert len(groups) > 3
    for one in groups:
        assert one["KmsKeyId"].startswith("EncryptionKey"), one["LogGroupName"]
        assert f"{NAME}-" in one["LogGroupName"]


def test_buses_use_it_for_themselves_alone() -> None:
    template = ledger(**WITH_KEY)
    bus = template.only("AWS::Events::EventBus")
    assert bus["KmsKeyIdentifier"].startswith("EncryptionKey")
    arn = f"arn:aws:events:us-east-1:{ACCOUNT}:event-bus/{NAME}"
    [_, statement] = services(template)["events.amazonaws.com"]
    assert statement["Condition"]["StringEquals"] == {
        "aws:SourceAccount": ACCOUNT,
        "aws:SourceArn": arn,
        "kms:EncryptionContext:aws:events:event-bus:arn": arn,
    }
