"""Inspect: published and quarantined rows, as tables, column profiles and SQL."""

from casparian_console.screens.inspect.screen import Inspect

__all__ = ["Inspect"]
