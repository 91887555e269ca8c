"""The layout of a fixed-width record: which positions are which field, and what kind of value each holds.

A layout is written by hand (`Field`, or a pair of positions for text) or made from a COBOL copybook by `copybook`. `Field.value`
is the careful way to one value; `columns` gives the same values for whole columns.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from importlib import import_module
from typing import Literal, get_args

from casparian_shim.readers.fixed_width.numbers import (
    ByteOrder,
    Sign,
    binary_number,
    packed_decimal,
    zoned_decimal,
    zones,
)
from casparian_shim.readers.source import codec_names

Kind = Literal["text", "zoned", "packed", "binary", "bytes"]
Value = str | int | Decimal | bytes | None


@lru_cache(maxsize=64)
def is_of_one_byte(encoding: str) -> bool:
    """Whether each byte of the encoding is a character, so that positions in bytes and in characters are the same."""
    codec = codecs.lookup(encoding)
    if codec.name in ("ascii", "iso8859-1"):
        return True
    try:
        module = import_module(f"encodings.{codec.name.replace('-', '_')}")
    except ModuleNotFoundError:  # a codec that does not come with Python
        return False
    return hasattr(module, "decoding_table")


@lru_cache(maxsize=64)
def line_ends_of(encoding: str) -> bytes:
    """The bytes that end lines in an encoding, if each is one byte: CR and LF, and in EBCDIC NEL."""
    ends = ["\r", "\n"] if "0".encode(encoding) == b"0" else ["\r", "\n", "\x85"]
    found = [end.encode(encoding) for end in ends]
    return b"".join(found) if all(len(each) == 1 for each in found) else b""


def has_line_end(data: bytes, encoding: str) -> bool:
    return any(end in data for end in line_ends_of(encoding))


_DIGITS_MAX = 38
_INT64_DIGITS = 18
_BINARY_BYTES_MAX = 8


@dataclass(frozen=True, slots=True)
class Field:
    """One field: the positions `start` to `end` (the last not included, counted from 0), and what is there.

    Text and bytes may reach to the end of the record: `end` is then None. `text` is decoded (`encoding`; else the reader's).
    `zoned`, `packed` and `binary` are numbers with `scale` places after the point: an int if there are none and it has at most 18
    digits, else a Decimal. `bytes` are given as they are.
    """

    start: int
    end: int | None
    kind: Kind = "text"
    scale: int = 0
    sign: Sign = "trailing"
    byte_order: ByteOrder = "big"
    encoding: str | None = None
    #: What becomes of a zoned or packed number that was never set: blanks, X'00' or X'FF' throughout. A zoned one of blanks is
    #: always NULL.
    unset: Literal["reject", "null"] = "reject"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("kind of field", self.kind, get_args(Kind)),
            ("sign", self.sign, get_args(Sign)),
            ("byte_order", self.byte_order, get_args(ByteOrder)),
            ("unset", self.unset, ("reject", "null")),
        ):
            if value not in known:
                raise ValueError(f"{value!r} is not a {name}: {', '.join(known)}")
        for name, has_effect in (
            ("scale", self.is_number),
            ("sign", self.kind == "zoned" or (self.is_number and self.sign == "none")),
            ("byte_order", self.kind == "binary"),
            ("encoding", self.kind in ("text", "zoned")),
            ("unset", self.kind in ("zoned", "packed")),
        ):
            if not has_effect and getattr(self, name) != Field.__dataclass_fields__[name].default:
                raise ValueError(f"{name} has no effect on a field of kind {self.kind!r}")
        if self.start < 0 or (self.end is not None and self.end <= self.start):
            raise ValueError(f"positions {self.start} to {self.end} hold nothing")
        if self.end is None and self.is_number:
            raise ValueError("a number needs the position after it")
        if self.encoding is not None:
            codec_names(self.encoding)
        if self.kind == "binary" and self.width > _BINARY_BYTES_MAX:
            raise ValueError(f"a binary number has at most {_BINARY_BYTES_MAX} bytes, not {self.width}")
        if self.is_number and (self.digits < 1 or self.precision > _DIGITS_MAX):
            raise ValueError(f"a number has 1 to {_DIGITS_MAX} digits, not {self.precision}")

    @property
    def width(self) -> int:
        assert self.end is not None, "only text and bytes are open"
        return self.end - self.start

    @property
    def is_number(self) -> bool:
        return self.kind in ("zoned", "packed", "binary")

    @property
    def digits(self) -> int:
        """The largest number of digits that the bytes can hold."""
        if self.kind == "binary":
            return len(str(256**self.width - 1))
        if self.kind == "packed":
            return 2 * self.width - (self.sign != "none")
        return self.width - self.sign.endswith("separate")

    @property
    def precision(self) -> int:
        return max(self.digits, self.scale) - min(self.scale, 0)

    @property
    def is_integer(self) -> bool:
        """Whether the values are ints, which a column of int64 holds."""
        is_whole_int64 = self.kind == "binary" and self.scale == 0 and (self.width < 8 or self.sign != "none")
        return self.is_number and self.scale <= 0 and (self.precision <= _INT64_DIGITS or is_whole_int64)

    def value(self, data: bytes, encoding: str) -> Value:
        """The value of the field's own bytes. Raises ValueError with the reason, without the field's name."""
        if self.kind == "bytes":
            return data
        encoding = self.encoding or encoding
        if self.kind == "text":
            return data.decode(encoding)
        if self.kind != "binary" and any(data == fill * len(data) for fill in self.unset_fills(encoding)):
            return None
        if self.kind == "zoned":
            number = zoned_decimal(data, scale=self.scale, sign=self.sign, encoding=encoding)
        elif self.kind == "packed":
            number = packed_decimal(data, scale=self.scale, sign=self.sign)
        else:
            number = binary_number(data, scale=self.scale, sign=self.sign, byte_order=self.byte_order)
        return int(number) if self.is_integer else number

    def unset_fills(self, encoding: str) -> tuple[bytes, ...]:
        """The bytes that fill a number which is not there. None of them can be part of a number throughout."""
        blank = zones(encoding).blank
        if self.unset == "reject":
            return (blank,) if self.kind == "zoned" else ()
        return (b"\xff",) if self.kind == "packed" and self.sign == "none" else (blank, b"\0", b"\xff")


#: Fields by name, as a parser may write them.
Fields = Mapping[str, "Field | tuple[int, int | None]"]


@dataclass(frozen=True, slots=True)
class Layout:
    """The fields of one type of record, and its length in bytes or characters."""

    fields: Mapping[str, Field]
    length: int
    #: Whether positions count bytes, whatever the encoding: a copybook says so.
    counts_bytes: bool

    @classmethod
    def of(cls, fields: Layout | Fields) -> Layout:
        if isinstance(fields, Layout):
            return fields
        if not fields:
            raise ValueError("a layout has at least one field")
        made: dict[str, Field] = {}
        for name, each in fields.items():
            try:
                made[name] = each if isinstance(each, Field) else Field(*each)
            except (TypeError, ValueError) as cause:
                raise ValueError(f"the field {name!r} is not valid: {cause}") from None
        length = max(field.start if field.end is None else field.end for field in made.values())
        return cls(made, length, counts_bytes=False)

    @property
    def shortest(self) -> int:
        return self.length

    @property
    def is_open(self) -> bool:
        """Whether a field reaches to the end of the record, so that records may be longer."""
        return any(field.end is None for field in self.fields.values())

    @property
    def reach(self) -> int | None:
        """The position after the last field; None if a field reaches to the end of the record."""
        return None if self.is_open else self.length

    @property
    def is_text(self) -> bool:
        """Whether every field is text in the reader's own encoding, at the same place in each record."""
        return self.shortest == self.length and all(
            field.kind == "text" and field.encoding is None for field in self.fields.values()
        )

    def at(self, record: bytes, encoding: str) -> Layout:
        """The layout of this record: another one for each count of a table with OCCURS DEPENDING ON."""
        return self
