"""JSON lines: each line an object, each object a row.

Lines of one form (`json_forms`) are read by the block. Any other line is decoded by itself, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any, NamedTuple, Unpack

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.readers import source as source_module
from casparian_shim.readers.blocks import RAW_ENCODING, ROW_ID, Block, Reject, Skip, Values
from casparian_shim.readers.json_forms import Form, NotOfAForm, hidden
from casparian_shim.readers.json_values import (
    Decoder,
    Members,
    NotJson,
    Numbers,
    ObjectBuilder,
    cut_blocks,
)
from casparian_shim.readers.lines import LineBlock, line_blocks, split
from casparian_shim.readers.pieces import OFFSET, listed
from casparian_shim.readers.reading import Common, records
from casparian_shim.readers.source import RAW_BYTES_MAX, RECORD_BYTES_MAX, Encoding, Input, Source
from casparian_shim.readers.tape import What

_SPACE = " \t\n\r"
#: Fewer lines than this of one form are decoded one by one.
_LINES_MIN = 16
_FORMS_MAX = 8
#: For each block a pattern is compiled and pyarrow's CSV reader created.
_BLOCKS_AT_ONCE = 4


def read_jsonl(
    source: Source,
    *,
    columns: Sequence[str] | None = None,
    numbers: Numbers = "text",
    encoding: Encoding = "utf-8",
    record_bytes_max: int = RECORD_BYTES_MAX,
    **common: Unpack[Common],
) -> Any:
    """Each line's object as a row: its members by name, and `__cf_row_id`.

    Numbers are texts with all their digits, or with `numbers="exact"` integers and Decimals. Texts, truth values and null are
    Python's; objects and arrays are dicts and lists. A row has the names of `columns`, or every name that has occurred up to
    its line; what it lacks is None. Blank lines are skipped. Rejected: a line that is not one JSON object, an object with a name
    twice, NaN and Infinity, half a surrogate pair, and a line longer than `record_bytes_max`.
    """
    decoder = Decoder(numbers)
    taken = [ROW_ID, OFFSET] if common.get("offsets") else [ROW_ID]

    def blocks(input: Input) -> Iterator[Block]:
        members = Members(columns, taken=taken)
        block_bytes = _BLOCKS_AT_ONCE * source_module.BLOCK_BYTES
        for lines in line_blocks(input, record_bytes_max=record_bytes_max, block_bytes=block_bytes):
            parts = list(_parts(lines, decoder, numbers))
            if all(members.refusal_of_names(part.columns) is None for part in parts):
                found = _joined(lines, parts, decoder, members)
            else:
                found = _careful(lines, decoder, members)
            yield from _with_encodings(found, lines) if input.has_fallback else found

    return records(source, blocks, encoding=encoding, **common)


def _with_encodings(blocks: Iterator[Block], lines: LineBlock) -> Iterator[Block]:
    for block in blocks:
        places = pc.subtract(pa.array(block.row_ids, pa.int64()), lines.first)
        columns = {**block.columns, RAW_ENCODING: lines.encodings.take(places)}
        yield Block(columns, block.row_ids, block.ends, block.rejects, block.skips)


# --- one line at a time ---


def _careful(lines: LineBlock, decoder: Decoder, members: Members) -> Iterator[Block]:
    made = ObjectBuilder(members)
    for line in lines.lines():
        if line.text is None:
            made.reject(line.number, line.end, line.reason or "", line.raw[:RAW_BYTES_MAX])
        elif not line.text.strip(_SPACE):
            made.skip(Skip(What.BLANK_LINE, line.number, line.end))
        else:
            try:
                value = decoder.value(line.text.removeprefix("\ufeff"))
            except NotJson as cause:
                made.reject(line.number, line.end, cause.reason, line.raw[:RAW_BYTES_MAX])
            else:
                made.add(value, line.number, line.end, lambda raw=line.raw: raw[:RAW_BYTES_MAX])  # type: ignore[misc]
    yield from made.blocks()


# --- whole blocks ---


class _Part(NamedTuple):
    """Lines of one form, as columns."""

    places: pa.Int64Array
    columns: dict[str, Values]


def _parts(lines: LineBlock, decoder: Decoder, numbers: Numbers) -> Iterator[_Part]:
    """Lines that are read by the block; the others are left to the careful way."""
    if (data := hidden(lines.data)) is None:
        return
    has_escapes = b"\\" in lines.data
    if not lines.is_utf8 or lines.separator is None:
        texts = lines.texts
    else:
        first = data[: data.find(b"\n") if b"\n" in data else len(data)].removesuffix(b"\r").decode()
        form = Form.of(first, has_escapes=has_escapes)
        try:
            if form is not None and form.fits_all(data):
                yield _Part(pa.arange(0, len(lines)), form.columns(data, decoder, numbers))
                return
        except (NotOfAForm, NotJson, pa.ArrowInvalid):  # the pattern of many names is too large
            return
        texts = split(data, lines.separator).cast(pa.string()).slice(0, len(lines))
    places = pa.arange(0, len(lines))
    for _ in range(_FORMS_MAX):
        if len(texts) < _LINES_MIN:
            return
        form = Form.of(texts[0].as_py() or "", has_escapes=has_escapes)
        if form is None:
            texts, places = texts.slice(1), places.slice(1)
            continue
        try:
            fits = form.fits_each(texts.cast(pa.binary()))
        except pa.ArrowInvalid:
            return
        count = fits.true_count
        if count >= _LINES_MIN:
            with suppress(NotOfAForm, NotJson):  # they are decoded one by one, then
                yield _Part(places.filter(fits), form.columns(_text_of(texts.filter(fits)), decoder, numbers))
        rest = pc.invert(pc.fill_null(fits, False)) if count else pc.greater(places, places[0])
        texts, places = texts.filter(rest), places.filter(rest)


def _text_of(texts: pa.StringArray) -> Any:
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts), "\n")
    return joined[0].as_buffer()


# --- both together ---


def _joined(lines: LineBlock, parts: list[_Part], decoder: Decoder, members: Members) -> Iterator[Block]:
    """The lines of all parts, and the remaining ones read carefully, in the order of the file."""
    if len(parts) == 1 and len(parts[0].places) == len(lines) and members.has_all(parts[0].columns):
        known = {name: _of_part(parts[0], name) for name in members.names}
        yield Block(known, lines.numbers, lines.ends)
        return
    rejects: list[Reject] = []
    skips: list[Skip] = []
    objects: list[tuple[int, dict[str, Any]]] = []
    if len(parts) != 1 or len(parts[0].places) < len(lines):
        for place, value in _rest(lines, parts, decoder, members):
            if isinstance(value, Reject):
                rejects.append(value)
            elif isinstance(value, Skip):
                skips.append(value)
            else:
                objects.append((place, value))
    begins: list[tuple[int, Mapping[str, object]]] = [(part.places[0].as_py(), part.columns) for part in parts]
    begins = sorted((each for each in [*begins, *objects] if not members.has_all(each[1])), key=itemgetter(0))
    if members.refusal_of_names(dict.fromkeys(name for _, names in begins for name in names)) is not None:
        yield from _careful(lines, decoder, members)
        return
    places = [*(part.places for part in parts), pa.array([place for place, _ in objects], pa.int64())]
    rows = pa.concat_arrays(places)
    order = pc.sort_indices(rows) if len(places[-1]) or len(parts) > 1 else None
    rows = rows if order is None else rows.take(order)
    cuts = []
    for place, names in begins:
        if not members.has_all(names):
            cuts.append((pc.sum(pc.less(rows, place)).as_py() or 0, members.names))
            members.learn(names)
    rests = [value for _, value in objects]
    columns = {
        name: _in_order([*(_of_part(part, name) for part in parts), [each.get(name) for each in rests]], order)
        for name in members.names
    }
    yield from cut_blocks(Block(columns, lines.numbers.take(rows), lines.ends.take(rows), rejects, skips), cuts)


def _rest(
    lines: LineBlock, parts: list[_Part], decoder: Decoder, members: Members
) -> Iterator[tuple[int, Reject | Skip | dict[str, Any]]]:
    """The lines that are in no part, by their places."""
    places, texts, ends = pa.arange(0, len(lines)), lines.texts, lines.ends
    if parts:
        places = places.filter(pc.invert(pc.is_in(places, pa.concat_arrays([part.places for part in parts]))))
        texts, ends = texts.take(places), ends.take(places)
    for place, text, end in zip(places.to_pylist(), texts.to_pylist(), ends.to_pylist(), strict=True):
        number = lines.first + place
        if text is None:
            reason: str | None = lines.bad[place]
        elif not text.strip(_SPACE):
            yield place, Skip(What.BLANK_LINE, number, end)
            continue
        else:
            try:
                value = decoder.value(text.removeprefix("\ufeff"))
                reason = members.refusal(value)
            except NotJson as cause:
                reason = cause.reason
        if reason is None:
            assert isinstance(value, dict)
            yield place, value
        else:
            yield place, Reject(number, end, reason, lines.raw[place].as_py()[:RAW_BYTES_MAX])


def _of_part(part: _Part, name: str) -> Values:
    found = part.columns.get(name)
    return found if found is not None else pa.nulls(len(part.places), pa.string())


def _in_order(pieces: Sequence[Values], order: pa.UInt64Array | None) -> Values:
    """One column of the rows of all parts."""
    pieces = [piece for piece in pieces if len(piece)] or [pa.array([], pa.string())]
    arrays = [_as_texts(piece) for piece in pieces]
    known = [array for array in arrays if array is not None]
    kinds = {array.type for array in known if array.null_count < len(array)}
    if len(known) == len(pieces) and len(kinds) <= 1:
        kind = kinds.pop() if kinds else pa.string()
        joined = pa.concat_arrays([array if array.type == kind else pa.nulls(len(array), kind) for array in known])
        return joined if order is None else joined.take(order)
    values = [value for piece in pieces for value in listed(piece)]
    return values if order is None else [values[place] for place in order.to_pylist()]


def _as_texts(values: Values) -> pa.Array | None:
    if isinstance(values, pa.Array):
        return values
    return pa.array(values, pa.string()) if set(map(type, values)) <= {str, type(None)} else None
