"""One record of delimited text, judged from its lines: a row, or a rejected record, and how many lines it takes.

This module owns the rules of docs/reference/readers.md ("Quotes that do not pair"). They have one aim: a record that can be read
in two ways is rejected, and none becomes a row that was not written. `judge` sees the lines from a record boundary on, as far as
it needs; it knows neither bytes nor files. `block` finds the lines that need no judging and reads them at once.

Time is linear in the text: no line is looked at more than a few times, whatever its quotes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from casparian_shim.readers.csv.scan import Dialect, Scan

#: The line at a place counted from any start, as its text and its line end; None after the last one.
LineAt = Callable[[int], tuple[str, str] | None]

#: How many lines an unreadable record may take with it, so that two stray quotes never cost a large file.
LINES_LOST_MAX = 1_000
_FIELDS_BEYOND = 1_000
_FIELDS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Seen:
    """What the records before have shown about the file."""

    #: Its quotes enclose fields: without them some record, or the header, would have another shape.
    encloses: bool = False
    #: Some records have several lines.
    spans_lines: bool = False


class Verdict(NamedTuple):
    """What becomes of the record at a boundary."""

    #: The lines that it takes.
    lines: int
    #: None for a rejected record; then `reason` continues "The record on line 5 …".
    fields: list[str | None] | None
    reason: str = ""
    #: The quotes that are kept as text.
    stray_quotes: int = 0
    #: The record shows that the file's quotes enclose fields: without them it would have another shape.
    encloses: bool = False

    def added_to(self, seen: Seen) -> Seen:
        spans_lines = self.fields is not None and self.lines > 1
        if (self.encloses and not seen.encloses) or (spans_lines and not seen.spans_lines):
            return Seen(seen.encloses or self.encloses, seen.spans_lines or spans_lines)
        return seen


@dataclass(frozen=True, slots=True)
class Judge:
    """The rules for one file: its dialect and the promised number of fields (None until the first record decides it)."""

    dialect: Dialect
    field_count: int | None
    #: A record with too few fields is filled up with None.
    pads: bool = False
    characters_max: int = 64 * 1024 * 1024

    def judge(self, line_at: LineAt, at: int, seen: Seen) -> Verdict:
        """The record whose first line is at `at`."""
        first = line_at(at)
        if first is not None and self._is_plainly_wrong(first[0]):
            return Verdict(1, None, _wrong_count(self.dialect.field_count(first[0]), self.field_count))
        scan = self._scanned(line_at, at)
        if scan.lines == 1 and not scan.is_open:
            return self._on_one_line(line_at, at, scan)
        if not scan.is_open and not scan.problem and self._fits(len(scan.fields)):
            if scan.strays:
                reason = f"has a quote inside field {scan.strays[0]} and a field of several lines"
                return Verdict(scan.lines, None, reason)
            if seen.encloses or self.field_count is None or not self._are_shaped(line_at, at, scan.lines):
                return self._accepted(line_at, at, scan)
            if scan.lines <= LINES_LOST_MAX:
                one_or_many = f"one record in {scan.lines} lines if its quotes enclose a field, or {scan.lines} records"
                return Verdict(scan.lines, None, f"is {one_or_many} if they are text")
        return self._unreadable(line_at, at, scan, seen)

    def _is_plainly_wrong(self, text: str) -> bool:
        """Whether a line without quotes and escapes has too many or too few fields, as most bad records have."""
        dialect = self.dialect
        if (dialect.quote is not None and dialect.quote in text) or (
            dialect.escape is not None and dialect.escape in text
        ):
            return False
        count = text.count(dialect.delimiter) + 1
        return not self._fits(count) and count <= (self.field_count or 0) + _FIELDS_BEYOND

    def is_ordinary(self, text: str) -> bool:
        """Whether a line is a record by itself that can be read in only one way, so that it is no part of the one before."""
        scan = self._scan()
        is_whole = bool(text) and scan.feed(text, "") and not scan.problem and not scan.strays
        return is_whole and len(scan.fields) == self.field_count

    # --- a record on one line ---

    def _on_one_line(self, line_at: LineAt, at: int, scan: Scan) -> Verdict:
        count = len(scan.fields)
        reason = ""
        if scan.problem:
            reason = self._with_promise(scan.problem)
        elif not self._fits(count):
            reason = _wrong_count(count, self.field_count)
        elif scan.strays and scan.strays[0] != scan.strays[-1]:
            reason = f"has quotes inside fields {scan.strays[0]} and {scan.strays[-1]}, which may enclose what is between them"
        elif len(scan.strays) % 2 and self._may_go_on(line_at, at + 1):
            reason = f"has a quote inside field {scan.strays[0]}, and the next line is no record: the field may continue there"
        if reason:
            return Verdict(1 + self._rest_of_open(line_at, at), None, reason)
        return self._accepted(line_at, at, scan)

    def _rest_of_open(self, line_at: LineAt, at: int) -> int:
        """The lines after a rejected one with an odd number of quotes, up to a line that closes what it opened."""
        quote, first = self.dialect.quote, line_at(at)
        if quote is None or first is None or first[0].count(quote) % 2 == 0:
            return 0
        for count in range(1, LINES_LOST_MAX):
            line = line_at(at + count)
            if line is None:
                return 0
            if quote in line[0]:
                return (
                    count if self._missing_after(line[0]) is not None and not self._is_sound(line_at, at + count) else 0
                )
        return 0

    def _accepted(self, line_at: LineAt, at: int, scan: Scan) -> Verdict:
        tail = self._tail_after(line_at, at + scan.lines)
        if tail:
            reason = "is followed by the end of a quoted field that no quote opens; the field may begin in this record"
            return Verdict(scan.lines + tail, None, reason)
        fields = scan.fields
        first = line_at(at)
        encloses = scan.is_quoted and (
            scan.lines > 1 or (first is not None and self.dialect.field_count(first[0]) != len(fields))
        )
        if self.pads and self.field_count is not None:
            fields = fields + [None] * (self.field_count - len(fields))
        return Verdict(scan.lines, fields, "", len(scan.strays), encloses)

    def _tail_after(self, line_at: LineAt, at: int) -> int:
        """How many lines at `at` can only be the rest of the record before them: a quote closes there that was never opened.

        A line that has a whole record's fields is none: the record before has all of its own.
        """
        if self.field_count is None or self.dialect.quote is None:
            return 0
        for count in range(LINES_LOST_MAX):
            line = line_at(at + count)
            if line is None or not line[0]:
                return 0
            if self.dialect.quote in line[0]:
                missing = self._missing_after(line[0])
                opening = self.dialect.delimiter + self.dialect.quote
                if not line[1] and (line[0] == self.dialect.quote or line[0].endswith(opening)):
                    return 0  # the file is cut off where a field begins
                is_tail = missing is not None and missing > 0
                return count + 1 if is_tail and not self._is_sound(line_at, at + count) else 0
            if self._fits(self.dialect.field_count(line[0])):
                return 0
        return 0

    def _missing_after(self, text: str) -> int | None:
        """How many fields the line is short of a record if it begins inside quotes; None if it cannot."""
        dialect = self.dialect
        found = dialect.quoted.match(text)
        close = found.end() if found is not None else 0
        if close == len(text) or text[close] != dialect.quote:
            return None
        field_count, after = dialect.field_count(text[:close]), close + 1
        if after < len(text):
            rest = self._scan()
            if not text.startswith(dialect.delimiter, after) or not rest.feed(
                text[after + len(dialect.delimiter) :], ""
            ):
                return None
            if rest.problem or rest.strays:
                return None
            field_count += len(rest.fields)
        return (self.field_count or 0) - field_count

    # --- a record on several lines ---

    def _unreadable(self, line_at: LineAt, at: int, scan: Scan, seen: Seen) -> Verdict:
        """A quoted field continues beyond its line, and the record does not come out right. Decide how much is rejected."""
        first = line_at(at)
        assert first is not None
        opened = self._scan()
        opened.feed(*first)
        field = len(opened.fields) + 1
        reason = f"has a quote that opens in field {field} and is never closed"
        if self.field_count is None:
            return Verdict(1, None, reason)
        is_closed = not scan.is_open and not scan.problem
        can_be_whole = self.dialect.field_count(first[0]) >= self.field_count
        if is_closed and scan.lines <= LINES_LOST_MAX:
            if self._has_shape(first[0]) and self._are_records(line_at, at + 1, scan.lines - 2):
                return Verdict(1, None, reason)
            return Verdict(
                scan.lines, None, f"{_wrong_count(len(scan.fields), self.field_count)}, in {scan.lines} lines"
            )
        if is_closed or (can_be_whole and not seen.spans_lines):
            return Verdict(1, None, reason)
        is_open = first[0].count(self.dialect.quote or "") % 2 == 1
        least = 1 if is_open and not can_be_whole else 0
        return Verdict(1 + self._rest_of_broken(line_at, at, scan, field, least), None, reason)

    def _rest_of_broken(self, line_at: LineAt, at: int, scan: Scan, field: int, least: int) -> int:
        """The lines after the first that belong to the record if it has several: up to one that can hold what is missing."""
        assert self.field_count is not None
        last = scan.lines - 1  # the line with the quote that did not fit
        if scan.problem and last > least and self._is_sound(line_at, at + last):
            last -= 1
        for place in range(1, min(last, LINES_LOST_MAX) + 1):
            line = line_at(at + place)
            if line is None:
                return place - 1
            if self.dialect.field_count(line[0]) > self.field_count - field:
                return place
        return min(last, LINES_LOST_MAX)

    def _are_records(self, line_at: LineAt, at: int, count: int) -> bool:
        """Whether these lines, and the one after them, are records by themselves."""
        return self._are_shaped(line_at, at, count) and self._is_sound(line_at, at + count)

    def _are_shaped(self, line_at: LineAt, at: int, count: int) -> bool:
        """Whether each of these lines has the promised number of fields when quotes are plain text."""
        for place in range(at, at + count):
            line = line_at(place)
            if line is None or not self._has_shape(line[0]):
                return False
        return True

    # --- small questions ---

    def _may_go_on(self, line_at: LineAt, at: int) -> bool:
        """Whether the line at `at` is no record by itself, however its quotes are read."""
        line = line_at(at)
        if line is None or self.field_count is None:
            return False
        closes = (
            self.dialect.quote is not None
            and self.dialect.quote in line[0]
            and self._missing_after(line[0]) is not None
        )
        return (closes or not self._has_shape(line[0])) and not self._is_sound(line_at, at)

    def _is_sound(self, line_at: LineAt, at: int) -> bool:
        """Whether a record begins at `at` that has the promised shape by itself, or the file ends there."""
        line = line_at(at)
        if line is None or not line[0]:
            return True
        scan = self._scanned(line_at, at)
        return not scan.is_open and not scan.problem and not scan.strays and self._fits(len(scan.fields))

    def _scan(self) -> Scan:
        return Scan(self.dialect, _FIELDS_MAX if self.field_count is None else self.field_count + _FIELDS_BEYOND)

    def _scanned(self, line_at: LineAt, at: int) -> Scan:
        scan = self._scan()
        while (line := line_at(at + scan.lines)) is not None:
            if scan.feed(*line) or scan.length > self.characters_max:
                break
        return scan

    def _fits(self, count: int) -> bool:
        if self.field_count is None:
            return True
        return count == self.field_count or (self.pads and count < self.field_count)

    def _has_shape(self, text: str) -> bool:
        return self.dialect.field_count(text) == self.field_count

    def _with_promise(self, problem: str) -> str:
        if problem.endswith("fields") and self.field_count is not None:
            return f"{problem} instead of {self.field_count:,}"
        return problem


@lru_cache(maxsize=256)
def _wrong_count(count: int, promised: int | None) -> str:
    fields = "field" if count == 1 else "fields"
    return f"has {count:,} {fields} instead of {promised:,}"
