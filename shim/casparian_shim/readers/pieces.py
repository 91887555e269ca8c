"""Blocks in the order of the file: rows, bad records and skips as one sequence of entries, cut to pieces of bounded size."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.readers.blocks import ROW_ID, Block, Group, Reject, Values
from casparian_shim.readers.tape import Entries, What

OFFSET = "offset"
_PIECE_ENTRIES_MAX = 64 * 1024


class NameTaken(CasparianError):
    """A column of the file, or one that the parser names, has the name of a column that the reader adds."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, name: str) -> None:
        why = "offsets=True adds one of that name" if name == OFFSET else "Casparian uses that name itself"
        super().__init__(
            f"There is a column {name!r}, and {why}.",
            remedy="Give the column another name, for example with columns=[…].",
        )


def check_names(option: str, names: Iterable[str] | None) -> None:
    """Refuse one text where several are meant: its letters would be the names."""
    if isinstance(names, str | bytes) or not all(isinstance(each, str) for each in names or ()):
        raise ValueError(f"{names!r:.80} is not a valid {option}: it is a list of texts, such as ['id', 'name']")


class Bad(NamedTuple):
    """A rejected record of a piece."""

    #: How many of the piece's rows come before it.
    rows_before: int
    #: Its place among the entries.
    place: int
    begin: int
    reject: Reject


@dataclass(slots=True)
class Piece:
    """At most `_PIECE_ENTRIES_MAX` entries of a block, in file order."""

    #: The block's columns, then `offset` if it was asked for, then the row numbers.
    columns: dict[str, Values]
    row_count: int
    entries: Entries
    #: The place of each row among the entries; None if every entry is a row.
    places: pa.Array | None
    bad: list[Bad]
    #: The rows by output, if the reader has several.
    groups: Sequence[Group] = ()

    def passed(self, rows: int) -> int:
        """How many entries have been passed when this many rows have."""
        return rows if self.places is None or not rows else self.places[rows - 1].as_py() + 1


def shifted(block: Block, by: int) -> Block:
    """A block with other numbers of its records."""
    if not by:
        return block
    rejects = [each._replace(row_id=each.row_id + by) for each in block.rejects]
    skips = [each._replace(row_id=each.row_id + by) for each in block.skips]
    return replace(block, row_ids=pc.add(as_array(block.row_ids, pa.int64()), by), rejects=rejects, skips=skips)


def last_entry(block: Block) -> tuple[int, int] | None:
    """The number and the end of a block's last row, rejected record or skip."""
    others = [(each.row_id, each.end) for each in block.rejects[-1:]]
    others += [(each.row_id, each.end) for each in block.skips[-1:]]
    if len(block.row_ids):
        row_ids, ends = as_array(block.row_ids[-1:], pa.int64()), as_array(block.ends[-1:], pa.int64())
        others.append((row_ids[0].as_py(), ends[0].as_py()))
    return max(others, key=itemgetter(1), default=None)


def emptied(block: Block, rejects: Sequence[Reject]) -> Block:
    """A block with the columns of another one and only rejected records."""
    none = pa.array([], pa.int64())
    groups = [Group(each.output, _none_of(each.columns), none) for each in block.groups]
    columns = _none_of(block.columns)
    return replace(block, columns=columns, row_ids=none, ends=none, rejects=rejects, skips=(), groups=groups)


def _none_of(columns: Mapping[str, Values]) -> dict[str, Values]:
    return {name: values[:0] for name, values in columns.items()}


