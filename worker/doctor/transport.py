"""Queues and streams, what they left over, and how far behind their readers are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from worker.core.doctor import Sign, age, aws
from worker.doctor.buckets import bucket_signs
from worker.doctor.patient import Check, Patient, checking
from worker.ports.account import Account, QueueState

AREA: Final = "queues and streams"
RECEIVES_MAX: Final = 5
NOT_BOOKED: Final = "calls are not booked, so that budgets do not see them"


def checks(patient: Patient) -> list[Check]:
    """Return the checks of this part."""
    account, deployment = patient.account, patient.deployment
    if account is None:
        return []
    found = []
    for url in deployment.queues:
        well = "the queue is there, with a dead-letter queue"
        found.append(checking("queue", AREA, url, well, _queue, patient, account, url))
        well = "its messages are worked on in time"
        found.append(checking("queue-lag", AREA, url, well, _queue_lag, patient, account, url))
    for url in deployment.dead_letters:
        well = "nothing was given up"
        found.append(checking("dead-letters", AREA, url, well, _dead, patient, account, url))
    for name in deployment.streams:
        well = "the stream is active"
        found.append(checking("stream", AREA, name, well, _stream, patient, account, name))
        well = "its records are read in time, as CloudWatch's iterator age has it"
        found.append(checking("stream-lag", AREA, name, well, _stream_lag, patient, account, name))
    place = deployment.quarantine
    if place.startswith("s3://"):
        well = "the bucket is there, encrypted, and asks for TLS"
        check = checking("quarantine-bucket", AREA, place, well, _quarantine, patient, account)
        found.append(check)
    return found


# --- Queues -----------------------------------------------------------------------------------


async def _queue(patient: Patient, account: Account, url: str) -> Sequence[Sign]:
    name, region = _name(url), patient.deployment.region
    found = await account.queue(url)
    if found is None:
        by_hand = aws("sqs create-queue", queue_name=name, region=region)
        mend = patient.redeploy if patient.is_deployed else by_hand
        return [Sign("wrong", "there is no such queue", NOT_BOOKED, mend)]
    dead = {_name(one) for one in patient.deployment.dead_letters}
    if not found.dead_letters:
        return [
            Sign(
                "wrong" if patient.is_deployed else "warning",
                "it has no dead-letter queue",
                "what cannot be worked on comes back until the queue forgets it, and nobody hears "
                "of it",
                await _redrive(patient, account, url, found),
            )
        ]
    if dead and _name(found.dead_letters) not in dead:
        what = f"what cannot be worked on goes to {found.dead_letters}, which is not this stage's"
        why = "nobody looks there"
        return [Sign("wrong", what, why, await _redrive(patient, account, url, found))]
    return []


async def _redrive(patient: Patient, account: Account, url: str, found: QueueState) -> str:
    """Return the command that gives a queue a dead-letter queue."""
    region, before = patient.deployment.region, ""
    for dead in patient.deployment.dead_letters:
        there = await account.queue(dead)
        if there is not None:
            arn = there.arn
            break
    else:
        arn = f"{found.arn}-dead-letters"
        before = aws("sqs create-queue", queue_name=_name(arn), region=region) + " && "
    policy = f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"{RECEIVES_MAX}"}}'
    attributes = {"RedrivePolicy": policy}
    command = "sqs set-queue-attributes"
    return before + aws(command, queue_url=url, attributes=attributes, region=region)


async def _queue_lag(patient: Patient, account: Account, url: str) -> Sequence[Sign]:
    limit = patient.settings.worker.lag_seconds_max
    oldest = await account.metric(
        "AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": _name(url)}, "Maximum"
    )
    if oldest is None or oldest <= limit:
        return []
    found = await account.queue(url)
    waiting = f"; about {found.messages:,} wait" if found else ""
    what = f"its oldest message is {age(oldest * 1000)} old{waiting}"
    return [Sign("wrong", what, NOT_BOOKED, patient.work("queue", "sqs"))]


async def _dead(patient: Patient, account: Account, url: str) -> Sequence[Sign]:
    found = await account.queue(url)
    region = patient.deployment.region
    if found is None:
        why = "what cannot be worked on has nowhere to go, and is lost"
        by_hand = aws("sqs create-queue", queue_name=_name(url), region=region)
        mend = patient.redeploy if patient.is_deployed else by_hand
        return [Sign("wrong", "there is no such queue", why, mend)]
    if not found.messages:
        return []
    what = f"about {found.messages:,} deliveries were given up"
    for one in patient.deployment.queues:
        there = await account.queue(one)
        if there is not None and there.dead_letters == found.arn:
            why = "the calls in them are not booked; they are lost when the queue forgets them"
            arns = {"source_arn": found.arn, "destination_arn": there.arn}
            mend = aws("sqs start-message-move-task", region=region, **arns)
            return [Sign("wrong", what, why, mend)]
    # Of no queue: SQS moves nothing back to where it never was (API reference:
    # StartMessageMoveTask). EventBridge and SNS say in attributes why they gave up.
    look = aws(
        "sqs receive-message",
        queue_url=url,
        max_number_of_messages=10,
        message_attribute_names=["All"],
        region=region,
    )
    why = "what was in them did not arrive; they are lost when the queue forgets them"
    return [Sign("wrong", what, why, look)]


# --- Streams ----------------------------------------------------------------------------------


async def _stream(patient: Patient, account: Account, name: str) -> Sequence[Sign]:
    found = await account.stream(name)
    region = patient.deployment.region
    if found is None:
        by_hand = aws(
            "kinesis create-stream",
            stream_name=_name(name),
            stream_mode_details={"StreamMode": "ON_DEMAND"},
            region=region,
        )
        mend = patient.redeploy if patient.is_deployed else by_hand
        return [Sign("wrong", "there is no such stream", NOT_BOOKED, mend)]
    if found.status in {"ACTIVE", "UPDATING"}:
        return []
    wait = aws("kinesis wait stream-exists", stream_name=found.name, region=region)
    return [Sign("wrong", f"the stream is {found.status}", NOT_BOOKED, wait)]


async def _stream_lag(patient: Patient, account: Account, name: str) -> Sequence[Sign]:
    limit = patient.settings.worker.lag_seconds_max
    dimensions = {"StreamName": _name(name)}
    behind = await account.metric(
        "AWS/Kinesis", "GetRecords.IteratorAgeMilliseconds", dimensions, "Maximum"
    )
    mend = patient.work("kinesis", "stream")
    if behind is not None:
        if behind <= limit * 1000:
            return []
        what = f"its readers are {age(behind)} behind, as CloudWatch's iterator age has it"
        return [Sign("wrong", what, NOT_BOOKED, mend)]
    incoming = await account.metric("AWS/Kinesis", "IncomingRecords", dimensions, "Sum")
    if not incoming:
        return []
    what = f"nobody reads it: {incoming:,} records came in a quarter of an hour, and none went"
    return [Sign("wrong", what, NOT_BOOKED, mend)]


# --- The quarantine ---------------------------------------------------------------------------


async def _quarantine(patient: Patient, account: Account) -> Sequence[Sign]:
    name = patient.deployment.quarantine.removeprefix("s3://").partition("/")[0]
    found = await account.bucket(name)
    if found is None:
        why = "what cannot be understood has nowhere to go: deliveries with it are never settled"
        by_hand = aws("s3api create-bucket", bucket=name, region=patient.deployment.region)
        mend = patient.redeploy if patient.is_deployed else by_hand
        return [Sign("wrong", "there is no such bucket", why, mend)]
    return bucket_signs(patient, found)


def _name(place: str) -> str:
    """Return the name in an ARN or URL."""
    return place.replace(":", "/").rpartition("/")[2]
