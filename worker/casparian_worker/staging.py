"""The staged files of one attempt, `.staging/<job>.<epoch>.<name>`: accessed through descriptors, without following links.

All attempts share one directory: making and removing one for each costs more than a small file. The epoch in the name keeps them
apart, since no two attempts of a job have the same, and a file is never opened that exists already.

A file is hashed while it is written; a small one stays in memory until it is complete. Syncing makes files and directories
durable; before that an attempt counts for nothing. All access goes through the port `Disk`, for which the simulation has a disk
that fails and loses power. `SinkMeters` counts what is written where, and how long that takes, since the worker started: slots
and the syncer add, the agent reads, from any thread. `sinks` decides what is written; the sentinel moves it into `outputs/`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from blake3 import blake3

from casparian_protocol.home import attempt_of, staged_name
from casparian_protocol.wire import Histogram
from casparian_protocol.wire.messages import COUNT_LIMIT, OTHER_SINKS, SINKS_LIMIT, SinkCounts

#: Where a commit moves staged files of each kind.
SINK_URIS = {"data": "parquet://outputs", "quarantine": "parquet://quarantine"}
#: A file up to this size is held in memory and written at once.
IN_MEMORY_BYTES = 4 * 1024 * 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


# --- counting what is written -----------------------------------------------------------------------------------------


class SinkMeter:
    """The counts of one output in one sink."""

    def __init__(self, uri: str, output: str) -> None:
        self._uri = uri
        self._output = output
        self._lock = threading.Lock()
        self._rows = self._bytes = self._errors = 0
        self._latency = Histogram()
        self._changes = 0

    @contextmanager
    def call(self, byte_count: int = 0) -> Iterator[None]:
        """Measures one write or sync: its time, and its bytes or its `OSError`, which is passed on."""
        began_s = time.perf_counter()
        try:
            yield
        except OSError:
            self._count(time.perf_counter() - began_s, errors=1)
            raise
        self._count(time.perf_counter() - began_s, byte_count=byte_count)

    def rows(self, count: int) -> None:
        """Count rows handed to the writer."""
        with self._lock:
            self._rows += count
            self._changes += 1

    def refused(self) -> None:
        """Count an error that affects more than this output: of a directory, or of its sync."""
        with self._lock:
            self._errors += 1
            self._changes += 1

    @property
    def changes(self) -> int:
        """A number that changes whenever something has been written."""
        return self._changes

    def read(self) -> tuple[int, SinkCounts]:
        """The counts, limited to what a message can hold, and the number of changes they include."""
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
    """All meters of a worker. Beyond the limit, outputs share one meter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._meters: dict[tuple[str, str], SinkMeter] = {}

    def of(self, uri: str, output: str) -> SinkMeter:
        """The meter of this output, created on first use."""
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


# --- the disk ---------------------------------------------------------------------------------------------------------


class Disk(Protocol):
    """The file system as staging uses it. Names are relative to an open directory; links are never followed."""

    def open_directory(self, path: Path) -> int: ...

    def names(self, path: Path) -> list[str]:
        """The names in a directory."""

    def create(self, directory: int, name: str) -> int:
        """Create a file in this directory; it must not exist."""

    def remove_below(self, directory: int, name: str) -> None:
        """Remove a file in this directory."""

    def append(self, descriptor: int, data: memoryview) -> int:
        """Append bytes; returns how many were written."""

    def sync(self, descriptor: int) -> None:
        """Sync the content of a file, or the names in a directory."""

    def close(self, descriptor: int) -> None: ...


class RealDisk:
    def open_directory(self, path: Path) -> int:
        return os.open(path, _DIRECTORY)

    def names(self, path: Path) -> list[str]:
        return os.listdir(path)

    def create(self, directory: int, name: str) -> int:
        return os.open(name, _NEW_FILE, 0o600, dir_fd=directory)

    def remove_below(self, directory: int, name: str) -> None:
        os.unlink(name, dir_fd=directory)

    def append(self, descriptor: int, data: memoryview) -> int:
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)


_REAL_DISK = RealDisk()


# --- files and their directory ----------------------------------------------------------------------------------------


