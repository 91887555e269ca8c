"""Readers that keep text as text and record where each row came from.

Nothing is guessed: no type, no encoding, no missing value. Each row is a dict of texts with `__cf_row_id`, the 1-based number of
the line (or, for CSV, of the line on which its record begins). Everything that is not a record (a header, blank and skipped
lines, a byte order mark) is declared as a skip, so that every byte of the input is accounted for. Readers stream, with constant
memory unless a table is requested. `lines` reads lines, `records` reports to the worker.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

from casparian_shim.sdk.lines import BadHeader, BadRecord, LineEnds, Lines, NotTheEncoding, Source, opened, without_end
from casparian_shim.sdk.records import What

ROW_ID = "__cf_row_id"
As = Literal["rows", "arrow", "pandas", "polars"]

_FIELD_CHARACTERS_MAX = 16 * 1024 * 1024

__all__ = ["BadHeader", "BadRecord", "NotTheEncoding", "read_csv", "read_fixed_width", "read_lines"]


def read_lines(source: Source, *, encoding: str = "utf-8", line_ends: LineEnds = "any", as_: As = "rows") -> Any:
    """Each line as `{"text", "offset", "__cf_row_id"}`: without its line end, `offset` in bytes from the start.

    Lines end with LF, CRLF or CR; with `line_ends="lf"` a lone CR is data. Bytes that are not valid in `encoding` raise
    `NotTheEncoding`. A byte order mark is a declared skip.
    """
    return _as(_lines(source, encoding, line_ends), as_)


def read_csv(
    source: Source,
    *,
    delimiter: str = ",",
    quote: str | None = '"',
    header: bool = True,
    columns: Sequence[str] | None = None,
    encoding: str = "utf-8-sig",
    skip_lines: int = 0,
    line_ends: LineEnds = "any",
    as_: As = "rows",
) -> Any:
    """Each record as a dict of texts. `columns` gives the names, instead of the header if there is one.

    A header that does not name each column once raises `BadHeader`; a record with more or fewer fields than columns raises
    `BadRecord`. The header, blank lines and the first `skip_lines` lines are declared skips.
    """
    if columns is not None and (len(set(columns)) != len(columns) or "" in columns):
        raise ValueError(f"columns names a column twice or not at all: {list(columns)!r:.200}")
    return _as(_records(source, delimiter, quote, header, columns, encoding, skip_lines, line_ends), as_)


def read_fixed_width(
    source: Source,
    fields: Mapping[str, tuple[int, int]],
    *,
    encoding: str = "utf-8",
    strip: bool = True,
    skip_lines: int = 0,
    line_ends: LineEnds = "any",
    as_: As = "rows",
) -> Any:
    """Each line cut at character positions: `{"id": (0, 8)}` is the first eight characters. A short line raises `BadRecord`.

    Blank lines and the first `skip_lines` lines are declared skips.
    """
    return _as(_cut_lines(source, fields, encoding, strip, skip_lines, line_ends), as_)


def _lines(source: Source, encoding: str, line_ends: LineEnds) -> Iterator[dict[str, object]]:
    with opened(source) as file:
        lines = Lines(file, encoding, line_ends)
        reading = lines.reading
        rows, ends, whats = reading.rows, reading.ends, reading.whats
        for texts in lines.blocks():
            number, begins = lines.first, lines.begins
            for text, end in zip(texts, lines.ends, strict=True):
                rows.append(number)
                ends.append(end)
                whats.append(0)
                yield {"text": text.removesuffix("\n").removesuffix("\r"), "offset": begins, ROW_ID: number}
                number += 1
                begins = end


def _records(
    source: Source,
    delimiter: str,
    quote: str | None,
    header: bool,
    columns: Sequence[str] | None,
    encoding: str,
    skip_lines: int,
    line_ends: LineEnds,
) -> Iterator[dict[str, object]]:
    csv.field_size_limit(_FIELD_CHARACTERS_MAX)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    with opened(source) as file:
        lines = Lines(file, encoding, line_ends)
        reading = lines.reading
        texts = chain.from_iterable(lines.blocks())
        before = lines.lines_before + _pass_over(texts, lines, skip_lines)
        records = csv.reader(texts, delimiter=delimiter, quotechar=quote, quoting=quoting, strict=True)
        names = list(columns) if columns is not None else None
        is_header_due, begins = header, before + 1
        rows, ends, whats = reading.rows, reading.ends, reading.whats
        while True:
            try:
                record = next(records, None)
            except csv.Error as cause:
                raise BadRecord(begins, f"is not valid CSV: {cause}") from cause
            if record is None:
                return
            line, begins = begins, before + records.line_num + 1
            end = lines.ends[begins - 1 - lines.first]
            if not record:
                reading.note(What.BLANK_LINE, line, end)
            elif is_header_due:
                is_header_due = False
                names = _names(record, names, line, delimiter)
                reading.note(What.HEADER, line, end)
            else:
                if names is None:
                    names = [f"column_{position}" for position in range(1, len(record) + 1)]
                if len(record) != len(names):
                    reason = f"has {len(record)} fields instead of {len(names)}"
                    raise BadRecord(line, reason, delimiter.join(record))
                row: dict[str, object] = dict(zip(names, record, strict=True))
                row[ROW_ID] = line
                rows.append(line)
                ends.append(end)
                whats.append(0)
                yield row


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


def _pass_over(texts: Iterator[str], lines: Lines, skip_lines: int) -> int:
    """Skip the first `skip_lines` lines; returns how many there were."""
    for count in range(skip_lines):
        if next(texts, None) is None:
            return count
        line = lines.lines_before + count + 1
        lines.reading.note(What.SKIPPED_LINE, line, lines.end_of(line))
    return skip_lines


def _cut_lines(
    source: Source,
    fields: Mapping[str, tuple[int, int]],
    encoding: str,
    strip: bool,
    skip_lines: int,
    line_ends: LineEnds,
) -> Iterator[dict[str, object]]:
    width = max(end for _, end in fields.values())
    with opened(source) as file:
        lines = Lines(file, encoding, line_ends)
        texts = chain.from_iterable(lines.blocks())
        number = lines.lines_before + _pass_over(texts, lines, skip_lines)
        for whole in texts:
            number += 1
            text = without_end(whole)
            if not text:
                lines.reading.note(What.BLANK_LINE, number, lines.end_of(number))
                continue
            if len(text) < width:
                raise BadRecord(number, f"has {len(text)} characters instead of {width}", text)
            row: dict[str, object] = {
                name: text[start:end].strip(" ") if strip else text[start:end] for name, (start, end) in fields.items()
            }
            row[ROW_ID] = number
            lines.reading.note(What.RECORD, number, lines.end_of(number))
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
