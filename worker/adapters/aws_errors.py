"""What an error of the AWS SDK means for whoever runs this: it passes, or it is theirs to mend.

Adapters look at the codes of their own service first, and leave the rest to `explained`.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    CapacityNotAvailableError,
    ChecksumError,
    ClientError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    InvalidRegionError,
    LoginError,
    MetadataRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as SdkConnectionError

from worker.core.errors import ConfigurationError, TransientError

TRANSIENT_CODES: Final = frozenset(
    {
        "500",
        "503",
        "EC2ThrottledException",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "InternalServerException",
        "KMSThrottlingException",
        "KmsThrottled",
        "LimitExceededException",
        "OverLimit",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ResourceInUseException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""Errors that pass (AWS documentation: "Common error types", "Retry behavior")."""

DENIED_CODES: Final = frozenset(
    {
        "403",
        "AccessDenied",
        "AccessDeniedException",
        "AllAccessDisabled",
        "AuthorizationError",
        "KMSAccessDeniedException",
        "KmsAccessDenied",
        "NotAuthorized",
        "OptInRequired",
        "UnauthorizedAccess",
    }
)
"""The caller is known, and may not."""

UNKNOWN_CALLER_CODES: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""The credentials are no good (any more)."""

MISSING_CODES: Final = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "NoSuchBucket",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
    }
)
"""There is no such queue, stream, bus, bucket."""

_CREDENTIALS: Final = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    ProfileNotFound,
    SSOError,
    LoginError,
    NoAuthTokenError,
    TokenRetrievalError,
)
_ON_THE_WAY: Final = (
    SdkConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ChecksumError,
    FlexibleChecksumError,
    MetadataRetrievalError,
    CapacityNotAvailableError,
)
"""What the SDK itself raises where a request or its answer was lost, late or damaged.

Anything else of its own it raises before it sends, and will again: a name or an address it does
not accept, a part of it that is not installed.
"""
_SERVER_FAULT: Final = 500
_TOO_MANY: Final = 429


def error_code(error: BaseException) -> str:
    """Return the code that a service answered with; empty for any other error."""
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_status(error: BaseException) -> int:
    """Return the HTTP status that a service answered with; 0 for any other error."""
    if not isinstance(error, ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_unknown_caller(error: BaseException) -> bool:
    """Whether there are no credentials, or none that AWS accepts: nothing at all can be asked."""
    return isinstance(error, _CREDENTIALS) or error_code(error) in UNKNOWN_CALLER_CODES


def passes(error: BaseException, codes: Container[str] = TRANSIENT_CODES) -> bool:
    """Whether an answer is of the moment; one without a code (a proxy's) is told by its status.

    Args:
        error: Of any kind; only a service's answer can be of the moment.
        codes: The codes that say so.
    """
    status = error_status(error)
    return error_code(error) in codes or status >= _SERVER_FAULT or status == _TOO_MANY


def explained(
    error: BaseException, *, subject: str, action: str, advice: str = ""
) -> TransientError | ConfigurationError:
    """Return what an error means, for raising `from` it.

    Args:
        error: Of botocore, aiobotocore, aiohttp or the operating system.
        subject: What was asked for: a queue's URL, a stream's name, `s3://bucket/key`.
        action: The permission it takes (`sqs:ReceiveMessage`).
        advice: What to do where the subject is missing or the action denied.
    """
    more = f"; {advice}" if advice else ""
    if isinstance(error, ClientError):
        code = error_code(error)
        if code in DENIED_CODES:
            message = f"{subject}: AWS denies {action}; allow it{more} ({error})"
        elif code in MISSING_CODES:
            message = f"{subject}: there is no such thing{more} ({error})"
        elif code in UNKNOWN_CALLER_CODES:
            message = f"{subject}: AWS does not accept the credentials; renew them ({error})"
        elif passes(error):
            return TransientError(f"{subject}: {action} is not possible now ({error})")
        else:
            message = f"{subject}: AWS refuses {action} ({error})"
        return ConfigurationError(message)
    if isinstance(error, _CREDENTIALS):
        return ConfigurationError(
            f"{subject}: there are no usable AWS credentials ({error}); set AWS_PROFILE, or log "
            "in as for the AWS command-line tool"
        )
    if isinstance(error, NoRegionError | InvalidRegionError):
        return ConfigurationError(f"{subject}: {error} Set AWS_REGION.")
    if isinstance(error, BotoCoreError) and not isinstance(error, _ON_THE_WAY):
        return ConfigurationError(f"{subject}: {action} cannot be asked for ({error})")
    if isinstance(error, ValueError) and not isinstance(error, BotoCoreError):
        return ConfigurationError(f"{subject}: {error}; check AWS_ENDPOINT_URL")
    return TransientError(
        f"{subject}: {action} cannot be reached ({str(error) or type(error).__name__})"
    )
