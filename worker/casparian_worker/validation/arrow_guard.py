"""Arrow from a guest, accepted only if it is safe to use.

A guest may send only plain types, in which each value takes room in the message, so sizes cannot lie. Everything is checked
before it is used: the kind of message; compression, row counts and nodes in the header (`packing.read_batch_header`); where each
buffer is, and that it is long enough for its rows (`_check_layout`); the size of a batch (`ValidationLimits`); then what is in
every buffer (`validate(full=True)`). Arrow does not check the layout itself: it reads the first offset of an array without rows,
which a message may leave out, and ends the process.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casparian_protocol.contract import FOR_PARSERS, is_reserved
from casparian_protocol.contract.model import MAX_COLUMNS_COUNT
from casparian_protocol.contract.types import MAX_COLUMN_NAME_CHARS
from casparian_protocol.packing import BatchHeader, MalformedMessage, read_batch_header
from casparian_shim.frames.kinds import MIXED_METADATA
from casparian_worker.validation.cast import ArrowRefused, ColumnTwice, LimitExceeded, ReservedColumn
from casparian_worker.validation.mixed import MIXED_TYPE, check_mixed, is_mixed

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ValidationLimits:
    """Limits; an output that exceeds one fails with LIMIT_EXCEEDED."""

    cell_bytes: int = 16 * MIB
    columns_count: int = MAX_COLUMNS_COUNT
    batch_rows_count: int = 4 * MIB
    batch_bytes: int = 256 * MIB


def check_batch(batch: pa.RecordBatch, limits: ValidationLimits) -> None:
    """Check the numbers of columns, rows and bytes, and the longest cell."""
    _check_limit("The output's number of columns", batch.num_columns, limits.columns_count)
    _check_limit("The batch's number of rows", batch.num_rows, limits.batch_rows_count)
    _check_limit("The batch's bytes", batch.nbytes, limits.batch_bytes)
    if batch.nbytes <= limits.cell_bytes:
        return
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.nbytes > limits.cell_bytes:
            _check_limit(
                f"The longest cell of column {name[:80]!r}, in bytes", _longest_cell(column), limits.cell_bytes
            )


def _longest_cell(column: pa.Array) -> int:
    came = column.type
    if came.equals(MIXED_TYPE):
        column = column.flatten()[1]
        came = column.type
    if pt.is_nested(came):  # a nested value is measured as a whole
        return max((column.slice(row, 1).nbytes for row in range(len(column))), default=0)
    if not any(test(came) for test in (pt.is_string, pt.is_large_string, pt.is_binary, pt.is_large_binary)):
        return 0
    return pc.max(pc.binary_length(column)).as_py() or 0


def _check_limit(what: str, actual: int, limit: int) -> None:
    if actual > limit:
        raise LimitExceeded(what, actual, limit)


MAX_DEPTH = 16
#: Schema messages up to this size are remembered.
_SMALL_SCHEMA_BYTES = 8 * 1024
#: Texts are looked through in pieces that stay in the processor's cache.
_PIECE_BYTES = 128 * 1024
MAX_DECIMAL_DIGITS = 38
_EXTENSION_KEY = b"ARROW:extension:name"
_LEAVES = (
    pt.is_boolean,
    pt.is_integer,
    pt.is_floating,
    pt.is_decimal128,
    pt.is_date,
    pt.is_time,
    pt.is_timestamp,
    pt.is_duration,
    pt.is_string,
    pt.is_binary,
)
#: names of a `rejects` stream that parsers themselves may not use
REJECT_NAMES = frozenset({"_cf_reject_reason", "_cf_output_row_index"})


def read_schema(
    message: bytes | memoryview, limits: ValidationLimits | None = None, *, is_rejects: bool = False
) -> pa.Schema:
    """The schema in a guest's schema message. `is_rejects` marks a stream of rows that the parser itself rejected."""
    if len(message) <= _SMALL_SCHEMA_BYTES:  # the same for each file of a parser
        return _read_again(bytes(message), limits, is_rejects)
    return _read_schema(message, limits, is_rejects)


@functools.lru_cache(maxsize=64)
def _read_again(message: bytes, limits: ValidationLimits | None, is_rejects: bool) -> pa.Schema:
    return _read_schema(message, limits, is_rejects)


def _read_schema(message: bytes | memoryview, limits: ValidationLimits | None, is_rejects: bool) -> pa.Schema:
    try:
        return _checked_schema(_schema_of(message), limits or ValidationLimits(), is_rejects)
    except UnicodeDecodeError as refusal:
        raise ArrowRefused("the name of a column or field is not UTF-8") from refusal


