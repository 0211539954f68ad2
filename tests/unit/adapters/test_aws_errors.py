"""What errors of the SDK itself mean: those it raises on the way, and those it always will."""

import aiohttp
import pytest
from botocore import exceptions as sdk

from worker.adapters.aws_errors import explained, is_unknown_caller
from worker.core.errors import ConfigurationError, TransientError

URL = "https://s3.example"

PASSING = [
    sdk.EndpointConnectionError(endpoint_url=URL),
    sdk.ConnectTimeoutError(endpoint_url=URL),
    sdk.ReadTimeoutError(endpoint_url=URL),
    sdk.ConnectionClosedError(endpoint_url=URL),
    sdk.ProxyConnectionError(proxy_url=URL),
    sdk.SSLError(endpoint_url=URL, error="the handshake broke off"),
    sdk.HTTPClientError(error="reset"),
    sdk.ResponseStreamingError(error="reset"),
    sdk.IncompleteReadError(actual_bytes=1, expected_bytes=2),
    sdk.FlexibleChecksumError(error_msg="of other bytes"),
    sdk.MetadataRetrievalError(error_msg="no answer"),
    aiohttp.ClientPayloadError("cut"),
    TimeoutError(),
    ConnectionResetError(),
]

LASTING = [
    sdk.MissingDependencyException(msg="awscrt is not installed"),
    sdk.ParamValidationError(report="no such parameter"),
    sdk.UnsupportedS3ArnError(arn="arn:aws:s3:::x"),
    sdk.UnsupportedS3AccesspointConfigurationError(msg="another partition"),
    sdk.UnsupportedS3ConfigurationError(msg="no such thing"),
    sdk.InvalidEndpointConfigurationError(msg="no address"),
    sdk.EndpointResolutionError(msg="no such Region"),
    sdk.UnknownEndpointError(service_name="s3", region_name="nowhere"),
    sdk.InvalidProxiesConfigError(),
]

CREDENTIALS = [
    sdk.NoCredentialsError(),
    sdk.CredentialRetrievalError(provider="process", error_msg="it failed"),
    sdk.TokenRetrievalError(provider="sso", error_msg="expired"),
    sdk.LoginRefreshRequired(),
]


def name(error: Exception) -> str:
    return type(error).__name__


@pytest.mark.parametrize("error", PASSING, ids=name)
def test_what_is_lost_on_the_way_passes(error: Exception) -> None:
    fault = explained(error, subject="s3://logs/key", action="s3:GetObject")
    assert type(fault) is TransientError
    assert "s3://logs/key" in str(fault)


@pytest.mark.parametrize("error", LASTING, ids=name)
def test_what_the_sdk_does_not_send_does_not_pass(error: Exception) -> None:
    fault = explained(error, subject="s3://logs/key", action="s3:GetObject")
    assert type(fault) is ConfigurationError
    assert "s3://logs/key" in str(fault)
    assert str(error) in str(fault)
    assert not is_unknown_caller(error)


@pytest.mark.parametrize("error", CREDENTIALS, ids=name)
def test_credentials_are_the_operator_s_and_no_fault_of_a_request(error: Exception) -> None:
    fault = explained(error, subject="s3://logs/key", action="s3:GetObject")
    assert type(fault) is ConfigurationError
    assert "AWS_PROFILE" in str(fault)
    assert is_unknown_caller(error)
