"""The switch of invocation logging, as CloudFormation uses it."""

import importlib.util
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from handlers import invocation_logging
from tests.handlers.cloudformation import LOGICAL, REQUEST, STACK, Answers, answered

Json = dict[str, Any]

ID = "ledgerock-dev-invocation-logging"
GROUP = "ledgerock-dev-invocations"
ROLE = "arn:aws:iam::111122223333:role/ledgerock/dev/writer"
OURS: Json = {
    "Id": ID,
    "LogGroup": GROUP,
    "Role": ROLE,
    "Bucket": "",
    "Bodies": "false",
    "ReplaceExisting": "false",
}
TO_BUCKET: Json = {**OURS, "LogGroup": "", "Role": "", "Bucket": "ledgerock-logs"}
FLAGS = [f"{kind}DataDeliveryEnabled" for kind in ("text", "image", "embedding", "video", "audio")]
WITHOUT_BODIES = dict.fromkeys(FLAGS, False)
THEIRS: Json = {
    "cloudWatchConfig": {"logGroupName": "their-group", "roleArn": ROLE},
    "textDataDeliveryEnabled": True,
}
DENIED = {"Code": "AccessDeniedException", "Message": "not authorized to perform"}
NO_ROLE = {
    "Code": "ValidationException",
    "Message": "Failed to validate permissions for log group: g, with role: r.",
}


class Context:
    """An invocation with this much time left."""

    log_stream_name = "2026/11/22/[$LATEST]abc"

    def __init__(self, seconds: float = 300) -> None:
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self._seconds * 1000)


class Faulty:
    """A client some of whose requests fail first."""

    def __init__(self, client: Any, operation: str, errors: list[Json]) -> None:
        self._client = client
        self._operation = operation
        self._errors = errors
        self.meta = client.meta

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)

        def request(**arguments: Any) -> Any:
            if name == self._operation and self._errors:
                raise ClientError({"Error": self._errors.pop(0)}, name)
            return real(**arguments)

        return request


@pytest.fixture
def bedrock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(invocation_logging, "PAUSE_SECONDS", 0)
    with mock_aws():
        yield boto3.client("bedrock")


@pytest.fixture
def cloudformation() -> Iterator[Answers]:
    # Outside of moto, which would take requests to this address for requests to AWS.
    with answered() as answers:
        yield answers


def present(bedrock: Any) -> Json:
    found: Json = bedrock.get_model_invocation_logging_configuration()
    return dict(found.get("loggingConfig") or {})


def ask(
    cloudformation: Answers,
    kind: str,
    properties: Json,
    context: Context | None = None,
    **more: Any,
) -> Json:
    """Have the function do something; return its only answer."""
    cloudformation.puts.clear()
    request = cloudformation.request(kind, properties, **more)
    invocation_logging.handler(request, context or Context())
    return cloudformation.only


def failing(monkeypatch: pytest.MonkeyPatch, operation: str, errors: list[Json]) -> None:
    real = boto3.client

    def client(*arguments: Any, **named: Any) -> Any:
        return Faulty(real(*arguments, **named), operation, errors)

    monkeypatch.setattr(boto3, "client", client)


# --- On ---------------------------------------------------------------------------------------


def test_it_switches_logging_on_without_bodies(bedrock: Any, cloudformation: Answers) -> None:
    answer = ask(cloudformation, "Create", OURS)
    assert answer["Status"] == "SUCCESS"
    assert present(bedrock) == {
        "cloudWatchConfig": {"logGroupName": GROUP, "roleArn": ROLE},
        **WITHOUT_BODIES,
    }


def test_bodies_are_logged_if_they_are_wanted(bedrock: Any, cloudformation: Answers) -> None:
    assert ask(cloudformation, "Create", {**OURS, "Bodies": "true"})["Status"] == "SUCCESS"
    assert [present(bedrock)[flag] for flag in FLAGS] == [True] * 5


def test_logs_may_go_to_a_bucket(bedrock: Any, cloudformation: Answers) -> None:
    assert ask(cloudformation, "Create", TO_BUCKET)["Status"] == "SUCCESS"
    assert present(bedrock) == {"s3Config": {"bucketName": "ledgerock-logs"}, **WITHOUT_BODIES}


def test_every_flag_that_bedrock_has_is_known() -> None:
    client = boto3.client("bedrock", region_name="us-east-1")
    members = client.meta.service_model.shape_for("LoggingConfig").members
    assert set(members) - {"cloudWatchConfig", "s3Config"} == set(FLAGS)


def test_what_is_there_is_not_replaced(bedrock: Any, cloudformation: Answers) -> None:
    bedrock.put_model_invocation_logging_configuration(loggingConfig=THEIRS)
    answer = ask(cloudformation, "Create", OURS)
    assert answer["Status"] == "FAILED"
    assert "the log group their-group" in answer["Reason"]
    assert "logs.replace_existing: true" in answer["Reason"]
    assert "logs.switch_on: false" in answer["Reason"]
    assert present(bedrock) == THEIRS


