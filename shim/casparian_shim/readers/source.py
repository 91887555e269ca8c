"""Opening a source: a path or a binary file becomes an `Input`, which knows its encodings, its byte order mark and its position.

An `Input` gives the bytes after the mark in chunks. It also holds the tape's reading of this source, which `feed` uses.
`lines` cuts the chunks into lines.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from casparian_shim.errors import CasparianError
from casparian_shim.readers.tape import BinaryFile, What, begin_reading, is_another_file, stream_name

Source = str | os.PathLike[str] | BinaryFile
#: One codec of Python, or several that are tried one after the other for each record.
Encoding = str | Sequence[str]

#: The bytes that are read at once. Tests set it to 1.
BLOCK_BYTES = 1024 * 1024
#: The limit of one record, unless the reader is given another: beyond it the record is rejected without being held.
RECORD_BYTES_MAX = 64 * 1024 * 1024
#: How much of a rejected record's bytes is kept.
RAW_BYTES_MAX = 16 * 1024

#: Encoding → its byte order marks, and the codec for the rest after each.
_MARKS: dict[str, tuple[tuple[bytes, str], ...]] = {
    "utf-8": ((codecs.BOM_UTF8, "utf-8"),),
    "utf-8-sig": ((codecs.BOM_UTF8, "utf-8"),),
    "utf-16": ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")),
    "utf-16-le": ((codecs.BOM_UTF16_LE, "utf-16-le"),),
    "utf-16-be": ((codecs.BOM_UTF16_BE, "utf-16-be"),),
    "utf-32": ((codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be")),
    "utf-32-le": ((codecs.BOM_UTF32_LE, "utf-32-le"),),
    "utf-32-be": ((codecs.BOM_UTF32_BE, "utf-32-be"),),
}
_WITHOUT_MARK = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
_MARK_BYTES_MAX = 4


class ContentCut(CasparianError):
    """A compressed content ends before its end. What came before it is right."""


class Input:
    """One opened source, from its current position on."""

    def __init__(self, file: BinaryFile, encoding: Encoding = "utf-8", *, has_offsets: bool = True) -> None:
        """`has_offsets=False` is for formats that are not read in order of bytes, such as workbooks; `ends` then only order."""
        names = codec_names(encoding)
        self.file = file
        #: Whether a record may be in any of several encodings, so that each row says which one in `_cf_raw_encoding`.
        self.has_fallback = len(names) > 1
        #: The codecs for the bytes after the mark, in the order in which they are tried.
        self.encodings = names
        self.reading, self.lines_before = begin_reading(file, names[0], has_offsets=has_offsets)
        #: Whether this is a file on disk other than the job's input, so that its bad records belong to no output.
        self.is_another_file = is_another_file(file)
        #: The name of the member of an archive that this is.
        self.member: str = getattr(file, "member", "")
        #: What `row_id` counts, in sentences about one record; "line" means the one on which it begins.
        self.unit = "line"
        #: Where the first chunk begins, in bytes from the start of the source.
        self.offset = file.tell() if self.reading.has_offsets and file.seekable() else 0
        #: Why a compressed content ends before its end, as a predicate of the record that it ends in; known at its end.
        self.cut: str | None = None
        #: The `read` of Python's decompressors forgets what it has unpacked when it comes to the cut; `read1` gives it out.
        self._read_file: Callable[[int], bytes] = file.read
        if type(file).__module__ in ("gzip", "bz2", "lzma"):
            self._read_file = file.read1  # type: ignore[union-attr]
        self._head = b""
        if has_offsets and self.offset == 0:
            self._pass_over_mark()
        self.encodings = [_WITHOUT_MARK.get(name, name) for name in self.encodings]
        self.reading.stream = stream_name(self.encodings[0])  # the mark tells which UTF-16 it is

    @property
    def encoding(self) -> str:
        """The first codec."""
        return self.encodings[0]

    def chunks(self, block_bytes: int | None = None) -> Iterator[bytes]:
        """The bytes from `offset` to the end, about `block_bytes` or `BLOCK_BYTES` at a time."""
        while data := self._read(block_bytes or BLOCK_BYTES):
            yield data

    def ahead(self, byte_count: int) -> bytes:
        """The next bytes, which the next chunk has again; fewer only at the end."""
        self._head = self._read(byte_count)
        return self._head

    def _read(self, byte_count: int) -> bytes:
        data, self._head = self._head[:byte_count], self._head[byte_count:]
        while len(data) < byte_count and self.cut is None:
            try:
                more: bytes = self._read_file(byte_count - len(data))
            except ContentCut as error:
                self.cut = f"is cut off: {error.problem[:1].lower()}{error.problem[1:].removesuffix('.')}"
            except EOFError:
                self.cut = "is cut off: the compressed file ends early"
            else:
                if not more:
                    self._refuse_what_was_passed_over()
                    break
                data = data + more if data else more
        return data

    def _refuse_what_was_passed_over(self) -> None:
        """Python's files of bzip2 and xz end silently at a damaged stream; its decompressor has then not ended."""
        if type(self.file).__module__ in ("bz2", "lzma"):
            unpacker = getattr(getattr(getattr(self.file, "_buffer", None), "raw", None), "_decompressor", None)
            if not getattr(unpacker, "eof", True):
                raise ValueError("the compressed file is damaged: what is behind one of its streams is no other one")

    def _pass_over_mark(self) -> None:
        self._head = self._read(_MARK_BYTES_MAX)
        for place, name in enumerate(self.encodings):
            for mark, codec in _MARKS.get(name, ()):
                if self._head.startswith(mark):
                    self._head = self._head[len(mark) :]
                    self.offset = len(mark)
                    self.encodings[place] = codec
                    self.reading.note(What.BYTE_ORDER_MARK, 0, self.offset)
                    return


def codec_names(encoding: Encoding) -> list[str]:
    """The codecs that `encoding` names, by Python's names. Raises ValueError, with the most similar one, for no name."""
    names = [encoding] if isinstance(encoding, str) else list(encoding)
    if not names:
        raise ValueError("encoding names no encoding")
    return [_codec_name(name) for name in names]


def _codec_name(name: str) -> str:
    if _is_of_text(name):
        return codecs.lookup(name).name
    from difflib import get_close_matches  # only where they are needed
    from encodings.aliases import aliases

    similar = get_close_matches(name.lower().replace("-", "_"), sorted({*aliases, *aliases.values()}))
    close = next((each.replace("_", "-") for each in similar if _is_of_text(each)), None)
    hint = f"did you mean {close}?" if close is not None else "it is a name such as utf-8, cp1252 or cp037"
    raise ValueError(f"{name!r:.80} is not an encoding of text that Python knows; {hint}")


def _is_of_text(name: str) -> bool:
    try:
        "".encode(name)
    except LookupError:
        return False
    return True


@contextmanager
def opened(source: Source) -> Iterator[BinaryFile]:
    """The source as a binary file; a file given by the caller stays open."""
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            yield file
    else:
        yield source


def not_the_encoding(encodings: Sequence[str], cause: UnicodeError) -> str:
    """The reason for which a record is rejected: "is not valid utf-8: byte 3 (E9)"."""
    names = " or ".join(encodings)
    if not isinstance(cause, UnicodeDecodeError):
        return f"is not valid {names}: {cause.reason if isinstance(cause, UnicodeEncodeError) else cause}"
    bad = cause.object[cause.start : cause.start + 1]
    place = f"byte {cause.start + 1} ({bad.hex().upper()})" if bad else f"byte {cause.start + 1}"
    return f"is not valid {names}: {place}"
