"""The wide lane: the messages of one shape in a block of lines become whole columns at once.

A shape is a version, a sequence of tags and a MsgType. The lines of a block are cut at the separators in one pass, grouped by
their number of fields, and taken shape by shape: tags are checked as prefixes of columns, BodyLength by lengths, CheckSum by one
running sum over the bytes. A line is taken only if all of it holds, so the answer is the one that `find_messages` gives; every
other line is left to it: damage, prefixes, several messages, data fields, columns given twice, rare shapes.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from fix_messages import CHECKSUM_TEXTS, DATA_FIELD_OF, byte_sum
from fix_tables import Batch, Plan, Rows

from casparian_shim.readers import Group

#: A message's part of its line, if the line has several.
RAW = "_cf_raw"
#: A shape with fewer messages in a block costs less line by line.
_FEW = 32
#: The lines of a block that tell its separator and the size of its prefix.
_LOOKED_AT = 256
#: Rare shapes of one number of fields that are tried in a block before its other lines are left.
_RARE_MAX = 8
_LINES_AT_ONCE = 4_096
#: For `binary_slice`: without a `stop`, pyarrow 26 fails on long columns.
_STOP = 1 << 30
_SHAPES_MAX = 10_000
_TAG_BYTES_MAX = 11
_HEAD = re.compile(rb"8=FIXT?\.[0-9]\.[0-9](?:SP[0-9])?(<SOH>|\^A|[\x01|^;])9=")
_VERSION = re.compile(rb"8=FIXT?\.[0-9]\.[0-9](?:SP[0-9])?")
_LENGTH_MAX = 9_999
_LENGTHS = pa.array([b"%d" % length for length in range(_LENGTH_MAX + 1)], pa.binary())
_CHECKSUMS = pa.array(CHECKSUM_TEXTS, pa.binary())
# By CheckSum: its value plus the sum of its own digits, which the sum over a line includes.
_SUMS = pa.array([(value + sum(text)) & 255 for value, text in enumerate(CHECKSUM_TEXTS)], pa.uint8())

# For sums of bytes, eight at a time. In a longer line a lane of 16 bits might overflow.
_WORDS_LINE_MAX = 1_000
_LANES = pa.scalar(0x00FF_00FF_00FF_00FF, pa.uint64())
_FIRST_BYTES = pa.array([(1 << 8 * count) - 1 for count in range(8)], pa.uint64())
_THREE, _SEVEN = pa.scalar(3, pa.int32()), pa.scalar(7, pa.int32())


class _Shape(NamedTuple):
    tags: list[bytes]
    begin_string: bytes
    msg_type: bytes
    batch: Batch
    plan: Plan
    #: The places of the fields that fill no column, and of those by which messages are framed.
    framing: list[int]


class _Group(NamedTuple):
    """Lines with one number of fields, the last of which ends with a separator or does not."""

    rows: pa.Array
    width: int
    is_ended: bool


class _Found(NamedTuple):
    """Lines that may have a shape: their framing fits and holds, and the tags of their columns are not checked yet."""

    shape: _Shape
    rows: pa.Array
    is_ended: bool


class _Lines(NamedTuple):
    """A block of lines, cut at its separator."""

    separator: bytes
    sizes: pa.Int32Array
    ends: pa.Int64Array
    #: All fields of all lines, and where those of each line begin.
    fields: pa.BinaryArray
    first_fields: pa.Int32Array
    #: The sum of each line's bytes modulo 256; None if nothing is verified.
    sums: pa.UInt8Array | None

    def columns(self, rows: pa.Array, places: Sequence[int]) -> list[pa.BinaryArray]:
        """The fields at these places of these lines."""
        first = self.first_fields.take(rows)
        return self.fields_at([pc.add(first, pa.scalar(place, pa.int32())) for place in places], len(rows))

    def fields_at(self, places: Sequence[pa.Int32Array], count: int) -> list[pa.BinaryArray]:
        """The fields at `count` places for each column; a NULL place gives NULL.

        They are taken some lines at a time, whose fields stay in the processor's cache meanwhile: twice as fast as all at once.
        """
        pieces = []
        for start in range(0, count, _LINES_AT_ONCE):
            size = min(_LINES_AT_ONCE, count - start)
            at = pa.concat_arrays([each.slice(start, size) for each in places])
            taken = pc.take(self.fields, at, boundscheck=False)  # each place is within the fields of its line
            pieces.append([taken.slice(number * size, size) for number in range(len(places))])
        return [pa.concat_arrays(parts) for parts in zip(*pieces, strict=True)] if len(pieces) > 1 else pieces[0]


class Taken(NamedTuple):
    #: By output.
    rows: list[tuple[Batch, Rows]]
    #: The places of the lines that are left, ascending.
    left: pa.Array
    #: The message on each line that was taken.
    messages: pa.StringArray


class WideLane:
    """Takes what it can of a block; `batch_of` says by MsgType which output a message belongs to, `other` has all others."""

    def __init__(self, batch_of: Mapping[bytes, Batch], other: Batch, checksums: str) -> None:
        self._batch_of = batch_of
        self._other = other
        self._checksums = checksums
        self._shapes: dict[tuple[bytes, ...], _Shape | None] = {}

    def take(self, texts: pa.StringArray, ends: pa.Int64Array) -> "Taken":
        """Take what this lane can of some lines, `texts`, which end at `ends`."""
        heads = Counter(
            (head.start(), head[1])
            for head in map(_HEAD.search, texts.slice(0, _LOOKED_AT).view(pa.binary()).to_pylist())
            if head
        )
        if not heads:
            return Taken([], pa.arange(0, len(texts)), texts)
        ((prefix_size, separator), _), *_ = heads.most_common(1)
        messages = _without_prefix(texts, prefix_size) if prefix_size else texts
        rows, places = self._take(messages.view(pa.binary()), ends, separator)
        return Taken(rows, places, messages)

    def _take(
        self, texts: pa.BinaryArray, ends: pa.Int64Array, separator: bytes
    ) -> tuple[list[tuple[Batch, Rows]], pa.Array]:
        fields = pc.split_pattern(texts, separator)
        counts = pc.list_value_length(fields)
        is_ended = pc.ends_with(texts, separator)
        sums = None if self._checksums == "ignore" else _line_sums(texts)
        lines = _Lines(separator, pc.binary_length(texts), ends, fields.values, fields.offsets, sums)
        keys = pc.add(pc.multiply(counts, 2), is_ended.cast(counts.type))
        order = pc.sort_indices(keys)
        sizes = sorted((each["values"], each["counts"]) for each in pc.value_counts(keys).to_pylist())
        groups = []
        start = 0
        for key, size in sizes:
            groups.append(_Group(order.slice(start, size), key // 2 - key % 2, bool(key % 2)))
            start += size
        taken: list[tuple[Batch, Rows]] = []
        left: list[pa.Array] = []
        for _ in range(_RARE_MAX):
            outputs: dict[str, list[_Found]] = {}
            for group in groups:
                for each in self._find_shapes(lines, group, left):
                    outputs.setdefault(each.shape.batch.output, []).append(each)
            groups = []
            for found in outputs.values():
                groups += _take_columns(lines, found, taken)
        left += [group.rows for group in groups]
        places = pa.concat_arrays(left) if left else pa.array([], order.type)
        return taken, places.take(pc.sort_indices(places))

    def _find_shapes(self, lines: _Lines, group: _Group, left: list[pa.Array]) -> list[_Found]:
        """The shapes that the lines of a group may have; the places of lines that have none are added to `left`."""
        found = []
        rows, width = group.rows, group.width
        rare_count = 0
        while width > 3 and len(rows) >= _FEW and rare_count < _RARE_MAX:
            first = lines.first_fields[rows[len(rows) // 2].as_py()].as_py()
            fields = lines.fields.slice(first, width).to_pylist()  # of a line whose shape is likely a common one
            shape = self._shape_of(fields)
            places = list(range(width)) if shape is None else shape.framing
            columns = lines.columns(rows, places)
            fits = _fitting(columns, fields, places)
            mine = rows
            if fits is not None:
                mine = rows.filter(fits)
                rows = rows.filter(pc.invert(fits))
                columns = [column.filter(fits) for column in columns]
            else:
                rows = rows.slice(0, 0)
            rare_count += len(mine) < _FEW
            if shape is None or len(mine) < _FEW:
                left.append(mine)
                continue
            holds = self._holding(lines, shape, mine, columns[1], columns[-1], group.is_ended)
            if holds.true_count < len(mine):
                left.append(mine.filter(pc.invert(holds)))
                mine = mine.filter(holds)
            if len(mine):
                found.append(_Found(shape, mine, group.is_ended))
        if len(rows):
            left.append(rows)
        return found

    def _shape_of(self, fields: list[bytes]) -> _Shape | None:
        """The shape of a line with these fields; None if this lane does not take it."""
        tags = [field.partition(b"=")[0] for field in fields]
        key = (fields[0], fields[2], *tags)
        if key not in self._shapes:
            if len(self._shapes) >= _SHAPES_MAX:
                self._shapes.clear()
            self._shapes[key] = self._new_shape(fields, tags)
        return self._shapes[key]

    def _new_shape(self, fields: list[bytes], tags: list[bytes]) -> _Shape | None:
        msg_type = fields[2][3:]
        is_framed = (
            tags[:3] == [b"8", b"9", b"35"]
            and tags[-1] == b"10"
            and all(tags.count(tag) == 1 for tag in (b"8", b"9", b"35", b"10"))
            and all(tag.isdigit() and tag[:1] != b"0" and len(tag) <= _TAG_BYTES_MAX for tag in tags)
            and all(b"=" in field for field in fields)
        )
        if not is_framed or not msg_type or not _VERSION.fullmatch(fields[0]) or DATA_FIELD_OF.keys() & set(tags):
            return None
        batch = self._batch_of.get(msg_type, self._other)
        plan = Plan(tags, batch.fields)
        if plan.problem:
            return None
        checked_later = {place for place in plan.places.values() if 2 < place < len(tags) - 1}
        framing = [place for place in range(len(tags)) if place not in checked_later]
        return _Shape(tags, fields[0][2:], msg_type, batch, plan, framing)

    def _holding(
        self,
        lines: _Lines,
        shape: _Shape,
        rows: pa.Array,
        body_lengths: pa.BinaryArray,
        checksums: pa.BinaryArray,
        is_ended: bool,
    ) -> pa.BooleanArray:
        """Which messages have a CheckSum of three digits, and a BodyLength and CheckSum that hold if they are verified."""
        checks = _values(checksums, b"10")
        told = pc.index_in(checks, _CHECKSUMS)
        if lines.sums is None:
            return told.is_valid()
        length_texts = _values(body_lengths, b"9")
        separator, separator_sum = lines.separator, byte_sum(lines.separator)
        count = len(shape.tags) - 1  # of separators before CheckSum
        end_size = len(separator) * is_ended
        # The bytes of a message that are not its body, and those by which a separator is longer than SOH.
        beside = len(b"8=") + len(shape.begin_string) + len(b"9=") + 2 * len(separator) + len(b"10=000") + end_size
        beside += (count - 2) * (len(separator) - 1)
        sizes = lines.sizes.take(rows)
        lengths = pc.subtract(pc.subtract(sizes, pc.binary_length(length_texts)), beside)
        is_length = pc.equal(_LENGTHS.take(pc.min_element_wise(lengths, _LENGTH_MAX)), length_texts)
        excess = byte_sum(b"10=") + separator_sum * is_ended + count * (separator_sum - 1)
        own = pc.subtract(lines.sums.take(rows), pa.scalar(excess & 255, pa.uint8()))
        is_sum = pc.equal(own, _SUMS.take(told))
        holds = pc.fill_null(pc.and_(is_length, is_sum), False)
        if self._checksums == "dummies":
            holds = pc.or_(holds, pc.equal(checks, b"000"))
        return holds


def _take_columns(lines: _Lines, found: list[_Found], taken: list[tuple[Batch, Rows]]) -> list[_Group]:
    """The columns of one output's lines, in the order of the file. Returns the lines that do not have the tags of their shape."""
    batch, shapes = found[0].shape.batch, [each.shape for each in found]
    rows = pa.concat_arrays([each.rows for each in found])
    numbers = pa.concat_arrays(
        [pa.repeat(pa.scalar(number, pa.int32()), len(each.rows)) for number, each in enumerate(found)]
    )
    if len(found) > 1:
        order = pc.sort_indices(rows)
        rows, numbers = rows.take(order), numbers.take(order)
    first = lines.first_fields.take(rows)
    constants = {
        "begin_string": [shape.begin_string for shape in shapes],
        "msg_type": [shape.msg_type for shape in shapes],
    }
    columns = {name: pa.array(values, pa.binary()).take(numbers) for name, values in constants.items()}
    at: dict[str, pa.Int32Array] = {}
    for name in (name for name in batch.fields if name not in constants):
        places = [shape.plan.places.get(name) for shape in shapes]
        if len(set(places)) > 1:
            at[name] = pc.add(first, pa.array(places, pa.int32()).take(numbers))
        elif places[0] is not None:
            at[name] = pc.add(first, pa.scalar(places[0], pa.int32()))
    fits = None
    for name, column in zip(at, lines.fields_at([*at.values()], len(rows)) if at else (), strict=True):
        tag = b"%d=" % batch.fields[name]
        is_tag = pc.starts_with(column, tag)
        if is_tag.false_count:
            is_tag = pc.fill_null(is_tag, True)
            fits = is_tag if fits is None else pc.and_(fits, is_tag)
        columns[name] = pc.binary_slice(column, len(tag), _STOP)
    others = []
    if fits is not None:
        for number, each in enumerate(found):
            mine = rows.filter(pc.and_not(pc.equal(numbers, number), fits))
            if len(mine):
                others.append(_Group(mine, len(each.shape.tags), each.is_ended))
        rows = rows.filter(fits)
        columns = {name: column.filter(fits) for name, column in columns.items()}
    if len(rows):
        cells = {name: column.view(pa.string()) for name, column in columns.items()}
        types = {shape.msg_type for shape in shapes}
        cells = batch.finished(cells, len(rows), types.pop() if len(types) == 1 else None)
        taken.append((batch, Rows(cells, rows.cast(pa.int64()), lines.ends.take(rows))))
    return others


