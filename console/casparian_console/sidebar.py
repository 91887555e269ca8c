"""The assistant at the right side: a conversation about what is on the screen. Pure: talking to a model is an effect."""

from __future__ import annotations

from typing import Any

from casparian_console.canvas import Line, block
from casparian_console.editor import Editor
from casparian_console.effects import Effects


class Sidebar:
    def __init__(self, *, is_configured: bool) -> None:
        self.is_configured = is_configured
        self.is_open = False
        self.is_focused = False
        self.editor = Editor(is_multiline=True)

    def main_width(self, width: int) -> int:
        """Columns that the main area has beside it: 70 %."""
        return width - max(24, width * 3 // 10) if self.is_open else width

    def toggle(self, context: Any) -> Effects:
        self.is_open = self.is_focused = not self.is_open
        return []

    def key(self, key: str, context: Any) -> Effects | None:
        return [] if self.editor.handle(key) else None

    def paste(self, text: str) -> None:
        self.editor.insert(text)

    def mouse(self, message: Any, context: Any) -> Effects:
        return []

    def took(self, message: Any, context: Any) -> Effects:
        return []

    def draw(self, context: Any, width: int, height: int) -> list[Line]:
        return block([], width, height)
