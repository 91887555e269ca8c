"""A list that changes under its reader: the cursor stays on its row, the window stays where it was. Pure.

Rows are known by identity (a job's id, a path), never by place. `Rows` may be as long as it likes: only what is visible
is ever asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol


class Rows(Protocol):
    """What a list shows: identities by place."""

    def __len__(self) -> int: ...

    def identity(self, at: int) -> Hashable: ...

    def place(self, identity: Hashable) -> int | None:
        """Where the row is now; None when it is gone."""
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


@dataclass(slots=True)
class Cursor:
    """The selected row and the first visible one."""

    at: int = 0
    top: int = 0
    identity: Hashable | None = None
    #: What is searched for with `/`; kept until another search.
    pattern: str = ""

    def settle(self, rows: Rows, height: int) -> None:
        """After anything changed: find the selected row again, keep it on the same line of the screen if possible."""
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

    def select(self, rows: Rows, at: int, height: int) -> None:
        if len(rows):
            self.at = max(0, min(at, len(rows) - 1))
            self.identity = rows.identity(self.at)
            self._show(len(rows), height)

    def move(self, key: str, rows: Rows, height: int) -> bool:
        """The keys of every list; False for another key."""
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

    def scroll(self, lines: int, rows: Rows, height: int) -> None:
        """The wheel moves the window; the cursor comes along when it would leave it."""
        self.top = max(0, min(self.top + lines, len(rows) - max(1, height)))
        self.select(rows, max(self.top, min(self.at, self.top + max(1, height) - 1)), height)

    def find(self, pattern: str, step: int, rows: Rows, text_of: Callable[[int], str], height: int) -> bool:
        """`Screen.search` for this list: `step` 1 looks from the selected row on, 2 behind it, -1 before it."""
        self.pattern = pattern
        return self.search(rows, text_of, height, step=-1 if step < 0 else 1, is_new=step == 1)

    def search(
        self, rows: Rows, text_of: Callable[[int], str], height: int, *, step: int = 1, is_new: bool = False
    ) -> bool:
        """Go to the next row (`step` 1) or the last before (-1) that contains the pattern, around the end.

        False when no row does. `is_new` looks at the selected row too.
        """
        wanted = self.pattern.casefold()
        if not wanted or not len(rows):
            return False
        start = self.at if is_new else self.at + step
        for offset in range(len(rows)):
            at = (start + offset * step) % len(rows)
            if wanted in text_of(at).casefold():
                self.select(rows, at, height)
                return True
        return False


MOVES = ("j", "k", "up", "down", "g", "G", "pgup", "pgdn", "home", "end")
