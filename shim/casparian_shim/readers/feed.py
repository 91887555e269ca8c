"""One reading: blocks of records in; rows, or parts with their rejected records, out.

It takes the pieces of blocks in the order of the file (`pieces`), enters them on the tape, and judges bad records by `on_bad`.
The rows of a piece are handed out by C code: Python runs once for each stretch without a bad record.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from operator import itemgetter, length_hint
from typing import Any, Literal, NamedTuple, TypeAlias

import pyarrow as pa

from casparian_shim.arrow.batches import Column, batch_of_columns
from casparian_shim.arrow.columns import column_of_values
from casparian_shim.readers.blocks import ROW_ID, BadRecord, Block, Group, NotTheEncoding, Reject, Values
from casparian_shim.readers.pieces import Bad, Piece, count_below, emptied, last_entry, listed, pieces_of, shifted
from casparian_shim.readers.source import RAW_BYTES_MAX, Encoding, Input, Source, opened
from casparian_shim.readers.tape import What

_KEPT_REJECTS = 1_000
_log = logging.getLogger("casparian.readers")

Row = dict[str, Any]
OnBad: TypeAlias = 'Literal["reject", "raise"] | Callable[[BadRecord], Row | None]'


@dataclass(slots=True)
class Rejected:
    """The records that a reader rejected: how many, and the first thousand."""

    count: int = 0
    first: list[BadRecord] = field(default_factory=list)


class Rejection(NamedTuple):
    """A rejected record among the rows of a `Part`."""

    #: How many of the part's rows come before it.
    rows_before: int
    row_id: int
    reason: str
    #: The record's text, unless the worker cuts it out of the input.
    raw: str | None
    #: Its output, if one was named.
    output: str | None = None
    #: Its values as far as they are known.
    values: Mapping[str, str] | None = None


class Part(NamedTuple):
    """Some rows as columns, and the rejected records among them."""

    columns: list[Column]
    row_count: int
    rejections: list[Rejection]
    #: Their output, if the reader has several.
    output: str | None = None


#: The batches that parsers have in hand, by identity.
_given: dict[int, Part] = {}


def part_of(table: object) -> Part | None:
    """The part of a batch that a parser gives out as it came from a reader; its rejected records are then the caller's."""
    return _given.pop(id(table), None)


#: Takes the output or None, the reason, the record's line, its text unless the worker cuts it out, and its known values.
Route = Callable[[str | None, str, int, str | None, "Mapping[str, str] | None"], None]
_route: Route | None = None


def use_route(route: Route | None) -> None:
    """Set the function that takes the rejected records of the job that this process runs."""
    global _route
    _route = route


