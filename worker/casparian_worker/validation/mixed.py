"""Columns with values of several kinds, as `casparian_shim.frames.kinds` defines them, divided by kind.

Each kind becomes the typed array that it would have been alone in a column, so that every value is judged and rendered by the
same rules as in a uniform column. Whole arrays are processed at a time; lists and dicts are read one by one, since Arrow has no
JSON kernel. Data that violates the definition is refused, never guessed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.arrow.kinds import iso_text
from casparian_shim.frames.kinds import MIXED_FIELDS, MIXED_METADATA, NESTED_DEPTH_MAX, ValueKind
from casparian_shim.safe import shortest_decimal
from casparian_worker.validation.cast import ArrowRefused, rows_of

MIXED_TYPE = pa.struct([(name, getattr(pa, kind)()) for name, kind in MIXED_FIELDS])
_LONGEST_COUNT_CHARS = 20
_SURE_DIGITS = 18
_SHOWN_DIGITS = 40
_DAY_MICROSECONDS = 86_400_000_000
_NESTED = (ValueKind.LIST, ValueKind.DICT)
Leaf = tuple[ValueKind, Any]


@dataclass(frozen=True, slots=True)
class Mixed:
    """The values of one column with their kinds; both child arrays have the same offset."""

    kinds: pa.UInt8Array
    values: pa.BinaryArray

    @classmethod
    def of(cls, array: pa.StructArray) -> Mixed:
        """The column of a marked field."""
        kinds, values = array.flatten()
        return cls(kinds, values)

    @classmethod
    def of_leaves(cls, leaves: Sequence[Leaf]) -> Mixed:
        """The values inside a list or dict."""
        kinds = pa.array([int(kind) for kind, _ in leaves], pa.uint8())
        return cls(kinds, pa.array([_payload(kind, value) for kind, value in leaves], pa.binary()))

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def null_count(self) -> int:
        return int(self.values.null_count)

    def is_null(self) -> pa.BooleanArray:
        return self.values.is_null()

    def take(self, rows: pa.UInt64Array) -> Mixed:
        return Mixed(self.kinds.take(rows), self.values.take(rows))

    def without_texts(self, texts: pa.StringArray) -> Mixed:
        """The values, with NULL where a text (not a value of another kind) is one of these."""
        is_text = pc.equal(self.kinds, pa.scalar(int(ValueKind.TEXT), pa.uint8()))
        is_gone = pc.and_(is_text, pc.is_in(self.values, texts.cast(pa.binary())))
        null = pa.scalar(int(ValueKind.NULL), pa.uint8())
        return Mixed(pc.if_else(is_gone, null, self.kinds), pc.if_else(is_gone, None, self.values))

    def parts(self) -> Iterator[Part]:
        """The rows of each kind that occurs, in the order of kinds. Together they are all rows."""
        for number in sorted(pc.unique(self.kinds).to_pylist()):
            kind = ValueKind(number)
            rows = rows_of(pc.equal(self.kinds, pa.scalar(number, pa.uint8())))
            yield from _typed(kind, rows, self.values.take(rows))


@dataclass(frozen=True, slots=True)
class Part:
    """Values of one kind. `array` is typed, or if no Arrow type holds them all (`is_typed` is false), their texts."""

    kind: ValueKind
    rows: pa.UInt64Array
    array: pa.Array
    is_typed: bool = True


def is_mixed(field: pa.Field) -> bool:
    """Whether a field of a guest's schema is marked as mixed."""
    return bool(field.metadata) and MIXED_METADATA.items() <= field.metadata.items()


def check_mixed(name: str, array: pa.StructArray) -> None:
    """Refuse unknown kinds, and kinds without their values."""
    kinds, values = array.flatten()
    if array.null_count or kinds.null_count:
        raise ArrowRefused(f"column {name[:80]!r} has a value without a kind")
    if len(kinds) and pc.max(kinds).as_py() > max(ValueKind):
        raise ArrowRefused(f"column {name[:80]!r} has a kind that does not exist")
    is_null = pc.equal(kinds, pa.scalar(int(ValueKind.NULL), pa.uint8()))
    if pc.not_equal(is_null, values.is_null()).true_count:
        raise ArrowRefused(f"column {name[:80]!r} has a kind that does not match its values")


