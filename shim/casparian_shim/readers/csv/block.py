"""Delimited text a block at a time: which lines of a block are ordinary records, and their columns.

An ordinary line is a record by itself that can be read in only one way: it has the promised number of fields, and its quotes, if
it has any, enclose whole fields. All else, and the line before it, to which it may belong, is left to `record`.

Most blocks have only ordinary lines. `whole` reads such a block at once and proves afterwards, from sums over the block, that
each line was one. If the proof fails, `unusual` looks at each line, and `columns` reads those that remain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from casparian_shim.readers.csv.scan import Dialect
from casparian_shim.readers.lines import LineBlock

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_MARK = "\ufeff".encode()
#: Stands for a delimiter of several bytes, of which pyarrow knows nothing, in lines where it does not occur.
_STAND_IN = b"\x1f"
_REPEAT_MAX = 1_000
#: How many blocks are read before they are asked for.
BLOCKS_AHEAD = 2


@dataclass(frozen=True)
class Ordinary:
    """The ordinary lines of one file, whose records have `field_count` fields."""

    dialect: Dialect
    field_count: int
    comment: str | None = None
    #: Lines that this matches are no records.
    other: re.Pattern[str] | None = None

    @property
    def can_read(self) -> bool:
        """Whether pyarrow gives this dialect's NULL and empty texts."""
        return not (self.dialect.empty == "" and self.dialect.quoted_empty is None)

    def whole(self, lines: LineBlock, start: int, stop: int) -> tuple[list[pa.Array], bool] | None:
        """The columns of the lines from place `start` to `stop`, and whether quotes enclose a delimiter.

        None if a line may be unusual.
        """
        found = self._bytes(lines, start, stop) if start < stop and self.can_read else None
        if found is None or self._has_marks(lines, start, stop, *found):
            return None
        data, line_end = found
        if self._delimiter is _STAND_IN:
            data = data.replace(self.dialect.delimiter.encode(), _STAND_IN)
        quote = self._quote if self._quote and self._quote in data else b""
        if len(quote) > 1:
            return None
        try:
            columns = self._parsed(pa.py_buffer(data), has_quotes=bool(quote))
        except pa.ArrowInvalid:  # a line has more or fewer fields
            return None
        if len(columns[0]) != stop - start:
            return None
        encloses = bool(quote) and self._encloses(data, columns, quote, line_end)
        return None if encloses is None else (self._restored(columns), encloses)

    def _encloses(self, data: bytes, columns: list[pa.Array], quote: bytes, line_end: bytes) -> bool | None:
        """Whether quotes enclose a delimiter somewhere; None if not every quote opens or closes a whole field.

        As no value holds a quote, the bytes that are in no value are delimiters, line ends, and an opening and a closing quote
        for each quoted field. Those that close one stand before a delimiter or a line end, as do those that open one whose
        value begins with a delimiter.
        """
        values = [(column, _content(column)) for column in columns]
        if any(quote in content or line_end in content for _, content in values):
            return None
        enclosing = [column for column, content in values if self._delimiter in content]
        marks = (self.field_count - 1 + len(line_end)) * len(columns[0])
        quotes = len(data) - sum(len(content) for _, content in values) - marks
        before_marks = _count_before(data, quote, self._delimiter + line_end[:1])
        opening = sum(pc.sum(pc.starts_with(column, self._delimiter.decode())).as_py() or 0 for column in enclosing)
        return bool(enclosing) if quotes == 2 * (before_marks - opening) else None

    def _bytes(self, lines: LineBlock, start: int, stop: int) -> tuple[bytes, bytes] | None:
        """The lines as UTF-8, each ended by the same line end, and that; None if one of them cannot be read."""
        if lines.is_utf8 and lines.separator is not None:
            begin = lines.ends[start - 1].as_py() - lines.begin if start else 0
            data = lines.data[begin : lines.ends[stop - 1].as_py() - lines.begin]
            return _ended(data, lines.separator), lines.separator
        texts = lines.texts.slice(start, stop - start)
        return None if texts.null_count else (_ended(_joined(texts), b"\n"), b"\n")

    def _has_marks(self, lines: LineBlock, start: int, stop: int, data: bytes, line_end: bytes) -> bool:
        """Whether a line may be blank or a comment, or has an escape or something that pyarrow would take for a mark."""
        marks = [mark.encode() for mark in (self.dialect.escape, self.comment) if mark is not None]
        marks += [b"\r"] if line_end == b"\n" else []
        if data.startswith(_MARK) or any(mark in data for mark in marks):
            return True
        if self._delimiter is _STAND_IN and _STAND_IN in data:
            return True
        if lines.separator is not None:
            shortest = pc.min(lines.sizes.slice(start, stop - start)).as_py() - len(lines.separator)
        else:
            shortest = pc.min(pc.binary_length(lines.texts.slice(start, stop - start))).as_py()
        if shortest <= 0:
            return True
        other = self.other
        return other is not None and any(map(other.match, lines.texts.slice(start, stop - start).to_pylist()))

    def unusual(self, lines: LineBlock, start: int, stop: int) -> tuple[list[int], list[int]]:
        """The places of the lines that are not ordinary; and of ordinary lines whose quotes enclose a delimiter."""
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
        for mark in (self.comment, "\ufeff"):
            if may_have(mark):
                is_good = pc.and_not(is_good, pc.starts_with(texts, mark))
        is_good = pc.fill_null(is_good, False)
        if self.other is not None:
            others = [text is not None and self.other.match(text) is not None for text in texts.to_pylist()]
            is_good = pc.and_not(is_good, pa.array(others, pa.bool_()))
        enclosing = []
        if has_quotes is not None:
            encloses = pc.and_(is_good, pc.and_(has_quotes, pc.not_equal(separators, self.field_count - 1)))
            enclosing = pc.add(pc.indices_nonzero(encloses).cast(pa.int64()), start).to_pylist()
        is_next_good = pa.concat_arrays([is_good.slice(1), pa.array([False])])
        unusual = pc.invert(pc.and_(is_good, is_next_good))
        return pc.add(pc.indices_nonzero(unusual).cast(pa.int64()), start).to_pylist(), enclosing

    def columns(self, texts: pa.StringArray) -> list[pa.Array]:
        """The columns of ordinary lines."""
        if not len(texts):
            return [pa.array([], pa.string())] * self.field_count
        data = _ended(_joined(texts), b"\n")
        if self._delimiter is _STAND_IN:
            data = data.replace(self.dialect.delimiter.encode(), _STAND_IN)
        return self._restored(self._parsed(pa.py_buffer(data), has_quotes=len(self._quote) == 1))

    # --- inside ---

    def _parsed(self, data: pa.Buffer, *, has_quotes: bool) -> list[pa.Array]:
        names = [str(place) for place in range(self.field_count)]
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            read_options=arrow_csv.ReadOptions(column_names=names, block_size=len(data) + 1, use_threads=True),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self._delimiter.decode(),
                quote_char=self.dialect.quote if has_quotes else False,
                double_quote=self.dialect.doublequote,
                escape_char=False,
                newlines_in_values=False,
                ignore_empty_lines=False,
            ),
            convert_options=arrow_csv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=self.dialect.empty is None,
                quoted_strings_can_be_null=self.dialect.quoted_empty is None,
            ),
        )
        return [column.combine_chunks() for column in table.columns]

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


