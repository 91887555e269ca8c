"""Reading one guest's stream from hello to its end: every frame is checked, and every batch is checked before it is used.

Reading blocks, and holds one batch in memory. Between frames `Watchdog` checks the clock, the scratch directory and requests to
stop. This module also checks the end: the stream and the process must both end normally.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import pyarrow as pa
from blake3 import blake3

from casparian_protocol.errors import CasparianError
from casparian_protocol.settings import LimitSettings
from casparian_shim.frames import (
    Batch,
    EndOfStream,
    Failure,
    Frame,
    FrameReader,
    Hello,
    Log,
    LogLevel,
    OutputEnd,
    OutputKind,
    OutputStart,
    Progress,
    ProtocolBreach,
    StreamCut,
    StreamState,
)
from casparian_shim.frames.reader import FRAME_DEADLINE_SECONDS
from casparian_worker.execute.failures import TimeIsUp, error_of_exit
from casparian_worker.execute.files import Origin, check_scratch, removed_bytes
from casparian_worker.execute.outputs import BatchConsumer
from casparian_worker.execute.records import SourceRecords
from casparian_worker.execute.run import CancelToken, StreamCounters
from casparian_worker.guest import Guest, StartTimeout
from casparian_worker.validation import LimitExceeded, ValidationLimits, read_batch, read_schema

#: How long a guest may take to exit after it has sent everything or its stream has closed.
EXIT_SECONDS = 5.0
_TICK_SECONDS = 0.1


def error_after_cut(guest: Guest, cut: StreamCut, *, cpu_seconds: int | None) -> CasparianError:
    """Why the stream broke off, judged by how the process ended."""
    if not guest.wait(EXIT_SECONDS):  # it closed its stream and kept running
        guest.end()
        return cut
    return error_of_exit(guest.end(), cpu_seconds=cpu_seconds)


def error_after_end(guest: Guest, reader: FrameReader, *, cpu_seconds: int | None) -> CasparianError | None:
    """Check the end after a complete stream: nothing may follow, and the process must soon exit normally."""
    deadline_s = time.monotonic() + EXIT_SECONDS
    is_closed = False
    while not guest.wait(_TICK_SECONDS if is_closed else 0):
        if time.monotonic() >= deadline_s:
            guest.end()
            return TimeIsUp("time to end after its end of stream", EXIT_SECONDS)
        if not is_closed:
            try:
                reader.expect_silence(idle_seconds=_TICK_SECONDS)
                is_closed = True
            except TimeoutError:
                continue
            except ProtocolBreach as breach:
                return breach
    unread = None if is_closed else _unread(reader)
    ended = guest.end()
    if unread is not None:
        return unread
    if ended.status != 0:
        return error_of_exit(ended, cpu_seconds=cpu_seconds)
    return None


def _unread(reader: FrameReader) -> CasparianError | None:
    """What the guest sent between the end of its stream and the end of its process."""
    try:
        reader.expect_silence(idle_seconds=0)
    except TimeoutError:  # a child process that it left behind holds the connection
        return None
    except ProtocolBreach as breach:
        return breach
    return None


TICK_SECONDS = 0.25
_SCRATCH_SECONDS = 1.0


class TextLog(Protocol):
    def write(self, level: LogLevel, origin: Origin, text: str) -> None: ...

    def flush(self) -> None: ...


class Watchdog:
    """Checks made repeatedly while a guest runs. Raises when the guest must end."""

    def __init__(
        self,
        stop: CancelToken,
        limits: LimitSettings | None,
        scratch: Path | None,
        log: TextLog,
        *,
        start_seconds: float,
        has_ended: Callable[[], bool] = lambda: False,
        guest_pid: int | None = None,
    ) -> None:
        """Without `limits` (dev mode) only requests to stop count. `has_ended` tells whether the guest's process has ended."""
        self._stop = stop
        self._limits = limits
        self._scratch = scratch
        self._log = log
        self._start_seconds = start_seconds
        self.has_ended = has_ended
        self._guest_pid = guest_pid
        self._began_s = time.monotonic()
        self._next_tick_s = self._began_s + TICK_SECONDS
        self._next_scratch_s = self._began_s + _SCRATCH_SECONDS

    def check(self, *, is_greeted: bool) -> None:
        self._stop.check()
        now_s = time.monotonic()
        if now_s < self._next_tick_s:
            return
        self._next_tick_s = now_s + TICK_SECONDS
        self._log.flush()
        self.has_ended()  # ends the guest's remaining children, which might keep sending
        if self._limits is None:
            return
        if not is_greeted and now_s - self._began_s > self._start_seconds:
            raise StartTimeout(self._start_seconds)
        if now_s - self._began_s > self._limits.wall_seconds:
            raise TimeIsUp("wall clock time", self._limits.wall_seconds)
        if self._scratch is not None and now_s >= self._next_scratch_s:
            removed = removed_bytes(self._guest_pid, self._scratch) if self._guest_pid is not None else 0
            check_scratch(self._scratch, self._limits.scratch_bytes, removed)
            self._next_scratch_s = time.monotonic() + _SCRATCH_SECONDS


