import itertools

import pytest

from tests.calls import NOON, evidence
from worker.core.evidence import (
    NO_COUNTS,
    Counts,
    Evidence,
    EvidenceRank,
    Facts,
    SourceRank,
    call_key,
    counts_order,
    descriptive_rank,
    merge,
    split_call_key,
    split_session,
)

FULL = Counts(100, 50, 7, 8, 9, True)


def merged(*parts: Evidence) -> Evidence:
    """Merge in every order, which must not matter."""
    results = set()
    for order in itertools.permutations(parts):
        result = order[0]
        for part in order[1:]:
            result = merge(result, part)
        results.add(result)
    [only] = results
    return only


def test_descriptive_ranks_put_the_source_before_the_counts() -> None:
    ranks = [descriptive_rank(source, rank) for source in SourceRank for rank in EvidenceRank]
    assert ranks == sorted(set(ranks))
    assert min(ranks) == 1


@pytest.mark.parametrize(
    "namespace,account,request_id",
    [
        ("aws", "111122223333", "5f3c"),
        ("batch", "111122223333", "arn:aws:bedrock:us-east-1:111122223333:job/a/b"),
        ("api", "gateway", "a/b/c"),
    ],
)
def test_keys_are_split_where_they_were_joined(
    namespace: str, account: str, request_id: str
) -> None:
    assert split_call_key(call_key(namespace, account, request_id)) == (
        namespace,
        account,
        request_id,
    )


def test_a_log_never_erases_what_cloudtrail_knew() -> None:
    trail = evidence(
        Counts(100, 50),
        source=SourceRank.API_EVENT,
        rank=EvidenceRank.PARTIAL,
        at_ms=NOON - 5,
        identity_arn="arn:aws:sts::111122223333:assumed-role/Bot/run-1",
        principal_id="AROABOT",
        issuer_arn="arn:aws:iam::111122223333:role/agents/Bot",
        identity_type="AssumedRole",
        source_identity="carol",
        on_behalf_of="90678",
        invoked_by="agents.example",
        credential="bearer",
    )
    log = evidence(FULL, identity_arn="arn:aws:sts::111122223333:assumed-role/Bot/run-1")
    result = merged(trail, log)
    assert result.counts == FULL
    assert not result.conflicting
    assert result.occurred_at_ms == NOON
    facts = result.facts
    assert facts.principal_id == "AROABOT"
    assert facts.issuer_arn == "arn:aws:iam::111122223333:role/agents/Bot"
    assert (facts.identity_type, facts.source_identity) == ("AssumedRole", "carol")
    assert (facts.on_behalf_of, facts.invoked_by) == ("90678", "agents.example")
    assert facts.credential == "bearer"


@pytest.mark.parametrize("invoked_by", ["bedrock.amazonaws.com", "zzz"])
def test_the_caller_comes_whole_from_the_record_that_knows_best(invoked_by: str) -> None:
    rank = EvidenceRank.PARTIAL
    done = evidence(
        Counts(1, 2),
        source=SourceRank.COMPLETION,
        rank=rank,
        user="",
        identity_type="ZzzService",
        invoked_by=invoked_by,
        credential="bearer",
        caller_rank=descriptive_rank(SourceRank.COMPLETION, rank),
    )
    sighted = evidence(
        source=SourceRank.API_EVENT,
        user="",
        identity_type="IdentityCenterUser",
        on_behalf_of="a1b2-c3",
        caller_rank=descriptive_rank(SourceRank.API_EVENT, EvidenceRank.SIGHTING),
    )
    log = evidence(FULL, user="")
    facts = merged(done, sighted, log).facts
    assert (facts.identity_type, facts.on_behalf_of) == ("IdentityCenterUser", "a1b2-c3")
    assert (facts.invoked_by, facts.principal_id) == ("", "")
    assert facts.caller_rank == sighted.facts.caller_rank
    # A key that signed the call adds to whatever else is known.
    assert facts.credential == "bearer"
    assert merged(done, log).facts.invoked_by == invoked_by


def test_callers_of_equal_rank_do_not_mix() -> None:
    source = SourceRank.API_EVENT
    one = evidence(source=source, identity_type="A", invoked_by="z", caller_rank=17)
    two = evidence(source=source, identity_type="B", invoked_by="a", caller_rank=17)
    facts = merged(one, two).facts
    assert (facts.identity_type, facts.invoked_by) == ("B", "a")


def test_the_time_is_the_logs_then_the_events_then_the_completions() -> None:
    log = evidence(at_ms=NOON)
    event = evidence(at_ms=NOON - 9_000, source=SourceRank.API_EVENT)
    completion = evidence(
        Counts(1, 1), at_ms=NOON + 9_000, source=SourceRank.COMPLETION, rank=EvidenceRank.PARTIAL
    )
    assert merged(log, event, completion).occurred_at_ms == NOON
    assert merged(event, completion).occurred_at_ms == NOON - 9_000
    earlier, later = evidence(at_ms=NOON - 1), evidence(at_ms=NOON)
    assert merged(earlier, later).occurred_at_ms == NOON - 1


