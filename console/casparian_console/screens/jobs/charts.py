"""A chart of block characters: one column a sample, eight levels a row. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from casparian_console.canvas import Glyphs


def binned(values: Sequence[float], columns: int) -> list[float]:
    """The values as `columns` means; fewer values stay as they are."""
    if len(values) <= columns or columns <= 0:
        return list(values)
    edges = [at * len(values) // columns for at in range(columns + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]


def chart(values: Sequence[float], width: int, height: int, glyphs: Glyphs) -> list[str]:
    """`height` rows of `width` columns, the youngest value at the right, from zero to the highest one."""
    shown = binned(values, width)
    highest = max(shown, default=0.0)
    levels = f"{glyphs.sparks}{glyphs.full}" if len(glyphs.sparks) == 8 else f" {glyphs.sparks}"
    steps = len(levels) - 1
    heights = [round(value / highest * height * steps) if highest > 0 else 0 for value in shown]
    rows = []
    for row in range(height - 1, -1, -1):
        drawn = "".join(levels[max(0, min(steps, each - row * steps))] for each in heights)
        rows.append(drawn.rjust(width))
    return rows
