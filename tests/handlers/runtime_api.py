"""A stand-in for the service that runs functions: the Runtime API, and a process that speaks it.

It hands over one event at a time, with a deadline, and takes the answer or the error (AWS
documentation: "Using the Lambda runtime API for custom runtimes").
"""

import contextlib
import json
import os
import queue
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

VERSION: Final = "/2018-06-01/runtime"
ANSWER_SECONDS: Final = 60
POLL_SECONDS: Final = 0.02
ARN: Final = "arn:aws:lambda:us-east-1:111122223333:function:ledgerock"
ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass
class Invocation:
    """One event on its way, and what came of it.

    Attributes:
        request: Its request id.
        event: The event.
        seconds: How long it may take.
        trace: The X-Ray header, or empty.
        taken: Set once a function has it.
        ended: Set once there is an answer or an error.
        answer: The answer, decoded.
        error: The error, decoded, with `errorType` and `errorMessage`.
    """

    request: str
    event: Any
    seconds: float
    trace: str = ""
    taken: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    answer: Any = None
    error: dict[str, Any] | None = None

    def wait(self) -> "Invocation":
        assert self.ended.wait(ANSWER_SECONDS), f"{self.request} was not answered"
        return self


class RuntimeApi:
    """The server.

    Attributes:
        address: Host and port, for `AWS_LAMBDA_RUNTIME_API`.
        port: The port alone.
        asked: Is set while a function waits for its next event.
        init_errors: What functions said that could not be loaded.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._waiting: queue.Queue[Invocation] = queue.Queue()
        self._under_way: dict[str, Invocation] = {}
        self._count = 0
        self.asked = threading.Event()
        self.init_errors: list[dict[str, Any]] = []
        self._server = ThreadingHTTPServer((host, 0), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.address = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def send(self, event: Any, *, seconds: float = 30, trace: str = "") -> Invocation:
        """Hand over an event to the function that asks next."""
        self._count += 1
        request = f"5f0e4a1c-0000-4000-8000-{self._count:012x}"
        invocation = Invocation(request, event, seconds, trace)
        self._waiting.put(invocation)
        return invocation

    def invoke(self, event: Any, *, seconds: float = 30, trace: str = "") -> Invocation:
        """Hand over an event and wait for its end."""
        return self.send(event, seconds=seconds, trace=trace).wait()

    def next(self, is_gone: Callable[[], bool]) -> Invocation | None:
        """Wait for an event; None if whoever asked is gone, which must not take one along."""
        self.asked.set()
        try:
            while not is_gone():
                with contextlib.suppress(queue.Empty):
                    invocation = self._waiting.get(timeout=POLL_SECONDS)
                    self._under_way[invocation.request] = invocation
                    return invocation
        finally:
            self.asked.clear()
        return None

    def end(self, request: str, kind: str, body: Any) -> None:
        invocation = self._under_way.pop(request)
        if kind == "response":
            invocation.answer = body
        else:
            invocation.error = body
        invocation.ended.set()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(api: RuntimeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet for an answer, or each waits for the acknowledgement of another

        def do_GET(self) -> None:
            assert self.path == f"{VERSION}/invocation/next"
            invocation = api.next(self._is_gone)
            if invocation is None:
                self.close_connection = True
                return
            deadline_ms = int((time.time() + invocation.seconds) * 1000)
            headers = {
                "Lambda-Runtime-Aws-Request-Id": invocation.request,
                "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
                "Lambda-Runtime-Invoked-Function-Arn": ARN,
                "Content-Type": "application/json",
            }
            if invocation.trace:
                headers["Lambda-Runtime-Trace-Id"] = invocation.trace
            self._answer(200, json.dumps(invocation.event).encode(), headers)
            invocation.taken.set()

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
            if self.path == f"{VERSION}/init/error":
                api.init_errors.append(body)
            else:
                *_, request, kind = self.path.split("/")
                assert kind in {"response", "error"}
                api.end(request, kind, body)
            self._answer(202, b'{"status":"OK"}', {"Content-Type": "application/json"})

        def _is_gone(self) -> bool:
            readable, _, _ = select.select([self.connection], [], [], 0)
            try:
                return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
            except OSError:
                return True

        def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            try:
                self.send_response(status)
                for name, text in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()
            except OSError:
                self.close_connection = True  # the function was killed while it waited

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Say nothing."""

    return Handler


@contextmanager
def runtime_api(host: str = "127.0.0.1") -> Iterator[RuntimeApi]:
    api = RuntimeApi(host)
    try:
        yield api
    finally:
        api.close()


@contextmanager
def function(
    api: RuntimeApi, handler: str, environment: Mapping[str, str], output: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a function as the image does: `python -m awslambdaric HANDLER`.

    Args:
        api: What it gets its events from.
        handler: Such as `handlers.sqs.handler`.
        environment: Settings; nothing else of ours reaches it.
        output: File that takes its stdout and stderr.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    everything = {
        **kept,
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "AWS_LAMBDA_FUNCTION_NAME": "ledgerock",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/ledgerock",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/10/01/[$LATEST]0",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
        **environment,
    }
    command = [sys.executable, "-m", "awslambdaric", handler]
    with output.open("wb") as sink:
        process = subprocess.Popen(
            command, cwd=output.parent, env=everything, stdout=sink, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def lines(output: Path) -> list[dict[str, Any]]:
    """Return the JSON lines that a function printed."""
    text = output.read_text(encoding="utf-8", errors="replace")
    return [json.loads(one) for one in text.splitlines() if one.startswith("{")]
