"""What was written where, and how long it took: counts for each output and sink, since this worker's start.

Slots and the sealer add, whoever reports reads: from any thread. Nothing here knows who is told; nothing grows beyond
`SINKS_LIMIT` meters of fixed size.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from casparian_protocol.wire import Histogram
from casparian_protocol.wire.messages import COUNT_LIMIT, OTHER_SINKS, SINKS_LIMIT, SinkCounts

#: Where a commit takes staged files of each kind.
SINK_URIS = {"data": "parquet://outputs", "quarantine": "parquet://quarantine"}


class SinkMeter:
    """One output in one sink."""

    def __init__(self, uri: str, output: str) -> None:
        self._uri = uri
        self._output = output
        self._lock = threading.Lock()
        self._rows = self._bytes = self._errors = 0
        self._latency = Histogram()
        self._changes = 0

    @contextmanager
    def call(self, byte_count: int = 0) -> Iterator[None]:
        """Around one write or sync: its time, and its bytes or its `OSError`, which goes on."""
        began_s = time.perf_counter()
        try:
            yield
        except OSError:
            self._count(time.perf_counter() - began_s, errors=1)
            raise
        self._count(time.perf_counter() - began_s, byte_count=byte_count)

    def rows(self, count: int) -> None:
        """Rows were handed to the writer."""
        with self._lock:
            self._rows += count
            self._changes += 1

    def refused(self) -> None:
        """The system refused what is not a call on this output alone: a directory, or its sync."""
        with self._lock:
            self._errors += 1
            self._changes += 1

    @property
    def changes(self) -> int:
        """Another number than before: something was written since."""
        return self._changes

    def read(self) -> tuple[int, SinkCounts]:
        """The counts, as far as a message can say them, and the number of changes they contain."""
        with self._lock:
            counts = SinkCounts(
                uri=self._uri,
                output=self._output,
                rows=min(self._rows, COUNT_LIMIT),
                bytes=min(self._bytes, COUNT_LIMIT),
                errors=min(self._errors, COUNT_LIMIT),
                latency=self._latency.counts(),
            )
            return self._changes, counts

    def _count(self, seconds: float, *, byte_count: int = 0, errors: int = 0) -> None:
        with self._lock:
            self._bytes += byte_count
            self._errors += errors
            self._latency.add(seconds)
            self._changes += 1


class SinkMeters:
    """All of a worker's. Beyond the limit outputs share one meter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._meters: dict[tuple[str, str], SinkMeter] = {}

    def of(self, uri: str, output: str) -> SinkMeter:
        """The meter of this output, made on first use."""
        key = uri, output
        with self._lock:
            if key not in self._meters and len(self._meters) >= SINKS_LIMIT - 1:
                key = OTHER_SINKS
            meter = self._meters.get(key)
            if meter is None:
                meter = self._meters[key] = SinkMeter(*key)
            return meter

    def all(self) -> list[SinkMeter]:
        with self._lock:
            return list(self._meters.values())
