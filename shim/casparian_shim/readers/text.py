"""Lines as rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from casparian_shim.readers.blocks import RAW_ENCODING, Block
from casparian_shim.readers.feed import OnBad
from casparian_shim.readers.lines import LineEnds, line_blocks
from casparian_shim.readers.reading import As, records
from casparian_shim.readers.source import RECORD_BYTES_MAX, Encoding, Input, Source


def read_lines(
    source: Source,
    *,
    encoding: Encoding = "utf-8",
    line_ends: LineEnds = "any",
    record_bytes_max: int = RECORD_BYTES_MAX,
    on_bad: OnBad = "reject",
    output: str | None = None,
    as_: As = "rows",
) -> Any:
    """Each line as `{"text", "offset", "__cf_row_id"}`: without its line end, `offset` in bytes from the start.

    Lines end with LF, CRLF or CR; with `line_ends="lf"` a lone CR is data. A line that is not valid text in `encoding`, or longer
    than `record_bytes_max`, is rejected. Several encodings are tried in order for each line, and `_cf_raw_encoding` says
    which one read it. A byte order mark is a declared skip.
    """

    def blocks(input: Input) -> Iterator[Block]:
        for lines in line_blocks(input, line_ends=line_ends, record_bytes_max=record_bytes_max):
            texts = lines.texts
            columns: dict[str, pa.Array] = {"text": texts}
            if input.has_fallback:
                columns[RAW_ENCODING] = lines.encodings
            numbers, ends = lines.numbers, lines.ends
            rejects = lines.rejects()
            if lines.bad:
                good = texts.is_valid()
                columns = {name: values.filter(good) for name, values in columns.items()}
                numbers, ends = numbers.filter(good), ends.filter(good)
            yield Block(columns, numbers, ends, rejects)

    return records(source, blocks, encoding=encoding, on_bad=on_bad, output=output, offsets=True, as_=as_)
