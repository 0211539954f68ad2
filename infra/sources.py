"""Other Regions and accounts that feed the ledger: a stack in each of them, and what receives.

Log records reach the ledger's stream through a destination of CloudWatch Logs in the same Region,
which is of the ledger's account: log groups cannot send to another Region by themselves. New
objects of logs, and all other events, go from rule to bus.

AWS documentation: "Cross-account cross-Region subscriptions" (Amazon CloudWatch Logs); "Sending
and receiving events between AWS accounts in Amazon EventBridge" and "Sending and receiving events
between AWS Regions in Amazon EventBridge": rules put events on a bus elsewhere with a role.
"""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.config import StageConfig
from infra.encryption import Encryption
from infra.enforcement_rights import home_role, member_roles
from infra.invocation_logs import InvocationLogs
from infra.patterns import feeds
from infra.places import (
    Place,
    destination_name,
    intake_name,
    ledger_account,
    log_group_name,
    own_roles_pattern,
    places,
    stream_name,
    subscription_name,
)
from infra.queues import make_dead_letters
from infra.roles import make_role
from infra.rules import MadeRule, Target, let_send, make_rule
from infra.service_roles import make_service_role
from infra.stacks import StageStack


def add_sources(app: cdk.App, config: StageConfig, ledger: cdk.Stack) -> list[SourceStack]:
    """Add the stacks that feed a ledger from elsewhere.

    Args:
        app: The application.
        config: What to deploy.
        ledger: The stack of the ledger, which they need to be there.
    """
    foreign = places(config)
    receivers: dict[str, ReceiverStack] = {}
    if config.logs.via == "kinesis":
        for region in dict.fromkeys(place.region for place in foreign if place.has_calls):
            senders = [one.account for one in foreign if one.has_calls and one.region == region]
            receivers[region] = ReceiverStack(app, config, region, senders)
            receivers[region].add_stack_dependency(ledger)
    made = []
    for place in foreign:
        source = SourceStack(app, config, place)
        source.add_stack_dependency(ledger)
        if place.region in receivers and place.has_calls:
            source.add_stack_dependency(receivers[place.region])
        made.append(source)
    return made


class ReceiverStack(StageStack):
    """What takes log records of one Region in, in the ledger's account.

    Args:
        scope: The application.
        config: What to deploy.
        region: Where.
        senders: Accounts whose log groups may send.
    """

    def __init__(
        self, scope: Construct, config: StageConfig, region: str, senders: Sequence[str]
    ) -> None:
        super().__init__(
            scope,
            f"Receiver-{region}",
            config,
            suffix=f"-receiver-{region}",
            description="takes log records of this Region to the ledger's",
            account=config.account,
            region=region,
        )
        role = make_service_role(
            self,
            "Role",
            config,
            service="logs",
            description="CloudWatch Logs puts invocation logs of this Region on the stream",
            statements=self._statements(config),
            # It sends for the senders, and a first record for the account of the destination.
            conditions={
                "StringLike": {
                    "aws:SourceArn": [
                        f"arn:{self.partition}:logs:{region}:{account}:*"
                        for account in dict.fromkeys((self.account, *senders))
                    ]
                }
            },
        )
        arn = destination_arn(config, self)
        logs.CfnDestination(
            self,
            "Destination",
            destination_name=destination_name(config),
            target_arn=_stream_arn(config, self),
            role_arn=role.role_arn,
            destination_policy=self.to_json_string(
                {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Sid": "Senders",
                            "Effect": "Allow",
                            "Principal": {"AWS": list(senders)},
                            "Action": "logs:PutSubscriptionFilter",
                            "Resource": arn,
                        }
                    ],
                }
            ),
        )

    def _statements(self, config: StageConfig) -> list[iam.PolicyStatement]:
        statements = [
            iam.PolicyStatement(
                actions=["kinesis:PutRecord"], resources=[_stream_arn(config, self)]
            )
        ]
        if config.data.customer_key:
            # The key's id is not known here; its alias is.
            statements.append(
                iam.PolicyStatement(
                    actions=["kms:GenerateDataKey"],
                    resources=[
                        self.format_arn(
                            service="kms",
                            region=config.region,
                            resource="key",
                            resource_name="*",
                        )
                    ],
                    conditions={
                        "ForAnyValue:StringEquals": {"kms:ResourceAliases": f"alias/{config.name}"}
                    },
                )
            )
        return statements


