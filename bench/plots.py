"""Pictures of results: bars, one a case by the first figure of a benchmark, or panels, one a figure over the size of the work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

_WIDTH, _NAMES, _VALUES = 900, 250, 190
_BAR, _GAP, _TOP = 18, 10, 44
_COLOURS = {"casparian": "#2f5d8f", "peer": "#b5bcc5", "bare": "#e3c27a"}
_LEGEND = {"casparian": "casparian", "peer": "another tool", "bare": "only the physical work"}


def bars(document: dict[str, Any]) -> str:
    """An SVG of one result (`bench NAME --json`): the median of each case's first figure, and the range of its runs."""
    figure = document["figures"][0]
    name = figure["name"]
    cases = [case for case in document["cases"] if (case.get("median") or {}).get(name) is not None]
    works = list(dict.fromkeys(case.get("work", "") for case in cases))
    cases.sort(key=lambda case: works.index(case.get("work", "")))
    height = _TOP + len(cases) * (_BAR + _GAP) + 34
    best = "more is better" if figure["is_higher_better"] else "less is better"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
            ' font-family="DejaVu Sans, Arial, sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            _text(10, 18, f"{document['benchmark']}: {name}, {figure['unit']} ({best})", size=13),
            *_rows(cases, name),
            *_legend(cases, height - 14),
            "</svg>",
            "",
        ]
    )


_PANEL_WIDTH, _PANEL_HEIGHT, _MARGIN = 300, 190, 46
_PANELS_A_ROW = 3


class Panel(NamedTuple):
    """A figure over the size of the work; sizes are each about ten times the one before."""

    title: str
    sizes: Sequence[float]
    values: Sequence[float]


def panels(drawn: Sequence[Panel]) -> str:
    """An SVG with each figure over the size, on a logarithmic scale, from zero."""
    rows = -(-len(drawn) // _PANELS_A_ROW)
    width, height = _PANEL_WIDTH * _PANELS_A_ROW, _PANEL_HEIGHT * rows
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' font-family="DejaVu Sans, Arial, sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for number, panel in enumerate(drawn):
        left, top = number % _PANELS_A_ROW * _PANEL_WIDTH, number // _PANELS_A_ROW * _PANEL_HEIGHT
        parts += [f'<g transform="translate({left},{top})">', *_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel) -> Iterator[str]:
    bottom, right = _PANEL_HEIGHT - _MARGIN // 2 - 8, _PANEL_WIDTH - 24
    step = (right - _MARGIN) / max(1, len(panel.sizes) - 1)
    highest = max(panel.values, default=0.0) * 1.25 or 1.0
    points = [(_MARGIN + step * n, bottom - (bottom - 34) * value / highest) for n, value in enumerate(panel.values)]
    yield f'<text x="{_MARGIN - 30}" y="16" font-size="12" fill="#1b1f24">{escape(panel.title)}</text>'
    yield f'<path d="M{_MARGIN} 30V{bottom}H{right}" fill="none" stroke="#8a929c"/>'
    for (x, y), size, value in zip(points, panel.sizes, panel.values, strict=True):
        yield f'<text x="{x:.0f}" y="{bottom + 15}" text-anchor="middle" fill="#57606a">{size:,}</text>'
        yield f'<text x="{x:.0f}" y="{y - 7:.1f}" text-anchor="middle" fill="#1b1f24">{_short(value)}</text>'
        yield f'<circle cx="{x:.0f}" cy="{y:.1f}" r="3" fill="#2f5d8f"/>'
    line = " ".join(f"{x:.0f},{y:.1f}" for x, y in points)
    yield f'<polyline points="{line}" fill="none" stroke="#2f5d8f" stroke-width="1.5"/>'


def _rows(cases: list[dict[str, Any]], name: str) -> Iterator[str]:
    most = max((sample["figures"].get(name, 0.0) for case in cases for sample in case["samples"]), default=0.0) or 1.0
    scale = (_WIDTH - _NAMES - _VALUES) / most
    for number, case in enumerate(cases):
        top = _TOP + number * (_BAR + _GAP)
        middle = top + _BAR / 2
        value = case["median"][name]
        values = [sample["figures"][name] for sample in case["samples"] if name in sample["figures"]]
        low, high = _NAMES + min(values) * scale, _NAMES + max(values) * scale
        yield _text(_NAMES - 8, middle + 4, case["name"], anchor="end")
        yield (
            f'<rect x="{_NAMES}" y="{top}" width="{max(1.0, value * scale):.1f}" height="{_BAR}"'
            f' fill="{_COLOURS[case["kind"]]}"/>'
        )
        yield f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#1b1f24" fill="none"/>'
        yield _text(max(high, _NAMES + value * scale) + 8, middle + 4, _spread(value, values))


def _spread(value: float, values: list[float]) -> str:
    if len(values) == 1:
        return _short(value)
    return f"{_short(value)} ({_short(min(values))}..{_short(max(values))})"


def _legend(cases: list[dict[str, Any]], y: float) -> Iterator[str]:
    x = float(_NAMES)
    for kind in dict.fromkeys(case["kind"] for case in cases):
        yield f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{_COLOURS[kind]}"/>'
        yield _text(x + 18, y, _LEGEND[kind])
        x += 50 + 7 * len(_LEGEND[kind])


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#1b1f24">{escape(words)}</text>'
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
