"""One function's first event: `python -m tests.bench.lambda_child {"way": ..., "event": ...}`.

Prints the CPU seconds of this process, from the interpreter's start to the answer. Nothing but
the handler is imported before, so that its own imports are what is counted.
"""

import json
import sys
import time
from importlib import import_module
from typing import Any, Final

HANDLERS: Final = {
    "ours": "handlers.sqs",
    "bare": "tests.bench.lambda_bare",
    "bare_with_tracer": "tests.bench.lambda_bare",
}


class Context:
    """What Lambda says about an invocation."""

    aws_request_id = "5f0e4a1c-0000-4000-8000-000000000001"
    function_name = "bench"
    function_version = "$LATEST"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:111122223333:function:bench"
    tenant_id = None

    def get_remaining_time_in_millis(self) -> int:
        """Return plenty."""
        return 60_000


def main() -> None:
    """Handle one event; the handlers' own output goes to stderr."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    out, sys.stdout = sys.stdout, sys.stderr
    handler = import_module(HANDLERS[asked["way"]]).handler
    imported = time.process_time()
    answer = handler(asked["event"], Context())
    seconds = time.process_time()
    out.write(json.dumps({"cpu_seconds": seconds, "importing": imported, "answer": answer}))


if __name__ == "__main__":
    main()
