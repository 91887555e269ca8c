"""Blobs: large facts named by their content (`blobs/ab/<blake3 hex>`), durable before an event names them.

`BlobStore` writes a blob under its name, and checks it when it is read. `Uploads` receives blobs that clients send in pieces,
with the announced size and digest, and a limited number at once. The operation that names a blob judges its content (Arrow IPC,
Parquet, a bundle); deleting blobs is decided elsewhere.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from blake3 import blake3

from casparian_protocol.errors import CasparianError
from casparian_protocol.wire.messages import UPLOAD_PIECE_BYTES
from casparian_sentinel.ports import Fs, write_all

if TYPE_CHECKING:
    from casparian_protocol.wire.operations.daemon import UploadArgs, UploadResult

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PIECE_BYTES = 1024 * 1024
_INCOMING = "incoming"

Source = bytes | BinaryIO | Iterable[bytes]


class BlobMissing(CasparianError):
    """A blob that the log names is missing."""

    def __init__(self, digest: str, directory: Path) -> None:
        super().__init__(
            f"The blob {digest} is not in {directory}.",
            remedy="Restore it from a copy of the home; the log names it, so it must not be missing.",
        )


class BlobDamaged(CasparianError):
    """A blob's content does not match its name."""

    def __init__(self, digest: str, path: Path) -> None:
        super().__init__(
            f"The blob {path} does not have the content that its name says ({digest}).",
            remedy="Check the disk and restore the file from a copy of the home.",
        )


@dataclass(frozen=True, slots=True)
class Blob:
    digest: str  # BLAKE3, 64 hex digits
    size_bytes: int


class BlobStore:
    """Writes are idempotent, and several threads or processes may write at once."""

    def __init__(self, fs: Fs, directory: Path) -> None:
        #: The file system, which staging and outputs of the home use too.
        self.fs = fs
        self._directory = directory

    def path(self, digest: str) -> Path:
        """The path where the blob is or would be. Refuses a name that is not a digest, so that no name leaves the store."""
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"not a BLAKE3 digest: {digest!r}")
        return self._directory / digest[:2] / digest

    def has(self, digest: str) -> bool:
        return self.fs.exists(self.path(digest))

    def put(self, source: Source) -> Blob:
        """Store the content durably under its digest. Existing content is checked, and replaced if it is damaged."""
        writer = self.writer()
        try:
            for piece in _pieces_of(source):
                writer.write(piece)
            return writer.keep()
        except BaseException:
            writer.abandon()
            raise

    def writer(self) -> BlobWriter:
        """A writer for a blob that arrives in pieces; the blob is not visible before `keep`."""
        incoming = self._directory / _INCOMING
        self.fs.make_directory(incoming)
        return BlobWriter(self, incoming / secrets.token_hex(16))

    def adopt(self, aside: Path, digest: str) -> None:
        """Move a durable file to the name of its content."""
        target = self.path(digest)
        if self.fs.exists(target) and self._digest_of(target) == digest:
            self.fs.unlink(aside)
        else:
            self.fs.make_directory(target.parent)
            self.fs.rename(aside, target)
        # An earlier put may have died before this sync, so an existing name is synced too.
        self.fs.fsync_directory(target.parent)
        self.fs.fsync_directory(self._directory)

    def get(self, digest: str) -> bytes:
        """The whole content, checked."""
        content = b"".join(self._pieces(self.path(digest), digest))
        if blake3(content).hexdigest() != digest:
            raise BlobDamaged(digest, self.path(digest))
        return content

    def size(self, digest: str) -> int:
        """The size of the blob's file, without reading it."""
        descriptor = self._open(self.path(digest), digest)
        try:
            return self.fs.size(descriptor)
        finally:
            self.fs.close(descriptor)

    def checked_path(self, digest: str) -> Path:
        """The path, for readers that map the file or seek in it; its content has just been checked."""
        path = self.path(digest)
        if self._digest_of(path, digest) != digest:
            raise BlobDamaged(digest, path)
        return path

    def _digest_of(self, path: Path, digest: str = "") -> str:
        hasher = blake3()
        for piece in self._pieces(path, digest):
            hasher.update(piece)
        return hasher.hexdigest()

    def _open(self, path: Path, digest: str) -> int:
        try:
            return self.fs.open_read(path)
        except FileNotFoundError as cause:
            raise BlobMissing(digest or path.name, self._directory) from cause

    def _pieces(self, path: Path, digest: str) -> Iterator[bytes]:
        descriptor = self._open(path, digest)
        try:
            offset = 0
            while piece := self.fs.pread(descriptor, _PIECE_BYTES, offset):
                yield piece
                offset += len(piece)
        finally:
            self.fs.close(descriptor)


