"""Whether what is written down is announced, and whether people hear of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from worker.core.doctor import Sign, Verdict, age, aws
from worker.doctor.patient import Books, Check, Patient, checking
from worker.pipeline.chunks import taken
from worker.ports.account import Account

AREA: Final = "announcing"
LATE_MS: Final = 60_000
"""A notice that has been due for longer is one that nobody announces."""
COUNTED_MAX: Final = 1_000
CHANNELS: Final = ("", "sns", "webhook")


def checks(patient: Patient) -> list[Check]:
    """Return the checks of this part."""
    account, books = patient.account, patient.books
    found = []
    if account is not None:
        for who, arn in sorted(patient.deployment.topics.items()):
            well = f"somebody hears of it ({who})"
            found.append(checking("topic", AREA, arn, well, _topic, patient, account, arn))
    if books is not None:
        for channel in CHANNELS:
            subject = f"the channel {channel}" if channel else "the bus"
            well = "nothing waits to be announced"
            check = checking("announcer", AREA, subject, well, _waiting, patient, books, channel)
            found.append(check)
    return found


async def _topic(patient: Patient, account: Account, arn: str) -> Sequence[Sign]:
    region = patient.deployment.region
    found = await account.topic(arn)
    why = "people do not hear of thresholds, suspensions and alarms"
    subscribe = aws(
        "sns subscribe",
        topic_arn=arn,
        protocol="email",
        notification_endpoint="YOU@EXAMPLE.COM",
        region=region,
    )
    if found is None:
        by_hand = aws("sns create-topic", name=arn.rpartition(":")[2], region=region)
        mend = patient.redeploy if patient.is_deployed else by_hand
        return [Sign("wrong", "there is no such topic", why, mend)]
    if found.confirmed:
        if not found.pending:
            return []
        what = f"{found.pending} of its subscribers did not confirm yet"
        mend = "have them follow the link in the message that SNS sent them"
        return [Sign("warning", what, "those do not hear of anything", mend)]
    if found.pending:
        mend = f"follow the link in the message that SNS sent; if it is three days old: {subscribe}"
        return [Sign("wrong", "nobody confirmed a subscription yet", why, mend)]
    return [Sign("wrong", "nobody is subscribed to it", why, subscribe)]


async def _waiting(patient: Patient, books: Books, channel: str) -> Sequence[Sign]:
    now_ms = patient.clock.now_ms()
    number, longest_ms = 0, 0
    async with taken(books.outbox.due(now_ms - LATE_MS, channel)) as chunks:
        async for notices in chunks:
            for notice in notices:
                late_ms = now_ms - max(notice.due_at_ms, notice.recorded_at_ms)
                number += late_ms > LATE_MS
                longest_ms = max(longest_ms, late_ms)
            if number >= COUNTED_MAX:
                break
    if longest_ms <= LATE_MS:
        return []
    at_least = "at least " if number >= COUNTED_MAX else ""
    has_worker = patient.has_worker
    if channel:
        what = f"nobody tells people by {channel}: {at_least}{number} messages wait, "
        why = "people do not hear of thresholds and suspensions"
        mend = patient.work("tell", "announc")
    else:
        what = f"nobody announces: {at_least}{number} events wait, "
        why = "no grace period begins before it is announced, and nobody is suspended"
        mend = patient.work("announc", "tell")
        if not (has_worker or patient.deployment.bus):
            mend = f"LEDGEROCK_BUS=file:events.jsonl {mend}"
    verdict: Verdict = "wrong" if has_worker else "warning"
    return [Sign(verdict, f"{what}the longest for {age(longest_ms)}", why, mend)]
