"""What runs: functions and what they are called for, the container's service, workflows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from worker.core.doctor import Sign, Verdict, aws
from worker.doctor.patient import Check, Patient, checking
from worker.ports.account import Account

AREA: Final = "workers"
NOT_DONE: Final = "what it is for is not done"


def checks(patient: Patient) -> list[Check]:
    """Return the checks of this part."""
    account, deployment = patient.account, patient.deployment
    if account is None:
        return []
    found = []
    for purpose, name in sorted(deployment.functions.items()):
        well = f"the function is ready, and called ({purpose})"
        found.append(checking("function", AREA, name, well, _function, patient, account, name))
    if deployment.service:
        subject, well = deployment.service, "as many tasks run as are to"
        found.append(checking("service", AREA, subject, well, _service, patient, account))
    for purpose, arn in sorted(deployment.state_machines.items()):
        well = f"the state machine is active ({purpose})"
        check = checking("state-machine", AREA, arn, well, _state_machine, patient, account, arn)
        found.append(check)
    return found


async def _function(patient: Patient, account: Account, name: str) -> Sequence[Sign]:
    region = patient.deployment.region
    found = await account.function(name)
    if found is None:
        return [Sign("wrong", "there is no such function", NOT_DONE, patient.redeploy)]
    signs = []
    reason = f": {found.reason}" if found.reason else ""
    show = aws("lambda get-function-configuration", function_name=name, region=region)
    if found.state not in {"Active", "Inactive"}:  # An inactive one wakes up when it is called.
        verdict: Verdict = "warning" if found.state == "Pending" else "wrong"
        signs.append(Sign(verdict, f"the function is {found.state}{reason}", NOT_DONE, show))
    if found.update == "Failed":
        what = f"its last update failed{reason}"
        signs.append(Sign("wrong", what, "what runs is the code before", patient.redeploy))
    for mapping in found.mappings:
        if mapping.state in {"Enabled", "Enabling", "Updating", "Creating"}:
            continue
        what = f"it is not called for {mapping.source}: {mapping.state}"
        if mapping.result:
            what += f" ({mapping.result})"
        mend = aws(
            "lambda update-event-source-mapping", uuid=mapping.id, enabled=True, region=region
        )
        signs.append(Sign("wrong", what, "what comes from there waits", mend))
    return signs


async def _service(patient: Patient, account: Account) -> Sequence[Sign]:
    deployment = patient.deployment
    found = await account.service(deployment.cluster, deployment.service)
    if found is None:
        return [Sign("wrong", "there is no such service", NOT_DONE, patient.redeploy)]
    nobody = "nobody books, announces or enforces"
    if not found.desired:
        start = aws(
            "ecs update-service",
            cluster=deployment.cluster,
            service=deployment.service,
            desired_count=1,
            region=deployment.region,
        )
        return [Sign("wrong", "no task is to run", nobody, start)]
    if found.running >= found.desired:
        return []
    said = f"; ECS says: {found.event}" if found.event else ""
    what = f"{found.running} of {found.desired} tasks run{said}"
    why = "it falls behind" if found.running else nobody
    mend = aws(
        "ecs describe-services",
        cluster=deployment.cluster,
        services=[deployment.service],
        query="services[].events[:10].message",
        region=deployment.region,
    )
    return [Sign("wrong", what, why, mend)]


async def _state_machine(patient: Patient, account: Account, arn: str) -> Sequence[Sign]:
    status = await account.state_machine(arn)
    if status == "ACTIVE":
        return []
    what = "there is no such state machine" if status is None else f"it is {status}"
    why = "principals over their budgets are not suspended, or not restored"
    return [Sign("wrong", what, why, patient.redeploy)]
