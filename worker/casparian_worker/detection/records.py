"""Lines of delimited text cut into records, as a reader with given delimiter and quotes would cut them.

A quoted field may span lines. A quote that does not close, or closes in the middle of a field, makes the record doubtful and ends
with its line, so that one quote never swallows the rest. The time is linear in the text: lines that were joined in vain are
charged to a budget.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from casparian_worker.detection.text import Stretch

_JOINED_LINES_MAX = 100


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its text, how many fields it has, and where it begins."""

    text: str
    width: int
    stretch: int
    #: The place of its first line in the stretch, and how many lines it takes.
    at: int
    line_count: int = 1
    #: What is odd about its quotes; empty if nothing is.
    doubt: str = ""
    #: Whether a reader must reject it. A quote inside a field is odd, but can only be text.
    is_bad: bool = False
    #: Fields in quotes that open and close as they should.
    quoted_count: int = 0
    #: Whether a blank line stands before it.
    is_after_blank: bool = False


@dataclass(frozen=True)
class Cutter:
    """A delimiter with its quoting. `escape` takes the meaning from a quote; without it quotes are doubled."""

    delimiter: str
    quote: str | None
    escape: str | None = None
    _field: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _open: re.Pattern[str] = field(init=False, repr=False, compare=False)
    #: A record on one line whose quotes are beyond doubt, and the quoted fields in it.
    _sound: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _quoted: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        mark = re.escape(self.delimiter)
        quote = re.escape(self.quote or "\0\0")
        inside = rf"[^{quote}]" if self.quote else r"."
        if self.quote and self.escape:
            inside = rf"[^{quote}{re.escape(self.escape)}]|{re.escape(self.escape)}."
        plain = rf"[^{mark}]*+" if len(self.delimiter) == 1 else rf"(?:(?!{mark}).)*+"
        object.__setattr__(
            self,
            "_field",
            re.compile(
                rf"(?:{quote}((?:{inside}|{quote}{quote})*+){quote}|((?!{quote}){plain}))({mark}|\Z)", re.DOTALL
            ),
        )
        quoted = rf"{quote}(?:{inside}|{quote}{quote})*+{quote}"
        bare = rf"[^{quote}{mark}]*+" if len(self.delimiter) == 1 else rf"(?:(?!{mark})[^{quote}])*+"
        sound = rf"(?:{quoted}|{bare})(?:{mark}(?:{quoted}|{bare}))*+"
        object.__setattr__(self, "_sound", re.compile(sound, re.DOTALL))
        object.__setattr__(self, "_quoted", re.compile(quoted, re.DOTALL))
        object.__setattr__(self, "_open", re.compile(rf"{quote}(?:{inside}|{quote}{quote})*+\Z", re.DOTALL))

    def cells(self, record: str) -> list[tuple[str, bool]]:
        """The fields of a record, each with whether it was quoted. Where quotes do not pair, they are text."""
        if self.quote is None or self.quote not in record:
            return [(cell, False) for cell in record.split(self.delimiter)]
        found = self._cut(record)
        return found if isinstance(found, list) else [(cell, False) for cell in record.split(self.delimiter)]

    def _cut(self, text: str) -> list[tuple[str, bool]] | str:
        """The fields, or what is odd: `open` (a quote that does not close) or `closed` (text behind a closing quote)."""
        assert self.quote is not None
        cells: list[tuple[str, bool]] = []
        at = 0
        while True:
            found = self._field.match(text, at)
            if found is None:
                return "open" if self._open.match(text, at) else "closed"
            if found[1] is not None:
                cells.append((self._plain(found[1]), True))
            else:
                cells.append((found[2], False))
            at = found.end()
            if not found[3]:
                return cells

    def _plain(self, quoted: str) -> str:
        assert self.quote is not None
        if self.escape is not None:
            quoted = quoted.replace(self.escape + self.quote, self.quote)
        return quoted.replace(self.quote * 2, self.quote)


def cut_records(cutter: Cutter, stretches: Sequence[Stretch]) -> Iterator[Record]:
    """The records of all stretches, blank lines left out."""
    budget = [2 * sum(len(line) for stretch in stretches for line in stretch.lines) + 10_000]
    for number, stretch in enumerate(stretches):
        yield from _cut_stretch(cutter, stretch, number, budget)


def _cut_stretch(cutter: Cutter, stretch: Stretch, number: int, budget: list[int]) -> Iterator[Record]:
    lines, delimiter, quote = stretch.lines, cutter.delimiter, cutter.quote
    at = 0
    is_after_blank = False
    while at < len(lines):
        line = lines[at]
        if not line or (delimiter not in line and not line.strip()):
            is_after_blank = True
            at += 1
            continue
        if quote is None or quote not in line:
            yield Record(line, line.count(delimiter) + 1, number, at, is_after_blank=is_after_blank)
            at += 1
        else:
            record = _quoted(cutter, lines, number, at, is_after_blank, budget)
            yield record
            at += record.line_count
        is_after_blank = False


def _quoted(
    cutter: Cutter, lines: Sequence[str], number: int, at: int, is_after_blank: bool, budget: list[int]
) -> Record:
    line = lines[at]
    if cutter._sound.fullmatch(line):
        bare, quoted = cutter._quoted.subn("", line)
        return Record(line, bare.count(cutter.delimiter) + 1, number, at, 1, "", False, quoted, is_after_blank)
    found = cutter._cut(line)
    if isinstance(found, list):
        return _closed_record(cutter, line, found, number, at, 1, is_after_blank)
    doubt = "text follows a closing quote"
    if found == "open":
        doubt = "a quote opens and never closes"
        joined = _joined(cutter, lines, at, budget)
        if joined is not None:
            text, cells, count = joined
            if any(each.count(cutter.delimiter) + 1 != len(cells) for each in lines[at : at + count]):
                return _closed_record(cutter, text, cells, number, at, count, is_after_blank)
            doubt = "a quote opens, and each line has all fields of its own"
    return Record(line, line.count(cutter.delimiter) + 1, number, at, 1, doubt, True, 0, is_after_blank)


def _closed_record(
    cutter: Cutter, text: str, cells: Sequence[tuple[str, bool]], number: int, at: int, count: int, is_after_blank: bool
) -> Record:
    """A record whose quotes close; in a field without quotes they are text, unless one ends it."""
    assert cutter.quote is not None
    stray = [cell for cell, is_quoted in cells if not is_quoted and cutter.quote in cell]
    is_bad = any(cell.endswith(cutter.quote) for cell in stray)
    doubt = "a quote ends a field that did not begin with one" if is_bad else ""
    if stray and not is_bad:
        doubt = "a quote stands inside a field without quotes"
    quoted = sum(is_quoted for _, is_quoted in cells)
    return Record(text, len(cells), number, at, count, doubt, is_bad, quoted, is_after_blank)


def _joined(
    cutter: Cutter, lines: Sequence[str], at: int, budget: list[int]
) -> tuple[str, list[tuple[str, bool]], int] | None:
    """The record over several lines: its text, its fields, its line count. None if its quote does not close soon."""
    assert cutter.quote is not None
    text = lines[at]
    for count in range(2, _JOINED_LINES_MAX + 1):
        if at + count > len(lines) or budget[0] <= 0:
            return None
        added = lines[at + count - 1]
        text += "\n" + added
        if cutter.quote not in added:
            budget[0] -= len(added)
            continue
        budget[0] -= len(text)
        found = cutter._cut(text)
        if isinstance(found, list):
            return text, found, count
        if found == "closed":
            return None
    return None
