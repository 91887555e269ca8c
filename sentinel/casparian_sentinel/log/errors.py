"""The errors of the event log, each with a remedy. This module touches no file."""

from __future__ import annotations

from pathlib import Path

from casparian_protocol.errors import CasparianError
from casparian_protocol.events.packing import EventRefused, EventTooLarge, EventUnfit

__all__ = [
    "BatchTooLarge",
    "BrokenChain",
    "DamagedBatch",
    "EventRefused",
    "EventTooLarge",
    "EventUnfit",
    "HomeReadOnly",
    "LogBroken",
    "LogCorrupt",
    "LogFull",
    "LogInUse",
    "LogTooNew",
]

_KEEP_AND_REPAIR = (
    "Nothing was changed. Copy the log folder away, examine it with `casparian log verify`, check the disk, "
    "then restore the damaged file from a copy that is as complete, or let `casparian log repair` cut the log there: "
    "it keeps the old bytes, and files processed after the cut are processed again."
)


class BatchTooLarge(EventRefused):
    """The events of one decision do not fit into one batch of the log."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"A batch of {size_bytes} bytes exceeds the limit of {limit_bytes} bytes.",
            remedy="Append the events in several batches.",
        )


class DamagedBatch(CasparianError):
    """The bytes in the log differ from what was written."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Not a batch of the event log: {reason}.", remedy=_KEEP_AND_REPAIR)
        self.reason = reason


class BrokenChain(DamagedBatch):
    """A batch has a valid checksum but does not continue the batch before it. No crash causes this."""


class LogCorrupt(CasparianError):
    """A part of the log that was durable is damaged."""

    def __init__(self, segment: str, offset: int, next_seq: int, reason: str) -> None:
        super().__init__(
            f"The event log is damaged in {segment} at offset {offset}, where event {next_seq} belongs: {reason}.",
            remedy=_KEEP_AND_REPAIR,
        )
        self.segment = segment
        self.offset = offset
        self.next_seq = next_seq
        self.reason = reason


class LogTooNew(CasparianError):
    """The log was written by a newer version of Casparian."""

    def __init__(self, what: str, needed_version: str | None) -> None:
        needed = f"casparian {needed_version} or newer" if needed_version else "the casparian that wrote it"
        super().__init__(
            f"The event log was written by a newer casparian than this one: {what}.",
            remedy=f"Use {needed} for this home; nothing was changed.",
        )
        self.needed_version = needed_version


class LogBroken(CasparianError):
    """The disk failed during a write to the log, so nothing more is written."""

    def __init__(self, doing: str, cause: str) -> None:
        super().__init__(
            f"The event log cannot be written any more: {doing} failed ({cause}).",
            remedy="Check the disk (`dmesg`, `smartctl`), then start again; nothing that was acknowledged is lost.",
        )


class LogFull(CasparianError):
    """There is no disk space for a batch of the log."""

    def __init__(self, directory: Path, free_bytes: int) -> None:
        super().__init__(
            f"No space left for the event log in {directory} ({free_bytes} bytes free).",
            remedy="Free disk space; work resumes automatically.",
        )
        self.free_bytes = free_bytes


class LogInUse(CasparianError):
    """Another process owns the home: a daemon, or a command that works without one."""

    is_about_connecting = True

    def __init__(self, lock_path: Path, owner_pid: int | None, role: str = "sentinel") -> None:
        owner = f"pid {owner_pid}" if owner_pid is not None else "pid unknown"
        if role == "command":
            problem = f"Another casparian command ({owner}) is using this home: it holds {lock_path}."
            remedy = (
                "Try again when it has ended. With a daemon (`casparian start`) commands need not wait for each other."
            )
        else:
            problem = f"A running daemon ({owner}) holds {lock_path}."
            remedy = "Stop it with `casparian stop`, or name another home with --home."
        super().__init__(problem, remedy=remedy)
        self.owner_pid = owner_pid


class HomeReadOnly(CasparianError):
    """The home cannot be opened because this process may not write there."""

    is_about_connecting = True

    def __init__(self, lock_path: Path, cause: OSError) -> None:
        super().__init__(
            f"The home cannot be opened: {lock_path} cannot be written: {cause.strerror or cause}.",
            remedy="`ls -ld` and `mount` show why. Without writing, `casparian log verify` and commands with --as-of read it.",
        )
