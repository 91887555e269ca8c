"""A small file of delimited text in which nothing is unusual, read at once by Python itself.

For a few lines, what `reading` does for any file costs more than the lines: it cuts blocks, looks at each for what may be wrong,
and asks pyarrow for every step. `blocks_of` looks for everything that could need that. If it finds nothing, the blocks are those
that `reading` would make; otherwise `reading` makes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pyarrow as pa

from casparian_shim.readers import source
from casparian_shim.readers.blocks import Block, Skip
from casparian_shim.readers.csv.reading import Options, Reading
from casparian_shim.readers.source import Input
from casparian_shim.readers.tape import What

#: Up to this size a file is read at once.
PLAIN_BYTES = 16 * 1024
#: What a plain file does not have: other line ends, blank lines, and what fills a file up.
_NOT_PLAIN = (b"\r", b"\n\n", b"\0", b"\x1a")
_NUMBERS, _TEXTS = pa.int64(), pa.string()


def blocks_of(input: Input, options: Options) -> Iterator[Block]:
    """The blocks of one source."""
    found = _plain(input, options) if _may_be_plain(input, options) else None
    return Reading(input, options).blocks() if found is None else iter(found)


def _may_be_plain(input: Input, options: Options) -> bool:
    dialect = options.dialect
    return (
        options.header_lines == 1
        and options.columns is None
        and options.comment is None
        and options.preamble is None
        and options.footer is None
        and not options.tables
        and not options.skip_lines
        and not options.footer_lines
        and dialect.escape is None
        and len(dialect.delimiter) == 1
        and input.encodings == ["utf-8"]
        and options.line_ends in ("any", "lf")
        and PLAIN_BYTES < options.record_bytes_max <= source.RECORD_BYTES_MAX
        and min(source.BLOCK_BYTES, source.RECORD_BYTES_MAX) > PLAIN_BYTES
        and not _is_large(input)
    )


def _is_large(input: Input) -> bool:
    """Whether this is a file that is certainly not small, so that its beginning need not be read by itself."""
    try:
        return os.fstat(input.file.fileno()).st_size > PLAIN_BYTES
    except (AttributeError, OSError, ValueError):  # in memory
        return False


def _plain(input: Input, options: Options) -> list[Block] | None:
    """The header and the records; None if they are not plain."""
    data, dialect = input.ahead(PLAIN_BYTES + 1), options.dialect
    if not data or len(data) > PLAIN_BYTES or input.cut is not None or data.startswith(b"\n"):
        return None
    if any(mark in data for mark in _NOT_PLAIN) or (dialect.quote is not None and dialect.quote.encode() in data):
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    names, *rows = [line.split(dialect.delimiter) for line in lines]
    width = len(names)
    if width < 2 or len(set(names)) < width or not all(map(str.strip, names)) or "\ufeff" in text:
        return None
    if not rows or any(len(row) != width for row in rows):
        return None
    ends, end = [], input.offset
    for line in lines:
        end += (len(line) if len(text) == len(data) else len(line.encode())) + 1
        ends.append(end)
    ends[-1] = input.offset + len(data)
    header = Block(
        {name: pa.array([], _TEXTS) for name in names},
        pa.array([], _NUMBERS),
        pa.array([], _NUMBERS),
        skips=[Skip(What.HEADER, input.lines_before + 1, ends[0])],
    )
    empty = dialect.empty
    columns = {
        name: pa.array([value or empty for value in values] if "" in values else values, _TEXTS)
        for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }
    first = input.lines_before + 2
    return [header, Block(columns, pa.array(range(first, first + len(rows)), _NUMBERS), pa.array(ends[1:], _NUMBERS))]
