"""A report as one self-contained HTML page with charts."""

from __future__ import annotations

import hashlib
import json
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from string import Template
from textwrap import wrap
from typing import Any

try:
    import plotly.graph_objects as go  # type: ignore[import-untyped]
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]
except ImportError as error:
    msg = 'The page needs plotly: pip install "langchain-moa[evals]"'
    raise ImportError(msg) from error

from langchain_moa.evals.report.answer_details import QuestionDetails
from langchain_moa.evals.report.answers_section import answers_section
from langchain_moa.evals.report.findings import Findings, SystemReport
from langchain_moa.evals.report.resources import resource
from langchain_moa.evals.report.tables import Table, correction, dollars, heading, interval, number, sentence, tables

# Each is at least 3:1 against both a white and a dark page (WCAG 2.2, 1.4.11). The symbols tell the systems apart too.
_COLORS = ("#3079c2", "#d2691e", "#2a9163", "#c4517a", "#8467cf", "#15899a", "#a0722f", "#7a8594")
_SYMBOLS = {
    "circle": "\N{BLACK CIRCLE}",
    "square": "\N{BLACK SQUARE}",
    "diamond": "\N{BLACK DIAMOND}",
    "triangle-up": "\N{BLACK UP-POINTING TRIANGLE}",
    "triangle-down": "\N{BLACK DOWN-POINTING TRIANGLE}",
    "triangle-left": "\N{BLACK LEFT-POINTING TRIANGLE}",
    "triangle-right": "\N{BLACK RIGHT-POINTING TRIANGLE}",
    "star": "\N{BLACK STAR}",
}

_RADAR_SPOKES = 3
_LABEL = 16
"""Characters per line of an axis label."""

_LOGARITHMIC = 20
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""


_GAP = 0.03
"""Distance of two systems with the same cost, as a share of the axis."""


@dataclass(frozen=True, kw_only=True)
class _Picture:
    title: str
    figure: go.Figure | None
    note: str = ""
    kind: str = "plot"


def to_html(report: Findings, details: Sequence[QuestionDetails] = ()) -> str:
    """Return the report as an HTML page of about 5 MB, which includes plotly's JavaScript.

    Args:
        report: The report.
        details: The questions to show with all answers; `answer_details` returns them. They are compressed to about a
            third. Default: none.
    """
    pictures = [
        _against(report, "cost", "USD for 100 items", [row.spending.usd_per_100 for row in report.systems]),
        _against(
            report, "latency", "seconds for an item (median)", [row.spending.latency_p50 for row in report.systems]
        ),
        *_radars(report),
    ]
    figures = [picture.figure.to_plotly_json() for picture in pictures if picture.figure]
    plotly, draw, browse = get_plotlyjs(), resource("page.js"), resource("answers.js")
    return Template(resource("page.html")).substitute(
        title=escape(f"{report.benchmark}: is it worth it?"),
        about=escape(heading(report)),
        policy=escape(_policy(plotly, draw, browse)),
        verdicts=_verdicts(report),
        warnings=_section("Warnings", "warnings", [f"<li>{escape(warning)}</li>" for warning in report.warnings]),
        figures="\n".join(_figure(picture, report.systems) for picture in pictures),
        tables="\n".join(map(_table, tables(report))),
        answers=answers_section(details, [row.system for row in report.systems]),
        # "</script>" in a text would end the element.
        data=json.dumps(figures, allow_nan=False).replace("<", "\\u003c"),
        plotly=plotly,
        draw=draw,
        browse=browse,
    )


