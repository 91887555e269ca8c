"""What the log's tests share: small logs with known content, and a disk that fails on command."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from casparian_protocol.events.packing import Fact
from casparian_sentinel.log.format import Head, LogRecord
from casparian_sentinel.log.reader import LogReader
from casparian_sentinel.log.recovery import examine
from casparian_sentinel.log.writer import LogWriter
from casparian_sentinel.ports import RealFs

CHAIN_ID = bytes(range(16))


def fact(number: int, text: str = "") -> Fact:
    return (1_700_000_000_000_000 + number, "JobFailed", 1, "sentinel", {"job_id": f"j{number}", "text": text})


def open_log(
    directory: Path, *, segment_bytes: int = 1 << 20, fs: RealFs | None = None, reserve_bytes: int = 0
) -> LogWriter:
    writer, _recovery = LogWriter.open(
        fs or RealFs(),
        directory,
        segment_bytes=segment_bytes,
        reserve_bytes=reserve_bytes,
        new_chain_id=CHAIN_ID,
    )
    return writer


def fill(writer: LogWriter, batch_sizes: list[int], *, synced: bool = True, text: str = "") -> list[Head]:
    """Append batches of so many events; the places behind each."""
    heads = []
    for size in batch_sizes:
        first = writer.end.seq + 1
        writer.append([fact(number, text) for number in range(first, first + size)])
        heads.append(writer.end)
        if synced:
            writer.sync()
    return heads


def all_events(directory: Path) -> list[LogRecord]:
    found = examine(RealFs(), directory)
    assert found is not None
    with LogReader(RealFs(), directory) as reader:
        return list(reader.events(1, found.end.position))


class UnsyncedFs(RealFs):
    """The real disk without waiting for it, for tests that open thousands of logs."""

    def fdatasync(self, descriptor: int) -> None:
        return

    def fsync_directory(self, directory: Path) -> None:
        return


class FailingFs(RealFs):
    """The real disk until told otherwise."""

    def __init__(self) -> None:
        self.space_bytes: int | None = None  # what may still be written
        self.failing_syncs = 0
        self.failing_writes = 0
        self.sync_count = 0
        self.longest_write_bytes: int | None = None

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        if self.failing_writes:
            self.failing_writes -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        taken = data[: self.longest_write_bytes]
        if self.space_bytes is not None:
            if self.space_bytes == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            taken = taken[: self.space_bytes]
            self.space_bytes -= len(taken)
        return super().pwrite(descriptor, taken, offset)

    def fdatasync(self, descriptor: int) -> None:
        self.sync_count += 1
        if self.failing_syncs:
            self.failing_syncs -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().fdatasync(descriptor)

    def unlink(self, path: Path) -> None:
        size = path.stat().st_size
        super().unlink(path)
        if self.space_bytes is not None:
            self.space_bytes += size

    def free_bytes(self, directory: Path) -> int:
        return super().free_bytes(directory) if self.space_bytes is None else self.space_bytes