class StagedSink:
    """A file that is written front to back and hashed. To Arrow it looks like a Python file."""

    def __init__(self, name: str, file_name: str, directory: int, meter: SinkMeter, disk: Disk) -> None:
        """`name` is its name among the files of the attempt, and `file_name` that in the directory."""
        self._disk = disk
        self.name = name
        self.file_name = file_name
        #: Whether there is such a file.
        self.is_made = False
        self.meter = meter
        self.closed = False
        self._is_discarded = False
        self._is_synced = False
        self._directory = directory
        self._hasher = blake3()
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._total_bytes = 0
        self._descriptor: int | None = None

    @property
    def digest(self) -> str:
        return self._hasher.hexdigest()

    def tell(self) -> int:
        return self._total_bytes

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def write(self, data: bytes) -> int:
        if self._is_discarded:  # an abandoned Parquet writer still writes its footer when it is garbage-collected
            return len(data)
        piece = bytes(data)
        self._hasher.update(piece)
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        self._total_bytes += len(piece)
        if self._held_bytes > IN_MEMORY_BYTES:
            self._spill()
        return len(piece)

    def flush(self) -> None:
        """Do nothing, because syncing makes the file durable."""

    def close(self) -> None:
        """Write what is still in memory. The file is not durable yet."""
        if not self.closed and not self._is_discarded:
            self._spill()
        self.closed = True

    def sync(self) -> None:
        """Make the content durable; repeating this does nothing."""
        if self._is_synced:
            return
        assert self.closed and self._descriptor is not None, "closed first"
        with self.meter.call():
            self._disk.sync(self._descriptor)
        self._is_synced = True
        self.release()

    def release(self) -> None:
        """Stop writing; what is already written stays."""
        self._is_discarded = True
        self._pieces.clear()
        if self._descriptor is not None:
            self._disk.close(self._descriptor)
            self._descriptor = None

    def _spill(self) -> None:
        if self._descriptor is not None and not self._pieces:
            return
        pieces, self._pieces = self._pieces, []
        byte_count, self._held_bytes = self._held_bytes, 0
        with self.meter.call(byte_count):
            if self._descriptor is None:
                self._descriptor = self._disk.create(self._directory, self.file_name)
                self.is_made = True
            rest = memoryview(b"".join(pieces))
            while rest:
                rest = rest[self._disk.append(self._descriptor, rest) :]


class StagingDirectory:
    """What one attempt stages. The directory is opened on first use."""

    def __init__(self, root: Path, job_id: str, epoch: int, disk: Disk = _REAL_DISK) -> None:
        self.disk = disk
        self.root = root
        self._attempt = job_id, epoch
        self._directory: int | None = None
        self._sinks: list[StagedSink] = []

    def path(self, name: str) -> Path:
        """The path of a staged file."""
        return self.root / staged_name(*self._attempt, name)

    def create(self, name: str, meter: SinkMeter | None = None) -> StagedSink:
        """Create a file; it must not exist. `meter` counts what is written to it."""
        meter = meter or SinkMeter("", "")
        if self._directory is None:
            try:
                self._directory = self.disk.open_directory(self.root)
            except OSError:
                meter.refused()
                raise
        sink = StagedSink(name, staged_name(*self._attempt, name), self._directory, meter, self.disk)
        self._sinks.append(sink)
        return sink

    def drop(self, sink: StagedSink) -> None:
        """Delete one of these files, so that its name can be used again."""
        assert self._directory is not None
        sink.release()
        self._sinks.remove(sink)
        self.disk.remove_below(self._directory, sink.file_name)

    def sync_files(self) -> None:
        """Make the content of all files durable; their names are durable once the directory is synced."""
        for sink in self._sinks:
            sink.sync()

    def count_refusal(self) -> None:
        """Count a failed sync that all files here depend on."""
        for meter in {sink.meter for sink in self._sinks}:
            meter.refused()

    def close(self) -> None:
        """Close descriptors; staged files stay."""
        for sink in self._sinks:
            sink.release()
        if self._directory is not None:
            self.disk.close(self._directory)
            self._directory = None

    def remove(self) -> None:
        """Delete the attempt's files; nothing that existed before is deleted."""
        self.close()
        made = [sink.file_name for sink in self._sinks if sink.is_made]
        self._sinks.clear()
        if made:
            _remove_files(self.root, made, self.disk)

    @property
    def has_files(self) -> bool:
        return bool(self._sinks)


def remove_attempt(root: Path, job_id: str, epoch: int, disk: Disk = _REAL_DISK) -> None:
    """Delete what an attempt staged; does nothing if it is already gone."""
    try:
        names = disk.names(root)
    except OSError:  # the sentinel sweeps
        return
    _remove_files(root, [name for name in names if attempt_of(name) == (job_id, epoch)], disk)


def _remove_files(root: Path, names: Sequence[str], disk: Disk) -> None:
    """Delete files in the staging directory; what cannot be deleted, the sentinel sweeps."""
    try:
        directory = disk.open_directory(root)
    except OSError:
        return
    try:
        for name in names:
            with suppress(OSError):  # already gone
                disk.remove_below(directory, name)
    finally:
        disk.close(directory)


def sync_together(directories: Sequence[StagingDirectory]) -> list[OSError | None]:
    """Sync a group of attempts, with one sync for what they share. Returns None for each attempt, or why it is not durable.

    Their descriptors are closed in any case.
    """
    try:
        return _sync_together(directories)
    finally:
        for directory in directories:
            directory.close()


def _sync_together(directories: Sequence[StagingDirectory]) -> list[OSError | None]:
    outcomes: list[OSError | None] = []
    for directory in directories:
        try:
            directory.sync_files()
            outcomes.append(None)
        except OSError as cause:
            outcomes.append(cause)
    with_files = [directory for directory in directories if directory.has_files]
    try:
        if with_files:
            _sync_root(with_files[0])
    except OSError as cause:
        for directory in with_files:
            directory.count_refusal()
        outcomes = [outcome or cause for outcome in outcomes]
    return outcomes


def _sync_root(of: StagingDirectory) -> None:
    descriptor = of.disk.open_directory(of.root)
    try:
        of.disk.sync(descriptor)
    finally:
        of.disk.close(descriptor)
