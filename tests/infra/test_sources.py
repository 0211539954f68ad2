"""Other accounts and Regions that feed a ledger, and what of it takes them in."""

import json
from typing import Any

import pytest

from infra.config import ConfigError
from infra.places import iam_region, places
from tests.infra.shapes import ACCOUNT, MEMBER, configured
from tests.infra.templates import Json, Template, made

NAME = "ledgerock-try"
HOME = "eu-central-1"
OWN: Json = {"account": ACCOUNT, "regions": ["eu-west-1"]}
OTHER: Json = {"account": MEMBER, "regions": [HOME, "us-west-2"]}
BOTH: Json = {"account": ACCOUNT, "region": HOME, "sources": [OWN, OTHER]}
VIA_S3: Json = {**BOTH, "logs": {"via": "s3"}}
WITH_KEY: Json = {"data": {"customer_key": True}}
INTAKE = f"arn:aws:events:{HOME}:{ACCOUNT}:event-bus/{NAME}-intake"
STREAM = f"arn:aws:kinesis:{HOME}:{ACCOUNT}:stream/{NAME}-invocations"


def names(template: Template, kind: str, key: str) -> set[str]:
    return {one[key] for one in template.all(kind)}


def roles(template: Template, service: str) -> list[Json]:
    return [
        one
        for one in template.all("AWS::IAM::Role")
        if one["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]
        == {"Service": f"{service}.amazonaws.com"}
    ]


def rights(role: Json) -> list[Json]:
    listed: list[Json] = role["Policies"][0]["PolicyDocument"]["Statement"]
    return listed


# --- Places -----------------------------------------------------------------------------------


def test_each_region_of_each_account_is_a_place_and_iams_too() -> None:
    found = [
        (one.account, one.region, one.has_calls, one.with_iam, one.is_first, one.is_own)
        for one in places(configured(BOTH))
    ]
    assert found == [
        (ACCOUNT, "eu-west-1", True, False, True, True),
        (ACCOUNT, "us-east-1", False, True, False, True),
        (MEMBER, HOME, True, False, True, False),
        (MEMBER, "us-west-2", True, False, False, False),
        (MEMBER, "us-east-1", False, True, False, False),
    ]


def test_without_keys_nobody_asks_for_iam() -> None:
    assert [one.region for one in places(configured({**BOTH, "keys": False}))] == [
        "eu-west-1",
        HOME,
        "us-west-2",
    ]


@pytest.mark.parametrize(
    "region, recorded",
    [
        ("eu-central-1", "us-east-1"),
        ("us-gov-east-1", "us-gov-west-1"),
        ("cn-northwest-1", "cn-north-1"),
    ],
)
def test_iam_is_recorded_in_one_region_of_a_partition(region: str, recorded: str) -> None:
    assert iam_region(configured({"region": region})) == recorded


def test_a_ledger_by_itself_has_no_other_place() -> None:
    assert places(configured({})) == []
    assert made().keys() == {"Ledger"}


def test_each_place_has_a_stack_and_each_region_with_calls_a_receiver() -> None:
    assert made(**BOTH).keys() == {
        "Ledger",
        "Receiver-eu-west-1",
        f"Receiver-{HOME}",
        "Receiver-us-west-2",
        f"Source-{ACCOUNT}-eu-west-1",
        f"Source-{ACCOUNT}-us-east-1",
        f"Source-{MEMBER}-{HOME}",
        f"Source-{MEMBER}-us-west-2",
        f"Source-{MEMBER}-us-east-1",
    }
    assert not any(name.startswith("Receiver") for name in made(**VIA_S3))


def test_a_stack_is_in_its_place() -> None:
    found = made(**BOTH)
    assert (found["Receiver-us-west-2"].account, found["Receiver-us-west-2"].region) == (
        ACCOUNT,
        "us-west-2",
    )
    source = found[f"Source-{MEMBER}-us-west-2"]
    assert (source.account, source.region) == (MEMBER, "us-west-2")


def test_functions_of_the_ledger_cannot_be_called_from_elsewhere() -> None:
    with pytest.raises(ConfigError, match="give `kinesis` or `s3`"):
        configured({**BOTH, "logs": {"via": "subscription"}})


# --- Logs, by Kinesis -------------------------------------------------------------------------


def test_a_receiver_puts_records_on_the_ledgers_stream() -> None:
    receiver = made(**BOTH)["Receiver-us-west-2"]
    destination = receiver.only("AWS::Logs::Destination")
    assert destination["TargetArn"] == STREAM
    [role] = roles(receiver, "logs")
    assert rights(role) == [{"Action": "kinesis:PutRecord", "Effect": "Allow", "Resource": STREAM}]
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"] == {
        "StringLike": {
            "aws:SourceArn": [
                f"arn:aws:logs:us-west-2:{ACCOUNT}:*",
                f"arn:aws:logs:us-west-2:{MEMBER}:*",
            ]
        }
    }