def _against(report: Findings, what: str, axis: str, values: Sequence[float | None]) -> _Picture:
    """Plot scores with their intervals against cost or latency."""
    title = f"Score against {what}"
    known = [(i, row, x) for i, (row, x) in enumerate(zip(report.systems, values, strict=True))]
    shown = [(i, row, x) for i, row, x in known if x is not None and row.score is not None]
    missing = [row.system for _, row, x in known if x is None or row.score is None]
    note = f"Not shown, because it is not known: {', '.join(missing)}." if missing else ""
    if not shown:
        return _Picture(title=title, figure=None, note=note)
    exact = [x for _, _, x in shown]
    scale = _scale(exact)
    drawn = _side_by_side(exact, scale)
    if drawn != exact:
        note = f"{note} Systems of the same {what} are drawn side by side.".lstrip()
    points = [_point(i, row, x) for (i, row, _), x in zip(shown, drawn, strict=True)]
    figure = go.Figure(points, _layout(l=64, r=24, t=16, b=56))
    figure.update_yaxes(title=_drawn(report.score_name))
    figure.update_xaxes(title=axis, **scale)
    return _Picture(title=title, figure=figure, note=note)


def _scale(values: Sequence[float]) -> dict[str, Any]:
    low, high = min(values), max(values)
    if low > 0 and high / low > _LOGARITHMIC:
        # Without a format plotly shortens 0.02 to its first digit.
        return {"type": "log", "range": [math.log10(low / 2), math.log10(high * 2)], "tickformat": "~g"}
    return {"range": [0, high * 1.12 or 1]}


def _side_by_side(values: Sequence[float], scale: Mapping[str, Any]) -> list[float]:
    """Move values apart that would be drawn over each other."""
    is_log = scale.get("type") == "log"
    left, right = scale["range"]
    gap = _GAP * (right - left)
    places = [math.log10(value) if is_log else value for value in values]
    drawn = list(values)
    for i in range(len(places)):
        group = [j for j, place in enumerate(places) if abs(place - places[i]) < gap / 2]
        shift = gap * (group.index(i) - (len(group) - 1) / 2)
        if len(group) > 1:
            drawn[i] = 10 ** (places[i] + shift) if is_log else places[i] + shift
    return drawn


def _point(i: int, row: SystemReport, x: float) -> go.Scatter:
    score = row.score or 0.0
    bounds = row.interval
    return go.Scatter(
        x=[x],
        y=[score],
        name=_drawn(row.system),
        mode="markers",
        marker={"size": 12, **_style(i)},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [bounds.high - score if bounds else 0],
            "arrayminus": [score - bounds.low if bounds else 0],
            "thickness": 2,
            "width": 6,
        },
        hovertemplate=_hover(row),
    )


def _hover(row: SystemReport) -> str:
    spending = row.spending
    lines = [
        f"<b>{_hover_text(row.system)}</b>",
        f"score {number(row.score)} ({interval(row.interval)})",
        f"{row.scored} of {row.answers} items scored, {row.failed} failed, {row.unparsable} unparsable",
        f"{dollars(spending.usd_per_100)} USD for 100 items",
        f"latency p50 {number(spending.latency_p50)} s, p95 {number(spending.latency_p95)} s",
        f"{number(spending.calls, '.1f')} calls an item",
        f"{number(spending.input_tokens, ',.0f')} tokens in, {number(spending.output_tokens, ',.0f')} out",
    ]
    return "<br>".join(lines) + "<extra></extra>"


def _drawn(text: str) -> str:
    """Escape text for plotly, which interprets some HTML but knows few entities."""
    return escape(text, quote=False)


def _hover_text(text: str) -> str:
    """Escape text for a plotly hover template, where `%{…}` is a placeholder."""
    return _drawn(text).replace("%{", "%&#123;")


def _radars(report: Findings) -> list[_Picture]:
    """Plot a radar chart per breakdown, where the scored systems share enough parts."""
    rows = [(i, row) for i, row in enumerate(report.systems) if row.score is not None]
    pictures = []
    for name in dict.fromkeys(name for _, row in rows for name in row.breakdowns):
        values = [row.breakdowns.get(name, {}) for _, row in rows]
        parts = list(dict.fromkeys(part for by_part in values for part in by_part))
        shared = [part for part in parts if all(by_part.get(part) is not None for by_part in values)]
        if len(shared) >= _RADAR_SPOKES:
            missing = [part for part in parts if part not in shared]
            note = f"Not shown, because not all systems have it: {', '.join(missing)}." if missing else ""
            figure = _radar(rows, name, shared)
            pictures.append(_Picture(title=f"Score by {name}", figure=figure, note=note, kind="plot radar"))
    return pictures


