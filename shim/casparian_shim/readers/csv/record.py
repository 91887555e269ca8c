"""One record of delimited text, judged from its lines: a row, or a rejected record, and how many lines it takes.

This module owns the rules of docs/reference/readers.md ("Quotes that do not pair"). They have one aim: a record that can be read
in two ways is rejected, and none becomes a row that was not written. `Judge` sees the lines from a record boundary on, as far as
it needs; it knows neither bytes nor files. `block` finds the lines that need no judging and reads them at once.

`Lines` has what lines can be, and how far the doubt reaches if a quote has no partner. A quoted field that does not end
(`rest_of_broken`) and a quote inside a field (`rest_of_stray`) may reach lines after them. A quote that closes what none opened
(`tail_after`, `rest_of_short`) may reach lines before it, so a record is a row only if no such quote follows it. As a line in a
cell may be a record by itself, a record next to a damaged one is certain only if more records follow each other than a cell is
believed to have (`RECORDS_IN_CELL_MAX`), or if a quote shows that it is in no cell.

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
#: How many lines in a row may be records by themselves and still be in a cell of a damaged record.
RECORDS_IN_CELL_MAX = 10
_FIELDS_BEYOND = 1_000
_FIELDS_MAX = 100_000


class Opened(NamedTuple):
    """A field that continues on the next line."""

    #: Counted from 1.
    field: int
    #: Whether the line has a quote inside a field, which may have been meant to end this one.
    has_stray: bool


class Close(NamedTuple):
    """A quote that ends a field which began on an earlier line."""

    #: The fields of the line up to the quote, and after it.
    before: int
    after: int

    @property
    def width(self) -> int:
        return self.before + self.after


class _End(NamedTuple):
    #: How many lines there are up to the one with the quote, and with it.
    lines: int
    close: Close


@dataclass(frozen=True, slots=True)
class Lines:
    """What lines of one file can be, by its dialect and its number of fields (None until the first record decides it)."""

    dialect: Dialect
    field_count: int | None
    #: A record with too few fields is filled up with None.
    pads: bool = False
    characters_max: int = 64 * 1024 * 1024

    # --- one line ---

    def scan(self) -> Scan:
        return Scan(self.dialect, _FIELDS_MAX if self.field_count is None else self.field_count + _FIELDS_BEYOND)

    def scanned(self, line_at: LineAt, at: int) -> Scan:
        """The record that begins at `at`, as far as its quotes say."""
        scan = self.scan()
        while (line := line_at(at + scan.lines)) is not None:
            if scan.feed(*line) or scan.length > self.characters_max:
                break
        return scan

    def fits(self, count: int) -> bool:
        if self.field_count is None:
            return True
        return count == self.field_count or (self.pads and count < self.field_count)

    def has_shape(self, text: str) -> bool:
        """Whether the line has the promised number of fields when quotes are plain text."""
        return self.dialect.field_count(text) == self.field_count

    def is_plainly_wrong(self, text: str) -> bool:
        """Whether a line without quotes and escapes has too many or too few fields, as most bad records have."""
        dialect = self.dialect
        if (dialect.quote is not None and dialect.quote in text) or (
            dialect.escape is not None and dialect.escape in text
        ):
            return False
        count = text.count(dialect.delimiter) + 1
        return not self.fits(count) and count <= (self.field_count or 0) + _FIELDS_BEYOND

    def is_sound(self, line_at: LineAt, at: int) -> bool:
        """Whether a record begins at `at` that has the promised shape by itself, or the file ends there."""
        line = line_at(at)
        return line is None or not line[0] or self._is_good(self.scanned(line_at, at))

    def closes(self, text: str) -> Close | None:
        """The fields before and after the quote that ends a field, if the line begins inside quotes; None if it cannot."""
        dialect = self.dialect
        if dialect.quote is None or dialect.quote not in text:
            return None
        found = dialect.quoted.match(text)
        close = found.end() if found is not None else 0
        if close == len(text) or text[close] != dialect.quote:
            return None
        before, after = dialect.field_count(text[:close]), close + 1
        if after == len(text):
            return Close(before, 0)
        rest = self.scan()
        if not text.startswith(dialect.delimiter, after) or not rest.feed(text[after + len(dialect.delimiter) :], ""):
            return None
        return None if rest.problem or rest.strays else Close(before, len(rest.fields))

    def _is_good(self, scan: Scan) -> bool:
        return not scan.is_open and not scan.problem and not scan.strays and self.fits(len(scan.fields))

    # --- a quote that closes what none opened ---

    def tail_after(self, line_at: LineAt, at: int, opened: int = 0) -> int:
        """How many lines at `at` may be the rest of the record before them: a quote closes there that was never opened.

        A line that can be a whole record with such a quote explains it alone; unless field `opened` of the record before has
        several lines and may reach that far, with one quote more in between.
        """
        end = self._unopened(line_at, at, RECORDS_IN_CELL_MAX)
        if end is None or self.field_count is None:
            return 0
        is_tail = end.close.width < self.field_count or (opened and opened + end.close.after == self.field_count)
        return end.lines if is_tail else 0

    def rest_of_short(self, line_at: LineAt, at: int) -> int:
        """The lines after a record with too few fields up to a quote that closes what none opened, with only records between."""
        end = self._unopened(line_at, at + 1, RECORDS_IN_CELL_MAX, is_over_records=True)
        return end.lines if end is not None and end.lines > 1 else 0

    def rest_of_stray(self, line_at: LineAt, at: int) -> int:
        """The lines after a record with an odd number of quotes inside its fields, if one of these may open a cell."""
        end = self._unopened(line_at, at + 1, RECORDS_IN_CELL_MAX)
        return end.lines if end is not None else 0

    def rest_of_rejected(self, line_at: LineAt, at: int) -> int:
        """The lines after a rejected one, up to a line that closes what it may have opened."""
        quote, first = self.dialect.quote, line_at(at)
        if quote is None or first is None or first[0].count(quote) % 2 == 0:
            return self.rest_of_short(line_at, at)
        end = self._unopened(line_at, at + 1, LINES_LOST_MAX, is_any_end=True)
        return end.lines if end is not None else 0

    def _unopened(
        self, line_at: LineAt, at: int, records_max: int, *, is_over_records: bool = False, is_any_end: bool = False
    ) -> _End | None:
        """The next quote from `at` on, if it closes what none opened, and at most `records_max` lines before it are records.

        `is_over_records`: no other lines may be between. `is_any_end`: the quote need not end its field properly.
        """
        quote, records = self.dialect.quote, 0
        if quote is None or self.field_count is None:
            return None
        for count in range(LINES_LOST_MAX):
            line = line_at(at + count)
            if line is None:
                break
            text = line[0]
            if quote in text:
                close = self.closes(text)
                if close is None and is_any_end and text.count(quote) % 2:
                    close = Close(self.field_count, 0)
                if close is None or self._is_cut_before(*line) or self.is_sound(line_at, at + count):
                    break
                return _End(count + 1, close)
            if text and self.fits(self.dialect.field_count(text)):
                records += 1
                if records > records_max:
                    break
            elif text and is_over_records:
                break
        return None

    def _is_cut_before(self, text: str, line_end: str) -> bool:
        """Whether the file is cut off where a quoted field begins."""
        quote = self.dialect.quote or ""
        return not line_end and (text == quote or text.endswith(self.dialect.delimiter + quote))

    # --- a quote that opens a field and does not end ---

    def rest_of_broken(self, line_at: LineAt, at: int) -> int:
        """The lines after a line whose last field does not end, as far as that field may reach.

        It reaches to the last line that is no record by itself. If the first line is too short for a record, it reaches
        further, as long as none of the lines could be its end.
        """
        first = line_at(at)
        assert first is not None and self.field_count is not None
        quote = self.dialect.quote or ""
        opened = self.opened(line_at, at)
        # Whether some line can be the record's last one, and whether some line has the quote that is wrong.
        is_seen = opened.has_stray
        has_end = is_seen or self.dialect.field_count(first[0]) >= self.field_count
        last = records = 0
        for count in range(1, LINES_LOST_MAX + 1):
            line = line_at(at + count)
            if line is None:
                break
            text = line[0]
            if not text:
                continue
            field_count = self.dialect.field_count(text)
            if quote in text:
                scan = self.scanned(line_at, at + count)
                if self._is_good(scan):
                    quoted = self._first_quoted(text)
                    if quoted == opened.field and not is_seen and (scan.lines > 1 or not has_end):
                        last = count + scan.lines - 1  # one quote more in this line explains everything too
                    elif quoted > opened.field and not has_end:
                        last = count  # the quote that is missing may be before that one
                    break
                last, is_seen = count, True
                if self.closes(text) is not None:
                    break
            elif field_count == self.field_count:
                records += 1
                if records > RECORDS_IN_CELL_MAX:
                    break
                last = last if has_end else count
                continue
            last, records = count, 0
            has_end = has_end or field_count + (quote in text) > self.field_count - opened.field
        return last

    def opened(self, line_at: LineAt, at: int) -> Opened:
        """The field that continues after the line at `at`."""
        scan, line = self.scan(), line_at(at)
        if line is not None:
            scan.feed(*line)
        return Opened(len(scan.fields) + 1, bool(scan.strays))

    def _first_quoted(self, text: str) -> int:
        """The place (from 1) of the first quoted field of a record that has one."""
        quote, delimiter = self.dialect.quote or "", self.dialect.delimiter
        if text.startswith(quote):
            return 1
        return self.dialect.field_count(text[: text.find(delimiter + quote) + len(delimiter)])


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
class Judge(Lines):
    """The rules for one file."""

    def judge(self, line_at: LineAt, at: int, seen: Seen) -> Verdict:
        """The record whose first line is at `at`."""
        first = line_at(at)
        if first is not None and self.is_plainly_wrong(first[0]):
            count = self.dialect.field_count(first[0])
            rest = self.rest_of_short(line_at, at) if count < (self.field_count or 0) else 0
            return Verdict(1 + rest, None, _wrong_count(count, self.field_count))
        scan = self.scanned(line_at, at)
        if scan.lines == 1 and not scan.is_open:
            return self._on_one_line(line_at, at, scan)
        if not scan.is_open and not scan.problem and self.fits(len(scan.fields)):
            if scan.strays:
                reason = f"has a quote inside field {scan.strays[0]} and a field of several lines"
                return Verdict(scan.lines, None, reason)
            if seen.encloses or self.field_count is None or not self._are_shaped(line_at, at, scan.lines):
                return self._accepted(line_at, at, scan)
            if scan.lines <= LINES_LOST_MAX:
                one_or_many = f"one record in {scan.lines} lines if its quotes enclose a field, or {scan.lines} records"
                return Verdict(scan.lines, None, f"is {one_or_many} if they are text")
        return self._unreadable(line_at, at, scan)

    def _on_one_line(self, line_at: LineAt, at: int, scan: Scan) -> Verdict:
        count = len(scan.fields)
        reason, rest = "", None
        if scan.problem:
            reason = self._with_promise(scan.problem)
        elif not self.fits(count):
            reason = _wrong_count(count, self.field_count)
        elif scan.strays and scan.strays[0] != scan.strays[-1]:
            reason = f"has quotes inside fields {scan.strays[0]} and {scan.strays[-1]}, which may enclose what is between them"
        elif len(scan.strays) % 2:
            rest = self.rest_of_stray(line_at, at)
            if rest or self._may_go_on(line_at, at + 1):
                at_stray = f"has a quote inside field {scan.strays[0]}"
                reason = f"{at_stray}, and the next line is no record: the field may continue there"
        if reason:
            return Verdict(1 + (self.rest_of_rejected(line_at, at) if rest is None else rest), None, reason)
        return self._accepted(line_at, at, scan)

    def _accepted(self, line_at: LineAt, at: int, scan: Scan) -> Verdict:
        tail = self.tail_after(line_at, at + scan.lines, self.opened(line_at, at).field if scan.lines > 1 else 0)
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

    def _unreadable(self, line_at: LineAt, at: int, scan: Scan) -> Verdict:
        """A quoted field continues beyond its line, and the record does not come out right. Decide how much is rejected."""
        first = line_at(at)
        assert first is not None
        field = self.opened(line_at, at).field
        reason = f"has a quote that opens in field {field} and is never closed"
        if self.field_count is None:
            return Verdict(1, None, reason)
        if not scan.is_open and not scan.problem and scan.lines <= LINES_LOST_MAX:
            if self.has_shape(first[0]) and self._are_records(line_at, at + 1, scan.lines - 2):
                return Verdict(1, None, reason)
            reason = f"{_wrong_count(len(scan.fields), self.field_count)}, in {scan.lines} lines"
            return Verdict(scan.lines + self.rest_of_short(line_at, at + scan.lines - 1), None, reason)
        return Verdict(1 + self.rest_of_broken(line_at, at), None, reason)

    def _are_records(self, line_at: LineAt, at: int, count: int) -> bool:
        """Whether these lines, and the one after them, are records by themselves."""
        return self._are_shaped(line_at, at, count) and self.is_sound(line_at, at + count)

    def _are_shaped(self, line_at: LineAt, at: int, count: int) -> bool:
        """Whether each of these lines has the promised number of fields when quotes are plain text."""
        return all((line := line_at(place)) is not None and self.has_shape(line[0]) for place in range(at, at + count))

    def _may_go_on(self, line_at: LineAt, at: int) -> bool:
        """Whether the line at `at` is no record by itself, however its quotes are read."""
        line = line_at(at)
        if line is None or self.field_count is None:
            return False
        return (self.closes(line[0]) is not None or not self.has_shape(line[0])) and not self.is_sound(line_at, at)

    def _with_promise(self, problem: str) -> str:
        if problem.endswith("fields") and self.field_count is not None:
            return f"{problem} instead of {self.field_count:,}"
        return problem


@lru_cache(maxsize=256)
def _wrong_count(count: int, promised: int | None) -> str:
    fields = "field" if count == 1 else "fields"
    return f"has {count:,} {fields} instead of {promised:,}"
