"""What was deployed, written down as a parameter under the stage's path.

`ledgerock doctor` and other tools start from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import aws_cdk as cdk
import msgspec
from aws_cdk import aws_events as events
from aws_cdk import aws_sns as sns
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra.announcing import Announcing
from infra.config import ConfigError, StageConfig
from infra.encryption import Encryption
from infra.ingest import Ingest
from infra.patterns import feeds, log_objects
from infra.permissions import QUARANTINE_PREFIX
from infra.places import log_group_name, places, subscription_name
from infra.rules import DEFAULT_BUS
from infra.workers import Workers
from worker.settings.deployment import (
    PARAMETER,
    Deployment,
    Rule,
    Subscription,
    encode_deployment,
)

STANDARD_BYTES_MAX: Final = 4_096
ADVANCED_BYTES_MAX: Final = 8_192
"""Of parameters, by their tier (AWS documentation: "Managing parameter tiers")."""
GROWTH_BYTES: Final = 1_500
"""What the text may grow by once the ids and ARNs that AWS gives stand in it."""
ALL_EVENTS: Final = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"


class Manifest(Construct):
    """The parameter; the last that is made in a stack, for it tells of all else.

    Attributes:
        deployment: What it says; holds tokens.
        parameter: It.
    """

    def __init__(  # noqa: PLR0913 - it tells of everything
        self,
        scope: Construct,
        name: str,
        config: StageConfig,
        *,
        encryption: Encryption,
        ingest: Ingest,
        announcing: Announcing,
        workers: Workers,
        topics: Mapping[str, sns.Topic],
    ) -> None:
        super().__init__(scope, name)
        stack = cdk.Stack.of(self)
        container = workers.container
        heard = dict(topics)
        if announcing.people is not None:
            heard["people"] = announcing.people
        undelivered = [ingest.dead_letters, announcing.undelivered]
        self.deployment = Deployment(
            name=config.name,
            account=stack.account,
            region=config.region,
            shape=config.shape,
            logs=config.logs.via,
            switched_on=config.logs.switch_on,
            regions=config.regions,
            members={one.account: one.regions for one in config.members},
            log_group=log_group_name(config) if ingest.log_group is not None else "",
            log_bucket=ingest.log_bucket.bucket_name if ingest.log_bucket is not None else "",
            subscriptions=tuple(_subscriptions(config)),
            rules=(*_rules_of(stack, config), *_own_rules_elsewhere(config)),
            queues=(ingest.queue.queue_url,),
            dead_letters=tuple(one.queue_url for one in undelivered if one is not None),
            streams=() if ingest.stream is None else (ingest.stream.stream_name,),
            bus=announcing.bus.event_bus_name,
            quarantine=f"s3://{ingest.quarantine.bucket_name}/{QUARANTINE_PREFIX}",
            functions={key: one.function_name for key, one in workers.all_functions.items()},
            cluster="" if container is None else container.cluster.cluster_name,
            service="" if container is None else container.service.service_name,
            state_machines={
                key: one.state_machine_arn for key, one in workers.state_machines.items()
            },
            topics={key: one.topic_arn for key, one in heard.items()},
            enforcement=config.enforcement.by,
            agents=config.agents,
            keys=config.keys,
            customer_key="" if encryption.key is None else encryption.key.key_arn,
        )
        self.parameter = self._write(config)

    def _write(self, config: StageConfig) -> ssm.StringParameter:
        text = encode_deployment(self.deployment)
        length = len(text) + GROWTH_BYTES
        if length > ADVANCED_BYTES_MAX:
            message = (
                f"sources: what is deployed takes some {length:,} bytes to write down, of which a "
                f"parameter has {ADVANCED_BYTES_MAX:,}: give fewer accounts and Regions to one "
                "stage, and the others to another"
            )
            raise ConfigError(message)
        tier = ssm.ParameterTier
        return ssm.StringParameter(
            self,
            "Deployment",
            parameter_name=f"{config.path}{PARAMETER}",
            description=f"What of Ledgerock, stage {config.stage}, is deployed",
            string_value=cdk.Stack.of(self).to_json_string(msgspec.json.decode(text)),
            tier=tier.ADVANCED if length > STANDARD_BYTES_MAX else tier.STANDARD,
        )


def _subscriptions(config: StageConfig) -> Iterator[Subscription]:
    """Yield the subscription filters in the ledger's account."""
    if config.logs.via in {"kinesis", "subscription"}:
        for region in config.regions:
            yield Subscription(
                region=region, log_group=log_group_name(config), name=subscription_name(config)
            )


def _rules_of(stack: cdk.Stack, config: StageConfig) -> Iterator[Rule]:
    """Yield the rules of a stack, schedules included."""
    for one in stack.node.find_all():
        if isinstance(one, events.CfnRule):
            yield Rule(
                region=config.region,
                bus=one.event_bus_name or DEFAULT_BUS,
                name=one.name or one.ref,
                all_events=one.state == ALL_EVENTS,
                why=one.description or "",
            )


def _own_rules_elsewhere(config: StageConfig) -> Iterator[Rule]:
    """Yield the rules of the ledger's account in other Regions, which have stacks of their own."""
    for place in places(config):
        if not place.is_own:
            continue
        made = feeds(config, with_iam=place.with_iam, with_region=place.has_calls)
        if config.logs.via == "s3" and place.has_calls:
            made.append(log_objects())
        for feed in made:
            yield Rule(
                region=place.region,
                bus=DEFAULT_BUS,
                name=f"{config.name}-{feed.key}",
                all_events=feed.all_events,
                why=feed.why,
            )