class SourceStack(StageStack):
    """What sends log records and events of one Region of one account to the ledger.

    Attributes:
        place: Which.
        rules: Rules that send events on.
        log_group: Of invocation logs; None with `logs.via: s3`, or without calls.
    """

    def __init__(self, scope: Construct, config: StageConfig, place: Place) -> None:
        super().__init__(
            scope,
            f"Source-{place.account or 'own'}-{place.region}",
            config,
            suffix=f"-source-{place.region}",
            description="sends what happens here to the ledger",
            account=place.account,
            region=place.region,
        )
        self.place = place
        self._config = config
        encryption = Encryption(self, "Encryption", config, writers=("events",))
        self._dead_letters = make_dead_letters(
            self, "Undelivered", f"{config.name}-source-undelivered", encryption.key
        )
        wanted = feeds(config, with_iam=place.with_iam, with_region=place.has_calls)
        self.log_group: logs.LogGroup | None = None
        if place.has_calls:
            invocations = InvocationLogs(self, "Invocations", config, encryption)
            self.log_group = invocations.group
            if invocations.feed is not None:
                wanted.append(invocations.feed)
            if invocations.bucket is not None:
                self._let_read(invocations.bucket, encryption)
            if invocations.group is not None:
                self._subscribe(invocations.group)
        intake = _intake_arn(config, self)
        target = Target(arn=intake, role=self._make_sender(intake), dead_letters=self._dead_letters)
        self.rules: list[MadeRule] = [make_rule(self, config.name, one, target) for one in wanted]
        let_send(self._dead_letters, [one.arn for one in self.rules])
        if place.is_first and not place.is_own:
            for name, statements in member_roles(config).items():
                make_role(
                    self,
                    name.removeprefix(f"{config.name}-").title(),
                    config,
                    trusted=home_role(config, name),
                    description="Ledgerock acts on users and roles of this account",
                    statements=statements,
                    role_name=name,
                )

    def _make_sender(self, intake: str) -> str:
        """Return the ARN of the role that puts events on the ledger's bus.

        Its trust has no condition on the rule: that EventBridge names it is not documented, and
        only whoever may pass the role on, in this account, can use it for another.
        """
        role = make_service_role(
            self,
            "Sender",
            self._config,
            service="events",
            description="EventBridge sends events to the ledger",
            statements=[iam.PolicyStatement(actions=["events:PutEvents"], resources=[intake])],
        )
        return role.role_arn

    def _subscribe(self, group: logs.LogGroup) -> None:
        subscription = logs.CfnSubscriptionFilter(
            self,
            "Subscription",
            log_group_name=log_group_name(self._config),
            filter_name=subscription_name(self._config),
            filter_pattern="",
            destination_arn=destination_arn(self._config, self),
            distribution="Random",
        )
        subscription.node.add_dependency(group)

    def _let_read(self, bucket: s3.Bucket, encryption: Encryption) -> None:
        """Let the ledger's roles read logs of another account; within one, their own rights do."""
        if self.place.is_own:
            return
        ledger = iam.AccountPrincipal(ledger_account(self._config, self)).with_conditions(
            {"ArnLike": {"aws:PrincipalArn": own_roles_pattern(self._config, self)}}
        )
        allowed = (
            (["s3:GetObject", "s3:GetObjectVersion"], bucket.arn_for_objects("*")),
            (["s3:ListBucket"], bucket.bucket_arn),
        )
        for actions, resource in allowed:
            bucket.add_to_resource_policy(
                iam.PolicyStatement(principals=[ledger], actions=actions, resources=[resource])
            )
        if encryption.key is not None:
            encryption.key.add_to_resource_policy(
                iam.PolicyStatement(
                    sid="Ledger",
                    principals=[ledger],
                    actions=["kms:Decrypt"],
                    resources=["*"],  # in a key's policy, this is the key itself
                )
            )


def destination_arn(config: StageConfig, here: cdk.Stack) -> str:
    """Return the ARN of the destination of log records in a stack's Region."""
    return here.format_arn(
        service="logs",
        account=ledger_account(config, here),
        resource="destination",
        resource_name=destination_name(config),
        arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
    )


def _stream_arn(config: StageConfig, here: cdk.Stack) -> str:
    return here.format_arn(
        service="kinesis",
        region=config.region,
        account=ledger_account(config, here),
        resource="stream",
        resource_name=stream_name(config),
    )


def _intake_arn(config: StageConfig, here: cdk.Stack) -> str:
    return here.format_arn(
        service="events",
        region=config.region,
        account=ledger_account(config, here),
        resource="event-bus",
        resource_name=intake_name(config),
    )
