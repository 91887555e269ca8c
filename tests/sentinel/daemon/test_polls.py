"""Polled sources: a poll that finds nothing new leaves nothing, whatever changed is scanned, a scan that failed is repeated."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from casparian_sentinel.core.state import COMMITTED, FAILED, Source, State
from casparian_sentinel.daemon.failures import Tasks
from casparian_sentinel.daemon.planner import TRIES_OF_A_TREE, Polls, digest_in_a_process
from casparian_sentinel.daemon.tree_digest import digest_of


class Played:
    """Sources that are looked at, and what was queued for them."""

    def __init__(self, root: Path) -> None:
        self.state = State()
        self.state.sources["s"] = Source("s", "in", str(root), 10, {})
        self.queued: list[str] = []
        self.errors: list[BaseException] = []
        self.now_s = 0.0
        self.is_unseen = False
        self.tasks = Tasks(lambda name, error: self.errors.append(error))
        self.polls = Polls(self.state, self.tasks, self._queue, self._look)

    def _queue(self, source: Source) -> str:
        self.queued.append(f"job-{len(self.queued)}")
        return self.queued[-1]

    async def _look(self, root: str, passed_over: tuple[str, ...]) -> str:
        return "" if self.is_unseen else digest_of(root, frozenset(passed_over))

    async def poll(self, ended: str = COMMITTED) -> int:
        """One poll later, with the last scan ended so; how many were queued so far."""
        if self.queued:
            self.state.answered[self.queued[-1]] = (1, ended)
        self.polls.look_at_due(self.now_s, int(self.now_s * 1e6) + 1)
        await asyncio.gather(*self.tasks._running)
        self.now_s += 10.0
        assert not self.errors
        return len(self.queued)


def play(story: Any, root: Path) -> None:
    async def life() -> None:
        await story(Played(root))

    asyncio.run(life())


def test_only_polls_that_find_something_leave_a_job(tmp_path: Path) -> None:
    async def story(played: Played) -> None:
        assert await played.poll() == 1  # what is there
        for _ in range(50):
            assert await played.poll() == 1
        (tmp_path / "new.txt").write_text("x")
        assert await played.poll() == 2
        (tmp_path / "new.txt").write_text("longer")
        assert await played.poll() == 3
        (tmp_path / ".git").mkdir()
        (tmp_path / ".git" / "x").touch()
        before = await played.poll()
        (tmp_path / ".git" / "y").touch()
        assert await played.poll() == before
        assert played.polls.looked_at() == {"s": int((played.now_s - 10) * 1e6) + 1}

    play(story, tmp_path)


def test_a_scan_that_failed_is_repeated_a_few_times_and_again_when_something_changes(tmp_path: Path) -> None:
    async def story(played: Played) -> None:
        for _ in range(10):
            count = await played.poll(ended=FAILED)
        assert count == TRIES_OF_A_TREE
        (tmp_path / "new.txt").touch()
        assert await played.poll(ended=FAILED) == TRIES_OF_A_TREE + 1

    play(story, tmp_path)


def test_a_tree_without_a_digest_is_scanned_a_few_times_then_once_an_hour(tmp_path: Path) -> None:
    async def story(played: Played) -> None:
        played.is_unseen = True
        counts = [await played.poll() for _ in range(20)]
        assert counts == [*range(1, TRIES_OF_A_TREE + 1), *[TRIES_OF_A_TREE] * (20 - TRIES_OF_A_TREE)]
        played.now_s += 3600
        assert [await played.poll() for _ in range(3)] == [TRIES_OF_A_TREE + 1] * 3
        played.is_unseen = False
        assert [await played.poll() for _ in range(3)] == [TRIES_OF_A_TREE + 2] * 3

    play(story, tmp_path)


def test_a_source_whose_directory_is_gone_does_not_pile_up_jobs(tmp_path: Path) -> None:
    async def story(played: Played) -> None:
        for _ in range(20):
            count = await played.poll(ended=FAILED)
        assert count == TRIES_OF_A_TREE
        (tmp_path / "gone").mkdir()
        assert await played.poll() == TRIES_OF_A_TREE + 1

    play(story, tmp_path / "gone")


def test_the_digest_sees_names_sizes_times_and_what_cannot_be_read(tmp_path: Path) -> None:
    seen = set()
    for change in (
        lambda: None,
        lambda: (tmp_path / "a").touch(),
        lambda: (tmp_path / "a").write_text("1"),
        lambda: os.utime(tmp_path / "a", ns=(1, 1)),
        lambda: (tmp_path / "a").rename(tmp_path / "b"),
        lambda: (tmp_path / "d").mkdir(),
        lambda: (tmp_path / "d" / "c").touch(),
        lambda: (tmp_path / "l").symlink_to("d"),
    ):
        change()
        seen.add(digest_of(str(tmp_path), frozenset()))
        assert digest_of(str(tmp_path), frozenset()) in seen
    assert len(seen) == 8
    assert asyncio.run(digest_in_a_process(str(tmp_path), ())) in seen
