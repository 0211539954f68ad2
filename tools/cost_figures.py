"""Figures that `tools.cost` works with: prices, what the bench measured, what is assumed.

Prices are those of us-east-1, in US dollars, without free tiers and discounts.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

D = Decimal

READ_ON: Final = "November 2026, as public copies of AWS's pages quote them"
PRICES: Final = {
    "write": (D("0.625"), "a million write request units", "Amazon DynamoDB on-demand pricing"),
    "read": (D("0.125"), "a million read request units", "Amazon DynamoDB on-demand pricing"),
    "table": (D("0.25"), "a GB and month of tables", "Amazon DynamoDB on-demand pricing"),
    "recovery": (D("0.20"), "a GB and month of point-in-time recovery", "as above"),
    "logs": (D("0.50"), "a GB put into CloudWatch Logs", "Amazon CloudWatch pricing"),
    "logs_kept": (D("0.03"), "a GB and month of logs kept", "Amazon CloudWatch pricing"),
    "alarm": (D("0.10"), "an alarm's metric and month", "Amazon CloudWatch pricing"),
    "dashboard": (D("3.00"), "a dashboard and month", "Amazon CloudWatch pricing"),
    "metric": (D("0.30"), "a metric of one's own and month", "Amazon CloudWatch pricing"),
    "stream": (D("0.04"), "an hour of a stream on demand", "Amazon Kinesis Data Streams pricing"),
    "stream_in": (D("0.08"), "a GB into it", "Amazon Kinesis Data Streams pricing"),
    "stream_out": (D("0.04"), "a GB out of it", "Amazon Kinesis Data Streams pricing"),
    "stream_kept": (D("0.10"), "a GB and month of it after a day, up to 7 days", "as above"),
    "shard": (D("0.015"), "a shard and hour", "Amazon Kinesis Data Streams pricing"),
    "shard_kept": (D("0.020"), "a shard and hour kept for 7 days", "as above"),
    "payload": (D("0.014"), "a million payload units of 25 KB", "as above"),
    "invocation": (D("0.20"), "a million invocations", "AWS Lambda pricing"),
    "gb_second": (D("0.0000166667"), "a GB-second, x86", "AWS Lambda pricing"),
    "queue": (D("0.40"), "a million requests to SQS", "Amazon SQS pricing"),
    "cpu": (D("0.04048"), "a vCPU and hour", "AWS Fargate pricing"),
    "memory": (D("0.004445"), "a GB and hour", "AWS Fargate pricing"),
    "address": (D("0.005"), "a public IPv4 address and hour", "Amazon VPC pricing"),
    "endpoint": (D("0.01"), "an interface endpoint, zone and hour", "AWS PrivateLink pricing"),
    "key": (D("1.00"), "a key and month", "AWS KMS pricing"),
}
"""US dollars by what they buy, and the page that says so."""

WRITE_UNITS: Final = {
    1: D("12.47"),
    10: D("6.12"),
    100: D("3.90"),
    500: D("2.99"),
    2_000: D("2.48"),
}
"""Write units a call by the size of batches; `make bench`, part `units`, 300 principals."""
WIDE_UNITS: Final = {500: D("0.089"), 2_000: D("0.070")}
"""Of these, those of the items that everybody's day is in, which are all of one key."""
READ_UNITS: Final = D("1.17")
"""Strong reads a call in batches of 500; looks at budgets not included."""
ENTRY_UNITS: Final = 2
ENTRY_BYTES: Final = 270 + 100
"""An entry as measured, and what DynamoDB counts for its index."""
CPU_MS: Final = D("0.20")
"""CPU a call in batches of 500: decoding to folding 0.03 ms, committing 0.17 ms."""

ASSUMED: Final[Mapping[str, Decimal]] = {
    "log_bytes": D(1_024),  # of one log record without bodies
    "waiting_ms": D("0.52"),  # a call: of 500, 8 transactions of 25 ms, 6 reads of 10 ms
    "vcpu_mb": D(1_769),  # of a function that has one vCPU (AWS documentation: "Lambda memory")
    "busy": D("0.7"),  # share of its CPU that a task may use
    "due_seconds": D("0.3"),  # that the monitor or announcer takes when nothing is due
    "own_log_bytes": D(3_000),  # that they log each minute, metrics included
}
ALARM_METRICS: Final = {"functions": 33, "container": 32}
"""Metrics that alarms watch in the default configuration, by shape: each is paid for."""
DEPLOYED: Final = {"own_metrics": 53, "endpoints": 7, "shards": 4}
"""In the default configuration: metrics of one's own, if all are written; endpoints of a private
container; shards that a stream on demand begins with (AWS documentation: "Choose the
right mode for the Amazon Kinesis Data Streams")."""

GB: Final = 1024**3
HOURS: Final = 730
MILLION: Final = 1_000_000
MINUTES: Final = HOURS * 60
RATE: Final = 10_000
FUNCTION_GB: Final = D(1)
TASK: Final = (D("0.5"), D(1))
STREAM_DAYS: Final = 7
SHARD_RECORDS: Final = 1_000
SHARD_BYTES: Final = 1024 * 1024
PARTITION_UNITS: Final = 1_000
TABLE_UNITS_QUOTA: Final = 40_000
LEASE_SECONDS: Final = 5
"""Between renewals of a shard's lease by a container: a quarter of `LEDGEROCK_LEASE_SECONDS`."""
