"""One reading: blocks of records in; rows, or parts with their rejected records, out.

It keeps rows, rejected records and skips in the order of the file, cuts blocks to size, enters them on the tape, and judges bad
records by `on_bad`. The rows of a piece are handed out by C code: Python runs once for each stretch without a bad record.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, repeat
from operator import length_hint
from typing import Any, Literal, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.arrow.batches import Column, batch_of_columns
from casparian_shim.arrow.columns import column_of_values
from casparian_shim.readers.blocks import ROW_ID, BadRecord, Block, NotTheEncoding, Reject, Values
from casparian_shim.readers.source import Encoding, Input, Source, opened
from casparian_shim.readers.tape import Entries, What

OFFSET = "offset"
_KEPT_REJECTS = 1_000
_PART_ENTRIES_MAX = 64 * 1024
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


class Part(NamedTuple):
    """Some rows as columns, and the rejected records among them."""

    columns: list[Column]
    row_count: int
    rejections: list[Rejection]


#: The batches that parsers have in hand, by identity.
_given: dict[int, Part] = {}


def part_of(table: object) -> Part | None:
    """The part of a batch that a parser gives out as it came from a reader; its rejected records are then the caller's."""
    return _given.pop(id(table), None)


#: Takes the output or None, the reason, the record's line, and its text unless the worker cuts it out.
Route = Callable[[str | None, str, int, str | None], None]
_route: Route | None = None


def use_route(route: Route | None) -> None:
    """Set the function that takes the rejected records of the job that this process runs."""
    global _route
    _route = route


class _Bad(NamedTuple):
    rows_before: int
    #: Its place among the entries.
    place: int
    begin: int
    reject: Reject


