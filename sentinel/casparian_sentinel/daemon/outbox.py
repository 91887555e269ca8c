"""Messages to workers and clients: encoded, split when too long, dropped when nobody is there to read them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from casparian_protocol.errors import CasparianError
from casparian_protocol.packing import pack
from casparian_protocol.wire import MessageTooLarge
from casparian_protocol.wire.codec import encode
from casparian_protocol.wire.messages import (
    ATTACHMENT_LIMIT_BYTES,
    Assign,
    Committed,
    Failed,
    Fenced,
    Message,
    Refusal,
    Refused,
    Reply,
    ReplyError,
)
from casparian_sentinel.daemon.bus import Bus

#: Leaves room for the reply's own fields within a body.
_RESULT_IN_BODY_BYTES = 60 * 1024
_SPLITTABLE = (Assign, Committed, Fenced, Failed)

logger = logging.getLogger(__name__)


def encode_parts(message: Message, attachments: Sequence[bytes] = ()) -> list[list[bytes]]:
    """The frames of a message, in several messages when a list of jobs does not fit one."""
    try:
        return [encode(message, attachments)]
    except MessageTooLarge:
        if not isinstance(message, _SPLITTABLE) or len(message.jobs) < 2:
            raise
        half = len(message.jobs) // 2
        first = message.model_copy(update={"jobs": message.jobs[:half]})
        second = message.model_copy(update={"jobs": message.jobs[half:]})
        return [*encode_parts(first), *encode_parts(second)]


def reply_frames(request_id: str, result: dict[str, object]) -> list[bytes]:
    """A reply; a result too large for a body is its first attachment."""
    packed = pack(result)
    if len(packed) <= _RESULT_IN_BODY_BYTES:
        return encode(Reply(id=request_id, ok=True, result=result))
    if len(packed) > ATTACHMENT_LIMIT_BYTES:
        too_large = CasparianError(f"The answer has {len(packed):,} bytes.", remedy="Ask for less at once.")
        return error_frames(request_id, too_large, "TOO_LARGE")
    return encode(Reply(id=request_id, ok=True), [packed])


def error_frames(request_id: str, error: CasparianError, code: str) -> list[bytes]:
    said = ReplyError(problem=error.problem[:8000], remedy=error.remedy[:8000], code=code)
    return encode(Reply(id=request_id, ok=False, error=said))


class Outbox:
    """Sends on the bus; a worker that does not read any more is reported as gone."""

    def __init__(self, bus: Bus, on_deaf: Callable[[str], None]) -> None:
        self._bus = bus
        self._on_deaf = on_deaf
        self.dropped = 0

    def to_worker(self, worker_id: str, message: Message, attachments: Sequence[bytes] = ()) -> None:
        identity = self._bus.identity_of(worker_id)
        if identity is None:
            self.dropped += 1  # it is away; on its return `hello` tells what it needs to know
            return
        for frames in encode_parts(message, attachments):
            if not self._bus.send(identity, frames):
                self.dropped += 1
                self._bus.unbind(identity)
                logger.warning("Worker %s does not read its messages.", worker_id)
                self._on_deaf(worker_id)
                return

    def to_identity(self, identity: bytes, frames: Sequence[bytes]) -> None:
        if not self._bus.send(identity, frames):
            self.dropped += 1

    def refuse(self, identity: bytes, code: Refusal, reason: str, of_kind: str) -> None:
        self.to_identity(identity, encode(Refused(reason=reason[:1000], code=code, of_kind=of_kind[:32])))
