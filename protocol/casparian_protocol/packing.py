"""Reading bytes from another process: msgpack for messages, and the headers of Arrow batches. Events use `events.packing`.

Sizes are checked before anything is unpacked. msgpack's extension types are refused. An Arrow header is a flatbuffer, which
gives the size of its batch before the batch is read. Each offset is checked, and only needed fields are read. Any fault in
received bytes raises `MalformedMessage`.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

import msgpack
from pydantic import ValidationError

from casparian_protocol.errors import CasparianError

#: How a timestamp (extension type -1, of 4, 8 or 12 bytes) begins, fixed or with its length written in 1, 2 or 4 bytes.
#: A text or a number may contain the same bytes.
_TIMESTAMP = re.compile(rb"(?:[\xd6\xd7]|(?:\xc7|\xc8\x00|\xc9\x00\x00\x00)[\x04\x08\x0c])\xff")


class MalformedMessage(CasparianError):
    """The bytes are not a message of this protocol."""

    def __init__(self, reason: str, *, of_kind: str = "") -> None:
        super().__init__(
            f"malformed message: {reason}", remedy="The peer speaks another protocol or another version of it."
        )
        self.reason = reason
        self.of_kind = of_kind


def pack(value: Any) -> bytes:
    """msgpack without extension types."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def unpack(data: bytes | memoryview, *, limit_bytes: int) -> Any:
    """Read one msgpack value of at most `limit_bytes`. Raises `MalformedMessage` for anything else."""
    if len(data) > limit_bytes:
        raise MalformedMessage(f"{len(data):,} bytes exceed the limit of {limit_bytes:,}")
    raw = bytes(data)
    try:
        value = msgpack.unpackb(
            raw,
            raw=False,
            strict_map_key=True,
            ext_hook=_refuse_extension,
            max_str_len=limit_bytes,
            max_bin_len=limit_bytes,
            max_array_len=limit_bytes,
            max_map_len=limit_bytes,
        )
    except MalformedMessage:
        raise
    except Exception as cause:  # msgpack raises ValueError, TypeError, UnicodeError, RecursionError, its own kinds
        raise MalformedMessage(f"not msgpack ({type(cause).__name__})") from cause
    if b"\xff" in raw and _TIMESTAMP.search(raw) is not None:  # no text has the byte
        _refuse_timestamps(value)
    return value


def fault_of(invalid: ValidationError) -> tuple[str, str]:
    """The field of the first fault (empty: the whole), and what is wrong with it, without pydantic's names for alternatives."""
    first = invalid.errors(include_url=False, include_input=False)[0]
    place = [str(part) for part in first["loc"] if not (isinstance(part, str) and "[" in part)]
    return ".".join(place), first["msg"].removeprefix("Value error, ")


def first_fault(invalid: ValidationError) -> str:
    """The first fault in words: its field, and what is wrong."""
    field, reason = fault_of(invalid)
    return f"{field or 'body'}: {reason}"


