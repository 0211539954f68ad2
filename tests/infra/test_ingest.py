"""What brings calls and events to the worker: queues, stream, logs, rules, and who may use them."""

from typing import Any

import pytest

from infra.patterns import Feed, feeds
from tests.infra.shapes import ACCOUNT, configured
from tests.infra.templates import Json, Template, ledger

NAME = "ledgerock-try"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{NAME}-events"
DEAD_LETTERS = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{NAME}-dead-letters"
STREAM = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/{NAME}-invocations"
GROUP = f"{NAME}-invocations"
RULES = f"arn:aws:events:us-east-1:{ACCOUNT}:rule/"
WITH_KEY: Json = {"data": {"customer_key": True}}
VIA_S3: Json = {"logs": {"via": "s3"}}
NOT_KEPT: Json = {"data": {"keep": False}}
BEDROCK_ACTS_FOR_US: Json = {
    "StringEquals": {"aws:SourceAccount": ACCOUNT},
    "ArnLike": {"aws:SourceArn": f"arn:aws:bedrock:us-east-1:{ACCOUNT}:*"},
}


def queue(template: Template, name: str) -> Json:
    return template.only("AWS::SQS::Queue", QueueName=f"{NAME}-{name}")


def queue_statements(template: Template, arn: str) -> list[Json]:
    return [one for one in template.statements("AWS::SQS::QueuePolicy") if one["Resource"] == arn]


def role_of(template: Template, service: str, words: str) -> Json:
    [found] = [
        role
        for role in template.all("AWS::IAM::Role")
        if role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]
        == {"Service": f"{service}.amazonaws.com"}
        and words in role.get("Description", "")
    ]
    return found


# --- Queues -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape, seconds", [("functions", 360), ("container", 60)])
def test_the_queue_hides_and_keeps_messages_long_enough(shape: str, seconds: int) -> None:
    made = queue(ledger(shape=shape), "events")
    assert made["VisibilityTimeout"] == seconds
    assert made["MessageRetentionPeriod"] == 14 * 24 * 3600
    assert made["ReceiveMessageWaitTimeSeconds"] == 20


def test_messages_that_are_received_too_often_go_to_the_dead_letters_and_back() -> None:
    template = ledger()
    assert queue(template, "events")["RedrivePolicy"] == {
        "deadLetterTargetArn": DEAD_LETTERS,
        "maxReceiveCount": 200,
    }
    dead_letters = queue(template, "dead-letters")
    assert dead_letters["RedriveAllowPolicy"] == {
        "redrivePermission": "byQueue",
        "sourceQueueArns": [QUEUE],
    }
    assert dead_letters["MessageRetentionPeriod"] == 14 * 24 * 3600
    assert "RedrivePolicy" not in dead_letters


def test_queues_are_encrypted() -> None:
    for made in ledger().all("AWS::SQS::Queue"):
        assert made["SqsManagedSseEnabled"] is True
    encrypted = ledger(**WITH_KEY).all("AWS::SQS::Queue")
    assert len(encrypted) == 3
    for made in encrypted:
        assert made["KmsMasterKeyId"].startswith("EncryptionKey")


