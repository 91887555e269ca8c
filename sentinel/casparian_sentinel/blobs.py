"""Bulk facts, named by their content: `blobs/ab/<blake3 hex>`, durable before an event names them.

Owns how a blob comes to lie under its name and how it is checked on the way out. What is in it (Arrow IPC,
Parquet, a bundle) is its user's business; when a blob may be deleted is decided elsewhere.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from casparian_protocol.errors import CasparianError
from casparian_sentinel.ports import Fs, write_all

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PIECE_BYTES = 1024 * 1024
_INCOMING = "incoming"

Source = bytes | BinaryIO | Iterable[bytes]


class BlobMissing(CasparianError):
    """A blob that is named by the log is missing."""

    def __init__(self, digest: str, directory: Path) -> None:
        super().__init__(
            f"The blob {digest} is not in {directory}.",
            remedy="Restore it from a copy of the home; the log names it, so it belongs to the record.",
        )


class BlobDamaged(CasparianError):
    """A blob no longer has the content that its name says."""

    def __init__(self, digest: str, path: Path) -> None:
        super().__init__(
            f"The blob {path} no longer has the content that its name says ({digest}).",
            remedy="Check the disk and restore the file from a copy of the home.",
        )


@dataclass(frozen=True, slots=True)
class Blob:
    digest: str  # BLAKE3, 64 hex digits
    size_bytes: int


class BlobStore:
    """Writes are idempotent and may come from several threads or processes at once."""

    def __init__(self, fs: Fs, directory: Path) -> None:
        #: The door to the disk, of the home's staging and outputs too.
        self.fs = fs
        self._directory = directory

    def path(self, digest: str) -> Path:
        """Where the blob lies or would lie. Refuses what is not a digest, so that no name leaves the store."""
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"not a BLAKE3 digest: {digest!r}")
        return self._directory / digest[:2] / digest

    def has(self, digest: str) -> bool:
        return self.fs.exists(self.path(digest))

    def put(self, source: Source) -> Blob:
        """Store the content durably and name it. Content already there is checked, and replaced if it has rotted."""
        writer = self.writer()
        try:
            for piece in _pieces_of(source):
                writer.write(piece)
            return writer.keep()
        except BaseException:
            writer.abandon()
            raise

    def writer(self) -> BlobWriter:
        """A blob that arrives in pieces; nobody sees it before `keep`."""
        incoming = self._directory / _INCOMING
        self.fs.make_directory(incoming)
        return BlobWriter(self, incoming / secrets.token_hex(16))

    def adopt(self, aside: Path, digest: str) -> None:
        """Give a durable file the name of its content."""
        target = self.path(digest)
        if self.fs.exists(target) and self._digest_of(target) == digest:
            self.fs.unlink(aside)
        else:
            self.fs.make_directory(target.parent)
            self.fs.rename(aside, target)
        # The name may come from a put that died before this, so it is synced even if it was there.
        self.fs.fsync_directory(target.parent)
        self.fs.fsync_directory(self._directory)

    def get(self, digest: str) -> bytes:
        """The whole content, checked."""
        content = b"".join(self._pieces(self.path(digest), digest))
        if blake3(content).hexdigest() != digest:
            raise BlobDamaged(digest, self.path(digest))
        return content

    def checked_path(self, digest: str) -> Path:
        """The file, for readers that map it or seek in it; its content was checked just now."""
        path = self.path(digest)
        if self._digest_of(path, digest) != digest:
            raise BlobDamaged(digest, path)
        return path

    def _digest_of(self, path: Path, digest: str = "") -> str:
        hasher = blake3()
        for piece in self._pieces(path, digest):
            hasher.update(piece)
        return hasher.hexdigest()

    def _pieces(self, path: Path, digest: str) -> Iterator[bytes]:
        try:
            descriptor = self.fs.open_read(path)
        except FileNotFoundError as cause:
            raise BlobMissing(digest or path.name, self._directory) from cause
        try:
            offset = 0
            while piece := self.fs.pread(descriptor, _PIECE_BYTES, offset):
                yield piece
                offset += len(piece)
        finally:
            self.fs.close(descriptor)


class BlobWriter:
    """One blob on its way. `keep` or `abandon` ends it."""

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
        """Of what was written so far."""
        return self._hasher.hexdigest()

    def keep(self) -> Blob:
        """The blob, durable and under its name."""
        assert self._descriptor is not None
        self._store.fs.fdatasync(self._descriptor)
        self._close()
        self._store.adopt(self._aside, self.digest)
        return Blob(self.digest, self.size_bytes)

    def abandon(self) -> None:
        """Leave nothing of it; harmless after `keep` failed half-way."""
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
