"""What a deployment writes down of itself is what was deployed, and can be read."""

import pytest

from infra.config import ConfigError
from tests.infra.shapes import ACCOUNT, MEMBER, SHAPES
from tests.infra.templates import Json, ledger, made
from worker.settings.deployment import PARAMETER, Deployment, Rule, Subscription, decode_deployment

NAME = "ledgerock-try"
PATH = f"/ledgerock/try/{PARAMETER}"
QUEUES = f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/{NAME}"
PLAIN: Json = {"watching": {"enabled": False}}
MANY: Json = {
    "account": ACCOUNT,
    "sources": [
        {"account": f"{number:012d}", "regions": ["us-east-1", "eu-west-1", "eu-central-1"]}
        for number in range(1, 200)
    ],
}


def written(**document: object) -> Deployment:
    parameter = ledger(**document).only("AWS::SSM::Parameter", Name=PATH)
    assert parameter["Type"] == "String"
    return decode_deployment(parameter["Value"], PATH)


def test_it_says_what_was_deployed() -> None:
    found = written(**PLAIN)
    assert found.quarantine.startswith("s3://ingestquarantine")
    assert found.quarantine.endswith("/quarantine")
    assert found == Deployment(
        name=NAME,
        account=ACCOUNT,
        region="us-east-1",
        shape="functions",
        logs="kinesis",
        switched_on=True,
        regions=("us-east-1",),
        log_group=f"{NAME}-invocations",
        subscriptions=(
            Subscription(region="us-east-1", log_group=f"{NAME}-invocations", name=f"{NAME}-calls"),
        ),
        rules=found.rules,
        queues=(f"{QUEUES}-events",),
        dead_letters=(f"{QUEUES}-dead-letters",),
        streams=(f"{NAME}-invocations",),
        bus=NAME,
        quarantine=found.quarantine,
        functions={one: f"{NAME}-{one}" for one in ("queue", "stream", "announcer", "monitor")},
        agents=True,
        keys=True,
    )


@pytest.mark.parametrize(
    "shape", ["functions-everything", "container-everything", "sources-accounts"]
)
def test_rules_are_those_of_the_templates(shape: str) -> None:
    templates = made(**SHAPES[shape])
    found = written(**SHAPES[shape])
    own = {
        (template.region, rule.get("EventBusName", "default"), rule["Name"]): rule["State"]
        for template in templates.values()
        if template.account == ACCOUNT
        for rule in template.all("AWS::Events::Rule")
    }
    assert {(one.region, one.bus, one.name) for one in found.rules} == set(own)
    assert {(one.region, one.bus, one.name) for one in found.rules if one.all_events} == {
        place for place, state in own.items() if state.startswith("ENABLED_WITH_ALL")
    }
    assert all(one.why for one in found.rules)


def test_everything_that_runs_is_named() -> None:
    found = written(**SHAPES["functions-everything"])
    assert found.members == {MEMBER: ("us-east-1", "ap-southeast-2")}
    assert found.regions == ("us-east-1", "eu-west-1")
    assert found.functions["enforcement"] == f"{NAME}-enforcement"
    assert found.state_machines.keys() == {"suspension", "restoration"}
    assert found.topics.keys() == {"people", "page", "ticket"}
    assert found.topics["people"] == f"arn:aws:sns:us-east-1:{ACCOUNT}:{NAME}-people"
    assert found.dead_letters == (f"{QUEUES}-dead-letters", f"{QUEUES}-undelivered")
    assert found.customer_key.startswith("EncryptionKey")
    assert found.enforcement == "workflows"
    assert [one.region for one in found.subscriptions] == ["us-east-1", "eu-west-1"]


def test_the_container_is_named() -> None:
    found = written(**SHAPES["container-everything"])
    assert found.shape == "container"
    assert found.cluster != ""
    assert found.service != ""


def test_what_is_off_is_not_named() -> None:
    found = written(**SHAPES["functions-nothing"])
    assert (found.agents, found.keys, found.enforcement, found.logs) == (
        False,
        False,
        "off",
        "none",
    )
    assert (found.streams, found.subscriptions, found.log_group) == ((), (), "")
    assert (found.state_machines, found.topics, found.customer_key) == ({}, {}, "")
    assert found.switched_on is False


def test_the_bucket_of_logs_is_named() -> None:
    found = written(logs={"via": "s3"}, **PLAIN)
    assert found.log_bucket.startswith("ingestinvocationsbucket")
    assert (found.log_group, found.subscriptions, found.streams) == ("", (), ())
    assert (
        Rule(
            region="us-east-1",
            bus="default",
            name=f"{NAME}-logs",
            why="invocation logs, an object at a time",
        )
        in found.rules
    )


@pytest.mark.parametrize(
    "document, tier", [(PLAIN, "Standard"), (SHAPES["functions-everything"], "Advanced")]
)
def test_it_fits_into_a_parameter(document: Json, tier: str) -> None:
    parameter = ledger(**document).only("AWS::SSM::Parameter", Name=PATH)
    assert parameter["Tier"] == tier
    assert len(parameter["Value"]) < {"Standard": 4_096, "Advanced": 8_192}[tier]


def test_more_than_fits_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sources: .* give fewer accounts and Regions"):
        ledger(**MANY)