def test_what_is_there_is_replaced_if_told_so(bedrock: Any, cloudformation: Answers) -> None:
    bedrock.put_model_invocation_logging_configuration(loggingConfig=THEIRS)
    assert ask(cloudformation, "Create", {**OURS, "ReplaceExisting": "true"})["Status"] == "SUCCESS"
    assert present(bedrock)["cloudWatchConfig"]["logGroupName"] == GROUP


@pytest.mark.parametrize(
    "more, named",
    [
        ({"s3Config": {"bucketName": "theirs", "keyPrefix": "logs"}}, "the bucket theirs/logs"),
        (
            {
                "cloudWatchConfig": {
                    "logGroupName": GROUP,
                    "roleArn": ROLE,
                    "largeDataDeliveryS3Config": {"bucketName": "large"},
                }
            },
            "the bucket large",
        ),
    ],
)
def test_a_destination_that_was_added_to_ours_is_not_lost(
    bedrock: Any, cloudformation: Answers, more: Json, named: str
) -> None:
    ask(cloudformation, "Create", OURS)
    both = {**present(bedrock), **more}
    bedrock.put_model_invocation_logging_configuration(loggingConfig=both)
    answer = ask(cloudformation, "Update", OURS, OldResourceProperties=OURS, PhysicalResourceId=ID)
    assert answer["Status"] == "FAILED"
    assert named in answer["Reason"]
    assert GROUP not in answer["Reason"]
    assert present(bedrock) == both


def test_what_is_ours_already_is_put_again(bedrock: Any, cloudformation: Answers) -> None:
    ask(cloudformation, "Create", {**OURS, "Bodies": "true", "Role": ROLE + "-old"})
    assert ask(cloudformation, "Create", OURS)["Status"] == "SUCCESS"
    assert present(bedrock)["cloudWatchConfig"]["roleArn"] == ROLE
    assert present(bedrock)["textDataDeliveryEnabled"] is False


def test_an_update_may_move_logs_from_our_old_destination(
    bedrock: Any, cloudformation: Answers
) -> None:
    ask(cloudformation, "Create", OURS)
    answer = ask(
        cloudformation, "Update", TO_BUCKET, OldResourceProperties=OURS, PhysicalResourceId=ID
    )
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", ID)
    assert present(bedrock)["s3Config"] == {"bucketName": "ledgerock-logs"}
    assert "cloudWatchConfig" not in present(bedrock)


def test_somebody_who_changes_it_meanwhile_is_noticed(
    bedrock: Any, cloudformation: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invocation_logging._Region, "put", lambda _self, _configuration: None)
    answer = ask(cloudformation, "Create", OURS)
    assert answer["Status"] == "FAILED"
    assert "reads back as off" in answer["Reason"]


# --- Rights that do not hold yet --------------------------------------------------------------


@pytest.mark.parametrize(
    "operation, error",
    [
        ("put_model_invocation_logging_configuration", NO_ROLE),
        ("put_model_invocation_logging_configuration", DENIED),
        ("get_model_invocation_logging_configuration", DENIED),
    ],
)
def test_new_rights_are_waited_for(
    bedrock: Any,
    cloudformation: Answers,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    error: Json,
) -> None:
    errors = [error, error, error]
    failing(monkeypatch, operation, errors)
    assert ask(cloudformation, "Create", OURS)["Status"] == "SUCCESS"
    assert errors == []
    assert present(bedrock)["cloudWatchConfig"]["logGroupName"] == GROUP


def test_rights_that_never_hold_are_named(
    bedrock: Any, cloudformation: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invocation_logging, "RIGHTS_SECONDS", -1)
    failing(monkeypatch, "put_model_invocation_logging_configuration", [NO_ROLE] * 9)
    answer = ask(cloudformation, "Create", OURS)
    assert answer["Status"] == "FAILED"
    assert "Failed to validate permissions for log group" in answer["Reason"]
    assert present(bedrock) == {}


