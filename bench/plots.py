"""Pictures of results: one bar a case, by the first figure of a benchmark. `scale` draws its growth itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
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
