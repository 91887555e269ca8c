"""The log of one job, followed: bounded in lines and characters, with a filter by level and a search.

A log comes from a guest, so it is drawn only after `clean`, and only the visible part of a long line is processed.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from casparian_console.canvas import Glyphs, Line, clean, clip, count, fit, line_width, spread
from casparian_console.listing import Match
from casparian_console.messages import Effects, FollowLog, StopCommand, Tag
from casparian_console.overlays import wrapped

#: The number of lines kept, more than an ordinary job log of 10 MB has; older lines are dropped and counted.
LINES_KEPT = 200_000
#: The characters kept of a line; job logs themselves cut lines at 8 KiB.
CHARACTERS_KEPT = 16_000
LEVELS = ("ALL", "INFO", "WARNING", "ERROR")
_RANKS = {"TRACE": 0, "DEBUG": 0, "INFO": 1, "WARNING": 2, "WARN": 2, "ERROR": 3, "CRITICAL": 3, "FATAL": 3}
_STYLES = ("dim", "", "warn", "bad")
#: `2026-01-31T10:00:00.000000Z`
_TIME_CHARACTERS = 27
_STEP = 20
#: The most rows of one wrapped line.
_WRAPPED_ROWS = 40


@dataclass(slots=True)
class LogView:
    """The open log. `top` is the number of a line, counted from the first line that was read."""

    job_id: str
    name: str
    level: int = 0
    is_following: bool = True
    pattern: str = ""
    problem: str = ""
    #: The number of older lines that are not loaded: never read, or dropped since.
    dropped: int = 0
    shift: int = 0
    #: Whether long lines continue in the next row.
    wraps: bool = False
    has_ended: bool = False
    #: (number, rank, text)
    _lines: list[tuple[int, int, str]] = field(default_factory=list)
    #: The numbers of the lines that pass the filter by level.
    _passing: list[int] = field(default_factory=list)
    _at: int = 0
    _next: int = 0
    _rank: int = 1
    _height: int = 20

    @property
    def tag(self) -> Tag:
        return ("jobs", "log", self.job_id)

    def start(self) -> Effects:
        return [FollowLog(self.tag, self.job_id)]

    def stop(self) -> Effects:
        return [StopCommand(self.tag)]

    # --- new lines ----------------------------------------------------------------------------------------------------

    def add(self, text: str, lines_before: int = 0) -> None:
        """Add whole lines from an `Output`; `lines_before` older lines were skipped."""
        self.dropped += lines_before
        for line in text.removesuffix("\n").split("\n"):
            more = len(line) - CHARACTERS_KEPT
            kept = f"{line[:CHARACTERS_KEPT]} ({more:,} more characters)" if more > 0 else line
            self._rank = _rank_of(line, self._rank)
            self._lines.append((self._next, self._rank, kept))
            if self._rank >= self.level:
                self._passing.append(self._next)
            self._next += 1
        if (extra := len(self._lines) - LINES_KEPT) > 0:
            del self._lines[:extra]
            self.dropped += extra
            gone = bisect_left(self._passing, self._lines[0][0])
            del self._passing[:gone]
            self._at = max(0, self._at - gone)

    # --- moving -------------------------------------------------------------------------------------------------------

    def move(self, key: str) -> None:
        page = max(1, self._height - 1)
        steps = {"j": 1, "down": 1, "k": -1, "up": -1, "pgdn": page, "pgup": -page}
        if key in steps:
            self.scroll(steps[key])
        elif key in ("g", "home"):
            self.is_following, self._at = False, 0
        elif key in ("G", "end"):
            self.is_following = True

    def scroll(self, lines: int) -> None:
        last = self._last_top()
        self._at = max(0, min((last if self.is_following else self._at) + lines, last))
        self.is_following = self._at >= last and lines > 0

    def sideways(self, step: int) -> None:
        self.shift = max(0, min(self.shift + step * _STEP, CHARACTERS_KEPT))

    def next_level(self) -> None:
        """Show all levels, INFO and above, WARNING and above, or ERROR. The top line stays in place if it passes."""
        number = self._passing[self._at] if self._at < len(self._passing) else self._next
        self.level = (self.level + 1) % len(LEVELS)
        self._passing = [number for number, rank, _ in self._lines if rank >= self.level]
        self._at = bisect_left(self._passing, number)

    def search(self, pattern: str, step: int) -> Match:
        """Move the next line that contains the text to the top."""
        self.pattern = pattern
        wanted, size = pattern.casefold(), len(self._passing)
        if not wanted or not size:
            return Match()
        base = self._lines[0][0]
        found = [at for at in range(size) if wanted in self._lines[self._passing[at] - base][2].casefold()]
        if not found:
            return Match()
        top = min(self._last_top() if self.is_following else self._at, size - 1)
        start = top + (step if step < 0 else step - 1)
        if step < 0:
            at = next((at for at in reversed(found) if at <= start), found[-1])
        else:
            at = next((at for at in found if at >= start), found[0])
        self._at, self.is_following = at, False
        return Match(found.index(at) + 1, len(found))

    def _last_top(self) -> int:
        return max(0, len(self._passing) - self._height)

    # --- drawing ------------------------------------------------------------------------------------------------------

    def draw(self, glyphs: Glyphs, width: int, height: int) -> list[Line]:
        self._height = max(1, height - 1)
        if self.is_following:
            self._at = self._last_top()
        self._at = max(0, min(self._at, max(0, len(self._passing) - 1)))
        shown = self._passing[self._at : self._at + self._height]
        state = "following" if self.is_following and not self.has_ended else "stopped"
        # with all levels, numbers count lines of the whole log; else they count the lines that pass
        before = self.dropped if not self.level else 0
        counted = (
            f"{before + self._at + 1:,}-{before + self._at + len(shown):,} of {count(before + len(self._passing), 'line')}"
            if shown
            else "no lines"
        )
        early = f", the first {self.dropped:,} not loaded" if self.dropped else ""
        right: Line = [("dim", f"UTC  {LEVELS[self.level]}  {counted}{early}  "), ("accent", f"{state} ")]
        title = clip(f" LOG {self.name}", width - line_width(right) - 1, glyphs.ellipsis)
        lines: list[Line] = [spread([("title", title)], right, width)]
        if self.problem and not self._lines:
            return [*lines, [], [("warn", f" {clean(self.problem)}")]]
        if not self._lines:
            return [*lines, [], [("dim", " Nothing was written yet.")]]
        base = self._lines[0][0]
        for number in shown:
            rank, text = self._lines[number - base][1:]
            lines += self._wrapped(rank, text, width) if self.wraps else [self._line(rank, text, glyphs, width)]
            if len(lines) > height:
                break
        return lines[: height + 1]

    def _wrapped(self, rank: int, text: str, width: int) -> list[Line]:
        """A line wrapped into at most `_WRAPPED_ROWS` rows; continuation rows are aligned with its text."""
        head, body = (text[11:23], text[_TIME_CHARACTERS + 1 :]) if _has_time(text) else ("", text)
        left = len(head) + 2 if head else 1
        room = max(10, width - left)
        seen = clean(body[: _WRAPPED_ROWS * room].replace("\t", "    "))
        rows = [part[0][1] for part in wrapped(seen, room)]
        more = len(body) - _WRAPPED_ROWS * room
        if more > 0:
            rows.append(f"({more:,} more characters)")
        begin: Line = [("dim", f" {head} ")] if head else [("", " ")]
        return [[*(begin if at == 0 else [("", " " * left)]), *_marked(row, self.pattern, _STYLES[rank])]
                for at, row in enumerate(rows)]  # fmt: skip

    def _line(self, rank: int, text: str, glyphs: Glyphs, width: int) -> Line:
        head, body = (text[11:23], text[_TIME_CHARACTERS + 1 :]) if _has_time(text) else ("", text)
        # before `clean`, so that only the visible part is processed; tabs would shift the text after them
        seen = clean(body[self.shift : self.shift + 4 * width].replace("\t", "    "))
        line: Line = [("dim", f" {head} ")] if head else [("", " ")]
        return fit([*line, *_marked(seen, self.pattern, _STYLES[rank])], width, ellipsis=glyphs.ellipsis)


def _has_time(text: str) -> bool:
    return text[10:11] == "T" and text[_TIME_CHARACTERS - 1 : _TIME_CHARACTERS + 1] == "Z "


def _rank_of(line: str, before: int) -> int:
    """The level of a record. A line that does not begin a record belongs to the record before it."""
    if not _has_time(line):
        return before
    return _RANKS.get(line[_TIME_CHARACTERS + 1 : _TIME_CHARACTERS + 10].partition(" ")[0], 1)


def _marked(text: str, pattern: str, style: str) -> Line:
    """The text with the search term marked."""
    wanted, folded = pattern.casefold(), text.casefold()
    if not wanted or len(folded) != len(text):
        return [(style, text)]
    line: Line = []
    at = 0
    while (found := folded.find(wanted, at)) >= 0:
        line += [(style, text[at:found]), (f"{style} selected".strip(), text[found : found + len(wanted)])]
        at = found + len(wanted)
    return [*line, (style, text[at:])]
