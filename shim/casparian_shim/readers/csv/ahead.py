"""The lines of delimited text, with as many lines ahead as a record may need to be judged.

It also keeps back a footer of so many lines, which only the end of the file shows. In a long file of ordinary records the blocks
that follow are read by threads before it is their turn.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from casparian_shim.readers.csv.block import Ordinary, Whole
from casparian_shim.readers.lines import LineBlock
from casparian_shim.readers.source import RAW_BYTES_MAX

_LISTED_AFTER = 300
#: For the text of one of the first lines the places of all lines are not needed.
_FIRST_LINES = 16


class _Texts:
    """The lines of one block as Python's texts: a few are made one by one, many all at once."""

    def __init__(self, block: LineBlock, encoding: str) -> None:
        self.block = block
        self.first = block.first
        #: The number after the last line.
        self.stop = block.first + len(block)
        self.is_utf8 = block.is_utf8
        self._separator = block.separator
        self._encoding = encoding
        self._asked = 0
        self._texts: list[str | None] = []
        self._ends: list[int] = []
        #: Where some of the first lines begin in the block.
        self._begins = [0]

    def text(self, place: int) -> str:
        """The text of a line; undecodable bytes are replaced, so that delimiters and quotes stay where they are."""
        text = self._texts[place] if self._are_listed() else self._one_text(place)
        if text is None:
            text = self.block.raw[place].as_py().decode(self._encoding, "replace")
        return text

    def line_end(self, place: int) -> str:
        if self.is_utf8 and self._separator is not None and place + 1 < self.stop - self.first:
            return self._separator.decode()
        return self.block.line_end(place)

    def end(self, place: int) -> int:
        """The byte offset after a line."""
        if self._ends:
            return self._ends[place]
        return self.block.ends[place].as_py()  # type: ignore[no-any-return]

    def piece(self, place: int) -> bytes:
        if not self._ends:
            return self.block.piece(place)
        begin = self._ends[place - 1] if place else self.block.begin
        return self.block.data[begin - self.block.begin : self._ends[place] - self.block.begin]

    def forget(self) -> None:
        """Give the memory of the lists back, since looking ahead may take many blocks."""
        self._texts, self._ends, self._asked = [], [], 0

    def _are_listed(self) -> bool:
        if self._texts:
            return True
        self._asked += 1
        if self._asked > _LISTED_AFTER:
            self._texts, self._ends = self.block.texts.to_pylist(), self.block.ends.to_pylist()
        return bool(self._texts)

    def _one_text(self, place: int) -> str | None:
        if self.is_utf8 and self._separator is not None:  # the texts of all lines need not be made
            if place < _FIRST_LINES and place + 1 < self.stop - self.first:
                return self._first_piece(place, self._separator).decode()
            return self.block.piece(place).removesuffix(self._separator).decode()
        return self.block.texts[place].as_py()  # type: ignore[no-any-return]

    def _first_piece(self, place: int, separator: bytes) -> bytes:
        begins = self._begins
        while len(begins) <= place + 1:
            begins.append(self.block.data.index(separator, begins[-1]) + len(separator))
        return self.block.data[begins[place] : begins[place + 1] - len(separator)]


