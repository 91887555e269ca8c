"""Members of archives, and the content of compressed files, as binary files that the readers take.

Nothing is written to disk, so a member's name is only compared. What is damaged or cut raises, also when part of the content has
been read: a file that is cut never looks like a complete one. Readers reject the record in which a cut content ends. Limits hold
against archives that unpack to far more than they are.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Literal, cast

from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.readers.source import ContentCut, Source

Kind = Literal["gzip", "bzip2", "xz", "zip", "tar"]

#: The limits of a member's content, unless others are given.
BYTES_MAX = 1 << 40
RATIO_MAX = 1_000
#: Below this size the ratio does not matter.
_RATIO_FREE_BYTES = 16 * 1024 * 1024
#: No header of an archive is as long as this.
_HEADER_BYTES_MAX = 16 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024
_SHOWN_NAMES = 10
#: Each file has `MEMBER_ROWS` numbers of records, of the 2**53 that there are.
_FILES_MAX = 900_000
_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (257, b"ustar", "tar"),
)
_UNPACKERS: dict[Kind, Callable[[Any], Any]] = {
    "gzip": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
    "bzip2": lambda file: io.BufferedReader(_Streams(file, bz2.BZ2Decompressor)),
    "xz": lambda file: io.BufferedReader(_Streams(file, lzma.LZMADecompressor)),
}
_DAMAGED = (
    EOFError,
    OSError,
    IndexError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
    NotImplementedError,
)


class BadArchive(CasparianError):
    """An archive or a compressed file is damaged, cut, or not what it was said to be."""

    code = ErrorCode.INVALID_DATA


class CutArchive(BadArchive, ContentCut):
    """An archive or a compressed file ends early. Readers give the records before the end, and reject the one that it is in."""


class ArchiveTooLarge(CasparianError):
    """The content is beyond a limit."""

    code = ErrorCode.LIMIT_EXCEEDED


def open_member(
    source: Source, name: str | None = None, *, bytes_max: int = BYTES_MAX, ratio_max: int = RATIO_MAX
) -> Member:
    """The content of one member of a zip or tar archive, or of a file compressed with gzip, bzip2 or xz, for reading.

    `name` is the member's; without it the archive must have only one file. A compressed tar archive is an archive. All members of
    a gzip file are read as one content, and zeros after them are padding. The kind is seen from the first bytes. Raises
    `BadArchive` if the archive is damaged or cut, and `ArchiveTooLarge` if the content has more than `bytes_max` bytes, or more
    than `ratio_max` times the compressed ones.
    """
    own: list[IO[bytes]] = []
    try:
        if isinstance(source, str | os.PathLike):
            own.append(open(source, "rb"))  # noqa: SIM115 - the member closes it
            file: Any = own[0]
        else:
            file = source
        return _opened(file, name, own, bytes_max, ratio_max)
    except BaseException:
        for each in own:
            each.close()
        raise


def member_names(source: Source) -> list[str]:
    """The names of the files in a zip or tar archive, in its order."""
    with open_archive(source) as (_, names):
        return names


class Member(io.BufferedIOBase):
    """The content of a member. Closing it closes what was opened for it."""

    def __init__(
        self, name: str, kind: str, content: Any, closes: Sequence[Any], descriptor: int | None, place: int = 0
    ) -> None:
        self.name = self.member = name
        #: Its place among the files of the archive, which the numbers of its records begin with.
        self.place = place
        self._kind = kind
        self._content = content
        self._closes = closes
        self._descriptor = descriptor
        self._at = 0

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        """The descriptor of the archive, so that records count as those of the job's input."""
        if self._descriptor is None:
            raise io.UnsupportedOperation("fileno")
        return self._descriptor

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        with _damage_named(self._kind, self.name, self._at):
            data = cast(bytes, self._content.read(-1 if size is None else size))
        self._at += len(data)
        return data

    def read1(self, size: int = -1, /) -> bytes:
        return self.read(size)

    def close(self) -> None:
        if not self.closed:
            for each in self._closes:
                each.close()
        super().close()

    def __repr__(self) -> str:
        return f"<member {self.name!r} of a {self._kind} file>"


