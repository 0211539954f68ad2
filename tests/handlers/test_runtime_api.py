"""The handlers as the image runs them: `python -m awslambdaric` against the Runtime API."""

import signal
from pathlib import Path

from tests.calls import PRO, asynchronous
from tests.dynamodb import environment_of, ledger_at, local_endpoint, new_prefix
from tests.handlers.lambdas import (
    failures,
    kinesis_event,
    message_id,
    sequence_number,
    sqs_event,
)
from tests.handlers.runtime_api import Invocation, function, lines, runtime_api
from tests.records import event, line, log, poison

SAMPLED = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=557abcec3ee5a047;Sampled=1"


def settings(prefix: str, home: Path, **more: str) -> dict[str, str]:
    return {
        **environment_of(local_endpoint()),
        "LEDGEROCK_LEDGER": f"dynamodb:{prefix}",
        "LEDGEROCK_CREATE_TABLES": "1",
        "LEDGEROCK_QUARANTINE": str(home / "quarantine"),
        "LEDGEROCK_RESOLVE_PROFILES": "0",
        **more,
    }


async def totals(prefix: str) -> tuple[int, int]:
    """Return calls and cost of one model, of a ledger that is sound."""
    async with ledger_at(local_endpoint(), prefix) as ledger:
        verified = await ledger.verify()
        assert verified.differences == ()
        assert verified.entries
        found = (await ledger.totals("model"))[PRO]
        return found.calls, found.cost_pico_usd


def answer(invocation: Invocation) -> list[str]:
    assert invocation.error is None, invocation.error
    return failures(invocation.answer)


@asynchronous
async def test_a_process_serves_many_events_and_opens_its_clients_once(tmp_path: Path) -> None:
    prefix, output = new_prefix(), tmp_path / "output"
    calls = [line(log(number)) for number in range(1, 6)]
    with (
        runtime_api() as api,
        function(api, "handlers.sqs.handler", settings(prefix, tmp_path), output) as process,
    ):
        assert answer(api.invoke(sqs_event(*calls[:3], line(poison(9))))) == []
        assert answer(api.invoke(sqs_event(*calls, line(event(4))))) == []
        wrong = api.invoke(kinesis_event(calls[0]))
        assert wrong.error is not None
        assert wrong.error["errorType"] == "WrongEventError"
        assert "handlers.kinesis.handler is for those" in wrong.error["errorMessage"]
        # There is no time to begin: everything comes again, and the process goes on.
        late = api.invoke(sqs_event(calls[0], calls[1]), seconds=0)
        assert answer(late) == [message_id(0), message_id(1)]
        assert answer(api.invoke(sqs_event(calls[0]))) == []
        assert api.asked.wait(30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in {-signal.SIGTERM, 0}
    assert await totals(prefix) == (5, 5 * 2_400_000_000)
    said = lines(output)
    [refused] = [one for one in said if one.get("level") == "ERROR"]
    assert refused["error_type"] == "WrongEventError"
    assert sum("ColdStart" in one for one in said) == 1
    [opened] = [one for one in said if one.get("message") == "opened"]
    assert opened["cold_start"] is True
    assert len(list((tmp_path / "quarantine").iterdir())) == 1


@asynchronous
async def test_a_traced_stream_function_needs_no_daemon(tmp_path: Path) -> None:
    prefix, output = new_prefix(), tmp_path / "output"
    more = {"LAMBDA_TASK_ROOT": str(tmp_path), "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:9"}
    records = [line(log(number)) for number in range(1, 4)]
    with (
        runtime_api() as api,
        function(api, "handlers.kinesis.handler", settings(prefix, tmp_path, **more), output),
    ):
        assert answer(api.invoke(kinesis_event(*records, b"poison"), trace=SAMPLED)) == []
        late = api.invoke(kinesis_event(*records), seconds=0, trace=SAMPLED)
        assert answer(late) == [sequence_number(0)]
    assert await totals(prefix) == (3, 3 * 2_400_000_000)
    assert "Traceback" not in output.read_text()
