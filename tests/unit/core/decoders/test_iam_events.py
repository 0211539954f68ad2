"""What CloudTrail's events of IAM say of users, roles and keys."""

import json
from typing import Any

import pytest

from tests.calls import ACCOUNT, NOON
from tests.lifecycle import ADMIN, KEY, USER, api_event, create_key, create_user
from tests.records import line
from worker.core.decoders import Decoder
from worker.core.directory import LifecycleFact
from worker.core.results import Ignored, LifecycleSeen, Malformed, Outcome

ROLE = f"role/{ACCOUNT}/Analyst"
LIMITED = "arn:aws:iam::aws:policy/AmazonBedrockLimitedAccess"


def decoded(record: dict[str, Any]) -> Outcome:
    [outcome] = Decoder().decode(line(record), source="s")
    return outcome


def told(record: dict[str, Any]) -> LifecycleFact:
    outcome = decoded(record)
    assert isinstance(outcome, LifecycleSeen), outcome
    assert outcome.position.source == "s"
    return outcome.fact


def test_the_making_of_a_user_names_its_unique_id_its_tags_and_who_made_it() -> None:
    made = told(create_user(1, tags=[{"key": "ledgerock:tier", "value": "gold"}]))
    assert made == LifecycleFact(
        subject=USER,
        kind="created",
        at_ms=NOON,
        event_id="0000b001-0000-4000-8000-00000000b001",
        actor=ADMIN,
        unique_id="AIDAONE",
        tags=(("ledgerock:tier", "gold"),),
    )


def test_names_are_encoded_as_the_identities_of_calls_are() -> None:
    assert told(create_user(1, "eve@example.com")).subject == f"user/{ACCOUNT}/eve%40example.com"


def test_a_bedrock_key_is_a_fact_about_its_user() -> None:
    made = told(create_key(2))
    assert (made.subject, made.kind, made.key_id) == (USER, "key_created", KEY)
    assert (made.service, made.status) == ("bedrock.amazonaws.com", "Active")


@pytest.mark.parametrize(
    "service", ["codecommit.amazonaws.com", "cassandra.amazonaws.com", "logs.amazonaws.com"]
)
def test_credentials_of_other_services_are_no_business_of_ours(service: str) -> None:
    event = create_key(2)
    event["requestParameters"]["serviceName"] = service
    assert decoded(event) == Ignored(
        f"CreateServiceSpecificCredential for {service}",
        decoded(event).position,  # type: ignore[union-attr]
    )


def test_a_credential_whose_service_is_not_named_is_put_aside() -> None:
    event = create_key(2)
    del event["requestParameters"]["serviceName"]
    assert told(event).service == "bedrock.amazonaws.com"  # the answer names it as well
    del event["responseElements"]["serviceSpecificCredential"]["serviceName"]
    outcome = decoded(event)
    assert isinstance(outcome, Malformed)
    assert outcome.path == "$.requestParameters.serviceName"


@pytest.mark.parametrize(
    "name,request_,kind,status",
    [
        ("UpdateServiceSpecificCredential", {"status": "Inactive"}, "key_updated", "Inactive"),
        ("ResetServiceSpecificCredential", {}, "key_updated", ""),
        ("DeleteServiceSpecificCredential", {}, "key_deleted", ""),
    ],
)
def test_what_happens_to_a_credential_names_its_id(
    name: str, request_: dict[str, str], kind: str, status: str
) -> None:
    request = {"userName": "alice", "serviceSpecificCredentialId": KEY, **request_}
    found = told(api_event(name, 3, request))
    assert (found.subject, found.kind, found.key_id, found.status) == (USER, kind, KEY, status)


def test_an_access_key_without_a_user_is_the_callers() -> None:
    made = {"accessKeyId": "AKIAONE", "userName": "alice", "status": "Active"}
    found = told(api_event("CreateAccessKey", 4, None, {"accessKey": made}))
    assert (found.subject, found.kind, found.key_id) == (USER, "key_created", "AKIAONE")
    assert found.service == ""
    caller = {"type": "IAMUser", "userName": "alice", "arn": f"arn:aws:iam::{ACCOUNT}:user/alice"}
    gone = {"accessKeyId": "AKIAONE"}
    deleted = told(api_event("DeleteAccessKey", 5, gone, userIdentity=caller))
    assert (deleted.subject, deleted.kind) == (USER, "key_deleted")
    changed = told(
        api_event("UpdateAccessKey", 6, {**gone, "status": "Inactive"}, userIdentity=caller)
    )
    assert (changed.kind, changed.status) == ("key_updated", "Inactive")


def test_keys_of_the_root_user_are_nobodys() -> None:
    root = {"type": "Root", "arn": f"arn:aws:iam::{ACCOUNT}:root"}
    outcome = decoded(
        api_event("DeleteAccessKey", 5, {"accessKeyId": "AKIAONE"}, userIdentity=root)
    )
    assert isinstance(outcome, Ignored)
    assert outcome.reason == "DeleteAccessKey of the root user, who is no user of IAM"


