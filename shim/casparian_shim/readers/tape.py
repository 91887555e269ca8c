"""The record tape: what the readers returned, so that the worker can account for every byte of the input.

A reader enters each record *before* the parser gets it, and each stretch that is not a record (a header, a blank line) with the
reason. An entry has `row` (the 1-based line on which the record begins; in an archive `MEMBER_ROWS` more for each member before
it), `end` (the byte offset after it; entries are contiguous, so each begins where the previous one ended) and `what`. The worker
compares the tape with the rows and rejected rows that name records by `__cf_row_id`, and cuts the original text of bad rows out
of the input. Outside a guest nothing is sent.

Entries are Arrow arrays, a block of the input at a time. `feed` enters them; of this module a format uses only `What`, and
`stream_name` if the file itself says its encoding.
"""

import codecs
import io
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import IO, Any

import pyarrow as pa

from casparian_shim.safe import MEMBER_ROWS

#: Offsets are unknown because the reader was given something derived from the input (an unpacked stream).
UNKNOWN = -1
_ENTRIES_MAX = 128 * 1024
_CHUNK_BYTES = 1 << 20


class What(IntEnum):
    """The kinds of tape entries. The numbers are part of the protocol; add new ones at the end."""

    #: A record that the reader returned.
    RECORD = 0
    #: A reading begins, or continues after another one: `end` is its position.
    POSITION = 1
    #: A reading of something derived from the input has reached its end.
    COMPLETE = 2
    #: The parser called `ctx.skip(reason, source_row=…)`.
    DECLARED = 3
    #: A record that the reader rejected; a rejected row with its number follows.
    REJECTED = 4
    HEADER = 10
    BLANK_LINE = 11
    SKIPPED_LINE = 12
    BYTE_ORDER_MARK = 13
    #: Before the position where the reader started; the parser read this itself.
    READ_BY_PARSER = 14
    COMMENT = 15
    PREAMBLE = 16
    FOOTER = 17
    PADDING = 18
    #: What a transport adds around messages: MLLP framing, the brackets of a JSON array.
    ENVELOPE = 19
    #: Text between two records, such as the elements of an XML file that are not asked for.
    BETWEEN_RECORDS = 20
    #: A record of a kind that the parser does not ask for.
    OTHER_RECORD = 21


#: The names of the readers' skips in all counts: `What` → reason.
SKIP_REASONS: dict[What, str] = {
    What.HEADER: "header",
    What.BLANK_LINE: "blank line",
    What.SKIPPED_LINE: "skipped line",
    What.BYTE_ORDER_MARK: "byte order mark",
    What.READ_BY_PARSER: "read by the parser itself",
    What.COMMENT: "comment",
    What.PREAMBLE: "preamble",
    What.FOOTER: "footer",
    What.PADDING: "padding",
    What.ENVELOPE: "envelope",
    What.BETWEEN_RECORDS: "between records",
    What.OTHER_RECORD: "record of another kind",
}

