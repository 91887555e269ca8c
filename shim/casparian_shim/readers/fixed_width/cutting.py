"""Fields cut out of records: a block at a time if nothing in it is unusual, else record by record, with the same result.

`Cutter.block` takes the fast path, which cuts whole columns, and sets aside what it cannot read; each of those records goes to
`Cutter.record`, which says what is wrong with it. If one of them is a row after all, the whole block is read record by record.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.readers.blocks import RAW_ENCODING, Block, Group, Reject, Skip, Values
from casparian_shim.readers.fixed_width.columns import Slices, arrow_type, numbers, with_line_end
from casparian_shim.readers.fixed_width.copybook import VariableLayout
from casparian_shim.readers.fixed_width.frames import Frames
from casparian_shim.readers.fixed_width.layout import Field, Layout, Value, has_line_end
from casparian_shim.readers.source import RAW_BYTES_MAX, not_the_encoding
from casparian_shim.readers.tape import What

Unit = Literal["bytes", "chars"]
#: Columns of records that were read, and which records those are; None for all.
_Taken: TypeAlias = "tuple[dict[str, Values], pa.Array | None]"


@dataclass(frozen=True, slots=True)
class RecordType:
    """The records with one value in the type field, or all records if there is no such field (`code` is None)."""

    layout: Layout
    output: str | None = None
    code: str | None = None


class Row(NamedTuple):
    """A record that was read: its type's place in `Cutter.types`, its values, and the codec that read it."""

    type_place: int
    values: Sequence[Value]
    encoding: str


