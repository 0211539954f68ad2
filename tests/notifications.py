"""Notifications of objects in S3, as S3 itself sends them."""

import json
from urllib.parse import quote_plus

from tests.calls import NOON, REGION
from tests.records import iso
from worker.ports import Delivery

BUCKET = "call-logs"


def notification(*keys: str, bucket: str = BUCKET, version_id: str = "") -> bytes:
    """The body of a message that names some objects."""
    return json.dumps(
        {
            "Records": [
                {
                    "eventVersion": "2.1",
                    "eventSource": "aws:s3",
                    "awsRegion": REGION,
                    "eventTime": iso(NOON),
                    "eventName": "ObjectCreated:Put",
                    "s3": {
                        "s3SchemaVersion": "1.0",
                        "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
                        "object": {
                            "key": quote_plus(key, safe="/"),
                            "size": 1_024,
                            "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                            **({"versionId": version_id} if version_id else {}),
                        },
                    },
                }
                for key in keys
            ]
        }
    ).encode()


def naming(*keys: str, attempts: int = 1, sent_at_ms: int = 0, receipt: str = "r") -> Delivery:
    """A delivery of such a message."""
    return Delivery(
        notification(*keys),
        receipt,
        name=f"sqs:queue/{receipt}",
        attempts=attempts,
        sent_at_ms=sent_at_ms,
    )
