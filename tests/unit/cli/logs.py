"""Log lines for the tests of commands; what they cost is worked out by hand beside them."""

import gzip
import json
from pathlib import Path
from typing import Any

ACCOUNT = "111122223333"
ALICE = f"user/{ACCOUNT}/alice"
BEN = f"user/{ACCOUNT}/ben"

SONNET_3 = "anthropic.claude-3-sonnet-20240229-v1:0"
"""USD 3 and 15 a million: 1,000 in and 500 out cost 0.003 + 0.0075 = 0.0105."""
NOVA_PRO = "amazon.nova-pro-v1:0"
"""USD 0.8 and 3.2 a million: 1,500 in and 800 out cost 0.0012 + 0.00256 = 0.00376."""
NOVA_MICRO = "amazon.nova-micro-v1:0"
"""USD 0.035 and 0.14 a million: 5,000 in and 1,000 out cost 0.000175 + 0.00014 = 0.000315."""
UNKNOWN = "acme.frontier-9-v1:0"


def log(
    request_id: str,
    model: str = SONNET_3,
    tokens: tuple[int | None, int | None] = (1_000, 500),
    *,
    user: str = "alice",
    at: str = "2026-10-01T12:00:00Z",
    **changes: Any,
) -> dict[str, Any]:
    """Return a model invocation log."""
    counts_in, counts_out = tokens
    return {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": at,
        "accountId": ACCOUNT,
        "region": "us-east-1",
        "requestId": request_id,
        "operation": "Converse",
        "modelId": model,
        "identity": {"arn": f"arn:aws:iam::{ACCOUNT}:user/{user}"},
        "input": {} if counts_in is None else {"inputTokenCount": counts_in},
        "output": {} if counts_out is None else {"outputTokenCount": counts_out},
    } | changes


def lines(*records: Any) -> bytes:
    """Return records as lines of JSON; text stands as it is."""
    texts = (record if isinstance(record, str) else json.dumps(record) for record in records)
    return "".join(f"{text}\n" for text in texts).encode()


def write(path: Path, *records: Any) -> None:
    """Write a log object: lines of JSON, gzipped where the name says so."""
    content = lines(*records)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_month(folder: Path) -> None:
    """Write a small month of logs: 5 calls, 4 with a cost, 0.025075 USD together.

    alice: Claude 3 Sonnet twice, 0.021 (one of them reported twice); ben: Nova Pro 0.00376 and
    Nova Micro 0.000315, and one call of a model without a price.
    """
    write(
        folder / "logs" / "a.json.gz",
        log("r1"),
        log("r2", at="2026-10-02T12:00:00Z"),
        log("r1"),
        "not JSON at all",
    )
    write(
        folder / "logs" / "more" / "b.json",
        log("r3", NOVA_PRO, (1_500, 800), user="ben"),
        log("r4", NOVA_MICRO, (5_000, 1_000), user="ben", at="2026-11-03T00:00:00Z"),
        log("r5", UNKNOWN, (10, 20), user="ben"),
    )