@dataclass(slots=True)
class _Piece:
    """At most `_PART_ENTRIES_MAX` entries of a block, in file order."""

    #: The block's columns, then `offset` if it was asked for, then the row numbers.
    columns: dict[str, Values]
    row_count: int
    entries: Entries
    #: The place of each row among the entries; None if every entry is a row.
    places: pa.Array | None
    bad: list[_Bad]

    def passed(self, rows: int) -> int:
        """How many entries have been passed when this many rows have."""
        return rows if self.places is None or not rows else self.places[rows - 1].as_py() + 1


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
        self._piece: _Piece | None = None
        #: The row numbers of the current piece that have not been handed out.
        self._row_ids: Iterator[object] = iter(())
        #: How many entries of the piece have been passed at least, and how many of its bad records have been judged.
        self._floor = 0
        self._judged = 0
        self._is_taken = False
        self.error: Exception | None = None

    def row_iterators(self) -> Iterator[Iterable[Row]]:
        """Iterators over rows, one for each stretch without a bad record."""
        for piece in self._pieces:
            names = [*piece.columns]
            *lists, row_ids = map(_listed, piece.columns.values())
            self._row_ids = iter(row_ids)
            rows = map(dict, map(zip, repeat(names), zip(*lists, self._row_ids, strict=False)))
            given = 0
            for bad in piece.bad:
                if bad.rows_before > given:
                    yield islice(rows, bad.rows_before - given)
                    given = bad.rows_before
                if self._is_taken:
                    break
                self._floor, self._judged = bad.place + 1, self._judged + 1
                if (repaired := self._repaired(bad)) is not None:
                    yield ({**repaired, ROW_ID: bad.reject.row_id},)
                else:
                    self.route([self._rejection(bad)])
            if not self._is_taken:
                yield rows
        if self.error is not None:
            raise self.error

    def parts(self) -> Iterator[Part]:
        """What the rows have not given yet, in parts. An error in reading ends them, and is kept in `error`."""
        self._is_taken = True
        try:
            yield from self._rest()
        except Exception as error:  # noqa: BLE001 - raised by the next row, or by whoever takes the parts
            self.error = error
            self._pieces.close()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The same as record batches. Rejected records are sent when the parser asks for the batch after theirs, unless it
        has given out the batch as it was, so that `part_of` has found them."""
        empty: list[Column] | None = None
        for part in self.parts():
            if not part.row_count:
                self.route(part.rejections)
                empty = part.columns if empty is None else empty
                continue
            empty = []
            batch = batch_of_columns(part.columns)
            _given[id(batch)] = part
            try:
                yield batch
            finally:
                if _given.pop(id(batch), None) is not None:
                    self.route(part.rejections)
        if empty:  # there is no row, but the columns are known
            yield batch_of_columns(empty)
        if self.error is not None:
            raise self.error

    def _rest(self) -> Iterator[Part]:
        if self._piece is not None:
            piece = self._piece
            given, judged = piece.row_count - length_hint(self._row_ids), self._judged
            deque(self._row_ids, maxlen=0)  # so that the iterator over its rows ends
            yield from self._parts_of(piece, given, piece.bad[judged:])
        for piece in self._pieces:
            yield from self._parts_of(piece, 0, piece.bad)

    def route(self, rejections: Sequence[Rejection]) -> None:
        """Send rejected records to the job, if this is one."""
        for each in rejections:
            if _route is not None:
                _route(self.output, each.reason, each.row_id, each.raw)

    def _read(self) -> Generator[_Piece, None, None]:
        """The pieces of all blocks, each entered on the tape."""
        with opened(self._source) as file:
            self._input = input = Input(file, self._encoding, has_offsets=self._has_offsets)
            at = input.offset
            for block in self._blocks(input):
                for piece in _pieces(block, at, offsets=self._offsets, is_sure=not callable(self._on_bad)):
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

    def _parts_of(self, piece: _Piece, given: int, bad: Sequence[_Bad]) -> Iterator[Part]:
        """The rows of a piece from place `given` on, and these bad records."""
        self._floor = len(piece.entries)
        columns = {name: values[given:] for name, values in piece.columns.items()}
        rejections: list[Rejection] = []
        inserted: list[tuple[int, Row]] = []
        for each in bad:
            place = each.rows_before - given
            try:
                repaired = self._repaired(each)
            except BaseException:
                yield _part({name: values[:place] for name, values in columns.items()}, inserted, rejections)
                raise
            if repaired is not None:
                inserted.append((place, {**repaired, ROW_ID: each.reject.row_id}))
            else:
                rejections.append(self._rejection(each)._replace(rows_before=place + len(inserted)))
        yield _part(columns, inserted, rejections)

    def _repaired(self, bad: _Bad) -> Row | None:
        """The row that a repair makes of a bad record; None if it is rejected. Raises `BadRecord` if it may not be."""
        assert self._input is not None
        if self._on_bad == "reject" and not self._input.is_another_file:
            return None
        error = self._bad_record(bad)
        if isinstance(self._on_bad, str):
            raise error
        return self._on_bad(error)

    def _rejection(self, bad: _Bad) -> Rejection:
        """Count a rejected record."""
        assert self._input is not None
        self.rejected.count += 1
        if len(self.rejected.first) < _KEPT_REJECTS:
            self.rejected.first.append(self._bad_record(bad))
            if _route is None and self.rejected.count == 1:
                _log.warning("%s It is rejected; see `rejected` of the reader.", self.rejected.first[0].problem)
        _, _, reason, raw = bad.reject
        is_cut_by_worker = self._input.reading.is_counted and self._input.reading.has_offsets
        text = None if is_cut_by_worker or not raw else raw.decode(self._input.encoding, "backslashreplace")
        return Rejection(bad.rows_before, bad.reject.row_id, reason, text)

    def _bad_record(self, bad: _Bad) -> BadRecord:
        assert self._input is not None
        reject, encoding = bad.reject, self._input.encoding
        if reject.reason.startswith(f"is not valid {encoding}"):
            return NotTheEncoding(reject.row_id, reject.reason, reject.raw, offset=bad.begin)
        remedy = "A record of another file than the job's input belongs to no output: give on_bad=… a function that repairs it."
        is_foreign = self._input.is_another_file
        return BadRecord(
            reject.row_id, reject.reason, reject.raw, offset=bad.begin, remedy=remedy if is_foreign else ""
        )


def _listed(values: Values) -> Sequence[object]:
    return values.to_pylist() if isinstance(values, pa.Array) else values


def _array(values: Values, kind: pa.DataType) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, kind)


def _part(columns: Mapping[str, Values], inserted: Sequence[tuple[int, Row]], rejections: list[Rejection]) -> Part:
    """The columns as arrays, with some rows inserted, each before the row at its place."""
    if inserted:
        columns = {name: _inserted(name, values, inserted) for name, values in columns.items()}
    made: list[Column] = [
        (name, values, False) if isinstance(values, pa.Array) else (name, *column_of_values(values))
        for name, values in columns.items()
    ]
    return Part(made, len(made[-1][1]), rejections)


def _inserted(name: str, values: Values, inserted: Sequence[tuple[int, Row]]) -> list[object]:
    listed = list(_listed(values))
    for place, row in reversed(inserted):
        listed.insert(place, row.get(name))
    return listed


def _pieces(block: Block, at: int, *, offsets: bool, is_sure: bool) -> Iterator[_Piece]:
    """A block in file order, cut to size. `at` is where it begins. `is_sure`: no bad record will be repaired."""
    row_ids, row_ends = _array(block.row_ids, pa.int64()), _array(block.ends, pa.int64())
    whats: pa.Array = pa.repeat(pa.scalar(What.RECORD, pa.int8()), len(row_ids))
    places: pa.Array | None = None
    rows, ends = row_ids, row_ends
    others = [*((each.row_id, each.end, What.REJECTED) for each in block.rejects)]
    others += [(each.row_id, each.end, each.what) for each in block.skips]
    if others:
        other_rows, other_ends, other_whats = zip(*others, strict=True)
        ends = pa.concat_arrays([ends, pa.array(other_ends, pa.int64())])
        order = pc.sort_indices(ends)
        ends = ends.take(order)
        rows = pa.concat_arrays([rows, pa.array(other_rows, pa.int64())]).take(order)
        whats = pa.concat_arrays([whats, pa.array(other_whats, pa.int8())]).take(order)
        places = pc.indices_nonzero(pc.equal(whats, What.RECORD)).cast(pa.int64())
    if not len(ends):
        return
    starts = pa.concat_arrays([pa.array([at], pa.int64()), ends.slice(0, len(ends) - 1)])
    columns: dict[str, Values] = dict(block.columns)
    if offsets:
        columns[OFFSET] = starts if places is None else starts.take(places)
    columns[ROW_ID] = row_ids
    if places is None:
        for start in range(0, len(rows), _PART_ENTRIES_MAX):
            stop = min(start + _PART_ENTRIES_MAX, len(rows))
            cut = {name: values[start:stop] for name, values in columns.items()}
            yield _Piece(cut, stop - start, Entries(rows, ends, whats).slice(start, stop), None, [])
        return
    rows_before = pc.cumulative_sum(pc.equal(whats, What.RECORD).cast(pa.int64()))
    bad_places = pc.indices_nonzero(pc.equal(whats, What.REJECTED)).to_pylist()
    bad = deque(
        _Bad(rows_before[place].as_py(), place, starts[place].as_py(), reject)
        for place, reject in zip(bad_places, block.rejects, strict=True)
    )
    if not is_sure:
        whats = pc.if_else(pc.equal(whats, What.REJECTED), pa.scalar(What.RECORD, pa.int8()), whats)
    entries = Entries(rows, ends, whats)
    first_row = 0
    for start in range(0, len(rows), _PART_ENTRIES_MAX):
        stop = min(start + _PART_ENTRIES_MAX, len(rows))
        last_row = rows_before[stop - 1].as_py()
        mine = []
        while bad and bad[0].place < stop:
            each = bad.popleft()
            mine.append(each._replace(place=each.place - start, rows_before=each.rows_before - first_row))
        row_count = last_row - first_row
        yield _Piece(
            {name: values[first_row:last_row] for name, values in columns.items()},
            row_count,
            entries.slice(start, stop),
            pc.subtract(places.slice(first_row, row_count), start),
            mine,
        )
        first_row = last_row
