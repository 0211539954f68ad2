import io

from rich.console import Console

from tools.laptop.crossings import CrossingWatch
from tools.laptop.host import Metrics
from tools.laptop.load_report import (
    Booked,
    Lags,
    Ran,
    booked_of,
    print_report,
    quantiles,
    report_document,
)
from tools.laptop.publishing import Publisher
from worker.bootstrap import open_state
from worker.core.budget_terms import Budget, Scope
from worker.core.ledger import AMOUNT_FIELDS, Amounts, Leaf
from worker.settings import Settings
from worker.traffic.live import LiveTraffic, visitors
from worker.traffic.sums import Total

ACCOUNT = "912345678901"
NOON_MS = 1_792_929_600_000


def sent(calls: int = 40) -> LiveTraffic:
    traffic = LiveTraffic(visitors(ACCOUNT), seed=1)
    for number in range(calls):
        traffic.call(NOON_MS + number)
    return traffic


def as_booked(total: Total) -> Amounts:
    return Amounts(**{name: getattr(total, name) for name in AMOUNT_FIELDS})


def faithful(traffic: LiveTraffic) -> Booked:
    sums = traffic.sums
    return Booked(
        total=as_booked(sums.total),
        by_principal={key: as_booked(total) for key, total in sums.by_principal.items()},
        by_model={key: as_booked(total) for key, total in sums.by_model.items()},
    )


def report(traffic: LiveTraffic, booked: Booked, lags: Lags | None = None) -> dict[str, object]:
    budget = Budget(name="load", scope=Scope("account", ACCOUNT), limit_amount=10**9)
    crossings = CrossingWatch(budget, open_state(Settings(ledger="memory")))
    crossings.spent(traffic.sums.cost_pico_usd, now=1.0)
    ran = Ran(
        traffic=traffic,
        booked=booked,
        lags=lags or Lags(),
        crossings=crossings,
        publisher=Publisher("test"),
        metrics=Metrics(),
    )
    return report_document(ran, {"rate": 20.0, "achieved_rate": 19.9})


def test_books_that_agree_are_exact() -> None:
    traffic = sent()
    document = report(traffic, faithful(traffic), Lags(seconds=[1.0, 3.0, 2.0]))
    assert document["exact"] is True
    assert document["losses"] == []
    assert document["lag_seconds"] == {
        "samples": 3, "p50": 2.0, "p99": 3.0, "max": 3.0, "missing": 0,
    }  # fmt: skip


def test_a_lost_call_is_named_by_principal_and_by_model() -> None:
    traffic = sent()
    booked = faithful(traffic)
    principal, model = min(booked.by_principal), min(booked.by_model)
    booked.by_principal[principal].calls -= 1
    del booked.by_model[model]
    document = report(traffic, booked)
    assert document["exact"] is False
    losses = document["losses"]
    assert isinstance(losses, list)
    assert [loss.get("principal") or loss.get("model") for loss in losses] == [principal, model]
    assert losses[0]["differs_in"] == ["calls"]
    assert losses[1]["booked_calls"] == 0


def test_a_pico_dollar_too_much_is_not_exact() -> None:
    traffic = sent()
    booked = faithful(traffic)
    booked.total.cost_pico_usd += 1
    assert report(traffic, booked)["exact"] is False


def test_the_report_for_people_says_the_same() -> None:
    traffic, out = sent(), io.StringIO()
    booked = faithful(traffic)
    print_report(report(traffic, booked), Console(file=out, width=200))
    assert "to the pico-dollar" in out.getvalue()
    booked.by_model.popitem()
    print_report(report(traffic, booked), Console(file=out, width=200))
    assert "NO" in out.getvalue()
    assert "0 calls, 0 USD booked" in out.getvalue()


def test_only_the_account_of_the_load_counts() -> None:
    mine = Leaf("p", "i", "", "", "", ACCOUNT, "m", 20_000)
    other = Leaf("p", "i", "", "", "", "111122223333", "m", 20_000)
    booked = booked_of([(mine, Amounts(calls=2)), (other, Amounts(calls=5))], ACCOUNT)
    assert booked.total.calls == booked.by_principal["p"].calls == booked.by_model["m"].calls == 2


def test_quantiles_are_values_that_were_seen() -> None:
    assert quantiles([]) == {"samples": 0, "p50": None, "p99": None, "max": None}
    hundred = quantiles(float(number) for number in range(1, 101))
    assert hundred == {"samples": 100, "p50": 50.0, "p99": 99.0, "max": 100.0}
