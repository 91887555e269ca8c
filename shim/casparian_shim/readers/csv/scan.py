"""The fields of one record of delimited text, a line at a time, and the quotes in it that do not enclose a field.

`record` decides what such quotes mean. Time is linear in the text, and what is kept is bounded, whatever the line holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

_STRAYS_MAX = 1_000
_PADDING = " \t"
_PARTS_MAX = 10_000


@dataclass(frozen=True)
class Dialect:
    """How a file writes its fields. `quote` and `escape` are one character or None."""

    delimiter: str = ","
    quote: str | None = '"'
    escape: str | None = None
    doublequote: bool = True
    #: The value of a field with nothing in it, and of a quoted field with nothing in it.
    empty: str | None = None
    quoted_empty: str | None = ""

    def __post_init__(self) -> None:
        marks = {"delimiter": self.delimiter, "quote": self.quote, "escape": self.escape}
        if not self.delimiter:
            raise ValueError("'' is not a valid delimiter: it is empty")
        for name, mark in marks.items():
            if mark is not None and "\0" in mark:
                raise ValueError(f"{mark!r} is not a valid {name}: it contains NUL")
            if mark is not None and ("\n" in mark or "\r" in mark):
                raise ValueError(f"{mark!r} is not a valid {name}: it contains a line end")
            if mark is not None and name != "delimiter" and len(mark) != 1:
                raise ValueError(f"{mark!r} is not a valid {name}: it is not one character")
        if self.quote is not None and self.quote == self.escape:
            raise ValueError(
                f"{self.escape!r} is not a valid escape: it is the quote; doubled quotes are read by default"
            )
        for mark in (self.quote, self.escape):
            if mark is not None and mark in self.delimiter:
                raise ValueError(f"{self.delimiter!r} is not a valid delimiter: it contains the quote or the escape")

    def field_count(self, text: str) -> int:
        """The fields of a line whose quotes are plain text."""
        if self.escape is not None and self.escape in text:
            text = self._escaped.sub("", text)
        return text.count(self.delimiter) + 1

    def unescaped(self, text: str) -> str:
        if self.escape is None or self.escape not in text:
            return text
        return self._escaped.sub(self._meant, text)

    def _meant(self, found: re.Match[str]) -> str:
        """What an escape with the character after it stands for. Before a character that needs none it is text: `C:\\temp`."""
        character = found[0][1:]
        is_special = character in (self.quote, self.escape, self.delimiter[0], "\r", "\n")
        return character if is_special else found[0]

    @cached_property
    def _escaped(self) -> re.Pattern[str]:
        return re.compile(re.escape(self.escape or "") + ".", re.DOTALL)

    @cached_property
    def quoted(self) -> re.Pattern[str]:
        """What stands in a quoted field, up to a quote that may close it or to the end of the line."""
        quote, escape = re.escape(self.quote or ""), re.escape(self.escape or "")
        parts = [f"[^{quote}{escape}]++"]
        parts += [quote + quote] if self.doublequote else []
        parts += [escape + "."] if escape else []
        return re.compile(f"(?:{'|'.join(parts)})*+", re.DOTALL)

    @cached_property
    def unquoted(self) -> re.Pattern[str]:
        """What stands in an unquoted field with escapes, up to the delimiter or the end of the line (or an escape there)."""
        delimiter, escape = re.escape(self.delimiter), re.escape(self.escape or "")
        return re.compile(f"(?:(?!{delimiter})[^{escape}]|{escape}.)*+", re.DOTALL)

    def plain_quoted(self, text: str) -> str:
        """The value of what stands in a quoted field."""
        if self.escape is not None and self.escape in text:
            quote, escape = re.escape(self.quote or ""), re.escape(self.escape)
            doubled = f"|{quote}{quote}" if self.doublequote else ""
            return re.sub(f"{escape}.{doubled}", self._meant, text, flags=re.DOTALL)
        if self.doublequote and self.quote is not None:
            return text.replace(self.quote * 2, self.quote)
        return text


class Scan:
    """The fields of one record, a line at a time. Stray quotes are text as long as the record stands on one line."""

    __slots__ = (
        "_fields_max",
        "_is_in_quotes",
        "_is_open",
        "_open",
        "dialect",
        "fields",
        "is_quoted",
        "length",
        "lines",
        "problem",
        "strays",
    )

    def __init__(self, dialect: Dialect, fields_max: int) -> None:
        self.dialect = dialect
        self.fields: list[str | None] = []
        self.lines = 0
        self.length = 0
        #: The field (from 1) of each stray quote.
        self.strays: list[int] = []
        #: Why the record cannot be read, or "".
        self.problem = ""
        self.is_quoted = False
        self._fields_max = fields_max
        #: What was read of a field that continues on the next line, and whether a quote opened it.
        self._open: list[str] = []
        self._is_open = False
        self._is_in_quotes = False

    @property
    def is_open(self) -> bool:
        return self._is_open

    def feed(self, text: str, line_end: str) -> bool:
        """Read one more line; whether the record is complete or cannot be read."""
        self.lines += 1
        self.length += len(text) + len(line_end)
        place = 0
        dialect = self.dialect
        if (
            not self._is_open
            and (dialect.quote is None or dialect.quote not in text)
            and (dialect.escape is None or dialect.escape not in text)
        ):
            return self._split(text)
        while True:
            if self._is_open:
                stop = self._rest_of_quoted(text, place) if self._is_in_quotes else self._rest_of_unquoted(text, place)
            elif dialect.quote is not None and text.startswith(dialect.quote, place):
                self.is_quoted = self._is_in_quotes = True
                stop = self._rest_of_quoted(text, place + 1)
            else:
                self._is_in_quotes = False
                stop = self._rest_of_unquoted(text, place)
            if self.problem:
                return True
            self._is_open = stop is None
            if stop is None:
                self._keep(line_end)
                return False
            if stop == len(text):
                return True
            if len(self.fields) > self._fields_max:
                self.problem = f"has more than {self._fields_max:,} fields"
                return True
            place = stop + len(dialect.delimiter)

    def _split(self, text: str) -> bool:
        if text.count(self.dialect.delimiter) > self._fields_max:
            self.problem = f"has more than {self._fields_max:,} fields"
            return True
        empty = self.dialect.empty
        self.fields += [field or empty for field in text.split(self.dialect.delimiter)]
        return True

    def _rest_of_quoted(self, text: str, place: int) -> int | None:
        dialect = self.dialect
        begin = place
        while True:
            found = dialect.quoted.match(text, place)
            stop = found.end() if found is not None else place
            self._keep(dialect.plain_quoted(text[place:stop]))
            if stop == len(text):
                return None
            if text[stop] == dialect.escape:  # at the end of the line: the line end is data
                return None
            if stop + 1 == len(text) or text.startswith(dialect.delimiter, stop + 1):
                self._end_field()
                return stop + 1
            if self.lines > 1:
                self.problem = (
                    f"has a quote followed by text in field {len(self.fields) + 1}, which begins on another line"
                )
            elif not self._is_inside(text, begin, stop, len(text)):
                self.problem = (
                    f"has a quote in field {len(self.fields) + 1} that neither closes it nor stands between two letters"
                )
            else:
                self._note_stray()
            if self.problem:
                return len(text)
            self._keep(text[stop])
            place = stop + 1

    def _rest_of_unquoted(self, text: str, place: int) -> int | None:
        dialect = self.dialect
        if dialect.escape is None:
            stop = text.find(dialect.delimiter, place)
            stop = len(text) if stop < 0 else stop
        else:
            found = dialect.unquoted.match(text, place)
            stop = found.end() if found is not None else place
        raw = text[place:stop]
        if dialect.quote is not None and dialect.quote in raw:
            self._judge_strays(text, place, stop)
        self._keep(dialect.unescaped(raw))
        if stop < len(text) and text[stop] == dialect.escape:
            return None
        self._end_field()
        return stop

    def _judge_strays(self, text: str, begin: int, end: int) -> None:
        """Note the quotes of an unquoted field, or the problem with them."""
        quote, escape = self.dialect.quote, self.dialect.escape
        place = begin
        while not self.problem:
            found = text.find(quote or "", place, end)
            if found < 0:
                return
            place = found + 1
            if escape is not None and _is_escaped(text, found, begin, escape):
                continue
            if not self._is_inside(text, begin, found, end):
                field = len(self.fields) + 1
                at = "at the beginning or end of" if self._is_at_border(text, begin, found, end) else "in"
                self.problem = f"has a quote {at} field {field}, which no quote opens"
            else:
                self._note_stray()

    def _note_stray(self) -> None:
        self.strays.append(len(self.fields) + 1)
        if self.lines > 1:
            self.problem = f"has a quote inside field {self.strays[-1]}, in a record of several lines"
        elif len(self.strays) > _STRAYS_MAX:
            self.problem = f"has more than {_STRAYS_MAX:,} quotes inside its fields"

    def _is_inside(self, text: str, begin: int, at: int, end: int) -> bool:
        """Whether ordinary characters of the field stand on both sides of the quote at `at`."""
        delimiter, special = self.dialect.delimiter, (self.dialect.quote, self.dialect.escape, "\\")
        left, right = _left_of(text, begin, at, delimiter), _right_of(text, at, end, delimiter)
        if left < begin or right >= end:
            return False
        return (
            text[left] not in special
            and text[right] not in special
            and not text.startswith(delimiter, right)
            and not _ends(text, begin, left, delimiter)
        )

    def _is_at_border(self, text: str, begin: int, at: int, end: int) -> bool:
        delimiter = self.dialect.delimiter
        return _left_of(text, begin, at, delimiter) < begin or _right_of(text, at, end, delimiter) >= end

    def _keep(self, text: str) -> None:
        if text:
            self._open.append(text)
        if len(self._open) > _PARTS_MAX:
            self._open = ["".join(self._open)]

    def _end_field(self) -> None:
        value = self._open[0] if len(self._open) == 1 else "".join(self._open)
        self._open = []
        self.fields.append(value or (self.dialect.quoted_empty if self._is_in_quotes else self.dialect.empty))
        self._is_open = False


def _left_of(text: str, begin: int, at: int, delimiter: str) -> int:
    """The place of the last character before `at` that is no padding; below `begin` if there is none. A delimiter is none."""
    at -= 1
    while at >= begin and text[at] in _PADDING and not _ends(text, begin, at, delimiter):
        at -= 1
    return at


def _right_of(text: str, at: int, end: int, delimiter: str) -> int:
    at += 1
    while at < end and text[at] in _PADDING and not text.startswith(delimiter, at):
        at += 1
    return at


def _ends(text: str, begin: int, at: int, delimiter: str) -> bool:
    """Whether a delimiter ends with the character at `at`."""
    return text.startswith(delimiter, max(begin, at + 1 - len(delimiter)), at + 1)


def _is_escaped(text: str, at: int, begin: int, escape: str) -> bool:
    count = 0
    while at - count > begin and text[at - count - 1] == escape:
        count += 1
    return count % 2 == 1