class Feed:
    """One reading: blocks in, rows or parts out. The rows of the current piece are handed out by C code, without a call a row."""

    def __init__(
        self,
        source: Source,
        blocks: Callable[[Input], Iterator[Block]],
        encoding: Encoding,
        on_bad: OnBad,
        output: str | None,
        offsets: bool,
        has_offsets: bool,
    ) -> None:
        self._source = source
        self._blocks = blocks
        self._encoding = encoding
        self._on_bad = on_bad
        self._offsets = offsets
        self._has_offsets = has_offsets
        self.output = output
        self.rejected = Rejected()
        self._input: Input | None = None
        self._pieces = self._read()
        self._piece: Piece | None = None
        #: The row numbers of the current piece that have not been handed out.
        self._row_ids: Iterator[object] = iter(())
        #: How many entries of the piece have been passed at least, and how many of its bad records have been judged.
        self._floor = 0
        self._judged = 0
        self._is_taken = False
        #: 1 if the row that was given out last is given again with the rest.
        self._held = 0
        self._default_output: str | None = None
        #: Whether parts have arrays, or the values as blocks have them.
        self._has_arrays = True
        #: The outputs of the blocks so far, if the reader has several.
        self.outputs: set[str] = set()
        self.error: Exception | None = None

    def row_iterators(self) -> Iterator[Iterable[Any]]:
        """Iterators over rows, one for each stretch without a bad record."""
        for piece in self._pieces:
            self._row_ids = iter(_numbers(piece.columns[ROW_ID]))
            if piece.groups:
                rows = _rows_of_groups(piece.groups, self._row_ids)
            else:
                columns = [values for name, values in piece.columns.items() if name != ROW_ID]
                rows = _rows([*piece.columns], _values_of_rows(columns, self._row_ids, piece.row_count))
            given = 0
            for bad in piece.bad:
                if bad.rows_before > given:
                    yield islice(rows, bad.rows_before - given)
                    given = bad.rows_before
                if self._is_taken:
                    break
                self._floor, self._judged = bad.place + 1, self._judged + 1
                if (repaired := self._repaired(bad)) is not None:
                    row: Any = {**repaired, ROW_ID: bad.reject.row_id}
                    yield ((self._output_of_row(bad, piece.groups), row) if piece.groups else row,)
                else:
                    self.route([self._rejection(bad)])
            if not self._is_taken:
                yield rows
        if self.error is not None:
            raise self.error

    def parts(self, default_output: str | None = None) -> Iterator[Part]:
        """What the rows have not given yet, in parts. An error in reading ends them, and is kept in `error`.

        A reader of several outputs puts rejected records that name none among the rows of `default_output`.
        """
        self._is_taken = True
        self._default_output = default_output
        try:
            yield from self._rest()
        except Exception as error:  # noqa: BLE001 - raised by the next row, or by the caller
            self.error = error
            self._pieces.close()

    def take_back(self) -> bool:
        """Give the row that was given out last again, with the rest. Returns whether it can be: it is no repaired one.

        For a caller that knows that it is untouched.
        """
        self._held = int(self._piece is not None and not self._judged)
        return bool(self._held)

    def values(self) -> Iterator[Part]:
        """The same with columns as blocks have them: arrays, or lists of values. Rejected records are sent."""
        self._has_arrays = False
        for part in self.parts():
            self.route(part.rejections)
            yield part
        if self.error is not None:
            raise self.error

    def batches(self) -> Iterator[Any]:
        """The same as record batches. Rejected records are sent when the parser asks for the batch after theirs, unless it
        has given out the batch as it was, so that `part_of` has found them."""
        empty: dict[str | None, list[Column]] = {}
        for part in self.parts():
            if not part.row_count:
                self.route(part.rejections)
                empty.setdefault(part.output, part.columns)
                continue
            empty[part.output] = []
            batch = batch_of_columns(part.columns)
            _given[id(batch)] = part
            try:
                yield batch if part.output is None else (part.output, batch)
            finally:
                if _given.pop(id(batch), None) is not None:
                    self.route(part.rejections)
        for output, columns in empty.items():
            if columns:  # there is no row, but the columns are known
                yield batch_of_columns(columns) if output is None else (output, batch_of_columns(columns))
        if self.error is not None:
            raise self.error

    def _rest(self) -> Iterator[Part]:
        if self._piece is not None:
            piece = self._piece
            given, judged = piece.row_count - length_hint(self._row_ids) - self._held, self._judged
            self._held = 0
            deque(self._row_ids, maxlen=0)  # so that the iterator over its rows ends
            yield from self._parts_of(piece, given, piece.bad[judged:])
        for piece in self._pieces:
            yield from self._parts_of(piece, 0, piece.bad)

    def route(self, rejections: Sequence[Rejection]) -> None:
        """Send rejected records to the job, if this is one."""
        for each in rejections:
            if _route is not None:
                _route(each.output, each.reason, each.row_id, each.raw, each.values)

    def _read(self) -> Generator[Piece, None, None]:
        """The pieces of all blocks, each entered on the tape."""
        with opened(self._source) as file:
            self._input = input = Input(file, self._encoding, has_offsets=self._has_offsets)
            at = input.offset
            for each in _with_cut(self._blocks(input), input):
                block = shifted(each, input.reading.first_row)
                self.outputs.update(group.output for group in block.groups)
                if block.output is not None:
                    self.outputs.add(block.output)
                for piece in pieces_of(block, at, offsets=self._offsets, is_sure=not callable(self._on_bad)):
                    at = piece.entries.ends[-1].as_py()
                    self._piece, self._floor, self._judged = piece, 0, 0
                    self._row_ids = iter(range(piece.row_count))
                    input.reading.enter(piece.entries, self._passed)
                    yield piece
                    self._piece = None
                    input.reading.leave()
            input.reading.note(What.COMPLETE, 0, at)

    def _passed(self) -> int:
        """How many entries of the current piece have been passed."""
        piece = self._piece
        return 0 if piece is None else max(self._floor, piece.passed(piece.row_count - length_hint(self._row_ids)))

    def _parts_of(self, piece: Piece, given: int, bad: Sequence[Bad]) -> Iterator[Part]:
        """The rows of a piece from place `given` on, and these bad records."""
        self._floor = len(piece.entries)
        judged: list[tuple[Bad, Row | Rejection]] = []
        stop, failure = piece.row_count, None
        for each in bad:
            try:
                repaired = self._repaired(each)
            except BaseException as error:  # noqa: BLE001 - raised again, after the rows before the bad record
                stop, failure = each.rows_before, error
                break
            judged.append((each, self._rejection(each) if repaired is None else repaired))
        if not piece.groups:
            yield self._part(piece.columns, given, stop, judged)
        for group in piece.groups:
            mine = []
            for each, verdict in judged:
                is_rejected = isinstance(verdict, Rejection)
                wanted = self._output_of(each) if is_rejected else self._output_of_row(each, piece.groups)
                if wanted == group.output:
                    mine.append((each._replace(rows_before=count_below(group.places, each.rows_before)), verdict))
            first, last = count_below(group.places, given), count_below(group.places, stop)
            yield self._part(group.columns, first, last, mine)._replace(output=group.output)
        if piece.groups:  # rejected records of outputs that have no rows here
            names = {group.output for group in piece.groups}
            rest = [each for bad, each in judged if self._output_of(bad) not in names and isinstance(each, Rejection)]
            yield Part([], 0, rest)
        if failure is not None:
            raise failure

    def _part(
        self, columns: Mapping[str, Values], first: int, last: int, judged: Sequence[tuple[Bad, Row | Rejection]]
    ) -> Part:
        """The rows from `first` to `last` as arrays, with repaired records inserted, and the rejected ones."""
        columns = {name: values[first:last] for name, values in columns.items()}
        rejections: list[Rejection] = []
        inserted: list[tuple[int, Row]] = []
        for bad, verdict in judged:
            place = bad.rows_before - first
            if isinstance(verdict, Rejection):
                rejections.append(verdict._replace(rows_before=place + len(inserted)))
            else:
                inserted.append((place, {**verdict, ROW_ID: bad.reject.row_id}))
        if inserted:
            columns = {name: _inserted(name, values, inserted) for name, values in columns.items()}
        made: list[Column] = [
            (name, values, False)
            if isinstance(values, pa.Array) or not self._has_arrays
            else (name, *column_of_values(values))
            for name, values in columns.items()
        ]
        return Part(made, len(made[-1][1]), rejections)

    def _output_of(self, bad: Bad) -> str | None:
        return bad.reject.output or self.output or self._default_output

    def _output_of_row(self, bad: Bad, groups: Sequence[Group]) -> str:
        """The output of a repaired record; one of an unknown type belongs to the first."""
        wanted, names = self._output_of(bad), [group.output for group in groups]
        return wanted if wanted in names else names[0]

    def _repaired(self, bad: Bad) -> Row | None:
        """The row that a repair makes of a bad record; None if it is rejected. Raises `BadRecord` if it may not be."""
        assert self._input is not None
        if self._on_bad == "reject" and not self._input.is_another_file:
            return None
        error = self._bad_record(bad)
        if isinstance(self._on_bad, str):
            raise error
        return self._on_bad(error)

    def _rejection(self, bad: Bad) -> Rejection:
        """Count a rejected record."""
        assert self._input is not None
        self.rejected.count += 1
        if len(self.rejected.first) < _KEPT_REJECTS:
            self.rejected.first.append(self._bad_record(bad))
            if _route is None and self.rejected.count == 1:
                _log.warning("%s It is rejected; see `rejected` of the reader.", self.rejected.first[0].problem)
        _, _, reason, raw, output, values, is_part = bad.reject
        is_cut_by_worker = self._input.reading.is_counted and self._input.reading.has_offsets and not is_part
        text = None
        if raw and not is_cut_by_worker:
            text = raw[:RAW_BYTES_MAX].decode(self._input.encoding, "backslashreplace")
            text = text.removesuffix("\n").removesuffix("\r")  # as the worker cuts it
        return Rejection(bad.rows_before, bad.reject.row_id, reason, text, output or self.output, values)

    def _bad_record(self, bad: Bad) -> BadRecord:
        assert self._input is not None
        reject, input = bad.reject, self._input
        raw = reject.raw[:RAW_BYTES_MAX]
        line, member = reject.row_id - input.reading.first_row, input.member
        offset = bad.begin if self._has_offsets else None
        if reject.reason.startswith(f"is not valid {input.encoding}"):
            return NotTheEncoding(line, reject.reason, raw, offset=offset, member=member, unit=input.unit)
        remedy = "A record of another file than the job's input belongs to no output: give on_bad=… a function that repairs it."
        remedy = remedy if input.is_another_file else ""
        return BadRecord(line, reject.reason, raw, offset=offset, remedy=remedy, member=member, unit=input.unit)


