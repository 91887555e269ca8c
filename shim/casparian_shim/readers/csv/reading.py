"""One reading of delimited text, in the order of the file: what comes before the header, the header, records and what is between
them, the footer. Lines that are ordinary are read by `block`, and the others are judged by `record`.
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.readers import source
from casparian_shim.readers.blocks import RAW_ENCODING, BadHeader, BadRecord, Block, NotTheEncoding, Reject, Skip
from casparian_shim.readers.csv.ahead import Ahead, Beforehand
from casparian_shim.readers.csv.block import Ordinary
from casparian_shim.readers.csv.header import better_delimiter, column_names
from casparian_shim.readers.csv.record import Judge, Seen, Verdict
from casparian_shim.readers.csv.scan import Dialect
from casparian_shim.readers.lines import LineBlock, LineEnds, line_blocks
from casparian_shim.readers.pieces import NameTaken
from casparian_shim.readers.source import Input
from casparian_shim.readers.tape import What

_log = logging.getLogger("casparian.readers")
_EVIDENCE_LINES = 20
#: The longest record of several lines, so that a quote that is never closed does not fill the memory.
LOOK_AHEAD_CHARACTERS = 16 * 1024 * 1024
#: A block and what is made of it should stay in the processor's cache.
BLOCK_BYTES = 512 * 1024
_PADDING = "\0\x1a"


@dataclass(frozen=True)
class Options:
    dialect: Dialect
    header_lines: int
    header_separator: str
    columns: Sequence[str] | None
    skip_lines: int
    comment: str | None
    preamble: re.Pattern[str] | None
    footer_lines: int
    footer: re.Pattern[str] | None
    tables: Mapping[str, re.Pattern[str]]
    pads: bool
    line_ends: LineEnds
    record_bytes_max: int

    @property
    def others(self) -> tuple[re.Pattern[str], ...]:
        """The patterns of lines that are no records."""
        return (*self.tables.values(), *([self.footer] if self.footer is not None else []))


@dataclass(slots=True)
class _Made:
    """What was made of some lines, before it is a block."""

    row_ids: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)
    encodings: list[str] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)


class Reading:
    """One reading of one source."""

    def __init__(self, input: Input, options: Options) -> None:
        blocks = line_blocks(
            input,
            line_ends=options.line_ends,
            record_bytes_max=options.record_bytes_max,
            block_bytes=min(source.BLOCK_BYTES, BLOCK_BYTES),
        )
        #: The number of the next line.
        self._at = input.lines_before + 1
        self._lines = Ahead(blocks, self._at, input.encoding, options.footer_lines)
        self._input = input
        self._options = options
        self._names: list[str] = []
        self._table: str | None = None
        self._judge = self._judge_of(None)
        self._ordinary: Ordinary | None = None
        self._seen = Seen()
        #: Whether the block before had only ordinary lines.
        self._is_usual = True
        self._beforehand = Beforehand()
        self._made = _Made()
        self._tally = _Tally()

    def blocks(self) -> Iterator[Block]:
        try:
            self._begin()
            yield self._block()
            while self._lines.has(self._at):
                if self._ordinary is None:
                    yield self._first_record()
                else:
                    yield self._stretch(self._ordinary)
                if self._lines.has(self._at) and self._is_table_due():
                    self._begin_table()
                self._lines.drop_before(self._at)
            while self._lines.has_footer(self._at):
                self._skip(What.FOOTER)
            yield self._block()
        finally:
            self._beforehand.end()
            self._tally.say(self._options.dialect, self._judge.field_count)

    # --- before the records ---

    def _begin(self) -> None:
        """Pass over what comes before the first record."""
        options = self._options
        stop = self._at + options.skip_lines
        while self._at < stop and self._lines.has(self._at):
            self._skip(What.SKIPPED_LINE)
        if options.tables:
            self._pass_over_preamble(list(options.tables.values()))
            if self._lines.has(self._at):
                self._begin_table()
            return
        if options.preamble is not None:
            self._pass_over_preamble([options.preamble])
        if options.header_lines:
            self._read_header()
        elif options.columns is not None:
            self._promise(list(options.columns))

    def _pass_over_preamble(self, headers: list[re.Pattern[str]]) -> None:
        first = self._at
        shown = self._lines.text_at(first) if self._lines.has(first) else ""
        while self._lines.has(self._at) and not any(each.match(self._lines.text_at(self._at)) for each in headers):
            self._skip(What.PREAMBLE)
            self._lines.drop_before(self._at)
        if self._at > first and not self._lines.has(self._at):
            patterns = " or ".join(repr(each.pattern) for each in headers)
            raise BadHeader(first, f"or below is missing: no line matches {patterns}; the first line is", shown)

    def _is_table_due(self) -> bool:
        text = self._lines.text_at(self._at) if self._options.tables else ""
        return any(pattern.match(text) for pattern in self._options.tables.values())

    def _begin_table(self) -> None:
        text = self._lines.text_at(self._at)
        self._table = next(name for name, pattern in self._options.tables.items() if pattern.match(text))
        self._seen = Seen()
        self._read_header()

    def _read_header(self) -> None:
        dialect = self._options.dialect
        header: list[list[str | None]] = []
        line = self._at
        while len(header) < self._options.header_lines and self._lines.has(self._at):
            if self._pass_over():
                continue
            line = self._at
            verdict = self._judge_of(None).judge(self._lines.line_at, line, Seen())
            for number in range(line, line + verdict.lines):
                if (reason := self._lines.reason_of(number)) is not None:
                    if reason.startswith("is not valid"):
                        raise NotTheEncoding(number, reason, self._lines.raw(number, 1))
                    raise BadHeader(number, reason, self._lines.text_at(number))
            if verdict.fields is None:
                raise BadHeader(line, verdict.reason, self._lines.text_at(line))
            header.append(verdict.fields)
            encloses = dialect.quote is not None and dialect.quote in self._lines.text_at(line)
            self._seen = Seen(self._seen.encloses or encloses, self._seen.spans_lines or verdict.lines > 1)
            self._skip(What.HEADER, verdict.lines)
        if header:
            texts = [self._lines.text_at(line), *self._evidence()]
            options = self._options
            self._promise(column_names(header, options.header_separator, options.columns, dialect, line, texts))

    def _evidence(self) -> list[str]:
        """Some of the lines that follow."""
        numbers = range(self._at, self._at + _EVIDENCE_LINES)
        return [text for number in numbers if self._lines.has(number) and (text := self._lines.text_at(number))]

    def _promise(self, names: list[str]) -> None:
        if self._input.has_fallback and RAW_ENCODING in names:
            raise NameTaken(RAW_ENCODING)
        self._names = names
        self._judge = self._judge_of(len(names))
        options = self._options
        self._ordinary = Ordinary(options.dialect, len(names), options.comment, options.others)

    def _judge_of(self, field_count: int | None) -> Judge:
        options = self._options
        return Judge(options.dialect, field_count, options.pads, min(options.record_bytes_max, LOOK_AHEAD_CHARACTERS))

    # --- records ---

    def _first_record(self) -> Block:
        """Without a header, the first record promises how many fields each has."""
        lines, at = self._lines, self._at
        if not self._pass_over():
            evidence = self._evidence()
            self._take_record()
            if self._made.rows:
                count = len(self._made.rows[0])
                better = better_delimiter(self._options.dialect, evidence) if count == 1 and len(evidence) > 1 else None
                if better is not None:
                    raise BadRecord(
                        at,
                        f"has 1 field, but {better[1]} fields with the delimiter {better[0]!r}",
                        lines.raw(at, 1),
                        remedy=f"Give the delimiter: delimiter={better[0]!r}. If there is one column, name it: columns=['text'].",
                    )
                self._promise([f"column_{place}" for place in range(1, count + 1)])
        return self._block()

    def _stretch(self, ordinary: Ordinary) -> Block:
        """The rest of a block of lines, with the whole of its last record; or what is before the next table in it."""
        lines = self._lines.block_at(self._at)
        start, stop = self._at - lines.first, self._lines.stop_in(lines)
        has_tail_after = self._lines.has(lines.first + stop) and bool(
            self._judge.tail_after(self._lines.line_at, lines.first + stop)
        )
        whole = None
        if self._is_usual and not has_tail_after and not self._is_padding(lines.first + stop - 1):
            if self._beforehand.is_due:
                self._beforehand.begin(ordinary, [lines, *self._lines.blocks_after(lines, Beforehand.BLOCKS)])
            whole = self._beforehand.whole(ordinary, lines, start, stop)
        self._is_usual = whole is not None
        if whole is None:
            unusual, enclosing = ordinary.unusual(lines, start, stop, has_tail_after=has_tail_after)
            self._is_usual = len(unusual) == 1
            mask = self._judged(lines, stop, unusual, enclosing)
            columns = ordinary.columns(lines.texts.filter(mask))
            return self._block(self._rows(lines, columns, lambda column: column.filter(mask)))
        if whole.encloses:
            self._seen = Seen(True, self._seen.spans_lines)
        if not whole.bad:
            self._at = lines.first + stop
            rows = self._rows(lines, whole.columns, lambda column: column.slice(start, stop - start), whole.ends)
            return self._block(rows)
        mask = self._judged(lines, stop, whole.bad, [])
        columns = whole.columns
        if mask.true_count < len(columns[0]):  # a bad line has taken others with it
            is_good = _mask(len(lines), whole.bad, start, stop)
            columns = [column.filter(mask.filter(is_good)) for column in columns]
        return self._block(self._rows(lines, columns, lambda column: column.filter(mask)))

    def _judged(self, lines: LineBlock, stop: int, unusual: list[int], enclosing: list[int]) -> pa.BooleanArray:
        """Judge the records at these places, and say which lines of the block are rows without being judged."""
        is_row = bytearray(len(lines))
        for place in unusual:
            begin = self._at - lines.first
            if place < begin:  # an earlier record has taken this line
                continue
            is_row[begin:place] = b"\1" * (place - begin)
            if not self._seen.encloses and bisect_left(enclosing, begin) < bisect_left(enclosing, place):
                self._seen = Seen(True, self._seen.spans_lines)
            self._at = lines.first + place
            if self._options.tables and self._is_table_due():
                break
            if not self._pass_over():
                self._take_record()
        else:
            begin = self._at - lines.first
            if begin < stop:
                is_row[begin:stop] = b"\1" * (stop - begin)
                self._at = lines.first + stop
        return pa.Array.from_buffers(pa.uint8(), len(lines), [None, pa.py_buffer(is_row)]).cast(pa.bool_())

    def _rows(
        self,
        lines: LineBlock,
        columns: list[pa.Array],
        cut: Callable[[pa.Array], pa.Array],
        ends: pa.Int64Array | None = None,
    ) -> _Rows:
        encodings = cut(lines.encodings) if self._input.has_fallback else None
        return _Rows(columns, cut(lines.numbers), cut(lines.ends) if ends is None else ends, encodings)

    def _pass_over(self) -> bool:
        """Skip the next line if it is no record."""
        text, options = self._lines.text_at(self._at), self._options
        if not text:
            what = What.BLANK_LINE
        elif options.comment is not None and text.startswith(options.comment):
            what = What.COMMENT
        elif options.footer is not None and options.footer.match(text):
            what = What.FOOTER
        elif self._is_padding(self._at):
            what = What.PADDING
        else:
            return False
        self._skip(what)
        return True

    def _is_padding(self, number: int) -> bool:
        """Whether this is the last line, and has nothing but what fills a file up."""
        if self._lines.has_footer(number + 1) or not self._lines.has_footer(number):
            return False
        text = self._lines.text_at(number)
        return bool(text) and not text.strip(_PADDING)

    def _skip(self, what: What, lines: int = 1) -> None:
        self._made.skips.append(Skip(what, self._at, self._lines.end_of(self._at + lines - 1)))
        self._at += lines

    def _take_record(self) -> None:
        """Judge the record that begins at the next line."""
        line, lines = self._at, self._lines
        verdict = self._judge.judge(lines.line_at, line, self._seen)
        reason, encoding = verdict.reason, ""
        reason = lines.reason_of(line, verdict.lines) or reason
        if not reason and self._input.has_fallback:
            verdict, encoding = self._in_one_encoding(verdict)
            reason = verdict.reason
        end = lines.end_of(line + verdict.lines - 1)
        if reason or verdict.fields is None:
            self._tally.rejected(lines.text_at(line))
            self._made.rejects.append(Reject(line, end, reason, lines.raw(line, verdict.lines)))
        else:
            self._seen = verdict.added_to(self._seen)
            self._tally.strays(line, verdict.stray_quotes)
            self._made.row_ids.append(line)
            self._made.ends.append(end)
            self._made.rows.append(verdict.fields)
            self._made.encodings.append(encoding)
        self._at += verdict.lines

    def _in_one_encoding(self, verdict: Verdict) -> tuple[Verdict, str]:
        """A record of several lines is read by the first codec that reads them all."""
        line = self._at
        used = [self._lines.encoding_of(number) for number in range(line, line + verdict.lines)]
        if len(set(used)) == 1:
            return verdict, used[0]
        raw = [self._lines.raw_line(number) for number in range(line, line + verdict.lines)]
        for encoding in self._input.encodings:
            try:
                texts = [each.decode(encoding) for each in raw]
            except UnicodeError:
                continue

            def line_at(number: int, texts: list[str] = texts) -> tuple[str, str] | None:
                found = self._lines.line_at(number)
                return (texts[number - line], found[1]) if found is not None and number - line < len(texts) else found

            again = self._judge.judge(line_at, line, self._seen)
            if again.lines == verdict.lines:
                return again, encoding
        return Verdict(verdict.lines, None, "has lines in different encodings"), ""

    def _block(self, rows: _Rows | None = None) -> Block:
        """What was made so far, with these rows of ordinary lines among it."""
        made, self._made = self._made, _Made()
        careful = _Rows(
            [pa.array(values, pa.string()) for values in zip(*made.rows, strict=True)],
            pa.array(made.row_ids, pa.int64()),
            pa.array(made.ends, pa.int64()),
            pa.array(made.encodings, pa.string()) if self._input.has_fallback else None,
        )
        if rows is None or not len(rows.row_ids):
            rows = careful if made.rows or rows is None else rows
        elif made.rows:
            rows = rows.with_others(careful)
        names = self._names or [f"column_{place}" for place in range(1, len(rows.columns) + 1)]
        self._tally.rows += len(rows.row_ids)
        columns = (
            dict(zip(names, rows.columns, strict=True))
            if rows.columns
            else {name: pa.array([], pa.string()) for name in names}
        )
        if rows.encodings is not None:
            columns[RAW_ENCODING] = rows.encodings
        return Block(columns, rows.row_ids, rows.ends, made.rejects, made.skips, output=self._table)


def _mask(count: int, bad: list[int], start: int, stop: int) -> pa.BooleanArray:
    """Which of `count` lines are from `start` to `stop` and not bad."""
    is_good = bytearray(count)
    is_good[start:stop] = b"\1" * (stop - start)
    for place in bad:
        is_good[place] = 0
    return pa.Array.from_buffers(pa.uint8(), count, [None, pa.py_buffer(is_good)]).cast(pa.bool_())


@dataclass(frozen=True, slots=True)
class _Rows:
    columns: list[pa.Array]
    row_ids: pa.Int64Array
    ends: pa.Int64Array
    encodings: pa.StringArray | None

    def with_others(self, others: _Rows) -> _Rows:
        """These and others, in the order of the file."""
        encodings = None if self.encodings is None else pa.concat_arrays([self.encodings, others.encodings])
        joined = _Rows(
            [pa.concat_arrays(pair) for pair in zip(self.columns, others.columns, strict=True)],
            pa.concat_arrays([self.row_ids, others.row_ids]),
            pa.concat_arrays([self.ends, others.ends]),
            encodings,
        )
        if self.row_ids[-1].as_py() < others.row_ids[0].as_py():
            return joined
        order = pc.sort_indices(joined.row_ids)
        return _Rows(
            [column.take(order) for column in joined.columns],
            joined.row_ids.take(order),
            joined.ends.take(order),
            None if encodings is None else encodings.take(order),
        )


@dataclass(slots=True)
class _Tally:
    """What a reading says in the job's log when it ends."""

    rows: int = 0
    rejected_count: int = 0
    rejected_lines: list[str] = field(default_factory=list)
    stray_count: int = 0
    stray_line: int = 0

    def rejected(self, text: str) -> None:
        self.rejected_count += 1
        if len(self.rejected_lines) < _EVIDENCE_LINES:
            self.rejected_lines.append(text)

    def strays(self, line: int, count: int) -> None:
        if count and not self.stray_count:
            self.stray_line = line
        self.stray_count += count

    def say(self, dialect: Dialect, field_count: int | None) -> None:
        if self.stray_count:
            quotes = "1 quote" if self.stray_count == 1 else f"{self.stray_count:,} quotes"
            _log.warning(
                "%s inside fields kept as text, the first on line %s; quote=None reads all quotes as text",
                quotes,
                f"{self.stray_line:,}",
            )
        if self.rejected_count > 1 and not self.rows and field_count is not None:
            better = better_delimiter(dialect, self.rejected_lines, field_count)
            advice = f"; by the delimiter {better[0]!r} they have them" if better is not None else ""
            fields = "1 field" if field_count == 1 else f"{field_count} fields"
            count = f"{self.rejected_count:,}"
            _log.warning("None of the %s records can be read with the promised %s%s", count, fields, advice)