class _Streams(io.RawIOBase):
    """The content of bzip2 or xz streams after each other. Python's own files end silently where the next one is damaged."""

    def __init__(self, file: Any, decompressor: Callable[[], Any]) -> None:
        self._file, self._begin, self._new = file, file.tell(), decompressor
        self._rewind()

    def _rewind(self) -> None:
        self._file.seek(self._begin)
        self._stream: Any = None
        self._packed, self._at = b"", 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == 2:
            while self._some(_BLOCK_BYTES):
                pass
        place = offset + (self._at if whence else 0)
        if place < self._at:
            self._rewind()
        while self._at < place and self._some(min(_BLOCK_BYTES, place - self._at)):
            pass
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        data = self._some(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _some(self, size: int) -> bytes:
        while True:
            if self._stream is None or self._stream.eof:
                if self._stream is not None and not self._has_next():
                    return b""
                self._stream = self._new()
            packed = b""
            if self._stream.needs_input:
                packed, self._packed = self._packed or self._file.read(_BLOCK_BYTES), b""
                if not packed:
                    raise EOFError("it ends early")
            if data := cast(bytes, self._stream.decompress(packed, size)):
                self._at += len(data)
                return data

    def _has_next(self) -> bool:
        """Whether something follows the stream that has ended, other than zeros."""
        self._packed = self._stream.unused_data.lstrip(b"\0")
        while not self._packed and (more := self._file.read(_BLOCK_BYTES)):
            self._packed = more.lstrip(b"\0")
        return bool(self._packed)


class _Limited:
    """A content that may not be larger than its limits. `packed` tells how many bytes it came from so far."""

    def __init__(self, content: Any, packed: Callable[[], int], bytes_max: int, ratio_max: int) -> None:
        self._content = content
        self._packed = packed
        self._bytes_max = bytes_max
        self._ratio_max = ratio_max
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK_BYTES), b""))
        data: bytes = self._content.read1(min(size, _BLOCK_BYTES))
        self._at += len(data)
        self._judge(self._at)
        return data

    def _judge(self, size: int) -> None:
        if size > self._bytes_max:
            raise ArchiveTooLarge(
                f"The content has more than {self._bytes_max:,} bytes.",
                remedy="If that is right, open_member(…, bytes_max=…) allows more.",
            )
        if size > _RATIO_FREE_BYTES and size > self._ratio_max * max(1, self._packed()):
            raise ArchiveTooLarge(
                f"The content is more than {self._ratio_max:,} times as large as its compressed bytes.",
                remedy="If that is right, open_member(…, ratio_max=…) allows more.",
            )


class _Seekable(_Limited, io.BufferedIOBase):
    """The same with places, for the headers of a tar archive."""

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._content.tell())

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return int(self._content.seek(offset, whence))

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or size > _HEADER_BYTES_MAX:
            raise BadArchive("The tar archive has a header that is too long.", remedy=_REMEDY)
        data: bytes = self._content.read(size)
        self._judge(int(self._content.tell()))
        return data


_REMEDY = "Get the file again from where it comes from. `gzip -t`, `unzip -t` or `tar -tf` check it."


def _opened(file: Any, name: str | None, own: list[IO[bytes]], bytes_max: int, ratio_max: int) -> Member:
    descriptor = _descriptor(file)
    kind = _kind(file)
    if kind == "zip":
        return _zip_member(file, name, own, bytes_max, ratio_max, descriptor)
    if kind in _UNPACKERS:
        content = _UNPACKERS[kind](file)
        limits = (content, file.tell, bytes_max, ratio_max)
        with _damage_named(kind, "", 0):
            is_tar = _beginning(content)[257:262] == b"ustar"
            content.seek(0)
        if not is_tar:
            if name is not None:
                raise BadArchive(
                    f"A {kind} file has no members, so none is named {name!r:.200}.", remedy="Leave the name out."
                )
            return Member("", kind, _Limited(*limits), [content, *own], descriptor)
        return _tar_member(_Seekable(*limits), name, [content, *own], descriptor)
    if kind == "tar":
        return _tar_member(_Seekable(file, lambda: bytes_max, bytes_max, ratio_max), name, own, descriptor)
    raise BadArchive(
        "The file is not a gzip, bzip2, xz, zip or tar file.", remedy="Give the file itself to the reader."
    )


def _kind(file: Any) -> Kind | None:
    begin = file.tell()
    head = file.read(262)
    file.seek(begin)
    return next((kind for at, magic, kind in _MAGIC if head.startswith(magic, at)), None)


def _beginning(content: Any) -> bytes:
    """The first 512 bytes, or fewer if the content is cut before. Raises EOFError if it is cut before the first."""
    data = b""
    try:
        while len(data) < 512 and (more := content.read1(512 - len(data))):
            data += more
    except EOFError:
        if not data:
            raise
        # otherwise it comes again where the content is read
    return data


