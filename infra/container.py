"""The worker as a container: a service on Fargate that books, looks after budgets and announces."""

from __future__ import annotations

from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra import permissions
from infra.enforcement_rights import hands_of_monitor
from infra.environment import (
    SECRETS,
    announcing_environment,
    booking_environment,
    container_environment,
    settings_path,
)
from infra.images import TASK_ARCHITECTURE, Image
from infra.network import Network
from infra.own_logs import own_log_group
from infra.parts import Parts
from infra.roles import make_role

DRAIN_SECONDS: Final = 25
STOP_SECONDS: Final = 60
"""A task has so long after SIGTERM; it needs what it drains in, and some time to end."""
HTTP_PORT: Final = 8080
USER: Final = "10001:10001"
"""The image's own user, written down so that no other image runs as root here."""
HEALTH: Final = (
    f"import urllib.request as r; r.urlopen('http://127.0.0.1:{HTTP_PORT}/healthz', timeout=4)"
)
BEHIND_SECONDS: Final = 60
FAR_BEHIND_SECONDS: Final = 600
"""How old the oldest delivery is when there is to be one more task, and three more."""
BUSY_PERCENT: Final = 60
"""Of the CPU, on average, that scaling aims at."""


class Container(Construct):
    """A cluster with one service, which scales with how far behind it is.

    Attributes:
        network: What it runs in.
        cluster: Holds the service alone.
        service: The workers.
        log_group: What they say.
    """

    def __init__(self, scope: Construct, name: str, parts: Parts) -> None:
        super().__init__(scope, name)
        self._parts, config = parts, parts.config
        self.network = Network(self, "Network", parts)
        self.cluster = ecs.Cluster(
            self,
            "Cluster",
            cluster_name=config.name,
            vpc=self.network.vpc,
            container_insights_v2=(
                ecs.ContainerInsights.ENABLED
                if config.watching.enabled
                else ecs.ContainerInsights.DISABLED
            ),
        )
        self.log_group = own_log_group(self, "Logs", parts, f"{config.name}-worker")
        self.service = ecs.FargateService(
            self,
            "Service",
            cluster=self.cluster,
            service_name=f"{config.name}-worker",
            task_definition=self._task(),
            assign_public_ip=self.network.is_public,
            vpc_subnets=self.network.subnets,
            security_groups=[self.network.group],
            platform_version=ecs.FargatePlatformVersion.LATEST,
            min_healthy_percent=100,
            max_healthy_percent=200,
            circuit_breaker=ecs.DeploymentCircuitBreaker(enable=True, rollback=True),
            enable_execute_command=False,
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
            enable_ecs_managed_tags=True,
        )
        # Tasks that cannot pull their image trip the circuit breaker: rights and routes first.
        self.service.node.add_dependency(self.network, self._execution)
        self._scale()

    # --- The task -----------------------------------------------------------------------------

    def _task(self) -> ecs.FargateTaskDefinition:
        parts, config = self._parts, self._parts.config
        image = Image(self, "Image", config, "worker")
        self._execution = self._execution_role(image)
        task = ecs.FargateTaskDefinition(
            self,
            "Task",
            family=f"{config.name}-worker",
            cpu=config.capacity.cpu,
            memory_limit_mib=config.capacity.memory_mb,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=TASK_ARCHITECTURE,
                operating_system_family=ecs.OperatingSystemFamily.LINUX,
            ),
            task_role=self._task_role().without_policy_updates(),
            execution_role=self._execution.without_policy_updates(),
        )
        linux = ecs.LinuxParameters(self, "Linux", init_process_enabled=True)
        linux.drop_capabilities(ecs.Capability.ALL)
        task.add_container(
            "Worker",
            container_name="worker",
            image=image.container(),
            environment={
                **booking_environment(parts),
                **announcing_environment(parts),
                **container_environment(parts, DRAIN_SECONDS, HTTP_PORT),
                **hands_of_monitor(config).environment,
            },
            secrets=self._secrets(),
            logging=ecs.LogDriver.aws_logs(stream_prefix="worker", log_group=self.log_group),
            health_check=ecs.HealthCheck(
                command=["CMD", "python", "-c", HEALTH],
                interval=cdk.Duration.seconds(10),
                timeout=cdk.Duration.seconds(5),
                retries=3,
                start_period=cdk.Duration.seconds(60),
            ),
            stop_timeout=cdk.Duration.seconds(STOP_SECONDS),
            # What it keeps is in tables and buckets.
            readonly_root_filesystem=True,
            user=USER,
            linux_parameters=linux,
        )
        return task

    def _task_role(self) -> iam.Role:
        parts, config = self._parts, self._parts.config
        hands = hands_of_monitor(config)
        role = make_role(
            self,
            "TaskRole",
            config,
            trusted=self._tasks(),
            description=f"{config.name}-worker: books, looks after budgets and announces",
            statements=[
                *permissions.booking_and_due(parts),
                *permissions.polling_queue(parts),
                *permissions.reading_stream(parts),
                *permissions.announcing(parts),
                *permissions.telling(parts),
                *hands.statements,
            ],
            role_name=hands.role,
        )
        parts.own_roles.add(role)
        return role

    def _execution_role(self, image: Image) -> iam.Role:
        config = self._parts.config
        return make_role(
            self,
            "ExecutionRole",
            config,
            # Conditions on the source are documented for the role of a task alone.
            trusted=iam.ServicePrincipal("ecs-tasks.amazonaws.com"),
            description=f"{config.name}-worker: starts tasks",
            statements=[
                *permissions.pulling(image.repository),
                *permissions.logging(self.log_group),
                *(permissions.secrets(config) if config.people.webhook else ()),
            ],
        )

    def _tasks(self) -> iam.IPrincipal:
        """Return the service in the name of this stage's account and Region alone.

        AWS documentation: "Amazon ECS task IAM role".
        """
        stack = cdk.Stack.of(self)
        return iam.ServicePrincipal(
            "ecs-tasks.amazonaws.com",
            conditions={
                "StringEquals": {"aws:SourceAccount": stack.account},
                "ArnLike": {
                    "aws:SourceArn": f"arn:{stack.partition}:ecs:{stack.region}:{stack.account}:*"
                },
            },
        )

    def _secrets(self) -> dict[str, ecs.Secret]:
        """Return what must not stand in a template, as ECS reads it from the Parameter Store."""
        config = self._parts.config
        if not config.people.webhook:
            return {}
        return {
            variable: ecs.Secret.from_ssm_parameter(
                ssm.StringParameter.from_secure_string_parameter_attributes(
                    self, parameter, parameter_name=f"{settings_path(config)}/{parameter}"
                )
            )
            for variable, parameter in SECRETS.items()
        }

    # --- How many -----------------------------------------------------------------------------

    def _scale(self) -> None:
        """Have more tasks while deliveries wait, or while they are busy, and fewer again after.

        How old the oldest one is, says what people feel; how many there are would depend on what
        is in them.
        """
        capacity, ingest = self._parts.config.capacity, self._parts.ingest
        tasks = self.service.auto_scale_task_count(
            min_capacity=capacity.tasks_min, max_capacity=capacity.tasks_max
        )
        if capacity.tasks_min == capacity.tasks_max:
            return
        tasks.scale_on_cpu_utilization(
            "Busy",
            target_utilization_percent=BUSY_PERCENT,
            scale_in_cooldown=cdk.Duration.minutes(5),
            scale_out_cooldown=cdk.Duration.minutes(1),
        )
        minute = cdk.Duration.minutes(1)
        self._scale_on(
            tasks,
            "QueueAge",
            ingest.queue.metric_approximate_age_of_oldest_message(
                period=minute, statistic=cloudwatch.Stats.MAXIMUM
            ),
            1,
        )
        if ingest.stream is not None:
            self._scale_on(
                tasks,
                "StreamAge",
                ingest.stream.metric_get_records_iterator_age_milliseconds(
                    period=minute, statistic=cloudwatch.Stats.MAXIMUM
                ),
                1_000,
            )

    def _scale_on(
        self, tasks: ecs.ScalableTaskCount, name: str, age: cloudwatch.Metric, a_second: int
    ) -> None:
        """Add tasks while an age is too high; `Busy` alone takes them away again."""
        tasks.scale_on_metric(
            name,
            metric=age,
            scaling_steps=[
                scaling.ScalingInterval(upper=BEHIND_SECONDS * a_second, change=0),
                scaling.ScalingInterval(lower=BEHIND_SECONDS * a_second, change=1),
                scaling.ScalingInterval(lower=FAR_BEHIND_SECONDS * a_second, change=3),
            ],
            adjustment_type=scaling.AdjustmentType.CHANGE_IN_CAPACITY,
            cooldown=cdk.Duration.minutes(2),
        )
