"""Whole columns of numbers: the same values as `Field.value`, without Python code for each row.

A column comes as the bytes of its field in every record, one after the other. Tables of bytes turn them into ASCII digits, which
Arrow reads. Rows that are not a number are marked, and their values mean nothing: the careful path says what is wrong with them.
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.readers.fixed_width.layout import Field
from casparian_shim.readers.fixed_width.numbers import BAD, zones

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
