"""Delimited text a block at a time: which lines of a block are ordinary records, and their columns.

An ordinary line is a record by itself that can be read in only one way: it has the promised number of fields, and its quotes, if
it has any, enclose whole fields. All else, and the line before it, to which it may belong, is left to `record`.

Most blocks have only ordinary lines. `whole` reads such a block at once and proves afterwards, from sums over the block, that
each line was one. If the proof fails, `unusual` looks at each line, and `columns` reads those that remain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from casparian_shim.readers.csv.record import LINES_LOST_MAX, RECORDS_IN_CELL_MAX, Lines
from casparian_shim.readers.csv.scan import Dialect
from casparian_shim.readers.line_ends import places, places_of
from casparian_shim.readers.lines import LineBlock

_MARK = "\ufeff".encode()
#: Stands for a delimiter of several bytes, of which pyarrow knows nothing, in lines where it does not occur.
_STAND_IN = b"\x1f"
_REPEAT_MAX = 1_000
#: Up to this size Python's own search is faster than Arrow's columns of bytes.
_SMALL_BYTES = 8 * 1024


class Whole(NamedTuple):
    """Some lines that were read at once."""

    #: The columns of the ordinary ones.
    columns: list[pa.Array]
    #: The places of the others, which have another number of fields and no quotes.
    bad: list[int]
    #: Where each row ends, if there is no bad line and it is known.
    ends: pa.Int64Array | None
    #: Quotes enclose a delimiter somewhere.
    encloses: bool


class Quotes(NamedTuple):
    enclose_delimiters: bool
    #: How many quotes each row has, if all rows have equally many for certain.
    for_each_row: int | None


@dataclass(frozen=True)
class Ordinary:
    """The ordinary lines of one file, whose records have `field_count` fields."""

    dialect: Dialect
    field_count: int
    comment: str | None = None
    #: The patterns of lines that are no records.
    others: tuple[re.Pattern[str], ...] = ()

    @property
    def can_read(self) -> bool:
        """Whether pyarrow gives this dialect's NULL and empty texts."""
        return not (self.dialect.empty == "" and self.dialect.quoted_empty is None)

    def whole(self, lines: LineBlock, start: int, stop: int) -> Whole | None:
        """What the lines from place `start` to `stop` are, if each of them is an ordinary record or has no quotes."""
        found = self._bytes(lines, start, stop) if start < stop and self.can_read else None
        if found is None or self._has_marks(lines, start, stop, *found):
            return None
        data, line_end = found
        if self._delimiter is _STAND_IN:
            data = data.replace(self.dialect.delimiter.encode(), _STAND_IN)
        quote = self._quote if self._quote and self._quote in data else b""
        if len(quote) > 1:
            return None
        bad: list[tuple[int, str]] = []
        columns = self._parsed(pa.py_buffer(data), quote, bad)
        if len(columns[0]) + len(bad) != stop - start or (quote and any(quote.decode() in text for _, text in bad)):
            return None
        if _has_empty(columns[0]) and lines.has_blank_line:  # pyarrow makes a row without a value of it
            return None
        quotes = self._enclosed(lines, data, columns, quote, line_end, bad) if quote else Quotes(False, 0)
        if quotes is None:
            return None
        places = [start + place for place, _ in bad]
        ends = None
        if (
            len(data) > _SMALL_BYTES
            and not bad
            and lines.is_utf8
            and quotes.for_each_row is not None
            and self._delimiter is not _STAND_IN
        ):
            marks = self.field_count - 1 + len(line_end) + quotes.for_each_row
            ends = _ends(columns, lines.end_before(start), lines.end_before(stop), marks, len(line_end))
        return Whole(self._restored(columns), places, ends, quotes.enclose_delimiters)

    def _enclosed(
        self,
        lines: LineBlock,
        data: bytes,
        columns: list[pa.Array],
        quote: bytes,
        line_end: bytes,
        bad: Sequence[tuple[int, str]],
    ) -> Quotes | None:
        """What the quotes enclose; None if not every quote opens or closes a whole field, or is doubled in one.

        In rows whose values hold no quote, pyarrow has left each quote out, and two for each quoted field. The second one
        closes the field for certain if it is before a delimiter or a line end. So is the first one of a value that begins with a
        delimiter. So counting these quotes is a proof. Lines with a quote in a value are looked at one by one.
        """
        contents = [_content(column) for column in columns]
        if any(line_end[-1:] in content or line_end[:1] in content for content in contents):
            return None
        if len(data) > _SMALL_BYTES:
            is_quote, is_delimiter = (places(data, each[0]) for each in (quote, self._delimiter))
            is_end = lines.is_line_end if data is lines.data else places(data, line_end[0])
            closing = pc.and_(is_quote.slice(0, len(data) - 1), pc.or_(is_delimiter, is_end).slice(1)).true_count
            quotes = is_quote.true_count
        else:
            quotes, closing = (
                data.count(quote),
                sum(data.count(quote + mark) for mark in (self._delimiter, line_end[:1])),
            )
        holding = [column for column, content in zip(columns, contents, strict=True) if quote in content]
        enclosing = [column for column, content in zip(columns, contents, strict=True) if self._delimiter in content]
        if holding:
            if bad or self._delimiter is _STAND_IN:
                return None
            holds = reduce(pc.or_, (pc.fill_null(pc.match_substring(each, quote.decode()), False) for each in holding))
            odd = _cut(data, line_end, len(columns[0])).filter(holds)
            if not pc.all(self._are_quoted_well(pc.utf8_rtrim(odd.cast(pa.string()), "\r\n"))).as_py():
                return None
            text = _content(odd)
            quotes -= text.count(quote)
            closing -= text.count(quote + self._delimiter) + text.count(quote + line_end[:1])
            enclosing = [column.filter(pc.invert(holds)) for column in enclosing]
        opening = sum(pc.sum(pc.starts_with(column, self._delimiter.decode())).as_py() or 0 for column in enclosing)
        if quotes != 2 * (closing - opening):
            return None
        is_each_quoted = quotes == 2 * self.field_count * len(columns[0])
        return Quotes(bool(enclosing), 2 * self.field_count if is_each_quoted else None)

    def _bytes(self, lines: LineBlock, start: int, stop: int) -> tuple[bytes, bytes] | None:
        """The lines as UTF-8, each ended by the same line end, and that; None if one of them cannot be read."""
        if lines.is_utf8 and lines.separator is not None:
            data = lines.data[lines.end_before(start) - lines.begin : lines.end_before(stop) - lines.begin]
            return _ended(data, lines.separator), lines.separator
        texts = lines.texts.slice(start, stop - start)
        return None if texts.null_count else (_ended(_joined(texts), b"\n"), b"\n")

    def _has_marks(self, lines: LineBlock, start: int, stop: int, data: bytes, line_end: bytes) -> bool:
        """Whether a line may be a comment, or has an escape or something that pyarrow would take for a mark."""
        marks = [mark.encode() for mark in (self.dialect.escape, self.comment) if mark is not None]
        marks += [b"\r"] if line_end == b"\n" else []
        if data.startswith(_MARK) or any(mark in data for mark in marks):
            return True
        if self._delimiter is _STAND_IN and _STAND_IN in data:
            return True
        return bool(self.others) and any(map(self._is_other, lines.texts.slice(start, stop - start).to_pylist()))

    def _is_other(self, text: str | None) -> bool:
        return text is not None and any(pattern.match(text) is not None for pattern in self.others)

    def unusual(
        self, lines: LineBlock, start: int, stop: int, *, has_tail_after: bool = False
    ) -> tuple[list[int], list[int]]:
        """The places of the lines that are not ordinary; and of ordinary lines whose quotes enclose a delimiter.

        A line is not ordinary either if it may belong to a record with a damaged quote that follows it. `has_tail_after`: such a
        quote follows the last line.
        """
        texts = lines.texts.slice(start, stop - start)
        dialect = self.dialect
        if not self.can_read:
            return list(range(start, stop)), []

        def may_have(mark: str | None) -> bool:
            return bool(mark) and (not lines.is_utf8 or str(mark).encode() in lines.data)

        separators = pc.count_substring(texts, dialect.delimiter)
        is_good = pc.and_(pc.equal(separators, self.field_count - 1), pc.greater(pc.binary_length(texts), 0))
        has_quotes = None
        if may_have(dialect.quote):
            has_quotes = pc.match_substring(texts, dialect.quote)
            quoted = texts.filter(has_quotes)
            if len(quoted):
                is_good = pc.replace_with_mask(is_good, has_quotes, self._are_quoted_well(quoted))
        for mark in ("\r", _STAND_IN.decode() if self._delimiter is _STAND_IN else None, dialect.escape):
            if may_have(mark):
                is_good = pc.and_not(is_good, pc.match_substring(texts, mark))
        if not lines.is_utf8:  # in some codecs a line end may be written in other bytes
            is_good = pc.and_not(is_good, pc.match_substring(texts, "\n"))
        for mark in (self.comment, "\ufeff"):
            if may_have(mark):
                is_good = pc.and_not(is_good, pc.starts_with(texts, mark))
        is_good = pc.fill_null(is_good, False)
        if self.others:
            is_good = pc.and_not(is_good, pa.array(map(self._is_other, texts.to_pylist()), pa.bool_()))
        enclosing = []
        if has_quotes is not None:
            encloses = pc.and_(is_good, pc.and_(has_quotes, pc.not_equal(separators, self.field_count - 1)))
            enclosing = pc.add(pc.indices_nonzero(encloses).cast(pa.int64()), start).to_pylist()
        unusual = pc.add(pc.indices_nonzero(pc.invert(is_good)).cast(pa.int64()), start).to_pylist()
        more = {stop - 1}  # the record before the next block
        ends = [stop - start] if has_tail_after else []
        if has_quotes is not None:
            has_quotes = pc.fill_null(has_quotes, True)
            for place in pc.indices_nonzero(pc.and_not(has_quotes, is_good)).to_pylist():
                text = texts[place].as_py()
                if text is None or self._rules.closes(text) is not None:
                    ends.append(place)
        for end in ends:
            more.update(place + start for place in _before(end, is_good, has_quotes))
        return sorted(more.union(unusual)), enclosing

    def columns(self, texts: pa.StringArray) -> list[pa.Array]:
        """The columns of ordinary lines."""
        if not len(texts):
            return [pa.array([], pa.string())] * self.field_count
        data = _ended(_joined(texts), b"\n")
        if self._delimiter is _STAND_IN:
            data = data.replace(self.dialect.delimiter.encode(), _STAND_IN)
        return self._restored(self._parsed(pa.py_buffer(data), self._quote if len(self._quote) == 1 else b"", []))

    # --- inside ---

    def _parsed(self, data: pa.Buffer, quote: bytes, bad: list[tuple[int, str]]) -> list[pa.Array]:
        """The columns of all lines with the promised number of fields. The others are added to `bad`: place and text."""

        def skip(row: arrow_csv.InvalidRow) -> str:
            bad.append((row.number - 1, row.text))
            return "skip"

        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            read_options=arrow_csv.ReadOptions(
                column_names=self._names, block_size=len(data) + 1, use_threads=False
            ),  # threads would not say which row is bad
            parse_options=arrow_csv.ParseOptions(
                delimiter=self._delimiter.decode(),
                quote_char=quote.decode() if quote else False,
                double_quote=self.dialect.doublequote,
                escape_char=False,
                newlines_in_values=False,
                ignore_empty_lines=False,
                invalid_row_handler=skip,
            ),
            convert_options=self._conversion,
        )
        return [column.chunk(0) if column.num_chunks == 1 else column.combine_chunks() for column in table.columns]

    @cached_property
    def _names(self) -> list[str]:
        return [str(place) for place in range(self.field_count)]

    @cached_property
    def _conversion(self) -> arrow_csv.ConvertOptions:
        return arrow_csv.ConvertOptions(
            check_utf8=False,
            column_types=dict.fromkeys(self._names, pa.string()),
            null_values=[""],
            strings_can_be_null=self.dialect.empty is None,
            quoted_strings_can_be_null=self.dialect.quoted_empty is None,
        )

    @cached_property
    def _rules(self) -> Lines:
        return Lines(self.dialect, self.field_count)

    def _restored(self, columns: list[pa.Array]) -> list[pa.Array]:
        if self._delimiter is not _STAND_IN:
            return columns
        return [pc.replace_substring(column, _STAND_IN.decode(), self.dialect.delimiter) for column in columns]

    @cached_property
    def _quote(self) -> bytes:
        return (self.dialect.quote or "").encode()

    @cached_property
    def _delimiter(self) -> bytes:
        delimiter = self.dialect.delimiter.encode()
        return delimiter if len(delimiter) == 1 else _STAND_IN

    def _are_quoted_well(self, texts: pa.StringArray) -> pa.BooleanArray:
        """Whether each of these lines has the promised fields, each of them enclosed in quotes or without any."""
        delimiter = self.dialect.delimiter
        if len(self._quote) != 1 or len(delimiter) > 1 or self.field_count > _REPEAT_MAX:
            return pa.repeat(pa.scalar(False), len(texts))
        quote, not_quote = re.escape(self.dialect.quote or ""), f"[^{_in_class(self.dialect.quote or '')}]"
        doubled = f"(?:{quote}{quote}{not_quote}*)*" if self.dialect.doublequote else ""
        field = f"(?:{quote}{not_quote}*{doubled}{quote}|[^{_in_class((self.dialect.quote or '') + delimiter)}]*)"
        pattern = f"^{field}(?:{_literal(delimiter)}{field}){{{self.field_count - 1}}}$"
        try:
            return pc.match_substring_regex(texts, pattern)
        except pa.ArrowInvalid:  # too many fields for a pattern
            return pa.repeat(pa.scalar(False), len(texts))


