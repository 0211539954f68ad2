from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.calls import (
    ACCOUNT,
    CANVAS,
    DAY,
    EMBED,
    GPT,
    HOUR,
    NOON,
    PRO,
    SONNET,
    UNLISTED,
    evidence,
    facts,
    poster,
)
from worker.core.evidence import Counts, Evidence, EvidenceRank, SourceRank
from worker.core.ledger import Status
from worker.core.posting import PLANS_MAX, Poster
from worker.core.registry import Agent, Calendar, Period, PrincipalFact, Registry, TrustRule

POSTER = poster()
ARN = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:"
PARTIAL: dict[str, Any] = {"source": SourceRank.API_EVENT, "rank": EvidenceRank.PARTIAL}


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


# --- Every status of a call, and its exact charge ---------------------------------------------


@pytest.mark.parametrize(
    "counts,more,usd_pico",
    [
        (Counts(1_500, 800), {}, 3_760_000_000),  # 1,500 x 0.8 + 800 x 3.2
        (Counts(0, 0), {}, 0),
        (Counts(1, 0), {}, 800_000),
        (Counts(10, 10, 100), {}, 60_000_000),  # 8 + 32 + 20
        (Counts(10, 10, 0, 100), {}, 40_000_000),  # written to the cache at 0
        (Counts(10, 10, 0, 100), {"model": f"us.{PRO}"}, 40_000_000),
        # 3 x 3.3 + 2 x 16.5 + 5 x 0.33 + 7 x 4.125 + 11 x 6.6
        (Counts(3, 2, 5, 7, 11, True), {"model": SONNET}, 146_025_000),
        (Counts(3, 2, 0, 0, 11, True), {"model": SONNET}, 115_500_000),
        (Counts(3, 2), {"model": f"global.{SONNET}"}, 39_000_000),
        (Counts(3, 2), {"model": f"{ARN}inference-profile/global.{SONNET}"}, 39_000_000),
        (Counts(500, None), {"model": EMBED}, 10_000_000),
        (Counts(units=(("images/1024x1024/standard", 3),)), {"model": CANVAS}, 120_000_000_000),
        # An aborted or failed call with counts is billed.
        (Counts(1_500, 800), {"error_code": "ModelStreamErrorException"}, 3_760_000_000),
        # OpenAI: cached tokens that are more than the input cannot be part of it.
        (Counts(10, 1, 11), {"model": GPT, "operation": "ConverseStream"}, 2_265_000),
        (Counts(10, 1, 5), {"model": GPT}, 2_175_000),
    ],
)
def test_priced(counts: Counts, more: dict[str, Any], usd_pico: int) -> None:
    posting = POSTER.post(evidence(counts, **more))
    assert (posting.status, posting.reason) == (Status.PRICED, "")
    assert posting.cost_pico_usd == usd_pico


@pytest.mark.parametrize(
    "counts,more,usd_pico,reason",
    [
        (Counts(1_500, 800), PARTIAL, 3_760_000_000, "CloudTrail alone"),
        (
            Counts(1_500, 800),
            {"source": SourceRank.REPORT, "rank": EvidenceRank.REPORTED},
            3_760_000_000,
            "reported by the application",
        ),
        (Counts(1_500, 800), {"conflicting": True}, 3_760_000_000, "conflicting counts"),
        (Counts(1_500, None), {}, 1_200_000_000, "no output count"),
        (Counts(None, 800), {}, 2_560_000_000, "no input count"),
        # 10 x 3.3 + 10 x 16.5 + 100 x 4.125
        (Counts(10, 10, 0, 100), {"model": SONNET}, 610_500_000, "unknown time to live"),
        # 100 x 0.8 x 0.5: no flex rate is listed, half of the standard one is
        (Counts(100, 0), {"service_tier": "flex"}, 40_000_000, "times 1/2"),
        (Counts(100, 0), {"service_tier": "priority"}, 140_000_000, "times 7/4"),
        # The one-hour write has no rate: 10 x 0.8
        (Counts(10, 0, 0, 0, 5, True), {}, 8_000_000, "no rate for cache_write_1h_tokens"),
        (Counts(10, 0, units=(("guardrail", 5),)), {}, 8_000_000, "no rate for guardrail"),
        # 100 x 0.15 + 1 x 0.6 + 90 x 0.015
        (
            Counts(100, 1, 90),
            {"model": GPT, "operation": "ConverseStream"},
            16_950_000,
            "may include cached ones",
        ),
    ],
)
def test_estimated(counts: Counts, more: dict[str, Any], usd_pico: int, reason: str) -> None:
    posting = POSTER.post(evidence(counts, **more))
    assert posting.status is Status.ESTIMATED
    assert reason in posting.reason
    assert posting.cost_pico_usd == usd_pico