def _radar(rows: Sequence[tuple[int, SystemReport]], name: str, parts: Sequence[str]) -> go.Figure:
    figure = go.Figure(layout=_layout(l=88, r=88, t=60, b=52))
    spokes = ["<br>".join(map(_drawn, wrap(part, _LABEL))) for part in parts]
    highest = 0.0
    for i, row in rows:
        values = [row.breakdowns[name][part] or 0.0 for part in parts]
        highest = max(highest, *values)
        figure.add_trace(
            go.Scatterpolar(
                r=[*values, values[0]],  # the line ends where it began
                theta=[*spokes, spokes[0]],
                name=_drawn(row.system),
                mode="lines+markers",
                marker={"size": 7, **_style(i)},
                line={"width": 2},
                hovertemplate=f"<b>{_hover_text(row.system)}</b><br>%{{theta}}: %{{r:.2f}}<extra></extra>",
            )
        )
    figure.update_polars(
        bgcolor="rgba(0,0,0,0)",
        radialaxis={"range": [0, highest * 1.05 or 1], "nticks": 6, "angle": 90, "tickangle": 90, "showline": False},
        angularaxis={"direction": "clockwise", "rotation": 90, "showline": False},
    )
    return figure


def _layout(**margin: int) -> go.Layout:
    return go.Layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin=margin,
        showlegend=False,  # the page has its own, which never lies over an axis
        hovermode="closest",
        font={"size": 12},
    )


def _style(i: int) -> dict[str, str]:
    return {"color": _COLORS[i % len(_COLORS)], "symbol": list(_SYMBOLS)[i % len(_SYMBOLS)]}


def _figure(picture: _Picture, systems: Sequence[SystemReport]) -> str:
    title = escape(picture.title)
    plot = (
        f'<div class="{picture.kind}" role="img" aria-label="{title}"></div>\n{_legend(systems)}'
        if picture.figure
        else ""
    )
    note = f'<p class="note">{escape(picture.note)}</p>\n' if picture.note else ""
    return f"<figure>\n<h2>{title}</h2>\n{plot}{note}</figure>"


def _legend(systems: Sequence[SystemReport]) -> str:
    styles = [_style(i) for i in range(len(systems))]
    marks = [f'<span style="color:{style["color"]}">{_SYMBOLS[style["symbol"]]}</span>' for style in styles]
    items = [f"<li>{mark} {escape(row.system)}</li>" for mark, row in zip(marks, systems, strict=True)]
    return f'<ul class="legend">{"".join(items)}</ul>\n'


def _verdicts(report: Findings) -> str:
    items = [
        f'<li class="{(verdict.outcome or "unknown").replace(" ", "-")}">{escape(sentence(verdict))}</li>'
        for verdict in report.verdicts
    ]
    return _section("Verdicts", "verdicts", items, note=correction(report))


def _section(title: str, kind: str, items: Sequence[str], *, note: str = "") -> str:
    lines = "\n".join(items)
    below = f'\n<p class="note">{escape(note)}</p>' if note else ""
    return f'<section class="{kind}">\n<h2>{title}</h2>\n<ul>\n{lines}\n</ul>{below}\n</section>' if items else ""


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = "\n".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for first, *cells in table.rows
    )
    table_html = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    title = escape(table.title)
    # Where it scrolls, the keyboard must be able to.
    box = f'<div class="wide" role="group" aria-label="{title}" tabindex="0">{table_html}</div>'
    return f"<section>\n<h2>{title}</h2>\n{box}\n</section>"


def _policy(*scripts: str) -> str:
    """Return a content security policy that allows only these scripts and no requests."""
    hashes = [f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts]
    return f"default-src 'none'; script-src {' '.join(hashes)}; style-src 'unsafe-inline'; img-src data: blob:"
