"""Who may change users and roles, which ones, and the workflows."""

import json
from fnmatch import fnmatchcase

import pytest

from infra import workflows
from tests.infra.conftest import Shaped
from tests.infra.resolved import Resolver, actions_of, resources_of, role_of, statements_of
from tests.infra.shapes import ACCOUNT, MEMBER, Json

NAME = "ledgerock-try"
OWN = (
    f"arn:aws:iam::{ACCOUNT}:role/ledgerock/try/{NAME}-enforcement",
    f"arn:aws:iam::{ACCOUNT}:policy/ledgerock/try/something",
)
CHANGES = ("Put", "Delete", "Attach", "Detach", "Update", "Create", "Tag", "Untag")


def changing(statements: list[Json]) -> list[Json]:
    """Return the statements that allow changes in IAM."""
    prefixes = tuple(f"iam:{one}" for one in CHANGES)
    return [
        one
        for one in statements
        if one["Effect"] == "Allow" and any(a.startswith(prefixes) for a in actions_of(one))
    ]


def who_changes(resolve: Resolver) -> dict[str, list[Json]]:
    """Return the roles that may change anything in IAM, by their descriptions' first word."""
    found = {}
    for name, properties in resolve.of_type("AWS::IAM::Role"):
        statements = changing(statements_of(resolve, name))
        if statements:
            found[properties["Description"].partition(":")[0]] = statements
    return found


@pytest.mark.parametrize(
    "shape, who",
    [
        ("functions-kinesis", set()),
        ("container-public", set()),
        ("functions-enforcement", {"monitor"}),
        ("functions-workflows", {"monitor", "enforcement"}),
        ("container-enforcement", {"worker"}),
        ("container-workflows", {"worker", "enforcement"}),
    ],
)
def test_who_may_change_iam(shaped: Shaped, shape: str, who: set[str]) -> None:
    found = who_changes(Resolver(shaped(shape).ledger))
    assert found.keys() == {f"{NAME}-{one}" for one in who}
    if "enforcement" in who:
        [other] = [statements for name, statements in found.items() if "enforcement" not in name]
        assert [one["Sid"] for one in other] == ["Tags"], "the other one mends tags and no more"


def test_limits_by_path_tag_and_policy(shaped: Shaped) -> None:
    resolve = Resolver(shaped("functions-everything").ledger)
    found = {one["Sid"]: one for one in who_changes(resolve)[f"{NAME}-enforcement"]}
    iam = f"arn:aws:iam::{ACCOUNT}:"
    everybody = [f"{iam}user/people/*", f"{iam}role/agents/*", f"{iam}role/apps/*"]
    tagged = {"StringEquals": {"aws:ResourceTag/ledgerock": "yes"}}
    for sid in ("Deny", "Attach"):
        assert resources_of(found[sid]) == everybody
        assert found[sid]["Condition"] == tagged
    assert resources_of(found["Keys"]) == [f"{iam}user/people/*"]
    assert resources_of(found["OwnPolicies"]) == [f"{iam}policy/ledgerock/ledgerock-deny-*"]


def test_mode_deny_attaches_its_own_policies_alone(shaped: Shaped) -> None:
    resolve = Resolver(shaped("functions-workflows").ledger)
    found = {one["Sid"]: one for one in who_changes(resolve)[f"{NAME}-enforcement"]}
    own = f"arn:aws:iam::{ACCOUNT}:policy/ledgerock/ledgerock-deny-*"
    assert found["Attach"]["Condition"] == {"ArnLike": {"iam:PolicyARN": own}}
    assert "Keys" not in found


@pytest.mark.parametrize(
    "shape", ["functions-enforcement", "functions-workflows", "container-enforcement"]
)
def test_nobody_may_touch_what_is_ledgerock_s_own(shaped: Shaped, shape: str) -> None:
    """Whatever is allowed on users and roles of any path, ours are denied."""
    resolve = Resolver(shaped(shape).ledger)
    for name, _ in resolve.of_type("AWS::IAM::Role"):
        statements = statements_of(resolve, name)
        denied = [one for one in statements if one["Effect"] == "Deny"]
        for allowed in changing(statements):
            for action in actions_of(allowed):
                for own in OWN:
                    is_allowed = any(fnmatchcase(own, one) for one in resources_of(allowed))
                    is_denied = any(
                        action in actions_of(deny)
                        and any(fnmatchcase(own, one) for one in resources_of(deny))
                        for deny in denied
                    )
                    assert is_denied or not is_allowed, (name, action, own)