def test_every_assumption_is_named() -> None:
    many = evidence(Counts(None, 10, 0, 5), model=SONNET, conflicting=True, **PARTIAL)
    reasons = POSTER.post(many).reason.split("; ")
    assert len(reasons) == 4


@pytest.mark.parametrize(
    "counts,more,reason",
    [
        (Counts(1, 1), {"model": UNLISTED}, f"no rate for model {UNLISTED}"),
        (Counts(1, 1), {"model": "acme.gone-v1:0"}, "withdrawn before prices were published"),
        (Counts(1, 1), {"model": f"{ARN}application-inference-profile/abcd1234efgh"}, ""),
        (Counts(1, 1), {"model": ""}, ""),
        (Counts(units=(("images/512x512/premium", 1),)), {"model": CANVAS}, "no rate for images"),
        (Counts(1, 1), {"model": UNLISTED, "error_code": "X"}, f"no rate for model {UNLISTED}"),
        (Counts(1, 1), {"model": UNLISTED, **PARTIAL}, f"no rate for model {UNLISTED}"),
    ],
)
def test_unpriced(counts: Counts, more: dict[str, Any], reason: str) -> None:
    posting = POSTER.post(evidence(counts, **more))
    assert (posting.status, posting.cost_pico_usd) == (Status.UNPRICED, 0)
    assert reason in posting.reason
    assert posting.reason


@pytest.mark.parametrize(
    "counts,more",
    [
        (Counts(), {}),
        (Counts(), {"model": UNLISTED}),
        (Counts(), {"model": f"{ARN}provisioned-model/abcdefghijkl"}),
        (Counts(), {"service_tier": "reserved"}),
        (Counts(1, 1), {"model": f"{ARN}provisioned-model/abcdefghijkl"}),
        (Counts(1, 1), {"model": f"{ARN}imported-model/abcdefghijkl"}),
        (Counts(1, 1), {"model": f"{ARN}custom-model-deployment/abcdefghijkl"}),
        (Counts(1, 1), {"service_tier": "reserved"}),
        (Counts(1, 1), {"service_tier": "reserved", **PARTIAL}),
    ],
)
def test_unmetered(counts: Counts, more: dict[str, Any]) -> None:
    posting = POSTER.post(evidence(counts, **more))
    assert (posting.status, posting.cost_pico_usd) == (Status.UNMETERED, 0)
    assert posting.reason


@pytest.mark.parametrize("model", [PRO, UNLISTED, f"{ARN}provisioned-model/abcdefghijkl", ""])
def test_failed(model: str) -> None:
    posting = POSTER.post(evidence(model=model, error_code="ThrottlingException"))
    assert (posting.status, posting.cost_pico_usd) == (Status.FAILED, 0)
    assert posting.reason == "failed: ThrottlingException"


