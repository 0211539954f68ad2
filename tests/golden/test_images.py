"""Images from the log line to the charge, priced by hand."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from worker.core.ledger import Amounts
from worker.core.money import format_pico_usd
from worker.replay import replay
from worker.settings import Settings

CANVAS = "amazon.nova-canvas-v1:0"
TITAN_1, TITAN_2 = "amazon.titan-image-generator-v1", "amazon.titan-image-generator-v2:0"
XL = "stability.stable-diffusion-xl-v1"
ULTRA = "stability.stable-image-ultra-v1:1"


def line(model_id: str, request: Any, response: Any) -> str:
    """An InvokeModel record; images have no token counts. A request of None is not delivered."""
    record: dict[str, Any] = {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": "2026-08-03T10:00:00Z",
        "accountId": "111122223333",
        "identity": {"arn": "arn:aws:iam::111122223333:user/painter"},
        "region": "us-east-1",
        "requestId": "0f3c9a52-6d1e-4b7a-9c55-3f2b8a1d7e90",
        "operation": "InvokeModel",
        "modelId": model_id,
        "input": {"inputContentType": "application/json"},
        "output": {"outputContentType": "application/json", "outputBodyJson": response},
    }
    if request is not None:
        record["input"]["inputBodyJson"] = request
    return json.dumps(record)


def book(folder: Path, text: str) -> Amounts:
    (folder / "log.json").write_text(text)
    figures = asyncio.run(replay(Settings(ledger="memory"), [str(folder)], jobs=1))
    assert figures.totals.calls == 1
    return figures.totals


def sized(width: int, height: int, quality: str) -> dict[str, Any]:
    config = {"numberOfImages": 5, "width": width, "height": height, "quality": quality}
    return {"taskType": "TEXT_IMAGE", "imageGenerationConfig": config}


@pytest.mark.parametrize(
    "model_id, request_body, usd",
    [
        # Three images each, whatever the request asks for: what came out is what counts.
        (CANVAS, {"taskType": "TEXT_IMAGE"}, "0.12"),  # 3 x 0.04
        (CANVAS, sized(1280, 720, "standard"), "0.12"),
        (CANVAS, sized(1024, 1024, "premium"), "0.18"),  # 3 x 0.06
        (CANVAS, sized(2048, 1024, "standard"), "0.18"),
        (CANVAS, sized(2048, 2048, "premium"), "0.24"),  # 3 x 0.08
        (TITAN_1, {"taskType": "TEXT_IMAGE"}, "0.03"),  # 3 x 0.01
        (TITAN_1, sized(512, 512, "standard"), "0.024"),  # 3 x 0.008
        (TITAN_2, sized(384, 640, "premium"), "0.03"),
        (TITAN_2, sized(1152, 896, "premium"), "0.036"),  # 3 x 0.012
        (XL, {"width": 1216, "height": 832, "steps": 50}, "0.12"),  # 3 x 0.04
        (XL, {"steps": 51}, "0.24"),  # 3 x 0.08
        (ULTRA, {"prompt": "a boat", "aspect_ratio": "16:9"}, "0.42"),  # 3 x 0.14
        (ULTRA, None, "0.42"),
    ],
)
def test_images_are_priced(model_id: str, request_body: Any, usd: str, tmp_path: Path) -> None:
    pictures = ["aGk=", "aG8=", "aGE="]
    response = (
        {"result": "success", "artifacts": [{"base64": picture} for picture in pictures]}
        if model_id == XL
        else {"images": pictures}
    )
    found = book(tmp_path, line(model_id, request_body, response))
    assert format_pico_usd(found.cost_pico_usd) == usd
    assert (found.estimated_calls, found.unpriced_calls, found.unmetered_calls) == (0, 0, 0)


@pytest.mark.parametrize(
    "model_id, request_body, usd",
    [
        (CANVAS, {"taskType": "BACKGROUND_REMOVAL", "backgroundRemovalParams": {}}, "0.06"),
        (CANVAS, None, "0.06"),
        (CANVAS, sized(4096, 4096, "premium"), "0.08"),
        (TITAN_2, {"taskType": "BACKGROUND_REMOVAL", "backgroundRemovalParams": {}}, "0.008"),
        (TITAN_1, sized(1408, 768, "standard"), "0.01"),
    ],
)
def test_an_image_of_unknown_or_unlisted_size_is_estimated(
    model_id: str, request_body: Any, usd: str, tmp_path: Path
) -> None:
    found = book(tmp_path, line(model_id, request_body, {"images": ["aGk="]}))
    assert format_pico_usd(found.cost_pico_usd) == usd
    assert found.estimated_calls == 1


def test_an_image_that_only_sizes_have_a_price_for_is_unpriced(tmp_path: Path) -> None:
    found = book(tmp_path, line(XL, None, {"artifacts": [{"base64": "aGk="}]}))
    assert (found.cost_pico_usd, found.unpriced_calls) == (0, 1)


def test_no_image_costs_nothing(tmp_path: Path) -> None:
    found = book(tmp_path, line(CANVAS, sized(2048, 2048, "premium"), {"images": []}))
    assert (found.cost_pico_usd, found.estimated_calls, found.unpriced_calls) == (0, 0, 0)
