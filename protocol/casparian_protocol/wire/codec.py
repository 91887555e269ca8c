"""Messages to frames and back.

A message is the frames `[kind][msgpack body][attachment…]`. Sizes are checked before anything is unpacked. Whatever is
wrong with a received message is one error, `MalformedMessage`, which names the field.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from casparian_protocol.errors import CasparianError
from casparian_protocol.packing import MalformedMessage, pack, unpack
from casparian_protocol.wire.messages import ATTACHMENT_LIMIT_BYTES, BODY_LIMIT_BYTES, KINDS, Message

_KIND_LIMIT_BYTES = 32


class MessageTooLarge(CasparianError):
    """A message does not fit its limit: it must be split or sent as an attachment."""

    def __init__(self, kind: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"a {kind} message of {size_bytes:,} bytes exceeds {limit_bytes:,}", remedy="Split it.")


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
