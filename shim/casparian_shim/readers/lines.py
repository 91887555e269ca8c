"""The lines of an input, a block at a time: each line's text, and the byte offset where it ends.

Work is done on whole blocks: a block of a million bytes costs no Python object a line unless a caller asks for one. A line that
cannot be decoded or is too long has no text and a reason; the lines around it are not affected, because lines are cut
(`line_ends`) before they are decoded.

Memory use is constant: one block, or one line of at most `record_bytes_max` bytes. Of a longer line only the beginning is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.readers.blocks import Reject
from casparian_shim.readers.line_ends import LineEnds, Shape, is_valid_utf8, places, places_of, split
from casparian_shim.readers.source import (
    RAW_BYTES_MAX,
    RECORD_BYTES_MAX,
    Input,
    not_the_encoding,
)

__all__ = ["Line", "LineBlock", "LineEnds", "decoded", "line_blocks", "split"]

#: An Arrow array of texts has less than 2 GiB.
_RECORD_BYTES_MOST = 1024 * 1024 * 1024


class Line(NamedTuple):
    """One line, for code that goes line by line."""

    number: int
    #: Without its line end; None if it cannot be read, and then `reason` says why.
    text: str | None
    #: `"\\n"`, `"\\r\\n"`, `"\\r"`, or empty for a last line that is not ended.
    line_end: str
    begin: int
    #: The byte offset after the line and its line end.
    end: int
    reason: str | None
    #: The codec that read it.
    encoding: str
    #: Its bytes without the line end; of a line that is too long, the beginning.
    raw: bytes


def line_blocks(
    input: Input,
    *,
    line_ends: LineEnds = "any",
    record_bytes_max: int = RECORD_BYTES_MAX,
    block_bytes: int | None = None,
) -> Iterator[LineBlock]:
    """The lines of `input` in blocks of about `block_bytes` or `source.BLOCK_BYTES`; no block is empty."""
    if not 0 < record_bytes_max <= _RECORD_BYTES_MOST:
        raise ValueError(f"record_bytes_max is a number from 1 to {_RECORD_BYTES_MOST:,}, not {record_bytes_max!r:.40}")
    shape = Shape.of(input.encodings, line_ends)
    held = bytearray()  # complete lines and the beginning of the next one
    number, begin = input.lines_before + 1, input.offset
    giant: _Giant | None = None
    for chunk in _and_end(input.chunks(block_bytes)):
        is_last, seen = not chunk, len(held)
        cut = shape.last_end(chunk, 0) if giant is None and shape.is_ascii else 0
        if cut:  # the usual case, in which the bytes are copied once
            data = b"".join((held, memoryview(chunk)[:cut]))
            held = bytearray(memoryview(chunk)[cut:])
        else:
            held += chunk
            if giant is not None:
                end = shape.first_end(held, is_last=is_last)
                if end is None:
                    giant.drop(held, shape.unit)
                    continue
                yield LineBlock.of_giant(giant, bytes(held[:end]), number, begin, shape, record_bytes_max)
                number, begin, giant, seen = number + 1, begin + giant.dropped + end, None, 0
                del held[:end]
            if is_last and held and input.cut is not None:
                yield LineBlock(bytes(held), number, begin, shape, record_bytes_max, fault=input.cut)
                return
            cut = len(held) if is_last else shape.last_end(held, seen)
            data = bytes(memoryview(held)[:cut])
            del held[:cut]
        if data:
            block = LineBlock(data, number, begin, shape, record_bytes_max)
            yield block
            number, begin = number + len(block), begin + len(data)
        if len(held) > record_bytes_max:
            giant = _Giant()
            giant.drop(held, shape.unit)


def _and_end(chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield from chunks
    yield b""


class _Giant:
    """A line that is too long to be held."""

    def __init__(self) -> None:
        self.beginning = bytearray()
        self.dropped = 0

    def drop(self, held: bytearray, unit: int) -> None:
        """Keep the end, in which half a line end may stand."""
        count = max(0, len(held) - 2 * unit)
        count -= (self.dropped + count) % unit
        if len(self.beginning) < RAW_BYTES_MAX:
            self.beginning += held[: min(count, RAW_BYTES_MAX - len(self.beginning))]
        self.dropped += count
        del held[:count]


@dataclass(eq=False)
class LineBlock:
    """Some complete lines that follow each other. Only the last line of an input may lack its line end."""

    #: The bytes of the lines with their line ends; of a line that was too long to be held only the beginning.
    data: bytes
    #: The number of the first line.
    first: int
    #: The byte offset where the first line begins.
    begin: int
    _shape: Shape
    _record_bytes_max: int
    _giant_bytes: int = 0
    #: What is wrong with the only line, whatever is in it.
    fault: str | None = None
    #: The lines that cannot be read: place in the block → "is not valid utf-8: byte 3 (E9)". Known after `texts`.
    bad: dict[int, str] = field(default_factory=dict)

    @staticmethod
    def of_giant(giant: _Giant, end: bytes, first: int, begin: int, shape: Shape, record_bytes_max: int) -> LineBlock:
        """A line that was too long to be held, of which `end` is the rest."""
        raw = bytes(giant.beginning)
        if giant.dropped < RAW_BYTES_MAX:  # its line end may be needed to know where the text ends
            raw = LineBlock(raw + end, first, begin, shape, record_bytes_max).raw[0].as_py()
        return LineBlock(raw[:RAW_BYTES_MAX], first, begin, shape, record_bytes_max, giant.dropped + len(end))

    def __len__(self) -> int:
        if self.separator is None or "raw" in self.__dict__:
            return len(self.sizes)
        return self._length

    @cached_property
    def _length(self) -> int:
        separator = self.separator or b"\n"
        return self.data.count(separator) + (not self.data.endswith(separator))

    # --- whole columns ---

    @cached_property
    def raw(self) -> pa.BinaryArray:
        """The bytes of each line without its line end."""
        if self.separator is None:
            return self._cut[0]
        if (size := self._line_size) is not None:
            lines = pa.Array.from_buffers(pa.binary(size), len(self.data) // size, [None, pa.py_buffer(self.data)])
            return pc.binary_slice(lines, 0, size - len(self.separator)).cast(pa.binary())
        pieces = split(self.data, self.separator)
        return pieces.slice(0, len(pieces) - 1) if self.data.endswith(self.separator) else pieces

    @cached_property
    def sizes(self) -> pa.Int64Array:
        """The bytes of each line with its line end."""
        if self.separator is None:
            return self._cut[1]
        starts = pa.concat_arrays([pa.array([0], pa.int64()), self._stops.slice(0, len(self._stops) - 1)])
        return pc.subtract(self._stops, starts)

    @cached_property
    def ends(self) -> pa.Int64Array:
        """The byte offset after each line."""
        return pc.add(pc.cumulative_sum(self.sizes) if self.separator is None else self._stops, self.begin)

    @cached_property
    def separator(self) -> bytes | None:
        """The line end, if it is the same for all lines of a block whose line ends are those of ASCII."""
        return self._only_end(self.data) if self._shape.is_ascii and not self._giant_bytes else None

    @cached_property
    def _line_size(self) -> int | None:
        """The bytes of each line with its line end, if all have as many and `separator` is known."""
        end, data = self.separator or b"\n", self.data
        first = data.find(end)
        if first <= 0:
            return None
        size = first + len(end)
        count, rest = divmod(len(data), size)
        if rest or data[size - 1 :: size] != end[-1:] * count or data.count(end[-1:]) != count:
            return None
        return size

    @cached_property
    def has_blank_line(self) -> bool:
        """Whether some line has nothing in it."""
        if self.separator is None:
            return bool(pc.any(pc.equal(pc.binary_length(self.raw), 0)).as_py())
        return self.data.startswith(self.separator) or 2 * self.separator in self.data

    def end_before(self, place: int) -> int:
        """The byte offset where the line at `place` begins, or where the last line ends."""
        if place == len(self) and not self._giant_bytes:
            return self.begin + len(self.data)
        return self.ends[place - 1].as_py() if place else self.begin

    @cached_property
    def is_line_end(self) -> pa.BooleanArray:
        """Which bytes of `data` are the first ones of line ends, if `separator` is known."""
        return places(self.data, (self.separator or b"\n")[0]) if self._is_cr is None else self._is_cr

    @cached_property
    def _is_end(self) -> pa.BooleanArray:
        """Which bytes are the last ones of line ends, if `separator` is known."""
        return self.is_line_end if self.separator in (b"\n", b"\r") else self._is_lf

    @cached_property
    def _is_lf(self) -> pa.BooleanArray:
        return places(self.data, ord("\n"))

    @cached_property
    def _stops(self) -> pa.Int64Array:
        """Where each line ends in `data`, if `separator` is known."""
        if (size := self._line_size) is not None:
            return pa.arange(size, len(self.data) + 1, size)
        if "raw" in self.__dict__:
            return self._stops_by_raw(self.separator or b"\n")
        stops = places_of(self._is_end, 1)
        if self.data.endswith(self.separator or b"\n"):
            return stops
        return pa.concat_arrays([stops, pa.array([len(self.data)], pa.int64())])

    def _stops_by_raw(self, separator: bytes) -> pa.Int64Array:
        """The same from where the lines end in `raw`, which has them without line ends."""
        count, offsets = len(self.raw), self.raw.buffers()[1]
        ends = pa.Array.from_buffers(pa.int32(), count, [None, offsets], offset=self.raw.offset + 1).cast(pa.int64())
        stops = pc.add(ends, pc.multiply(pa.arange(1, count + 1), len(separator)))
        if self.data.endswith(separator):
            return stops
        return pa.concat_arrays([stops.slice(0, count - 1), pa.array([len(self.data)], pa.int64())])

    @cached_property
    def numbers(self) -> pa.Int64Array:
        """The number of each line."""
        return pa.arange(self.first, self.first + len(self))

    @cached_property
    def texts(self) -> pa.StringArray:
        """Each line without its line end; NULL for a line that cannot be read (`bad`)."""
        if self._has_bad_line:
            return self._text_by_line()
        try:
            if self._shape.encodings[0] == "utf-8" and self._shape.unit == 1:
                return self.raw.cast(pa.string())
            texts = self._text_of_block(self._shape.encodings[0])
        except (UnicodeError, pa.ArrowInvalid):
            texts = None
        return texts if texts is not None else self._text_by_line()

    @cached_property
    def is_utf8(self) -> bool:
        """Whether `data` as it is, is the text of the block in UTF-8: every line is valid, and none too long."""
        return (
            self._shape.is_ascii
            and self._shape.encodings[0] == "utf-8"
            and not self._has_bad_line
            and is_valid_utf8(self.data)
        )

    @cached_property
    def _has_bad_line(self) -> bool:
        if self._giant_bytes or self.fault:
            return True
        is_short = len(self.data) <= self._record_bytes_max
        return not is_short and (pc.max(self.sizes).as_py() or 0) > self._record_bytes_max

    @cached_property
    def encodings(self) -> pa.StringArray:
        """The codec that read each line."""
        self.texts  # noqa: B018 - it finds out
        if self._chosen is None:
            return pa.repeat(pa.scalar(self._shape.encodings[0]), len(self))
        return pa.array(self._chosen, pa.string())

    # --- line by line ---

    def lines(self, start: int = 0) -> Iterator[Line]:
        """The lines from place `start` on, one at a time."""
        texts, raws = self.texts.slice(start).to_pylist(), self.raw.slice(start).to_pylist()
        sizes, ends = self.sizes.slice(start).to_pylist(), self.ends.slice(start).to_pylist()
        encodings = self.encodings.slice(start).to_pylist() if self._chosen is not None else None
        for place, (text, size, end, raw) in enumerate(zip(texts, sizes, ends, raws, strict=True), start):
            yield Line(
                self.first + place,
                text,
                self.line_end(place),
                end - size,
                end,
                self.bad.get(place),
                self._shape.encodings[0] if encodings is None else encodings[place - start],
                raw,
            )

    def rejects(self) -> list[Reject]:
        """The lines that cannot be read, for readers in which each line is a record."""
        self.texts  # noqa: B018 - it finds out
        return [
            Reject(self.first + place, self.ends[place].as_py(), reason, self.raw[place].as_py()[:RAW_BYTES_MAX])
            for place, reason in self.bad.items()
        ]

    def line_end(self, place: int) -> str:
        """The line end of one line as text."""
        if self._giant_bytes:
            return ""
        size = self.sizes[place].as_py() - len(self.raw[place].as_buffer())
        if not size:
            return ""
        stop = self.ends[place].as_py() - self.begin
        return self.data[stop - size : stop].decode(self._shape.encodings[0])

    def piece(self, place: int) -> bytes:
        """The bytes of one line with its line end."""
        stop = self.ends[place].as_py() - self.begin
        return self.data if self._giant_bytes else self.data[stop - self.sizes[place].as_py() : stop]

    # --- inside ---

    _chosen: list[str] | None = None
    #: Which bytes are CR, in a block with CR and LF.
    _is_cr: pa.BooleanArray | None = None

    @cached_property
    def _starts(self) -> list[int]:
        """Where each line begins in `data`."""
        return list(accumulate(self.sizes.to_pylist(), initial=0))

    @cached_property
    def _cut(self) -> tuple[pa.BinaryArray, pa.Int64Array]:
        if self._giant_bytes:
            return pa.array([self.data], pa.binary()), pa.array([self._giant_bytes], pa.int64())
        if not self._shape.is_ascii:
            return self._cut_by_shadow()
        if self._shape.line_ends == "lf":
            wholes = self.data.split(b"\n")
            wholes = [piece + b"\n" for piece in wholes[:-1]] + ([wholes[-1]] if wholes[-1] else [])
            pieces = [
                piece.removesuffix(b"\n").removesuffix(b"\r") if piece.endswith(b"\n") else piece for piece in wholes
            ]
        else:
            wholes, pieces = self.data.splitlines(True), self.data.splitlines()
        return pa.array(pieces, pa.binary()), pa.array(map(len, wholes), pa.int64())

    def _only_end(self, data: bytes) -> bytes | None:
        """The line end, if there is only one kind in this block."""
        if b"\r" not in data:
            return b"\n"
        if b"\n" not in data:
            return b"\r" if self._shape.line_ends != "lf" else None
        if data.startswith(b"\n") or data.endswith(b"\r"):
            return None
        self._is_cr = places(data, ord("\r"))
        return b"\r\n" if self._is_cr.slice(0, len(data) - 1).equals(self._is_lf.slice(1)) else None

    def _cut_by_shadow(self) -> tuple[pa.BinaryArray, pa.Int64Array]:
        unit, data = self._shape.unit, self.data
        shadow = bytes(self._shape.shadow(data))
        if self._shape.line_ends == "lf":
            wholes = [each + b"\n" for each in shadow.split(b"\n")]
            wholes[-1] = wholes[-1][:-1]
            wholes = wholes if wholes[-1] else wholes[:-1]
            bare = [len(each.removesuffix(b"\n").removesuffix(b"\r")) for each in wholes]
        else:
            wholes = shadow.splitlines(True)
            bare = list(map(len, shadow.splitlines()))
        sizes = [len(each) * unit for each in wholes]
        rest = len(data) - sum(sizes)  # half a code unit at the end of the input
        if rest:
            if sizes and len(wholes[-1]) == bare[-1]:
                sizes[-1] += rest
                bare[-1] = -1
            else:
                sizes.append(rest)
                bare.append(-1)
        starts = accumulate(sizes, initial=0)
        pieces = [
            data[start : start + (length * unit if length >= 0 else size)]
            for start, size, length in zip(starts, sizes, bare, strict=False)
        ]
        return pa.array(pieces, pa.binary()), pa.array(sizes, pa.int64())

    def _text_of_block(self, encoding: str) -> pa.StringArray | None:
        """All texts at once; None if the lines of the text are not the lines of the bytes."""
        text = self.data.decode(encoding)
        if self._shape.is_ascii:
            recoded = LineBlock(text.encode("utf-8"), 0, 0, Shape(["utf-8"], self._shape.line_ends, 1), 0)
            return recoded.raw.cast(pa.string()) if len(recoded) == len(self) else None
        unit = self._shape.unit
        if len(text) * unit != len(self.data):  # characters of more than one code unit
            return None
        bare = pc.binary_length(self.raw).to_pylist()
        pieces = [text[s // unit : (s + length) // unit] for s, length in zip(self._starts, bare, strict=False)]
        return pa.array(pieces, pa.string())

    def _text_by_line(self) -> pa.StringArray:
        texts: list[str | None] = []
        chosen: list[str] = []
        for place, (piece, size) in enumerate(zip(self.raw.to_pylist(), self.sizes.to_pylist(), strict=True)):
            text, encoding = None, self._shape.encodings[0]
            if self.fault is not None:
                self.bad[place] = self.fault
            elif size > self._record_bytes_max:
                self.bad[place] = f"is longer than {self._record_bytes_max:,} bytes"
            else:
                try:
                    text, encoding = decoded(piece, self._shape.encodings)
                except UnicodeError as cause:
                    self.bad[place] = not_the_encoding(self._shape.encodings, cause)
            texts.append(text)
            chosen.append(encoding)
        self._chosen = chosen
        return pa.array(texts, pa.string())


def decoded(data: bytes, encodings: list[str]) -> tuple[str, str]:
    """The text of `data` by the first codec that reads it, and that codec. Raises the first one's error if none does."""
    first: UnicodeError | None = None
    for encoding in encodings:
        try:
            text = data.decode(encoding)
            text.encode("utf-8")  # a codec may produce lone surrogates
            return text, encoding
        except UnicodeError as cause:
            first = first or cause
    assert first is not None
    raise first
