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
    msg_type: bytes
    batch: Batch
    plan: Plan


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

    def columns(self, rows: pa.Array, width: int) -> list[pa.BinaryArray]:
        """Field by field of these lines, which have `width` fields each."""
        first, count = self.first_fields.take(rows), len(rows)
        places = [pc.add(first, pa.scalar(place, pa.int32())) for place in range(width)]
        fields = self.fields.take(pa.concat_arrays(places))  # in one go: the fields of a line lie close together
        return [fields.slice(place * count, count) for place in range(width)]


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
        taken: list[tuple[Batch, Rows]] = []
        left = []
        start = 0
        for key, size in sizes:
            group = order.slice(start, size)
            start += size
            left += self._take_group(lines, group, key // 2 - key % 2, bool(key % 2), taken)
        places = pa.concat_arrays(left) if left else pa.array([], order.type)
        return taken, places.take(pc.sort_indices(places))

    def _take_group(
        self, lines: _Lines, rows: pa.Array, width: int, is_ended: bool, taken: list[tuple[Batch, Rows]]
    ) -> list[pa.Array]:
        """Lines with one number of fields. Returns the places of those that are left."""
        left = []
        rare_count = 0
        while width > 3 and len(rows) >= _FEW and rare_count < _RARE_MAX:
            columns = lines.columns(rows, width)
            fields = [
                column[len(rows) // 2].as_py() for column in columns
            ]  # of a line whose shape is likely a common one
            shape = self._shape_of(fields)
            fits = _fitting(columns, fields)
            mine = rows
            if fits is not None:
                mine = rows.filter(fits)
                rows = rows.filter(pc.invert(fits))
            else:
                rows = rows.slice(0, 0)
            rare_count += len(mine) < _FEW
            if shape is None or len(mine) < _FEW:
                left.append(mine)
                continue
            if fits is not None:
                columns = lines.columns(mine, width)
            bad = self._take_shape(lines, shape, mine, columns, is_ended, taken)
            if bad is not None:
                left.append(bad)
        if len(rows):
            left.append(rows)
        return left

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
        return None if plan.problem else _Shape(tags, msg_type, batch, plan)

    def _take_shape(
        self,
        lines: _Lines,
        shape: _Shape,
        rows: pa.Array,
        columns: list[pa.BinaryArray],
        is_ended: bool,
        taken: list[tuple[Batch, Rows]],
    ) -> pa.Array | None:
        """Messages of one shape. Returns the places of those whose BodyLength or CheckSum may not hold, if there are any."""
        holds = self._holding(lines, shape, rows, columns, is_ended)
        bad = None
        if holds.true_count < len(rows):
            bad = rows.filter(pc.invert(holds))
            if len(bad) == len(rows):
                return bad
            rows = rows.filter(holds)
        cells = {}
        for name, place in shape.plan.places.items():
            values = _values(columns[place], shape.tags[place]).view(pa.string())
            cells[name] = values if bad is None else values.filter(holds)
        cells = shape.batch.finished(cells, len(rows), shape.msg_type)
        taken.append((shape.batch, Rows(cells, rows.cast(pa.int64()), lines.ends.take(rows))))
        return bad

    def _holding(
        self, lines: _Lines, shape: _Shape, rows: pa.Array, columns: list[pa.BinaryArray], is_ended: bool
    ) -> pa.BooleanArray:
        """Which messages have a CheckSum of three digits, and a BodyLength and CheckSum that hold if they are verified."""
        checks = _values(columns[-1], b"10")
        told = pc.index_in(checks, _CHECKSUMS)
        if lines.sums is None:
            return told.is_valid()
        length_texts = _values(columns[1], b"9")
        separator, separator_sum = lines.separator, byte_sum(lines.separator)
        count = len(shape.tags) - 1  # of separators before CheckSum
        end_size = len(separator) * is_ended
        # The bytes of a message that are not its body, and those by which a separator is longer than SOH.
        beside = len(columns[0][0].as_buffer()) + len(b"9=") + 2 * len(separator) + len(b"10=000") + end_size
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


def _fitting(columns: list[pa.BinaryArray], fields: list[bytes]) -> pa.BooleanArray | None:
    """Which lines have the shape of the line with these fields; None if all have."""
    fits = None
    for place, (column, field) in enumerate(zip(columns, fields, strict=True)):
        is_whole = place in (0, 2)  # BeginString and MsgType
        each = pc.equal(column, field) if is_whole else pc.starts_with(column, field[: field.find(b"=") + 1])
        if each.false_count:
            fits = each if fits is None else pc.and_(fits, each)
    return fits


def _values(column: pa.BinaryArray, tag: bytes) -> pa.BinaryArray:
    return pc.binary_slice(column, len(tag) + 1, 1 << 30)  # without `stop`, pyarrow 26 fails on long columns


def _line_sums(texts: pa.BinaryArray) -> pa.UInt8Array:
    """The sum of each text's bytes modulo 256, as the difference of two running sums."""
    _, offsets, data = texts.buffers()
    places = pa.Array.from_buffers(pa.int32(), len(texts) + 1, [None, offsets], offset=texts.offset)
    start, stop = places[0].as_py(), places[len(texts)].as_py()
    if start % 8 == 0 and (pc.max(pc.binary_length(texts)).as_py() or 0) <= _WORDS_LINE_MAX:
        return _sums_by_words(data.slice(start, stop - start), pc.subtract(places, pa.scalar(start, pa.int32())))
    given = pa.Array.from_buffers(pa.uint8(), stop - start, [None, data], offset=start)
    running = pa.concat_arrays([pa.array([0], pa.uint8()), pc.cumulative_sum(given)])  # wraps around
    upto = running.take(pc.subtract(places, start))
    return pc.subtract(upto.slice(1), upto.slice(0, len(texts)))


def _sums_by_words(data: pa.Buffer, places: pa.Int32Array) -> pa.UInt8Array:
    """The same, eight bytes at a time: a word of four lanes of 16 bits, in which a short line cannot overflow.

    The running sum itself may, but the difference of two is right, because words wrap around.
    """
    count = data.size // 8
    words = pa.Array.from_buffers(pa.uint64(), count, [None, data])
    words = pa.concat_arrays(
        [words, pa.array([int.from_bytes(data.slice(count * 8).to_pybytes(), "little")], pa.uint64())]
    )
    lanes = _lanes(words)
    place, beside = pc.shift_right(places, _THREE), pc.bit_wise_and(places, _SEVEN)
    before = pc.subtract(pc.cumulative_sum(lanes).take(place), lanes.take(place))
    begun = _lanes(pc.bit_wise_and(words.take(place), _FIRST_BYTES.take(beside)))
    upto = pc.add(before, begun)
    sums = pc.bit_wise_and(pc.subtract(upto.slice(1), upto.slice(0, len(upto) - 1)), _LANES)
    for half in (32, 16):
        sums = pc.add(sums, pc.shift_right(sums, pa.scalar(half, pa.uint64())))
    return pc.bit_wise_and(sums, pa.scalar(255, pa.uint64())).cast(pa.uint8())


def _lanes(words: pa.UInt64Array) -> pa.UInt64Array:
    """The sums of neighbouring bytes."""
    odd = pc.bit_wise_and(pc.shift_right(words, pa.scalar(8, pa.uint64())), _LANES)
    return pc.add(pc.bit_wise_and(words, _LANES), odd)


def _without_prefix(texts: pa.StringArray, size: int) -> pa.StringArray:
    """Lines without a prefix of this size; empty where the first message begins elsewhere, or where the line is a comment."""
    is_there = pc.equal(pc.find_substring(texts, "8=FIX"), size)
    is_comment = pc.starts_with(pc.ascii_ltrim_whitespace(texts), "#")
    rest = pc.binary_slice(texts.view(pa.binary()), size, 1 << 30).view(pa.string())
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
