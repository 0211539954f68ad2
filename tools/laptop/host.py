"""How programs on the host reach the pipeline in the containers."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from tools.laptop import names
from worker.adapters.registry_file import load_registry
from worker.core.registry import Registry
from worker.settings import Settings
from worker.traffic.live import company_registry

HTTP_SECONDS: Final = 5.0
SETTINGS: Final = Settings(ledger="dynamodb", quarantine=f"s3://{names.QUARANTINE}")
"""Those of the worker in its container that concern others as well."""
_PREFIX: Final = "ledgerock_"
_BUCKET: Final = "_bucket"


def localstack_url() -> str:
    """Return LocalStack's address."""
    return f"http://127.0.0.1:{os.environ.get('LEDGEROCK_LOCALSTACK_PORT') or 4566}"


def worker_port() -> int:
    """Return the port of the worker's pages."""
    return int(os.environ.get("LEDGEROCK_WORKER_PORT") or 8080)


def use_pipeline() -> None:
    """Point this process at LocalStack, whatever accounts it could reach."""
    for name in tuple(os.environ):
        if name.startswith("AWS_"):
            del os.environ[name]
    os.environ.update(
        AWS_ENDPOINT_URL=localstack_url(),
        AWS_REGION="us-east-1",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_ACCESS_KEY_ID="local",
        AWS_SECRET_ACCESS_KEY="local",  # noqa: S106 - made up, for an emulator
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    )


def registry() -> Registry:
    """Return the registry that the worker has."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "registry.toml"
        file.write_text(company_registry(), encoding="utf-8")
        return load_registry(file)


@dataclass(slots=True)
class Metrics:
    """What the worker counted so far.

    Attributes:
        values: Counters and gauges, by name (without prefix) and label `result`.
        buckets: Histograms: how many observations were at most so big, by name and bound.
    """

    values: dict[tuple[str, ...], float] = field(default_factory=dict)
    buckets: dict[str, dict[float, float]] = field(default_factory=dict)

    def of(self, name: str) -> float:
        """Return a figure without labels, or 0."""
        return self.values.get((name,), 0.0)

    def by_result(self, name: str) -> dict[str, int]:
        """Return a counter by its label `result`, whatever other labels it has."""
        found: dict[str, int] = {}
        for (each, *results), value in self.values.items():
            if each == name:
                for result in results:
                    found[result] = found.get(result, 0) + int(value)
        return found

    def since(self, before: "Metrics") -> "Metrics":
        """Return what was counted between two looks; all of it, if the worker began anew."""
        values = {
            key: _growth(value, before.values.get(key, 0.0)) for key, value in self.values.items()
        }
        buckets = {}
        for name, bounds in self.buckets.items():
            earlier = before.buckets.get(name, {})
            if max(earlier.values(), default=0.0) > max(bounds.values()):
                earlier = {}
            buckets[name] = {
                bound: count - earlier.get(bound, 0.0) for bound, count in bounds.items()
            }
        return Metrics(values, buckets)

    def quantile(self, name: str, share: float) -> float | None:
        """Estimate a quantile, seconds, as Prometheus does; None if nothing was observed."""
        bounds = sorted(self.buckets.get(name, {}).items())
        if not bounds or not bounds[-1][1]:
            return None
        wanted, lower, below = share * bounds[-1][1], 0.0, 0.0
        for bound, count in bounds:
            if count >= wanted and count > below:
                if bound == float("inf"):
                    return lower
                return lower + (bound - lower) * (wanted - below) / (count - below)
            lower, below = bound, count
        return lower


def _growth(value: float, before: float) -> float:
    return value - before if value >= before else value


def parse_metrics(text: str) -> Metrics:
    """Read Prometheus' text format."""
    metrics = Metrics()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix(_PREFIX)
            labels: Mapping[str, str] = sample.labels
            if family.type == "histogram":
                if name.endswith(_BUCKET):
                    bounds = metrics.buckets.setdefault(name.removesuffix(_BUCKET), {})
                    bounds[float(labels["le"])] = sample.value
                continue
            result = [labels["result"]] if "result" in labels else []
            key = name.removesuffix("_total"), *result
            metrics.values[key] = metrics.values.get(key, 0.0) + sample.value
    return metrics


def read_metrics() -> Metrics:
    """Ask the worker; nothing if it does not answer."""
    status, text = _page("/metrics")
    return parse_metrics(text) if status == HTTPStatus.OK else Metrics()


def is_ready() -> bool:
    """Tell whether the worker says that it is ready."""
    return _page("/readyz")[0] == HTTPStatus.OK


def _page(path: str) -> tuple[int, str]:
    """Return a page's status and text; no status if nobody answers."""
    connection = HTTPConnection("127.0.0.1", worker_port(), timeout=HTTP_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, HTTPException):
        return 0, ""
    finally:
        connection.close()