class Early:
    """Reads blocks in threads before they are asked for, since pyarrow lets Python run on while it works."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._found: dict[int, tuple[Ordinary, Future[tuple[list[pa.Array], bool] | None]]] = {}

    def begin(self, ordinary: Ordinary, now: LineBlock, blocks: Sequence[LineBlock]) -> None:
        """Begin to read these blocks, which follow the one of now, and forget earlier ones that were not needed."""
        self._found = {number: found for number, found in self._found.items() if number >= now.first}
        for lines in blocks:
            known = self._found.get(lines.first)
            if known is None or known[0] is not ordinary:
                if self._pool is None:
                    from concurrent.futures import ThreadPoolExecutor  # only for files of several blocks

                    self._pool = ThreadPoolExecutor(BLOCKS_AHEAD, thread_name_prefix="read-csv")
                self._found[lines.first] = ordinary, self._pool.submit(ordinary.whole, lines, 0, len(lines))

    def whole(self, ordinary: Ordinary, lines: LineBlock, start: int, stop: int) -> tuple[list[pa.Array], bool] | None:
        """What `Ordinary.whole` gives."""
        found = self._found.pop(lines.first, None)
        if found is None or found[0] is not ordinary or start or stop < len(lines):
            return ordinary.whole(lines, start, stop)
        return found[1].result()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _joined(texts: pa.StringArray) -> bytes:
    lists = pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts)
    return pc.binary_join(lists, "\n")[0].as_buffer().to_pybytes()  # type: ignore[no-any-return]


def _count_before(data: bytes, mark: bytes, next_marks: bytes) -> int:
    """How often the one stands before one of the others. Twice as fast as `count` where they are dense."""
    characters = pa.Array.from_buffers(pa.uint8(), len(data), [None, pa.py_buffer(data)])
    is_mark, *are_next = (pc.equal(characters, pa.scalar(each, pa.uint8())) for each in mark + next_marks)
    return pc.sum(pc.and_(is_mark.slice(0, len(data) - 1), reduce(pc.or_, are_next).slice(1))).as_py() or 0


def _ended(data: bytes, line_end: bytes) -> bytes:
    """Without a line end pyarrow takes an empty last field for one in quotes."""
    return data if data.endswith(line_end) else data + line_end


def _content(column: pa.StringArray) -> bytes:
    """The bytes of all values."""
    content = column.buffers()[2]
    return b"" if content is None else content.to_pybytes()


def _in_class(characters: str) -> str:
    return "".join("\\" + each if each in "\\]^-[" else each for each in characters)


def _literal(text: str) -> str:
    return f"[{_in_class(text)}]" if text != "^" else "\\^"
