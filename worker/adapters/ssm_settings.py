"""Settings from the Parameter Store: what a deployment keeps under one path, as environment.

`/ledgerock/prod/bus` under the path `/ledgerock/prod` stands for `LEDGEROCK_BUS`. The environment
wins over it, so that one function can differ from the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from worker.adapters.aws_client import AwsClient
from worker.core.errors import ConfigurationError
from worker.settings import (
    ENFORCEMENT_ENVIRONMENT,
    ENVIRONMENT,
    SSM_PATH_VARIABLE,
    WORKER_ENVIRONMENT,
)

PAGE_SIZE: Final = 10
"""As many as `GetParametersByPath` returns at most."""
PAGES_MAX: Final = 100

_LOG: Final = logging.getLogger("ledgerock.settings")
_ADVICE: Final = "and kms:Decrypt, if some are SecureStrings under a key of your own"


async def with_parameters(
    environment: Mapping[str, str],
    client: Any = None,  # noqa: ANN401 - botocore clients are untyped
) -> dict[str, str]:
    """Return the environment, completed by the parameters under its `LEDGEROCK_SSM_PATH`.

    Args:
        environment: Variables; those that are set, and not blank, win.
        client: An open client of aiobotocore, for tests.

    Raises:
        TransientError: The Parameter Store cannot be reached now.
        ConfigurationError: The path is no path, or may not be read.
    """
    path = environment.get(SSM_PATH_VARIABLE, "").strip()
    if not path:
        return dict(environment)
    found = await _parameters(path, client)
    own = {name: text for name, text in environment.items() if text.strip()}
    return {**found, **own}


async def _parameters(path: str, client: Any) -> dict[str, str]:  # noqa: ANN401
    """Return the variables that the parameters under a path stand for, page by page."""
    if not path.startswith("/"):
        message = f"{SSM_PATH_VARIABLE}={path}: a path begins with a slash, such as /ledgerock/prod"
        raise ConfigurationError(message)
    prefix = path.rstrip("/") + "/"
    ssm = AwsClient("ssm", client=client)
    known = {
        *ENVIRONMENT.values(),
        *WORKER_ENVIRONMENT.values(),
        *ENFORCEMENT_ENVIRONMENT.values(),
    }
    found: dict[str, str] = {}
    page: dict[str, str] = {}
    try:
        for _ in range(PAGES_MAX):
            answer = await ssm.call(
                "get_parameters_by_path",
                subject=f"{SSM_PATH_VARIABLE}={path}",
                action="ssm:GetParametersByPath",
                advice=_ADVICE,
                Path=prefix.rstrip("/") or "/",
                Recursive=True,
                WithDecryption=True,
                MaxResults=PAGE_SIZE,
                **page,
            )
            for parameter in answer["Parameters"]:
                variable = variable_of(str(parameter["Name"]).removeprefix(prefix))
                if variable in known:
                    found[variable] = str(parameter["Value"])
                else:
                    _LOG.warning("parameter %s is no setting", parameter["Name"])
            # A page may be empty and not the last (API reference: GetParametersByPath).
            if not answer.get("NextToken"):
                return found
            page = {"NextToken": answer["NextToken"]}
    finally:
        await ssm.close()
    message = f"{SSM_PATH_VARIABLE}={path}: there are more than {PAGES_MAX} pages of parameters"
    raise ConfigurationError(message)


def variable_of(name: str) -> str:
    """Return the environment variable that a parameter's name below the path stands for."""
    return "LEDGEROCK_" + name.strip("/").replace("/", "_").replace("-", "_").upper()
