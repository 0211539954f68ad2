"""Which objects hold no records, by their name alone."""

import re
from typing import Final

_SIDE_OBJECT: Final = re.compile(
    r"(?:^|/)\d\d/data/[^/]+_(?:input|output)(?:_[^/]*)?\.[A-Za-z0-9.]+\Z",
)
_RULES: Final = (
    (
        re.compile(r"(?:^|/)amazon-bedrock-logs-permission-check\Z"),
        "permission check that Bedrock writes when logging is switched on",
    ),
    (re.compile(r"(?:^|/)CloudTrail-Digest/|_CloudTrail-Digest_"), "CloudTrail digest file"),
    (re.compile(r"(?:^|/)CloudTrail-Insight/|_CloudTrail-Insight_"), "CloudTrail Insights file"),
    (
        re.compile(r"(?:^|/)aws-logs-write-test\Z"),
        "permission check that CloudWatch Logs writes when an export begins",
    ),
    (
        re.compile(r"(?:^|/)(?:\.DS_Store|Thumbs\.db|desktop\.ini)\Z"),
        "file of the operating system",
    ),
    (re.compile(r"(?:^|/)\._[^/]*\Z"), "file of the operating system"),
    (re.compile(r"(?:^|/)\.[^/]+\Z"), "hidden file"),
    (re.compile(r"(?:^|/)_SUCCESS\Z"), "job marker"),
)


def ignored_object(name: str) -> str | None:
    """Return why the object or file called `name` holds no records, or None if it may.

    Args:
        name: Object key (decoded) or path with forward slashes.

    Bodies too large for a log are written beside it as
    `.../HH/data/{requestId}_input.json.gz` (AWS documentation: "Monitor model invocation
    using CloudWatch Logs and Amazon S3"). A folder that is merely called `data` is not that:
    the hour folder above it and the suffix of the name must be there as well.
    """
    if not name or name.endswith("/"):
        return "folder marker"
    if _SIDE_OBJECT.search(name):
        return "body kept beside a model invocation log"
    for pattern, reason in _RULES:
        if pattern.search(name):
            return reason
    return None
