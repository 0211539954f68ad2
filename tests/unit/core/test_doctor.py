"""What a check-up found, put in order and into words."""

import pytest

from worker.core.doctor import (
    CannotReadError,
    Diagnosis,
    Finding,
    Sign,
    age,
    aws,
    finding_of,
    in_order,
    unreadable,
)


def test_commands_are_quoted_for_a_shell() -> None:
    assert aws("sqs create-queue", queue_name="a b", region="eu-west-1") == (
        "aws sqs create-queue --queue-name 'a b' --region eu-west-1"
    )
    assert aws("x y", days=3, on=True, off=False, words=["a", "b;c"]) == (
        "aws x y --days 3 --on --no-off --words a 'b;c'"
    )
    assert aws("x y", one={"A": True}, several=[{"B": "it's"}]) == (
        """aws x y --one '{"A":true}' --several '[{"B":"it'"'"'s"}]'"""
    )


@pytest.mark.parametrize(
    "milliseconds, text",
    [
        (-5, "0 seconds"),
        (1_999, "1 second"),
        (119_999, "119 seconds"),
        (120_000, "2 minutes"),
        (7_199_999, "119 minutes"),
        (7_200_000, "2 hours"),
        (172_800_000, "2 days"),
    ],
)
def test_ages_are_told_as_people_do(milliseconds: int, text: str) -> None:
    assert age(milliseconds) == text


def finding(verdict: str, area: str, subject: str) -> Finding:
    sign = Sign(verdict, f"{subject} is so")  # type: ignore[arg-type]  # one of the verdicts
    return finding_of(sign, check="check", area=area, subject=subject)


def test_findings_are_ordered_by_how_bad_they_are_then_by_area() -> None:
    findings = [
        finding("ok", "account", "a"),
        finding("warning", "tables", "b"),
        finding("wrong", "usage", "c"),
        finding("unknown", "account", "d"),
        finding("wrong", "events", "f"),
        finding("wrong", "events", "e"),
    ]
    assert [one.subject for one in in_order(findings)] == ["e", "f", "c", "d", "b", "a"]


@pytest.mark.parametrize(
    "verdicts, is_well, summary",
    [
        (["ok", "ok"], True, "dev is well: 0 wrong, 2 well"),
        (["warning"], True, "dev is well: 0 wrong, 1 to think about, 0 well"),
        (["unknown", "ok"], False, "dev is not well: 0 wrong, 1 could not be looked at, 1 well"),
        (["wrong"], False, "dev is not well: 1 wrong, 0 well"),
    ],
)
def test_only_what_was_looked_at_and_is_not_wrong_is_well(
    verdicts: list[str], is_well: bool, summary: str
) -> None:
    diagnosis = Diagnosis("dev", tuple(finding(one, "usage", "x") for one in verdicts))
    assert (diagnosis.is_well, diagnosis.summary) == (is_well, summary)


def test_a_denied_look_names_the_permission_and_who_needs_it() -> None:
    error = CannotReadError("AWS denies it", "sqs:GetQueueAttributes")
    sign = unreadable(error, "arn:aws:iam::1:user/ops")
    assert sign.verdict == "unknown"
    assert sign.mend.startswith("allow sqs:GetQueueAttributes to arn:aws:iam::1:user/ops;")
    assert unreadable(CannotReadError("no answer")).mend.startswith("run `ledgerock doctor` again")
