"""Where the cursors of the screens were when the console left the present, to put them back. Pure.

In the past a selected row may not be there yet, and its cursor then stands elsewhere. Whoever moves a cursor there
himself wants to come back with it; the other cursors return to where they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from casparian_console.listing import Cursor
from casparian_console.screen import Screen

_OURS = "casparian_console.screens"
#: Longer collections hold rows, not panes.
_PANES = 50


class Places:
    def __init__(self, screens: Mapping[str, Screen]) -> None:
        self._screens = {
            name: [(cursor, replace(cursor)) for cursor in _cursors(screen, set())] for name, screen in screens.items()
        }

    def moved(self, screen: str) -> None:
        """A person has moved something there: it stays as it will be."""
        self._screens.pop(screen, None)

    def put_back(self) -> None:
        for cursors in self._screens.values():
            for cursor, was in cursors:
                cursor.at, cursor.top, cursor.identity = was.at, was.top, was.identity


def _cursors(thing: Any, seen: set[int]) -> Iterator[Cursor]:
    """Every cursor of a screen, its panes and their parts."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, Cursor):
        yield thing
    elif isinstance(thing, dict | list | tuple):
        if len(thing) <= _PANES:
            for part in thing.values() if isinstance(thing, dict) else thing:
                yield from _cursors(part, seen)
    elif type(thing).__module__.startswith(_OURS):
        names = [*vars(thing)] if hasattr(thing, "__dict__") else [*getattr(type(thing), "__slots__", ())]
        for name in names:
            yield from _cursors(getattr(thing, name, None), seen)
