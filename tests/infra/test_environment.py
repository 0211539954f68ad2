"""What functions and the container are told, as the code itself reads it."""

from typing import Any

import pytest

from tests.infra.conftest import Shaped
from tests.infra.resolved import Resolver
from tests.infra.shapes import ACCOUNT, Synthesised
from worker.settings import SSM_PATH_VARIABLE, EnforcementSettings, Settings, WorkerSettings

NAME = "ledgerock-try"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/ledgerock/try/"
EVERYTHING = {
    "acts": "workflows",
    "mode": "detach",
    "protected": ("user/*/admin",),
    "tiers": "ssm:/ledgerock/try/tiers",
}
MEMBERS = f"arn:aws:iam::{{account}}:role/ledgerock/try/{NAME}-"


def environments(resolve: Resolver) -> dict[str, dict[str, str]]:
    """Return the environment of each function of ours by its handler, and of the container."""
    found = {
        properties["ImageConfig"]["Command"][0].split(".")[1]: properties["Environment"][
            "Variables"
        ]
        for _, properties in resolve.of_type("AWS::Lambda::Function")
        if "ImageConfig" in properties
    }
    for _, properties in resolve.of_type("AWS::ECS::TaskDefinition"):
        [container] = properties["ContainerDefinitions"]
        found["worker"] = {one["Name"]: one["Value"] for one in container["Environment"]}
    return found


def own_roles(resolve: Resolver) -> set[str]:
    """Return the ARNs of all roles that run our code."""
    running = [
        (resource["Properties"], key)
        for resource in resolve.resources.values()
        for kind, key in (("Lambda::Function", "Role"), ("ECS::TaskDefinition", "TaskRoleArn"))
        if resource["Type"] == f"AWS::{kind}"
        and (key == "TaskRoleArn" or "ImageUri" in resource["Properties"]["Code"])
    ]
    return {resolve(properties[key]) for properties, key in running}


def expected(
    resolve: Resolver,
    enforcement: dict[str, Any],
    worker: dict[str, Any],
    roles: tuple[str, ...],
) -> Settings:
    [bucket] = [
        name.lower() for name, _ in resolve.of_type("AWS::S3::Bucket") if "Quarantine" in name
    ]
    return Settings(
        ledger=f"dynamodb:{NAME}",
        quarantine=f"s3://{bucket}/quarantine",
        worker=WorkerSettings(metrics_service=NAME, **worker),
        enforcement=EnforcementSettings(account=ACCOUNT, own_roles=roles, **enforcement),
    )


def compare(
    synthesised: Synthesised,
    enforcement: dict[str, Any],
    those: dict[str, tuple[dict[str, Any], dict[str, Any]]],
) -> None:
    """Compare what each is told: what all have in common, and of each one's worker and else."""
    resolve = Resolver(synthesised.ledger)
    found = environments(resolve)
    assert found.keys() == those.keys()
    for name, (worker, besides) in those.items():
        settings = Settings.read(found[name])
        roles = settings.enforcement.own_roles
        assert {one for one in roles if "*" not in one} == own_roles(resolve)
        assert settings == expected(resolve, enforcement | besides, worker, roles), name


def test_functions(shaped: Shaped) -> None:
    synthesised = shaped("functions-everything")
    resolve = Resolver(synthesised.ledger)
    [topic] = [name for name, _ in resolve.of_type("AWS::SNS::Topic") if "People" in name]
    told = {"sns_topic": f"arn:aws:sns:us-east-1:{ACCOUNT}:{topic.lower()}"}
    bus = {"bus": NAME}
    compare(
        synthesised,
        EVERYTHING,
        {
            "sqs": ({}, {}),
            "kinesis": ({}, {}),
            "announcer": (bus, told),
            "monitor": (bus, told | {"role": f"{MEMBERS}tagging"}),
            "enforcement": (bus, told | {"role": f"{MEMBERS}enforcement"}),
        },
    )
    for name, environment in environments(resolve).items():
        where = environment.get(SSM_PATH_VARIABLE)
        announces = name in {"announcer", "monitor", "enforcement"}
        assert where == ("/ledgerock/try/settings" if announces else None), name


def test_functions_without_anything(shaped: Shaped) -> None:
    bus = {"bus": NAME}
    nothing: dict[str, Any] = {"agents": False, "keys": False}
    compare(
        shaped("functions-nothing"),
        nothing,
        {"sqs": ({}, {}), "announcer": (bus, {}), "monitor": (bus, {})},
    )


@pytest.mark.parametrize(
    "shape, acts, stream",
    [
        ("container-public", "off", True),
        ("container-enforcement", "worker", True),
        ("container-private", "off", False),
    ],
)
def test_container(shaped: Shaped, shape: str, acts: str, *, stream: bool) -> None:
    synthesised = shaped(shape)
    streams = (f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/{NAME}-invocations",)
    worker = {
        "bus": NAME,
        "queues": (f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/{NAME}-events",),
        "streams": streams if stream else (),
        "metrics": "emf",
    }
    compare(synthesised, {"acts": acts}, {"worker": (worker, {})})
    environment = environments(Resolver(synthesised.ledger))["worker"]
    assert environment["AWS_REGION"] == environment["AWS_DEFAULT_REGION"] == "us-east-1"
    assert SSM_PATH_VARIABLE not in environment
