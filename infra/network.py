"""The container's network: two zones, no way in, and only as much way out as it needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.config import StageConfig
from infra.enforcement_rights import reaches_iam
from infra.own_logs import own_log_group
from infra.parts import Parts
from infra.permissions import writing_flow_logs
from infra.roles import make_role

ADDRESSES: Final = "10.0.0.0/20"
"""Nothing else is in it, and it is connected to nothing: any private range does."""
SUBNET_BITS: Final = 24
HTTPS: Final = ec2.Port.tcp(443)


class Network(Construct):
    """A network of the container's own.

    A private one has no way to the internet at all: AWS is reached through endpoints for exactly
    the services that the container calls. A public one gives each task an address of its own, so
    that no gateway has to be paid for; nothing may connect to it from outside.

    Attributes:
        vpc: The network.
        subnets: Where tasks run.
        group: The security group of tasks; nothing may connect to them.
        is_public: Tasks need a public address.
    """

    def __init__(self, scope: Construct, name: str, parts: Parts) -> None:
        super().__init__(scope, name)
        config = parts.config
        self.is_public = not config.network.private
        kind = ec2.SubnetType.PUBLIC if self.is_public else ec2.SubnetType.PRIVATE_ISOLATED
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            vpc_name=config.name,
            ip_addresses=ec2.IpAddresses.cidr(ADDRESSES),
            availability_zones=cdk.Stack.of(self).availability_zones,
            nat_gateways=0,
            subnet_configuration=[
                ec2.SubnetConfiguration(name="tasks", subnet_type=kind, cidr_mask=SUBNET_BITS)
            ],
            # That takes a function of the CDK's own; nothing is ever put into the default group.
            restrict_default_security_group=False,
        )
        self.subnets = ec2.SubnetSelection(subnet_type=kind)
        self.group = ec2.SecurityGroup(
            self,
            "Tasks",
            vpc=self.vpc,
            description=f"Tasks of {config.name}: out by HTTPS, nothing in",
            allow_all_outbound=False,
        )
        self.group.add_egress_rule(ec2.Peer.any_ipv4(), HTTPS, "AWS, and the webhook")
        self._gateways()
        if not self.is_public:
            self._endpoints(config)
        self._flow_logs(parts)

    def _gateways(self) -> None:
        """Reach DynamoDB and S3, which images come from, too, without a charge."""
        for name, service in (
            ("DynamoDb", ec2.GatewayVpcEndpointAwsService.DYNAMODB),
            ("S3", ec2.GatewayVpcEndpointAwsService.S3),
        ):
            self.vpc.add_gateway_endpoint(name, service=service, subnets=[self.subnets])

    def _endpoints(self, config: StageConfig) -> None:
        group = ec2.SecurityGroup(
            self,
            "Endpoints",
            vpc=self.vpc,
            description=f"Endpoints of {config.name}: in from its tasks, nothing out",
            allow_all_outbound=False,
        )
        group.add_ingress_rule(self.group, HTTPS, "Tasks")
        for name, service in _services(config):
            ec2.InterfaceVpcEndpoint(
                self,
                name,
                vpc=self.vpc,
                service=service,
                subnets=self.subnets,
                security_groups=[group],
                open=False,
                private_dns_enabled=True,
            )

    def _flow_logs(self, parts: Parts) -> None:
        """Keep what was refused: a worker whose network is wrong shows here and nowhere else."""
        name = parts.config.name
        group = own_log_group(self, "FlowLogs", parts, f"{name}-network")
        role = make_role(
            self,
            "FlowRole",
            parts.config,
            trusted=iam.ServicePrincipal("vpc-flow-logs.amazonaws.com"),
            description=f"{name}: writes down which connections were refused",
            statements=writing_flow_logs(group),
        )
        ec2.FlowLog(
            self,
            "Flow",
            resource_type=ec2.FlowLogResourceType.from_vpc(self.vpc),
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(
                group, role.without_policy_updates()
            ),
            traffic_type=ec2.FlowLogTrafficType.REJECT,
        )


def _services(config: StageConfig) -> Iterator[tuple[str, ec2.IInterfaceVpcEndpointService]]:
    """Yield the services that a task calls, and those that start it."""
    yield "Ecr", ec2.InterfaceVpcEndpointAwsService.ECR
    yield "EcrDocker", ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER
    yield "Logs", ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS
    yield "Sqs", ec2.InterfaceVpcEndpointAwsService.SQS
    yield "Events", ec2.InterfaceVpcEndpointAwsService.EVENTBRIDGE
    yield "Bedrock", ec2.InterfaceVpcEndpointAwsService.BEDROCK
    if config.logs.via == "kinesis":
        yield "Kinesis", ec2.InterfaceVpcEndpointAwsService.KINESIS_STREAMS
    if config.tiers == "ssm":
        yield "Ssm", ec2.InterfaceVpcEndpointAwsService.SSM
    if config.people.emails:
        yield "Sns", ec2.InterfaceVpcEndpointAwsService.SNS
    if reaches_iam(config):
        yield "Sts", ec2.InterfaceVpcEndpointAwsService.STS
        yield "Iam", ec2.InterfaceVpcEndpointAwsService.IAM