def gather(parts: Sequence[tuple[pa.UInt64Array, pa.Array]], target: pa.DataType) -> pa.Array:
    """One array from the rows and values of all parts."""
    if not parts:
        return pa.nulls(0, target)
    rows = pa.concat_arrays([rows for rows, _ in parts])
    return pa.concat_arrays([values for _, values in parts]).take(pc.sort_indices(rows))


def mixed_text(mixed: Mixed, as_text: Callable[[pa.Array], pa.StringArray]) -> pa.StringArray:
    """Every value as the quarantine stores it; `as_text` renders the typed ones."""
    texts = []
    for part in mixed.parts():
        text = as_text(part.array) if part.is_typed else part.array
        if part.kind in _NESTED:
            text = pa.array([_json_text(part.kind, each) for each in part.array.to_pylist()], pa.string())
        elif part.kind is ValueKind.DECIMAL:
            text = pa.array([_decimal_text(each) for each in part.array.to_pylist()], pa.string())
        elif part.kind in (ValueKind.DURATION, ValueKind.DURATION_NS) and not part.is_typed:
            text = pa.array([iso_text(part.kind, int(each)) for each in part.array.to_pylist()], pa.string())
        texts.append((part.rows, text))
    return gather(texts, pa.string())


def read_list(payload: bytes) -> list[Leaf]:
    """The items of one `LIST`."""
    return _leaves(_parsed(payload, list))


def read_dict(payload: bytes) -> dict[str, Leaf]:
    """The fields of one `DICT`."""
    fields = _parsed(payload, dict)
    return dict(zip(fields, _leaves(list(fields.values())), strict=True))


def _typed(kind: ValueKind, rows: pa.UInt64Array, values: pa.BinaryArray) -> Iterator[Part]:
    try:
        if kind is ValueKind.NULL:
            yield Part(kind, rows, pa.nulls(len(rows)))
        elif kind is ValueKind.BYTES:
            yield Part(kind, rows, values)
        elif kind in _NESTED:
            yield Part(kind, rows, values, is_typed=False)
        elif kind in (ValueKind.INT, ValueKind.DURATION, ValueKind.DURATION_NS):
            yield from _counts(kind, rows, _digits(values))
        else:
            yield Part(kind, rows, _scalars(kind, values), is_typed=kind not in (ValueKind.DECIMAL, ValueKind.OTHER))
    except pa.ArrowException as refusal:
        raise ArrowRefused(f"a value does not match its kind {kind.name} ({str(refusal)[:120]})") from refusal


def _counts(kind: ValueKind, rows: pa.UInt64Array, digits: pa.StringArray) -> Iterator[Part]:
    """Integers as int64 where they surely fit; longer ones stay digits."""
    is_long = pc.greater(pc.binary_length(digits), _SURE_DIGITS)
    short, long = rows_of(pc.invert(is_long)), rows_of(is_long)
    if len(short):
        counts = digits.take(short).cast(pa.int64())
        units = {ValueKind.DURATION: pa.duration("us"), ValueKind.DURATION_NS: pa.duration("ns")}
        yield Part(kind, rows.take(short), counts.cast(units[kind]) if kind in units else counts)
    if len(long):
        yield Part(kind, rows.take(long), digits.take(long), is_typed=False)


def _scalars(kind: ValueKind, values: pa.BinaryArray) -> pa.Array:
    texts = values.cast(pa.string())
    match kind:
        case ValueKind.TEXT | ValueKind.OTHER | ValueKind.DECIMAL:
            return texts
        case ValueKind.BOOL:
            is_true = pc.equal(texts, "true")
            _require(pc.or_(is_true, pc.equal(texts, "false")), kind)
            return is_true
        case ValueKind.FLOAT:
            return texts.cast(pa.float64())
        case ValueKind.FLOAT32:
            return texts.cast(pa.float32())
    counts = _digits(values).cast(pa.int64())
    if kind is ValueKind.TIME:
        _require(pc.and_(pc.greater_equal(counts, 0), pc.less(counts, _DAY_MICROSECONDS)), kind)
    return counts.cast(pa.int32()).cast(pa.date32()) if kind is ValueKind.DATE else counts.cast(_COUNTED[kind])


