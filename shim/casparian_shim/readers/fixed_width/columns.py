"""Whole columns cut out of records at once, without Python code for each record: their bytes, their text, their numbers.

`Slices` cuts. Tables of bytes turn numbers of mainframes into ASCII digits, which Arrow reads; the values are those of
`Field.value`. Rows that are not a number are marked, and a column that cannot be decoded is None: `cutting` then looks at the
records one by one.
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.readers.fixed_width.layout import Field, is_of_one_byte, line_ends_of
from casparian_shim.readers.fixed_width.numbers import BAD, zones

#: Beyond every record. Without an end, `binary_slice` of pyarrow gives nothing.
_END = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Slices:
    """Records as one array, which columns are cut from. `is_text`: positions count characters."""

    records: pa.Array
    is_text: bool
    lengths: pa.Array
    #: Whether all bytes are below 128.
    is_ascii: bool
    #: The codec of the records' bytes, if each character of their text is one of them.
    codec: str | None = None

    @classmethod
    def of(cls, records: pa.Array, is_text: bool) -> Slices:
        data = records.buffers()[2]
        is_ascii = data is None or data.to_pybytes().isascii()
        if not is_text or is_ascii:
            return cls(records, is_text, pc.binary_length(records), is_ascii)
        characters = pc.utf8_length(records)
        narrow = _narrowed(records, characters)
        return (
            cls(records, True, characters, False) if narrow is None else cls(narrow, True, characters, False, _NARROW)
        )

    @property
    def shortest_and_longest(self) -> tuple[int, int]:
        found = pc.min_max(self.lengths).as_py()
        return found["min"] or 0, found["max"] or 0

    def filtered(self, mask: pa.Array) -> Slices:
        return replace(self, records=self.records.filter(mask), lengths=self.lengths.filter(mask))

    def with_blanks(self, length: int, blank: str) -> Slices:
        """The records without blanks at their end, and with as many as they need."""
        low, high = self.shortest_and_longest
        if low == high == length:
            return self
        if self.is_text and self.codec is None:
            return Slices.of(pc.utf8_rpad(pc.utf8_rtrim(self.records, blank), length, blank), True)
        plain = self.records.view(pa.string())
        padded = pc.ascii_rpad(pc.ascii_rtrim(plain, blank), length, blank).view(pa.binary())
        return replace(self, records=padded, lengths=pc.binary_length(padded))

    def cells(self, start: int, end: int | None) -> pa.Array:
        """The bytes of a field in each record."""
        return pc.binary_slice(self.records.view(pa.binary()), start, _END if end is None else end)

    def data(self, field: Field) -> bytes:
        """The bytes of a number in each record, one after the other. Every record must reach to its end."""
        cells = self.cells(field.start, field.end)
        return cells.buffers()[2].slice(0, len(cells) * field.width).to_pybytes() if len(cells) else b""

    def texts(self, start: int, end: int | None, encoding: str) -> pa.Array | None:
        """The text of a field in each record; None if one cannot be read."""
        if self.codec is not None:
            return _decoded(self.cells(start, end), self.codec)
        if self.is_text and not self.is_ascii:
            return pc.utf8_slice_codeunits(self.records, start, _END if end is None else end)
        if self.is_text or (self.is_ascii and _keeps_ascii(encoding)):
            return self.cells(start, end).view(pa.string())
        try:
            return _decoded(self.cells(start, end), encoding)
        except (UnicodeError, pa.ArrowInvalid):
            return None


_NARROW = "latin-1"


def _narrowed(records: pa.Array, characters: pa.Array) -> pa.Array | None:
    """Texts as bytes with one byte a character, which are cut much faster; None if a character is none of Latin-1."""
    records = pa.concat_arrays([records]) if records.offset else records
    try:
        data = records.buffers()[2].to_pybytes().decode("utf-8").encode(_NARROW)
    except UnicodeError:
        return None
    offsets = pc.cumulative_sum(pa.concat_arrays([pa.array([0], pa.int32()), characters.fill_null(0)]))
    return pa.Array.from_buffers(pa.binary(), len(records), [None, offsets.buffers()[1], pa.py_buffer(data)])


def _decoded(cells: pa.Array, encoding: str) -> pa.Array:
    """The cells as text. Only those with other characters than ASCII are decoded one by one."""
    if encoding == "utf-8":
        return cells.cast(pa.string())
    table = _ascii_table(encoding)
    if table is None:
        return pa.array([cell.decode(encoding) for cell in cells.to_pylist()], pa.string())
    _, offsets, data = cells.buffers()
    if data is None:
        return cells.view(pa.string())
    plain = data.to_pybytes().translate(table)
    texts = pa.Array.from_buffers(pa.string(), len(cells), [None, offsets, pa.py_buffer(plain)])
    if plain.isascii():
        return texts
    others = pc.invert(pc.string_is_ascii(texts))
    decoded = [cell.decode(encoding) for cell in cells.filter(others).to_pylist()]
    return pc.replace_with_mask(texts, others, pa.array(decoded, pa.string()))


@lru_cache(maxsize=64)
def _ascii_table(encoding: str) -> bytes | None:
    """The ASCII character of each byte that is one in the encoding, and 0x80 for the others.

    None for encodings that write other characters with such bytes, too.
    """
    if is_of_one_byte(encoding):
        texts = [bytes([byte]).decode(encoding, "replace") for byte in range(256)]
        return bytes(ord(text) if text.isascii() else 0x80 for text in texts)
    is_superset = encoding in _ASCII_AND_LEAD_BYTES and _ASCII.decode(encoding) == _ASCII.decode("ascii")
    return _ASCII + b"\x80" * 128 if is_superset else None


def _keeps_ascii(encoding: str) -> bool:
    """Whether bytes below 128 alone are ASCII in the encoding."""
    return encoding == "utf-8" or (_ascii_table(encoding) or b"").startswith(_ASCII)


def with_line_end(cells: pa.BinaryArray, encoding: str) -> pa.BooleanArray | None:
    """Which cells have a line end in them; None if none has."""
    data = cells.buffers()[2]
    used = b"" if data is None else data.to_pybytes()
    ends = "".join(rf"\x{end:02x}" for end in line_ends_of(encoding) if end in used)
    return pc.match_substring_regex(cells, f"[{ends}]") if ends else None


_ASCII = bytes(range(128))
#: Encodings in which a byte below 128 is ASCII unless a byte of 128 or more is before it in the same text.
_ASCII_AND_LEAD_BYTES = ("shift_jis", "cp932", "gb18030", "gbk", "gb2312", "big5", "cp950", "euc_jp", "euc_kr", "cp949")


# --- numbers ---

_HEX_DIGITS = bytes(byte if byte in b"0123456789" else BAD[0] for byte in range(256))
_HEX_SIGNS = bytes(
    {**dict.fromkeys(b"acef", 0x2B), **dict.fromkeys(b"bd", 0x2D)}.get(byte, BAD[0]) for byte in range(256)
)
_ARRAY_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}
_INT64_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column of numbers. `bad` marks rows whose bytes are no number; None if there are none."""

    values: Any
    bad: Any | None


