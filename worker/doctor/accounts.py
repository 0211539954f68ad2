"""Who looks, what time it is, and the key that everything is encrypted with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from worker.core.doctor import Sign, age, aws
from worker.doctor.patient import Check, Patient, checking
from worker.ports.account import Account

AREA: Final = "account"
SECONDS: Final = 30.0
SKEW_MS: Final = 300_000
"""Further off, AWS refuses signatures (AWS documentation: "Elements of an AWS API request
signature")."""


def checks(patient: Patient) -> list[Check]:
    """Return the checks of this part."""
    account = patient.account
    if account is None:
        return []
    found = [
        checking(
            "credentials",
            AREA,
            patient.deployment.account or "AWS",
            "AWS accepts the credentials, and this machine's clock agrees with AWS's",
            _credentials,
            patient,
            account,
        )
    ]
    key = patient.deployment.customer_key
    if key:
        found.append(checking("key", AREA, key, "the key is enabled", _key, patient, account))
    return found


async def _credentials(patient: Patient, account: Account) -> Sequence[Sign]:
    caller = await account.caller()
    signs = []
    skew = caller.skew_ms
    if skew is not None and abs(skew) > SKEW_MS:
        signs.append(
            Sign(
                "wrong",
                f"this machine's clock is {age(abs(skew))} {'ahead of' if skew > 0 else 'behind'} "
                "AWS's",
                "AWS refuses requests that are signed more than five minutes off, and grace "
                "periods end by this clock",
                "sudo timedatectl set-ntp true",
            )
        )
    expected = patient.deployment.account
    if caller.account and expected and caller.account != expected:
        signs.append(
            Sign(
                "wrong",
                f"the credentials are of account {caller.account}, the stage's is {expected}",
                "everything that is looked at is looked for in the wrong account",
                f"AWS_PROFILE=PROFILE_OF_{expected} ledgerock doctor"
                + (f" --stage-path {patient.stage_path}" if patient.stage_path else ""),
            )
        )
    return signs


async def _key(patient: Patient, account: Account) -> Sequence[Sign]:
    arn, region = patient.deployment.customer_key, patient.deployment.region
    state = await account.key(arn)
    if state == "Enabled":
        return []
    why = "without it nothing can be booked, and nothing that is booked can be read"
    if state is None:
        return [
            Sign(
                "wrong",
                "there is no such key any more",
                "what was encrypted with it is lost",
                patient.redeploy,
            )
        ]
    enable = aws("kms enable-key", key_id=arn, region=region)
    if state == "PendingDeletion":
        cancel = aws("kms cancel-key-deletion", key_id=arn, region=region)
        return [Sign("wrong", "the key is about to be deleted", why, f"{cancel} && {enable}")]
    return [Sign("wrong", f"the key is {state}", why, enable)]
