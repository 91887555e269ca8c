"""Fields and values of many segments as columns: for all rows of a batch at once what `Segment` gives for one.

A parser that makes rows of segments looks each one's context up first: the header, the claim, the order that is in force at it.
`in_force` answers that for all segments at once, as the places of the segments that began it; `take` then has their values.
`RejectedSegments` puts empty segments in the places of rejected ones, so that nothing behind them is taken for a part of what
came before.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import repeat
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.readers.blocks import RAW_ENCODING, ROW_ID, BadRecord
from casparian_shim.readers.segments.judging import NO_ID
from casparian_shim.readers.segments.segment import components_of, repetitions_of, value_of
from casparian_shim.readers.segments.separators import HL7_USUAL, Separators, separators_of, unescaped

_NOTHING = pa.scalar(None, pa.string())
_NO_PLACE = pa.scalar(None, pa.int64())


class _Whole:
    """A batch, and what is found out about it once for all that is taken of it."""

    def __init__(self, batch: pa.RecordBatch, encoding: str) -> None:
        self.batch = batch
        self.encoding = encoding
        fields = batch.column("fields")
        self.starts, self.lengths = fields.offsets.slice(0, len(fields)), pc.list_value_length(fields)
        self.values: pa.StringArray = fields.values
        self.kinds: list[str] = pc.unique(batch.column("separators")).to_pylist()

    @cached_property
    def texts(self) -> pa.StringArray:
        """The values; NULL where nothing is written."""
        return pc.if_else(pc.equal(self.values, ""), _NOTHING, self.values)


class SegmentColumns:
    """Some segments of `read_segments(…, as_="batches")`. A place that is NULL is no segment: it has no values."""

    def __init__(self, batch: pa.RecordBatch, encoding: str = "utf-8") -> None:
        whole = _Whole(batch, encoding)
        self._begin(whole, None, whole.kinds[0] if len(whole.kinds) == 1 else None)

    def _begin(self, whole: _Whole, places: pa.Int64Array | None, kind: str | None) -> None:
        self._whole = whole
        self._places = places
        #: The separators as text, if all segments have the same.
        self._kind = kind
        self._splits: dict[int, _Split] = {}

    def __len__(self) -> int:
        return self._whole.batch.num_rows if self._places is None else len(self._places)

    @cached_property
    def ids(self) -> pa.StringArray:
        return self._column("segment")

    @cached_property
    def messages(self) -> pa.Int64Array:
        return self._column("message")

    @cached_property
    def positions(self) -> pa.Int64Array:
        return self._column("position")

    @cached_property
    def row_ids(self) -> pa.Int64Array:
        return self._column(ROW_ID)

    @cached_property
    def numbers(self) -> pa.Int64Array:
        """0, 1, 2, …: the places for `take`."""
        return pa.arange(0, len(self))

    @cached_property
    def raw_encodings(self) -> pa.StringArray | None:
        """The codec that read each segment, if the reader says so."""
        return self._column(RAW_ENCODING) if RAW_ENCODING in self._whole.batch.schema.names else None

    @property
    def width(self) -> int:
        """The largest number of fields."""
        return self._widths[1]

    @property
    def _shortest(self) -> int:
        return self._widths[0]

    @cached_property
    def _widths(self) -> tuple[int, int]:
        found = pc.min_max(self._fields[1])
        return found["min"].as_py() or 0, found["max"].as_py() or 0

    def take(self, places: pa.Int64Array) -> SegmentColumns:
        """The segments at these places of these."""
        return self._taken(places, self._kind)

    def _taken(self, places: pa.Int64Array, kind: str | None) -> SegmentColumns:
        taken = SegmentColumns.__new__(SegmentColumns)
        taken._begin(self._whole, places if self._places is None else self._places.take(places), kind)
        return taken

    def where(self, mask: pa.BooleanArray) -> SegmentColumns:
        return self.take(self.numbers.filter(mask))

    def in_force(self, begin: pa.BooleanArray, end: pa.BooleanArray | None = None) -> pa.Int64Array:
        """For each segment the place of the last one with `begin`, itself included; NULL before the first and after an `end`."""
        marks = self.numbers
        if end is not None:
            marks = pc.if_else(begin, marks, -1)
            begin = pc.or_(begin, end)
        carried = pc.fill_null_forward(pc.if_else(begin, marks, _NO_PLACE))
        return carried if end is None else pc.if_else(pc.less(carried, 0), _NO_PLACE, carried)

    # --- fields ---

    def written(self, number: int) -> pa.StringArray:
        """Field `number` of each as written; NULL where it is absent."""
        return self._field(number, self._whole.values)

    def value(self, number: int, component: int = 1) -> pa.StringArray:
        """One plain value of each, from the first repetition; NULL where nothing is written.

        Fields that name the separators themselves (MSH-2, ISA16) have none; see `written`.
        """
        return self._of_each_kind(lambda some: some._value(number, component))

    def joined(
        self, number: int, mark: str = "\n", *, of: Literal["repetitions", "components"] = "repetitions"
    ) -> pa.StringArray:
        """The repetitions of a field, or the components of its first one, as one plain text; NULL where nothing is written."""
        return self._of_each_kind(lambda some: some._joined(number, mark, of))

    def repetitions(self, number: int) -> pa.ListArray:
        """The repetitions of a field as written; an empty list where there are none."""
        return self._of_each_kind(lambda some: some._repetitions(number))

    @cached_property
    def _fields(self) -> tuple[pa.Int32Array, pa.Int32Array]:
        """Where the fields of each begin among all values, and how many they are."""
        starts, lengths = self._whole.starts, self._whole.lengths
        return (starts, lengths) if self._places is None else (starts.take(self._places), lengths.take(self._places))

    def _field(self, number: int, values: pa.StringArray) -> pa.StringArray:
        if number > self.width:
            return pa.nulls(len(self), pa.string())
        starts, lengths = self._fields
        places = pc.add(starts, pa.scalar(number - 1, starts.type))
        if number > self._shortest:
            places = pc.if_else(pc.greater_equal(lengths, pa.scalar(number, lengths.type)), places, None)
        return values.take(places)

    def _texts(self, number: int) -> pa.StringArray:
        return self._field(number, self._whole.texts)

    def _column(self, name: str) -> Any:
        column = self._whole.batch.column(name)
        return column if self._places is None else column.take(self._places)

    @cached_property
    def _kinds(self) -> list[tuple[SegmentColumns, pa.Int64Array]]:
        """The segments by their separators, with their places here; empty if all have the same."""
        if self._kind is not None:
            return []
        column = pc.fill_null(self._column("separators"), self._whole.kinds[0] if self._whole.kinds else "")
        made = []
        for kind in pc.unique(column).to_pylist():
            places = self.numbers.filter(pc.equal(column, kind))
            made.append((self._taken(places, kind), places))
        return made

    def _of_each_kind(self, made: Callable[[SegmentColumns], pa.Array]) -> pa.Array:
        if not self._kinds:
            return made(self)
        order = pc.sort_indices(pa.concat_arrays([places for _, places in self._kinds]))
        return pa.concat_arrays([made(some) for some, _ in self._kinds]).take(order)

    @cached_property
    def _separators(self) -> Separators:
        return separators_of(self._kind) if self._kind else HL7_USUAL

    def _value(self, number: int, component: int) -> pa.StringArray:
        split = self._splits.get(number)
        if split is None:
            split = self._splits[number] = self._split(number)
        if split is _NO_TEXT:
            return pa.nulls(len(self), pa.string())
        separators, found = self._separators, split.values
        if isinstance(split.values, pa.ListArray) and component <= split.width:
            found = _element(split.values, component)
        elif component > 1:
            return pa.nulls(len(found), pa.string())
        if split.has_subcomponents:
            found = _first(found, separators.subcomponent)
            found = pc.if_else(pc.equal(found, ""), _NOTHING, found)
        if not split.has_escapes:
            return found
        if _is_released(separators):
            texts = self._texts(number)
            return self._where_escaped(texts, found, lambda text, codec: value_of(text, separators, codec, component))
        return self._where_escaped(found, found, lambda text, codec: unescaped(text, separators, codec))

    def _split(self, number: int) -> _Split:
        """The first repetitions of a field: as lists of components if any of them has several, NULL for what is empty."""
        texts, separators = self._texts(number), self._separators
        if texts.null_count == len(texts):
            return _NO_TEXT
        data = texts.buffers()[2]
        written = data.to_pybytes() if data is not None else b""

        def has(mark: str) -> bool:
            return bool(mark) and mark.encode() in written

        values = _first(texts, separators.repetition) if has(separators.repetition) else texts
        if has(separators.component):
            lists = pc.split_pattern(values, separators.component)
            parts = lists.values
            parts = pc.if_else(pc.equal(parts, ""), _NOTHING, parts)
            values = pa.ListArray.from_arrays(lists.offsets, parts, mask=pc.is_null(lists))
        elif values is not texts:
            values = pc.if_else(pc.equal(values, ""), _NOTHING, values)
        width = pc.max(pc.list_value_length(values)).as_py() if isinstance(values, pa.ListArray) else 1
        return _Split(values, width or 0, has(separators.subcomponent), has(separators.escape))

    def _joined(self, number: int, mark: str, of: str) -> pa.StringArray:
        texts, separators = self._texts(number), self._separators
        between = separators.repetition if of == "repetitions" else separators.component

        def of_one(text: str, codec: str) -> str:
            parts = repetitions_of(text, separators)
            parts = parts if of == "repetitions" else components_of(parts[0], separators)
            return mark.join(unescaped(each, separators, codec) for each in parts)

        made = texts
        if of == "components" and separators.repetition:
            made = _first(made, separators.repetition)
        if between:
            made = pc.replace_substring(made, between, mark)
        return self._where_escaped(texts, made, of_one)

    def _repetitions(self, number: int) -> pa.ListArray:
        texts, separators = self._texts(number), self._separators
        if _is_released(separators) or not separators.repetition:
            lists = [repetitions_of(text, separators) if text else [] for text in texts.to_pylist()]
            return pa.array(lists, pa.list_(pa.string()))
        lists = pc.split_pattern(texts, separators.repetition)
        return pc.if_else(pc.is_valid(texts), lists, pa.scalar([], lists.type))

    def _where_escaped(
        self, texts: pa.StringArray, made: pa.StringArray, of_one: Callable[[str, str], str | None]
    ) -> pa.StringArray:
        """`made`, and where a text has an escape what `of_one` makes of it and of the codec of its segment."""
        escape = self._separators.escape
        if not escape:
            return made
        has_escape = pc.fill_null(pc.match_substring(texts, escape), False)
        if not has_escape.true_count:
            return made
        codecs: Iterable[str] = repeat(self._whole.encoding)
        if self.raw_encodings is not None:
            codecs = (codec or self._whole.encoding for codec in self.raw_encodings.filter(has_escape).to_pylist())
        known = lru_cache(None)(of_one)
        plain = list(map(known, texts.filter(has_escape).to_pylist(), codecs))
        return pc.replace_with_mask(made, has_escape, pa.array(plain, pa.string()))


class _Split(NamedTuple):
    values: pa.Array
    #: The largest number of components.
    width: int
    has_subcomponents: bool
    has_escapes: bool


_NO_TEXT = _Split(None, 0, False, False)


class RejectedSegments:
    """The segments that a reader has rejected: give `note` to `read_segments` as `on_bad`.

    Without them a segment behind a rejected header of a claim or an order would belong to the one before.
    """

    #: The id of a rejected segment whose own id is not certain.
    ANY = "?"
    _ID = re.compile(rb"[\x0b\s]*([A-Z][A-Z0-9]{1,2})(?![A-Za-z0-9])")
    #: Reasons that leave no doubt that it is a segment with its own id, and the beginning of another one in it.
    _OF_ONE = ("is not valid ", "is longer than ", "may be cut: ", "is cut: ", "counts ", "has the control number ")
    _OF_TWO = re.compile(r"holds the beginning of another segment \(([A-Z][A-Z0-9]{1,2})")
    #: A piece without an id is a segment if a separator stands where one is behind an id with a byte too many or too few. Other
    #: pieces are the rest of a segment with a line break in it.
    _SEGMENT = re.compile(rb"(?:[^\s]{0,2}\s)?[\x0b\s]*[^\s]{0,4}?[!-/:-@\[-`{-~]")

    def __init__(self) -> None:
        self._waiting: list[tuple[int, str]] = []
        self._row_ids: list[int] = []

    def note(self, error: BadRecord) -> None:
        """Take note of a rejected segment; it stays rejected."""
        if error.reason.startswith(NO_ID) and self._SEGMENT.match(error.raw) is None:
            return
        found, another = self._ID.match(error.raw), self._OF_TWO.match(error.reason)
        ids = [self.ANY]
        if found is not None and (another is not None or error.reason.startswith(self._OF_ONE)):
            ids = [found[1].decode(), *([another[1]] if another is not None else [])]
        self._waiting += [(error.line, id) for id in ids]
        self._row_ids.append(error.line)

    def added_to(self, batch: pa.RecordBatch, without: Collection[str]) -> pa.RecordBatch:
        """A batch with an empty segment for each rejected one before its end, but for those with these ids."""
        last = batch.column(ROW_ID)[-1].as_py() if len(batch) else -1
        due = [each for each in self._waiting if each[0] < last]
        self._waiting = [each for each in self._waiting if each[0] >= last]
        due = [(row_id, id) for row_id, id in due if id not in without]
        if due:
            batch = self._with(batch, due)
        self._forget(batch, last)
        return batch

    @staticmethod
    def _with(batch: pa.RecordBatch, due: Sequence[tuple[int, str]]) -> pa.RecordBatch:
        row_ids = batch.column(ROW_ID).to_pylist()
        before = [max(0, bisect_left(row_ids, row_id) - 1) for row_id, _ in due]
        values: dict[str, Any] = {
            "segment": [id for _, id in due],
            "message": batch.column("message").take(pa.array(before)).to_pylist(),
            "fields": [[] for _ in due],
            "separators": batch.column("separators").take(pa.array(before)).to_pylist(),
            ROW_ID: [row_id for row_id, _ in due],
        }
        nothing = [None] * len(due)
        added = [pa.array(values.get(each.name, nothing), each.type) for each in batch.schema]
        joined = pa.concat_batches([batch, pa.RecordBatch.from_arrays(added, schema=batch.schema)])
        return joined.take(pc.sort_indices(joined.column(ROW_ID)))

    def _forget(self, batch: pa.RecordBatch, last: int) -> None:
        """Forget those that were before the end of a batch and are not in it: no later batch has them."""
        if self._row_ids:
            row_ids = pa.array(self._row_ids, pa.int64())
            is_needed = pc.or_(pc.greater_equal(row_ids, last), pc.is_in(row_ids, batch.column(ROW_ID)))
            self._row_ids = row_ids.filter(is_needed).to_pylist()

    def are(self, segments: SegmentColumns) -> pa.BooleanArray:
        """Which of these segments are rejected ones; a place that is NULL is none."""
        if not self._row_ids:
            return pa.repeat(pa.scalar(False), len(segments))
        return pc.is_in(segments.row_ids, pa.array(self._row_ids, pa.int64()))

    @classmethod
    def reason(cls, id: str, row_id: int) -> str:
        """Why a row that may belong to this rejected segment is rejected too."""
        what = "a segment" if id == cls.ANY else f"the {id}"
        return f"may belong to {what} that was rejected (segment {row_id:,})"


def joined_batches(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch | None:
    """One batch of several, some of which may say by which codec a segment was read; None if there is no row."""
    tables = [pa.Table.from_batches([each]) for each in batches]
    joined = pa.concat_tables(tables, promote_options="default").combine_chunks().to_batches() if tables else []
    return joined[0] if joined else None


def _is_released(separators: Separators) -> bool:
    """Whether a separator in a text may be data, because a release character stands before it."""
    return separators.format == "edifact" and bool(separators.escape)


def _first(texts: pa.StringArray, mark: str) -> pa.StringArray:
    """The texts up to a mark."""
    return _element(pc.split_pattern(texts, mark, max_splits=1), 1)


def _element(lists: pa.ListArray, number: int) -> pa.StringArray:
    places = pc.add(lists.offsets.slice(0, len(lists)), number - 1)
    return lists.values.take(pc.if_else(pc.greater_equal(pc.list_value_length(lists), number), places, None))
