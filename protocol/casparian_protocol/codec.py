"""Messages to frames and back: the only module that knows msgpack on the wire.

A message is frames `[kind][msgpack body][attachment…]`. Every size is checked before anything is unpacked; no extension
types, no pickle. One error, `MalformedMessage`, for all that a stranger can do wrong; it names the field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
from pydantic import ValidationError

from casparian_protocol.errors import CasparianError
from casparian_protocol.messages import ATTACHMENT_LIMIT_BYTES, BODY_LIMIT_BYTES, KINDS, Message

_KIND_LIMIT_BYTES = 32


class MalformedMessage(CasparianError):
    """What arrived is not a message of this protocol: always the peer's mistake, never ours."""

    def __init__(self, reason: str, *, of_kind: str = "") -> None:
        super().__init__(
            f"malformed message: {reason}", remedy="The peer speaks another protocol or another version of it."
        )
        self.reason = reason
        self.of_kind = of_kind


class MessageTooLarge(CasparianError):
    """One of our own messages does not fit its limit: the caller must split it or attach."""

    def __init__(self, kind: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"a {kind} message of {size_bytes:,} bytes exceeds {limit_bytes:,}", remedy="Split it.")


def pack(value: Any) -> bytes:
    """msgpack without extension types."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def unpack(data: bytes | memoryview, *, limit_bytes: int) -> Any:
    """Read one msgpack value of at most `limit_bytes`; raises `MalformedMessage` whatever is wrong with it."""
    if len(data) > limit_bytes:
        raise MalformedMessage(f"{len(data):,} bytes exceed the limit of {limit_bytes:,}")
    try:
        return msgpack.unpackb(
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


def _refuse_extension(code: int, data: bytes) -> Any:
    raise MalformedMessage(f"extension type {code} is not part of the protocol")


def encode(message: Message, attachments: Sequence[bytes] = ()) -> list[bytes]:
    """The frames of one message. Raises `MessageTooLarge` when the body exceeds 64 KiB or an attachment 64 MiB."""
    body = pack(message.model_dump())
    if len(body) > BODY_LIMIT_BYTES:
        raise MessageTooLarge(message.kind, len(body), BODY_LIMIT_BYTES)
    for attachment in attachments:
        if len(attachment) > ATTACHMENT_LIMIT_BYTES:
            raise MessageTooLarge(message.kind, len(attachment), ATTACHMENT_LIMIT_BYTES)
    return [message.kind.encode("ascii"), body, *attachments]


def decode(frames: Sequence[bytes]) -> tuple[Message, Sequence[bytes]]:
    """The message and its attachments; raises `MalformedMessage` naming what is wrong."""
    if len(frames) < 2 or len(frames[0]) > _KIND_LIMIT_BYTES:
        raise MalformedMessage("expected the frames kind and body")
    kind = frames[0].decode("ascii", errors="replace")
    model = KINDS.get(kind)
    if model is None:
        raise MalformedMessage(f"unknown kind {kind!r}")
    attachments = frames[2:]
    if attachments and not model.may_attach:
        raise MalformedMessage("this kind carries no attachments", of_kind=kind)
    if any(len(attachment) > ATTACHMENT_LIMIT_BYTES for attachment in attachments):
        raise MalformedMessage("an attachment exceeds 64 MiB", of_kind=kind)
    try:
        body = unpack(frames[1], limit_bytes=BODY_LIMIT_BYTES)
        return model.model_validate(body), attachments
    except MalformedMessage as malformed:
        raise MalformedMessage(malformed.reason, of_kind=kind) from malformed
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        raise MalformedMessage(f"{field}: {first['msg']}", of_kind=kind) from invalid
