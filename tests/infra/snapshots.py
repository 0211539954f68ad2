"""Templates as they are kept for review: a file for each stack of each shape.

Our own few lines, since a person has to read and compare them: a block for each resource, joined
texts as one text, no tags (of which `tests.infra.invariants` knows all), and nothing that changes
with every edit of the source tree. A library would keep them in a format of its own besides.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.infra.shapes import Json, Synthesised

FOLDER: Final = Path(__file__).with_name("snapshots")
KEPT: Final = (
    *("functions-kinesis", "functions-subscription", "functions-s3", "functions-workflows"),
    *("functions-everything", "functions-nothing", "container-public", "container-private"),
    *("container-everything", "container-nothing", "sources-regions"),
)
"""Shapes whose templates are kept; the others are made of the same parts."""
UPDATE: Final = "make snapshots"
WIDTH: Final = 120
_HASH: Final = re.compile(r"[0-9a-f]{64}")


def snapshots(shape: str, made: Synthesised) -> Iterator[tuple[Path, str]]:
    """Yield the file and the text of each stack of a shape."""
    for stack, template in made.templates.items():
        yield FOLDER / shape / f"{stack}.json", rendered(template)


def rendered(template: Json) -> str:
    """Return a template as text: sorted, without hashes of assets, a line for what fits in one."""
    return "\n".join(_lines(_read_easily(template))) + "\n"


def _read_easily(value: Any) -> Any:
    """Leave tags and hashes out, and write joined texts as one, as `Fn::Sub` would have it."""
    if isinstance(value, str):
        return _HASH.sub("HASH", value)
    if isinstance(value, list):
        return [_read_easily(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"Fn::Join"} and isinstance(value["Fn::Join"][1], list):
        separator, parts = value["Fn::Join"]
        return {"Fn::Join": _read_easily(separator.join(map(_as_text, parts)))}
    return {key: _read_easily(inner) for key, inner in value.items() if key != "Tags"}


def _as_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    reference = part.get("Ref") or ".".join(part.get("Fn::GetAtt", ())) or json.dumps(part)
    return f"${{{reference}}}"


def _lines(value: Any, key: str = "", indent: int = 0, end: str = "") -> Iterator[str]:
    """Yield the lines of a value; lists mean their order, keys are sorted."""
    margin = " " * indent
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    # Resources have blocks, however short they are.
    is_short = len(margin) + len(key) + len(text) <= WIDTH and indent > 1
    if is_short or not value or not isinstance(value, dict | list):
        yield f"{margin}{key}{text}{end}"
        return
    opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
    inner = (
        [(f'"{name}": ', value[name]) for name in sorted(value)]
        if opening == "{"
        else [("", one) for one in value]
    )
    yield f"{margin}{key}{opening}"
    for number, (name, one) in enumerate(inner, 1):
        yield from _lines(one, name, indent + 1, "," if number < len(inner) else "")
    yield f"{margin}{closing}{end}"


def write(shape: str, made: Synthesised) -> None:
    """Replace the snapshots of a shape."""
    folder = FOLDER / shape
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    for path, text in snapshots(shape, made):
        path.write_text(text, encoding="utf-8")
