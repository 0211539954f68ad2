"""The functions, and what invokes them."""

from typing import Any

import pytest

from tests.infra.conftest import Shaped
from tests.infra.resolved import Resolver
from tests.infra.shapes import ACCOUNT, Json

NAME = "ledgerock-try"
HANDLERS = {
    "queue": ("handlers.sqs.handler", 60),
    "stream": ("handlers.kinesis.handler", 60),
    "subscription": ("handlers.cloudwatch_logs.handler", 120),
    "announcer": ("handlers.announcer.handler", 60),
    "monitor": ("handlers.monitor.handler", 300),
    "enforcement": ("handlers.enforcement.handler", 300),
}
ALWAYS = {"queue", "announcer", "monitor"}
DEAD_LETTERS = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{NAME}-dead-letters"


def functions(resolve: Resolver) -> dict[str, Json]:
    return {
        properties["FunctionName"].removeprefix(f"{NAME}-"): properties
        for _, properties in resolve.of_type("AWS::Lambda::Function")
        if "ImageConfig" in properties
    }


def sources(resolve: Resolver) -> dict[str, Json]:
    return {
        properties["FunctionName"].removeprefix(f"{NAME}-"): properties
        for _, properties in resolve.of_type("AWS::Lambda::EventSourceMapping")
    }


@pytest.mark.parametrize(
    "shape, wanted",
    [
        ("functions-kinesis", ALWAYS | {"stream"}),
        ("functions-subscription", ALWAYS | {"subscription"}),
        ("functions-s3", ALWAYS),
        ("functions-nothing", ALWAYS),
        ("functions-workflows", ALWAYS | {"stream", "enforcement"}),
        ("container-public", set()),
        ("container-workflows", {"enforcement"}),
    ],
)
def test_which_there_are(shaped: Shaped, shape: str, wanted: set[str]) -> None:
    assert functions(Resolver(shaped(shape).ledger)).keys() == wanted


@pytest.mark.parametrize(
    "shape", ["functions-workflows", "functions-subscription", "functions-nothing"]
)
def test_how_each_is_run(shaped: Shaped, shape: str) -> None:
    synthesised = shaped(shape)
    resolve, config = Resolver(synthesised.ledger), synthesised.config
    for name, found in functions(resolve).items():
        handler, seconds = HANDLERS[name]
        assert found["ImageConfig"] == {"Command": [handler]}
        assert found["PackageType"] == "Image"
        assert found["Code"]["ImageUri"].endswith(":lambda-1.2.3")
        assert found["Architectures"] == ["x86_64"]
        assert found["Timeout"] == seconds
        assert found["MemorySize"] == 1024
        assert "ReservedConcurrentExecutions" not in found
        tracing = found.get("TracingConfig", {}).get("Mode") == "Active"
        assert tracing == config.watching.tracing
        assert found["LoggingConfig"] == {"LogGroup": f"/aws/lambda/{NAME}-{name}"}
    groups = {
        properties["LogGroupName"]: properties["RetentionInDays"]
        for _, properties in resolve.of_type("AWS::Logs::LogGroup")
        if properties["LogGroupName"].startswith("/aws/lambda/")
    }
    ours = {f"/aws/lambda/{NAME}-{name}" for name in functions(resolve)}
    assert ours <= groups.keys()
    assert {groups[name] for name in ours} == {90}


def test_the_queue_invokes(shaped: Shaped) -> None:
    source = sources(Resolver(shaped("functions-kinesis").ledger))["queue"]
    assert source == {
        "EventSourceArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{NAME}-events",
        "FunctionName": f"{NAME}-queue",
        "BatchSize": 500,
        "MaximumBatchingWindowInSeconds": 1,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "Tags": source["Tags"],
    }


def test_what_is_reserved_bounds_the_pollers(shaped: Shaped) -> None:
    resolve = Resolver(shaped("functions-everything").ledger)
    assert functions(resolve)["queue"]["ReservedConcurrentExecutions"] == 20
    assert sources(resolve)["queue"]["ScalingConfig"] == {"MaximumConcurrency": 20}
    assert "ReservedConcurrentExecutions" not in functions(resolve)["stream"]