def _joined(texts: pa.StringArray) -> bytes:
    lists = pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts)
    return pc.binary_join(lists, "\n")[0].as_buffer().to_pybytes()  # type: ignore[no-any-return]


def _cut(data: bytes, line_end: bytes, count: int) -> pa.BinaryArray:
    """The lines with their line ends, of which there are `count`."""
    stops = places_of(places(data, line_end[-1]), 1).cast(pa.int32())
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), stops])
    return pa.Array.from_buffers(pa.binary(), count, [None, offsets.buffers()[1], pa.py_buffer(data)])


def _ends(
    columns: Sequence[pa.StringArray], begin: int, end: int, marks: int, line_end_bytes: int
) -> pa.Int64Array | None:
    """Where each row ends if it has `marks` bytes in addition to its values, and the first one begins at `begin`.

    None if the last one does not end at `end`, with or without its line end.
    """
    count = len(columns[0])
    stops = [
        pa.Array.from_buffers(pa.int32(), count, [None, column.buffers()[1]], offset=column.offset + 1)
        for column in columns
    ]
    values = reduce(pc.add, stops).cast(pa.int64())
    ends = pc.add(values, pa.arange(begin + marks, begin + marks * count + 1, marks))
    last = ends[-1].as_py()
    if last == end:
        return ends
    is_without_line_end = last - line_end_bytes == end
    return pa.concat_arrays([ends.slice(0, count - 1), pa.array([end], pa.int64())]) if is_without_line_end else None


def _before(end: int, is_good: pa.BooleanArray, has_quotes: pa.BooleanArray | None) -> Iterator[int]:
    """The places of the lines before a quote that no quote opens: as many as may be in the same record."""
    records = 0
    for place in range(end - 1, max(-1, end - LINES_LOST_MAX - 1), -1):
        yield place
        records += is_good[place].as_py()
        if records > RECORDS_IN_CELL_MAX or (has_quotes is not None and has_quotes[place].as_py()):
            return


def _ended(data: bytes, line_end: bytes) -> bytes:
    """Without a line end pyarrow takes an empty last field for one in quotes."""
    return data if data.endswith(line_end) else data + line_end


def _has_empty(column: pa.StringArray) -> bool:
    return bool(column.null_count) or pc.min(pc.binary_length(column)).as_py() == 0


def _content(column: pa.StringArray) -> bytes:
    """The bytes of all values."""
    content = column.buffers()[2]
    return b"" if content is None else content.to_pybytes()


def _in_class(characters: str) -> str:
    return "".join("\\" + each if each in "\\]^-[" else each for each in characters)


def _literal(text: str) -> str:
    return f"[{_in_class(text)}]" if text != "^" else "\\^"
