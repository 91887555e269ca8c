"""When a full disk stops the intake of work, and when it opens again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_sentinel.core import PauseIntake, ResumeIntake
from casparian_sentinel.daemon.upkeep import DISK, FILES_FLOOR, judge_intake

MIB = 1 << 20
FLOOR = 512 * MIB
FULL = f"{DISK}no space left for the event log"
GOOD: dict[str, Any] = {"free_bytes": 2 * FLOOR, "floor_bytes": FLOOR, "has_reserve": True, "is_log_full": False}


@pytest.mark.parametrize(
    ("paused", "seen", "verdict"),
    [
        (None, {}, None),
        (None, {"free_bytes": FLOOR}, None),
        (None, {"free_bytes": FLOOR - MIB}, PauseIntake("disk: 511.0 MiB free, below the floor of 512.0 MiB")),
        (None, {"is_log_full": True}, PauseIntake(FULL)),
        (None, {"is_log_full": True, "free_bytes": 0}, PauseIntake(FULL)),
        (None, {"free_files": None}, None),
        (None, {"free_files": FILES_FLOOR}, None),
        (FULL, {}, ResumeIntake("1,024.0 MiB free")),
        (FULL, {"is_log_full": True}, None),
        (FULL, {"has_reserve": False}, None),
        (FULL, {"free_bytes": FLOOR}, None),
        (FULL, {"free_files": FILES_FLOOR}, None),
        (FULL, {"free_files": 10 * FILES_FLOOR}, ResumeIntake("1,024.0 MiB free")),
    ],
)
def test_intake_follows_the_disk(paused: str | None, seen: dict[str, Any], verdict: object) -> None:
    assert judge_intake(paused, **{**GOOD, **seen}) == verdict


def test_a_file_system_without_room_for_files_pauses_although_it_has_bytes() -> None:
    verdict = judge_intake(None, **GOOD, free_files=FILES_FLOOR - 1)

    assert isinstance(verdict, PauseIntake)
    assert verdict.reason.startswith(f"disk: room for {FILES_FLOOR - 1:,} more files (inodes)")


@given(st.integers(0, 4 * FLOOR), st.none() | st.integers(0, 4 * FILES_FLOOR), st.booleans(), st.booleans())
def test_a_disk_that_does_not_change_never_makes_intake_open_and_close_by_turns(
    free_bytes: int, free_files: int | None, has_reserve: bool, is_log_full: bool
) -> None:
    seen = {"free_bytes": free_bytes, "floor_bytes": FLOOR, "has_reserve": has_reserve, "is_log_full": is_log_full}

    verdict = judge_intake(None, **seen, free_files=free_files)  # type: ignore[arg-type]

    if isinstance(verdict, PauseIntake):
        assert judge_intake(verdict.reason, **seen, free_files=free_files) is None  # type: ignore[arg-type]
