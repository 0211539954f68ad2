"""The container's service, and the network that it is in."""

from pathlib import Path

import pytest

from tests.infra.conftest import Shaped
from tests.infra.resolved import Resolver, actions_of, resources_of, statements_of
from tests.infra.shapes import ACCOUNT, Json, configured, synthesise

NAME = "ledgerock-try"
SERVICES = {"ecr.api", "ecr.dkr", "logs", "sqs", "events", "bedrock"}


def one(resolve: Resolver, kind: str) -> Json:
    [(_, properties)] = resolve.of_type(kind)
    return properties


def test_the_service(shaped: Shaped) -> None:
    resolve = Resolver(shaped("container-public").ledger)
    service = one(resolve, "AWS::ECS::Service")
    assert service["ServiceName"] == f"{NAME}-worker"
    assert service["LaunchType"] == "FARGATE"
    deployment = service["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (100, 200)
    assert not service.get("EnableExecuteCommand")
    assert "DesiredCount" not in service, "a deployment would undo what scaling did"
    assert service["PropagateTags"] == "SERVICE"


def test_the_task(shaped: Shaped) -> None:
    resolve = Resolver(shaped("container-private").ledger)
    task = one(resolve, "AWS::ECS::TaskDefinition")
    assert (task["Cpu"], task["Memory"]) == ("512", "1024")
    assert task["RuntimePlatform"] == {
        "CpuArchitecture": "X86_64",
        "OperatingSystemFamily": "LINUX",
    }
    [container] = task["ContainerDefinitions"]
    assert container["Image"].endswith(":worker-1.2.3")
    assert container["User"] == "10001:10001"
    assert container["ReadonlyRootFilesystem"] is True
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    environment = {each["Name"]: each["Value"] for each in container["Environment"]}
    assert container["StopTimeout"] > int(environment["LEDGEROCK_DRAIN_SECONDS"])
    assert (
        f":{environment['LEDGEROCK_HTTP_PORT']}/healthz" in container["HealthCheck"]["Command"][3]
    )
    assert container["LogConfiguration"]["Options"]["awslogs-group"] == f"{NAME}-worker"
    assert not container.get("Secrets")


@pytest.mark.parametrize(
    "shape, metrics",
    [
        (
            "container-public",
            {"ApproximateAgeOfOldestMessage", "GetRecords.IteratorAgeMilliseconds"},
        ),
        ("container-private", {"ApproximateAgeOfOldestMessage"}),
    ],
)
def test_it_scales_with_how_far_behind_it_is(shaped: Shaped, shape: str, metrics: set[str]) -> None:
    resolve = Resolver(shaped(shape).ledger)
    target = one(resolve, "AWS::ApplicationAutoScaling::ScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)
    kinds = sorted(
        properties["PolicyType"]
        for _, properties in resolve.of_type("AWS::ApplicationAutoScaling::ScalingPolicy")
    )
    assert kinds == ["StepScaling"] * len(metrics) + ["TargetTrackingScaling"]
    scaling = {
        properties["MetricName"]
        for name, properties in resolve.of_type("AWS::CloudWatch::Alarm")
        if "Age" in name and "Container" in name
    }
    assert scaling == metrics


def test_a_public_task_has_an_address_and_nobody_may_come_in(shaped: Shaped) -> None:
    resolve = Resolver(shaped("container-public").ledger)
    network = one(resolve, "AWS::ECS::Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "ENABLED"
    group = one(resolve, "AWS::EC2::SecurityGroup")
    assert "SecurityGroupIngress" not in group
    assert not list(resolve.of_type("AWS::EC2::SecurityGroupIngress"))
    [egress] = group["SecurityGroupEgress"]
    assert (egress["IpProtocol"], egress["FromPort"], egress["ToPort"]) == ("tcp", 443, 443)
    assert not list(resolve.of_type("AWS::EC2::NatGateway"))
    assert len(list(resolve.of_type("AWS::EC2::Subnet"))) == 2


def test_zones_are_those_that_are_named(tmp_path: Path) -> None:
    zones = ["us-east-1b", "us-east-1d", "us-east-1f"]
    document = {"shape": "container", "network": {"zones": zones}}
    resolve = Resolver(synthesise(configured(document), tmp_path).ledger)
    subnets = [properties for _, properties in resolve.of_type("AWS::EC2::Subnet")]
    assert [one["AvailabilityZone"] for one in subnets] == zones


def test_a_private_task_reaches_aws_through_endpoints_alone(shaped: Shaped) -> None:
    resolve = Resolver(shaped("container-private").ledger)
    network = one(resolve, "AWS::ECS::Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "DISABLED"
    for kind in ("InternetGateway", "NatGateway", "EIP"):
        assert not list(resolve.of_type(f"AWS::EC2::{kind}"))
    assert endpoints(resolve) == {"dynamodb": "Gateway", "s3": "Gateway"} | dict.fromkeys(
        SERVICES, "Interface"
    )
    [ingress] = [properties for _, properties in resolve.of_type("AWS::EC2::SecurityGroupIngress")]
    assert (ingress["FromPort"], ingress["ToPort"]) == (443, 443)
    assert "SourceSecurityGroupId" in ingress
    assert "CidrIp" not in ingress


def test_endpoints_are_for_what_is_called(shaped: Shaped) -> None:
    """Tiers, emails, and tags of users to be mended: each takes another service."""
    found = endpoints(Resolver(shaped("container-everything").ledger))
    assert {"ssm", "sns", "sts", "iam"} <= found.keys()


def endpoints(resolve: Resolver) -> dict[str, str]:
    found = {}
    for _, properties in resolve.of_type("AWS::EC2::VPCEndpoint"):
        service = properties["ServiceName"].removeprefix("com.amazonaws.")
        found[service.removeprefix("us-east-1.")] = properties["VpcEndpointType"]
        if properties["VpcEndpointType"] == "Interface":
            assert properties["PrivateDnsEnabled"] is True
    return {name.replace("kinesis-streams", "kinesis"): kind for name, kind in found.items()}


def test_refused_connections_are_kept(shaped: Shaped) -> None:
    resolve = Resolver(shaped("container-public").ledger)
    flow = one(resolve, "AWS::EC2::FlowLog")
    assert (flow["TrafficType"], flow["LogGroupName"]) == ("REJECT", f"{NAME}-network")


def test_starting_a_task_takes_the_image_and_the_log_alone(shaped: Shaped) -> None:
    resolve = Resolver(shaped("container-public").ledger)
    [role] = [name for name, _ in resolve.of_type("AWS::IAM::Role") if "ExecutionRole" in name]
    found = {
        action: resources_of(statement)
        for statement in statements_of(resolve, role)
        for action in actions_of(statement)
    }
    assert found.pop("ecr:GetAuthorizationToken") == ["*"]
    logs = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{NAME}-worker:*"
    assert found.pop("logs:CreateLogStream") == found.pop("logs:PutLogEvents") == [logs]
    assert found.keys() == {
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
    }
    assert {resource for each in found.values() for resource in each} != {"*"}