def pieces_of(block: Block, at: int, *, offsets: bool, is_sure: bool) -> Iterator[Piece]:
    """A block in file order, cut to size. `at` is where it begins. `is_sure`: no bad record will be repaired."""
    for given in (block.columns, *(group.columns for group in block.groups)):
        for name in (ROW_ID, OFFSET) if offsets else (ROW_ID,):
            if name in given:
                raise NameTaken(name)
    if len(block.skips) == 1 and not (len(block.row_ids) or block.rejects or block.groups or block.output):
        none, (skip,) = pa.array([], pa.int64()), block.skips  # the header of most files
        columns: dict[str, Values] = {
            **block.columns,
            **dict.fromkeys((OFFSET, ROW_ID) if offsets else (ROW_ID,), none),
        }
        yield Piece(columns, 0, Entries.of((skip.row_id, skip.end, skip.what)), none, [])
        return
    block = _in_groups(block)
    row_ids, row_ends = as_array(block.row_ids, pa.int64()), as_array(block.ends, pa.int64())
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
    columns = dict(block.columns)
    if offsets:
        columns[OFFSET] = starts if places is None else starts.take(places)
    columns[ROW_ID] = row_ids
    if places is None and not block.has_parts:
        for start in range(0, len(rows), _PIECE_ENTRIES_MAX):
            stop = min(start + _PIECE_ENTRIES_MAX, len(rows))
            cut = {name: values[start:stop] for name, values in columns.items()}
            groups = _cut_groups(block.groups, start, stop, columns)
            yield Piece(cut, stop - start, Entries(rows, ends, whats).slice(start, stop), None, [], groups)
        return
    rows_before = pc.cumulative_sum(pc.equal(whats, What.RECORD).cast(pa.int64()))
    bad_places = pc.indices_nonzero(pc.equal(whats, What.REJECTED))
    entries = Entries(rows, ends, whats)
    bad_entries = bad_places.to_pylist()
    rows_upto = rows_before
    if block.has_parts:
        entries, entry_of, last_parts = _whole_records(entries)
        places = entry_of.filter(pc.equal(whats, What.RECORD))
        bad_entries = entry_of.take(bad_places).to_pylist()
        rows_upto = rows_before.take(last_parts)
    assert places is not None
    before, begins = rows_before.take(bad_places).to_pylist(), starts.take(bad_places).to_pylist()
    bad = deque(map(Bad, before, bad_entries, begins, block.rejects))
    if not is_sure:
        is_rejected = pc.equal(entries.whats, What.REJECTED)
        entries = replace(entries, whats=pc.if_else(is_rejected, pa.scalar(What.RECORD, pa.int8()), entries.whats))
    first_row = 0
    for start in range(0, len(entries), _PIECE_ENTRIES_MAX):
        stop = min(start + _PIECE_ENTRIES_MAX, len(entries))
        last_row = rows_upto[stop - 1].as_py()
        mine = []
        while bad and bad[0].place < stop:
            each = bad.popleft()
            mine.append(each._replace(place=each.place - start, rows_before=each.rows_before - first_row))
        row_count = last_row - first_row
        yield Piece(
            {name: values[first_row:last_row] for name, values in columns.items()},
            row_count,
            entries.slice(start, stop),
            pc.subtract(places.slice(first_row, row_count), start),
            mine,
            _cut_groups(block.groups, first_row, last_row, columns),
        )
        first_row = last_row


def _whole_records(parts: Entries) -> tuple[Entries, pa.Int64Array, pa.UInt64Array]:
    """Parts of one record as one entry; the entry of each part; and the last part of each entry.

    A record is rejected if all its parts are.
    """
    is_row = pc.equal(parts.whats, What.RECORD)
    is_record = pc.or_(is_row, pc.equal(parts.whats, What.REJECTED))
    before = len(parts) - 1
    goes_on = pc.and_(
        pc.equal(parts.rows.slice(1), parts.rows.slice(0, before)),
        pc.and_(is_record.slice(1), is_record.slice(0, before)),
    )
    ends_here = pa.concat_arrays([pc.invert(goes_on), pa.array([True])])
    begins_here = pa.concat_arrays([pa.array([True]), pc.invert(goes_on)])
    entry_of = pc.subtract(pc.cumulative_sum(begins_here.cast(pa.int64())), 1)
    last = pc.indices_nonzero(ends_here)
    whats = parts.whats.take(last)
    has_row = pc.is_in(pa.arange(0, len(last)), entry_of.filter(is_row))
    whats = pc.if_else(has_row, pa.scalar(What.RECORD, pa.int8()), whats)
    return Entries(parts.rows.take(last), parts.ends.take(last), whats), entry_of, last


def _in_groups(block: Block) -> Block:
    """A block of one of several outputs as a block with groups."""
    if block.output is None:
        return block
    group = Group(block.output, block.columns, pa.arange(0, len(block.row_ids)))
    rejects = [each._replace(output=each.output or block.output) for each in block.rejects]
    return replace(block, columns={}, groups=[group], rejects=rejects, output=None)


def _cut_groups(groups: Sequence[Group], start: int, stop: int, shared: Mapping[str, Values]) -> list[Group]:
    """The rows of each group from `start` to `stop`, with their part of the `shared` columns of all rows."""
    cut = []
    for group in groups:
        first, last = count_below(group.places, start), count_below(group.places, stop)
        places = group.places.slice(first, last - first)
        columns = {name: values[first:last] for name, values in group.columns.items()}
        columns |= {name: as_array(values, pa.int64()).take(places) for name, values in shared.items()}
        cut.append(Group(group.output, columns, pc.subtract(places, start)))
    return cut


def count_below(places: pa.Int64Array, limit: int) -> int:
    return pc.sum(pc.less(places, limit)).as_py() or 0


def listed(values: Values) -> Sequence[object]:
    return values.to_pylist() if isinstance(values, pa.Array) else values


def as_array(values: Values, kind: pa.DataType) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, kind)