def _fitting(columns: list[pa.BinaryArray], fields: list[bytes], places: list[int]) -> pa.BooleanArray | None:
    """Which lines have the shape of the line with these fields, as far as these places tell; None if all have."""
    fits = None
    for place, column in zip(places, columns, strict=True):
        field = fields[place]
        is_whole = place in (0, 2)  # BeginString and MsgType
        each = pc.equal(column, field) if is_whole else pc.starts_with(column, field[: field.find(b"=") + 1])
        if each.false_count:
            fits = each if fits is None else pc.and_(fits, each)
    return fits


def _values(column: pa.BinaryArray, tag: bytes) -> pa.BinaryArray:
    return pc.binary_slice(column, len(tag) + 1, _STOP)


def _line_sums(texts: pa.BinaryArray) -> pa.UInt8Array:
    """The sum of each text's bytes modulo 256, as the difference of two running sums."""
    _, offsets, data = texts.buffers()
    places = pa.Array.from_buffers(pa.int32(), len(texts) + 1, [None, offsets], offset=texts.offset)
    start, stop = places[0].as_py(), places[len(texts)].as_py()
    is_short = (pc.max(pc.binary_length(texts)).as_py() or 0) <= _WORDS_LINE_MAX
    if start % 8 == 0 and is_short and len(texts) and len(texts[-1].as_buffer()) >= 8:
        places = pc.subtract(places, pa.scalar(start, pa.int32())).slice(0, len(texts))
        last = pa.array([byte_sum(texts[-1].as_py()) & 255], pa.uint8())
        return pa.concat_arrays([_sums_by_words(data.slice(start, stop - start), places), last])
    given = pa.Array.from_buffers(pa.uint8(), stop - start, [None, data], offset=start)
    running = pa.concat_arrays([pa.array([0], pa.uint8()), pc.cumulative_sum(given)])  # wraps around
    upto = running.take(pc.subtract(places, start))
    return pc.subtract(upto.slice(1), upto.slice(0, len(texts)))


