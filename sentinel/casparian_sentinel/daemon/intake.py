"""When the disk gets full: whether new work is taken, judged by free space. `judge` is pure.

What runs may finish; only new work is refused. Below the floor intake pauses; it resumes when there is clearly more
room again and the log has its reserve back.
"""

from __future__ import annotations

from casparian_sentinel.core.commands import PauseIntake, ResumeIntake

#: New files that the file system must have room for, in files: each job in flight makes about ten.
FILES_FLOOR = 1000
#: Resume only above the floor by this share of it, so that intake does not flap.
_MARGIN = 0.05
#: Nobody else pauses intake; the reason says what is short.
DISK = "disk: "


def judge(
    paused: str | None,
    free_bytes: int,
    floor_bytes: int,
    *,
    free_files: int | None = None,
    has_reserve: bool,
    is_log_full: bool,
) -> PauseIntake | ResumeIntake | None:
    """What to tell the core, given why intake is paused now (None: it is open).

    `free_files`: how many more files the file system can have, None when it does not count them.
    """
    if is_log_full and paused is None:
        return PauseIntake(f"{DISK}no space left for the event log")
    if paused is None and free_bytes < floor_bytes:
        return PauseIntake(f"{DISK}{_mebibytes(free_bytes)} free, below the floor of {_mebibytes(floor_bytes)}")
    if paused is None and free_files is not None and free_files < FILES_FLOOR:
        return PauseIntake(f"{DISK}room for {free_files:,} more files (inodes), below the floor of {FILES_FLOOR:,}")
    has_files = free_files is None or free_files >= FILES_FLOOR * (1 + _MARGIN)
    has_bytes = free_bytes >= floor_bytes * (1 + _MARGIN)
    if paused is not None and not is_log_full and has_reserve and has_bytes and has_files:
        return ResumeIntake(f"{_mebibytes(free_bytes)} free")
    return None


def _mebibytes(count: int) -> str:
    return f"{count / 1024**2:,.1f} MiB"
