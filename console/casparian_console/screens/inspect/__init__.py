"""Inspect: what was published and what was set aside, as tables, numbers, SQL and quarantine."""

from casparian_console.screens.inspect.screen import Inspect

__all__ = ["Inspect"]
