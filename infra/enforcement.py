"""The workflows of suspension and restoration, their function, and the rules that start them."""

from __future__ import annotations

from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra import permissions, workflows
from infra.enforcement_rights import hands_of_workflows
from infra.environment import announcing_environment, secret_environment
from infra.function import Work, make_function
from infra.images import Image
from infra.own_logs import own_log_group
from infra.parts import Parts
from infra.roles import make_role
from infra.workflows import Json, Purpose

STEP_SECONDS: Final = 300
"""Timeout of the function, as long as that of the tasks."""
START_HOURS: Final = 24
START_ATTEMPTS: Final = 185
"""For how long, and how often, EventBridge tries to start a workflow: as much as it offers."""


class Enforcement(Construct):
    """Two state machines, and the only function that may change users and roles for them.

    Attributes:
        function: Does the steps.
        state_machines: By purpose, `suspension` and `restoration`.
        rules: What starts them, likewise.
    """

    def __init__(self, scope: Construct, name: str, parts: Parts) -> None:
        super().__init__(scope, name)
        self._parts = parts
        hands = hands_of_workflows(parts.config)
        self.function: lambda_.Function = make_function(
            self,
            parts,
            Image(self, "Image", parts.config, "lambda"),
            Work(
                purpose="enforcement",
                handler="handlers.enforcement.handler",
                description="does the steps of the workflows that suspend and restore",
                seconds=STEP_SECONDS,
                statements=[
                    *permissions.reading(parts),
                    *permissions.announcing(parts),
                    *permissions.settings(parts.config),
                    *hands.statements,
                ],
                environment={
                    **announcing_environment(parts),
                    **secret_environment(parts.config),
                    **hands.environment,
                },
                role=hands.role,
            ),
        )
        self.state_machines: dict[Purpose, sfn.StateMachine] = {}
        self.rules: dict[Purpose, events.Rule] = {}
        partition = cdk.Stack.of(self).partition
        arn = self.function.function_arn
        self._workflow(
            "suspension",
            workflows.suspension_definition(arn, partition=partition),
            workflows.suspension_pattern(),
        )
        self._workflow(
            "restoration",
            workflows.restoration_definition(arn, partition=partition),
            workflows.restoration_pattern(),
        )

    def _workflow(self, purpose: Purpose, definition: Json, pattern: Json) -> None:
        """Make a state machine, and the rule that starts it."""
        parts, config, construct = self._parts, self._parts.config, purpose.capitalize()
        name = f"{config.name}-{purpose}"
        group = own_log_group(self, f"{construct}Logs", parts, f"/aws/vendedlogs/states/{name}")
        role = make_role(
            self,
            f"{construct}Role",
            config,
            trusted=iam.ServicePrincipal("states.amazonaws.com"),
            description=f"{name}: calls the function that does the steps",
            statements=[
                permissions.allow("Steps", ["lambda:InvokeFunction"], [self.function.function_arn]),
                *permissions.delivering_logs(),
                *permissions.tracing_workflows(config),
            ],
        )
        machine = sfn.StateMachine(
            self,
            construct,
            state_machine_name=name,
            definition_body=sfn.DefinitionBody.from_string(
                cdk.Stack.of(self).to_json_string(definition)
            ),
            role=role.without_policy_updates(),
            tracing_enabled=config.watching.tracing,
            # What happened is in the log; what it happened to is in the ledger's audit log.
            logs=sfn.LogOptions(
                destination=group, level=sfn.LogLevel.ALL, include_execution_data=False
            ),
        )
        self.state_machines[purpose] = machine
        self.rules[purpose] = self._rule(purpose, machine, pattern)

    def _rule(self, purpose: Purpose, machine: sfn.StateMachine, pattern: Json) -> events.Rule:
        parts, config, construct = self._parts, self._parts.config, purpose.capitalize()
        role = make_role(
            self,
            f"{construct}RuleRole",
            config,
            trusted=iam.ServicePrincipal("events.amazonaws.com"),
            description=f"{config.name}: starts the workflow of {purpose}",
            statements=[
                permissions.allow("Start", ["states:StartExecution"], [machine.state_machine_arn])
            ],
        )
        return events.Rule(
            self,
            f"{construct}Rule",
            rule_name=f"{config.name}-{purpose}",
            description=f"Starts {config.name}-{purpose}",
            event_bus=parts.announcing.bus,
            event_pattern=events.EventPattern(
                source=pattern["source"], detail_type=pattern["detail-type"]
            ),
            targets=[
                targets.SfnStateMachine(
                    machine,
                    role=role.without_policy_updates(),
                    # Not beside what is to be booked: these go back onto the bus.
                    dead_letter_queue=parts.announcing.undelivered,
                    max_event_age=cdk.Duration.hours(START_HOURS),
                    retry_attempts=START_ATTEMPTS,
                )
            ],
        )
