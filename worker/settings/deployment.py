"""What a deployment made: written down by the infrastructure, read by whoever looks after it.

The stack of a stage keeps it as one parameter, `/PREFIX/STAGE/deployment`, as compact JSON. It
names everything that `ledgerock doctor` has to look at, and that a name alone does not tell.
"""

from __future__ import annotations

from typing import Final

import msgspec

from worker.core.errors import ConfigurationError

PARAMETER: Final = "deployment"
"""Name of the parameter, below the stage's path."""


class Subscription(msgspec.Struct, frozen=True, omit_defaults=True):
    """A subscription filter on the log group of invocation logs.

    Attributes:
        region: Where.
        log_group: Its log group.
        name: The filter.
    """

    region: str
    log_group: str
    name: str


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule of EventBridge.

    Attributes:
        region: Where.
        bus: Its bus; `default` for that of AWS's own events.
        name: The rule.
        all_events: It is to be enabled for read-only management events as well
            (`ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS`).
        why: What it brings, for people.
    """

    region: str
    bus: str
    name: str
    all_events: bool = False
    why: str = ""


class Deployment(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a stage consists of; names, and ARNs where a name does not do.

    Attributes:
        name: What names begin with: prefix and stage, `ledgerock-dev`; of the tables too.
        account: The ledger's account.
        region: The ledger's Region.
        shape: `functions` or `container`.
        logs: How invocation logs come: `kinesis`, `subscription`, `s3` or `none`.
        switched_on: Invocation logging is to be on in each of `regions`.
        regions: Regions of the ledger's account whose calls are booked.
        members: Other accounts, with their Regions.
        log_group: Of invocation logs, in each Region; empty for none.
        log_bucket: Of invocation logs; empty for none.
        subscriptions: Subscription filters, in this account.
        rules: Rules that bring events, schedules included.
        queues: URLs of queues that are worked on.
        dead_letters: URLs of the queues of what could not be worked on.
        streams: Kinesis streams that are worked on.
        bus: The bus that events are announced on.
        quarantine: `s3://BUCKET/PREFIX`.
        functions: Names of functions by what they do.
        cluster: ECS cluster of the container worker; empty for none.
        service: Its service.
        state_machines: ARNs of the workflows, by purpose.
        topics: ARNs of topics, by who hears them: `people`, `page`, `ticket`.
        enforcement: `off`, `worker` or `workflows`.
        agents: Agents are registered from their events.
        keys: Users and their keys are watched.
        customer_key: ARN of the KMS key; empty for none.
    """

    name: str
    account: str
    region: str
    shape: str
    logs: str = "none"
    switched_on: bool = False
    regions: tuple[str, ...] = ()
    members: dict[str, tuple[str, ...]] = {}
    log_group: str = ""
    log_bucket: str = ""
    subscriptions: tuple[Subscription, ...] = ()
    rules: tuple[Rule, ...] = ()
    queues: tuple[str, ...] = ()
    dead_letters: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    bus: str = ""
    quarantine: str = ""
    functions: dict[str, str] = {}
    cluster: str = ""
    service: str = ""
    state_machines: dict[str, str] = {}
    topics: dict[str, str] = {}
    enforcement: str = "off"
    agents: bool = False
    keys: bool = False
    customer_key: str = ""


def encode_deployment(deployment: Deployment) -> str:
    """Return a deployment as it is kept: compact JSON."""
    return msgspec.json.encode(deployment).decode()


def decode_deployment(text: str, where: str) -> Deployment:
    """Undo `encode_deployment`.

    Raises:
        ConfigurationError: It is none; says where it stood and what is wrong.
    """
    try:
        return msgspec.json.decode(text, type=Deployment)
    except msgspec.MsgspecError as error:
        message = f"{where} does not say what was deployed: {error}; deploy the stage again"
        raise ConfigurationError(message) from error
