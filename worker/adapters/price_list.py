"""Products of the AWS Price List: from its API, or from files that hold what the API said.

Needs `pricing:GetProducts`. Everything is read page by page; a throttled page is asked for again,
at most `ATTEMPTS_MAX` times, with growing, jittered pauses.
"""

import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Final, Protocol

from worker.core.errors import ConfigurationError, LedgerockError, TransientError
from worker.core.price_list_map import PriceListMap, parse_map

SERVICE_CODES: Final = (
    "AmazonBedrock",
    "AmazonBedrockService",
    "AmazonBedrockFoundationModels",
)
ENDPOINT_REGION: Final = "us-east-1"
"""The Price List answers in a few Regions only, about all of them."""

PAGE_PRODUCTS_MAX: Final = 100
PAGES_MAX: Final = 5_000
ATTEMPTS_MAX: Final = 6
PAUSE_SECONDS: Final = 0.5
FILE_BYTES_MAX: Final = 512 * 1024 * 1024
MAP_FILE: Final = "data/price_list_map.toml"
SUFFIXES: Final = (".json", ".jsonl", ".ndjson")

_THROTTLES: Final = ("ThrottlingException", "Throttling", "TooManyRequestsException")
_DENIALS: Final = (
    "AccessDeniedException",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
)


class PricingClient(Protocol):
    """What is used of boto3's `pricing` client."""

    def get_products(self, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - boto3 has no types
        """Return one page."""
        ...


def pricing_client(region: str = ENDPOINT_REGION) -> PricingClient:
    """Make a client from the environment's credentials.

    Raises:
        ConfigurationError: boto3 cannot be configured that way.
    """
    import boto3  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415 - slow to import
    from botocore.config import Config  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415
    from botocore.exceptions import (  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415
        BotoCoreError,
    )

    try:
        config = Config(retries={"mode": "standard", "max_attempts": 2})
        client: Any = boto3.Session().client("pricing", region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"AWS Price List in {region}: {error}") from error
    found: PricingClient = client
    return found


def fetch_products(
    client: PricingClient, sleep: Callable[[float], None] = time.sleep
) -> Iterator[object]:
    """Yield every product of the Bedrock service codes.

    Raises:
        ConfigurationError: no credentials, or they do not allow it.
        TransientError: throttled or out of reach to the end.
        LedgerockError: the API refuses the request, or answers what cannot be read.
    """
    for service_code in SERVICE_CODES:
        arguments = {
            "ServiceCode": service_code,
            "FormatVersion": "aws_v1",
            "MaxResults": PAGE_PRODUCTS_MAX,
        }
        for _ in range(PAGES_MAX):
            page = _page(client, arguments, sleep)
            place = f"AWS Price List, {service_code}"
            for item in page.get("PriceList", []):
                yield _parsed(item, place) if isinstance(item, str) else item
            token = page.get("NextToken")
            if not token:
                break
            if token == arguments.get("NextToken"):
                raise LedgerockError(f"{place}: the same page came twice")
            arguments["NextToken"] = token
        else:
            raise LedgerockError(f"AWS Price List, {service_code}: more than {PAGES_MAX} pages")


def _page(
    client: PricingClient, arguments: dict[str, Any], sleep: Callable[[float], None]
) -> dict[str, Any]:
    from botocore.exceptions import (  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        PartialCredentialsError,
    )

    place = f"AWS Price List, {arguments['ServiceCode']}"
    for attempt in range(ATTEMPTS_MAX):
        try:
            return client.get_products(**arguments)
        except (NoCredentialsError, PartialCredentialsError) as error:
            message = f"{place}: {error}; it needs credentials that allow pricing:GetProducts"
            raise ConfigurationError(message) from error
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _DENIALS:
                message = f"{place}: {error}; it needs credentials that allow pricing:GetProducts"
                raise ConfigurationError(message) from error
            if code not in _THROTTLES:
                raise LedgerockError(f"{place}: {error}") from error
            if attempt + 1 < ATTEMPTS_MAX:
                pause = PAUSE_SECONDS * 2**attempt
                sleep(pause * (0.5 + random.random() / 2))  # noqa: S311 - jitter
        except BotoCoreError as error:
            raise TransientError(f"{place}: {error}; try again, or use --from-file") from error
    raise TransientError(f"{place}: throttled {ATTEMPTS_MAX} times in a row; try again later")


def read_saved_products(path: Path) -> Iterator[object]:
    """Yield the products of a file, or of every JSON file of a folder, by name.

    A file holds what GetProducts answered (pages with `PriceList`, products as texts or objects),
    or a list of products, or one on each line, or a bulk offer file (`products` and `terms`).

    Raises:
        ConfigurationError: it cannot be read, or is none of these.
    """
    if not path.is_dir():
        yield from _file_products(path)
        return
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if not files:
        raise ConfigurationError(f"{path}: holds no file that ends in {', '.join(SUFFIXES)}")
    for file in files:
        yield from _file_products(file)


def _file_products(path: Path) -> Iterator[object]:
    text = _read(path)
    try:
        documents = [json.loads(text)]
    except ValueError:
        documents = [
            _parsed(line, f"{path}:{number}")
            for number, line in enumerate(text.splitlines(), start=1)
            if line.strip()
        ]
    for document in documents:
        yield from _products(document, str(path))


def _products(document: object, place: str) -> Iterator[object]:
    if isinstance(document, str):
        document = _parsed(document, place)
    if isinstance(document, list):
        for item in document:
            yield from _products(item, place)
    elif not isinstance(document, dict):
        raise ConfigurationError(f"{place}: found {type(document).__name__}, expected products")
    elif isinstance(document.get("PriceList"), list):
        yield from _products(document["PriceList"], place)
    elif isinstance(document.get("products"), dict):
        yield from _bulk_products(document)
    elif isinstance(document.get("product"), dict):
        yield document
    else:
        expected = "GetProducts pages, products, or a bulk offer file"
        raise ConfigurationError(f"{place}: found keys {sorted(document)[:5]}, expected {expected}")


def _bulk_products(offers: dict[str, Any]) -> Iterator[object]:
    terms = offers.get("terms") or {}
    for sku, product in offers["products"].items():
        own = {kind: by_sku[sku] for kind, by_sku in terms.items() if sku in by_sku}
        yield {"serviceCode": offers.get("offerCode", ""), "product": product, "terms": own}


def load_price_map(own: Path | None = None) -> PriceListMap:
    """Load the mapping of the Price List's words, the operator's own file over the packaged one.

    Raises:
        ConfigurationError: a file cannot be read or says something that is no mapping.
    """
    packaged = resources.files("worker").joinpath(MAP_FILE).read_text(encoding="utf-8")
    texts = [] if own is None else [(_read(own), str(own))]
    return parse_map([*texts, (packaged, Path(MAP_FILE).name)])


def read_price_rows(path: Path) -> str:
    """Read the operator's rows as they are, line endings included; a missing file is empty."""
    return _read(path) if path.exists() else ""


def replace_price_rows(path: Path, text: str, check: Callable[[Path], None]) -> None:
    """Write the operator's rows: all or nothing, and only after `check` accepted them.

    Raises:
        ConfigurationError: the file cannot be written, or `check` refuses it.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
        temporary = Path(name)
        try:
            os.close(handle)
            temporary.write_bytes(text.encode())
            check(temporary)
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
            temporary.chmod(mode)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written ({error.strerror})") from error


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ConfigurationError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        raise ConfigurationError(message) from error
    except UnicodeDecodeError as error:
        message = f"{path}: not UTF-8 text at byte {error.start}"
        raise ConfigurationError(message) from error


def _parsed(text: str, place: str) -> object:
    try:
        parsed: object = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{place}: not valid JSON: {error}") from error
    return parsed