def _with_cut(blocks: Iterator[Block], input: Input) -> Iterator[Block]:
    """The blocks; and if the content is cut and no record was rejected for that, its end as a rejected one."""
    last, row, end, is_told = Block({}, [], []), input.lines_before, input.offset, False
    for last in blocks:
        yield last
        row, end = last_entry(last) or (row, end)
        is_told = is_told or (input.cut is not None and any(input.cut in each.reason for each in last.rejects))
    if input.cut is not None and not is_told:
        yield emptied(last, [Reject(row + 1, end + 1, input.cut)])


def _numbers(row_ids: Values) -> Sequence[object]:
    """The row numbers, which usually follow one another."""
    if isinstance(row_ids, pa.Array) and len(row_ids):
        first = row_ids[0].as_py()
        if row_ids.equals(pa.arange(first, first + len(row_ids))):
            return range(first, first + len(row_ids))
    return listed(row_ids)


def _values_of_rows(
    columns: Sequence[Values], row_ids: Iterator[object], row_count: int
) -> Iterator[tuple[object, ...]]:
    """The values of each row. Those of the first are listed by themselves: often the parser sees no other (`Records`)."""
    return chain.from_iterable(
        zip(*(listed(values[first:last]) for values in columns), row_ids, strict=False)
        for first, last in ((0, 1), (1, row_count))
        if length_hint(row_ids)  # unless the rest was taken in parts
    )


def _rows(names: Sequence[str], values: Iterable[Sequence[object]]) -> Iterator[Any]:
    return map(dict, map(zip, repeat(names), values))


def _rows_of_groups(groups: Sequence[Group], row_ids: Iterator[object]) -> Iterator[Any]:
    """The rows of several outputs in the order of the file, each as a pair of its output and a dict."""
    order = [0] * sum(len(group.places) for group in groups)
    iterators: list[Iterator[Any]] = []
    for number, group in enumerate(groups):
        for place in group.places.to_pylist():
            order[place] = number
        rows = _rows([*group.columns], zip(*map(listed, group.columns.values()), strict=True))
        iterators.append(zip(repeat(group.output), rows, strict=False))
    return map(next, map(iterators.__getitem__, map(itemgetter(0), zip(order, row_ids, strict=False))))


def _inserted(name: str, values: Values, inserted: Sequence[tuple[int, Row]]) -> list[object]:
    found = list(listed(values))
    for place, row in reversed(inserted):
        found.insert(place, row.get(name))
    return found
