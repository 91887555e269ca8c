"""Discover: sources, files, and what is in them."""

from casparian_console.screens.discover.screen import Discover

__all__ = ["Discover"]