def test_other_accounts_trust_the_namesake_at_home(shaped: Shaped) -> None:
    synthesised = shaped("sources-accounts")
    home = Resolver(synthesised.ledger)
    [function] = [
        resource["Properties"]
        for name, resource in synthesised.ledger["Resources"].items()
        if resource["Type"] == "AWS::Lambda::Function"
        and resource["Properties"].get("FunctionName") == f"{NAME}-enforcement"
    ]
    role = role_of(function)
    assert home.resources[role]["Properties"]["RoleName"] == f"{NAME}-enforcement"
    [assume] = [one for one in statements_of(home, role) if one.get("Sid") == "Members"]
    there = f"arn:aws:iam::{MEMBER}:role/ledgerock/try/{NAME}-enforcement"
    assert (actions_of(assume), resources_of(assume)) == (["sts:AssumeRole"], [there])
    trusts = [
        resource["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        for stack, template in synthesised.templates.items()
        if stack != "Ledger"
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::IAM::Role"
        and resource["Properties"].get("RoleName") == f"{NAME}-enforcement"
    ]
    assert len(trusts) == 1, "once in an account, however many Regions it has"
    [[trust]] = trusts
    own = f":iam::{ACCOUNT}:role/ledgerock/try/{NAME}-enforcement"
    assert own in json.dumps(trust["Condition"])


def test_the_workflows(shaped: Shaped) -> None:
    resolve = Resolver(shaped("functions-workflows").ledger)
    machines = {
        properties["StateMachineName"]: properties
        for _, properties in resolve.of_type("AWS::StepFunctions::StateMachine")
    }
    arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{NAME}-enforcement"
    for purpose, definition in (
        ("suspension", workflows.suspension_definition(arn)),
        ("restoration", workflows.restoration_definition(arn)),
    ):
        machine = machines.pop(f"{NAME}-{purpose}")
        assert json.loads(machine["DefinitionString"]) == definition
        assert machine["TracingConfiguration"] == {"Enabled": True}
        logging = machine["LoggingConfiguration"]
        assert (logging["Level"], logging["IncludeExecutionData"]) == ("ALL", False)
    assert not machines


@pytest.mark.parametrize("purpose", ["suspension", "restoration"])
def test_events_start_workflows(shaped: Shaped, purpose: str) -> None:
    resolve = Resolver(shaped("functions-workflows").ledger)
    [rule] = [
        properties
        for _, properties in resolve.of_type("AWS::Events::Rule")
        if properties["Name"] == f"{NAME}-{purpose}"
    ]
    pattern = getattr(workflows, f"{purpose}_pattern")()
    assert rule["EventPattern"] == pattern
    assert rule["EventBusName"] == NAME
    assert rule["State"] == "ENABLED"
    [target] = rule["Targets"]
    machine = f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:{NAME}-{purpose}"
    assert target["Arn"].endswith(f"stateMachine:{NAME}-{purpose}")
    assert target["DeadLetterConfig"]["Arn"].endswith(f":{NAME}-undelivered")
    assert target["RetryPolicy"] == {
        "MaximumEventAgeInSeconds": 86_400,
        "MaximumRetryAttempts": 185,
    }
    role = target["RoleArn"].rpartition("/")[2]
    [name] = [one for one in resolve.resources if one.lower() == role]
    [start] = statements_of(resolve, name)
    assert actions_of(start) == ["states:StartExecution"]
    assert resources_of(start)[0].rpartition(":")[2] == machine.rpartition(":")[2]


@pytest.mark.parametrize("shape", ["functions-everything", "container-everything"])
def test_every_role_has_the_boundary_and_the_path(shaped: Shaped, shape: str) -> None:
    for stack, _, resource in shaped(shape).resources():
        if resource["Type"] == "AWS::IAM::Role":
            properties = resource["Properties"]
            assert properties["Path"] == "/ledgerock/try/"
            account = MEMBER if MEMBER in stack else ACCOUNT
            boundary = f"arn:aws:iam::{account}:policy/boundary"
            assert properties["PermissionsBoundary"] == boundary
