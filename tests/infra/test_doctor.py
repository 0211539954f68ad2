"""What a deployment makes is what `ledgerock doctor` calls well, so that it cries no wolf."""

from fnmatch import fnmatchcase

import pytest

from tests.infra.templates import Json, Template, ledger, made
from tests.unit.adapters.test_account_aws import ROLE
from worker.adapters.account_logs import denies_plain, trusts_bedrock
from worker.adapters.account_tables import described, wanted_tables
from worker.doctor.events import ON
from worker.doctor.permissions import (
    BUS_ACTIONS,
    QUARANTINE_ACTIONS,
    QUEUE_ACTIONS,
    STREAM_ACTIONS,
    table_actions,
)
from worker.settings.deployment import PARAMETER, Deployment, decode_deployment

NAME = "ledgerock-try"
ACCOUNT = ROLE.split(":")[4]
SHAPES: dict[str, Json] = {
    "functions": {"logs": {"via": "s3"}},
    "container": {"shape": "container"},
    "bare": {"shape": "container", "watching": {"enabled": False}, "data": {"keep": False}},
}


def deployment_of(template: Template) -> Deployment:
    path = f"/ledgerock/try/{PARAMETER}"
    parameter = template.only("AWS::SSM::Parameter", Name=path)
    return decode_deployment(parameter["Value"], path)


def allowed_to(template: Template, role: str) -> list[Json]:
    """Return the statements of the policies of a role, given its logical id."""
    return [
        statement
        for policy in template.whole("AWS::IAM::Policy")
        if {"Ref": role} in policy["Properties"]["Roles"]
        for statement in template.resolve(policy["Properties"]["PolicyDocument"]["Statement"])
    ]


def listed(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def allows(statements: list[Json], action: str, resource: str) -> bool:
    """Whether any statement allows an action on a resource; conditions are left out."""
    return any(
        one["Effect"] == "Allow"
        and action in listed(one["Action"])
        and any(fnmatchcase(resource, each) for each in listed(one["Resource"]))
        for one in statements
    )


@pytest.mark.parametrize("shape", ["container", "bare"])
def test_the_containers_role_may_do_what_the_doctor_asks_of_it(shape: str) -> None:
    template = ledger(**SHAPES[shape])
    [definition] = template.whole("AWS::ECS::TaskDefinition")
    role = definition["Properties"]["TaskRoleArn"]["Fn::GetAtt"][0]
    statements = allowed_to(template, role)
    found = deployment_of(template)
    place = f"arn:aws:{{}}:{found.region}:{template.account}:"
    needs = [
        (place.format("dynamodb") + f"table/{table.name}", table_actions(table.name))
        for table in wanted_tables(NAME)
    ]
    queues = [url.rpartition("/")[2] for url in found.queues]
    needs += [(place.format("sqs") + name, QUEUE_ACTIONS) for name in queues]
    needs += [(place.format("kinesis") + f"stream/{one}", STREAM_ACTIONS) for one in found.streams]
    needs.append((place.format("events") + f"event-bus/{found.bus}", BUS_ACTIONS))
    kept = found.quarantine.removeprefix("s3://")
    needs.append((f"arn:aws:s3:::{kept}/*", QUARANTINE_ACTIONS))
    assert len(needs) >= 6
    lacking = [
        (action, resource)
        for resource, actions in needs
        for action in actions
        if not allows(statements, action, resource)
    ]
    assert lacking == []


@pytest.mark.parametrize("shape", SHAPES)
def test_tables_have_the_keys_indexes_and_stream_that_the_doctor_wants(shape: str) -> None:
    wanted = {one.name: one for one in wanted_tables(NAME)}
    for properties in ledger(**SHAPES[shape]).all("AWS::DynamoDB::Table"):
        stream = properties.get("StreamSpecification")
        if stream:  # CloudFormation leaves `StreamEnabled` out.
            properties["StreamSpecification"] = {"StreamEnabled": True, **stream}
        expiry = properties.get("TimeToLiveSpecification", {})
        table = wanted.pop(properties["TableName"])
        found = described(
            properties,
            expires=expiry.get("AttributeName", "") if table.expires else "",
            has_recovery=True,
            is_protected=True,
        )
        assert (found.keys, found.indexes) == (table.keys, table.indexes)
        assert (found.stream, found.expires) == (table.stream, table.expires)
    assert wanted == {}


@pytest.mark.parametrize("shape", SHAPES)
def test_buckets_deny_plain_requests_and_rules_are_on(shape: str) -> None:
    template = ledger(**SHAPES[shape])
    policies = template.all("AWS::S3::BucketPolicy")
    assert policies
    assert all(denies_plain(one["PolicyDocument"]) for one in policies)
    rules = template.all("AWS::Events::Rule")
    assert rules
    assert {one.get("State", "ENABLED") for one in rules} <= ON


def test_the_role_that_bedrock_writes_logs_with_is_told_from_all_others_by_its_region() -> None:
    stacks = made(
        account=ACCOUNT,
        region="eu-central-1",
        sources=[{"account": ACCOUNT, "regions": ["us-east-1"]}],
    )
    for region in ("eu-central-1", "us-east-1"):
        trusted = [
            (template.region, role["Path"])
            for template in stacks.values()
            for role in template.all("AWS::IAM::Role")
            if trusts_bedrock(role["AssumeRolePolicyDocument"], region)
        ]
        assert trusted == [(region, "/ledgerock/try/")]