class Unfit(Exception):
    """A record does not have the promised shape: the reason, and the output that it belongs to, if its type is known."""

    def __init__(self, reason: str, output: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.output = output


@dataclass(frozen=True)
class Cutter:
    """How records are cut into fields."""

    types: tuple[RecordType, ...]
    #: Where the type of a record is, and the types that are passed over.
    type_field: Field | None
    passed_over: frozenset[str]
    encodings: tuple[str, ...]
    #: Whether positions count the characters of the record's text. Otherwise they count bytes.
    by_text: bool
    #: Whether positions in bytes and in characters may differ, because the caller said which is meant.
    is_unit_said: bool
    #: The length of each record: that of its layout (None), a number, or at least that of its layout.
    length: int | Literal["any"] | None
    has_free_blanks: bool
    strip: bool
    empty_is_null: bool
    #: Whether a line end in text means that the record is not where it seems to be: records follow each other without any.
    has_no_lines: bool = False

    @property
    def has_fallback(self) -> bool:
        return len(self.encodings) > 1

    def block(self, frames: Frames) -> Block:
        """The block of these records."""
        return self._fast(frames) or self.carefully(frames)

    # --- record by record ---

    def carefully(self, frames: Frames) -> Block:
        rows: list[list[Row]] = [[] for _ in self.types]
        places: list[list[int]] = [[] for _ in self.types]
        rejects: list[Reject] = []
        skips: list[Skip] = []
        row_ids: list[int] = []
        ends: list[int] = []
        for row_id, end, found in self._each(frames, range(len(frames))):
            match found:
                case Row():
                    rows[found.type_place].append(found)
                    places[found.type_place].append(len(row_ids))
                    row_ids.append(row_id)
                    ends.append(end)
                case Reject():
                    rejects.append(found)
                case Skip():
                    skips.append(found)
        groups = [
            (self._columns_of_rows(each, mine), pa.array(there, pa.int64()))
            for each, mine, there in zip(self.types, rows, places, strict=True)
        ]
        return self._block(groups, row_ids, ends, rejects, skips)

    def _each(self, frames: Frames, places: Sequence[int]) -> Iterator[tuple[int, int, Row | Reject | Skip]]:
        """What the records at these places are, with their numbers and ends."""
        where = pa.array(places, pa.int64())
        row_ids, ends = frames.row_ids.take(where).to_pylist(), frames.ends.take(where).to_pylist()
        raws = frames.raw.take(where).to_pylist()
        texts = frames.texts.take(where).to_pylist() if frames.texts is not None else [None] * len(raws)
        codecs = frames.encodings.take(where).to_pylist() if frames.encodings is not None else None
        for nth, (place, row_id, end, raw, text) in enumerate(zip(places, row_ids, ends, raws, texts, strict=True)):
            if (what := frames.asides.get(place)) is not None:
                yield row_id, end, Skip(what, row_id, end)
            elif not raw and place not in frames.bad:
                yield row_id, end, Skip(What.BLANK_LINE, row_id, end)
            else:
                try:
                    if place in frames.bad:
                        raise Unfit(frames.bad[place])
                    found = self.record(raw, text, codecs[nth] if codecs else self.encodings[0])
                except Unfit as unfit:
                    yield row_id, end, Reject(row_id, end, unfit.reason, raw[:RAW_BYTES_MAX], unfit.output)
                else:
                    yield row_id, end, Skip(What.OTHER_RECORD, row_id, end) if found is None else found

    def record(self, raw: bytes, text: str | None, encoding: str) -> Row | None:
        """The row of one record; None if its type is passed over. Raises `Unfit`."""
        if self.by_text:
            assert text is not None
            if not self.is_unit_said and len(text) != len(raw):
                raise Unfit('has characters of several bytes: say unit="bytes" or unit="chars"')
            return self._text_record(text, encoding)
        fault: Unfit | None = None
        for codec in self.encodings:
            try:
                return self._bytes_record(raw, codec)
            except UnicodeError as cause:
                fault = fault or Unfit(not_the_encoding(self.encodings, cause))
        assert fault is not None
        raise fault

    def _text_record(self, text: str, encoding: str) -> Row | None:
        code = None
        if self.type_field is not None:
            code = text[self.type_field.start : self.type_field.end].strip(" ")
        if (found := self._type_of(code)) is None:
            return None
        place, each = found
        least, most = self._lengths(each)
        if self.has_free_blanks:
            text = text.rstrip(" ").ljust(least, " ")
        self._check_length(len(text), least, most, "characters", each)
        return Row(
            place, [self._kept(text[field.start : field.end]) for field in each.layout.fields.values()], encoding
        )

    def _bytes_record(self, raw: bytes, encoding: str) -> Row | None:
        code = None
        if (field := self.type_field) is not None:
            try:
                code = str(field.value(raw[field.start : field.end], encoding)).strip(" ")
            except UnicodeError:
                raise
            except ValueError as cause:
                raise Unfit(f"has no type: {cause}") from None
        if (found := self._type_of(code)) is None:
            return None
        place, each = found
        layout = each.layout
        try:
            layout = layout.at(raw, encoding)
        except UnicodeError:
            raise
        except ValueError as cause:
            raise Unfit(str(cause), each.output) from None
        if self.has_no_lines and layout.is_text and has_line_end(raw[: layout.reach], encoding):
            raise Unfit("has a line end in it", each.output)
        least, most = self._lengths(each) if layout is each.layout else (layout.length, layout.length)
        if self.has_free_blanks:
            blank = " ".encode(encoding)
            raw = raw.rstrip(blank).ljust(least, blank)
        self._check_length(len(raw), least, most, "bytes", each)
        values: list[Value] = []
        for name in each.layout.fields:
            here = layout.fields.get(name)
            values.append(None if here is None else self._field(name, here, raw, encoding, each))
        return Row(place, values, encoding)

    def _field(self, name: str, field: Field, raw: bytes, encoding: str, each: RecordType) -> Value:
        try:
            value = field.value(raw[field.start : field.end], encoding)
            if isinstance(value, str):
                value.encode("utf-8")  # a codec may produce lone surrogates
                if self.has_no_lines and has_line_end(raw[field.start : field.end], field.encoding or encoding):
                    raise Unfit(f"has a line end in {name}", each.output)
                return self._kept(value)
        except UnicodeError as cause:
            if field.encoding is None and self.has_fallback:
                raise
            raise Unfit(f"{not_the_encoding([field.encoding or encoding], cause)} in {name}", each.output) from None
        except ValueError as cause:
            raise Unfit(f"has no number in {name}: {cause}", each.output) from None
        return value

    def _type_of(self, code: str | None) -> tuple[int, RecordType] | None:
        if code in self.passed_over:
            return None
        for place, each in enumerate(self.types):
            if each.code == code:
                return place, each
        known = ", ".join(sorted({*self.passed_over, *(each.code or "" for each in self.types)}))
        raise Unfit(f"has the type {code!r:.60}, which is not one of {known}")

    def _lengths(self, each: RecordType) -> tuple[int, int | None]:
        """The least and the most that a record may have."""
        if self.length == "any" or (self.length is None and each.layout.is_open):
            return each.layout.length, None
        length = each.layout.length if self.length is None else self.length
        return length, length

    def _check_length(self, length: int, least: int, most: int | None, unit: str, each: RecordType) -> None:
        if length < least or (most is not None and length > most):
            counted = unit.removesuffix("s") if length == 1 else unit
            raise Unfit(f"has {length} {counted} instead of {least}", each.output)

    def _kept(self, text: str) -> str | None:
        text = text.strip(" ") if self.strip else text
        return None if not text and self.empty_is_null else text

    # --- whole columns ---

    def _fast(self, frames: Frames) -> Block | None:
        """The block, if every record that the columns do not take is a reject or a skip."""
        source = frames.raw
        if self.by_text:
            assert frames.texts is not None
            source = frames.texts
        cut = Slices.of(source, self.by_text)
        groups: list[tuple[dict[str, Values], pa.Array]] = []
        taken: pa.Array | None = None
        usable = self._usable(frames, cut)
        codes = None
        if self.type_field is not None and (codes := self._codes(cut, self.type_field)) is None:
            return None
        for each in self.types:
            mask = usable
            if codes is not None:
                mask = _both(mask, pc.equal(codes, each.code))
            found = self._take(each, cut, mask)
            if found is None:
                return None
            columns, mask = found
            if RAW_ENCODING not in columns and self.has_fallback:
                codecs = frames.encodings if frames.encodings is not None else None
                if codecs is None:
                    codecs = pa.repeat(pa.scalar(self.encodings[0]), len(frames))
                columns[RAW_ENCODING] = codecs if mask is None else codecs.filter(mask)
            groups.append((columns, mask))
            taken = mask if taken is None or mask is None else pc.or_(taken, mask)
        return self._joined(frames, groups, taken)

    def _usable(self, frames: Frames, cut: Slices) -> pa.Array | None:
        """The records that may be rows, whatever their type; None for all."""
        mask: pa.Array | None = None
        odd = frames.bad.keys() | frames.asides.keys()
        if odd:
            flags = bytearray(b"\1") * len(frames)
            for place in odd:
                flags[place] = 0
            mask = pc.equal(pa.array(flags, pa.uint8()), 1)
        if cut.shortest_and_longest[0] == 0:
            mask = _both(mask, pc.greater(cut.lengths, 0))
        if self.by_text and not self.is_unit_said and not cut.is_ascii:
            mask = _both(mask, pc.equal(cut.lengths, pc.binary_length(frames.raw)))
        return mask

    def _codes(self, cut: Slices, field: Field) -> pa.Array | None:
        if field.kind != "text":
            return None
        texts = cut.texts(field.start, field.end, field.encoding or self.encodings[0])
        return None if texts is None else pc.ascii_trim(texts, " ")

    def _take(self, each: RecordType, cut: Slices, mask: pa.Array | None) -> _Taken | None:
        """The columns of this type's records that can be read, and which those are; None if the careful path must look."""
        layout = each.layout
        if not isinstance(layout, VariableLayout):
            return self._take_alike(layout, *self._lengths(each), cut, mask)
        if (counter := layout.only_counter) is None or counter.end is None or self.has_free_blanks:
            return None
        mask = _both(mask, pc.greater_equal(cut.lengths, counter.end)).fill_null(False)
        if (counts := self._counts(cut.filtered(mask), counter)) is None:
            return None
        taken: list[_Taken] = []
        for count in pc.unique(counts.drop_null()).to_pylist():
            if (here := layout.with_count(count)) is None:
                continue
            mine = pc.replace_with_mask(mask, mask, pc.equal(counts, count).fill_null(False))
            if (found := self._take_alike(here, here.length, here.length, cut, mine)) is None:
                return None
            taken.append(found)
        return self._reordered(layout, taken, len(cut.lengths))

    def _counts(self, cut: Slices, counter: Field) -> pa.Array | None:
        """The count in each record, NULL where it is not a number; None if the careful path must look."""
        nothing = pa.scalar(None, pa.int64())
        if counter.is_number:
            found = numbers(cut.data(counter), counter, self.encodings[0])
            if not counter.is_integer:
                return None
            counts = found.values.fill_null(0)
            return counts if found.bad is None else pc.if_else(found.bad, nothing, counts)
        texts = cut.texts(counter.start, counter.end, counter.encoding or self.encodings[0])
        if texts is None:
            return None
        is_number = pc.match_substring_regex(texts, "^[0-9]{1,9}$")
        return pc.if_else(is_number, texts, pa.scalar(None, pa.string())).cast(pa.int64())

    def _reordered(self, layout: Layout, taken: Sequence[_Taken], record_count: int) -> _Taken:
        """The columns of records with different counts in the order of the file. Items beyond a count are NULL."""
        masks = [mask for _, mask in taken]
        order = pc.sort_indices(pa.concat_arrays([pa.array([], pa.uint64()), *map(pc.indices_nonzero, masks)]))
        columns: dict[str, Values] = {}
        for name, field in layout.fields.items():
            kind = arrow_type(field)
            parts = [mine.get(name, pa.nulls(pc.sum(mask).as_py() or 0, kind)) for mine, mask in taken]
            columns[name] = pa.concat_arrays([pa.array([], kind), *parts]).take(order)
        none: pa.Array = pa.repeat(pa.scalar(False), record_count)
        return columns, functools.reduce(pc.or_, masks, none)

    def _take_alike(
        self, layout: Layout, least: int, most: int | None, cut: Slices, mask: pa.Array | None
    ) -> _Taken | None:
        if self.has_free_blanks:
            cut = cut.with_blanks(least, " " if self.by_text else " ".encode(self.encodings[0]).decode("latin-1"))
        low, high = cut.shortest_and_longest
        if low < least:
            mask = _both(mask, pc.greater_equal(cut.lengths, least))
        if most is not None and high > most:
            mask = _both(mask, pc.less_equal(cut.lengths, most))
        if mask is not None:
            mask = mask.fill_null(False)
            cut = cut.filtered(mask)
        columns: dict[str, Values] = {}
        bad: pa.Array | None = None
        if self.has_no_lines and layout.is_text:
            bad = with_line_end(cut.cells(0, layout.reach), self.encodings[0])
        for name, field in layout.fields.items():
            if field.is_number:
                found = numbers(cut.data(field), field, self.encodings[0])
                columns[name] = found.values
                bad = _either(bad, found.bad)
            elif field.kind == "bytes":
                columns[name] = cut.cells(field.start, field.end)
            else:
                texts = cut.texts(field.start, field.end, field.encoding or self.encodings[0])
                if texts is None:
                    return None
                columns[name] = self._kept_column(texts)
                if self.has_no_lines and not layout.is_text:
                    cells = cut.cells(field.start, field.end)
                    bad = _either(bad, with_line_end(cells, field.encoding or self.encodings[0]))
        if bad is None:
            return columns, mask
        good = pc.invert(bad)
        kept: dict[str, Values] = {name: values.filter(good) for name, values in columns.items()}  # type: ignore[union-attr]
        return kept, good if mask is None else pc.replace_with_mask(mask, mask, good)

    def _kept_column(self, texts: pa.Array) -> pa.Array:
        if self.strip:
            texts = pc.ascii_trim(texts, " ")
        if self.empty_is_null and len(texts) and pc.min(pc.binary_length(texts)).as_py() == 0:
            texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
        return texts

    def _joined(
        self, frames: Frames, groups: Sequence[tuple[dict[str, Values], pa.Array | None]], taken: pa.Array | None
    ) -> Block | None:
        """The block of what the columns took; None if one of the other records is a row."""
        row_ids, ends = frames.row_ids, frames.ends
        rejects: list[Reject] = []
        skips: list[Skip] = []
        if taken is not None:
            others = pc.indices_nonzero(pc.invert(taken)).to_pylist()
            for _, _, found in self._each(frames, others):
                if isinstance(found, Row):
                    return None
                if isinstance(found, Reject):
                    rejects.append(found)
                else:
                    skips.append(found)
            if others:
                row_ids, ends = row_ids.filter(taken), ends.filter(taken)
        ranks = None if taken is None or len(groups) == 1 else pc.cumulative_sum(taken.cast(pa.int64()))
        placed = [(columns, None if ranks is None else pc.subtract(ranks.filter(mask), 1)) for columns, mask in groups]
        return self._block(placed, row_ids, ends, rejects, skips)

    # --- both ---

    def _columns_of_rows(self, each: RecordType, rows: Sequence[Row]) -> dict[str, Values]:
        names = list(each.layout.fields)
        lists = zip(*(row.values for row in rows), strict=True) if rows else ([] for _ in names)
        columns: dict[str, Values] = {
            name: pa.array(list(values), arrow_type(field))
            for (name, field), values in zip(each.layout.fields.items(), lists, strict=True)
        }
        if self.has_fallback:
            columns[RAW_ENCODING] = pa.array([row.encoding for row in rows], pa.string())
        return columns

    def _block(
        self,
        groups: Sequence[tuple[Mapping[str, Values], Any]],
        row_ids: Any,
        ends: Any,
        rejects: Sequence[Reject],
        skips: Sequence[Skip],
    ) -> Block:
        if self.type_field is None:
            return Block(groups[0][0], row_ids, ends, rejects, skips)
        made = tuple(
            Group(each.output or each.code or "", columns, pa.arange(0, len(row_ids)) if places is None else places)
            for each, (columns, places) in zip(self.types, groups, strict=True)
        )
        return Block({}, row_ids, ends, rejects, skips, made)


def _both(first: pa.Array | None, second: pa.Array) -> pa.Array:
    return second if first is None else pc.and_(first, second)


def _either(first: pa.Array | None, second: pa.Array | None) -> pa.Array | None:
    return second if first is None else first if second is None else pc.or_(first, second)
