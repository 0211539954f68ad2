"""A stand-in for CloudFormation: what it asks a custom resource for, and where it is answered."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

Json = dict[str, Any]

STACK: Final = "arn:aws:cloudformation:us-east-1:111122223333:stack/ledgerock-dev/1a2b"
REQUEST: Final = "b1c2d3e4"
LOGICAL: Final = "Logging"


@dataclass(frozen=True)
class Put:
    """An answer, as it came.

    Attributes:
        headers: Its headers, names in lower case.
        body: Its body.
    """

    headers: dict[str, str]
    body: bytes

    @property
    def answer(self) -> Json:
        decoded: Json = json.loads(self.body)
        return decoded


@dataclass
class Answers:
    """Where answers are put; fails the first `faults` of them.

    Attributes:
        url: The address.
        puts: What was put there.
        faults: How many are still to fail.
    """

    url: str = ""
    puts: list[Put] = field(default_factory=list)
    faults: int = 0

    def request(self, kind: str, properties: Json, **more: Any) -> Json:
        """Return a request as CloudFormation makes it."""
        return {
            "RequestType": kind,
            "ResponseURL": self.url,
            "StackId": STACK,
            "RequestId": REQUEST,
            "LogicalResourceId": LOGICAL,
            "ResourceType": "Custom::LedgerockInvocationLogging",
            "ServiceToken": "arn:aws:lambda:us-east-1:111122223333:function:switch",
            "ResourceProperties": {"ServiceToken": "arn:aws:lambda:...", **properties},
            **more,
        }

    @property
    def only(self) -> Json:
        [put] = self.puts
        return put.answer


@contextmanager
def answered() -> Iterator[Answers]:
    """Serve an address that answers are put at."""
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if answers.faults:
                answers.faults -= 1
                self.send_error(503)
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            answers.puts.append(Put(headers, body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base's
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        answers.url = f"http://127.0.0.1:{server.server_address[1]}/answer?signature=x"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield answers
        finally:
            server.shutdown()
            thread.join()
