"""Deliveries of sealed calls: acknowledged, and counted as ignored."""

from tests.calls import DAY, NOON, asynchronous, entries
from tests.records import line, log
from tests.sealing import TODAY, long_after
from tests.unit.test_pipeline import lines, pipeline
from worker.core.results import DeliveryResult
from worker.ports import Delivery

__all__ = ["long_after"]


@asynchronous
async def test_a_delivery_of_sealed_calls_is_acknowledged_and_counts_as_ignored() -> None:
    made = pipeline()
    await made.process([Delivery(line(log(1, at_ms=NOON - DAY)), "a")])
    await made.ledger.seal(TODAY)
    late = lines(log(1, at_ms=NOON - DAY), log(2, at_ms=NOON - DAY), log(3, at_ms=NOON))
    [step] = [step async for step in made.steps([Delivery(late, "b")])]
    [ended] = step.processed
    assert (ended.result, ended.records) == (DeliveryResult.ACKNOWLEDGED, 3)
    figures = step.figures
    assert (figures.recorded, figures.duplicates, figures.ignored, figures.records) == (1, 0, 2, 3)
    assert len(await entries(made.ledger)) == 2
