"""The lines of a byte source as text, in blocks, each line with the byte offset where it ends.

This module owns encodings, byte order marks and line ends: LF, CRLF and CR end a line, also mixed, unless one is chosen. The
readers decide what a line means. Memory use is constant: one block, or one line if it is longer.
"""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import AnyStr, Literal

from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.sdk.records import BinaryFile, What, begin_reading, stream_name

_SHOWN_CHARACTERS = 120


class BadRecord(CasparianError):
    """A record does not have the expected shape."""

    code = ErrorCode.INVALID_DATA

    def __init__(self, line: int, reason: str, text: str | None = None, *, remedy: str = "") -> None:
        shown = "" if text is None else f": {_shown(text)}"
        super().__init__(
            f"The record on line {line} {reason}{shown}.",
            remedy=remedy or "Read the file with read_lines and reject such lines, or handle them.",
        )
        self.line = line


class BadHeader(CasparianError):
    """The header does not name the columns."""

    code = ErrorCode.INVALID_DATA

    def __init__(self, line: int, reason: str, text: str) -> None:
        super().__init__(
            f"The header on line {line} {reason}: {_shown(text)}.",
            remedy="Name the columns yourself with columns=[…]; skip_lines=N skips lines before the header, and "
            "header=False is for files without one.",
        )
        self.line = line


class NotTheEncoding(CasparianError):
    """The bytes of a line are not valid text in the reader's encoding."""

    code = ErrorCode.ENCODING_ERROR

    def __init__(self, line: int, encoding: str, cause: UnicodeDecodeError) -> None:
        bad = cause.object[cause.start : cause.start + 1]
        has_zeros = cause.object.count(b"\0") * 4 > len(cause.object)
        around = cause.object[max(0, cause.start - 40) : cause.start + 40].decode("ascii", "backslashreplace")
        place = f"byte {cause.start + 1} ({bad.hex(' ').upper()})" if bad else f"byte {cause.start + 1}"
        super().__init__(
            f"Line {line} is not {encoding}: {place} cannot be decoded: {_shown(around)}.",
            remedy=f"Give the reader the file's encoding, for example encoding='{'utf-16-le' if has_zeros else 'cp1252'}'.",
        )
        self.line = line


def _shown(text: str) -> str:
    plain = text.rstrip("\r\n")
    return repr(plain if len(plain) <= _SHOWN_CHARACTERS else plain[:_SHOWN_CHARACTERS] + "…")


Source = str | os.PathLike[str] | BinaryFile
#: `any`: LF, CRLF and CR, also mixed. `lf`: LF and CRLF only; a lone CR is data.
LineEnds = Literal["any", "lf"]

_BLOCK_BYTES = 256 * 1024
LINE_BYTES_MAX = 64 * 1024 * 1024
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


