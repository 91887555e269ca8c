"""Lines cut at fixed positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Unpack

from casparian_shim.readers.blocks import Block, BlockBuilder
from casparian_shim.readers.lines import LineEnds, line_blocks
from casparian_shim.readers.reading import Common, records
from casparian_shim.readers.source import Encoding, Input, Source
from casparian_shim.readers.tape import What


def read_fixed_width(
    source: Source,
    fields: Mapping[str, tuple[int, int]],
    *,
    encoding: Encoding = "utf-8",
    strip: bool = True,
    skip_lines: int = 0,
    line_ends: LineEnds = "any",
    **common: Unpack[Common],
) -> Any:
    """Each line cut at character positions: `{"id": (0, 8)}` is the first eight characters. A short line is rejected.

    Blank lines and the first `skip_lines` lines are declared skips.
    """
    width = max(end for _, end in fields.values())

    def blocks(input: Input) -> Iterator[Block]:
        for lines in line_blocks(input, line_ends=line_ends):
            made = BlockBuilder([*fields])
            for line in lines.lines():
                if line.number - input.lines_before <= skip_lines:
                    made.skip(What.SKIPPED_LINE, line.number, line.end)
                elif line.text is None:
                    made.reject(line.number, line.end, line.reason or "", line.raw)
                elif not line.text:
                    made.skip(What.BLANK_LINE, line.number, line.end)
                elif len(line.text) < width:
                    reason = f"has {len(line.text)} characters instead of {width}"
                    made.reject(line.number, line.end, reason, line.raw)
                else:
                    cut = [line.text[start:end] for start, end in fields.values()]
                    made.row([each.strip(" ") for each in cut] if strip else cut, line.number, line.end)
            yield made.block()

    return records(source, blocks, encoding=encoding, **common)
