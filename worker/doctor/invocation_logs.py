"""Invocation logging in each Region, and the way of its records to the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from worker.core.doctor import CannotReadError, Sign, aws
from worker.doctor.buckets import bucket_signs
from worker.doctor.patient import Check, Patient, checking
from worker.ports.account import Account, InvocationLogging, LogFilter
from worker.settings.deployment import Subscription

AREA: Final = "invocation logs"
RETENTION_DAYS: Final = 30
NO_CALL: Final = "calls of that Region are not booked: no spend, no budgets, no suspension"
_ROLE: Final = "ROLE_ARN"


def checks(patient: Patient) -> list[Check]:
    """Return the checks of this part."""
    account, deployment = patient.account, patient.deployment
    if account is None or (patient.is_deployed and deployment.logs == "none"):
        return []
    found = []
    for region in deployment.regions:
        found.append(
            checking(
                "invocation-logging",
                AREA,
                region,
                "invocation logging is on, without requests and answers",
                _logging,
                patient,
                account,
                region,
            )
        )
        if deployment.log_group:
            found.append(
                checking(
                    "log-group",
                    AREA,
                    f"{deployment.log_group} in {region}",
                    "the log group is there, and forgets in time",
                    _log_group,
                    patient,
                    account,
                    region,
                )
            )
    found += [
        checking(
            "log-filter",
            AREA,
            f"{one.name} in {one.region}",
            "records of invocation logs are passed on",
            _filter,
            patient,
            account,
            one,
        )
        for one in deployment.subscriptions
    ]
    if deployment.log_bucket:
        found.append(
            checking(
                "log-bucket",
                AREA,
                f"s3://{deployment.log_bucket}",
                "the bucket is encrypted, asks for TLS and tells of new logs",
                _log_bucket,
                patient,
                account,
            )
        )
    return found


# --- Logging itself ---------------------------------------------------------------------------


async def _logging(patient: Patient, account: Account, region: str) -> Sequence[Sign]:
    found = await account.invocation_logging(region)
    if found is None:
        if patient.is_deployed:
            mend = await _switch_on(patient, account, region)
            return [Sign("wrong", "invocation logging is off", NO_CALL, mend)]
        return [
            Sign(
                "warning",
                "invocation logging is off",
                NO_CALL,
                "make deploy STAGE=dev switches it on, with everything that it takes",
            )
        ]
    if patient.is_deployed and not _is_ours(patient, found, region):
        there = ", ".join(one for one in (found.log_group, found.bucket) if one) or "nowhere"
        mend = await _switch_on(patient, account, region)
        return [Sign("wrong", f"invocation logs go to {there}, not to this stage", NO_CALL, mend)]
    if found.bodies:
        what = f"invocation logging is on; bodies are logged as well: {', '.join(found.bodies)}"
        return [Sign("ok", what)]
    return []


def _is_ours(patient: Patient, found: InvocationLogging, region: str) -> bool:
    deployment = patient.deployment
    if deployment.logs != "s3":
        return found.log_group == deployment.log_group
    if region != deployment.region:  # A bucket lies in the Region that it takes logs of.
        return bool(found.bucket)
    return found.bucket == deployment.log_bucket


async def _switch_on(patient: Patient, account: Account, region: str) -> str:
    """Return the command that switches logging on, to where the stage wants it."""
    deployment = patient.deployment
    config: dict[str, object] = {
        f"{one}DataDeliveryEnabled": False for one in ("text", "image", "embedding", "video")
    }
    after = ""
    if deployment.logs == "s3":
        config["s3Config"] = {"bucketName": deployment.log_bucket}
    else:
        role = await _role(patient, account, region)
        if not role:
            role = _ROLE
            named = aws("iam list-roles", path_prefix=_path(patient))
            after = f"  # {_ROLE} is the role that Bedrock writes logs with: {named}"
        config["cloudWatchConfig"] = {"logGroupName": deployment.log_group, "roleArn": role}
    command = "bedrock put-model-invocation-logging-configuration"
    return aws(command, logging_config=config, region=region) + after


async def _role(patient: Patient, account: Account, region: str) -> str:
    try:
        return await account.logging_role(_path(patient), region) or ""
    except CannotReadError:
        return ""


def _path(patient: Patient) -> str:
    return f"{patient.stage_path.rstrip('/')}/"


# --- The way from there -----------------------------------------------------------------------


async def _log_group(patient: Patient, account: Account, region: str) -> Sequence[Sign]:
    name = patient.deployment.log_group
    found = await account.log_group(region, name)
    if found is None:
        return [Sign("wrong", "there is no such log group", NO_CALL, patient.redeploy_in(region))]
    if found.retention_days:
        return []
    mend = aws(
        "logs put-retention-policy",
        log_group_name=name,
        retention_in_days=RETENTION_DAYS,
        region=region,
    )
    why = "logs are kept, and paid for, for ever; the ledger needs them for some days at most"
    return [Sign("warning", "the log group never forgets", why, mend)]


async def _filter(patient: Patient, account: Account, wanted: Subscription) -> Sequence[Sign]:
    filters = await account.log_filters(wanted.region, wanted.log_group)
    found = next((one for one in filters if one.name == wanted.name), None)
    redeploy = patient.redeploy_in(wanted.region)
    if found is None:
        what = f"{wanted.log_group} has no such subscription filter"
        return [Sign("wrong", what, NO_CALL, redeploy)]
    signs = []
    if wanted.region == patient.deployment.region and not _is_known(patient, found.destination):
        what = f"it passes records on to {found.destination}, which is not this stage's"
        signs.append(Sign("wrong", what, NO_CALL, redeploy))
    is_stream = ":kinesis:" in found.destination or ":destination:" in found.destination
    if is_stream and found.distribution != "Random":
        signs.append(
            Sign(
                "wrong",
                f"its distribution is {found.distribution or 'ByLogStream'}, not Random",
                "all records of Bedrock's one log stream go to one shard, and are dropped after "
                "a day of throttling",
                aws(
                    "logs put-subscription-filter",
                    log_group_name=wanted.log_group,
                    filter_name=found.name,
                    filter_pattern=found.pattern,
                    destination_arn=found.destination,
                    distribution="Random",
                    region=wanted.region,
                    **_with_role(found),
                ),
            )
        )
    return signs


def _with_role(found: LogFilter) -> dict[str, str]:
    return {"role_arn": found.role} if found.role else {}


def _is_known(patient: Patient, destination: str) -> bool:
    """Whether a stream or function is one of the stage's."""
    deployment = patient.deployment
    names = {*deployment.streams, *deployment.functions.values()}
    known = {name.replace(":", "/").rpartition("/")[2] for name in names}
    parts = destination.replace(":", "/").split("/")
    return not known.isdisjoint(parts)


async def _log_bucket(patient: Patient, account: Account) -> Sequence[Sign]:
    name, region = patient.deployment.log_bucket, patient.deployment.region
    found = await account.bucket(name)
    if found is None:
        return [Sign("wrong", "there is no such bucket", NO_CALL, patient.redeploy)]
    signs = bucket_signs(patient, found)
    queues = {url.rpartition("/")[2] for url in patient.deployment.queues}
    told = {arn.rpartition(":")[2] for arn in found.queues}
    if not found.tells_bus and queues.isdisjoint(told):
        signs.append(
            Sign(
                "wrong",
                "nobody is told of new logs: its notifications name none of the stage's queues",
                f"logs of {region} are written and never booked",
                patient.redeploy,
            )
        )
    return signs