def arrow_type(field: Field) -> Any:
    """The type of a field's column."""
    if field.kind == "text":
        return pa.string()
    if field.kind == "bytes":
        return pa.binary()
    return pa.int64() if field.is_integer else pa.decimal128(field.precision, max(field.scale, 0))


def numbers(data: bytes, field: Field, encoding: str) -> Numbers:
    """The numbers of a column whose records have these bytes in the field, one after the other."""
    encoding = field.encoding or encoding
    if not data:
        return Numbers(pa.array([], arrow_type(field)), None)
    if field.kind == "binary":
        return Numbers(_scaled(_binary(data, field), field), None)
    unset, data = _unset(data, field, encoding)
    text, signs = _packed_text(data, field) if field.kind == "packed" else _zoned_text(data, field, encoding)
    width = 2 * field.width if field.kind == "packed" else field.width
    bad = None
    if BAD in text or BAD in signs:
        bad = pc.match_substring(_texts(text, width), BAD.decode())
        if signs:
            bad = pc.or_(bad, pc.equal(_fixed(signs, 1), BAD))
        text = text.replace(BAD, b"0")
    values = _read(text, width, field)
    if b"-" in signs:
        values = pc.if_else(pc.equal(_fixed(signs, 1), b"-"), pc.negate(values), values)
    values = _scaled(values, field)
    if unset is not None:
        values = pc.if_else(unset, None, values)
    return Numbers(values, bad)


