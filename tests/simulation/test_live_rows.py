"""No row of a (parser, content) is live twice, and those that are live are the right ones, whatever happens in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.live_rows import LiveRowsWalk


def walked(folder: Path, seeds: range, steps: int) -> tuple[int, int]:
    """Commits, and those of them that were superseded."""
    commits = superseded = 0
    for seed in seeds:
        (folder / str(seed)).mkdir()
        walk = LiveRowsWalk(folder / str(seed), seed)
        walk.run(steps)
        commits += walk.commits
        superseded += walk.superseded
    return commits, superseded


def test_rows_that_are_live_follow_from_what_files_hold_and_what_was_committed(tmp_path: Path) -> None:
    commits, superseded = walked(tmp_path, range(2), 25)
    assert commits >= 6, "it does happen"
    assert superseded >= 2


@pytest.mark.campaign
def test_rows_that_are_live_follow_over_many_days(tmp_path: Path) -> None:
    commits, superseded = walked(tmp_path, range(100, 116), 60)
    assert superseded >= 16 < commits