def test_queues_are_reached_over_tls_alone() -> None:
    template = ledger(**WITH_KEY)
    refusals = [
        one["Resource"]
        for one in template.statements("AWS::SQS::QueuePolicy")
        if one["Effect"] == "Deny"
        and one["Action"] == "sqs:*"
        and one["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    ]
    every = [
        f"arn:aws:sqs:us-east-1:{ACCOUNT}:{one['QueueName']}"
        for one in template.all("AWS::SQS::Queue")
    ]
    assert sorted(refusals) == sorted(every)


def test_only_rules_may_send_to_the_queue() -> None:
    template = ledger(cross_check=True)
    made = [one["Name"] for one in template.all("AWS::Events::Rule") if "EventPattern" in one]
    [allowed] = [one for one in queue_statements(template, QUEUE) if one["Effect"] == "Allow"]
    assert allowed["Principal"] == {"Service": "events.amazonaws.com"}
    assert allowed["Action"] == "sqs:SendMessage"
    senders = allowed["Condition"]["ArnEquals"]["aws:SourceArn"]
    assert sorted(senders) == sorted(f"{RULES}{name}" for name in made)


# --- The stream -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shards, mode, count",
    [(0, "ON_DEMAND", None), (4, "PROVISIONED", 4)],
    ids=["on demand", "four"],
)
def test_the_stream_is_as_wide_as_it_is_to_be(shards: int, mode: str, count: int | None) -> None:
    made = ledger(logs={"shards": shards}).only("AWS::Kinesis::Stream")
    assert made["StreamModeDetails"] == {"StreamMode": mode}
    assert made.get("ShardCount") == count
    assert made["RetentionPeriodHours"] == 7 * 24
    assert made["StreamEncryption"] == {"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}


def test_the_stream_goes_with_its_stack() -> None:
    [made] = ledger(data={"keep": True}).whole("AWS::Kinesis::Stream")
    assert made["DeletionPolicy"] == made["UpdateReplacePolicy"] == "Delete"


def test_the_stream_has_our_key_if_there_is_one() -> None:
    template = ledger(**WITH_KEY)
    made = template.only("AWS::Kinesis::Stream")["StreamEncryption"]
    assert made["KeyId"].startswith("EncryptionKey")
    policy = role_of(template, "logs", "stream")["Policies"][0]["PolicyDocument"]["Statement"]
    assert [one["Action"] for one in policy] == ["kinesis:PutRecord", "kms:GenerateDataKey"]
    assert policy[1]["Resource"] == made["KeyId"]


def test_every_record_of_the_log_group_goes_to_any_shard() -> None:
    template = ledger()
    made = template.only("AWS::Logs::SubscriptionFilter")
    assert made["LogGroupName"] == GROUP
    assert made["FilterPattern"] == ""
    assert made["Distribution"] == "Random"
    assert made["DestinationArn"] == STREAM
    [whole] = template.whole("AWS::Logs::SubscriptionFilter")
    assert any("InvocationsGroup" in one for one in whole["DependsOn"])


def test_the_role_that_fills_the_stream_can_do_nothing_else() -> None:
    role = role_of(ledger(), "logs", "stream")
    [statement] = role["Policies"][0]["PolicyDocument"]["Statement"]
    assert statement == {"Action": "kinesis:PutRecord", "Effect": "Allow", "Resource": STREAM}
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"] == {
        "StringLike": {"aws:SourceArn": f"arn:aws:logs:us-east-1:{ACCOUNT}:*"}
    }
    assert role["Path"] == "/ledgerock/try/"


# --- Invocation logs --------------------------------------------------------------------------


@pytest.mark.parametrize("via", ["kinesis", "subscription"])
def test_bedrock_may_write_into_the_log_group_and_nowhere_else(via: str) -> None:
    role = role_of(ledger(logs={"via": via}), "bedrock", "logs")
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"] == BEDROCK_ACTS_FOR_US
    [statement] = role["Policies"][0]["PolicyDocument"]["Statement"]
    assert statement == {
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Effect": "Allow",
        "Resource": (
            f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{GROUP}"
            ":log-stream:aws/bedrock/modelinvocations"
        ),
    }


def test_the_log_group_keeps_what_the_configuration_says() -> None:
    template = ledger(logs={"retention_days": 14}, **WITH_KEY)
    made = template.only("AWS::Logs::LogGroup", LogGroupName=GROUP)
    assert made["RetentionInDays"] == 14
    assert made["KmsKeyId"].startswith("EncryptionKey")


@pytest.mark.parametrize("keep, policy", [(True, "Retain"), (False, "Delete")])
def test_the_log_group_and_buckets_survive_or_not(keep: bool, policy: str) -> None:
    [group] = [
        one
        for one in ledger(data={"keep": keep}).whole("AWS::Logs::LogGroup")
        if one["Properties"]["LogGroupName"] == GROUP
    ]
    assert group["UpdateReplacePolicy"] == policy
    assert group["DeletionPolicy"] == {"Retain": "RetainExceptOnCreate"}.get(policy, policy)
    buckets = ledger(data={"keep": keep}, **VIA_S3).whole("AWS::S3::Bucket")
    assert [one["UpdateReplacePolicy"] for one in buckets] == [policy, policy]
    assert [one["DeletionPolicy"] for one in buckets] == [group["DeletionPolicy"]] * 2


def test_bedrock_may_write_log_objects_and_nothing_else() -> None:
    template = ledger(**VIA_S3)
    [allowed] = [
        one for one in template.statements("AWS::S3::BucketPolicy") if one["Effect"] == "Allow"
    ]
    assert allowed["Principal"] == {"Service": "bedrock.amazonaws.com"}
    assert allowed["Action"] == "s3:PutObject"
    assert allowed["Resource"].endswith(f"/AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/*")
    assert allowed["Condition"] == BEDROCK_ACTS_FOR_US


def test_new_log_objects_come_to_the_queue() -> None:
    template = ledger(**VIA_S3)
    rule = template.only("AWS::Events::Rule", Name=f"{NAME}-logs")
    [bucket] = rule["EventPattern"]["detail"]["bucket"]["name"]
    assert bucket.startswith("ingestinvocationsbucket")
    assert rule["Targets"][0]["Arn"] == QUEUE
    notifying = [
        one
        for one in template.all("AWS::S3::Bucket")
        if one.get("NotificationConfiguration")
        == {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}
    ]
    assert len(notifying) == 1


@pytest.mark.parametrize(
    "document, days",
    [
        ({"data": {"quarantine_days": 90}}, [90]),
        ({"logs": {"via": "s3", "retention_days": 7}}, [365, 7]),
    ],
)
def test_buckets_are_private_encrypted_and_emptied_by_age(document: Json, days: list[int]) -> None:
    buckets = ledger(**document).all("AWS::S3::Bucket")
    rules = [one["LifecycleConfiguration"]["Rules"][0] for one in buckets]
    assert [one["ExpirationInDays"] for one in rules] == days
    for one in buckets:
        assert "BucketName" not in one
        assert set(one["PublicAccessBlockConfiguration"].values()) == {True}
        assert len(one["PublicAccessBlockConfiguration"]) == 4
        [ownership] = one["OwnershipControls"]["Rules"]
        assert ownership == {"ObjectOwnership": "BucketOwnerEnforced"}
        [encryption] = one["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert encryption["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
        assert "VersioningConfiguration" not in one


def test_buckets_have_our_key_if_there_is_one() -> None:
    for one in ledger(**WITH_KEY, **VIA_S3).all("AWS::S3::Bucket"):
        [encryption] = one["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert encryption["BucketKeyEnabled"] is True
        by_default = encryption["ServerSideEncryptionByDefault"]
        assert by_default["SSEAlgorithm"] == "aws:kms"
        assert by_default["KMSMasterKeyID"].startswith("EncryptionKey")


def test_buckets_are_reached_over_recent_tls_alone() -> None:
    statements = ledger(**VIA_S3).statements("AWS::S3::BucketPolicy")
    refused = [one["Condition"] for one in statements if one["Effect"] == "Deny"]
    plain = {"Bool": {"aws:SecureTransport": "false"}}
    old = {"NumericLessThan": {"s3:TlsVersion": 1.2}}
    assert refused == [plain, old] * 2


@pytest.mark.parametrize(
    "document, absent",
    [
        (VIA_S3, ["AWS::Kinesis::Stream", "AWS::Logs::SubscriptionFilter"]),
        ({"logs": {"via": "subscription"}}, ["AWS::Kinesis::Stream"]),
        (
            {"logs": {"via": "none", "switch_on": False}},
            ["AWS::Kinesis::Stream", "AWS::Logs::SubscriptionFilter"],
        ),
    ],
)
def test_what_is_not_used_is_not_made(document: Json, absent: list[str]) -> None:
    template = ledger(**document)
    for kind in absent:
        assert template.all(kind) == []
    groups = [one["LogGroupName"] for one in template.all("AWS::Logs::LogGroup")]
    assert (GROUP in groups) == (document["logs"]["via"] == "subscription")
    assert len(template.all("AWS::S3::Bucket")) == (2 if document is VIA_S3 else 1)
    assert template.all("AWS::Events::EventBusPolicy") == []


# --- Rules ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "feed",
    feeds(configured({"cross_check": True, "batch_buckets": ["arn:aws:s3:::b"]}), with_iam=True),
    ids=lambda one: one.key,
)
def test_a_rule_sends_whole_events_and_loses_none(feed: Feed) -> None:
    template = ledger(cross_check=True, batch_buckets=["arn:aws:s3:::b"])
    rule = template.only("AWS::Events::Rule", Name=f"{NAME}-{feed.key}")
    assert rule["EventPattern"] == feed.pattern
    assert rule["State"] == feed.state
    assert "EventBusName" not in rule
    assert rule["Targets"] == [
        {
            "Id": "Ledgerock",
            "Arn": QUEUE,
            "DeadLetterConfig": {"Arn": DEAD_LETTERS},
            "RetryPolicy": {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185},
        }
    ]


@pytest.mark.parametrize(
    "document, keys",
    [
        ({}, {"agents", "control", "iam", "jobs"}),
        ({"agents": False}, {"control", "iam", "jobs"}),
        ({"keys": False}, {"agents", "control", "jobs"}),
        ({"cross_check": True}, {"agents", "control", "iam", "jobs", "runtime"}),
        ({"region": "eu-central-1", "keys": False}, {"agents", "control", "jobs"}),
    ],
)
def test_a_feature_that_is_off_has_no_rule(document: Json, keys: set[str]) -> None:
    rules = ledger(**document).all("AWS::Events::Rule")
    assert {one["Name"] for one in rules if "EventPattern" in one} == {
        f"{NAME}-{key}" for key in keys
    }


def test_events_of_iam_come_by_way_of_the_region_that_records_them() -> None:
    rules: list[Any] = ledger(region="eu-central-1").all("AWS::Events::Rule")
    names = {one["Name"]: one.get("EventBusName") for one in rules if "EventPattern" in one}
    assert f"{NAME}-iam" not in names
    assert names[f"{NAME}-from-iam"] == f"{NAME}-intake"