class GuestStream:
    """One guest's stream. Call `read` once."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        token: str,
        watchdog: Watchdog,
        find_output: Callable[[str], BatchConsumer],
        log: TextLog,
        counters: StreamCounters,
        limits: LimitSettings | None,
        records: SourceRecords,
        greet: Callable[[Hello], None],
        also_read: Mapping[int, Callable[[], bool]] | None = None,
        rows_wanted: int | None = None,
    ) -> None:
        """`greet` checks what a valid hello says. `also_read`: what is read while the stream is silent (`FrameReader`).

        `rows_wanted` stops after this many rows (dev mode); None reads to the end.
        """
        deadline = min(FRAME_DEADLINE_SECONDS, limits.wall_seconds) if limits else FRAME_DEADLINE_SECONDS
        self.reader = FrameReader(
            sock,
            frame_deadline_seconds=deadline,
            allocate=_arrow_memory,
            has_ended=watchdog.has_ended,
            also_read=also_read,
        )
        self.state = StreamState(token=token)
        self.counters = counters
        self._watchdog = watchdog
        self._find_output = find_output
        self._log = log
        self._limits = limits
        self._arrow_limits = arrow_limits(limits)
        self._greet = greet
        self._rows_wanted = rows_wanted
        self._schemas: dict[int, pa.Schema] = {}
        #: The digest of the latest schema message of each output, which is repeated whenever it continues after another. The
        #: messages of a thousand outputs would be gigabytes.
        self._messages: dict[int, bytes] = {}
        self._consumers: dict[int, BatchConsumer] = {}
        self._records = records

    def read(self) -> Failure | None:
        """Read to the end of the stream (returns None) or to the guest's own failure report.

        Raises an error for anything the guest did wrong, `StreamCut` if it is gone, and `Stopped` if the attempt was asked to
        stop.
        """
        while True:
            frame = self._next_frame()
            self.state.accept(frame, self.reader.offset)
            match frame:
                case Hello():
                    self._greet(frame)
                case Batch(payload):
                    self._take(payload)
                    if self._rows_wanted is not None and self.counters.rows >= self._rows_wanted:
                        return None
                case OutputStart():
                    self._start(frame)
                case Log(level, message):
                    self._log.write(level, "guest", message)
                case Progress():
                    self.counters.reported = frame
                case Failure():
                    return frame
                case EndOfStream():
                    return None
                case OutputEnd(index):
                    self._schemas.pop(index, None)
                    self._messages.pop(index, None)

    def _next_frame(self) -> Frame:
        while True:
            self._watchdog.check(is_greeted=self.state.is_greeted)
            try:
                return self.reader.next_frame(idle_seconds=TICK_SECONDS)
            except TimeoutError:
                continue

    def _start(self, start: OutputStart) -> None:
        digest = blake3(start.schema).digest()
        if self._messages.get(start.index) == digest:
            schema = self._schemas[start.index]
        else:
            schema = read_schema(start.schema, self._arrow_limits, is_rejects=start.kind is OutputKind.REJECTS)
            self._messages[start.index] = digest
        if start.kind is OutputKind.RECORDS:
            self._records.announce(start.name, schema)
            self._schemas[start.index] = schema
            return
        consumer = self._find_output(start.name)
        consumer.announce(schema, start.kind)
        self._consumers[start.index] = consumer
        self._schemas[start.index] = schema

    def _take(self, payload: memoryview | bytes) -> None:
        if self._limits is not None and len(payload) > self._limits.batch_bytes:
            raise LimitExceeded("The bytes of one batch", len(payload), self._limits.batch_bytes)
        current = self.state.current
        assert current is not None, "a batch is accepted only while an output is open"
        batch = read_batch(payload, self._schemas[current.index], self._arrow_limits)
        self.state.count_rows(batch.num_rows)
        if current.kind is OutputKind.RECORDS:
            self._records.take(batch)
            return
        consumer = self._consumers[current.index]
        bad_before = consumer.quarantined
        consumer.take(batch, current.kind)
        counters = self.counters
        counters.batches += 1
        counters.rows += batch.num_rows
        counters.bytes = self.reader.byte_count
        counters.quarantined += consumer.quarantined - bad_before
        if self._limits is not None:
            if counters.rows > self._limits.output_rows:
                raise LimitExceeded("Rows of all outputs", counters.rows, self._limits.output_rows)
            if counters.bytes > self._limits.output_bytes:
                raise LimitExceeded("Bytes of all outputs", counters.bytes, self._limits.output_bytes)


def arrow_limits(limits: LimitSettings | None) -> ValidationLimits:
    """The limits for one batch, from the settings."""
    if limits is None:
        return ValidationLimits()
    return ValidationLimits(cell_bytes=limits.cell_bytes, columns_count=limits.columns)


def _arrow_memory(byte_count: int) -> memoryview:
    """Memory that is not zeroed first."""
    return memoryview(pa.allocate_buffer(byte_count)).cast("B")
