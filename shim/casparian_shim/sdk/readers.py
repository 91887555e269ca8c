"""Readers that keep text as text and tell where each record came from.

Nothing is guessed: no type, no encoding, no missing value. Each row is a dict of texts with `__cf_row_id`, the
1-based number of the line (or, for CSV, of the line its record begins on). They stream; memory stays flat unless a
table is asked for.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Literal

from casparian_shim.errors import CasparianError, ErrorCode

ROW_ID = "__cf_row_id"
As = Literal["rows", "arrow", "pandas", "polars"]
Source = str | os.PathLike[str] | IO[bytes]

_FIELD_CHARACTERS_MAX = 16 * 1024 * 1024


class BadRecord(CasparianError):
    """A record does not have the shape its file promised."""

    code = ErrorCode.INVALID_DATA

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(
            f"The record on line {line} {reason}.",
            remedy="Read the file with read_lines and reject such lines, or say what they mean.",
        )


def read_lines(source: Source, *, encoding: str = "utf-8", as_: As = "rows") -> Any:
    """Each line as `{"text", "offset", "__cf_row_id"}`: without its line end, `offset` in bytes from the start.

    Lines end with \\n or \\r\\n only. Bytes that are not `encoding` raise UnicodeDecodeError.
    """
    return _as(_lines(source, encoding), as_)


def read_csv(
    source: Source,
    *,
    delimiter: str = ",",
    quote: str | None = '"',
    header: bool = True,
    columns: Sequence[str] | None = None,
    encoding: str = "utf-8-sig",
    skip_lines: int = 0,
    as_: As = "rows",
) -> Any:
    """Each record as a dict of texts. `columns` names them (instead of the header, when there is one).

    A record with more or fewer fields than columns raises `BadRecord`; empty lines are passed over.
    """
    return _as(_records(source, delimiter, quote, header, columns, encoding, skip_lines), as_)


def read_fixed_width(
    source: Source,
    fields: Mapping[str, tuple[int, int]],
    *,
    encoding: str = "utf-8",
    strip: bool = True,
    skip_lines: int = 0,
    as_: As = "rows",
) -> Any:
    """Each line cut at character positions: `{"id": (0, 8)}` is the first eight characters. A short line raises."""
    return _as(_cut_lines(source, fields, encoding, strip, skip_lines), as_)


def _lines(source: Source, encoding: str) -> Iterator[dict[str, object]]:
    if "\n".encode(encoding) != b"\n" and not encoding.lower().endswith("sig"):
        raise ValueError(f"{encoding} has no one-byte line end; decode the file before reading lines")
    offset = 0
    for number, raw in enumerate(_raw_lines(source), 1):
        text = raw.removesuffix(b"\n").removesuffix(b"\r").decode(encoding)
        yield {"text": text, "offset": offset, ROW_ID: number}
        offset += len(raw)


def _raw_lines(source: Source) -> Iterator[bytes]:
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            yield from file
    else:
        yield from source


def _records(
    source: Source,
    delimiter: str,
    quote: str | None,
    header: bool,
    columns: Sequence[str] | None,
    encoding: str,
    skip_lines: int,
) -> Iterator[dict[str, object]]:
    csv.field_size_limit(_FIELD_CHARACTERS_MAX)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    lines = _decoded(source, encoding)
    for _ in range(skip_lines):
        next(lines, None)
    records = csv.reader(lines, delimiter=delimiter, quotechar=quote, quoting=quoting, strict=True)
    names = list(columns) if columns is not None else None
    is_header_due, begins = header, skip_lines + 1
    for record in records:
        line, begins = begins, skip_lines + records.line_num + 1
        if not record:
            continue
        if is_header_due:
            is_header_due = False
            names = names or record
            if len(set(names)) != len(names):
                raise BadRecord(line, "names a column twice")
            continue
        if names is None:
            names = [f"column_{position}" for position in range(1, len(record) + 1)]
        if len(record) != len(names):
            raise BadRecord(line, f"has {len(record)} fields, {len(names)} are expected")
        row: dict[str, object] = dict(zip(names, record, strict=True))
        row[ROW_ID] = line
        yield row


def _decoded(source: Source, encoding: str) -> Iterator[str]:
    if isinstance(source, str | os.PathLike):
        with open(source, encoding=encoding, newline="\n") as file:
            yield from file
        return
    text = io.TextIOWrapper(source, encoding=encoding, newline="\n")
    try:
        yield from text
    finally:
        if not text.closed:
            text.detach()  # the caller's file stays open


def _cut_lines(
    source: Source, fields: Mapping[str, tuple[int, int]], encoding: str, strip: bool, skip_lines: int
) -> Iterator[dict[str, object]]:
    width = max(end for _, end in fields.values())
    for line in _lines(source, encoding):
        number, text = line[ROW_ID], str(line["text"])
        if isinstance(number, int) and number <= skip_lines:
            continue
        if len(text) < width:
            raise BadRecord(int(str(number)), f"has {len(text)} characters, {width} are expected")
        row: dict[str, object] = {
            name: text[start:end].strip(" ") if strip else text[start:end] for name, (start, end) in fields.items()
        }
        row[ROW_ID] = number
        yield row


def _as(rows: Iterable[dict[str, object]], as_: As) -> Any:
    if as_ == "rows":
        return rows
    if as_ not in ("arrow", "pandas", "polars"):
        raise ValueError(f"as_ is rows, arrow, pandas or polars, not {as_!r}")
    import pyarrow as pa

    from casparian_shim.arrow import safe_to_arrow

    tables = [pa.Table.from_batches([batch]) for batch in safe_to_arrow(list(rows))]
    table = pa.concat_tables(tables) if tables else pa.table({})
    if as_ == "pandas":
        return table.to_pandas()
    if as_ == "polars":
        from importlib import import_module

        return import_module("polars").from_arrow(table)
    return table
