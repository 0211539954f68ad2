import pytest

from worker.core.decoders import ignored_object

LOGS = "team/AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1"


@pytest.mark.parametrize(
    "name",
    [
        f"{LOGS}/2026/10/05/12/20261005T120000000Z_0a1b2c3d.json.gz",
        "AWSLogs/1/CloudTrail/us-east-1/2026/10/05/1_CloudTrail_us-east-1_20261005T1200Z_x.json.gz",
        "data/calls.json.gz",
        "/home/maria/data/2026-10-05.jsonl",
        "logs/12/data/2026-10-05_calls.json.gz",
        "data/0d1f_input.json.gz",
        "calls",
        "s3://bucket/prefix/calls.jsonl",
        "CloudTrail-Digest.json",
        "my_SUCCESS",
        "a._b.json",
    ],
)
def test_names_that_may_hold_records(name: str) -> None:
    assert ignored_object(name) is None


@pytest.mark.parametrize(
    "name, reason",
    [
        (f"{LOGS}/2026/10/05/12/data/0d1f-1111_input.json.gz", "body kept beside"),
        (f"{LOGS}/2026/10/05/12/data/0d1f-1111_output.json.gz", "body kept beside"),
        (f"{LOGS}/2026/10/05/12/data/0d1f-1111_input_media_00.pdf", "body kept beside"),
        ("12/data/0d1f-1111_input.json", "body kept beside"),
        (f"{LOGS}/amazon-bedrock-logs-permission-check", "permission check"),
        (
            "AWSLogs/1/CloudTrail-Digest/us-east-1/2026/10/05/1_CloudTrail-Digest_x.json.gz",
            "digest",
        ),
        ("1_CloudTrail-Digest_us-east-1_trail_us-east-1_20261005T120000Z.json.gz", "digest"),
        ("AWSLogs/1/CloudTrail-Insight/us-east-1/2026/10/05/x.json.gz", "Insights"),
        ("logs/", "folder marker"),
        ("", "folder marker"),
        ("logs/.DS_Store", "operating system"),
        ("logs/._calls.json", "operating system"),
        ("logs/.calls.json.swp", "hidden"),
        ("logs/_SUCCESS", "job marker"),
    ],
)
def test_names_that_hold_none(name: str, reason: str) -> None:
    assert reason in (ignored_object(name) or "")
