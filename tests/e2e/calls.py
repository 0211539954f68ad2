"""Calls that nobody made, as AWS would write them down.

They are told apart from all others by their account, `000000000000`, which no customer of AWS has,
and by a user for each run. Each has one input and one output token of the cheapest model that the
catalogue knows: entries are never deleted, so what a run books stays in the books, and is to be
as good as nothing.
"""

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

ACCOUNT: Final = "000000000000"
REGION: Final = "us-east-1"
MODEL: Final = "amazon.nova-micro-v1:0"
COST_PICO_USD: Final = 175_000
"""Of one call: an input token at 0.035 and an output token at 0.14 USD a million."""


@dataclass(frozen=True)
class Call:
    """One call of a user.

    Attributes:
        user: ARN of an IAM user.
        account: Its account.
        request_id: Tells it from all others.
        at: When.
    """

    user: str
    account: str = ACCOUNT
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def _time(self) -> str:
        return f"{self.at:%Y-%m-%dT%H:%M:%SZ}"

    def log(self) -> str:
        """Return its model invocation log, without bodies."""
        return _compact(
            {
                "timestamp": self._time,
                "accountId": self.account,
                "identity": {"arn": self.user},
                "region": REGION,
                "requestId": self.request_id,
                "operation": "Converse",
                "modelId": MODEL,
                "input": {"inputContentType": "application/json", "inputTokenCount": 1},
                "output": {"outputContentType": "application/json", "outputTokenCount": 1},
                "schemaType": "ModelInvocationLog",
                "schemaVersion": "1.0",
            }
        )

    def event(self) -> str:
        """Return CloudTrail's event of it, as a rule of EventBridge sends it to a queue."""
        return _compact(
            {
                "version": "0",
                "id": str(uuid.uuid4()),
                "detail-type": "AWS API Call via CloudTrail",
                "source": "aws.bedrock",
                "account": self.account,
                "time": self._time,
                "region": REGION,
                "resources": [],
                "detail": self._detail(),
            }
        )

    def _detail(self) -> dict[str, Any]:
        return {
            "eventVersion": "1.11",
            "userIdentity": {
                "type": "IAMUser",
                "arn": self.user,
                "accountId": self.account,
                "userName": self.user.rpartition("/")[2],
            },
            "eventTime": self._time,
            "eventSource": "bedrock.amazonaws.com",
            "eventName": "Converse",
            "awsRegion": REGION,
            "requestParameters": {"modelId": MODEL},
            "responseElements": None,
            "additionalEventData": {"inputTokens": 1, "outputTokens": 1},
            "requestID": self.request_id,
            "eventID": str(uuid.uuid4()),
            "readOnly": True,
            "eventType": "AwsApiCall",
            "managementEvent": True,
            "recipientAccountId": self.account,
            "eventCategory": "Management",
        }


def _compact(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))