class BlobWriter:
    """One blob being written. `keep` or `abandon` ends it."""

    def __init__(self, store: BlobStore, aside: Path) -> None:
        self.size_bytes = 0
        self._store = store
        self._aside = aside
        self._hasher = blake3()
        self._descriptor: int | None = store.fs.create(aside)

    def write(self, piece: bytes) -> None:
        assert self._descriptor is not None
        write_all(self._store.fs, self._descriptor, piece, self.size_bytes)
        self._hasher.update(piece)
        self.size_bytes += len(piece)

    @property
    def digest(self) -> str:
        """The digest of everything written so far."""
        return self._hasher.hexdigest()

    def keep(self) -> Blob:
        """Make the blob durable under its name."""
        assert self._descriptor is not None
        self._store.fs.fdatasync(self._descriptor)
        self._close()
        self._store.adopt(self._aside, self.digest)
        return Blob(self.digest, self.size_bytes)

    def abandon(self) -> None:
        """Remove everything written; harmless after `keep` failed half-way."""
        self._close()
        if self._store.fs.exists(self._aside):
            self._store.fs.unlink(self._aside)

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            self._store.fs.close(descriptor)


def _pieces_of(source: Source) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
    elif hasattr(source, "read"):
        while piece := source.read(_PIECE_BYTES):
            yield piece
    else:
        yield from source


UPLOADS_MAX = 32
#: An upload without a new piece for this long makes room for another.
SILENT_SECONDS = 60.0


class UploadRefused(CasparianError):
    """The upload is refused, and nothing of it is stored. `reply_code` is for programs."""

    def __init__(self, what: str, reply_code: str = "BAD_UPLOAD") -> None:
        super().__init__(f"upload: {what}.", remedy="Send the blob again from its beginning.")
        self.reply_code = reply_code


@dataclass(slots=True)
class _Upload:
    size: int
    digest: str
    writer: BlobWriter
    heard_s: float
    #: Whether a thread is writing a piece of it now.
    is_busy: bool = True


class Uploads:
    """The uploads of clients. Several threads call this, and each may wait for the disk."""

    def __init__(self, blobs: BlobStore, now_s: Callable[[], float] = time.monotonic) -> None:
        self._blobs = blobs
        self._now_s = now_s
        self._open: dict[str, _Upload] = {}
        self._lock = threading.Lock()

    def take(self, args: UploadArgs, piece: bytes) -> UploadResult:
        """Write the next piece; returns the answer to its request. A piece that does not fit ends its upload."""
        from casparian_protocol.wire.operations.daemon import (
            UploadResult,  # the projector reads blobs, and has no uploads
        )

        with self._lock:
            upload_id, upload = self._find(args) if args.upload else self._begin(args)
        try:
            _check(upload, args.offset, piece)
            upload.writer.write(piece)
            is_complete = upload.writer.size_bytes == upload.size
            if is_complete:
                if upload.writer.digest != upload.digest:
                    raise UploadRefused("the content does not have the announced digest", "BAD_DIGEST")
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
        """Remove what unfinished uploads left."""
        for upload_id, upload in list(self._open.items()):
            self._forget(upload_id)
            upload.writer.abandon()

    def _find(self, args: UploadArgs) -> tuple[str, _Upload]:
        upload = self._open.get(args.upload)
        if upload is None or (upload.size, upload.digest) != (args.size, args.digest):
            raise UploadRefused(f"there is no upload {args.upload} of this blob", "NOT_FOUND")
        if upload.is_busy:
            raise UploadRefused("the previous piece is still being written", "BUSY")
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
            raise UploadRefused(f"{UPLOADS_MAX} uploads are already running", "BUSY")
        self._open.pop(upload_id).writer.abandon()

    def _forget(self, upload_id: str) -> None:
        with self._lock:
            self._open.pop(upload_id, None)


def _check(upload: _Upload, offset: int, piece: bytes) -> None:
    if len(piece) > UPLOAD_PIECE_BYTES:
        raise UploadRefused(f"a piece has at most {UPLOAD_PIECE_BYTES:,} bytes")
    if offset != upload.writer.size_bytes:
        raise UploadRefused(f"a piece for offset {offset:,} came after {upload.writer.size_bytes:,} bytes")
    if offset + len(piece) > upload.size:
        raise UploadRefused(f"more than the announced {upload.size:,} bytes")
    if not piece and upload.size:
        raise UploadRefused("an empty piece")