@pytest.mark.parametrize(
    "region, senders", [("us-west-2", [MEMBER]), (HOME, [MEMBER]), ("eu-west-1", [ACCOUNT])]
)
def test_a_receiver_takes_records_of_those_accounts_alone(region: str, senders: list[str]) -> None:
    destination = made(**BOTH)[f"Receiver-{region}"].only("AWS::Logs::Destination")
    [statement] = json.loads(destination["DestinationPolicy"])["Statement"]
    assert statement["Principal"] == {"AWS": senders}
    assert statement["Action"] == "logs:PutSubscriptionFilter"
    assert statement["Resource"] == (
        f"arn:aws:logs:{region}:{ACCOUNT}:destination:{NAME}-invocations"
    )


def test_a_receiver_finds_the_ledgers_key_by_its_alias() -> None:
    receiver = made(**BOTH, **WITH_KEY)["Receiver-us-west-2"]
    [role] = roles(receiver, "logs")
    [_, statement] = rights(role)
    assert statement["Action"] == "kms:GenerateDataKey"
    assert statement["Resource"] == f"arn:aws:kms:{HOME}:{ACCOUNT}:key/*"
    assert statement["Condition"] == {
        "ForAnyValue:StringEquals": {"kms:ResourceAliases": f"alias/{NAME}"}
    }


@pytest.mark.parametrize("account, region", [(ACCOUNT, "eu-west-1"), (MEMBER, "us-west-2")])
def test_a_source_sends_its_log_records_to_the_receiver_of_its_region(
    account: str, region: str
) -> None:
    source = made(**BOTH)[f"Source-{account}-{region}"]
    sending = source.only("AWS::Logs::SubscriptionFilter")
    assert sending["DestinationArn"] == (
        f"arn:aws:logs:{region}:{ACCOUNT}:destination:{NAME}-invocations"
    )
    assert sending["LogGroupName"] == f"{NAME}-invocations"
    assert (sending["FilterPattern"], sending["Distribution"]) == ("", "Random")
    # The role is the destination's.
    assert "RoleArn" not in sending
    switch = source.only("Custom::LedgerockInvocationLogging")
    assert switch["LogGroup"] == f"{NAME}-invocations"


# --- Logs, by S3 ------------------------------------------------------------------------------


def test_a_member_lets_the_ledgers_roles_read_its_logs() -> None:
    source = made(**VIA_S3)[f"Source-{MEMBER}-us-west-2"]
    readers = [
        one
        for one in source.statements("AWS::S3::BucketPolicy")
        if one["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    ]
    assert [one["Action"] for one in readers] == [
        ["s3:GetObject", "s3:GetObjectVersion"],
        "s3:ListBucket",
    ]
    for one in readers:
        assert one["Condition"] == {
            "ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/ledgerock/try/*"}
        }


def test_the_ledgers_own_account_needs_no_such_policy() -> None:
    source = made(**VIA_S3)[f"Source-{ACCOUNT}-eu-west-1"]
    allowed = [
        one["Principal"]
        for one in source.statements("AWS::S3::BucketPolicy")
        if one["Effect"] == "Allow"
    ]
    assert allowed == [{"Service": "bedrock.amazonaws.com"}]


def test_a_members_key_lets_the_ledgers_roles_decrypt() -> None:
    source = made(**VIA_S3, **WITH_KEY)[f"Source-{MEMBER}-us-west-2"]
    [statement] = [one for one in source.statements("AWS::KMS::Key") if one.get("Sid") == "Ledger"]
    assert statement["Action"] == "kms:Decrypt"
    assert statement["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    assert statement["Condition"] == {
        "ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/ledgerock/try/*"}
    }


def test_new_log_objects_are_sent_on_and_taken_in() -> None:
    found = made(**VIA_S3)
    sent = found[f"Source-{MEMBER}-us-west-2"].only("AWS::Events::Rule", Name=f"{NAME}-logs")
    assert sent["Targets"][0]["Arn"] == INTAKE
    assert len(sent["EventPattern"]["detail"]["bucket"]["name"]) == 1
    taken = found["Ledger"].only("AWS::Events::Rule", Name=f"{NAME}-from-logs")
    assert taken["EventPattern"]["account"] == [ACCOUNT, MEMBER]
    assert taken["EventPattern"]["detail"] == {"object": {"key": [{"suffix": ".json.gz"}]}}


# --- Events -----------------------------------------------------------------------------------


def test_only_those_accounts_may_put_events_in() -> None:
    template = made(**BOTH)["Ledger"]
    policy = template.only("AWS::Events::EventBusPolicy")
    assert policy["EventBusName"] == f"{NAME}-intake"
    assert policy["Statement"]["Principal"] == {"AWS": f"arn:aws:iam::{MEMBER}:root"}
    assert policy["Statement"]["Action"] == "events:PutEvents"
    assert policy["Statement"]["Resource"] == INTAKE


