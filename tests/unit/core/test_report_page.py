from collections.abc import Sequence

from worker.core.ledger import MS_PER_DAY, Amounts, Leaf
from worker.core.report_calls import CacheUse
from worker.core.report_page import (
    PRINCIPALS_MAX,
    ROWS_MAX,
    Findings,
    Page,
    build_page,
)
from worker.core.report_time import Balances, Period

DAY = 20_000


def spent(
    day: int, usd: int, principal: str = "user/1/a", model: str = "m", **more: int
) -> tuple[Leaf, Amounts]:
    leaf = Leaf(principal, principal, "", "", "", "1", model, day)
    return leaf, Amounts(calls=1, cost_pico_usd=usd, **more)


def page(balances: Balances, before: Balances = (), days: int = 4) -> Page:
    return build_page(
        Findings(
            period=Period(since_ms=DAY * MS_PER_DAY, until_ms=(DAY + days) * MS_PER_DAY),
            balances=balances,
            before=before,
            cache={"m": CacheUse(1, 0, 5, 0), "n": CacheUse(0, 1, 0, 9), "o": CacheUse(1, 1, 9, 1)},
            cache_exact=True,
            calls=None,
        )
    )


def changes(movers: Sequence[object]) -> list[tuple[str, str, int]]:
    return [(mover.by, mover.key, mover.change_pico_usd) for mover in movers]  # type: ignore[attr-defined]


def test_tables_name_what_they_leave_out() -> None:
    balances = [spent(DAY, 1_000 - number, f"user/1/{number:03}") for number in range(130)]
    made = page(balances)
    table = made.tables[0]
    assert (table.by, len(table.rows), table.left_out) == ("principal", ROWS_MAX, 30)
    # 900 down to 871: thirty amounts of 885.5 on average.
    assert (table.rest.cost_pico_usd, table.rest.calls) == (26_565, 30)
    assert table.total == made.total
    assert len(made.details) == PRINCIPALS_MAX
    assert made.details_left_out == 130 - PRINCIPALS_MAX


def test_dimensions_without_any_value_have_no_table() -> None:
    assert [table.by for table in page([spent(DAY, 1)]).tables] == ["principal", "model", "account"]


def test_movers_are_held_against_the_period_before() -> None:
    now = [spent(DAY, 100, "user/1/a"), spent(DAY + 1, 30, "user/1/b", "n")]
    before = [spent(DAY - 2, 40, "user/1/a"), spent(DAY - 3, 70, "user/1/c", "n")]
    made = page(now, before)
    assert made.before == (
        Period(since_ms=(DAY - 4) * MS_PER_DAY, until_ms=DAY * MS_PER_DAY),
        Amounts(2, 110),
    )
    movers = made.movers
    assert movers is not None
    assert not movers.halves
    assert changes(movers.up) == [
        ("model", "m", 60),
        ("principal", "user/1/a", 60),
        ("principal", "user/1/b", 30),
    ]
    assert changes(movers.down) == [("principal", "user/1/c", -70), ("model", "n", -40)]
    assert movers.total.change_pico_usd == 20


def test_with_nothing_before_the_later_half_is_held_against_the_earlier() -> None:
    # Five days: the day in the middle of an odd number belongs to neither half.
    balances = [spent(DAY + day, 10**day) for day in range(5)]
    movers = page(balances, days=5).movers
    assert movers is not None
    assert movers.halves
    assert (movers.before.first_day, movers.now.first_day) == (DAY + 1, DAY + 3)
    assert (movers.total.before_pico_usd, movers.total.now_pico_usd) == (110, 11_000)
    assert page(balances[:1], days=1).movers is None


def test_what_is_not_certain_is_named_by_model() -> None:
    made = page(
        [
            spent(DAY, 5, model="m", estimated_pico_usd=5, estimated_calls=1),
            spent(DAY, 0, model="n", unpriced_calls=1),
            spent(DAY + 1, 0, model="n", unpriced_calls=1),
            spent(DAY + 1, 0, model="m", unpriced_calls=1),
        ]
    )
    assert [(one.status, one.calls, one.cost_pico_usd, one.models) for one in made.doubts] == [
        ("estimated", 1, 5, (("m", 1),)),
        ("unpriced", 3, 0, (("n", 2), ("m", 1))),
    ]


def test_savings_are_ordered_and_summed_net_of_premiums() -> None:
    caching = page([spent(DAY, 1)]).caching
    assert [model for model, _ in caching.rows] == ["o", "m", "n"]
    assert caching.total == CacheUse(2, 2, 14, 10)
    assert caching.total.net_pico_usd == 4


def test_details_add_up_to_their_payer() -> None:
    balances = [spent(DAY + day, 10 * day + 1, "user/1/a", f"m{day % 3}") for day in range(4)]
    detail = page([*balances, spent(DAY, 2, "user/1/b")]).details[0]
    assert detail.amounts == Amounts(4, 64)
    assert sum(detail.chart.totals_pico_usd) == 64
    assert detail.models.total == detail.amounts
    assert detail.calls is None
