"""The segments of X12 files as columns: what is in force at each of them, the stretches that make rows, and lists.

`Read` has the segments of some batches. A row that is filled by several segments (a claim and the names and dates behind it) has
what is in force at the last segment of its stretch. A rejected segment is an empty one here: what it begins is not what
came before, and rows that need it are marked (`DOUBTED`).
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.readers.segments import RejectedSegments, SegmentColumns

Cells = dict[str, pa.Array]
#: Column → element and component.
Columns = Mapping[str, tuple[int, int]]

_BORDERS = pa.array(["ISA", "GS", "ST", "SE"])
_READ_SETS = ("835", "837", "850")
#: In a table, the rejected segment to which a row may belong: its place.
DOUBTED = "__doubted"
NOTHING = pa.scalar(None, pa.string())
_NO_PLACE = pa.scalar(None, pa.int64())


class Read:
    """Some segments, and what is in force at each of them."""

    def __init__(self, segments: SegmentColumns, seen: int, rejected: RejectedSegments) -> None:
        self.segments = segments
        #: Segments that were rejected, of which only the place is known.
        self.is_rejected = rejected.are(segments)
        #: Those that may be any segment.
        self.is_any = pc.equal(segments.ids, rejected.ANY)
        #: How many were read before, and only say what is in force.
        self._is_new = pc.greater_equal(segments.numbers, seen)
        self.ids = segments.ids
        self.is_border = pc.is_in(self.ids, _BORDERS)
        self.interchange = segments.in_force(self.of("ISA"), self.of("IEA"))
        self.group = segments.in_force(self.of("GS"), self.of("ISA", "GE", "IEA"))
        st = segments.in_force(self.of("ST"), self.is_border)
        self.set = pc.if_else(pc.equal(segments.messages.take(st), segments.messages), st, _NO_PLACE)
        sets = segments.where(self.of("ST"))
        ordinals = pc.subtract(pc.cumulative_sum(self.of("ST").cast(pa.int64())), 1)
        ordinals = pc.if_else(pc.is_valid(self.set), ordinals, _NO_PLACE)
        self._set_ids, self._control_numbers = (sets.value(number).take(ordinals) for number in (1, 2))
        #: On what later segments may depend.
        self.kept: list[pa.Int64Array] = [self.interchange, self.group, self.set]
        #: Which segments begin a row, and before which the table may be cut.
        self.begun = self.of("ST")
        self.cuts = self.is_border
        #: Where it is cut.
        self.end = len(segments)

    def of(self, *ids: str) -> pa.BooleanArray:
        return pc.is_in(self.ids, pa.array(ids)) if len(ids) > 1 else pc.equal(self.ids, ids[0])

    def in_sets(self, set_id: str) -> pa.BooleanArray:
        return pc.fill_null(pc.equal(self._set_ids, set_id), False)

    def qualified(self, mask: pa.BooleanArray, *qualifiers: str, element: int = 1) -> pa.BooleanArray:
        """Those of a mask whose element is, as written, one of these."""
        written = self.segments.where(mask).written(element)
        return self.narrowed(mask, pc.is_in(written, pa.array(qualifiers)))

    def having(self, mask: pa.BooleanArray, element: int) -> pa.BooleanArray:
        """Those of a mask with something in an element."""
        return self.narrowed(mask, pc.is_valid(self.segments.where(mask).value(element)))

    def first_of_each(self, mask: pa.BooleanArray, owners: pa.Int64Array) -> pa.BooleanArray:
        """Of those of a mask the first of each owner."""
        mine = owners.filter(mask)
        before = pa.concat_arrays([pa.array([-1], mine.type), mine]).slice(0, len(mine))
        return self.narrowed(mask, pc.not_equal(mine, before))

    @staticmethod
    def narrowed(mask: pa.BooleanArray, by: pa.BooleanArray) -> pa.BooleanArray:
        """A mask without those of its segments for which `by` does not hold."""
        return pc.replace_with_mask(mask, mask, by)

    def in_force(self, begin: pa.BooleanArray, *ends: pa.BooleanArray) -> pa.Int64Array:
        """The last segment that began something; it ends with the transaction set, if not before."""
        end = self.is_border
        for each in ends:
            end = pc.or_(end, each)
        return self.segments.in_force(begin, end)

    def keep(self, *places: pa.Int64Array) -> None:
        self.kept += places

    def cut_before(self, mask: pa.BooleanArray) -> None:
        self.cuts = pc.or_(self.cuts, mask)

    def begin(self, mask: pa.BooleanArray) -> pa.BooleanArray:
        self.begun = pc.or_(self.begun, mask)
        return mask

    def places(self, mask: pa.BooleanArray) -> pa.Int64Array:
        """Segments that make rows by themselves."""
        places = self.segments.numbers.filter(pc.and_(mask, self._is_new))
        return places.filter(pc.less(places, self.end))

    def stretches(
        self, begin: pa.BooleanArray, *ends: pa.BooleanArray, is_kept: bool = False
    ) -> tuple[pa.Int64Array, pa.Int64Array]:
        """Those that begin stretches, and the last segment of each. `is_kept`: the first one may have been read before."""
        border = self.is_border
        for each in ends:
            border = pc.or_(border, each)
        border = pc.or_(border, begin)
        starts = self.segments.numbers.filter(border)
        following = pa.concat_arrays([starts.slice(1), pa.array([len(self.segments)], pa.int64())])
        is_complete = pc.and_(begin.filter(border), pc.less_equal(following, self.end))
        if not is_kept:
            is_complete = pc.and_(is_complete, self._is_new.filter(border))
        return starts.filter(is_complete), pc.subtract(following.filter(is_complete), 1)

    @property
    def is_read_at_end(self) -> bool:
        """Whether the last transaction set may not be over, and is one of those that are read."""
        return len(self.segments) > 0 and self._set_ids[-1].as_py() in _READ_SETS

    def kept_places(self) -> pa.Int64Array:
        """The segments before the end on which later ones may depend."""
        last = self.end - 1
        places = {each[last].as_py() for each in self.kept} if last >= 0 else set()
        return pa.array(sorted(places - {None}), pa.int64())

    def values(self, places: pa.Int64Array, columns: Columns) -> Cells:
        segments = self.segments.take(places)
        return {name: segments.value(*place) for name, place in columns.items()}

    def batch(
        self, places: pa.Int64Array, cells: Cells, *needs: pa.Int64Array, has_position: bool = True
    ) -> pa.RecordBatch:
        """Rows that begin with these segments, with where they come from and the codec that read them if several were given.

        `needs` are places of segments to which they belong.
        """
        segments = self.segments.take(places)
        cells |= {"message": segments.messages, "control_number": self._control_numbers.take(places)}
        if has_position:
            cells["position"] = segments.positions
        cells["__cf_row_id"] = segments.row_ids
        if segments.raw_encodings is not None:
            cells["_cf_raw_encoding"] = segments.raw_encodings
        if not self.is_rejected.true_count:
            return pa.RecordBatch.from_pydict(cells)
        doubted = pa.nulls(len(places), pa.int64())
        for need in needs:
            is_rejected = pc.fill_null(self.is_rejected.take(need), False)
            doubted = pc.coalesce(doubted, pc.if_else(is_rejected, need, _NO_PLACE))
        return pa.RecordBatch.from_pydict(cells | {DOUBTED: doubted}).filter(pc.invert(self.is_rejected.take(places)))


def lists(parts: Sequence[pa.StringArray], count: int) -> pa.ListArray:
    """Row by row the values of several columns as a list; NULL is left out."""
    counts = pa.repeat(pa.scalar(0, pa.int64()), count)
    if not parts or not count:
        return lists_of(pa.array([], pa.string()), counts)
    for part in parts:
        counts = pc.add(counts, pc.is_valid(part).cast(pa.int64()))
    numbers = pa.arange(0, count * len(parts))
    row = pc.divide(numbers, len(parts))
    part = pc.subtract(numbers, pc.multiply(row, len(parts)))
    by_row = pa.concat_arrays(parts).take(pc.add(pc.multiply(part, count), row))
    return lists_of(by_row.drop_null(), counts)


def lists_of(values: pa.StringArray, counts: pa.Int64Array) -> pa.ListArray:
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(counts)])
    return pa.ListArray.from_arrays(offsets.cast(pa.int32()), values)