def test_another_error_is_not_waited_for(
    bedrock: Any, cloudformation: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [{"Code": "ValidationException", "Message": "The bucket is elsewhere"}] * 2
    failing(monkeypatch, "put_model_invocation_logging_configuration", errors)
    answer = ask(cloudformation, "Create", OURS)
    assert answer["Status"] == "FAILED"
    assert "The bucket is elsewhere" in answer["Reason"]
    assert len(errors) == 1


# --- Off --------------------------------------------------------------------------------------


def test_ours_is_switched_off(bedrock: Any, cloudformation: Answers) -> None:
    ask(cloudformation, "Create", OURS)
    answer = ask(cloudformation, "Delete", OURS, PhysicalResourceId=ID)
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", ID)
    assert present(bedrock) == {}


def test_theirs_is_left_as_it_is(bedrock: Any, cloudformation: Answers) -> None:
    bedrock.put_model_invocation_logging_configuration(loggingConfig=THEIRS)
    answer = ask(cloudformation, "Delete", {**OURS, "ReplaceExisting": "true"})
    assert answer["Status"] == "SUCCESS"
    assert "left as it is, to the log group their-group" in answer["Reason"]
    assert present(bedrock) == THEIRS


def test_off_already_is_off(bedrock: Any, cloudformation: Answers) -> None:
    assert ask(cloudformation, "Delete", OURS)["Status"] == "SUCCESS"
    assert present(bedrock) == {}


def test_a_creation_that_was_refused_removes_nothing_when_it_is_undone(
    bedrock: Any, cloudformation: Answers
) -> None:
    bedrock.put_model_invocation_logging_configuration(loggingConfig=THEIRS)
    refused = ask(cloudformation, "Create", OURS)
    undone = ask(cloudformation, "Delete", OURS, PhysicalResourceId=refused["PhysicalResourceId"])
    assert undone["Status"] == "SUCCESS"
    assert present(bedrock) == THEIRS


# --- Answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Create", "Update", "Delete"])
def test_an_answer_has_what_cloudformation_wants(
    bedrock: Any, cloudformation: Answers, kind: str
) -> None:
    named: Json = {} if kind == "Create" else {"PhysicalResourceId": ID}
    answer = ask(cloudformation, kind, OURS, OldResourceProperties=OURS, **named)
    assert answer.keys() == {
        "Status",
        "Reason",
        "PhysicalResourceId",
        "StackId",
        "RequestId",
        "LogicalResourceId",
    }
    assert answer["PhysicalResourceId"] == ID
    assert (answer["StackId"], answer["RequestId"]) == (STACK, REQUEST)
    assert answer["LogicalResourceId"] == LOGICAL
    [put] = cloudformation.puts
    # The address is signed for an empty content type.
    assert put.headers["content-type"] == ""


def test_the_id_stays_whatever_it_was(bedrock: Any, cloudformation: Answers) -> None:
    answer = ask(cloudformation, "Update", {**OURS, "Id": "new"}, PhysicalResourceId="old")
    assert answer["PhysicalResourceId"] == "old"


@pytest.mark.parametrize("properties", [{}, {"Id": ID}])
def test_a_request_that_cannot_be_understood_is_answered(
    bedrock: Any, cloudformation: Answers, properties: Json
) -> None:
    answer = ask(cloudformation, "Create", properties)
    assert answer["Status"] == "FAILED"
    assert "KeyError" in answer["Reason"]
    assert answer["PhysicalResourceId"] == properties.get("Id", LOGICAL)


def test_a_long_reason_is_cut_to_what_an_answer_may_have(
    bedrock: Any, cloudformation: Answers
) -> None:
    theirs = {
        "s3Config": {"bucketName": "their-bucket", "keyPrefix": "\N{MUSICAL SYMBOL G CLEF}" * 5_000}
    }
    bedrock.put_model_invocation_logging_configuration(loggingConfig=theirs)
    assert ask(cloudformation, "Create", OURS)["Status"] == "FAILED"
    [put] = cloudformation.puts
    assert len(put.body) <= 4_096
    assert "is on in this Region already" in put.answer["Reason"]


def test_it_answers_before_its_time_is_up(
    bedrock: Any, cloudformation: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invocation_logging._Region, "read", lambda _self: time.sleep(60))
    context = Context(invocation_logging.ANSWER_SECONDS + 0.05)
    answer = ask(cloudformation, "Create", OURS, context)
    assert answer["Status"] == "FAILED"
    assert "longer than the function may" in answer["Reason"]
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_no_clock_is_left_running(bedrock: Any, cloudformation: Answers) -> None:
    ask(cloudformation, "Create", OURS)
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_an_answer_that_did_not_arrive_is_given_again(
    bedrock: Any, cloudformation: Answers
) -> None:
    cloudformation.faults = 2
    assert ask(cloudformation, "Create", OURS)["Status"] == "SUCCESS"


def test_an_answer_that_never_arrives_is_an_error(bedrock: Any, cloudformation: Answers) -> None:
    cloudformation.faults = 9
    request = cloudformation.request("Create", OURS)
    with pytest.raises(OSError, match="503"):
        invocation_logging.handler(request, Context())
    assert cloudformation.faults == 9 - invocation_logging.ANSWER_ATTEMPTS


def test_the_file_works_by_itself(bedrock: Any, cloudformation: Answers, tmp_path: Path) -> None:
    source = Path(invocation_logging.__file__).read_text(encoding="utf-8")
    alone = tmp_path / "alone.py"
    alone.write_text(source, encoding="utf-8")
    module = _imported(alone)
    module.handler(cloudformation.request("Create", OURS), Context())
    assert cloudformation.only["Status"] == "SUCCESS"
    assert "import worker" not in source
    assert "from worker" not in source
    assert "from handlers" not in source


def _imported(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
