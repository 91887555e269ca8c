"""msgpack for messages: packs and unpacks values. Events have their own bytes, in `events.packing`.

Sizes are checked before anything is unpacked. Extension types are refused. Anything wrong with received bytes raises
`MalformedMessage`.
"""

from __future__ import annotations

from typing import Any

import msgpack

from casparian_protocol.errors import CasparianError

#: First bytes of msgpack's three timestamp formats; a text or number may contain the same bytes.
_TIMESTAMP_MARKS = (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff")


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
    try:
        value = msgpack.unpackb(
            data,
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
    if any(mark in bytes(data) for mark in _TIMESTAMP_MARKS):
        _refuse_timestamps(value)
    return value


def _refuse_timestamps(value: Any) -> None:
    """msgpack decodes its own extension type without calling the hook."""
    if isinstance(value, msgpack.Timestamp):
        raise MalformedMessage("extension type -1 is not part of the protocol")
    if isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            _refuse_timestamps(part)


def _refuse_extension(code: int, data: bytes) -> Any:
    raise MalformedMessage(f"extension type {code} is not part of the protocol")
