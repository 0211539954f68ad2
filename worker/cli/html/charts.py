"""Charts as SVG that stands in the page: drawn by pygal, styled by the page's own style sheet.

pygal's own styles and scripts are left out of what it draws (the page allows none but its own),
and so are its version and date, so that the same figures give the same bytes. Text is escaped
by the XML writer.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

import pygal  # type: ignore[import-untyped]
from pygal.style import Style  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from worker.core.report_time import Chart

# pygal adds a finder for its plugins to the interpreter's, in a form that Python 3.4 gave up;
# whoever asks every finder (test runners do) stumbles over it. No plugin is used here.
sys.meta_path[:] = [one for one in sys.meta_path if not type(one).__module__.startswith("pygal")]

MONEY_LABELS_MAX: Final = 5
_LONG_NUMBER = re.compile(r"-?[0-9]+\.[0-9]{2,}")
_UNWANTED: Final = frozenset({"defs", "desc", "title"})
_UNWANTED_CLASSES: Final = frozenset({"background", "overlay", "text-overlay", "tooltip-overlay"})


def draw(
    chart: Chart,
    titles: Sequence[Sequence[str]],
    colours: Sequence[str],
    *,
    size: tuple[int, int],
    labels_max: int,
    font_size: int = 12,
) -> str:
    """Draw spend over time.

    Args:
        chart: What to draw.
        titles: Text of every bar, by series and bucket, shown when a pointer rests on it.
        colours: Class of every series: the style sheet knows its colour.
        size: Width and height of the drawing; it scales with the page.
        labels_max: How many buckets have room for a label.
        font_size: Of labels, in units of the drawing.

    Returns:
        An `<svg>` element without script or style.
    """
    style = Style(
        label_font_size=font_size, major_label_font_size=font_size, font_family="sans-serif"
    )
    bars = pygal.StackedBar(
        style=style,
        css=[],
        js=[],
        width=size[0],
        height=size[1],
        margin=2,
        margin_top=8,
        margin_bottom=4,
        spacing=6,
        show_legend=False,
        no_prefix=True,
        show_y_guides=True,
        max_scale=MONEY_LABELS_MAX,
        min_scale=2,
        no_data_text="",
        truncate_label=-1,
    )
    totals = [sum(column) for column in zip(*(one.heights for one in chart.series), strict=True)]
    bars.formatter = bars.value_formatter = _axis_money(max(totals, default=0))
    step = -(-len(chart.labels) // labels_max)
    bars.x_labels = [
        label if column % step == 0 else "" for column, label in enumerate(chart.labels)
    ]
    for one in chart.series:
        bars.add("", list(one.heights))
    root: ET.Element = bars.render_tree()
    _tidy(root)
    _finish(root, titles, colours)
    root.attrib = {
        "viewBox": f"0 0 {size[0]} {size[1]}",
        "aria-hidden": "true",
        "focusable": "false",
    }
    return ET.tostring(root, encoding="unicode")


def _axis_money(highest: float) -> Callable[[Any], str]:
    """Return how an axis writes its labels: round numbers, with the cents that they need."""
    decimals = 0 if highest >= MONEY_LABELS_MAX else 2
    scale = highest
    while 0 < scale < MONEY_LABELS_MAX / 100 and decimals < 12:  # noqa: PLR2004 - pico-USD
        scale *= 10
        decimals += 1
    return lambda value: f"${value:,.{decimals}f}"


def _tidy(element: ET.Element) -> None:
    element.tag = _local(element)
    for name, value in list(element.attrib.items()):
        element.attrib[name] = _LONG_NUMBER.sub(lambda number: f"{float(number[0]):.1f}", value)
    for child in list(element):
        classes = set(child.attrib.get("class", "").split())
        if (
            callable(child.tag)  # a comment
            or _local(child) in _UNWANTED
            or classes & _UNWANTED_CLASSES
            or (_local(child) == "text" and not child.text)
        ):
            element.remove(child)
        else:
            _tidy(child)


def _local(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _finish(root: ET.Element, titles: Sequence[Sequence[str]], colours: Sequence[str]) -> None:
    """Give every series the class of its colour and every bar its text; drop what has no height."""
    for axis in root.iter("g"):
        if axis.get("class", "").startswith("axis x"):
            _drop(axis, lambda node: node.tag == "path")
    series = [node for node in root.iter("g") if "series" in node.get("class", "").split()]
    for node, texts, colour in zip(series, titles, colours, strict=True):
        node.attrib = {"class": colour}
        for bar, text in zip(list(node.iter("rect")), texts, strict=True):
            for name in ("class", "rx", "ry"):
                bar.attrib.pop(name, None)
            title = ET.SubElement(bar, "title")
            title.text = text
        _drop(node, lambda bar: bar.tag == "rect" and float(bar.get("height", "0")) == 0)


def _drop(element: ET.Element, unwanted: Callable[[ET.Element], bool]) -> None:
    """Remove what is unwanted, and groups that are left with nothing in them."""
    for child in list(element):
        _drop(child, unwanted)
        if unwanted(child) or (child.tag == "g" and len(child) == 0):
            element.remove(child)