def test_an_account_by_itself_needs_no_policy() -> None:
    template = made(**{**BOTH, "sources": [OWN]})["Ledger"]
    assert template.all("AWS::Events::EventBusPolicy") == []
    assert f"{NAME}-intake" in names(template, "AWS::Events::EventBus", "Name")


def test_rules_that_send_and_rules_that_take_in_match_alike() -> None:
    found = made(**BOTH, cross_check=True)
    sent: dict[str, Json] = {}
    for name, template in found.items():
        if name.startswith("Source"):
            sent |= {one["Name"]: one for one in template.all("AWS::Events::Rule")}
    taken = {
        one["Name"]: one
        for one in found["Ledger"].all("AWS::Events::Rule")
        if one.get("EventBusName") == f"{NAME}-intake"
    }
    assert {name.replace("-from-", "-") for name in taken} == set(sent)
    for name, one in taken.items():
        twin = sent[name.replace("-from-", "-")]
        assert one["EventPattern"] == {**twin["EventPattern"], "account": [ACCOUNT, MEMBER]}
        assert one["State"] == twin["State"]
    runtime = taken[f"{NAME}-from-runtime"]["State"]
    assert runtime == "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"


def test_a_source_sends_with_a_role_that_can_do_nothing_else() -> None:
    source = made(**BOTH)[f"Source-{MEMBER}-us-west-2"]
    [role] = roles(source, "events")
    assert rights(role) == [{"Action": "events:PutEvents", "Effect": "Allow", "Resource": INTAKE}]
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust == {
        "Action": "sts:AssumeRole",
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
    }
    for rule in source.all("AWS::Events::Rule"):
        [target] = rule["Targets"]
        assert target["RoleArn"].startswith("Sender")
        assert target["DeadLetterConfig"]["Arn"] == (
            f"arn:aws:sqs:us-west-2:{MEMBER}:{NAME}-source-undelivered"
        )


def test_a_region_that_only_records_iam_sends_only_that() -> None:
    source = made(**BOTH)[f"Source-{MEMBER}-us-east-1"]
    assert names(source, "AWS::Events::Rule", "Name") == {f"{NAME}-iam"}
    for kind in ("AWS::Logs::LogGroup", "AWS::Lambda::Function", "AWS::S3::Bucket"):
        assert source.all(kind) == []


def test_the_forwarder_needs_no_account_to_be_named() -> None:
    found = made(region=HOME)
    assert found.keys() == {"Ledger", "Source-own-us-east-1"}
    [rule] = found["Source-own-us-east-1"].all("AWS::Events::Rule")
    assert rule["Targets"][0]["Arn"] == INTAKE
    taken = found["Ledger"].only("AWS::Events::Rule", Name=f"{NAME}-from-iam")
    assert taken["EventPattern"]["account"] == [ACCOUNT]


# --- Enforcement ------------------------------------------------------------------------------


def named_roles(template: Template) -> dict[str, Json]:
    return {one["RoleName"]: one for one in template.all("AWS::IAM::Role") if "RoleName" in one}


@pytest.mark.parametrize(
    "by, expected",
    [
        ("off", set[str]()),
        ("worker", {f"{NAME}-enforcement"}),
        ("workflows", {f"{NAME}-enforcement", f"{NAME}-tagging"}),
    ],
)
def test_a_member_has_the_roles_that_act_there_once(by: str, expected: set[str]) -> None:
    found = made(**BOTH, enforcement={"by": by})
    assert named_roles(found[f"Source-{MEMBER}-{HOME}"]).keys() == expected
    for place in (f"{MEMBER}-us-west-2", f"{MEMBER}-us-east-1", f"{ACCOUNT}-eu-west-1"):
        assert named_roles(found[f"Source-{place}"]) == {}


def test_only_its_namesake_at_home_may_take_it_on() -> None:
    found = made(**BOTH, enforcement={"by": "worker"})
    role = named_roles(found[f"Source-{MEMBER}-{HOME}"])[f"{NAME}-enforcement"]
    assert role["Path"] == "/ledgerock/try/"
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    assert trust["Condition"] == {
        "ArnEquals": {
            "aws:PrincipalArn": (f"arn:aws:iam::{ACCOUNT}:role/ledgerock/try/{NAME}-enforcement")
        }
    }
    assert f"{NAME}-enforcement" in named_roles(found["Ledger"])


def test_a_boundary_is_of_the_roles_own_account() -> None:
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/boundary"
    found: dict[str, Template] = made(**BOTH, enforcement={"by": "worker", "boundary": boundary})
    of: dict[str, set[Any]] = {
        name: {one.get("PermissionsBoundary") for one in template.all("AWS::IAM::Role")}
        for name, template in found.items()
    }
    assert of[f"Source-{MEMBER}-{HOME}"] == {f"arn:aws:iam::{MEMBER}:policy/boundary"}
    assert of["Ledger"] == of["Receiver-us-west-2"] == {boundary}
