"""Discover."""

from __future__ import annotations

from casparian_console.canvas import Line, block
from casparian_console.screen import Context, Screen


class Discover(Screen):
    name = "discover"
    title = "Discover"

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        return block([], width, height)
