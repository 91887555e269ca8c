"""Parser Bench."""

from __future__ import annotations

from casparian_console.canvas import Line, block
from casparian_console.screen import Context, Screen


class Bench(Screen):
    name = "bench"
    title = "Parser Bench"

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        return block([], width, height)
