"""How an encoding writes line ends, and where they and other bytes are in a block.

LF, CRLF and CR end a line, also mixed; NEL only in EBCDIC or when it is asked for. Lines are found in the bytes, before anything
is decoded, so that bytes that are not text cost only their own line.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

#: `any`: LF, CRLF and CR, also mixed. `lf`: LF and CRLF only; a lone CR is data. `nel`: like `any`, and NEL (U+0085).
LineEnds = Literal["any", "lf", "nel"]

#: How many numbers are kept in memory to find places in a block, 4 bytes each; few for small blocks, because they take time too.
_NUMBERS_KEPT = (4 * 1024, 64 * 1024, 2 * 1024 * 1024)
_UNITS = {"utf-16-le": pa.uint16(), "utf-16-be": pa.uint16(), "utf-32-le": pa.uint32(), "utf-32-be": pa.uint32()}


@dataclass(frozen=True)
class Shape:
    """How an encoding writes line ends. The *shadow* of some bytes has one byte a code unit, and CR and LF only as line ends."""

    encodings: list[str]
    line_ends: LineEnds
    #: The bytes of a code unit.
    unit: int
    lf: bytes = b"\n"
    #: For codecs of one byte in which line ends are other bytes than in ASCII.
    table: bytes | None = None
    #: NEL, if it ends lines in a codec whose other line ends are those of ASCII.
    nel: bytes = b""

    @staticmethod
    def of(encodings: list[str], line_ends: LineEnds) -> Shape:
        if line_ends not in ("any", "lf", "nel"):
            raise ValueError(f"line_ends is any, lf or nel, not {line_ends!r}")
        shapes = [Shape._of_one(encoding, encodings, line_ends) for encoding in encodings]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError(f"the encodings {', '.join(encodings)} write line ends differently")
        return shapes[0]

    @staticmethod
    def _of_one(encoding: str, encodings: list[str], line_ends: LineEnds) -> Shape:
        if encoding in _UNITS:
            lf = "\n".encode(encoding)
            return Shape(encodings, line_ends, len(lf), lf)
        if "\r\n".encode(encoding) == b"\r\n":
            nel = _encoded("\x85", encoding) if line_ends == "nel" else b""
            return Shape(encodings, line_ends, 1, nel=nel if len(nel) <= 2 else b"")
        try:
            texts = [bytes([each]).decode(encoding, "replace") for each in range(256)]
        except UnicodeError:
            texts = []
        if any(len(text) != 1 for text in texts) or "\n" not in texts:
            raise ValueError(f"{encoding} is not an encoding of lines")
        ends = {"\n": b"\n", "\r": b"\r", "\x85": b"\n"}
        table = b"".join(ends.get(text, b"x") for text in texts)
        return Shape(encodings, line_ends, 1, "\n".encode(encoding), table)

    @property
    def is_ascii(self) -> bool:
        """Whether the shadow is the bytes themselves."""
        return self.unit == 1 and self.table is None and not self.nel

    def shadow(self, data: bytes | bytearray) -> bytes | bytearray:
        if self.unit > 1:
            return self._shadow_of_units(data)
        if self.table is not None:
            return data.translate(self.table)
        return data.replace(self.nel, b"\r\n"[-len(self.nel) :]) if self.nel else data

    def last_end(self, held: bytes | bytearray, seen: int) -> int:
        """The end of the last line that is certainly complete: a CR at the very end may be half of a CRLF."""
        start = max(0, seen - 2 * self.unit)
        start -= start % self.unit
        shadow = held if self.is_ascii else self.shadow(held[start:])
        base = start if self.is_ascii else 0
        found = shadow.rfind(b"\n", base)
        if self.line_ends != "lf":
            found = max(found, shadow.rfind(b"\r", base, len(shadow) - 1))
        return (found + 1 - base) * self.unit + start if found >= 0 else 0

    def first_end(self, held: bytearray, *, is_last: bool) -> int | None:
        """The end of the first line; None if it is not known yet."""
        if is_last:
            return len(held)
        shadow = self.shadow(held)
        found = shadow.find(b"\n")
        cr = shadow.find(b"\r", 0, len(shadow) - 1) if self.line_ends != "lf" else -1
        if cr >= 0 and (found < 0 or cr < found):
            found = cr + (shadow[cr + 1 : cr + 2] == b"\n")
        return (found + 1) * self.unit if found >= 0 else None

    def _shadow_of_units(self, data: bytes | bytearray) -> bytes:
        count = len(data) // self.unit
        if not count:
            return b""
        units = pa.Array.from_buffers(_UNITS[self.encodings[0]], count, [None, pa.py_buffer(bytes(data))])
        lf, cr, nel = (int.from_bytes(end.encode(self.encodings[0]), "little") for end in ("\n", "\r", "\x85"))
        is_lf = pc.equal(units, pa.scalar(lf, units.type))
        if self.line_ends == "nel":
            is_lf = pc.or_(is_lf, pc.equal(units, pa.scalar(nel, units.type)))
        is_cr = pc.equal(units, pa.scalar(cr, units.type))
        ten, thirteen, other = (pa.scalar(value, pa.uint8()) for value in (10, 13, 0))
        shadow = pc.if_else(is_lf, ten, pc.if_else(is_cr, thirteen, other))
        return shadow.buffers()[1].to_pybytes()[:count]  # type: ignore[no-any-return]


def _encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        return b""


def byte_values(data: bytes) -> pa.UInt8Array:
    """The bytes as an array of numbers."""
    return pa.Array.from_buffers(pa.uint8(), len(data), [None, pa.py_buffer(data)])


def places(data: bytes, byte: int) -> pa.BooleanArray:
    """Which bytes of `data` are this one."""
    return pc.equal(byte_values(data), pa.scalar(byte, pa.uint8()))


@lru_cache(maxsize=2 * len(_NUMBERS_KEPT))
def _numbers_from(start: int, count: int) -> pa.Int32Array:
    return pa.arange(start, start + count).cast(pa.int32())


def places_of(mask: pa.BooleanArray, plus: int) -> pa.Int64Array:
    """The places where the mask is true, plus a number. A filter is six times as fast as `indices_nonzero`."""
    parts = []
    kept = next((count for count in _NUMBERS_KEPT if len(mask) <= count), _NUMBERS_KEPT[-1])
    for start in range(0, max(1, len(mask)), kept):
        part = mask.slice(start, kept)
        parts.append(pc.add(_numbers_from(plus, kept).slice(0, len(part)).filter(part).cast(pa.int64()), start))
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)


def is_valid_utf8(data: bytes) -> bool:
    offsets = pa.py_buffer(b"\0" * 8 + len(data).to_bytes(8, "little"))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(data)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def split(data: bytes, separator: bytes) -> pa.BinaryArray:
    """The pieces of `data` between the separators, in a buffer without them."""
    offsets = pa.py_buffer(len(data).to_bytes(8, "little").rjust(16, b"\0"))
    whole = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(data)])
    return pc.split_pattern(whole, separator).values.cast(pa.binary())
