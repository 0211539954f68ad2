"""What an alarm is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch

Severity = Literal["page", "ticket"]

LATE_SECONDS: Final = 900
"""How late calls may be booked; a container that is later calls itself not ready."""

NOT_BREACHING: Final = cloudwatch.TreatMissingData.NOT_BREACHING
BREACHING: Final = cloudwatch.TreatMissingData.BREACHING
ABOVE: Final = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
AT_LEAST: Final = cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
BELOW: Final = cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One alarm.

    Attributes:
        name: Stands behind the stage's name, and heads its part of docs/alarms.md.
        severity: Whom it tells.
        metric: What it watches; the metric has the length of a period.
        threshold: What the metric is compared with.
        comparison: How.
        periods: How many of the latest periods must all be so.
        missing: What a period without data counts as.
        means: What it means, a sentence.
        mend: What to do, a sentence with the command.
    """

    name: str
    severity: Severity
    metric: cloudwatch.IMetric
    threshold: float
    comparison: cloudwatch.ComparisonOperator = ABOVE
    periods: int = 1
    missing: cloudwatch.TreatMissingData = NOT_BREACHING
    means: str
    mend: str

    @property
    def description(self) -> str:
        """What stands in the message that people get."""
        return f"{self.means} {self.mend} See docs/alarms.md, {self.name}."


def math(
    expression: str, metrics: Mapping[str, cloudwatch.IMetric], label: str, minutes: int
) -> cloudwatch.MathExpression:
    """Return what is worked out of several metrics, over periods of their own length."""
    return cloudwatch.MathExpression(
        expression=expression,
        using_metrics=dict(metrics),
        label=label,
        period=cdk.Duration.minutes(minutes),
    )
