"""Parser Bench: registered parsers and files with parsers in them, how they fare, and trying them on a file."""

from casparian_console.screens.bench.screen import Bench

__all__ = ["Bench"]
