"""The lines of a sample: stretches of whole lines that follow each other, and how lines end.

A block inside a file begins and ends in the middle of a line; those pieces are left out. Lines of the head have numbers, lines of
later blocks have a place in bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from casparian_worker.detection.encodings import EBCDIC, decode_block
from casparian_worker.detection.sample import Sample

_ENDS = re.compile(r"\r\n|\n|\r")
_ENDS_OF_EBCDIC = re.compile("\r\n|\n|\r|\x85")
_NAMES = {"\r\n": "CRLF", "\n": "LF", "\r": "CR", "\x85": "NEL"}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Whole lines without their ends. `offset` is that of the block in which they are."""

    lines: tuple[str, ...]
    offset: int
    #: Whether the last line is the last line of the file.
    reaches_end: bool

    def place(self, at: int) -> str:
        """Where a line is, for a sentence."""
        return f"line {at + 1:,}" if self.offset == 0 else f"a line after byte {self.offset:,}"


@dataclass(frozen=True, slots=True)
class LineEnds:
    """How often each line end was seen; `style` is the most frequent one, empty if there is none."""

    counts: tuple[tuple[str, int], ...]

    @property
    def style(self) -> str:
        return max(self.counts, key=lambda each: each[1])[0] if self.counts else ""

    @property
    def is_mixed(self) -> bool:
        return len(self.counts) > 1

    def __str__(self) -> str:
        return ", ".join(f"{name} ({count:,})" for name, count in self.counts) if self.is_mixed else self.style


@dataclass(frozen=True, slots=True)
class Text:
    """The decoded sample."""

    #: The beginning of the file, with its line ends.
    head: str
    stretches: tuple[Stretch, ...]
    line_ends: LineEnds
    is_whole: bool

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of the head."""
        return self.stretches[0].lines if self.stretches else ()

    @property
    def line_count(self) -> int:
        return sum(len(stretch.lines) for stretch in self.stretches)

    def all_lines(self) -> list[str]:
        return [line for stretch in self.stretches for line in stretch.lines]


def read_text(sample: Sample, encoding: str) -> Text:
    """The text of a sample, decoded with a codec of Python."""
    pattern = _ENDS_OF_EBCDIC if encoding in EBCDIC else _ENDS
    stretches: list[Stretch] = []
    counts = dict.fromkeys(_NAMES, 0)
    head = ""
    for block in sample.blocks:
        reaches_end = sample.reaches_end(block)
        text = decode_block(block, encoding, reaches_end=reaches_end)
        if block.offset == 0:
            text = text.removeprefix("\ufeff")
        if reaches_end:
            text = text.rstrip("\0\x1a")
            if encoding.startswith(("utf-16", "utf-32")):
                text = text.removesuffix("\ufffd")  # half a code unit at the end; the encoding's doubts tell it
        if block.offset == 0:
            head = text
        _count_ends(text, counts, pattern is _ENDS_OF_EBCDIC)
        lines = pattern.split(text) if pattern is _ENDS_OF_EBCDIC or "\r" in text else text.split("\n")
        if block.offset:
            lines = lines[1:]
        if not reaches_end and (len(lines) > 1 or block.offset):
            lines = lines[:-1]
        while lines and not lines[-1]:
            lines.pop()
        if lines or block.offset == 0:
            stretches.append(Stretch(tuple(lines), block.offset, reaches_end))
    found = tuple((_NAMES[end], count) for end, count in counts.items() if count)
    return Text(head, tuple(stretches), LineEnds(found), sample.is_whole)


def _count_ends(text: str, counts: dict[str, int], has_nel: bool) -> None:
    both = text.count("\r\n")
    counts["\r\n"] += both
    counts["\n"] += text.count("\n") - both
    counts["\r"] += text.count("\r") - both
    if has_nel:
        counts["\x85"] += text.count("\x85")
