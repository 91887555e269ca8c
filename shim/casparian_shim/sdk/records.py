"""The record tape: what the SDK's readers returned, so that the worker can account for every byte of the input.

A reader notes each record *before* the parser gets it, and each stretch that is not a record (a header, a blank line) with the
reason. An entry has `row` (the 1-based line on which the record begins), `end` (the byte offset after it; entries are contiguous,
so each begins where the previous one ended) and `what`. The worker compares the tape with the rows and rejected rows that name
records by `__cf_row_id`, and cuts the original text of bad rows out of the input. Outside a guest nothing is noted.
"""

import codecs
import io
import os
from collections.abc import Callable
from enum import IntEnum
from typing import IO, Any

#: Offsets are unknown because the reader was given something derived from the input (an unpacked stream).
UNKNOWN = -1
_ENTRIES_MAX = 128 * 1024
_CHUNK_BYTES = 1 << 20


class What(IntEnum):
    """The kinds of tape entries. The numbers are part of the protocol; add new ones at the end."""

    RECORD = 0
    #: A reading begins, or continues after another one: `end` is its position.
    POSITION = 1
    #: A reading of something derived from the input has reached its end.
    COMPLETE = 2
    #: The parser called `ctx.skip(reason, source_row=…)`.
    DECLARED = 3
    HEADER = 10
    BLANK_LINE = 11
    SKIPPED_LINE = 12
    BYTE_ORDER_MARK = 13
    #: Before the position where the reader started; the parser read this itself.
    READ_BY_PARSER = 14


#: The names of the readers' skips in all counts: `What` → reason.
SKIP_REASONS: dict[What, str] = {
    What.HEADER: "header",
    What.BLANK_LINE: "blank line",
    What.SKIPPED_LINE: "skipped line",
    What.BYTE_ORDER_MARK: "byte order mark",
    What.READ_BY_PARSER: "read by the parser itself",
}

BinaryFile = IO[bytes] | io.BufferedIOBase
Send = Callable[[str, list[int], list[int], list[int]], None]


class Reading:
    """One reader on one source. The reader's innermost loop appends to the lists in step."""

    def __init__(self, tape: "RecordTape | None", encoding: str, *, start: int, has_offsets: bool) -> None:
        self._tape = tape
        self.stream = stream_name(encoding)
        self.has_offsets = has_offsets
        self.rows: list[int] = []
        self.ends: list[int] = []
        self.whats: list[int] = []
        self.is_complete = False
        self.position = start if has_offsets else UNKNOWN

    def note(self, what: What, row: int, end: int) -> None:
        """Note one entry outside the innermost loop."""
        self.rows.append(row)
        self.ends.append(end)
        self.whats.append(what)
        self.is_complete = what is What.COMPLETE

    def clear(self) -> None:
        for entries in (self.rows, self.ends, self.whats):
            entries.clear()

    def rest(self) -> None:
        """Send the gathered entries between blocks, so that memory use is constant whatever the parser does."""
        if self._tape is None:
            self.clear()
        elif len(self.rows) >= _ENTRIES_MAX:
            self._tape.flush()


class RecordTape:
    """All readings of one job, in the order of their entries."""

    def __init__(self, input_path: str, input_fd: int | None, send: Send) -> None:
        self._send = send
        self._readings: list[Reading] = []
        self._last: Reading | None = None
        status = os.stat(input_path) if input_fd is None else os.fstat(input_fd)
        self._input = status.st_dev, status.st_ino
        self._declared: list[int] = []
        self.last_row = 0

    def is_input(self, descriptor: int) -> bool:
        status = os.fstat(descriptor)
        return (status.st_dev, status.st_ino) == self._input

    def begin(self, encoding: str, *, start: int, has_offsets: bool) -> Reading:
        reading = Reading(self, encoding, start=start, has_offsets=has_offsets)
        self._readings.append(reading)
        return reading

    def row_now(self) -> int | None:
        """The record returned last, which the parser is processing while its reader is active. None before and after that."""
        if not self._readings or self._readings[-1].is_complete:
            return None
        return (self._readings[-1].rows or [self.last_row])[-1] or None

    def declare(self, row: int) -> None:
        """Note that the parser declares the record of this row as a skip."""
        self._declared.append(row)
        if len(self._declared) >= _ENTRIES_MAX:
            self.flush()

    def flush(self) -> None:
        """Send every entry noted so far, before the rows made from those records."""
        for reading in self._readings:
            self._flush_reading(reading)
        self._readings = [reading for reading in self._readings if not reading.is_complete]
        if self._declared:  # after the records that they refer to
            rows, self._declared = self._declared, []
            self._send(stream_name("utf-8"), rows, [UNKNOWN] * len(rows), [What.DECLARED] * len(rows))
            self._last = None

    def _flush_reading(self, reading: Reading) -> None:
        count = len(reading.whats)  # `whats` is appended to last: another thread may be in the middle of an entry
        if not count:
            return
        rows, whats = reading.rows[:count], reading.whats[:count]
        ends = reading.ends[:count] if reading.has_offsets else [UNKNOWN] * count
        for entries in (reading.rows, reading.ends, reading.whats):
            del entries[:count]
        if reading is not self._last:
            rows, ends, whats = [0, *rows], [reading.position, *ends], [What.POSITION, *whats]
            self._last = reading
        self.last_row = rows[-1] or self.last_row
        reading.position = ends[-1]
        self._send(reading.stream, rows, ends, whats)


_current: RecordTape | None = None


def use_tape(tape: RecordTape | None) -> None:
    """Set the tape of the job that this process runs."""
    global _current
    _current = tape


def current_tape() -> RecordTape | None:
    return _current


def begin_reading(file: BinaryFile, encoding: str) -> tuple[Reading, int]:
    """A reading of `file` from its current position, and how many lines come before it.

    Only readings of the job's input, and of what unpacks it, are counted. Entries of any other file (a resource, a lookup file)
    are discarded.
    """
    descriptor = _descriptor(file)
    tape = _current if descriptor is not None and _current is not None and _current.is_input(descriptor) else None
    is_plain = type(file).__module__ == "_io" and type(file).__name__ in ("BufferedReader", "FileIO", "BufferedRandom")
    start = file.tell() if is_plain and descriptor is not None and file.seekable() else 0
    if tape is None:
        return Reading(None, encoding, start=start, has_offsets=is_plain), 0
    reading = tape.begin(encoding, start=0, has_offsets=is_plain)
    if not start or descriptor is None:
        return reading, 0
    lines_before = _lines_before(descriptor, start)
    reading.note(What.READ_BY_PARSER, lines_before, start)
    return reading, lines_before


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