def test_the_leaf_says_who_what_where_and_when() -> None:
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/Bot/run-1"
    role = f"arn:aws:iam::{ACCOUNT}:role/Bot"
    bot = f"agent/{ACCOUNT}/us-east-1/BOT"
    registry = Registry(
        agents=[Agent(bot, "bot", (role,))], principals=[PrincipalFact(bot, team="research")]
    )
    posting = poster(registry=registry).post(
        evidence(Counts(1, 1), model=f"us.{PRO}", identity_arn=arn)
    )
    leaf = posting.leaf
    assert (leaf.principal, leaf.identity) == (bot, f"role/{ACCOUNT}/Bot")
    assert (leaf.agent, leaf.team, leaf.application) == (bot, "research", "")
    assert (leaf.account, leaf.model, leaf.day) == (ACCOUNT, PRO, NOON // DAY)
    assert leaf.local_days == ()
    assert posting.basis.registry_revision == registry.revision


# --- Times -----------------------------------------------------------------------------------

MIDNIGHT = NOON - 12 * HOUR
CUT_PRICES = (
    "model,unit,usd,effective_from,effective_to\n"
    f"{PRO},output_tokens,1,2023-09-28,2026-10-01T12:00:00Z\n"
    f"{PRO},output_tokens,2,2026-10-01T12:00:00Z,\n"
)


@pytest.mark.parametrize("first_at_ms", [MIDNIGHT, NOON - 1, NOON, NOON + 1])
def test_a_price_that_changes_within_a_day_splits_it_to_the_millisecond(first_at_ms: int) -> None:
    """Whatever call of the day comes first: what was worked out for it must not serve others."""
    changing = poster(CUT_PRICES)
    shared = facts()
    seen = []
    for at_ms in (first_at_ms, MIDNIGHT, NOON - 1, NOON, NOON + 1, MIDNIGHT + DAY - 1):
        one = Evidence(shared, at_ms, 1, int(EvidenceRank.METERED), Counts(0, 1_000_000))
        seen.append(changing.post(one).cost_pico_usd)
    assert seen[1:] == [10**12, 10**12, 2 * 10**12, 2 * 10**12, 2 * 10**12]


def test_a_price_that_changes_at_midnight_splits_the_days() -> None:
    prices = (
        "model,unit,usd,effective_from,effective_to\n"
        f"{PRO},output_tokens,1,2023-09-28,2026-10-01\n"
        f"{PRO},output_tokens,2,2026-10-01,\n"
    )
    changing, shared = poster(prices), facts()

    def cost(at_ms: int) -> int:
        one = Evidence(shared, at_ms, 1, int(EvidenceRank.METERED), Counts(0, 1_000_000))
        return changing.post(one).cost_pico_usd

    assert [cost(MIDNIGHT - 1), cost(MIDNIGHT), cost(NOON)] == [10**12, 2 * 10**12, 2 * 10**12]


@pytest.mark.parametrize("with_calendar", [False, True])
def test_an_agent_that_is_mapped_within_a_day_pays_from_then_on(with_calendar: bool) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/Bot"
    bot = f"agent/{ACCOUNT}/us-east-1/BOT"
    period = Period(NOON + 1_234, NOON + 5_678)
    calendars = [Calendar("team/none", "Asia/Tokyo", ZoneInfo("Asia/Tokyo"))]
    registry = Registry(
        agents=[Agent(bot, "bot", (role,), period)], calendars=calendars if with_calendar else ()
    )
    dated = poster(registry=registry)
    shared = facts(identity_arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/Bot/run-1")

    def payer(at_ms: int) -> str:
        one = Evidence(shared, at_ms, 1, int(EvidenceRank.METERED), Counts(1, 1))
        return dated.post(one).leaf.principal

    identity = f"role/{ACCOUNT}/Bot"
    instants = [NOON, NOON + 1_233, NOON + 1_234, NOON + 5_677, NOON + 5_678, NOON + HOUR]
    assert [payer(at_ms) for at_ms in instants] == [identity] * 2 + [bot] * 2 + [identity] * 2


def _calendar(scope: str, zone: str) -> Poster:
    team = PrincipalFact(f"user/{ACCOUNT}/alice", team="research")
    calendar = Calendar(scope, zone, ZoneInfo(zone))
    return poster(registry=Registry(principals=[team], calendars=[calendar]))


def test_a_calendar_puts_an_evening_in_utc_on_the_next_day_in_tokyo() -> None:
    tokyo = _calendar("team/research", "Asia/Tokyo")
    day = NOON // DAY
    for clock, local in (("14:59:59.999", ()), ("15:00:00", (("team", day + 1),))):
        one = evidence(Counts(1, 1), at_ms=ms(f"2026-10-01T{clock}+00:00"))
        leaf = tokyo.post(one).leaf
        assert (leaf.day, leaf.local_days) == (day, local)
    late = evidence(Counts(1, 1), at_ms=ms("2026-10-01T20:00:00+00:00"))
    assert tokyo.post(late).leaf.local_days == (("team", day + 1),)
    other = evidence(Counts(1, 1), at_ms=ms("2026-10-01T20:00:00+00:00"), user="bob")
    assert tokyo.post(other).leaf.local_days == ()


@pytest.mark.parametrize(
    "instant,days_ahead",
    [
        # Summer time ends on 2026-10-25: midnight is 22:00Z before and 23:00Z after.
        ("2026-10-24T21:59:59.999+00:00", 0),
        ("2026-10-24T22:00:00+00:00", 1),
        ("2026-10-25T22:59:59.999+00:00", 0),
        ("2026-10-25T23:00:00+00:00", 1),
        # It begins on 2027-03-28.
        ("2027-03-27T22:59:59.999+00:00", 0),
        ("2027-03-27T23:00:00+00:00", 1),
        ("2027-03-28T21:59:59.999+00:00", 0),
        ("2027-03-28T22:00:00+00:00", 1),
    ],
)
def test_days_in_berlin_turn_with_summer_time(instant: str, days_ahead: int) -> None:
    berlin = _calendar("everything", "Europe/Berlin")
    shared = facts()
    at_ms = ms(instant)
    # A neighbour first, which must not decide for it.
    before, exactly = (
        berlin.post(Evidence(shared, near, 1, int(EvidenceRank.METERED), Counts(1, 1))).leaf
        for near in (at_ms - 60_000, at_ms)
    )
    assert before.day == exactly.day == at_ms // DAY
    assert exactly.local_days == ((("everything", at_ms // DAY + 1),) if days_ahead else ())


def test_west_of_utc_the_morning_belongs_to_the_day_before() -> None:
    leaf = _calendar("account/*", "America/Los_Angeles").post(
        evidence(Counts(1, 1), at_ms=MIDNIGHT + 7 * HOUR - 1)
    )
    assert leaf.leaf.local_days == (("account", NOON // DAY - 1),)


def test_zones_of_a_quarter_of_an_hour_turn_exactly() -> None:
    nepal = _calendar("principal/*", "Asia/Kathmandu")  # UTC+05:45
    shared = facts()
    for at_ms, local in (
        (MIDNIGHT + 18 * HOUR + 15 * 60_000 - 1, ()),
        (MIDNIGHT + 18 * HOUR + 15 * 60_000, (("principal", NOON // DAY + 1),)),
    ):
        one = Evidence(shared, at_ms, 1, int(EvidenceRank.METERED), Counts(1, 1))
        assert nepal.post(one).leaf.local_days == local


# --- Caching ---------------------------------------------------------------------------------


def test_equal_evidence_is_posted_equally_whatever_came_before() -> None:
    warm, cold = poster(CUT_PRICES), poster(CUT_PRICES)
    cases = [
        evidence(Counts(1, 1), at_ms=NOON + offset, user=user, model=model)
        for offset in (-DAY, -HOUR, 0, HOUR, DAY)
        for user in ("alice", "bob")
        for model in (PRO, SONNET, UNLISTED)
    ]
    for one in [*cases, *reversed(cases)]:
        assert warm.post(one) == poster(CUT_PRICES).post(one) == cold.post(one)


def test_routes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PLANS_MAX >= 1_000
    monkeypatch.setattr("worker.core.posting.PLANS_MAX", 5)
    small = poster()
    # Facts that are gone may leave their place in memory to others, which must not be mistaken.
    for number in range(50):
        leaf = small.post(evidence(Counts(1, 1), user=f"user{number}")).leaf
        assert leaf.identity == f"user/{ACCOUNT}/user{number}"
        assert len(small._plans) <= 5


def test_explaining_a_call_says_how_it_is_charged() -> None:
    terms = POSTER.terms(evidence(Counts(1, 1), model=f"global.{SONNET}"))
    assert (terms.model, terms.tier, terms.blocked) == (SONNET, "standard", None)
    assert terms.card is not None
    assert terms.reference.routing == "global"


def test_sessions_share_a_plan_unless_they_decide_who_pays() -> None:
    person = f"arn:aws:sts::{ACCOUNT}:assumed-role/AWSReservedSSO_Data_0123456789abcdef"
    rules = [TrustRule(f"arn:aws:iam::{ACCOUNT}:role/Notebook", "session")]
    bench = poster(registry=Registry(rules=rules))

    def principals(arn: str) -> list[str]:
        shared = facts(identity_arn=arn)
        calls = [
            Evidence(shared, NOON, 1, 3, Counts(1, 1), session=name, session_rank=1)
            for name in ("ana", "ben", "ana")
        ]
        return [bench.post(one).leaf.principal for one in calls]

    assert principals(f"arn:aws:sts::{ACCOUNT}:assumed-role/Bot") == [f"role/{ACCOUNT}/Bot"] * 3
    prefix = f"session/{ACCOUNT}/AWSReservedSSO_Data_0123456789abcdef"
    assert principals(person) == [f"{prefix}/ana", f"{prefix}/ben", f"{prefix}/ana"]
    prefix = f"session/{ACCOUNT}/Notebook"
    names = principals(f"arn:aws:sts::{ACCOUNT}:assumed-role/Notebook")
    assert names == [f"{prefix}/ana", f"{prefix}/ben", f"{prefix}/ana"]
