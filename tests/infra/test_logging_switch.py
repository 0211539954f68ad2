"""The function that switches invocation logging on, and what it is told."""

import importlib.util
import json
import tempfile
from pathlib import Path

import pytest

from tests.infra.shapes import ACCOUNT, configured, synthesise
from tests.infra.templates import Json, Template, ledger

KIND = "Custom::LedgerockInvocationLogging"
FUNCTION = "ledgerock-try-invocation-logging"
BASE: Json = {
    "Id": "ledgerock-try-invocation-logging",
    "LogGroup": "ledgerock-try-invocations",
    "Bucket": "",
    "Bodies": "false",
    "ReplaceExisting": "false",
}


def told(template: Template) -> Json:
    found = template.only(KIND)
    return {key: found[key] for key in BASE}


def function(template: Template) -> Json:
    return template.only("AWS::Lambda::Function", FunctionName=FUNCTION)


def rights(template: Template) -> list[Json]:
    [role] = [
        one
        for one in template.all("AWS::IAM::Role")
        if one.get("Description") == "Switches model invocation logging on and off"
    ]
    listed: list[Json] = role["Policies"][0]["PolicyDocument"]["Statement"]
    assert len(role["Policies"]) == 1
    assert "ManagedPolicyArns" not in role
    return listed


@pytest.mark.parametrize("via", ["kinesis", "subscription"])
def test_it_is_told_of_the_log_group(via: str) -> None:
    template = ledger(logs={"via": via})
    assert told(template) == BASE
    made = template.only(KIND)
    assert made["Role"].endswith(".Arn")
    assert made["ServiceToken"] == f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{FUNCTION}"
    assert made["ServiceTimeout"] == "900"


def test_it_is_told_of_the_bucket() -> None:
    template = ledger(logs={"via": "s3", "bodies": True, "replace_existing": True})
    made = told(template)
    assert made.pop("Bucket").startswith("ingestinvocationsbucket")
    assert made == {
        "Id": BASE["Id"],
        "LogGroup": "",
        "Bodies": "true",
        "ReplaceExisting": "true",
    }


def test_it_waits_for_what_bedrock_writes_to() -> None:
    [to_group] = ledger().whole(KIND)
    assert any("InvocationsGroup" in one for one in to_group["DependsOn"])
    [to_bucket] = ledger(logs={"via": "s3"}).whole(KIND)
    assert any("BucketPolicy" in one for one in to_bucket["DependsOn"])


def test_it_may_switch_logging_here_and_hand_over_one_role() -> None:
    logs, switch, role = rights(ledger())
    assert logs["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert logs["Resource"] == (
        f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/aws/lambda/{FUNCTION}:*"
    )
    assert switch == {
        "Action": [
            "bedrock:GetModelInvocationLoggingConfiguration",
            "bedrock:PutModelInvocationLoggingConfiguration",
            "bedrock:DeleteModelInvocationLoggingConfiguration",
        ],
        "Effect": "Allow",
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:RequestedRegion": "us-east-1"}},
    }
    assert role["Action"] == "iam:PassRole"
    assert role["Resource"] == ledger().only(KIND)["Role"]
    assert role["Condition"] == {"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}}


def test_with_a_bucket_it_hands_over_no_role() -> None:
    assert [one["Action"] for one in rights(ledger(logs={"via": "s3"}))][2:] == []


def test_it_has_more_time_than_it_needs_and_keeps_what_it_says() -> None:
    template = ledger(watching={"log_days": 60})
    made = function(template)
    assert (made["Timeout"], made["Runtime"]) == (300, "python3.13")
    group = template.only("AWS::Logs::LogGroup", LogGroupName=f"/aws/lambda/{FUNCTION}")
    assert group["RetentionInDays"] == 60


@pytest.mark.parametrize(
    "logs", [{"switch_on": False}, {"via": "none", "switch_on": False}], ids=["off", "none"]
)
def test_there_is_none_if_logging_is_not_to_be_switched(logs: Json) -> None:
    template = ledger(logs=logs)
    assert template.all(KIND) == []
    names = [one["FunctionName"] for one in template.all("AWS::Lambda::Function")]
    assert FUNCTION not in names


def test_what_is_deployed_is_one_file_with_the_handler() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = synthesise(configured({}), Path(folder))
        [resource] = [
            one
            for one in made.ledger["Resources"].values()
            if one["Type"] == "AWS::Lambda::Function"
            and one["Properties"]["FunctionName"] == FUNCTION
        ]
        asset = resource["Properties"]["Code"]["S3Key"].removesuffix(".zip")
        [file] = (Path(folder) / f"asset.{asset}").iterdir()
        module, handler = resource["Properties"]["Handler"].split(".")
        assert file.name == f"{module}.py"
        spec = importlib.util.spec_from_file_location("deployed", file)
        assert spec is not None
        assert spec.loader is not None
        deployed = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(deployed)
        assert callable(getattr(deployed, handler))
    assert json.dumps(made.ledger).count(asset) == 1
