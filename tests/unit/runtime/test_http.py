import socket

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from tests.calls import asynchronous
from worker.core.errors import ConfigurationError
from worker.runtime.http import make_application, served
from worker.runtime.metrics import PrometheusMeter, WorkerMeter
from worker.settings import WorkerSettings
from worker.telemetry import METRICS


class Requests:
    retries = 3
    conflicts = 2
    throttles = 1


@asynchronous
async def test_pages_say_why_they_are_not_well() -> None:
    unhealthy: list[str] = []
    unready = ["sqs:calls: not reached"]
    meter = PrometheusMeter()
    pages = make_application(
        unhealthy=lambda: unhealthy, unready=lambda: unready, metrics=meter.text
    )
    async with TestClient(TestServer(pages)) as client:
        answer = await client.get("/healthz")
        assert (answer.status, await answer.json()) == (
            200,
            {"status": "healthy", "reasons": []},
        )
        answer = await client.get("/readyz")
        assert (answer.status, await answer.json()) == (
            503,
            {"status": "not ready", "reasons": ["sqs:calls: not reached"]},
        )
        unhealthy.append("the breaker is open")
        unready.clear()
        assert (await client.get("/healthz")).status == 503
        assert (await client.get("/readyz")).status == 200
        answer = await client.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        names = {one.name for one in text_string_to_metric_families(await answer.text())}
        assert {f"ledgerock_{name}" for name in METRICS} <= names
        assert (await client.get("/")).status == 404


@asynchronous
async def test_requests_are_followed_and_workers_do_not_share_metrics() -> None:
    requests = Requests()
    meter, other = WorkerMeter(WorkerSettings(), [requests]), WorkerMeter(WorkerSettings())
    for _ in range(2):
        meter.follow_requests()
    requests.retries += 2
    meter.follow_requests()
    other.follow_requests()
    assert meter.prometheus is not None
    assert other.prometheus is not None
    values = {
        one.name: one.value
        for family in text_string_to_metric_families(meter.prometheus.text().decode())
        for one in family.samples
    }
    assert values["ledgerock_request_retries_total"] == 5
    assert values["ledgerock_request_conflicts_total"] == 2
    assert values["ledgerock_request_throttles_total"] == 1
    assert b"ledgerock_request_retries_total 0.0" in other.prometheus.text()


@asynchronous
async def test_where_metrics_are_only_printed_the_page_says_so() -> None:
    pages = make_application(unhealthy=list, unready=list, metrics=lambda: None)
    async with TestClient(TestServer(pages)) as client:
        answer = await client.get("/metrics")
        assert answer.status == 404
        assert "LEDGEROCK_METRICS=emf" in await answer.text()


def test_a_counter_of_prometheus_never_falls() -> None:
    meter = PrometheusMeter()
    found = []
    for amount in (0.5, -0.75, 0.125, 0.5, 1.0):
        meter.add("spend_usd", amount)
        found.append(meter.registry.get_sample_value("ledgerock_spend_usd_total"))
    # The sum, 1.375, is reached as soon as it is no less than what was shown.
    assert found == [0.5, 0.5, 0.5, 0.5, 1.375]


def pages() -> web.Application:
    return make_application(unhealthy=list, unready=list, metrics=bytes)


@asynchronous
async def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"LEDGEROCK_HTTP_PORT={port}"):
            async with served(pages(), port):
                pytest.fail("it cannot listen there")


@asynchronous
async def test_pages_are_served_on_a_port_or_nowhere() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/healthz"
    async with served(pages(), port), ClientSession() as session, session.get(address) as answer:
        assert answer.status == 200
    async with served(pages(), 0):
        pass