def _checked_schema(schema: pa.Schema, limits: ValidationLimits, is_rejects: bool) -> pa.Schema:
    if len(schema) > limits.columns_count:
        raise LimitExceeded("The output's number of columns", len(schema), limits.columns_count)
    allowed = FOR_PARSERS | REJECT_NAMES if is_rejects else FOR_PARSERS
    if len(set(schema.names)) < len(schema):
        raise ColumnTwice(next(name for place, name in enumerate(schema.names) if name in schema.names[:place]))
    for field in schema:
        if not field.name or len(field.name) > MAX_COLUMN_NAME_CHARS:
            raise ArrowRefused("a column's name is empty or too long")
        if is_reserved(field.name) and field.name not in allowed:
            raise ReservedColumn(field.name)
        for part in _parts(field):
            _check_field(field.name, part)
        if is_mixed(field) and (is_rejects or not field.type.equals(MIXED_TYPE)):
            raise ArrowRefused(f"column {field.name[:80]!r} is marked as mixed, and its type is {str(field.type)[:80]}")
    # Of the metadata that a guest may send, only the mark of mixed columns is kept.
    return pa.schema(
        [each.with_metadata(MIXED_METADATA) if is_mixed(each) else each.remove_metadata() for each in schema]
    )


def read_batch(
    message: bytes | memoryview | pa.Buffer, schema: pa.Schema, limits: ValidationLimits | None = None
) -> pa.RecordBatch:
    """The batch in a guest's record-batch message, fully validated; it uses the message's memory."""
    limits = limits or ValidationLimits()
    try:
        opened = pa.ipc.read_message(pa.py_buffer(message) if not isinstance(message, pa.Buffer) else message)
        if opened.type != "record batch":
            raise ArrowRefused(f"a {opened.type} message where a record batch is expected")
        header = read_batch_header(memoryview(opened.metadata))
        if header.is_compressed:
            raise ArrowRefused("a compressed body")
        if header.has_variadic_buffers:
            raise ArrowRefused("variadic buffers")
        if header.rows_count > limits.batch_rows_count:
            raise LimitExceeded("The batch's number of rows", header.rows_count, limits.batch_rows_count)
        _check_body(header.most_node_rows_count, opened)
        _check_layout(header, opened, schema)
        batch = pa.ipc.read_record_batch(opened, schema)
        batch.validate()
        for field, column in zip(schema, batch.columns, strict=True):
            _validate_values(column)
            if is_mixed(field):
                check_mixed(field.name, column)
    except MalformedMessage as refusal:
        raise ArrowRefused(refusal.reason) from refusal
    except (pa.ArrowException, OSError, ValueError, IndexError, EOFError) as refusal:
        raise ArrowRefused(f"the batch is broken ({str(refusal)[:200]})") from refusal
    if batch.nbytes > limits.batch_bytes:
        raise LimitExceeded("The batch's bytes", batch.nbytes, limits.batch_bytes)
    return batch


def _validate_values(column: pa.Array) -> None:
    """As `validate(full=True)`, which reads each text. If all bytes are ASCII, as most are, only offsets are checked so."""
    if pt.is_string(column.type) and _is_ascii(column.buffers()[2]):
        column = pa.Array.from_buffers(pa.binary(), len(column), column.buffers(), column.null_count, column.offset)
    column.validate(full=True)


def _is_ascii(data: pa.Buffer | None) -> bool:
    view = memoryview(data) if data is not None else memoryview(b"")
    return all(bytes(view[at : at + _PIECE_BYTES]).isascii() for at in range(0, len(view), _PIECE_BYTES))


def _schema_of(message: bytes | memoryview) -> pa.Schema:
    try:
        opened = pa.ipc.read_message(pa.py_buffer(message))
        if opened.type != "schema":
            raise ArrowRefused(f"a {opened.type} message where a schema is expected")
        return pa.ipc.read_schema(opened)
    except (pa.ArrowException, OSError, ValueError, EOFError) as refusal:
        raise ArrowRefused(f"the schema is broken ({str(refusal)[:200]})") from refusal


def _check_body(most_rows: int, message: pa.ipc.Message) -> None:
    """Every allowed type takes at least a bit per row, so more rows than the body has bits are a lie."""
    body_bytes = message.body.size if message.body is not None else 0
    if most_rows > body_bytes * 8:
        raise ArrowRefused(f"{most_rows:,} rows in a body of {body_bytes:,} bytes")


