"""The environment of functions and containers: the only place that makes it.

Names of variables come from `worker.settings`, so that one that is not known cannot be set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import aws_cdk as cdk

from infra.config import StageConfig
from infra.parts import Parts
from infra.permissions import QUARANTINE_PREFIX, SETTINGS, TIERS
from worker.settings import (
    ENFORCEMENT_ENVIRONMENT,
    ENVIRONMENT,
    SSM_PATH_VARIABLE,
    WORKER_ENVIRONMENT,
)

Environment = dict[str, str]

NAMES: Final[Mapping[str, str]] = {
    **ENVIRONMENT,
    **WORKER_ENVIRONMENT,
    **ENFORCEMENT_ENVIRONMENT,
    "settings": SSM_PATH_VARIABLE,
}
"""The environment variable behind each setting."""

SECRETS: Final = {
    NAMES["webhook_url"]: "webhook-url",
    NAMES["webhook_secret"]: "webhook-secret",
}
"""Parameters below the settings' path, by the variable that each stands for."""


def settings_path(config: StageConfig) -> str:
    """Return the path of the parameters that stand for environment variables."""
    return f"{config.path}{SETTINGS}"


def tiers_path(config: StageConfig) -> str:
    """Return the path of the parameters that are budgets by tier."""
    return f"{config.path}{TIERS}"


def booking_environment(parts: Parts) -> Environment:
    """Return what everything needs to know that books, looks after budgets, or suspends."""
    config = parts.config
    values = {
        "ledger": f"dynamodb:{config.name}",
        "quarantine": f"s3://{parts.ingest.quarantine.bucket_name}/{QUARANTINE_PREFIX}",
        "resolve_profiles": "1",
        "metrics_service": config.name,
        "agents": _flag(config.agents),
        "keys": _flag(config.keys),
        "acts": config.enforcement.by,
        "mode": config.enforcement.mode,
        "account": cdk.Aws.ACCOUNT_ID,
        "own_roles": parts.own_roles.text,
        "protected": ",".join(config.enforcement.protected),
        "tiers": f"ssm:{tiers_path(config)}" if config.tiers == "ssm" else "",
    }
    return _named(values)


def announcing_environment(parts: Parts) -> Environment:
    """Return what whoever announces needs besides; secrets excepted."""
    people = parts.announcing.people
    return _named(
        {
            "bus": parts.announcing.bus.event_bus_name,
            "sns_topic": "" if people is None else people.topic_arn,
        }
    )


def secret_environment(config: StageConfig) -> Environment:
    """Return where a function finds what must not stand in a template, if there is any."""
    return _named({"settings": settings_path(config) if config.people.webhook else ""})


def role_environment(role: str) -> Environment:
    """Return what says through which role IAM is reached; the ARN holds `{account}`."""
    return _named({"role": role})


def container_environment(parts: Parts, drain_seconds: int, port: int) -> Environment:
    """Return what only the container needs to know."""
    stream = parts.ingest.stream
    return {
        **_named(
            {
                "queues": parts.ingest.queue.queue_url,
                "streams": "" if stream is None else stream.stream_arn,
                "drain_seconds": str(drain_seconds),
                "http_port": str(port),
                "metrics": "emf",
            }
        ),
        # Not every SDK knows both.
        "AWS_REGION": cdk.Aws.REGION,
        "AWS_DEFAULT_REGION": cdk.Aws.REGION,
    }


def _named(values: Mapping[str, str]) -> Environment:
    """Return variables by their names, without those that are not set."""
    return {NAMES[name]: value for name, value in values.items() if value}


def _flag(value: bool) -> str:  # noqa: FBT001 - it is all that there is
    return "1" if value else "0"
