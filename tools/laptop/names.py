"""What things are called in the pipeline on a laptop; `docker/compose.yaml` names them alike."""

from typing import Final

BUCKET: Final = "ledgerock-logs"
"""Invocation logs arrive here, below `AWSLogs/`."""
QUARANTINE: Final = "ledgerock-quarantine"
"""Bucket of the records that could not be understood."""
QUEUE: Final = "ledgerock-events"
"""CloudTrail's events, and notifications of objects in the bucket."""
DEAD_LETTERS: Final = "ledgerock-events-dead-letters"
STREAM: Final = "ledgerock-logs"
"""Subscriptions of CloudWatch Logs deliver here."""
BUS: Final = "ledgerock"
ANNOUNCED: Final = "ledgerock-announced"
"""Collects everything that is announced on the bus."""

SHARDS: Final = 2
RECEIVES_MAX: Final = 10
"""A message that fails so often goes to the dead letters."""
LOG_GROUP: Final = "/aws/bedrock/modelinvocations"
LOG_STREAM: Final = "aws/bedrock/modelinvocations"

BUDGETS: Final = (
    ("support-bot", "principal/agent/111122223333/us-east-1/SUPPORTBOT", "0.50", "daily"),
    ("research", "team/research", "2.50", "weekly"),
    ("search", "application/app/acme/search", "5", "daily"),
    ("commerce", "team/commerce", "10", "14-day"),
    ("everything", "everything", "100", "monthly"),
)
"""Name, scope, limit in USD and period of the sample budgets: the first is crossed at once."""
