"""`read_fixed_width`: records cut at fixed positions, by a layout written by hand or made from a COBOL copybook.

This module checks what the caller asks for and connects the steps: `frames` finds records, `cutting` makes fields of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Unpack

from casparian_shim.readers.blocks import Block
from casparian_shim.readers.fixed_width.cutting import Cutter, RecordType, Unit
from casparian_shim.readers.fixed_width.frames import Framing, frames_of, without_margins
from casparian_shim.readers.fixed_width.layout import Field, Fields, Layout, is_of_one_byte
from casparian_shim.readers.fixed_width.numbers import zones
from casparian_shim.readers.lines import LineEnds
from casparian_shim.readers.reading import Common, records
from casparian_shim.readers.source import RECORD_BYTES_MAX, Encoding, Input, Source, codec_names

#: The layout of each type of record: with the output of its rows, or as the output of that name; None passes such records over.
RecordTypes = Mapping[str, "tuple[str, Fields | Layout] | Fields | Layout | None"]

_UNITS_OF_SEVERAL_BYTES = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


def read_fixed_width(
    source: Source,
    fields: Fields | Layout | None = None,
    *,
    unit: Unit | None = None,
    encoding: Encoding = "utf-8",
    record_types: RecordTypes | None = None,
    type_at: tuple[int, int] | Field | None = None,
    framing: Framing = "lines",
    length: int | Literal["any"] | None = None,
    trailing_blanks: Literal["exact", "free"] = "exact",
    strip: bool = True,
    empty: Literal["null", "text"] = "null",
    skip_lines: int = 0,
    footer_lines: int = 0,
    line_ends: LineEnds = "any",
    record_bytes_max: int = RECORD_BYTES_MAX,
    **common: Unpack[Common],
) -> Any:
    """Each record cut into fields: `{"id": (0, 8)}` is the text of the first eight positions, a `Field` may be a number.

    `unit` says whether positions count bytes or characters. Where both are the same it may be left out; a record in which they
    differ is then rejected. A record must have exactly the `length` of the layout, or the one given; with "any" it may be longer.
    With `trailing_blanks="free"` blanks may be missing at its end, or be too many.

    `record_types` gives layouts by the value in the field `type_at`; rows are then pairs of an output and a dict. Without line
    ends, `framing` is "none" (records of one length), "rdw" or "bdw" (with descriptor words). Blank lines, the first
    `skip_lines` and the last `footer_lines` are declared skips.
    """
    types, passed_over, type_field = _types(fields, record_types, type_at)
    if unit is None and any(each.layout.counts_bytes or not each.layout.is_text for each in types):
        unit = "bytes"

    def blocks(input: Input) -> Iterator[Block]:
        input.unit = "line" if framing == "lines" else "record"
        cutter = Cutter(
            types=types,
            type_field=type_field,
            passed_over=passed_over,
            encodings=tuple(input.encodings),
            by_text=_counts_characters(input.encodings, unit, framing),
            is_unit_said=unit is not None or input.encoding in _UNITS_OF_SEVERAL_BYTES,
            length=_length(types, framing, length),
            has_free_blanks=trailing_blanks == "free",
            strip=strip,
            empty_is_null=empty == "null",
            has_no_lines=framing == "none",
        )
        whole = max(each.layout.length for each in types) if length in (None, "any") else int(length or 0)
        frames = frames_of(input, framing, whole, line_ends, record_bytes_max, with_texts=cutter.by_text)
        for each in without_margins(frames, input.lines_before + 1, skip_lines, footer_lines):
            yield cutter.block(each)

    for name, count in (("skip_lines", skip_lines), ("footer_lines", footer_lines)):
        if count < 0:
            raise ValueError(f"{count} is not a valid {name}: it is a number of lines")
    if framing != "lines" and line_ends != "any":
        raise ValueError(f"line_ends has no effect with framing={framing!r}: its records have no line ends")
    _check(types, type_field, encoding, unit, framing, length, trailing_blanks, empty)
    return records(source, blocks, encoding=encoding, **common)


def _types(
    fields: Fields | Layout | None, record_types: RecordTypes | None, type_at: tuple[int, int] | Field | None
) -> tuple[tuple[RecordType, ...], frozenset[str], Field | None]:
    if (fields is None) == (record_types is None) or (record_types is None) != (type_at is None):
        raise ValueError("read_fixed_width needs fields={…}, or record_types={…} together with type_at=")
    if fields is not None:
        return (RecordType(Layout.of(fields)),), frozenset(), None
    assert record_types is not None and type_at is not None
    type_field = type_at if isinstance(type_at, Field) else Field(*type_at)
    types: list[RecordType] = []
    if any(code != code.strip(" ") for code in record_types):
        record_types = {code.strip(" "): each for code, each in record_types.items()}  # as they are read
    for code, each in record_types.items():
        if isinstance(each, tuple):
            types.append(RecordType(Layout.of(each[1]), each[0], code))
        elif each is not None:
            types.append(RecordType(Layout.of(each), code, code))
    if not types:
        raise ValueError("record_types gives no layout")
    return tuple(types), frozenset(code for code, each in record_types.items() if each is None), type_field


def _check(
    types: tuple[RecordType, ...],
    type_field: Field | None,
    encoding: Encoding,
    unit: Unit | None,
    framing: Framing,
    length: int | Literal["any"] | None,
    trailing_blanks: str,
    empty: str,
) -> None:
    encodings = codec_names(encoding)
    if unit not in (None, "bytes", "chars"):
        raise ValueError(f"unit is bytes or chars, not {unit!r:.80}")
    if framing not in ("lines", "none", "rdw", "bdw"):
        raise ValueError(f"framing is lines, none, rdw or bdw, not {framing!r:.80}")
    if trailing_blanks not in ("exact", "free"):
        raise ValueError(f"trailing_blanks is exact or free, not {trailing_blanks!r:.80}")
    if empty not in ("null", "text"):
        raise ValueError(f"empty is null or text, not {empty!r:.80}")
    if unit == "chars" and not all(map(is_of_one_byte, encodings)):
        if framing != "lines":
            raise ValueError(f"records without line ends are counted in bytes: framing={framing!r} needs unit='bytes'")
        all_text = all(each.layout.is_text for each in types)
        if not all_text or (type_field is not None and type_field != Field(type_field.start, type_field.end)):
            raise ValueError("fields that are not text, or have an encoding of their own, are counted in bytes")
    if isinstance(length, int):
        longest = max(each.layout.length for each in types)
        if length < longest:
            raise ValueError(f"length={length} is less than the {longest} of the layout")
    is_variable = any(each.layout.is_open or each.layout.shortest != each.layout.length for each in types)
    if (
        framing == "none"
        and is_variable
        and not (isinstance(length, int) and all(each.layout.is_open for each in types))
    ):
        raise ValueError("records of different lengths need line ends, or framing='rdw'")
    for field in (field for each in types for field in each.layout.fields.values() if field.kind == "zoned"):
        for each in encodings:
            zones(field.encoding or each)  # raises if it has several bytes a digit
    if trailing_blanks == "free" and any(len(" ".encode(each)) != 1 for each in encodings) and unit == "bytes":
        raise ValueError("trailing_blanks='free' with unit='bytes' needs an encoding in which a blank is one byte")


def _length(
    types: tuple[RecordType, ...], framing: Framing, length: int | Literal["any"] | None
) -> int | Literal["any"] | None:
    """Records of several types without line ends all have the length of the longest."""
    return "any" if framing == "none" and length is None and len(types) > 1 else length


def _counts_characters(encodings: list[str], unit: Unit | None, framing: Framing) -> bool:
    """Whether records are cut as text. Where each byte is a character, cutting bytes gives the same and is faster."""
    return unit != "bytes" and framing == "lines" and not all(map(is_of_one_byte, encodings))
