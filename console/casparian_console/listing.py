"""A list that changes while it is shown: the cursor stays on its row, and the window stays where it was.

Rows are identified by an id or a path, never by their place, and may differ in height. Only visible rows are read, so the
cost does not depend on the length of the list.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

#: The keys that move the cursor in a list.
MOVES = ("j", "k", "up", "down", "g", "G", "pgup", "pgdn", "home", "end")
#: A function from a row's place to its number of lines.
Height = Callable[[int], int]
Id = TypeVar("Id", bound=Hashable)


class Rows(Protocol[Id]):
    """The rows of a list: identities by place."""

    def __len__(self) -> int: ...

    def identity(self, at: int) -> Id: ...

    def place(self, identity: Id) -> int | None:
        """The current place of the row; None if it is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Rows of a plain sequence of identities."""

    identities: Sequence[Hashable]

    def __len__(self) -> int:
        return len(self.identities)

    def identity(self, at: int) -> Hashable:
        return self.identities[at]

    def place(self, identity: Hashable) -> int | None:
        try:
            return self.identities.index(identity)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Match:
    """The result of a search: match number `place` (from 1) of `total`. False if there is none."""

    place: int = 0
    total: int = 0

    def __bool__(self) -> bool:
        return self.total > 0


@dataclass(slots=True)
class Cursor:
    """The selected row and the first visible one."""

    at: int = 0
    top: int = 0
    identity: Hashable | None = None
    #: The last text searched for with `/`.
    pattern: str = ""

    def settle(self, rows: Rows[Hashable], height: int) -> None:
        """After a change, find the selected row again and keep it on the same line of the screen if possible."""
        if not len(rows):
            self.at = self.top = 0
            return
        place = rows.place(self.identity) if self.identity is not None else None
        if place is not None and place != self.at:
            self.top += place - self.at
            self.at = place
        self.at = max(0, min(self.at, len(rows) - 1))
        self.identity = rows.identity(self.at)
        self._show(len(rows), height)

    def _show(self, length: int, height: int) -> None:
        height = max(1, height)
        self.top = max(0, min(self.top, length - height))
        if self.at < self.top:
            self.top = self.at
        elif self.at >= self.top + height:
            self.top = self.at - height + 1

    def select(self, rows: Rows[Hashable], at: int, height: int) -> None:
        if len(rows):
            self.at = max(0, min(at, len(rows) - 1))
            self.identity = rows.identity(self.at)
            self._show(len(rows), height)

    def move(self, key: str, rows: Rows[Hashable], height: int) -> bool:
        """Handle a key that moves in the list; False for another key."""
        page = max(1, height - 1)
        steps = {
            "j": 1,
            "down": 1,
            "k": -1,
            "up": -1,
            "pgdn": page,
            "pgup": -page,
            "ctrl-d": page // 2,
            "ctrl-u": -(page // 2),
        }
        if key in steps:
            self.select(rows, self.at + steps[key], height)
        elif key in ("g", "home"):
            self.select(rows, 0, height)
        elif key in ("G", "end"):
            self.select(rows, len(rows) - 1, height)
        else:
            return False
        return True

    def scroll(self, lines: int, rows: Rows[Hashable], height: int) -> None:
        """Scroll the window with the wheel; the cursor moves too when it would leave the window."""
        self.top = max(0, min(self.top + lines, len(rows) - max(1, height)))
        self.select(rows, max(self.top, min(self.at, self.top + max(1, height) - 1)), height)

    def find(self, pattern: str, step: int, rows: Rows[Hashable], text_of: Callable[[int], str], height: int) -> Match:
        """`Screen.search` for this list: `step` 1 searches from the selected row on, 2 after it, -1 before it."""
        self.pattern = pattern
        return self.search(rows, text_of, height, step=-1 if step < 0 else 1, is_new=step == 1)

    def search(
        self, rows: Rows[Hashable], text_of: Callable[[int], str], height: int, *, step: int = 1, is_new: bool = False
    ) -> Match:
        """Go to the next (`step` 1) or previous (-1) row that contains the pattern, wrapping around at the end.

        With `is_new` the selected row may match too.
        """
        wanted = self.pattern.casefold()
        found = [at for at in range(len(rows)) if wanted in text_of(at).casefold()] if wanted else []
        if not found:
            return Match()
        start = self.at if is_new else self.at + step
        if step > 0:
            at = next((at for at in found if at >= start), found[0])
        else:
            at = next((at for at in reversed(found) if at <= start), found[-1])
        self.select(rows, at, height)
        return Match(found.index(at) + 1, len(found))


@dataclass(slots=True)
class CardCursor(Generic[Id]):
    """The selected row of a list whose rows have different heights, and the line of the screen that it is on."""

    at: int = 0
    identity: Id | None = None
    line: int = 0
    #: The row on each line of the last frame, for clicks.
    drawn: list[int] = field(default_factory=list)

    def settle(self, rows: Rows[Id]) -> None:
        """Find the selected row again after a change."""
        if not len(rows):
            self.at = self.line = 0
            return
        place = rows.place(self.identity) if self.identity is not None else None
        self.at = max(0, min(self.at if place is None else place, len(rows) - 1))
        self.identity = rows.identity(self.at)

    def select(self, rows: Rows[Id], at: int, height_of: Height, height: int) -> None:
        """Select a row; the window moves no further than needed."""
        if not len(rows):
            return
        at = max(0, min(at, len(rows) - 1))
        if at > self.at:
            self.line += _lines_between(self.at, at, height_of, height)
        else:
            self.line -= _lines_between(at, self.at, height_of, height)
        self.at, self.identity = at, rows.identity(at)

    def move(self, key: str, rows: Rows[Id], height_of: Height, height: int) -> bool:
        """Handle a key that moves in the list; False for another key."""
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
        """The row about this many lines away."""
        at, step = self.at, 1 if lines > 0 else -1
        left = abs(lines)
        while left > 0 and 0 <= at + step <= last:
            at += step
            left -= height_of(at)
        return at

    def scroll(self, lines: int, rows: Rows[Id], height_of: Height, height: int) -> None:
        """Scroll with the wheel; the selection moves too when it would leave the window."""
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

    def layout(self, rows: Rows[Id], height_of: Height, height: int) -> tuple[int, int]:
        """The first row to draw, and how many of its lines are above the window. The selected row is fully visible."""
        own = height_of(self.at)
        self.line = max(0, min(self.line, height - own))
        first, above = self.at, 0
        while first > 0 and above < self.line:
            first -= 1
            above += height_of(first)
        if above < self.line:
            self.line = above  # the start of the list
        below, last = self.line + own, self.at
        while below < height and last + 1 < len(rows):
            last += 1
            below += height_of(last)
        if below < height and (first > 0 or above > self.line):  # the end of the list: no empty lines below it
            self.line = min(height - own, self.line + height - below)
            while first > 0 and above < self.line:
                first -= 1
                above += height_of(first)
            self.line = min(self.line, above)
        return first, above - self.line


def _lines_between(start: int, end: int, height_of: Height, limit: int) -> int:
    """The lines from row `start` to row `end`, counted until they are more than `limit`."""
    lines = 0
    for at in range(start, end):
        lines += height_of(at)
        if lines > limit:
            break
    return lines