def test_the_queue_hides_messages_for_six_times_as_long(shaped: Shaped) -> None:
    resolve = Resolver(shaped("functions-kinesis").ledger)
    [queue] = [
        properties
        for _, properties in resolve.of_type("AWS::SQS::Queue")
        if properties["QueueName"] == f"{NAME}-events"
    ]
    assert queue["VisibilityTimeout"] >= 6 * functions(resolve)["queue"]["Timeout"]


def test_the_stream_invokes(shaped: Shaped) -> None:
    resolve = Resolver(shaped("functions-kinesis").ledger)
    source = sources(resolve)["stream"]
    assert source == {
        "EventSourceArn": f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/{NAME}-invocations",
        "FunctionName": f"{NAME}-stream",
        "StartingPosition": "TRIM_HORIZON",
        "BatchSize": 1000,
        "MaximumBatchingWindowInSeconds": 1,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "BisectBatchOnFunctionError": True,
        "MaximumRecordAgeInSeconds": 6 * 86_400,
        "DestinationConfig": {"OnFailure": {"Destination": DEAD_LETTERS}},
        "Tags": source["Tags"],
    }
    [stream] = [properties for _, properties in resolve.of_type("AWS::Kinesis::Stream")]
    assert stream["RetentionPeriodHours"] * 3600 > source["MaximumRecordAgeInSeconds"]


def test_the_subscription_invokes(shaped: Shaped) -> None:
    resolve = Resolver(shaped("functions-subscription").ledger)
    [(_, found)] = resolve.of_type("AWS::Logs::SubscriptionFilter")
    assert found["FilterPattern"] == ""
    assert found["LogGroupName"] == f"{NAME}-invocations"
    arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{NAME}-subscription"
    assert found["DestinationArn"] == arn
    permitted = [
        properties
        for _, properties in resolve.of_type("AWS::Lambda::Permission")
        if properties["Principal"] == "logs.amazonaws.com"
    ]
    [permission] = permitted
    assert permission["FunctionName"] == arn
    assert permission["SourceArn"].endswith(f":log-group:{NAME}-invocations:*")
    [asynchronous] = [
        properties
        for _, properties in resolve.of_type("AWS::Lambda::EventInvokeConfig")
        if properties["FunctionName"] == f"{NAME}-subscription"
    ]
    assert asynchronous["DestinationConfig"] == {"OnFailure": {"Destination": DEAD_LETTERS}}
    assert asynchronous["MaximumRetryAttempts"] == 2
    assert asynchronous["MaximumEventAgeInSeconds"] == 6 * 3600


def test_notices_invoke_the_announcer(shaped: Shaped) -> None:
    source = sources(Resolver(shaped("functions-nothing").ledger))["announcer"]
    pattern = '{"dynamodb":{"Keys":{"pk":{"S":[{"prefix":"s#"}]}}}}'
    table = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/{NAME}-state"
    assert source == {
        "EventSourceArn": f"{table}/stream/2026-11-22T00:00:00.000",
        "FunctionName": f"{NAME}-announcer",
        "StartingPosition": "LATEST",
        "BatchSize": 100,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "MaximumRecordAgeInSeconds": 60,
        "FilterCriteria": {"Filters": [{"Pattern": pattern}]},
        "Tags": source["Tags"],
    }


def test_a_rule_invokes_announcer_and_monitor_each_minute(shaped: Shaped) -> None:
    resolve = Resolver(shaped("functions-nothing").ledger)
    rules: dict[str, Any] = {
        properties["Name"]: properties
        for _, properties in resolve.of_type("AWS::Events::Rule")
        if "ScheduleExpression" in properties
    }
    assert rules.keys() == {f"{NAME}-announcer", f"{NAME}-monitor"}
    for name, rule in rules.items():
        assert rule["ScheduleExpression"] == "rate(1 minute)"
        assert rule["State"] == "ENABLED"
        [target] = rule["Targets"]
        assert target["Arn"] == f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{name}"
        assert "Input" not in target
        assert target["RetryPolicy"]["MaximumRetryAttempts"] == 0
