"""Fixed-width records: text and numbers of mainframes, by a layout written by hand or made from a COBOL copybook.

`reader` is what parsers call. `frames` finds the records in the bytes, `cutting` cuts them into fields (`columns` for the numbers
of whole columns, `numbers` for one), `layout` says where fields are, and `copybook`, `sentences` and `picture` make a layout of
COBOL.
"""

from casparian_shim.readers.fixed_width.copybook import Copybook, copybook
from casparian_shim.readers.fixed_width.layout import Field, Layout
from casparian_shim.readers.fixed_width.numbers import binary_number, overpunch, packed_decimal, zoned_decimal
from casparian_shim.readers.fixed_width.picture import BadCopybook
from casparian_shim.readers.fixed_width.reader import read_fixed_width

__all__ = [
    "BadCopybook",
    "Copybook",
    "Field",
    "Layout",
    "binary_number",
    "copybook",
    "overpunch",
    "packed_decimal",
    "read_fixed_width",
    "zoned_decimal",
]
