"""The tables of a template are those of the code."""

from typing import Any

import pytest

from tests.infra.templates import Json, Template, ledger
from worker.adapters.dynamodb_items import EXPIRES, table_definitions
from worker.adapters.dynamodb_state import state_table_definition

KIND = "AWS::DynamoDB::Table"
NAME = "ledgerock-try"
DEFINED = {
    one["TableName"]: one for one in (*table_definitions(NAME), state_table_definition(NAME))
}
KEPT: Json = {"data": {"keep": True, "recovery_days": 21}}
NOT_KEPT: Json = {"data": {"keep": False}}


def table(template: Template, name: str) -> Json:
    return template.only(KIND, TableName=name)


def sorted_attributes(definition: Json) -> list[tuple[str, str]]:
    listed = definition["AttributeDefinitions"]
    return sorted((one["AttributeName"], one["AttributeType"]) for one in listed)


def test_there_are_the_tables_that_the_code_names_and_no_others() -> None:
    assert {one["TableName"] for one in ledger().all(KIND)} == set(DEFINED)


@pytest.mark.parametrize("name", DEFINED)
def test_keys_and_indexes_are_those_of_the_code(name: str) -> None:
    made, wanted = table(ledger(), name), DEFINED[name]
    assert made["KeySchema"] == wanted["KeySchema"]
    assert sorted_attributes(made) == sorted_attributes(wanted)
    assert made["GlobalSecondaryIndexes"] == wanted["GlobalSecondaryIndexes"]
    assert made["BillingMode"] == wanted["BillingMode"] == "PAY_PER_REQUEST"


@pytest.mark.parametrize("name", DEFINED)
def test_streams_are_those_of_the_code(name: str) -> None:
    wanted = DEFINED[name].get("StreamSpecification", {}).get("StreamViewType")
    made = table(ledger(), name).get("StreamSpecification", {}).get("StreamViewType")
    assert made == wanted
    assert (made == "KEYS_ONLY") == name.endswith("-state")


@pytest.mark.parametrize("name", DEFINED)
def test_items_expire_by_the_attribute_of_the_code(name: str) -> None:
    wanted = {"AttributeName": EXPIRES, "Enabled": True}
    assert table(ledger(), name)["TimeToLiveSpecification"] == wanted


@pytest.mark.parametrize("document, days", [({}, 35), (KEPT, 21), (NOT_KEPT, 35)])
def test_tables_can_be_brought_back_to_a_point_in_time(document: Json, days: int) -> None:
    wanted = {"PointInTimeRecoveryEnabled": True, "RecoveryPeriodInDays": days}
    recovery: list[Any] = [
        one["PointInTimeRecoverySpecification"] for one in ledger(**document).all(KIND)
    ]
    assert recovery == [wanted] * 3


@pytest.mark.parametrize(
    "document, policy, kept", [(KEPT, "Retain", True), (NOT_KEPT, "Delete", False)]
)
def test_tables_are_kept_or_not(document: Json, policy: str, kept: bool) -> None:
    found = ledger(**document).whole(KIND)
    assert len(found) == 3
    for one in found:
        assert one["UpdateReplacePolicy"] == policy
        assert one["DeletionPolicy"] == {"Retain": "RetainExceptOnCreate"}.get(policy, policy)
        assert one["Properties"]["DeletionProtectionEnabled"] is kept


def test_a_key_of_ones_own_encrypts_them() -> None:
    for one in ledger(data={"customer_key": True}).all(KIND):
        assert one["SSESpecification"]["SSEEnabled"] is True
        assert one["SSESpecification"]["SSEType"] == "KMS"
        assert one["SSESpecification"]["KMSMasterKeyId"].startswith("EncryptionKey")


def test_without_one_aws_does() -> None:
    assert all("SSESpecification" not in one for one in ledger().all(KIND))


def test_tables_are_tagged() -> None:
    for one in ledger(tags={"cost-centre": "42"}).all(KIND):
        tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
        assert tags == {
            "cost-centre": "42",
            "ledgerock:name": NAME,
            "ledgerock:stage": "try",
        }
