"""What a guest may send, and what is refused before it is touched."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
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


#: Every layout: bits, values, offsets, nested; and an array inside without rows, which still has an offset.
LAYOUTS = pa.record_batch(
    {
        "flag": pa.array([True, None, False]),
        "amount": pa.array([Decimal("1.5"), None, Decimal("-2.0")], pa.decimal128(18, 4)),
        "text": pa.array(["a", None, "ccc"]),
        "none": pa.array([[], None, []], pa.list_(pa.string())),
        "deep": pa.array([[[{"a": 1, "b": "x"}], None], [], None]),
    }
)
LAYOUT_MESSAGE = LAYOUTS.serialize().to_pybytes()
(METADATA_BYTES,) = struct.unpack_from("<i", LAYOUT_MESSAGE, 4)


#: The places of the buffers in it: flag has a byte that says what is NULL, and a byte of bits.
BUFFERS_AT = LAYOUT_MESSAGE.index(struct.pack("<qqqq", 0, 1, 8, 1))


def changed(buffer: int, *, offset: int | None = None, length: int | None = None) -> bytes:
    """The message with another place of one of its buffers."""
    message = bytearray(LAYOUT_MESSAGE)
    for place, value in ((BUFFERS_AT + 16 * buffer, offset), (BUFFERS_AT + 16 * buffer + 8, length)):
        if value is not None:
            struct.pack_into("<q", message, place, value)
    return bytes(message)


#: The offsets of the array without rows: flag 0 and 1, amount 2 and 3, text 4 to 6, none 7 and 8, its items 9 to 11.
NO_ROWS = 10


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda: changed(NO_ROWS, length=0), "too short"),  # Arrow reads it all the same
        (lambda: changed(NO_ROWS, offset=1 << 40), "outside of the body|overlap"),
        (lambda: changed(3, length=16), "too short"),
        (lambda: changed(3, offset=4), "overlap or are not aligned"),
        (lambda: changed(1, offset=-8), "overlap or are not aligned"),
        (lambda: changed(0, length=0), "which of 3 rows are NULL"),
    ],
)
def test_buffers_that_are_not_where_the_schema_needs_them_are_refused(change: Callable[[], bytes], why: str) -> None:
    schema = read_schema(LAYOUTS.schema.serialize().to_pybytes())
    assert read_batch(LAYOUT_MESSAGE, schema).equals(LAYOUTS)
    with pytest.raises(ArrowRefused, match=why):
        read_batch(change(), schema)


def test_an_offset_without_rows_is_0() -> None:
    """Arrow does not check it, and looks for the text that begins there."""
    schema = read_schema(LAYOUTS.schema.serialize().to_pybytes())
    (offset,) = struct.unpack_from("<q", LAYOUT_MESSAGE, BUFFERS_AT + 16 * NO_ROWS)
    message = bytearray(LAYOUT_MESSAGE)
    struct.pack_into("<i", message, 8 + METADATA_BYTES + offset, 1 << 24)
    with pytest.raises(ArrowRefused, match="an offset without rows"):
        read_batch(bytes(message), schema)


@pytest.mark.parametrize("text", ["abcdefgh", "abcd\u00e9fg"])
def test_texts_whose_offsets_go_back_are_refused_whatever_their_bytes(text: str) -> None:
    batch = pa.record_batch({"text": [text, "middle", text]})
    message = batch.serialize().to_pybytes()
    offsets = struct.pack("<iiii", *pa.compute.cumulative_sum(pa.array([0, 8, 6, 8], pa.int32())).to_pylist())
    assert offsets in message
    assert read_batch(message, batch.schema).equals(batch)
    broken = message.replace(offsets, struct.pack("<iiii", 0, 20, 14, 22))
    with pytest.raises(ArrowRefused, match="broken"):
        read_batch(broken, batch.schema)


def test_a_scale_that_no_decimal_has_is_refused() -> None:
    """Arrow takes it for the place in a table."""
    with pytest.raises(ArrowRefused, match="scale"):
        read_schema(schema_message(("amount", pa.decimal128(18, 268_435_460))))


def test_names_that_are_not_utf_8_are_refused() -> None:
    for schema in (pa.schema([("zone", pa.timestamp("us", "Zone"))]), pa.schema([("Zone", pa.int64())])):
        with pytest.raises(ArrowRefused, match="UTF-8"):
            read_schema(schema.serialize().to_pybytes().replace(b"Zone", b"Zon\xff"))


ODD = (0, 1, 7, 255, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 8)


def attack(first: int, count: int) -> None:
    """Read messages in which numbers were replaced, and use what is not refused."""
    messages = LAYOUTS.schema.serialize().to_pybytes(), LAYOUT_MESSAGE, LAYOUTS.slice(0, 0).serialize().to_pybytes()
    accepted = 0
    for seed in range(first, first + count):
        dice = random.Random(seed)
        schema, *batches = map(bytearray, messages)
        batch = dice.choice(batches)
        for _ in range(dice.choice((1, 1, 2, 4))):
            size = dice.choice((1, 2, 4, 8))
            target = schema if dice.random() < 0.15 else batch
            place = dice.randrange(0, (len(target) - size) // size) * size
            old = int.from_bytes(target[place : place + size], "little")
            new = dice.choice(ODD) if dice.random() < 0.7 else old + dice.choice((-8, -1, 1, 8))
            target[place : place + size] = (new % (1 << 8 * size)).to_bytes(size, "little")
        try:
            read = read_batch(bytes(batch), read_schema(bytes(schema)))
        except CasparianError:
            continue
        accepted += 1
        assert read.nbytes >= 0
        pa.concat_batches([read, read]).take(pa.array(range(read.num_rows), pa.int64())).validate(full=True)
    assert accepted, "no message was read"


def test_no_number_in_a_message_ends_the_process_that_reads_it() -> None:
    code = "from tests.worker.validation.test_arrow_guard import attack; attack(0, 2_000)"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