def test_roles_and_their_tags() -> None:
    made = api_event(
        "CreateRole", 1, {"roleName": "Analyst"}, {"role": {"roleId": "AROAONE", "path": "/"}}
    )
    assert (told(made).subject, told(made).unique_id) == (ROLE, "AROAONE")
    tags = [{"Key": "ledgerock:team", "Value": "research"}]  # whatever the case
    tagged = told(api_event("TagRole", 2, {"roleName": "Analyst", "tags": tags}))
    assert (tagged.kind, tagged.tags) == ("tagged", (("ledgerock:team", "research"),))
    gone = told(api_event("UntagRole", 3, {"roleName": "Analyst", "tagKeys": ["b", "a", "b"]}))
    assert (gone.kind, gone.tag_keys) == ("untagged", ("a", "b"))
    assert told(api_event("DeleteRole", 4, {"roleName": "Analyst"})).kind == "deleted"


def statement(effect: str, action: Any) -> str:
    return json.dumps({"Statement": [{"Effect": effect, "Action": action, "Resource": "*"}]})


@pytest.mark.parametrize(
    "name,request_,mentions",
    [
        ("AttachUserPolicy", {"policyArn": LIMITED}, True),
        ("AttachUserPolicy", {"policyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}, False),
        ("PutUserPolicy", {"policyDocument": statement("Allow", "bedrock:InvokeModel*")}, True),
        ("PutUserPolicy", {"policyDocument": statement("Allow", ["s3:Get*", "Bedrock:*"])}, True),
        ("PutUserPolicy", {"policyDocument": statement("Deny", "bedrock:*")}, False),
        ("PutUserPolicy", {"policyDocument": statement("Allow", "s3:*")}, False),
        ("PutUserPolicy", {"policyDocument": '{"Statement": bedrock'}, True),
        ("PutUserPolicy", {"policyDocument": None}, False),
        ("DetachUserPolicy", {"policyArn": LIMITED}, False),
        ("DeleteUserPolicy", {"policyName": "bedrock"}, False),
    ],
)
def test_a_policy_is_about_bedrock_if_it_allows_something_of_it(
    name: str, request_: dict[str, Any], mentions: bool
) -> None:
    found = told(api_event(name, 7, {"userName": "alice", **request_}))
    assert (found.kind, found.mentions_bedrock) == ("policy_changed", mentions)
    as_role = name.replace("User", "Role")
    found = told(api_event(as_role, 7, {"roleName": "Analyst", **request_}))
    assert (found.subject, found.mentions_bedrock) == (ROLE, mentions)


@pytest.mark.parametrize("record", [create_user(1), create_key(2)], ids=["user", "key"])
def test_a_failed_call_says_nothing(record: dict[str, Any]) -> None:
    outcome = decoded({**record, "errorCode": "EntityAlreadyExists", "responseElements": None})
    assert isinstance(outcome, Ignored)
    assert outcome.reason == f"{record['eventName']} that failed: EntityAlreadyExists"


@pytest.mark.parametrize(
    "changes,path",
    [
        ({"responseElements": None}, "$.responseElements.user.userId"),
        ({"responseElements": {"user": {"userId": "AI/DA"}}}, "$.responseElements.user.userId"),
        ({"responseElements": {"user": []}}, "$.responseElements.user"),
        ({"requestParameters": None}, "$.requestParameters.userName"),
        ({"requestParameters": {"userName": 7}}, "$.requestParameters.userName"),
        ({"requestParameters": {"userName": "x" * 300}}, "$.requestParameters.userName"),
        ({"requestParameters": {"userName": "a", "tags": "all"}}, "$.requestParameters.tags"),
        ({"eventTime": None}, "$.eventTime"),
        ({"eventTime": "1970-01-01T00:00:00Z"}, "$.eventTime"),
        ({"eventID": None}, "$.eventID"),
        ({"eventID": "x" * 65}, "$.eventID"),
        ({"recipientAccountId": "1/2"}, "$.recipientAccountId"),
        ({"userIdentity": []}, "$.userIdentity"),
    ],
)
def test_what_cannot_be_understood_is_put_aside_with_its_place(
    changes: dict[str, Any], path: str
) -> None:
    outcome = decoded({**create_user(1), **changes})
    assert isinstance(outcome, Malformed), outcome
    assert outcome.path == path
    assert outcome.expected
    assert outcome.found


def test_a_status_that_there_is_not_is_put_aside() -> None:
    request = {"userName": "alice", "serviceSpecificCredentialId": KEY, "status": "Odd"}
    outcome = decoded(api_event("UpdateServiceSpecificCredential", 3, request))
    assert isinstance(outcome, Malformed)
    assert (outcome.path, outcome.found) == ("$.requestParameters.status", '"Odd"')
