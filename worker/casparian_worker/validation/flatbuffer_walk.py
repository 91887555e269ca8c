"""The few fields of an Arrow IPC message header that must be known before pyarrow is let near its body.

A flatbuffer table is read with every offset checked against the buffer; nothing is followed but what is asked for.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from casparian_worker.validation.errors import ArrowRefused

# Field numbers of Message.fbs
_MESSAGE_HEADER_TYPE, _MESSAGE_HEADER = 1, 2
_BATCH_LENGTH, _BATCH_NODES, _BATCH_BUFFERS, _BATCH_COMPRESSION, _BATCH_VARIADIC = 0, 1, 2, 3, 4
_NODE_BYTES = 16
_RECORD_BATCH_HEADER = 3


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """What a record batch says about itself."""

    rows_count: int
    most_node_rows_count: int
    is_compressed: bool
    has_variadic_buffers: bool


class _Table:
    """One table at a checked position."""

    def __init__(self, buffer: memoryview, position: int) -> None:
        self._buffer = buffer
        self._position = position
        self._vtable = position - self._read("<i", position)
        self._vtable_bytes = self._read("<H", self._vtable)

    @classmethod
    def root(cls, buffer: memoryview) -> _Table:
        (position,) = _unpack("<I", buffer, 0)
        return cls(buffer, position)

    def _read(self, layout: str, position: int) -> int:
        (value,) = _unpack(layout, self._buffer, position)
        return int(value)

    def _place(self, field: int) -> int | None:
        slot = 4 + 2 * field
        if slot + 2 > self._vtable_bytes:
            return None
        offset = self._read("<H", self._vtable + slot)
        return self._position + offset if offset else None

    def has(self, field: int) -> bool:
        return self._place(field) is not None

    def number(self, field: int, layout: str) -> int:
        place = self._place(field)
        return 0 if place is None else self._read(layout, place)

    def table(self, field: int) -> _Table:
        place = self._place(field)
        if place is None:
            raise ArrowRefused("a message without its header")
        return _Table(self._buffer, place + self._read("<I", place))

    def node_lengths(self, field: int) -> list[int]:
        place = self._place(field)
        if place is None:
            return []
        start = place + self._read("<I", place)
        count = self._read("<I", start)
        if count * _NODE_BYTES > len(self._buffer) - start - 4:
            raise ArrowRefused("a header longer than its message")
        return [self._read("<q", start + 4 + _NODE_BYTES * index) for index in range(count)]

    def count(self, field: int) -> int:
        place = self._place(field)
        return 0 if place is None else self._read("<I", place + self._read("<I", place))


def read_batch_header(metadata: memoryview) -> BatchHeader:
    """The header of a record-batch message; `ArrowRefused` for any other or a broken one."""
    message = _Table.root(metadata)
    if message.number(_MESSAGE_HEADER_TYPE, "<B") != _RECORD_BATCH_HEADER:
        raise ArrowRefused("a message that is no record batch")
    batch = message.table(_MESSAGE_HEADER)
    rows_count = batch.number(_BATCH_LENGTH, "<q")
    nodes = batch.node_lengths(_BATCH_NODES)
    if rows_count < 0 or min(nodes, default=0) < 0:
        raise ArrowRefused("a negative number of rows")
    return BatchHeader(
        rows_count=rows_count,
        most_node_rows_count=max(nodes, default=0),
        is_compressed=batch.has(_BATCH_COMPRESSION),
        has_variadic_buffers=batch.count(_BATCH_VARIADIC) > 0,
    )


def _unpack(layout: str, buffer: memoryview, position: int) -> tuple[int, ...]:
    if position < 0 or position + struct.calcsize(layout) > len(buffer):
        raise ArrowRefused("a header that points outside its message")
    return struct.unpack_from(layout, buffer, position)
