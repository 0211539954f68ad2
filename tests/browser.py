"""A real Chromium without a window, spoken to over its debugging pipe.

What a page asks the network for and what it complains about is kept, so that tests can say
that it does neither. Tests that need it take the fixture `browser` of `tests.unit.cli.html`.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_SECONDS = 40.0
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def browser_command() -> str:
    """Find a browser; skip the test without one, or fail it where one is required."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    reason = f"none of {', '.join(NAMES)} is on the PATH"
    if os.environ.get("LEDGEROCK_REQUIRE_BROWSER") == "1":
        pytest.fail(f"LEDGEROCK_REQUIRE_BROWSER=1, but {reason}", pytrace=False)
    pytest.skip(f"needs a browser: {reason}")


class Browser:
    """One browser process with one page at a time.

    Attributes:
        requests: URLs that the page asked for, its own file left out.
        complaints: Console messages, exceptions and refusals by the content security policy.
    """

    def __init__(self, profile: Path) -> None:
        """Start the browser with an empty profile."""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        commands, self._out = os.pipe()
        self._in, answers = os.pipe()
        line = f'exec "$@" --remote-debugging-pipe 3<&{commands} 4>&{answers}'
        self._process = subprocess.Popen(
            [
                "bash",
                "-c",
                line,
                "bash",
                browser_command(),
                *QUIET,
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._buffer = b""
        self._last_id = 0
        self._session = ""
        self._loaded = False

    def __enter__(self) -> Self:
        """Return the browser."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        try:
            self.ask("Browser.close", of_page=False)
        except (AssertionError, OSError):
            self._process.kill()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def open(
        self,
        file: Path,
        *,
        width: int = 1200,
        height: int = 900,
        phone: bool = False,
        dark: bool = False,
    ) -> None:
        """Load a file into a new page of the given size in CSS pixels."""
        target = self.ask("Target.createTarget", {"url": "about:blank"}, of_page=False)
        attached = self.ask(
            "Target.attachToTarget",
            {"targetId": target["targetId"], "flatten": True},
            of_page=False,
        )
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": width,
                "height": height,
                "deviceScaleFactor": 2 if phone else 1,
                "mobile": phone,
            },
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", {"features": [scheme]})
        self._loaded = False
        self.ask("Page.navigate", {"url": file.as_uri()})
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._loaded:
            self._note(self._receive(deadline))

    def run(self, expression: str) -> Any:
        """Evaluate JavaScript in the page; the debugger is not bound by the page's policy."""
        answer = self.ask("Runtime.evaluate", {"expression": expression, "returnByValue": True})
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, file: Path, *, whole: bool = True, height: int = 0) -> None:
        """Save what the page looks like, from its top; as far as `height` where it is given."""
        what: dict[str, Any] = {"format": "png", "captureBeyondViewport": whole}
        if height:
            width = self.run("innerWidth")
            what["clip"] = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        elif whole:
            size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
            what["clip"] = size | {"scale": 1}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", what)["data"]))

    def print(self, file: Path) -> None:
        """Save the page as it prints."""
        answer = self.ask("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
        file.write_bytes(base64.b64decode(answer["data"]))

    def ask(
        self, method: str, parameters: dict[str, Any] | None = None, *, of_page: bool = True
    ) -> dict[str, Any]:
        """Send a command of the DevTools protocol and wait for its answer."""
        self._last_id += 1
        message: dict[str, Any] = {
            "id": self._last_id,
            "method": method,
            "params": parameters or {},
        }
        if of_page:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._last_id:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._in], [], [], max(left, 0))
            assert ready, f"the browser did not answer within {PATIENCE_SECONDS} s"
            data = os.read(self._in, 1 << 20)
            assert data, "the browser ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        method, details = event.get("method", ""), event.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            url = details["request"]["url"]
            if details.get("type") != "Document" or not url.startswith(("file:", "about:")):
                self.requests.append(url)
        elif method in {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}:
            self.complaints.append(json.dumps(details)[:1_000])
