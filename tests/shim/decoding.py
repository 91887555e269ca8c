"""Frames out of bytes, as the worker's reader reads them, without a socket."""

from __future__ import annotations

from casparian_shim.frames import Frame
from casparian_shim.frames.codec import Bytes, Place, parse_frame


class FrameDecoder:
    """Frames out of bytes that arrive in any pieces. After an error it is of no further use."""

    def __init__(self) -> None:
        self._place = Place()
        self._pending = bytearray()
        self._parsing = parse_frame(self._place)
        self._needed = next(self._parsing)
        self._consumed = 0

    def feed(self, data: Bytes) -> list[Frame]:
        """The frames that `data` completes, in order. Raises `ProtocolBreach`."""
        self._pending += data
        frames: list[Frame] = []
        while len(self._pending) >= self._needed:
            piece = bytes(self._pending[: self._needed])
            del self._pending[: self._needed]
            self._consumed += self._needed
            try:
                self._needed = self._parsing.send(piece)
            except StopIteration as complete:
                frames.append(complete.value)
                self._place.offset = self._consumed
                self._parsing = parse_frame(self._place)
                self._needed = next(self._parsing)
        return frames

    @property
    def is_between_frames(self) -> bool:
        """Whether the stream could end here without cutting a frame."""
        return not self._pending and self._place.frame is None
