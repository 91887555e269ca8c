"""Which rows are on the screen: rows of different heights, a selected one that stays on its line. Pure.

Only the rows between the upper and the lower edge are ever asked for, so that the length of the list costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from casparian_console.screens.jobs.sheaves import Identity
from casparian_console.screens.jobs.shown import Shown

Height = Callable[[int], int]


@dataclass(slots=True)
class Window:
    """The selection, and the line of the screen that it is on."""

    at: int = 0
    identity: Identity | None = None
    line: int = 0
    #: What lay on each line of the last frame, for clicks.
    drawn: list[int] = field(default_factory=list)

    def settle(self, rows: Shown) -> None:
        """After anything changed: find the selected row again."""
        if not len(rows):
            self.at = self.line = 0
            return
        place = rows.place(self.identity) if self.identity is not None else None
        self.at = max(0, min(self.at if place is None else place, len(rows) - 1))
        self.identity = rows.identity(self.at)

    def select(self, rows: Shown, at: int, height_of: Height, height: int) -> None:
        """Choose a row; the window moves only as far as it must."""
        if not len(rows):
            return
        at = max(0, min(at, len(rows) - 1))
        if at > self.at:
            self.line += _span(self.at, at, height_of, height)
        else:
            self.line -= _span(at, self.at, height_of, height)
        self.at, self.identity = at, rows.identity(at)

    def move(self, key: str, rows: Shown, height_of: Height, height: int) -> bool:
        """The keys of every list; False for another key."""
        last = len(rows) - 1
        if key in ("pgdn", "pgup", "ctrl-d", "ctrl-u"):
            lines = height - 1 if key.startswith("pg") else height // 2
            target = self._page(lines if key in ("pgdn", "ctrl-d") else -lines, last, height_of)
        else:
            steps = {"j": self.at + 1, "down": self.at + 1, "k": self.at - 1, "up": self.at - 1}
            ends = {"g": 0, "home": 0, "G": last, "end": last}
            found = steps.get(key, ends.get(key))
            if found is None:
                return False
            target = found
        self.select(rows, target, height_of, height)
        return True

    def _page(self, lines: int, last: int, height_of: Height) -> int:
        """The row about so many lines away."""
        at, step = self.at, 1 if lines > 0 else -1
        left = abs(lines)
        while left > 0 and 0 <= at + step <= last:
            at += step
            left -= height_of(at)
        return at

    def scroll(self, lines: int, rows: Shown, height_of: Height, height: int) -> None:
        """The wheel moves what is seen; the selection comes along when it would leave."""
        self.line -= lines
        last = len(rows) - 1
        while self.line < 0 and self.at < last:
            self.line += height_of(self.at)
            self.at += 1
        while self.line + height_of(self.at) > height and self.at > 0:
            self.at -= 1
            self.line -= height_of(self.at)
        if len(rows):
            self.identity = rows.identity(self.at)

    def layout(self, rows: Shown, height_of: Height, height: int) -> tuple[int, int]:
        """The first row to draw and how many of its lines are above the edge; the selected row is in full view."""
        own = height_of(self.at)
        self.line = max(0, min(self.line, height - own))
        first, above = self.at, 0
        while first > 0 and above < self.line:
            first -= 1
            above += height_of(first)
        if above < self.line:
            self.line = above  # the list begins here
        below, last = self.line + own, self.at
        while below < height and last + 1 < len(rows):
            last += 1
            below += height_of(last)
        if below < height and (first > 0 or above > self.line):  # the list ends here: no empty lines below it
            self.line = min(height - own, self.line + height - below)
            while first > 0 and above < self.line:
                first -= 1
                above += height_of(first)
            self.line = min(self.line, above)
        return first, above - self.line


def _span(start: int, end: int, height_of: Height, limit: int) -> int:
    """The lines from row `start` to row `end`, counted until they are more than `limit`."""
    lines = 0
    for at in range(start, end):
        lines += height_of(at)
        if lines > limit:
            break
    return lines
