"""What a guest may send, and what is refused before it is touched."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_worker.validation import (
    ArrowRefused,
    LimitExceeded,
    ReservedColumn,
    ValidationLimits,
    read_batch,
    read_schema,
)

PLAIN = pa.record_batch(
    {
        "i": pa.array([1, None, 3]),
        "s": pa.array(["a", None, "ccc"]),
        "l": pa.array([[1], None, []], pa.list_(pa.int64())),
        "t": pa.array([{"x": "y"}, None, {"x": None}]),
        "__cf_row_id": pa.array([1, 2, 3]),
    }
)


def schema_message(*fields: tuple[str, Any]) -> bytes:
    return bytes(pa.schema([pa.field(name, kind) for name, kind in fields]).serialize())


def test_plain_data_passes_unchanged() -> None:
    schema = read_schema(bytes(PLAIN.schema.serialize()))
    assert schema.equals(PLAIN.schema)
    assert read_batch(bytes(PLAIN.serialize()), schema).equals(PLAIN)
    empty = PLAIN.slice(0, 0)
    assert read_batch(bytes(empty.serialize()), schema).num_rows == 0


@pytest.mark.parametrize(
    "kind",
    [
        pa.null(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.large_string(),
        pa.string_view(),
        pa.binary_view(),
        pa.list_view(pa.int64()),
        pa.run_end_encoded(pa.int32(), pa.string()),
        pa.dense_union([pa.field("a", pa.int64())]),
        pa.map_(pa.string(), pa.string()),
        pa.list_(pa.int64(), 0),
        pa.binary(0),
        pa.struct([]),
        pa.list_(pa.null()),
        pa.struct([("x", pa.dictionary(pa.int32(), pa.string()))]),
        pa.uuid(),
        pa.decimal256(50, 2),
        pa.month_day_nano_interval(),
    ],
    ids=str,
)
def test_types_whose_size_can_lie_are_refused(kind: Any) -> None:
    with pytest.raises(ArrowRefused) as refused:
        read_schema(schema_message(("a", kind)))
    assert refused.value.code is ErrorCode.PROTOCOL_ERROR


def test_extension_metadata_is_refused() -> None:
    field = pa.field("a", pa.string(), metadata={"ARROW:extension:name": "evil", "ARROW:extension:metadata": ""})
    with pytest.raises(ArrowRefused, match="extension"):
        read_schema(bytes(pa.schema([field]).serialize()))


def test_names_are_checked() -> None:
    with pytest.raises(ArrowRefused, match="same name"):
        read_schema(schema_message(("a", pa.int64()), ("a", pa.int64())))
    with pytest.raises(ReservedColumn) as reserved:
        read_schema(schema_message(("_CF_job_id", pa.int64())))
    assert reserved.value.code is ErrorCode.SCHEMA_MISMATCH
    with pytest.raises(ReservedColumn):
        read_schema(schema_message(("_cf_reject_reason", pa.string())))
    assert read_schema(schema_message(("_cf_reject_reason", pa.string())), is_rejects=True).names == [
        "_cf_reject_reason"
    ]
    with pytest.raises(LimitExceeded) as exceeded:
        read_schema(schema_message(*((f"c{number}", pa.int64()) for number in range(4097))))
    assert exceeded.value.code is ErrorCode.LIMIT_EXCEEDED


def test_deep_nesting_is_refused() -> None:
    kind: Any = pa.int64()
    for _ in range(30):
        kind = pa.list_(kind)
    with pytest.raises(ArrowRefused, match="nests deeper"):
        read_schema(schema_message(("a", kind)))


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_bodies_are_refused(codec: str) -> None:
    options = pa.ipc.IpcWriteOptions(compression=codec)
    batch = pa.record_batch({"i": pa.array([0] * 100_000)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    reader = pa.ipc.MessageReader.open_stream(sink.getvalue())
    reader.read_next_message()
    with pytest.raises(ArrowRefused, match="compressed"):
        read_batch(bytes(reader.read_next_message().serialize()), batch.schema)


def test_a_message_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(ArrowRefused, match="schema message where a record batch"):
        read_batch(bytes(PLAIN.schema.serialize()), PLAIN.schema)
    with pytest.raises(ArrowRefused, match="record batch message where a schema"):
        read_schema(bytes(PLAIN.serialize()))


def test_rows_and_bytes_are_capped() -> None:
    message = bytes(PLAIN.serialize())
    with pytest.raises(LimitExceeded):
        read_batch(message, PLAIN.schema, ValidationLimits(batch_rows_count=2))
    with pytest.raises(LimitExceeded):
        read_batch(message, PLAIN.schema, ValidationLimits(batch_bytes=20))


def test_invalid_utf8_is_refused() -> None:
    binary = pa.record_batch({"s": pa.array([b"\xff\xfe"])})
    with pytest.raises(ArrowRefused, match="broken"):
        read_batch(bytes(binary.serialize()), pa.schema([("s", pa.string())]))


@settings(max_examples=300, deadline=None)
@given(where=st.integers(0, len(bytes(PLAIN.serialize())) - 1), what=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_message_is_refused_or_valid_and_never_anything_else(where: int, what: int, cut: bool) -> None:
    message = bytearray(bytes(PLAIN.serialize()))
    message[where] = what
    hostile = bytes(message[:where]) if cut else bytes(message)
    try:
        batch = read_batch(hostile, PLAIN.schema)
    except CasparianError:
        return
    batch.validate(full=True)
    batch.to_pylist()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(noise: bytes) -> None:
    with pytest.raises(CasparianError):
        read_batch(noise, PLAIN.schema)
    with pytest.raises(CasparianError):
        read_schema(noise)