def _refuse_timestamps(value: Any) -> None:
    """Refuse timestamps, which msgpack decodes without calling the hook."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if part.__class__ is dict:
            waiting += part.values()
        elif part.__class__ is list:
            waiting += part
        elif part.__class__ is msgpack.Timestamp:
            raise MalformedMessage("extension type -1 is not part of the protocol")


def _refuse_extension(code: int, data: bytes) -> Any:
    raise MalformedMessage(f"extension type {code} is not part of the protocol")


# --- Arrow

# Field numbers of Message.fbs
_MESSAGE_HEADER_TYPE, _MESSAGE_HEADER = 1, 2
_BATCH_LENGTH, _BATCH_NODES, _BATCH_BUFFERS, _BATCH_COMPRESSION, _BATCH_VARIADIC = 0, 1, 2, 3, 4
_RECORD_BATCH_HEADER = 3


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """The header of a record batch."""

    rows_count: int
    #: How many rows and NULLs each array has, nested ones too, in the order of the schema.
    nodes: list[tuple[int, int]]
    is_compressed: bool
    has_variadic_buffers: bool
    #: The offset in the body and the length of each buffer.
    buffers: list[tuple[int, int]]

    @property
    def most_node_rows_count(self) -> int:
        return max((rows for rows, _nulls in self.nodes), default=0)

    def unpacked_bytes(self, body: memoryview) -> int:
        """The unpacked size of the buffers. Arrow writes the length before a compressed buffer and enforces it."""
        return sum(self._unpacked(body, offset, length) for offset, length in self.buffers)

    def _unpacked(self, body: memoryview, offset: int, length: int) -> int:
        if not self.is_compressed or not length:
            return length
        (declared,) = _unpack("<q", body, offset)
        return int(declared) if declared >= 0 else length  # -1: this buffer is not compressed


def read_batch_header(metadata: memoryview) -> BatchHeader:
    """The header of a record-batch message. Raises `MalformedMessage` for any other message."""
    message = _Table.root(metadata)
    if message.number(_MESSAGE_HEADER_TYPE, "<B") != _RECORD_BATCH_HEADER:
        raise MalformedMessage("a message that is not a record batch")
    batch = message.table(_MESSAGE_HEADER)
    rows_count = batch.number(_BATCH_LENGTH, "<q")
    nodes = batch.pairs(_BATCH_NODES)
    if rows_count < 0 or min((rows for rows, _nulls in nodes), default=0) < 0:
        raise MalformedMessage("a negative number of rows")
    buffers = batch.pairs(_BATCH_BUFFERS)
    if min((length for _offset, length in buffers), default=0) < 0:
        raise MalformedMessage("a buffer of negative length")
    return BatchHeader(
        rows_count=rows_count,
        nodes=nodes,
        is_compressed=batch.has(_BATCH_COMPRESSION),
        has_variadic_buffers=batch.count(_BATCH_VARIADIC) > 0,
        buffers=buffers,
    )


class _Table:
    """One table of a flatbuffer at a checked position."""

    def __init__(self, buffer: memoryview, position: int) -> None:
        self._buffer = buffer
        self._position = position
        self._vtable = position - self._read("<i", position)
        self._vtable_bytes = self._read("<H", self._vtable)

    @classmethod
    def root(cls, buffer: memoryview) -> _Table:
        (position,) = _unpack("<I", buffer, 0)
        return cls(buffer, position)

    def has(self, field: int) -> bool:
        return self._place(field) is not None

    def number(self, field: int, layout: str) -> int:
        place = self._place(field)
        return 0 if place is None else self._read(layout, place)

    def count(self, field: int) -> int:
        place = self._place(field)
        return 0 if place is None else self._read("<I", place + self._read("<I", place))

    def table(self, field: int) -> _Table:
        place = self._place(field)
        if place is None:
            raise MalformedMessage("a message without its header")
        return _Table(self._buffer, place + self._read("<I", place))

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """A vector of structs of two 64-bit numbers: nodes (rows, NULLs) and buffers (offset, length)."""
        place = self._place(field)
        if place is None:
            return []
        start = place + self._read("<I", place)
        size = self._read("<I", start) * _PAIR.size
        if size > len(self._buffer) - start - 4:
            raise MalformedMessage("a header longer than its message")
        return list(_PAIR.iter_unpack(self._buffer[start + 4 : start + 4 + size]))

    def _read(self, layout: str, position: int) -> int:
        (value,) = _unpack(layout, self._buffer, position)
        return int(value)

    def _place(self, field: int) -> int | None:
        slot = 4 + 2 * field
        if slot + 2 > self._vtable_bytes:
            return None
        offset = self._read("<H", self._vtable + slot)
        return self._position + offset if offset else None


_PAIR = struct.Struct("<qq")


def _unpack(layout: str, buffer: memoryview, position: int) -> tuple[int, ...]:
    if position < 0 or position + struct.calcsize(layout) > len(buffer):
        raise MalformedMessage("a header that points outside its message")
    return struct.unpack_from(layout, buffer, position)
