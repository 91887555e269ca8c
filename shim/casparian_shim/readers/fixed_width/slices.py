"""Whole columns cut out of records at once: their bytes, or their text in an encoding.

Arrow's kernels do the work. A column that cannot be decoded is None, and `cutting` then looks at each record.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.readers.fixed_width.layout import Field, is_of_one_byte

#: Beyond every record. Without an end, `binary_slice` of pyarrow gives nothing.
_END = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Slices:
    """Records as one array, which columns are cut from. `is_text`: positions count characters."""

    records: pa.Array
    is_text: bool
    lengths: pa.Array
    is_ascii: bool

    @classmethod
    def of(cls, records: pa.Array, is_text: bool) -> Slices:
        if not is_text:
            return cls(records, is_text, pc.binary_length(records), False)
        data = records.buffers()[2]
        is_ascii = data is None or data.to_pybytes().isascii()
        return cls(records, is_text, pc.binary_length(records) if is_ascii else pc.utf8_length(records), is_ascii)

    @property
    def shortest_and_longest(self) -> tuple[int, int]:
        found = pc.min_max(self.lengths).as_py()
        return found["min"] or 0, found["max"] or 0

    def filtered(self, mask: pa.Array) -> Slices:
        return Slices(self.records.filter(mask), self.is_text, self.lengths.filter(mask), self.is_ascii)

    def with_blanks(self, length: int, blank: str) -> Slices:
        """The records without blanks at their end, and with as many as they need."""
        low, high = self.shortest_and_longest
        if low == high == length:
            return self
        if self.is_text:
            return Slices.of(pc.utf8_rpad(pc.utf8_rtrim(self.records, blank), length, blank), True)
        plain = self.records.view(pa.string())
        return Slices.of(pc.ascii_rpad(pc.ascii_rtrim(plain, blank), length, blank).view(pa.binary()), False)

    def cells(self, start: int, end: int | None) -> pa.Array:
        """The bytes of a field in each record."""
        return pc.binary_slice(self.records, start, _END if end is None else end)

    def data(self, field: Field) -> bytes:
        """The bytes of a number in each record, one after the other. Every record must reach to its end."""
        cells = self.cells(field.start, field.end)
        return cells.buffers()[2].slice(0, len(cells) * field.width).to_pybytes() if len(cells) else b""

    def texts(self, start: int, end: int | None, encoding: str) -> pa.Array | None:
        """The text of a field in each record; None if one cannot be read."""
        if self.is_text and not self.is_ascii:
            return pc.utf8_slice_codeunits(self.records, start, _END if end is None else end)
        if self.is_text:
            return pc.binary_slice(self.records.view(pa.binary()), start, _END if end is None else end).view(
                pa.string()
            )
        try:
            return _decoded(self.cells(start, end), encoding)
        except (UnicodeError, pa.ArrowInvalid):
            return None


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
    return _IDENTITY if encoding in _ASCII_AND_LEAD_BYTES else None


_IDENTITY = bytes(range(128)) + b"\x80" * 128
#: Encodings in which a byte below 128 is ASCII unless a byte of 128 or more is before it in the same text.
_ASCII_AND_LEAD_BYTES = ("shift_jis", "cp932", "gb18030", "gbk", "gb2312", "big5", "cp950", "euc_jp", "euc_kr", "cp949")