class Lines:
    """The lines of one source. During an iteration of `texts`, `first` and `ends` describe the current block."""

    def __init__(self, file: BinaryFile, encoding: str, line_ends: LineEnds) -> None:
        if line_ends not in ("any", "lf"):
            raise ValueError(f"line_ends is any or lf, not {line_ends!r}")
        self._file = file
        self._head = b""
        self._newline = "" if line_ends == "any" else "\n"
        self.encoding = codecs.lookup(encoding).name
        self.reading, self.lines_before = begin_reading(file, encoding)
        self.offset = file.tell() if self.reading.has_offsets and file.seekable() else 0
        #: The number of the first line in the block.
        self.first = self.lines_before + 1
        #: The offset where the block begins, and the byte offset after each of its lines.
        self.begins = self.offset
        self.ends: list[int] = []
        if self.offset == 0:
            self._pass_over_mark()
        elif self.encoding in _WITHOUT_MARK:
            self.encoding = _WITHOUT_MARK[self.encoding]
        self.reading.stream = stream_name(self.encoding)  # the mark tells which UTF-16 it is

    def blocks(self) -> Iterator[list[str]]:
        """The lines with their ends. Raises `NotTheEncoding` after everything before the bad line was returned."""
        is_bytewise = "\r\n".encode(self.encoding) == b"\r\n"
        for texts, sizes in self._byte_blocks() if is_bytewise else self._text_blocks():
            self.reading.rest()
            self.first += len(self.ends)
            self.begins = self.offset
            self.ends = list(accumulate(sizes, initial=self.offset))[1:]
            if self.ends:
                self.offset = self.ends[-1]
            yield texts
        self.reading.note(What.COMPLETE, 0, self.offset)

    def end_of(self, line: int) -> int:
        return self.ends[line - self.first]

    def _pass_over_mark(self) -> None:
        self._head = self._file.read(4)
        mark, self.encoding = next(
            (each for each in _MARKS.get(self.encoding, ()) if self._head.startswith(each[0])),
            (b"", _WITHOUT_MARK.get(self.encoding, self.encoding)),
        )
        if mark:
            self._head = self._head[len(mark) :]
            self.offset = len(mark)
            self.reading.note(What.BYTE_ORDER_MARK, 0, self.offset)

    def _read(self, byte_count: int) -> bytes:
        head, self._head = self._head, b""
        return head + self._file.read(byte_count) if head else self._file.read(byte_count)

    def _byte_blocks(self) -> Iterator[tuple[list[str], list[int]]]:
        """For encodings in which the bytes of CR and LF occur in no other character: lines are split before they are decoded."""
        rest = b""
        while data := self._read(max(_BLOCK_BYTES, len(rest))):
            block = rest + data
            cut = _last_line_end(block, b"\n", b"\r", self._newline == "")
            rest = block[cut:]
            if cut:
                yield from self._decoded(block[:cut])
            if len(rest) > LINE_BYTES_MAX:
                raise self._too_long()
        if rest:
            yield from self._decoded(rest)

    def _decoded(self, block: bytes) -> Iterator[tuple[list[str], list[int]]]:
        pieces = block.splitlines(True) if self._newline == "" else list(io.BytesIO(block))
        sizes = list(map(len, pieces))
        try:
            text = block.decode(self.encoding)
        except UnicodeDecodeError:
            yield from self._up_to_bad_line(pieces, sizes)
            return
        texts = list(io.StringIO(text, newline=self._newline))
        if len(texts) != len(sizes):  # a codec that makes line ends from other bytes
            texts = [piece.decode(self.encoding) for piece in pieces]
        yield texts, sizes

    def _up_to_bad_line(self, pieces: list[bytes], sizes: list[int]) -> Iterator[tuple[list[str], list[int]]]:
        texts: list[str] = []
        for index, piece in enumerate(pieces):
            try:
                texts.append(piece.decode(self.encoding))
            except UnicodeDecodeError as cause:
                bad_line = self.first + len(self.ends) + index
                yield texts, sizes[:index]
                raise NotTheEncoding(bad_line, self.encoding, cause) from cause
        yield texts, sizes  # each line is valid text, but not all of them together

    def _text_blocks(self) -> Iterator[tuple[list[str], list[int]]]:
        """UTF-16, UTF-32, EBCDIC: text is decoded first, and a line's bytes are counted by encoding it again."""
        decoder = codecs.getincrementaldecoder(self.encoding)()
        rest = ""
        is_more = True
        while is_more:
            data = self._read(_BLOCK_BYTES)
            is_more = bool(data)
            try:
                block = rest + decoder.decode(data, final=not is_more)
            except UnicodeDecodeError as cause:
                raise NotTheEncoding(self.first + len(self.ends) + rest.count("\n"), self.encoding, cause) from cause
            cut = _last_line_end(block, "\n", "\r", self._newline == "") if is_more else len(block)
            rest = block[cut:]
            if cut:
                texts = list(io.StringIO(block[:cut], newline=self._newline))
                yield texts, [len(text.encode(self.encoding)) for text in texts]
            if len(rest) > LINE_BYTES_MAX // 2:
                raise self._too_long()

    def _too_long(self) -> BadRecord:
        line = self.first + len(self.ends)
        return BadRecord(line, f"is longer than {LINE_BYTES_MAX:,} bytes", remedy="Read such a file with ctx.file.")


def _last_line_end(block: AnyStr, lf: AnyStr, cr: AnyStr, is_cr_an_end: bool) -> int:
    """The end of the last line that is certainly complete: a CR at the very end may be half of a CRLF."""
    found = block.rfind(lf)
    if is_cr_an_end:
        found = max(found, block.rfind(cr, 0, len(block) - 1))
    return found + 1


@contextmanager
def opened(source: Source) -> Iterator[BinaryFile]:
    """The source as a binary file; a file given by the caller stays open."""
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            yield file
    else:
        yield source


def without_end(text: str) -> str:
    """A line without its LF, CRLF or CR."""
    return text.removesuffix("\n").removesuffix("\r")
