"""Readers that keep text as text, read around bad records, and account for every byte of their source.

Nothing is guessed: no type, no encoding, no missing value. Each row is a dict of texts with `__cf_row_id`, the 1-based number of
the line on which its record begins. A record that does not have the promised shape is rejected, and the reader continues with the
next one; whatever is not a record (a header, a blank line, a byte order mark) is a declared skip. Readers stream, with constant
memory unless a table is requested.

`source` opens an input, `lines` cuts it into lines, and each format has a module of its own that makes `blocks` of records.
`reading` and `feed` turn blocks into rows, batches, rejected rows and entries of the `tape`, from which the worker accounts for
the bytes. The names in `__all__` are for authors who write a reader of their own; the docstring of `blocks` says how. Import
the readers themselves from `casparian_shim`.
"""

from casparian_shim.readers.blocks import Block, BlockBuilder, Group, Reject, Skip
from casparian_shim.readers.lines import Line, LineBlock, line_blocks
from casparian_shim.readers.reading import Common, Records, records
from casparian_shim.readers.source import Input
from casparian_shim.readers.tape import What

__all__ = [
    "Block",
    "BlockBuilder",
    "Common",
    "Group",
    "Input",
    "Line",
    "LineBlock",
    "Records",
    "Reject",
    "Skip",
    "What",
    "line_blocks",
    "records",
]