class Ahead:
    """The lines from the current one on, by their numbers."""

    def __init__(self, blocks: Iterator[LineBlock], first: int, encoding: str, footer_lines: int = 0) -> None:
        self._blocks = blocks
        self._texts: list[_Texts] = []
        #: Those of the line that was asked for last.
        self._now: _Texts | None = None
        #: The number after the last line that was read from the input, and after the last one that is not in the footer.
        self._read = first
        self._known = first - footer_lines
        self._is_at_end = False
        self._footer_lines = footer_lines
        self._encoding = encoding

    def has(self, number: int) -> bool:
        """Whether there is such a line before the footer. Reads on if it is not known yet."""
        return number < self._known or self._reads(number + self._footer_lines)

    def has_footer(self, number: int) -> bool:
        return self._reads(number)

    def line_at(self, number: int) -> tuple[str, str] | None:
        """A line's text and line end, for `record`."""
        if number >= self._known and not self.has(number):
            return None
        texts = self._of(number)
        place = number - texts.first
        return texts.text(place), texts.line_end(place)

    def text_at(self, number: int) -> str:
        texts = self._of(number)
        return texts.text(number - texts.first)

    def block_at(self, number: int) -> LineBlock:
        """The block with this line."""
        return self._of(number).block

    def stop_in(self, block: LineBlock) -> int:
        """The place after the last line of a block that is before the footer."""
        last = block.first + len(block) - 1
        if self.has(last):
            return len(block)
        return max(0, self._read - self._footer_lines - block.first)

    def end_of(self, number: int) -> int:
        texts = self._of(number)
        return texts.end(number - texts.first)

    def reason_of(self, number: int, count: int = 1) -> str | None:
        """Why one of these lines cannot be read; None if they can."""
        for each in range(number, number + count):
            texts = self._of(each)
            if texts.is_utf8:
                if number + count <= texts.stop:
                    return None
                continue
            texts.block.texts  # noqa: B018 - it finds out
            if (reason := texts.block.bad.get(each - texts.first)) is not None:
                return reason
        return None

    def encoding_of(self, number: int) -> str:
        block = self.block_at(number)
        return block.encodings[number - block.first].as_py()  # type: ignore[no-any-return]

    def raw_line(self, number: int) -> bytes:
        """The bytes of a line without its line end."""
        block = self.block_at(number)
        return block.raw[number - block.first].as_py()  # type: ignore[no-any-return]

    def raw(self, number: int, count: int) -> bytes:
        """The beginning of the bytes of some lines."""
        pieces: list[bytes] = []
        size = 0
        for each in range(number, number + count):
            texts = self._of(each)
            pieces.append(texts.piece(each - texts.first))
            size += len(pieces[-1])
            if size > RAW_BYTES_MAX:
                break
        return b"".join(pieces)[:RAW_BYTES_MAX]

    def blocks_after(self, block: LineBlock, count: int) -> list[LineBlock]:
        """The blocks that follow this one, at most `count`. Reads on for them."""
        place = next(place for place, each in enumerate(self._texts, 1) if each.block is block)
        while len(self._texts) < place + count and not self._is_at_end:
            self._reads(self._read)
        return [each.block for each in self._texts[place : place + count]]

    def drop_before(self, number: int) -> None:
        while self._texts and self._texts[0].stop <= number:
            del self._texts[0]
        if not self._texts:
            self._now = None

    def _of(self, number: int) -> _Texts:
        now = self._now
        if now is None or not now.first <= number < now.stop:
            if now is not None:
                now.forget()
            now = self._now = next(each for each in reversed(self._texts) if each.first <= number)
        return now

    def _reads(self, number: int) -> bool:
        while number >= self._read and not self._is_at_end:
            block = next(self._blocks, None)
            if block is None:
                self._is_at_end = True
            else:
                self._texts.append(_Texts(block, self._encoding))
                self._read = self._texts[-1].stop
                self._known = self._read - self._footer_lines
        return number < self._read


class Beforehand:
    """What `Ordinary.whole` makes of blocks, by threads and before it is their turn.

    Nearly all of it is done by pyarrow, which lets other threads run meanwhile. A short file has no threads.
    """

    #: How many blocks are read beforehand.
    BLOCKS = 2
    _USUAL_BLOCKS_FIRST = 3
    #: Whether threads have a processor to themselves.
    has_processors = (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) > 1

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        #: By the number of a block's first line; of these records.
        self._found: dict[int, Future[Whole | None]] = {}
        self._ordinary: Ordinary | None = None
        self._usual_blocks = 0

    @property
    def is_due(self) -> bool:
        """Whether there have been so many blocks of ordinary records that the next ones will be such too."""
        return self.has_processors and self._usual_blocks >= self._USUAL_BLOCKS_FIRST

    def begin(self, ordinary: Ordinary, blocks: Sequence[LineBlock]) -> None:
        """Have these blocks read, the current one first, and forget all others."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.BLOCKS, "read_csv")
        before, self._found = self._found if ordinary is self._ordinary else {}, {}
        self._ordinary = ordinary
        for block in blocks:
            found = before.get(block.first)
            self._found[block.first] = self._pool.submit(_whole, ordinary, block) if found is None else found

    def whole(self, ordinary: Ordinary, lines: LineBlock, start: int, stop: int) -> Whole | None:
        """The same as `ordinary.whole`."""
        found = self._found.pop(lines.first, None)
        if found is None or ordinary is not self._ordinary or start > 0 or stop < len(lines):
            whole = ordinary.whole(lines, start, stop)
        else:
            whole = found.result()
        self._usual_blocks = self._usual_blocks + 1 if whole is not None else 0
        return whole

    def end(self) -> None:
        """Let the threads end. A reading that was given up may be collected in one of them, which cannot wait for itself."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _whole(ordinary: Ordinary, block: LineBlock) -> Whole | None:
    return ordinary.whole(block, 0, len(block))