_COUNTED = {
    ValueKind.DATETIME: pa.timestamp("us"),
    ValueKind.DATETIME_NS: pa.timestamp("ns"),
    ValueKind.INSTANT: pa.timestamp("us", "UTC"),
    ValueKind.INSTANT_NS: pa.timestamp("ns", "UTC"),
    ValueKind.TIME: pa.time64("us"),
}


def _digits(values: pa.BinaryArray) -> pa.StringArray:
    """Check that the values are decimal digits, since pyarrow's cast also accepts hexadecimal."""
    texts = values.cast(pa.string())
    _require(pc.match_substring_regex(texts, "^-?[0-9]+$"), ValueKind.INT)
    return texts


def _require(holds: pa.BooleanArray, kind: ValueKind) -> None:
    if holds.true_count < len(holds):
        raise ArrowRefused(f"a value does not match its kind {kind.name}")


def _parsed(payload: bytes, kind: type[Any]) -> Any:
    try:
        tree = json.loads(payload)
    except (ValueError, RecursionError) as refusal:
        raise ArrowRefused("a list or dict of a mixed column is not valid JSON") from refusal
    if type(tree) is not kind:
        raise ArrowRefused("a value in a mixed column is not the list or dict that its kind says")
    return tree


def _leaves(pairs: Sequence[Any]) -> list[Leaf]:
    return [_leaf(pair) for pair in pairs]


def _leaf(pair: Any) -> Leaf:
    match pair:
        case [int() as number, value] if type(number) is int and 0 <= number <= max(ValueKind):
            kind = ValueKind(number)
            wanted = {ValueKind.NULL: type(None), ValueKind.LIST: list, ValueKind.DICT: dict}.get(kind, str)
            if type(value) is wanted:
                return kind, value
    raise ArrowRefused("a value inside a list or dict is not of its kind")


def _payload(kind: ValueKind, value: Any) -> bytes | None:
    """A value inside a list or dict, in the form it would have in a column."""
    try:
        if kind is ValueKind.BYTES:
            return bytes.fromhex(value)
        if kind in _NESTED:
            return json.dumps(value).encode()
        return None if value is None else str(value).encode()
    except ValueError as refusal:  # not hexadecimal, or a lone surrogate
        raise ArrowRefused(f"a value inside a list or dict does not match its kind {kind.name}") from refusal


def _json_text(kind: ValueKind, payload: bytes) -> str:
    """A list or dict as plain JSON; leaves that JSON lacks are rendered as in a column."""
    read = read_list if kind is ValueKind.LIST else read_dict
    leaves = read(payload)
    plain = (
        [_json_value(leaf) for leaf in leaves]
        if isinstance(leaves, list)
        else {name: _json_value(leaf) for name, leaf in leaves.items()}
    )
    return json.dumps(plain, ensure_ascii=False)


def _json_value(leaf: Leaf, depth: int = 1) -> Any:
    kind, value = leaf
    if kind in _NESTED and depth > NESTED_DEPTH_MAX:
        raise ArrowRefused("a list or dict of a mixed column nests too deep")
    match kind:
        case ValueKind.LIST:
            return [_json_value(each, depth + 1) for each in _leaves(value)]
        case ValueKind.DICT:
            return {name: _json_value(_leaf(each), depth + 1) for name, each in value.items()}
        case ValueKind.BOOL:
            return value == "true"
        case ValueKind.DECIMAL:
            return _decimal_text(value)
    try:
        if kind is ValueKind.INT:
            return int(value) if len(value) <= _SHOWN_DIGITS else value
        if kind in (ValueKind.FLOAT, ValueKind.FLOAT32):
            number = float(value)
            return number if number - number == 0 else value
        return iso_text(kind, int(value)) if kind in _TIMES and len(value) <= _LONGEST_COUNT_CHARS + 4 else value
    except (ValueError, OverflowError) as refusal:
        raise ArrowRefused(f"a value inside a list or dict does not match its kind {kind.name}") from refusal


_TIMES = frozenset({*_COUNTED, ValueKind.DATE, ValueKind.DURATION, ValueKind.DURATION_NS})


def _decimal_text(text: str) -> str:
    try:
        return shortest_decimal(Decimal(text))
    except InvalidOperation:
        return text
