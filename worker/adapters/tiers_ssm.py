"""Tiers from a tree of parameters in the Parameter Store, with the keys of the file.

`tiers.standard.budgets.monthly.limit` of the file is the parameter
`/ledgerock/tiers/tiers/standard/budgets/monthly/limit` under the path `/ledgerock/tiers`. Values
are texts; lists are separated by commas, as in a `StringList` (API reference: GetParametersByPath).
"""

from __future__ import annotations

from typing import Any, Final

from worker.adapters.aws_client import AwsClient
from worker.core.errors import ConfigurationError
from worker.core.tiers import Tiers
from worker.core.tiers_text import read_tiers

PAGE_SIZE: Final = 10
"""As many as `GetParametersByPath` returns at most."""
PAGES_MAX: Final = 400
SSM: Final = "ssm:"
_ADVICE: Final = "and kms:Decrypt, if some are SecureStrings under a key of your own"


class SsmTiers:
    """A `worker.ports.TierSource` in the Parameter Store.

    Args:
        path: Of the tree, such as `/ledgerock/tiers`.
        client: An open client of aiobotocore, for tests.

    Raises:
        ConfigurationError: The path is none.
    """

    is_shared = True
    """All processes read the same ones."""

    def __init__(self, path: str, client: Any = None) -> None:  # noqa: ANN401 - untyped
        """Connect to nothing yet."""
        if not path.startswith("/") or not path.strip("/"):
            message = (
                f"LEDGEROCK_TIERS={SSM}{path}: a path begins with a slash, such as "
                "ssm:/ledgerock/tiers"
            )
            raise ConfigurationError(message)
        self._path = path.rstrip("/")
        self._ssm = AwsClient("ssm", client=client)

    async def tiers(self) -> Tiers:
        """Return the tiers as the parameters have them now.

        Raises:
            TransientError: The Parameter Store cannot be reached now.
            ConfigurationError: A parameter is wrong, or they may not be read.
        """
        document: dict[str, Any] = {}
        for name, text in (await self._parameters()).items():
            *tables, key = name.split("/")
            table = document
            for one in tables:
                inner = table.setdefault(one, {})
                if not isinstance(inner, dict):
                    raise self._both(name)
                table = inner
            if isinstance(table.get(key), dict):
                raise self._both(name)
            table[key] = text
        if not document:
            message = (
                f"LEDGEROCK_TIERS={SSM}{self._path}: there is no parameter under this path; put "
                f"one there, such as {self._path}/tiers/standard/budgets/monthly/limit"
            )
            raise ConfigurationError(message)
        return read_tiers(document, lambda keys: f"parameter {'/'.join((self._path, *keys))}")

    async def close(self) -> None:
        """Close the connections."""
        await self._ssm.close()

    async def _parameters(self) -> dict[str, str]:
        found: dict[str, str] = {}
        page: dict[str, str] = {}
        for _ in range(PAGES_MAX):
            answer = await self._ssm.call(
                "get_parameters_by_path",
                subject=f"LEDGEROCK_TIERS={SSM}{self._path}",
                action="ssm:GetParametersByPath",
                advice=_ADVICE,
                Path=self._path,
                Recursive=True,
                WithDecryption=True,
                MaxResults=PAGE_SIZE,
                **page,
            )
            for parameter in answer["Parameters"]:
                name = str(parameter["Name"]).removeprefix(self._path).strip("/")
                found[name] = str(parameter["Value"])
            # A page may be empty and not the last (API reference: GetParametersByPath).
            if not answer.get("NextToken"):
                return dict(sorted(found.items()))
            page = {"NextToken": answer["NextToken"]}
        message = f"LEDGEROCK_TIERS={SSM}{self._path}: there are more than {PAGES_MAX} pages"
        raise ConfigurationError(message)

    def _both(self, name: str) -> ConfigurationError:
        return ConfigurationError(
            f"parameter {self._path}/{name}: expected a value or parameters below it, found both"
        )
