"""Writing the page: a template, one style sheet and one script, all inside one file.

Names on the page are chosen by callers. Three things keep them from being anything but text:
the template escapes whatever it is given; charts are written by an XML writer; and the page's
content security policy allows exactly one style sheet and one script, named by their hashes,
and no request to anywhere.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from importlib.resources import files
from typing import Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from worker.cli.html.charts import draw
from worker.cli.html.text import (
    Name,
    change_percent,
    exact_usd,
    name_of,
    printable_text,
    short_usd,
)
from worker.cli.output import count, share, short_count
from worker.core.money import format_pico_usd
from worker.core.report_calls import CALLS_PER_PRINCIPAL
from worker.core.report_page import Page
from worker.core.report_time import OTHERS, Chart

COLOURS: Final = 7
CHART_WIDE: Final = (1040, 280)
CHART_NARROW: Final = (400, 260)
DETAIL_WIDE: Final = (1000, 150)
DETAIL_NARROW: Final = (400, 150)

SHORT_HEADLINE_MAX: Final = 9
"""Characters of a headline figure that fit the narrowest tile in the largest type."""
LONG_HEADLINE_MAX: Final = 11

OTHER_MODELS: Final = Name("other models", "", "other models")


def render(page: Page, *, ledger_option: str = "", calls_read_max: int = 0) -> str:
    """Return the page as one HTML document, the same bytes for the same page.

    Args:
        page: What to show.
        ledger_option: What names the ledger in a command, with a leading space.
        calls_read_max: The number of calls up to which single ones are looked at.
    """
    folder = files("worker.cli.html")
    style = folder.joinpath("page.css").read_text(encoding="utf-8")
    script = folder.joinpath("page.js").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        usd=money,
        exact=exact_usd,
        count=count,
        tokens=tokens,
        short=short_count,
        moment=moment,
    )
    environment.globals.update(
        name_of=name_of,
        share=share,
        bar=bar,
        change_percent=change_percent,
        printable=printable_text,
        size_of=size_of,
    )
    template = environment.from_string(folder.joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(
        page=page,
        style=Markup(style),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - a file of this package
        policy=_policy(style, script),
        legend=legend(page.chart),
        charts=charts_of(page.chart, CHART_WIDE, CHART_NARROW),
        detail_charts=[charts_of(one.chart, DETAIL_WIDE, DETAIL_NARROW) for one in page.details],
        ledger_option=ledger_option,
        calls_read_max=calls_read_max,
        calls_max=CALLS_PER_PRINCIPAL,
    )


def _policy(style: str, script: str) -> str:
    def source(text: str) -> str:
        digest = hashlib.sha256(text.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    return (
        f"default-src 'none'; style-src {source(style)}; script-src {source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def money(pico_usd: int) -> Markup:
    """Return an amount as people read it, with every digit in its title and value."""
    return Markup('<data class="m" value="{}" title="{}">{}</data>').format(
        format_pico_usd(pico_usd),
        exact_usd(pico_usd),
        short_usd(pico_usd),
    )


def tokens(number: int) -> Markup:
    """Return a number of tokens as people say it, with every digit in its value."""
    if not number:
        return Markup("\N{EN DASH}")
    return Markup('<data value="{}">{}</data>').format(number, short_count(number))


def size_of(text: str) -> str:
    """Return the class of a headline figure that would not fit its tile in the largest type."""
    if len(text) <= SHORT_HEADLINE_MAX:
        return "short"
    return "long" if len(text) <= LONG_HEADLINE_MAX else "longer"


def moment(at_ms: int) -> str:
    """Return a time to the second, UTC."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def bar(part: int, whole: int, colour: str = "c0") -> Markup:
    """Return a bar as long as `part` is of `whole`; geometry, without a figure of its own."""
    per_mille = 0 if whole <= 0 else max(min(abs(part) * 1000 // whole, 1000), 4 if part else 0)
    return Markup(
        '<svg class="bar {}" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" '
        'focusable="false"><rect class="track" width="1000" height="10"/>'
        '<rect width="{}" height="10"/></svg>'
    ).format(colour, per_mille)


def colours_of(chart: Chart) -> list[str]:
    """Return the class of every series' colour."""
    return [
        "others" if one.name == OTHERS and len(chart.series) > 1 else f"c{index % COLOURS}"
        for index, one in enumerate(chart.series)
    ]


def legend(chart: Chart) -> list[tuple[str, Name, int]]:
    """Return class, name and sum of every colour."""
    return [
        (
            colour,
            OTHER_MODELS if colour == OTHERS else name_of("model", one.name),
            sum(one.amounts_pico_usd),
        )
        for colour, one in zip(colours_of(chart), chart.series, strict=True)
    ]


def charts_of(
    chart: Chart, wide: tuple[int, int], narrow: tuple[int, int]
) -> tuple[Markup, Markup]:
    """Draw a chart for a wide page and for a phone."""
    titles = [
        [
            f"{title}\n{_series_name(chart, one.name)}{exact_usd(amount)}"
            + (f"\nall models {exact_usd(total)}" if len(chart.series) > 1 else "")
            for title, amount, total in zip(
                chart.titles, one.amounts_pico_usd, chart.totals_pico_usd, strict=True
            )
        ]
        for one in chart.series
    ]
    colours = colours_of(chart)
    return (
        Markup(draw(chart, titles, colours, size=wide, labels_max=16)),  # noqa: S704 - XML writer
        Markup(  # noqa: S704 - the same
            draw(chart, titles, colours, size=narrow, labels_max=5, font_size=14)
        ),
    )


def _series_name(chart: Chart, name: str) -> str:
    if len(chart.series) == 1:
        return ""
    return "other models: " if name == OTHERS else f"{name_of('model', name).full}: "
