"""Parser Bench: registered parsers and files with parsers in them, their results, and tests on a file."""

from casparian_console.screens.bench.screen import Bench

__all__ = ["Bench"]
