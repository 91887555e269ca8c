"""Delimited text, read with Python's csv module in strict mode."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Unpack

from casparian_shim.readers.blocks import BadHeader, BadRecord, Block, BlockBuilder, NotTheEncoding
from casparian_shim.readers.lines import Line, LineBlock, LineEnds, line_blocks
from casparian_shim.readers.reading import Common, records
from casparian_shim.readers.source import Encoding, Input, Source
from casparian_shim.readers.tape import What

_FIELD_CHARACTERS_MAX = 16 * 1024 * 1024


def read_csv(
    source: Source,
    *,
    delimiter: str = ",",
    quote: str | None = '"',
    header: bool = True,
    columns: Sequence[str] | None = None,
    encoding: Encoding = "utf-8-sig",
    skip_lines: int = 0,
    line_ends: LineEnds = "any",
    **common: Unpack[Common],
) -> Any:
    """Each record as a dict of texts. `columns` gives the names, instead of the header if there is one.

    A header that does not name each column once raises `BadHeader`; a record with more or fewer fields than columns is rejected.
    The header, blank lines and the first `skip_lines` lines are declared skips.
    """
    if columns is not None and (len(set(columns)) != len(columns) or "" in columns):
        raise ValueError(f"columns names a column twice or not at all: {list(columns)!r:.200}")

    def blocks(input: Input) -> Iterator[Block]:
        return _blocks(input, delimiter, quote, header, columns, skip_lines, line_ends)

    return records(source, blocks, encoding=encoding, **common)


class _Texts:
    """The lines as csv reads them; remembers the line read last."""

    def __init__(self, blocks: Iterator[LineBlock]) -> None:
        self._lines = (line for block in blocks for line in block.lines())
        self.last: Line | None = None

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.last = line
            if line.text is None:
                raise NotTheEncoding(line.number, line.reason or "", line.raw, offset=line.begin)
            yield line.text + line.line_end


def _blocks(
    input: Input,
    delimiter: str,
    quote: str | None,
    header: bool,
    columns: Sequence[str] | None,
    skip_lines: int,
    line_ends: LineEnds,
) -> Iterator[Block]:
    csv.field_size_limit(_FIELD_CHARACTERS_MAX)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    lines = _Texts(line_blocks(input, line_ends=line_ends))
    texts = iter(lines)
    names = list(columns) if columns is not None else None
    is_header_due = header
    made = BlockBuilder(names or [])
    for _ in range(skip_lines):
        if next(texts, None) is not None and lines.last is not None:
            made.skip(What.SKIPPED_LINE, lines.last.number, lines.last.end)
    begins = (lines.last.number if lines.last is not None else input.lines_before) + 1
    parsed = csv.reader(texts, delimiter=delimiter, quotechar=quote, quoting=quoting, strict=True)
    while True:
        try:
            record = next(parsed, None)
        except csv.Error as cause:
            yield made.block()
            raise BadRecord(begins, f"is not valid CSV: {cause}") from cause
        except NotTheEncoding:
            yield made.block()
            raise
        if record is None or lines.last is None:
            break
        line, begins, end = begins, lines.last.number + 1, lines.last.end
        if not record:
            made.skip(What.BLANK_LINE, line, end)
        elif is_header_due:
            is_header_due = False
            names = _names(record, names, line, delimiter)
            made.skip(What.HEADER, line, end)
            yield made.block()
            made = BlockBuilder(names)
        else:
            if names is None:
                names = [f"column_{position}" for position in range(1, len(record) + 1)]
                yield made.block()
                made = BlockBuilder(names)
            if len(record) != len(names):
                reason = f"has {len(record)} fields instead of {len(names)}"
                made.reject(line, end, reason, delimiter.join(record).encode())
            else:
                made.row(record, line, end)
            if len(made) >= 8192:
                yield made.block()
    yield made.block()


def _names(record: list[str], columns: list[str] | None, line: int, delimiter: str) -> list[str]:
    """The columns' names from the header, unless the caller gave them."""
    text = delimiter.join(record)
    if columns is not None:
        if len(record) != len(columns):
            raise BadHeader(line, f"has {len(record)} names, but columns= has {len(columns)}", text)
        return columns
    for place, name in enumerate(record, 1):
        if not name.strip():
            hint = "; the line ends with a delimiter" if place == len(record) and place > 1 else ""
            raise BadHeader(line, f"has no name at position {place} of {len(record)}{hint}", text)
        if record.index(name) != place - 1:
            raise BadHeader(line, f"names {name[:80]!r} twice, at positions {record.index(name) + 1} and {place}", text)
    return record
