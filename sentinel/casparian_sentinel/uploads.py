"""Blobs that clients send: in pieces, in order, of the size and digest that were announced, durable before they are named.

Owns the uploads under way: how many, for how long, and what becomes of one that breaks off. What is in a blob is judged by
the operation that names it.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from casparian_protocol.errors import CasparianError
from casparian_protocol.wire.operations.base import UPLOAD_PIECE_BYTES
from casparian_protocol.wire.operations.daemon import UploadArgs, UploadResult
from casparian_sentinel.blobs import BlobStore, BlobWriter

UPLOADS_MAX = 32
#: An upload that is silent for so long makes room for another.
SILENT_SECONDS = 60.0


class UploadRefused(CasparianError):
    """The upload is refused; nothing of it is kept. `reply_code` is for programs."""

    def __init__(self, what: str, reply_code: str = "BAD_UPLOAD") -> None:
        super().__init__(f"upload: {what}.", remedy="Send the blob again from its beginning.")
        self.reply_code = reply_code


@dataclass(slots=True)
class _Upload:
    size: int
    digest: str
    writer: BlobWriter
    heard_s: float
    #: A thread writes a piece of it now.
    is_busy: bool = True


class Uploads:
    """Called from several threads, each of which may wait for the disk."""

    def __init__(self, blobs: BlobStore, now_s: Callable[[], float] = time.monotonic) -> None:
        self._blobs = blobs
        self._now_s = now_s
        self._open: dict[str, _Upload] = {}
        self._lock = threading.Lock()

    def take(self, args: UploadArgs, piece: bytes) -> UploadResult:
        """Write the next piece; the answer to its request. A piece that does not fit ends its upload."""
        with self._lock:
            upload_id, upload = self._find(args) if args.upload else self._begin(args)
        try:
            _check(upload, args.offset, piece)
            upload.writer.write(piece)
            is_complete = upload.writer.size_bytes == upload.size
            if is_complete:
                if upload.writer.digest != upload.digest:
                    raise UploadRefused("what arrived has another digest than was announced", "BAD_DIGEST")
                upload.writer.keep()
        except BaseException:
            self._forget(upload_id)
            upload.writer.abandon()
            raise
        received = upload.writer.size_bytes
        if is_complete:
            self._forget(upload_id)
        else:
            with self._lock:
                upload.heard_s, upload.is_busy = self._now_s(), False
        return UploadResult(upload=upload_id, received=received, is_complete=is_complete)

    def close(self) -> None:
        """Nothing of what broke off is left."""
        for upload_id, upload in list(self._open.items()):
            self._forget(upload_id)
            upload.writer.abandon()

    def _find(self, args: UploadArgs) -> tuple[str, _Upload]:
        upload = self._open.get(args.upload)
        if upload is None or (upload.size, upload.digest) != (args.size, args.digest):
            raise UploadRefused(f"no upload {args.upload} of this blob is under way", "NOT_FOUND")
        if upload.is_busy:
            raise UploadRefused("the piece before is still being written", "BUSY")
        upload.is_busy = True
        return args.upload, upload

    def _begin(self, args: UploadArgs) -> tuple[str, _Upload]:
        if len(self._open) >= UPLOADS_MAX:
            self._end_a_silent_one()
        upload_id = secrets.token_hex(8)
        upload = self._open[upload_id] = _Upload(args.size, args.digest, self._blobs.writer(), self._now_s())
        return upload_id, upload

    def _end_a_silent_one(self) -> None:
        silent = [(each.heard_s, each_id) for each_id, each in self._open.items() if not each.is_busy]
        heard_s, upload_id = min(silent, default=(self._now_s(), ""))
        if self._now_s() - heard_s < SILENT_SECONDS:
            raise UploadRefused(f"{UPLOADS_MAX} uploads are under way", "BUSY")
        self._open.pop(upload_id).writer.abandon()

    def _forget(self, upload_id: str) -> None:
        with self._lock:
            self._open.pop(upload_id, None)


def _check(upload: _Upload, offset: int, piece: bytes) -> None:
    if len(piece) > UPLOAD_PIECE_BYTES:
        raise UploadRefused(f"a piece has at most {UPLOAD_PIECE_BYTES:,} bytes")
    if offset != upload.writer.size_bytes:
        raise UploadRefused(f"a piece for {offset:,} came where {upload.writer.size_bytes:,} bytes had arrived")
    if offset + len(piece) > upload.size:
        raise UploadRefused(f"more than the {upload.size:,} bytes that were announced")
    if not piece and upload.size:
        raise UploadRefused("an empty piece")