def _check_layout(header: BatchHeader, message: pa.ipc.Message, schema: pa.Schema) -> None:
    """The arrays and buffers are those of the schema; buffers follow one another in the body, and none is too short."""
    layout = _layout_of(schema)
    if len(header.nodes) != len(layout) or len(header.buffers) != sum(array.buffer_count for array in layout):
        raise ArrowRefused("other arrays or buffers than its schema has")
    body = message.body
    if body is not None and body.size and body.address % _ALIGNED_BYTES:
        raise ArrowRefused("a body that is not aligned")
    end = 0
    for offset, length in header.buffers:
        if offset < end or offset % _ALIGNED_BYTES:
            raise ArrowRefused("buffers that overlap or are not aligned")
        end = offset + length
    if end > (body.size if body is not None else 0):
        raise ArrowRefused("a buffer outside of the body")
    data = memoryview(body) if body is not None else memoryview(b"")
    buffers = iter(header.buffers)
    rows_of: list[int] = []
    for array, (rows, nulls) in zip(layout, header.nodes, strict=True):
        rows_of.append(rows)
        if not 0 <= nulls <= rows:
            raise ArrowRefused(f"{nulls:,} NULLs in {rows:,} rows")
        expected = rows if array.parent == _NESTED else header.rows_count if array.parent < 0 else rows_of[array.parent]
        if rows != expected:
            raise ArrowRefused(f"an array of {rows:,} rows where there are {expected:,}")
        _, present = next(buffers)
        if 8 * present < rows and (present or nulls):
            raise ArrowRefused(f"{present:,} bytes that say which of {rows:,} rows are NULL")
        if array.bits:
            offset, length = next(buffers)
            if 8 * length < array.bits * (rows + array.more_rows):
                raise ArrowRefused(f"a buffer that is too short for {rows:,} rows")
            if array.more_rows and not rows and any(data[offset : offset + 4]):  # which nothing in Arrow checks
                raise ArrowRefused("an offset without rows that is not 0")
        if array.has_data:
            next(buffers)


_ALIGNED_BYTES = 8
#: The `parent` of an array whose number of rows its parent does not say: the items of a list.
_NESTED = -2


@dataclass(frozen=True, slots=True)
class _Layout:
    """One array of a batch, as the Arrow columnar format lays it out."""

    #: The place of the array that has as many rows; -1 for a column.
    parent: int
    #: Of each value, or of each offset; 0: it has neither.
    bits: int
    #: There is one offset more than rows, also without rows.
    more_rows: int = 0
    #: Whether a buffer of any length follows.
    has_data: bool = False

    @property
    def buffer_count(self) -> int:
        return 1 + bool(self.bits) + self.has_data


@functools.lru_cache(maxsize=256)
def _layout_of(schema: pa.Schema) -> tuple[_Layout, ...]:
    """The arrays of a batch with this schema of allowed types, in the order of its nodes."""
    found: list[_Layout] = []

    def add(kind: pa.DataType, parent: int) -> None:
        place = len(found)
        if pt.is_list(kind):
            found.append(_Layout(parent, bits=32, more_rows=1))
            add(kind.value_type, _NESTED)
        elif pt.is_struct(kind):
            found.append(_Layout(parent, bits=0))
            for child in kind:
                add(child.type, place)
        elif pt.is_string(kind) or pt.is_binary(kind):
            found.append(_Layout(parent, bits=32, more_rows=1, has_data=True))
        else:
            found.append(_Layout(parent, bits=kind.bit_width))

    for field in schema:
        add(field.type, -1)
    return tuple(found)


def _parts(field: pa.Field, depth: int = 0) -> Iterator[pa.Field]:
    yield field
    if depth > MAX_DEPTH:
        raise ArrowRefused(f"column {field.name[:80]!r} nests deeper than {MAX_DEPTH}")
    if pt.is_list(field.type):
        yield from _parts(field.type.value_field, depth + 1)
    elif pt.is_struct(field.type):
        for child in field.type:
            yield from _parts(child, depth + 1)


def _check_field(column: str, field: pa.Field) -> None:
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType) or (field.metadata and _EXTENSION_KEY in field.metadata):
        raise ArrowRefused(f"column {column[:80]!r} has an extension type")
    if pt.is_timestamp(kind):
        _ = kind.tz  # raises for a name that is not UTF-8
    if pt.is_decimal(kind) and abs(kind.scale) > MAX_DECIMAL_DIGITS:  # Arrow looks it up in a table without asking
        raise ArrowRefused(f"column {column[:80]!r} has decimals of the scale {kind.scale}")
    if pt.is_struct(kind):
        names = [child.name for child in kind]
        if not names or len(set(names)) < len(names):
            raise ArrowRefused(f"column {column[:80]!r} has a struct without fields or with a duplicate field name")
    elif not pt.is_list(kind) and not any(test(kind) for test in _LEAVES):
        raise ArrowRefused(f"column {column[:80]!r} has the type {str(kind)[:80]}, which guests may not send")
