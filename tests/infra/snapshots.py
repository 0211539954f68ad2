"""Templates as they are kept for review: a file for each stack of each shape.

Thirty lines of our own, since a snapshot has to be a template that a person can read and compare,
without what changes with every edit of the source tree; a library's would be one more format.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.infra.shapes import Json, Synthesised

FOLDER: Final = Path(__file__).with_name("snapshots")
UPDATE: Final = "make snapshots"
_HASH: Final = re.compile(r"[0-9a-f]{64}")


def snapshots(shape: str, made: Synthesised) -> Iterator[tuple[Path, str]]:
    """Yield the file and the text of each stack of a shape."""
    for stack, template in made.templates.items():
        yield FOLDER / shape / f"{stack}.json", rendered(template)


def rendered(template: Json) -> str:
    """Return a template as text: sorted, one resource a block, without hashes of assets."""
    text = json.dumps(_sorted(template), indent=1, ensure_ascii=False)
    return _HASH.sub("HASH", text) + "\n"


def _sorted(value: Any) -> Any:
    """Order the keys; lists mean their order."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(one) for one in value]
    return value


def write(shape: str, made: Synthesised) -> None:
    """Replace the snapshots of a shape."""
    folder = FOLDER / shape
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    for path, text in snapshots(shape, made):
        path.write_text(text, encoding="utf-8")