def _sums_by_words(data: pa.Buffer, places: pa.Int32Array) -> pa.UInt8Array:
    """The same between these places, eight bytes at a time; the last place is in a whole word.

    The even and the odd bytes of a word are summed apart, each in a lane of 16 bits, in which a short line cannot overflow.
    Running sums do, but the difference of two is right, because words wrap around.
    """
    words = pa.Array.from_buffers(pa.uint64(), data.size // 8, [None, data])
    place, beside = pc.shift_right(places, _THREE), pc.bit_wise_and(places, _SEVEN)
    begun = pc.bit_wise_and(words.take(place), _FIRST_BYTES.take(beside))
    all_bytes = _sums_upto(words, place, begun)
    even = _sums_upto(pc.bit_wise_and(words, _LANES), place, pc.bit_wise_and(begun, _LANES))
    odd = pc.shift_right(pc.subtract(all_bytes, even), pa.scalar(8, pa.uint64()))
    sums = pc.bit_wise_and(pc.add(even, odd), _LANES)
    for half in (32, 16):
        sums = pc.add(sums, pc.shift_right(sums, pa.scalar(half, pa.uint64())))
    return pc.bit_wise_and(sums, pa.scalar(255, pa.uint64())).cast(pa.uint8())


def _sums_upto(words: pa.UInt64Array, place: pa.Int32Array, begun: pa.UInt64Array) -> pa.UInt64Array:
    """The sum of the words between each place and the next, of which `begun` has the beginning of the word at each place."""
    running = pc.cumulative_sum(words)  # wraps around
    upto = pc.add(pc.subtract(running.take(place), words.take(place)), begun)
    return pc.subtract(upto.slice(1), upto.slice(0, len(upto) - 1))


def _without_prefix(texts: pa.StringArray, size: int) -> pa.StringArray:
    """Lines without a prefix of this size; empty where the first message begins elsewhere, or where the line is a comment."""
    is_there = pc.equal(pc.find_substring(texts, "8=FIX"), size)
    is_comment = pc.starts_with(pc.ascii_ltrim_whitespace(texts), "#")
    rest = pc.binary_slice(texts.view(pa.binary()), size, _STOP).view(pa.string())
    return pc.if_else(pc.and_not(is_there, is_comment), rest, "")


def in_file_order(
    taken: Sequence[tuple[Batch, Rows]], messages: pa.StringArray | None
) -> tuple[list[Group], pa.Int64Array, pa.Int64Array]:
    """Rows of a block by output, each output in the order of the file, with the line and the end of every row.

    `messages` has the text of each line that is a message and nothing else.
    """
    outputs: dict[str, tuple[Batch, list[Rows]]] = {}
    for batch, rows in taken:
        outputs.setdefault(batch.output, (batch, []))[1].append(rows)
    made = [(batch.output, _ordered(batch, pieces, messages)) for batch, pieces in outputs.values()]
    if len(made) == 1:
        ((output, (columns, lines, ends)),) = made
        return [Group(output, columns, pa.arange(0, len(lines)))], lines, ends
    if not made:
        nothing = pa.array([], pa.int64())
        return [], nothing, nothing
    all_lines = pa.concat_arrays([lines for _, (_, lines, _) in made])
    all_ends = pa.concat_arrays([ends for _, (_, _, ends) in made])
    order = pc.sort_indices(all_ends if any(RAW in columns for _, (columns, _, _) in made) else all_lines)
    places = pc.inverse_permutation(order.cast(pa.int64()))
    groups, start = [], 0
    for output, (columns, lines, _) in made:
        groups.append(Group(output, columns, places.slice(start, len(lines))))
        start += len(lines)
    return groups, all_lines.take(order), all_ends.take(order)


def _ordered(
    batch: Batch, pieces: list[Rows], messages: pa.StringArray | None
) -> tuple[dict[str, pa.Array], pa.Int64Array, pa.Int64Array]:
    """The columns of one output, with the line and the end of each row."""
    lines = pa.concat_arrays([each.lines for each in pieces])
    ends = pa.concat_arrays([each.ends for each in pieces])
    order = pc.sort_indices(lines) if len(pieces) > 1 else None  # stable: messages of one line stay in their order
    count = len(lines)

    def joined(parts: list[pa.Array | None], kind: pa.DataType) -> pa.Array:
        arrays = [
            pa.nulls(len(piece.lines), kind) if each is None else each
            for piece, each in zip(pieces, parts, strict=True)
        ]
        column = arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)
        return column if order is None else column.take(order)

    columns: dict[str, pa.Array] = {}
    for name in ("event", *batch.fields):
        parts = [piece.cells.get(name) for piece in pieces]
        if any(part is not None for part in parts):
            columns[name] = joined(parts, pa.string())
        elif name != "event":
            columns[name] = pa.nulls(count, pa.string())
    if order is not None:
        lines, ends = lines.take(order), ends.take(order)
    if all(piece.parts is None for piece in pieces):
        assert messages is not None
        columns["message_index"] = pa.repeat(pa.scalar(0, pa.int64()), count)
        columns["raw_tags"] = messages if count == len(messages) else messages.take(lines)
        return columns, lines, ends
    indexes, texts, raws = [], [], []
    for piece in pieces:
        if piece.parts is not None:
            indexes.append(piece.parts.message_indexes)
            texts.append(piece.parts.texts)
            raws.append(piece.parts.raws)
        else:
            assert messages is not None
            indexes.append(pa.repeat(pa.scalar(0, pa.int64()), len(piece.lines)))
            texts.append(messages.take(piece.lines))
            raws.append(None)
    columns["message_index"] = joined(indexes, pa.int64())
    columns["raw_tags"] = joined(texts, pa.string())
    raw = joined(raws, pa.string())
    if raw.null_count < count:
        columns[RAW] = raw
    return columns, lines, ends
