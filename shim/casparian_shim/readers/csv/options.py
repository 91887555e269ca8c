"""The options of `read_csv`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack

from casparian_shim.readers.csv.plain import blocks_of
from casparian_shim.readers.csv.reading import Options
from casparian_shim.readers.csv.scan import Dialect
from casparian_shim.readers.line_ends import LineEnds
from casparian_shim.readers.pieces import check_names
from casparian_shim.readers.reading import Common, records
from casparian_shim.readers.source import RECORD_BYTES_MAX, Encoding, Source


def read_csv(
    source: Source,
    *,
    delimiter: str = ",",
    quote: str | None = '"',
    escape: str | None = None,
    doublequote: bool = True,
    comment: str | None = None,
    header: bool | int = True,
    header_separator: str = " ",
    columns: Sequence[str] | None = None,
    skip_lines: int = 0,
    preamble: str | re.Pattern[str] | None = None,
    footer: int | str | re.Pattern[str] | None = None,
    tables: Mapping[str, str | re.Pattern[str]] | None = None,
    ragged: Literal["reject", "pad"] = "reject",
    empty: Literal["null", "text"] = "null",
    quoted_empty: Literal["null", "text"] = "text",
    encoding: Encoding = "utf-8-sig",
    line_ends: LineEnds = "any",
    record_bytes_max: int = RECORD_BYTES_MAX,
    **common: Unpack[Common],
) -> Any:
    """Each record as texts, by the names of the header or of `columns`. A field with nothing in it is None, and `""` is "".

    A record with another number of fields, or with quotes that can be read in two ways, is rejected, and reading continues.
    docs/reference/readers.md says exactly which. A header that does not name each column once raises `BadHeader`.

    - `delimiter`: one character or several. `quote=None` if quotes are plain text. `escape`: a character before a quote, a
      delimiter or a line end that is data.
    - `header`: the number of header lines, joined with `header_separator`. With `header=False` the columns are those of
      `columns`, or have numbers.
    - `skip_lines`: lines to skip first. `preamble`: a pattern that the header line matches; all lines before it are skipped.
    - `footer`: the number of lines at the end that are no records, or a pattern that they match wherever they are.
    - `comment`: lines that begin with this are skipped.
    - `tables`: for a file with several tables, their names, each with a pattern for its header line. Rows are `(table, row)`.
    - `ragged="pad"` fills short records up with None.
    """
    check_names("columns", columns)
    if columns is not None and (len(set(columns)) != len(columns) or "" in columns or not columns):
        raise ValueError(f"columns names a column twice or not at all: {list(columns)!r:.200}")
    for name, given, allowed in (
        ("ragged", ragged, ("reject", "pad")),
        ("empty", empty, ("null", "text")),
        ("quoted_empty", quoted_empty, ("null", "text")),
    ):
        if given not in allowed:
            raise ValueError(f"{given!r} is not a valid {name}: it is {' or '.join(map(repr, allowed))}")
    for name, count in (("header", header), ("skip_lines", skip_lines), ("footer", footer)):
        is_pattern = name == "footer" and not isinstance(count, int | float)
        if not is_pattern and (
            not isinstance(count, int) or count < 0 or (isinstance(count, bool) and name != "header")
        ):
            raise ValueError(f"{count!r:.80} is not a valid {name}: it is a number of lines")
    if comment is not None and (not comment or "\n" in comment or "\r" in comment):
        why = "it is empty; comment=None is for files without comments" if not comment else "it contains a line end"
        raise ValueError(f"{comment!r:.80} is not a valid comment: {why}")
    if tables is not None and (columns is not None or not header or not tables):
        raise ValueError("tables needs the header line of each table: leave columns and header as they are")
    if quote is None and quoted_empty != "text":
        raise ValueError("quoted_empty has no effect with quote=None: nothing is quoted")
    if tables is not None and preamble is not None:
        raise ValueError("tables passes over the lines before the first table by itself: leave preamble as it is")
    options = Options(
        Dialect(
            delimiter,
            quote,
            escape,
            doublequote,
            None if empty == "null" else "",
            None if quoted_empty == "null" else "",
        ),
        header_lines=int(header),
        header_separator=header_separator,
        columns=columns,
        skip_lines=skip_lines,
        comment=comment,
        preamble=None if preamble is None else _compiled("preamble", preamble),
        footer_lines=footer if isinstance(footer, int) else 0,
        footer=None if footer is None or isinstance(footer, int) else _compiled("footer", footer),
        tables={name: _compiled("tables", pattern) for name, pattern in (tables or {}).items()},
        pads=ragged == "pad",
        line_ends=line_ends,
        record_bytes_max=record_bytes_max,
    )
    return records(source, lambda input: blocks_of(input, options), encoding=encoding, **common)


def _compiled(name: str, pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    if pattern == "":
        raise ValueError(f"'' is not a valid pattern for {name}: every line matches it; leave {name} as it is")
    try:
        return re.compile(pattern)
    except re.error as cause:
        raise ValueError(f"{pattern!r:.200} is not a valid pattern for {name}: {cause}") from None
