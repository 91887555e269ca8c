"""Fields and values of many segments as columns: for all rows of a batch at once what `Segment` gives for one.

A parser that makes rows of segments looks each one's context up first: the header, the claim, the order that is in force at it.
`in_force` answers that for all segments at once, as the places of the segments that began it; `take` then has their values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import repeat
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.readers.blocks import RAW_ENCODING, ROW_ID
from casparian_shim.readers.segments.segment import components_of, repetitions_of, value_of
from casparian_shim.readers.segments.separators import HL7_USUAL, Separators, separators_of, unescaped

_NOTHING = pa.scalar(None, pa.string())
_NO_PLACE = pa.scalar(None, pa.int64())


class SegmentColumns:
    """Some segments of `read_segments(…, as_="batches")`. A place that is NULL is no segment: it has no values."""

    def __init__(self, batch: pa.RecordBatch, encoding: str = "utf-8", places: pa.Int64Array | None = None) -> None:
        self._batch = batch
        self._encoding = encoding
        self._places = places
        self._cache: dict[tuple[str, int], Any] = {}

    def __len__(self) -> int:
        return self._batch.num_rows if self._places is None else len(self._places)

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
        return self._column(RAW_ENCODING) if RAW_ENCODING in self._batch.schema.names else None

    def take(self, places: pa.Int64Array) -> SegmentColumns:
        """The segments at these places of these."""
        mine = places if self._places is None else self._places.take(places)
        return SegmentColumns(self._batch, self._encoding, mine)

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
        found = self._cache.get(("written", number))
        if found is None:
            starts, lengths, values = self._fields
            places = pc.if_else(pc.greater_equal(lengths, number), pc.add(starts, number - 1), None)
            found = self._cache["written", number] = values.take(places)
        return found

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
    def _fields(self) -> tuple[pa.Int32Array, pa.Int32Array, pa.StringArray]:
        """Where the fields of each begin among all values, how many they are, and the values."""
        lists = self._batch.column("fields")
        starts, lengths = lists.offsets.slice(0, len(lists)), pc.list_value_length(lists)
        if self._places is not None:
            starts, lengths = starts.take(self._places), lengths.take(self._places)
        return starts, lengths, lists.values

    def _column(self, name: str) -> Any:
        column = self._batch.column(name)
        return column if self._places is None else column.take(self._places)

    @cached_property
    def _kinds(self) -> list[tuple[SegmentColumns, pa.Int64Array]]:
        """The segments by their separators, with their places here; empty if all have the same."""
        column = self._column("separators")
        if len(pc.unique(column.drop_null())) <= 1:
            return []
        masks = [pc.fill_null(pc.equal(column, kind), False) for kind in pc.unique(column.drop_null())]
        places = [self.numbers.filter(mask) for mask in (*masks, pc.is_null(column))]
        return [(self.take(mine), mine) for mine in places]

    def _of_each_kind(self, made: Callable[[SegmentColumns], pa.Array]) -> pa.Array:
        if not self._kinds:
            return made(self)
        order = pc.sort_indices(pa.concat_arrays([places for _, places in self._kinds]))
        return pa.concat_arrays([made(some) for some, _ in self._kinds]).take(order)

    @cached_property
    def _separators(self) -> Separators:
        kinds = pc.unique(self._column("separators").drop_null())
        return separators_of(kinds[0].as_py()) if len(kinds) else HL7_USUAL

    def _texts(self, number: int) -> pa.StringArray:
        """A field as written; NULL where nothing is."""
        found = self._cache.get(("texts", number))
        if found is None:
            written = self.written(number)
            found = self._cache["texts", number] = pc.if_else(pc.equal(written, ""), _NOTHING, written)
        return found

    def _value(self, number: int, component: int) -> pa.StringArray:
        split = self._cache.get(("split", number))
        if split is None:
            split = self._cache["split", number] = self._split(number)
        separators, found = self._separators, split.values
        if isinstance(split.values, pa.ListArray):
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
        data = texts.buffers()[2]
        written = data.to_pybytes() if data is not None and texts.null_count < len(texts) else b""

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
        return _Split(values, has(separators.subcomponent), has(separators.escape))

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
        codecs: Iterable[str] = repeat(self._encoding)
        if self.raw_encodings is not None:
            codecs = (codec or self._encoding for codec in self.raw_encodings.filter(has_escape).to_pylist())
        known = lru_cache(None)(of_one)
        plain = list(map(known, texts.filter(has_escape).to_pylist(), codecs))
        return pc.replace_with_mask(made, has_escape, pa.array(plain, pa.string()))


class _Split(NamedTuple):
    values: pa.Array
    has_subcomponents: bool
    has_escapes: bool


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