def _zip_member(
    file: Any, name: str | None, own: Sequence[Any], bytes_max: int, ratio_max: int, descriptor: int | None
) -> Member:
    with _damage_named("zip", "", 0):
        archive = zipfile.ZipFile(file)
        infos = [each for each in archive.infolist() if not each.filename.endswith("/")]
        place = _place([each.filename for each in infos], name)
        info = infos[place]
        if info.flag_bits & 0x1:
            raise BadArchive(f"The member {info.filename!r:.200} is encrypted.", remedy="Decrypt the archive first.")
        if info.header_offset < 0:
            raise zipfile.BadZipFile("a member begins before the file")
        content = archive.open(info)
    limited = _Limited(content, lambda: info.compress_size, bytes_max, ratio_max)
    return Member(info.filename, "zip", limited, [content, archive, *own], descriptor, place)


def _tar_member(file: Any, name: str | None, own: Sequence[Any], descriptor: int | None) -> Member:
    with _damage_named("tar", "", 0):
        archive = tarfile.open(fileobj=file, mode="r:", errorlevel=2)  # noqa: SIM115 - the member closes it
        infos = [each for each in archive.getmembers() if each.isreg()]
        _refuse_cut(file, archive)
        place = _place([each.name for each in infos], name)
        info = infos[place]
        content = archive.extractfile(info)
    return Member(info.name, "tar", content, [archive, *own], descriptor, place)


def _refuse_cut(file: Any, archive: tarfile.TarFile) -> None:
    """tarfile takes an archive that ends after a member for complete; a whole one ends with zeros, and its checksum is right."""
    file.seek(archive.offset)
    rest = file.read(_BLOCK_BYTES)
    if rest[:512] != bytes(512):
        raise EOFError("it ends early")
    while rest:
        if rest.strip(b"\0"):
            raise BadArchive(
                "The tar archive has more after its end.", remedy="Is it several archives, one after the other?"
            )
        rest = file.read(_BLOCK_BYTES)


def _place(names: Sequence[str], name: str | None) -> int:
    if len(names) > _FILES_MAX:
        raise BadArchive(f"The archive has more than {_FILES_MAX:,} files.", remedy="Unpack it, and read its files.")
    places = [place for place, each in enumerate(names) if name in (None, each)]
    if len(places) == 1:
        return places[0]
    shown = ", ".join(f"{each!r:.80}" for each in names[:_SHOWN_NAMES]) + (", …" if len(names) > _SHOWN_NAMES else "")
    if name is None:
        problem = f"The archive has {len(names):,} files" + (f": {shown}." if names else ".")
        raise BadArchive(problem, remedy="Name one: open_member(path, 'name'). member_names(path) lists them.")
    if places:
        raise BadArchive(
            f"The archive has {len(places):,} files named {name!r:.200}, so it is not certain which is meant.",
            remedy="Unpack it, and read its files.",
        )
    raise BadArchive(
        f"The archive has no file named {name!r:.200}" + (f"; it has {shown}." if names else "."),
        remedy="member_names(path) lists its files.",
    )


@contextmanager
def open_archive(source: Source) -> Iterator[tuple[Any, list[str]]]:
    """A zip or tar archive with the names of its files."""
    file: Any = open(source, "rb") if isinstance(source, str | os.PathLike) else source  # noqa: SIM115
    try:
        begin, kind = file.tell(), _kind(file)
        if kind == "zip":
            with _damage_named("zip", "", 0), zipfile.ZipFile(file) as archive:
                yield archive, [each.filename for each in archive.infolist() if not each.filename.endswith("/")]
        elif kind in _UNPACKERS or kind == "tar":
            content = file if kind == "tar" else _Seekable(_UNPACKERS[kind](file), file.tell, BYTES_MAX, RATIO_MAX)
            with _damage_named("tar", "", 0), tarfile.open(fileobj=content, mode="r:") as tar:
                yield tar, [each.name for each in tar.getmembers() if each.isreg()]
        else:
            raise BadArchive("The file is not a zip or tar archive.", remedy="Give the file itself to the reader.")
        file.seek(begin)
    finally:
        if file is not source:
            file.close()


@contextmanager
def _damage_named(kind: str, name: str, at: int) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as cause:
        if isinstance(cause, OSError) and cause.errno is not None:  # the disk, not the archive
            raise
        is_cut = isinstance(cause, EOFError) or "end of data" in str(cause) or "truncated" in str(cause).lower()
        what = "ends early" if is_cut else f"is damaged ({cause})"
        where = f", in its member {name!r:.200}" if name else ""
        after = f", after {at:,} bytes of content" if at else ""
        bad = CutArchive if is_cut else BadArchive
        raise bad(f"The {kind} file {what}{where}{after}.", remedy=_REMEDY) from cause


def _descriptor(file: Any) -> int | None:
    try:
        return int(file.fileno())
    except (AttributeError, OSError, ValueError):  # in memory
        return None
