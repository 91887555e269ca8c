"""When the disk gets full: whether new work is taken, judged by free space. `judge` is pure.

What runs may finish; only new work is refused. Below the floor intake pauses; it resumes when there is clearly more
room again and the log has its reserve back.
"""

from __future__ import annotations

from casparian_sentinel.core.commands import PauseIntake, ResumeIntake

#: Resume only above the floor by this share of it, so that intake does not flap.
_MARGIN = 0.05
#: Pauses made here begin like this; others are not ours to end.
DISK = "disk: "


def judge(
    paused: str | None, free_bytes: int, floor_bytes: int, *, has_reserve: bool, is_log_full: bool
) -> PauseIntake | ResumeIntake | None:
    """What to tell the core, given why intake is paused now (None: it is open)."""
    if is_log_full and paused is None:
        return PauseIntake(f"{DISK}no space left for the event log")
    if paused is None and free_bytes < floor_bytes:
        return PauseIntake(f"{DISK}{_mebibytes(free_bytes)} free, below the floor of {_mebibytes(floor_bytes)}")
    is_ours = paused is not None and paused.startswith(DISK)
    if is_ours and not is_log_full and has_reserve and free_bytes >= floor_bytes * (1 + _MARGIN):
        return ResumeIntake(f"{_mebibytes(free_bytes)} free")
    return None


def _mebibytes(count: int) -> str:
    return f"{count / 1024**2:,.1f} MiB"