def test_the_region_is_the_logs_whatever_cloudtrail_says() -> None:
    log = evidence(FULL, region="eu-west-1")
    event = evidence(source=SourceRank.API_EVENT, region="us-east-1")
    assert merged(log, event).facts.region == "eu-west-1"
    nameless = evidence(FULL, region="")
    assert merged(nameless, event).facts.region == "us-east-1"


def test_an_empty_twin_adds_nothing_first_or_last() -> None:
    real, twin = evidence(FULL), evidence(at_ms=NOON + 1)
    assert merged(real, twin) == real
    assert merge(real, twin) is real


@pytest.mark.parametrize(
    "smaller,larger",
    [
        (Counts(999, 1), Counts(1, 2)),
        (Counts(1, 2), Counts(2, 2)),
        (Counts(1, 2, 0, 99, 1), Counts(1, 2, 0, 0, 2)),
        (Counts(1, 2, 99, 1), Counts(1, 2, 0, 2)),
        (Counts(1, 2, 1), Counts(1, 2, 2)),
        (Counts(1, None), Counts(1, 0)),
        (Counts(None, 2), Counts(0, 2)),
        (Counts(1, 2), Counts(1, 2, units=(("images", 1),))),
        (Counts(1, 2), Counts(1, 2, cache_write_ttl_known=True)),
    ],
)
def test_of_different_counts_at_one_rank_the_larger_wins_and_the_conflict_shows(
    smaller: Counts, larger: Counts
) -> None:
    assert counts_order(smaller) < counts_order(larger)
    result = merged(evidence(smaller), evidence(larger), evidence(smaller))
    assert result.counts == larger
    assert result.conflicting


@pytest.mark.parametrize(
    "nothing",
    [Counts(0, 0), Counts(0, None), Counts(None, 0), Counts(0, 0, units=(("images", 0),))],
)
@pytest.mark.parametrize(
    "real", [FULL, Counts(5, None), Counts(None, None, 3), Counts(units=(("images", 1),))]
)
def test_a_twin_that_counted_nothing_disagrees_with_nobody(nothing: Counts, real: Counts) -> None:
    rank = EvidenceRank.ITEMISED
    call, twin = evidence(real, rank=rank), evidence(nothing, rank=rank)
    assert merged(call, twin) == call
    # Nor does it hide that others disagree.
    result = merged(call, twin, evidence(Counts(1, 1), rank=rank))
    assert result.conflicting


def test_twins_that_counted_nothing_do_not_disagree_among_themselves() -> None:
    result = merged(evidence(Counts(0, None)), evidence(Counts(0, 0)), evidence(Counts(None, 0)))
    assert (result.counts, result.conflicting) == (Counts(0, 0), False)


def test_better_evidence_settles_a_conflict_of_lesser_evidence() -> None:
    rank = EvidenceRank.PARTIAL
    event = evidence(Counts(1, 1), source=SourceRank.API_EVENT, rank=rank)
    completion = evidence(Counts(2, 2), source=SourceRank.COMPLETION, rank=rank)
    assert merged(event, completion).conflicting
    assert merged(event, completion).counts == Counts(2, 2)
    settled = merged(event, completion, evidence(FULL))
    assert (settled.counts, settled.conflicting) == (FULL, False)


def test_an_error_is_kept_beside_counts() -> None:
    failed = evidence(source=SourceRank.API_EVENT, error_code="ModelStreamErrorException")
    result = merged(failed, evidence(FULL))
    assert result.facts.error_code == "ModelStreamErrorException"
    assert (result.rank, result.counts) == (EvidenceRank.METERED, FULL)


def test_a_sighting_has_no_counts_and_every_count_beats_it() -> None:
    for rank in (EvidenceRank.REPORTED, EvidenceRank.PARTIAL, EvidenceRank.ITEMISED):
        result = merged(evidence(NO_COUNTS), evidence(Counts(0, 0), rank=rank))
        assert (result.rank, result.counts) == (rank, Counts(0, 0))


@pytest.mark.parametrize(
    "arn,role,session",
    [
        ("arn:aws:sts::1:assumed-role/Bot/run-1", "arn:aws:sts::1:assumed-role/Bot", "run-1"),
        ("arn:aws:sts::1:assumed-role/Bot/a/b", "arn:aws:sts::1:assumed-role/Bot", "a/b"),
        ("arn:aws:sts::1:assumed-role/Bot", "arn:aws:sts::1:assumed-role/Bot", ""),
        ("arn:aws:iam::1:user/team/ana", "arn:aws:iam::1:user/team/ana", ""),
        ("", "", ""),
    ],
)
def test_a_callers_arn_is_split_at_its_session(arn: str, role: str, session: str) -> None:
    assert split_session(arn) == (role, session)


def test_the_arn_is_whole_again_with_its_session() -> None:
    arn, session = split_session("arn:aws:sts::1:assumed-role/Bot/run-1")
    whole = Evidence(Facts("1", identity_arn=arn), 0, 0, 0, session=session).facts_with_session()
    assert whole.identity_arn == "arn:aws:sts::1:assumed-role/Bot/run-1"
