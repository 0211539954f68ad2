import json
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped,unused-ignore]
import pytest
from botocore.stub import Stubber  # type: ignore[import-untyped,unused-ignore]

from tests.price_products import product
from worker.adapters import price_list
from worker.adapters.price_list import (
    SERVICE_CODES,
    fetch_products,
    pricing_client,
    read_price_rows,
    read_saved_products,
    replace_price_rows,
)
from worker.core.errors import ConfigurationError, LedgerockError, TransientError

FIRST = product("S1", "0.1")
SECOND = product("S2", "0.2")
THIRD = product("S3", "0.3")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    return boto3.client("pricing", region_name="us-east-1")


def asked(service: str, token: str | None = None) -> dict[str, Any]:
    request = {"ServiceCode": service, "FormatVersion": "aws_v1", "MaxResults": 100}
    return request if token is None else request | {"NextToken": token}


def page(*documents: object, token: str | None = None) -> dict[str, Any]:
    response = {"FormatVersion": "aws_v1", "PriceList": [json.dumps(d) for d in documents]}
    return response if token is None else response | {"NextToken": token}


def test_every_page_of_every_service_is_read(client: Any) -> None:
    with Stubber(client) as stub:
        stub.add_response("get_products", page(FIRST, token="more"), asked(SERVICE_CODES[0]))
        stub.add_response("get_products", page(SECOND), asked(SERVICE_CODES[0], "more"))
        stub.add_response("get_products", page(), asked(SERVICE_CODES[1]))
        stub.add_response("get_products", page(THIRD), asked(SERVICE_CODES[2]))
        assert list(fetch_products(client)) == [FIRST, SECOND, THIRD]
        stub.assert_no_pending_responses()


def test_a_throttled_page_is_asked_for_again_after_growing_pauses(client: Any) -> None:
    pauses: list[float] = []
    with Stubber(client) as stub:
        for _ in range(3):
            stub.add_client_error("get_products", "ThrottlingException", "Rate exceeded")
        stub.add_response("get_products", page(FIRST), asked(SERVICE_CODES[0]))
        stub.add_response("get_products", page(), asked(SERVICE_CODES[1]))
        stub.add_response("get_products", page(), asked(SERVICE_CODES[2]))
        assert list(fetch_products(client, pauses.append)) == [FIRST]
    assert len(pauses) == 3
    for pause, longest in zip(pauses, (0.5, 1, 2), strict=True):
        assert longest / 2 <= pause <= longest


def test_throttling_without_end_is_a_passing_fault(client: Any) -> None:
    pauses: list[float] = []
    with Stubber(client) as stub:
        for _ in range(price_list.ATTEMPTS_MAX):
            stub.add_client_error("get_products", "ThrottlingException")
        with pytest.raises(TransientError, match="AmazonBedrock: throttled 6 times in a row"):
            list(fetch_products(client, pauses.append))
    assert len(pauses) == price_list.ATTEMPTS_MAX - 1


@pytest.mark.parametrize(
    "code, error, message",
    [
        ("AccessDeniedException", ConfigurationError, "allow pricing:GetProducts"),
        ("InvalidParameterException", LedgerockError, "AWS Price List, AmazonBedrock: "),
    ],
)
def test_a_refusal_says_what_is_missing(
    client: Any, code: str, error: type[LedgerockError], message: str
) -> None:
    with Stubber(client) as stub:
        stub.add_client_error("get_products", code, "no")
        with pytest.raises(error, match=message):
            list(fetch_products(client))


def test_without_credentials_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigurationError, match="needs credentials that allow pricing"):
        list(fetch_products(pricing_client()))


def test_an_endpoint_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="AWS Price List in no where"):
        pricing_client("no where")


def test_pages_that_go_round_in_circles_are_noticed(client: Any) -> None:
    with Stubber(client) as stub:
        stub.add_response("get_products", page(FIRST, token="more"), asked(SERVICE_CODES[0]))
        stub.add_response("get_products", page(token="more"), asked(SERVICE_CODES[0], "more"))
        with pytest.raises(LedgerockError, match="the same page came twice"):
            list(fetch_products(client))


def bulk() -> dict[str, Any]:
    """The three products as a bulk offer file has them."""
    documents = {document["product"]["sku"]: document for document in (FIRST, SECOND, THIRD)}
    return {
        "offerCode": "AmazonBedrock",
        "products": {sku: document["product"] for sku, document in documents.items()},
        "terms": {"OnDemand": {sku: d["terms"]["OnDemand"] for sku, d in documents.items()}},
    }


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([FIRST, SECOND, THIRD]),
        json.dumps([page(FIRST, token="more"), page(SECOND, THIRD)]),
        "\n".join(json.dumps(document) for document in (FIRST, SECOND, THIRD)) + "\n\n",
        "\n".join(json.dumps(document) for document in (page(FIRST, SECOND), page(THIRD))),
        json.dumps([json.dumps(FIRST), SECOND, json.dumps(THIRD)]),
        json.dumps({"FormatVersion": "aws_v1", "PriceList": [FIRST, SECOND, THIRD]}),
        json.dumps(bulk()),
    ],
)
def test_saved_answers_are_read_in_every_form(text: str, tmp_path: Path) -> None:
    file = tmp_path / "saved.json"
    file.write_text(text)
    assert list(read_saved_products(file)) == [FIRST, SECOND, THIRD]


def test_a_folder_of_answers_is_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps(page(THIRD)))
    (tmp_path / "a.jsonl").write_text(json.dumps(FIRST) + "\n" + json.dumps(SECOND))
    (tmp_path / "notes.txt").write_text("not JSON")
    assert list(read_saved_products(tmp_path)) == [FIRST, SECOND, THIRD]


@pytest.mark.parametrize(
    "text, message",
    [
        ("{} \nnot JSON", r"saved\.json:2: not valid JSON"),
        ("3", "found int, expected products"),
        ('{"colour": 1}', r"found keys \['colour'\], expected GetProducts pages"),
    ],
)
def test_a_file_of_something_else_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "saved.json"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        list(read_saved_products(file))


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        list(read_saved_products(tmp_path / "absent.json"))
    with pytest.raises(ConfigurationError, match=r"holds no file that ends in \.json"):
        list(read_saved_products(tmp_path))
    (tmp_path / "a.json").write_bytes(b"[\xff]")
    with pytest.raises(ConfigurationError, match="not UTF-8 text at byte 1"):
        list(read_saved_products(tmp_path))


def test_rows_are_replaced_only_after_the_check(tmp_path: Path) -> None:
    file = tmp_path / "ours.csv"
    assert read_price_rows(file) == ""
    replace_price_rows(file, "one\r\n", lambda _path: None)
    assert read_price_rows(file) == "one\r\n"
    file.chmod(0o600)

    def refuse(path: Path) -> None:
        assert path.read_bytes() == b"two\n"
        raise ConfigurationError("no")

    with pytest.raises(ConfigurationError, match="no"):
        replace_price_rows(file, "two\n", refuse)
    assert read_price_rows(file) == "one\r\n"
    replace_price_rows(file, "two\n", lambda _path: None)
    assert file.read_bytes() == b"two\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["ours.csv"]
    with pytest.raises(ConfigurationError, match="cannot be written"):
        replace_price_rows(tmp_path / "nowhere" / "ours.csv", "x", lambda _path: None)