BinaryFile = IO[bytes] | io.BufferedIOBase


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries in file order, as arrays of equal length."""

    rows: pa.Int64Array
    ends: pa.Int64Array
    whats: pa.Int8Array

    def __len__(self) -> int:
        return len(self.whats)

    def slice(self, start: int, stop: int) -> "Entries":
        return Entries(*(each.slice(start, stop - start) for each in (self.rows, self.ends, self.whats)))

    @staticmethod
    def of(*entries: tuple[int, int, What]) -> "Entries":
        rows, ends, whats = zip(*entries, strict=True)
        return Entries(pa.array(rows, pa.int64()), pa.array(ends, pa.int64()), pa.array(whats, pa.int8()))

    @staticmethod
    def joined(parts: "Sequence[Entries]") -> "Entries":
        if len(parts) == 1:
            return parts[0]
        return Entries(
            *map(pa.concat_arrays, zip(*((part.rows, part.ends, part.whats) for part in parts), strict=True))
        )


Send = Callable[[str, Entries], None]


class Reading:
    """One reader on one source: the entries of its current block, and those passed that are not sent yet."""

    def __init__(
        self, tape: "RecordTape | None", encoding: str, *, start: int, has_offsets: bool, first_row: int = 0
    ) -> None:
        """`first_row` is what the numbers of records are counted from: of the members of an archive each has rows of its own."""
        self._tape = tape
        self.first_row = first_row
        self.stream = stream_name(encoding)
        self.has_offsets = has_offsets
        self.is_complete = False
        self.position = start if has_offsets else UNKNOWN
        self._waiting: list[Entries] = []
        self._waiting_count = 0
        self._block: Entries | None = None
        self._taken = 0
        self._passed: Callable[[], int] = int

    @property
    def is_counted(self) -> bool:
        """Whether the worker accounts for this source."""
        return self._tape is not None

    def note(self, what: What, row: int, end: int) -> None:
        """Enter one entry that is passed at once. `row` is counted from `first_row`."""
        self.enter(Entries.of((self.first_row + row, end, what)))
        self.leave()
        self.is_complete = what is What.COMPLETE

    def enter(self, block: Entries, passed: Callable[[], int] = int) -> None:
        """Begin a block. `passed` tells how many of its entries the parser has reached; after `leave`, all of them."""
        self.leave()
        if self._tape is not None:
            self._block, self._passed, self._taken = block, passed, 0

    def leave(self) -> None:
        """The current block has been passed. Its entries are sent now if many are waiting."""
        if self._block is None or self._tape is None:
            return
        self._passed = self._block.__len__
        self._take()
        self._tape.note_row(self._block.rows[-1].as_py())
        self._block = None
        if self._waiting_count >= _ENTRIES_MAX:
            self._tape.flush()

    def take_passed(self) -> list[Entries]:
        """The entries that have been passed since the last call."""
        self._take()
        passed, self._waiting, self._waiting_count = self._waiting, [], 0
        return passed

    def row_now(self) -> int | None:
        """The record of the current block that the parser is at; None if it has reached none."""
        passed = self._passed() if self._block is not None else 0
        return self._block.rows[passed - 1].as_py() if passed and self._block is not None else None

    def _take(self) -> None:
        if self._block is None or (passed := self._passed()) <= self._taken:
            return
        self._waiting.append(self._block.slice(self._taken, passed))
        self._waiting_count += passed - self._taken
        self._taken = passed


class RecordTape:
    """All readings of one job, in the order of their entries."""

    def __init__(self, input_path: str, input_fd: int | None, send: Send) -> None:
        self._send = send
        self._readings: list[Reading] = []
        self._last: Reading | None = None
        status = os.stat(input_path) if input_fd is None else os.fstat(input_fd)
        self._input = status.st_dev, status.st_ino
        self._declared: list[int] = []
        self._lock = threading.RLock()  # a parser's own thread may reject rows
        self.last_row = 0

    def is_input(self, descriptor: int) -> bool:
        status = os.fstat(descriptor)
        return (status.st_dev, status.st_ino) == self._input

    def begin(self, encoding: str, *, start: int, has_offsets: bool, first_row: int) -> Reading:
        reading = Reading(self, encoding, start=start, has_offsets=has_offsets, first_row=first_row)
        self._readings.append(reading)
        return reading

    def row_now(self) -> int | None:
        """The record returned last, which the parser is processing while its reader is active. None before and after that."""
        if not self._readings or self._readings[-1].is_complete:
            return None
        return self._readings[-1].row_now() or self.last_row or None

    def note_row(self, row: int) -> None:
        """Remember the record that was passed last. Entries that are no lines have the row before the first one."""
        self.last_row = row if row % MEMBER_ROWS else self.last_row

    def declare(self, row: int) -> None:
        """Note that the parser declares the record of this row as a skip."""
        self._declared.append(row)
        if len(self._declared) >= _ENTRIES_MAX:
            self.flush()

    def flush(self) -> None:
        """Send every entry passed so far, before the rows made from those records."""
        with self._lock:
            for reading in self._readings:
                self._flush_reading(reading)
            self._readings = [reading for reading in self._readings if not reading.is_complete]
            if self._declared:  # after the records that they refer to
                rows, self._declared = self._declared, []
                self._send(stream_name("utf-8"), Entries.of(*((row, UNKNOWN, What.DECLARED) for row in rows)))
                self._last = None

    def _flush_reading(self, reading: Reading) -> None:
        passed = reading.take_passed()
        if not passed:
            return
        entries = Entries.joined(passed)
        if not reading.has_offsets:
            unknown = pa.repeat(pa.scalar(UNKNOWN, pa.int64()), len(entries))
            entries = Entries(entries.rows, unknown, entries.whats)
        end = entries.ends[-1].as_py()
        self.note_row(entries.rows[-1].as_py())
        if reading is not self._last:
            position = Entries.of((reading.first_row, reading.position, What.POSITION))
            entries = Entries.joined([position, entries])
            self._last = reading
        reading.position = end
        self._send(reading.stream, entries)


_current: RecordTape | None = None


def use_tape(tape: RecordTape | None) -> None:
    """Set the tape of the job that this process runs."""
    global _current
    _current = tape


def current_tape() -> RecordTape | None:
    return _current


def begin_reading(file: BinaryFile, encoding: str, *, has_offsets: bool = True) -> tuple[Reading, int]:
    """A reading of `file` from its current position, and how many lines come before it.

    Only readings of the job's input, and of what unpacks it, are counted. Entries of any other file (a resource, a lookup file)
    are discarded.
    """
    descriptor = _descriptor(file)
    tape = _current if descriptor is not None and _current is not None and _current.is_input(descriptor) else None
    is_plain = type(file).__module__ == "_io" and type(file).__name__ in ("BufferedReader", "FileIO", "BufferedRandom")
    start = file.tell() if is_plain and descriptor is not None and file.seekable() else 0
    has_offsets = is_plain and has_offsets
    first_row = getattr(file, "place", 0) * MEMBER_ROWS
    if tape is None:
        return Reading(None, encoding, start=start, has_offsets=has_offsets, first_row=first_row), 0
    reading = tape.begin(encoding, start=0, has_offsets=has_offsets, first_row=first_row)
    if not start or descriptor is None:
        return reading, 0
    lines_before = _lines_before(descriptor, start)
    reading.note(What.READ_BY_PARSER, lines_before, start)
    return reading, lines_before


def is_another_file(file: BinaryFile) -> bool:
    """Whether `file` is a file on disk that is not the input of the job, such as a lookup table. Always false outside a guest."""
    descriptor = _descriptor(file)
    return _current is not None and descriptor is not None and not _current.is_input(descriptor)


def stream_name(encoding: str) -> str:
    """An encoding as the name of its stream on the wire: `utf_8`, `iso8859_1`."""
    return codecs.lookup(encoding).name.lower().replace("-", "_")


def _descriptor(file: Any) -> int | None:
    try:
        return int(file.fileno())
    except (AttributeError, OSError, ValueError):  # in memory
        return None


def _lines_before(descriptor: int, start: int) -> int:
    count = offset = 0
    was_cr = False
    while offset < start and (chunk := os.pread(descriptor, min(_CHUNK_BYTES, start - offset), offset)):
        count += len(chunk.splitlines()) - (not chunk.endswith((b"\n", b"\r"))) - (was_cr and chunk[:1] == b"\n")
        was_cr = chunk.endswith(b"\r")
        offset += len(chunk)
    return count
