"""The directory of one attempt, `.staging/<job>/<epoch>/`: accessed through descriptors, without following links.

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
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from blake3 import blake3

from casparian_protocol.trees import remove_tree
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

    def open_below(self, directory: int, name: str) -> int:
        """Open a directory in this one."""

    def make_below(self, directory: int, name: str) -> None:
        """Create a directory in this one; it must not exist."""

    def create(self, directory: int, name: str) -> int:
        """Create a file in this directory; it must not exist."""

    def remove_below(self, directory: int, name: str) -> None:
        """Remove a file in this directory."""

    def append(self, descriptor: int, data: memoryview) -> int:
        """Append bytes; returns how many were written."""

    def sync(self, descriptor: int) -> None:
        """Sync the content of a file, or the names in a directory."""

    def close(self, descriptor: int) -> None: ...

    def remove_tree(self, path: Path) -> None: ...

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""


class RealDisk:
    def open_directory(self, path: Path) -> int:
        return os.open(path, _DIRECTORY)

    def open_below(self, directory: int, name: str) -> int:
        return os.open(name, _DIRECTORY, dir_fd=directory)

    def make_below(self, directory: int, name: str) -> None:
        os.mkdir(name, 0o700, dir_fd=directory)

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

    def remove_tree(self, path: Path) -> None:
        remove_tree(path)

    def remove_directory(self, path: Path) -> None:
        path.rmdir()


_REAL_DISK = RealDisk()


# --- files and their directory ----------------------------------------------------------------------------------------


class StagedSink:
    """A file that is written front to back and hashed. To Arrow it looks like a Python file."""

    def __init__(self, name: str, directory: int, meter: SinkMeter, disk: Disk) -> None:
        self._disk = disk
        self.name = name
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
                self._descriptor = self._disk.create(self._directory, self.name)
            rest = memoryview(b"".join(pieces))
            while rest:
                rest = rest[self._disk.append(self._descriptor, rest) :]


class StagingDirectory:
    """One attempt's directory, created on first use, so that an attempt without rows leaves none."""

    def __init__(self, root: Path, job_id: str, epoch: int, disk: Disk = _REAL_DISK) -> None:
        self.disk = disk
        self.path = root / job_id / str(epoch)
        self._root = root
        self._is_made = False
        self._descriptors: list[int] = []
        self._sinks: list[StagedSink] = []

    def create(self, name: str, meter: SinkMeter | None = None) -> StagedSink:
        """Create a file; it must not exist. `meter` counts what is written to it."""
        meter = meter or SinkMeter("", "")
        if not self._descriptors:
            try:
                self._open()
            except OSError:
                meter.refused()
                raise
        sink = StagedSink(name, self._descriptors[-1], meter, self.disk)
        self._sinks.append(sink)
        return sink

    def drop(self, sink: StagedSink) -> None:
        """Delete one of these files, so that its name can be used again."""
        sink.release()
        self._sinks.remove(sink)
        self.disk.remove_below(self._descriptors[-1], sink.name)

    def sync_files(self) -> None:
        """Make all files durable, and the names that lead to them, except those in the root."""
        for sink in self._sinks:
            sink.sync()
        try:
            for descriptor in reversed(self._descriptors[1:]):
                self.disk.sync(descriptor)
        except OSError:
            self.count_refusal()
            raise

    def count_refusal(self) -> None:
        """Count a failed sync that all files here depend on."""
        for meter in {sink.meter for sink in self._sinks}:
            meter.refused()

    def close(self) -> None:
        """Close descriptors; staged files stay."""
        for sink in self._sinks:
            sink.release()
        for descriptor in self._descriptors:
            self.disk.close(descriptor)
        self._descriptors.clear()

    def remove(self) -> None:
        """Delete the attempt's directory, and the job's if this was its last; nothing that existed before is deleted."""
        self.close()
        if self._is_made:
            remove_attempt(self._root, self.path, self.disk)

    @property
    def has_files(self) -> bool:
        return bool(self._sinks)

    def _open(self) -> None:
        """Create the directory. The job's directory may vanish at this moment, when another attempt of the job is removed."""
        while not self._descriptors:
            self._descriptors.append(self.disk.open_directory(self._root))
            try:
                self._descend()
            except FileNotFoundError:
                self.close()

    def _descend(self) -> None:
        for name in (self.path.parent.name, self.path.name):
            parent = self._descriptors[-1]
            try:
                self.disk.make_below(parent, name)
            except FileExistsError:
                if name == self.path.name:  # no other attempt has this epoch
                    raise
            else:
                self._is_made |= name == self.path.name
            self._descriptors.append(self.disk.open_below(parent, name))


def remove_attempt(root: Path, path: Path, disk: Disk = _REAL_DISK) -> None:
    """Delete what an attempt staged; does nothing if it is already gone."""
    if path.parent.parent != root:
        raise ValueError(f"{path} is not the directory of an attempt")
    for remove in (partial(disk.remove_tree, path), partial(disk.remove_directory, path.parent)):
        try:
            remove()
        except OSError:  # already gone, or other attempts use it; the sentinel sweeps the rest
            continue


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
    descriptor = of.disk.open_directory(of.path.parent.parent)
    try:
        of.disk.sync(descriptor)
    finally:
        of.disk.close(descriptor)
