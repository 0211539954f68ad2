"""Images and pipeline agree with the code, in words that all builders and composers know."""

import re
from pathlib import Path

import pytest

from tests.tidy.sources import read_text
from tools.laptop import names
from worker.settings import ENVIRONMENT, WORKER_ENVIRONMENT

DOCKERFILE = Path("docker/Dockerfile")
COMPOSE = Path("docker/compose.yaml")
TOOLS_ONLY = {
    "LEDGEROCK_IMAGE",
    "LEDGEROCK_LOCALSTACK_PORT",
    "LEDGEROCK_TRAFFIC_RATE",
    "LEDGEROCK_WORKER_PORT",
}


@pytest.mark.parametrize("pattern", [r"--mount", r"<<-?\s*['\"]?[A-Z]", r"^#\s*syntax\s*="])
def test_the_builder_before_buildkit_can_read_the_dockerfile(pattern: str) -> None:
    assert not re.search(pattern, read_text(DOCKERFILE), flags=re.MULTILINE)


def test_the_images_run_as_nobody_special() -> None:
    text = read_text(DOCKERFILE)
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)
    for name in ("worker", "lambda"):
        [stage] = [each for each in stages if each.splitlines()[0].endswith(f" AS {name}")]
        assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", stage, flags=re.MULTILINE), name


def test_the_images_stand_on_what_the_tests_use() -> None:
    bases = set(re.findall(r"^FROM (python:\S+)", read_text(DOCKERFILE), flags=re.MULTILINE))
    assert bases == {"python:3.13-slim-bookworm"}
    assert "image: localstack/localstack:4.14.0" in read_text(COMPOSE)


def test_every_setting_in_compose_exists() -> None:
    named = set(re.findall(r"\bLEDGEROCK_[A-Z_]+", read_text(COMPOSE)))
    known = {*ENVIRONMENT.values(), *WORKER_ENVIRONMENT.values()}
    assert named <= known | TOOLS_ONLY


def test_compose_and_bootstrap_call_things_alike() -> None:
    settings = dict(re.findall(r"^  (LEDGEROCK_[A-Z_]+): (.+)$", read_text(COMPOSE), re.MULTILINE))
    assert settings["LEDGEROCK_QUEUES"].rsplit("/", 1)[-1] == names.QUEUE
    assert settings["LEDGEROCK_STREAMS"] == names.STREAM
    assert settings["LEDGEROCK_BUS"] == names.BUS
    assert settings["LEDGEROCK_QUARANTINE"] == f"s3://{names.QUARANTINE}"