def _unset(data: bytes, field: Field, encoding: str) -> tuple[Any | None, bytes]:
    """Which rows have no number (see `Field.unset_fills`), and the data with zeros in them."""
    width = field.width
    fills = [fill for fill in field.unset_fills(encoding) if fill * width in data]
    if not fills:
        return None, data
    rows = _fixed(data, width)
    masks = [pc.equal(rows, fill * width) for fill in fills]
    unset = masks[0]
    for mask in masks[1:]:
        unset = pc.or_(unset, mask)
    if not pc.any(unset).as_py():
        return None, data
    filled = pc.if_else(unset, pa.scalar(_zero(field, encoding), pa.binary(width)), rows)
    return unset, bytes(filled.buffers()[1])


def _zero(field: Field, encoding: str) -> bytes:
    if field.kind == "packed":
        return b"\0" * (field.width - 1) + (b"\0" if field.sign == "none" else b"\x0c")
    zero, plus = zones(encoding).zero, "+".encode(encoding)
    digits = zero * field.digits
    return {"leading separate": plus + digits, "trailing separate": digits + plus}.get(field.sign, digits)


def _packed_text(data: bytes, field: Field) -> tuple[bytes, bytes]:
    """The ASCII digits of a packed column, and the sign of each row. The half byte of the sign becomes a leading zero."""
    halves = data.hex().encode()
    if field.sign == "none":
        return halves.translate(_HEX_DIGITS), b""
    width = 2 * field.width
    digits = bytearray(b"0" + halves[:-1].translate(_HEX_DIGITS))
    digits[::width] = b"0" * (len(digits) // width)
    return bytes(digits), halves[width - 1 :: width].translate(_HEX_SIGNS)


def _zoned_text(data: bytes, field: Field, encoding: str) -> tuple[bytes, bytes]:
    table, width = zones(encoding), field.width
    if field.sign == "none":
        return data.translate(table.digits), b""
    first = 0 if field.sign.startswith("leading") else width - 1
    digits = bytearray(data.translate(table.digits))
    marks = data[first::width]
    if not field.sign.endswith("separate"):
        digits[first::width] = marks.translate(table.signed_digits)
        return bytes(digits), marks.translate(table.signs)
    digits[first::width] = b"0" * (len(digits) // width)
    if first:  # a zero after the digits would multiply them: it moves before those of the next row
        digits = bytearray(b"0") + digits[:-1]
    return bytes(digits), marks.translate(table.sign_marks)


def _binary(data: bytes, field: Field) -> Any:
    width, row_count = field.width, len(data) // field.width
    is_signed = field.sign != "none"
    code = _ARRAY_CODES.get(width)
    if code is None:
        values = [
            int.from_bytes(data[start : start + width], field.byte_order, signed=is_signed)
            for start in range(0, len(data), width)
        ]
        return pa.array(values, pa.int64())
    values_of_machine = array(code if is_signed else code.upper(), data)
    if field.byte_order != sys.byteorder:
        values_of_machine.byteswap()
    bits = 8 * width
    plain = getattr(pa, f"{'' if is_signed else 'u'}int{bits}")()
    values = pa.Array.from_buffers(plain, row_count, [None, pa.py_buffer(values_of_machine.tobytes())])
    return values if plain == pa.uint64() else values.cast(pa.int64())


def _read(text: bytes, width: int, field: Field) -> Any:
    """The digits as whole numbers. Zeros before the digits that a field can hold do not count."""
    kind = pa.int64() if field.digits <= _INT64_DIGITS else pa.decimal128(field.digits, 0)
    if width > field.digits and kind != pa.int64():
        cut = width - field.digits
        return pc.binary_slice(_fixed(text, width), cut, width).cast(pa.binary()).view(pa.string()).cast(kind)
    return _texts(text, width).cast(kind)


def _scaled(values: Any, field: Field) -> Any:
    """Whole numbers as the field's type: the point is set, or zeros are added."""
    wanted = arrow_type(field)
    if field.scale < 0:
        return pc.binary_join_element_wise(values.cast(pa.string()), "0" * -field.scale, "").cast(wanted)
    if values.type == wanted:
        return values
    if not pa.types.is_decimal(values.type):
        values = values.cast(pa.decimal128(20, 0))
    return pa.Array.from_buffers(wanted, len(values), values.buffers(), offset=values.offset)


def _fixed(data: bytes, width: int) -> Any:
    return pa.Array.from_buffers(pa.binary(width), len(data) // width, [None, pa.py_buffer(data)])


def _texts(data: bytes, width: int) -> Any:
    return _fixed(data, width).cast(pa.binary()).view(pa.string())
