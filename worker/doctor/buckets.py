"""How a bucket keeps what is in it."""

from __future__ import annotations

from worker.core.doctor import Sign, aws
from worker.doctor.patient import Patient
from worker.ports.account import BucketState


def bucket_signs(patient: Patient, bucket: BucketState) -> list[Sign]:
    """Return what is the matter with how a bucket keeps what is in it."""
    name = bucket.name
    signs = []
    if not bucket.is_encrypted:
        mend = aws(
            "s3api put-bucket-encryption",
            bucket=name,
            server_side_encryption_configuration={
                "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
            },
        )
        why = "what callers said, or who called, lies there in plain text"
        signs.append(Sign("wrong", "the bucket does not encrypt", why, mend))
    if not bucket.is_tls_only:
        why = "what is read from it, or put there, may be read on the way"
        what = "the bucket's policy does not deny requests without TLS"
        signs.append(
            Sign("wrong" if patient.is_deployed else "warning", what, why, _tls(name, patient))
        )
    return signs


def _tls(name: str, patient: Patient) -> str:
    if patient.is_deployed:  # Its policy says more, which a policy put by hand would replace.
        return patient.redeploy
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    return aws("s3api put-bucket-policy", bucket=name, policy=policy)
