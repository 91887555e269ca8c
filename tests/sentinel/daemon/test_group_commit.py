"""Decisions share batches, take effect in order and only when durable; lazy events hold nobody up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from casparian_protocol.events import Event, JobProgressed, SourceRemoved
from casparian_protocol.wire import Progress
from casparian_sentinel import core as c
from casparian_sentinel.core.decision import Decision, PlanFiles, Promote, Sweep
from casparian_sentinel.daemon.journal import (
    EVENTS_PER_BATCH,
    LAZY_SECONDS,
    SLOW_SECONDS,
    Engine,
    Entry,
    GroupCommit,
    batches_of,
)
from casparian_sentinel.log.errors import LogFull
from casparian_sentinel.log.format import Head
from casparian_sentinel.log.reader import LogReader
from casparian_sentinel.log.writer import Appended, LogWriter
from casparian_sentinel.ports import RealFs
from tests.sentinel.core.play import Table, offer
from tests.sentinel.daemon.test_failure_policy import TableClock


class SlowFs(RealFs):
    """Syncs wait until they are let go."""

    def __init__(self) -> None:
        self.may_sync = threading.Event()
        self.may_sync.set()

    def fdatasync(self, descriptor: int) -> None:
        self.may_sync.wait(10)
        super().fdatasync(descriptor)


def removed(name: str) -> Event:
    return SourceRemoved(source_id=name)


def progressed(name: str) -> Event:
    return JobProgressed(job_id=name, epoch=1, progress=Progress())


def decision(name: str, events: int = 1, *, kind: Callable[[str], Event] = removed, effects: bool = False) -> Decision:
    found = Decision(
        events=[kind(f"{name}{number}") for number in range(events)],
        causes=[0] * events,
        ts=1,
        actor="sentinel",
    )
    if effects:
        found.effects.append(PlanFiles())
    return found


class Journal:
    """A group commit over a real log, with the names of what was released."""

    def __init__(self, directory: Path, fs: RealFs) -> None:
        self.fs, self.directory = fs, directory
        self.log, _ = LogWriter.open(fs, directory, reserve_bytes=0)
        self.released: list[Entry] = []
        self.failures: list[BaseException] = []
        self.news = asyncio.Event()
        self.commit = GroupCommit(
            self.log,
            release=self._released,
            on_full=lambda full: None,
            on_failure=self.failures.append,
        )

    def _released(self, entries: Sequence[Entry]) -> None:
        self.released.extend(entries)
        self.news.set()

    async def release_of(self, count: int) -> None:
        while len(self.released) < count:
            self.news.clear()
            await self.news.wait()

    def batches(self) -> list[list[str]]:
        with LogReader(self.fs, self.directory) as reader:
            found = reader.event_batches(reader.start(), self.log.durable.position)
            return [
                [event.data.get("source_id") or event.data["job_id"] for event in events] for _head, events in found
            ]

    def durable(self) -> Head:
        return self.commit.durable


def play(tmp_path: Path, story: Any, fs: RealFs | None = None) -> Journal:
    async def life() -> Journal:
        journal = Journal(tmp_path / "log", fs or RealFs())
        await story(journal)
        journal.commit.close()
        return journal

    journal = asyncio.run(life())
    journal.log.close(seal=False)
    return journal


def test_a_quick_disk_is_awaited_in_the_loop_and_a_slow_one_in_a_thread(tmp_path: Path) -> None:
    synced_in: list[str] = []

    class Told(RealFs):
        def fdatasync(self, descriptor: int) -> None:
            synced_in.append(threading.current_thread().name)
            super().fdatasync(descriptor)

    async def story(journal: Journal) -> None:
        async def write(name: str) -> str:
            journal.commit.add(Entry(decision(name)))
            await journal.commit.flush()
            return synced_in[-1]

        pace = journal.commit.pace
        assert (await write("a")).startswith("committer")  # nothing is known of the disk
        for _ in range(40):
            pace.note(0.0001)
        assert pace.is_quick
        assert await write("b") == threading.main_thread().name
        pace.note(SLOW_SECONDS)
        assert not pace.is_quick
        assert (await write("c")).startswith("committer")
        assert [entry.decision.first_seq for entry in journal.released] == [0, 0, 0]
        assert journal.batches() == [["a0"], ["b0"], ["c0"]]

    assert not play(tmp_path, story, Told()).failures


def test_a_failing_disk_is_reported_from_the_loop_too(tmp_path: Path) -> None:
    class Failing(RealFs):
        fails = False

        def fdatasync(self, descriptor: int) -> None:
            if self.fails:
                raise OSError(5, "Input/output error")
            super().fdatasync(descriptor)

    fs = Failing()

    async def story(journal: Journal) -> None:
        for _ in range(40):
            journal.commit.pace.note(0.0001)
        fs.fails = True
        journal.commit.add(Entry(decision("a")))
        await journal.commit.flush()
        assert len(journal.failures) == 1
        assert not journal.released
        assert journal.commit.is_closed

    play(tmp_path, story, fs)


def test_decisions_of_one_turn_share_a_batch(tmp_path: Path) -> None:
    async def story(journal: Journal) -> None:
        for name in "abc":
            journal.commit.add(Entry(decision(name)))
        assert not journal.released
        await journal.commit.flush()
        assert journal.durable().seq == 3
        assert journal.batches() == [["a0", "b0", "c0"]]

    assert len(play(tmp_path, story).released) == 3


def test_what_arrives_during_a_sync_goes_into_the_next_batch(tmp_path: Path) -> None:
    fs = SlowFs()

    async def story(journal: Journal) -> None:
        fs.may_sync.clear()
        journal.commit.add(Entry(decision("a")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        journal.commit.add(Entry(decision("b")))
        journal.commit.add(Entry(Decision(effects=[PlanFiles()])))
        assert not journal.released  # not even the effect without events: it is behind the others
        fs.may_sync.set()
        await journal.commit.flush()
        assert journal.batches() == [["a0"], ["b0"]]
        assert [len(entry.decision.events) for entry in journal.released] == [1, 1, 0]

    play(tmp_path, story, fs)


def test_effects_without_events_are_released_at_once_when_nothing_is_before_them(tmp_path: Path) -> None:
    async def story(journal: Journal) -> None:
        journal.commit.add(Entry(Decision(effects=[PlanFiles()])))
        assert len(journal.released) == 1

    play(tmp_path, story)


def test_lazy_events_force_no_batch_and_ride_in_the_next(tmp_path: Path) -> None:
    async def story(journal: Journal) -> None:
        journal.commit.add(Entry(decision("lazy", kind=progressed)))
        await asyncio.sleep(0.01)
        assert journal.durable().seq == 0
        journal.commit.add(Entry(decision("a")))
        await journal.commit.flush()
        assert journal.batches() == [["lazy0", "a0"]]

    play(tmp_path, story)


def test_a_lazy_event_that_nothing_comes_along_for_has_a_batch_of_its_own_within_two_seconds(tmp_path: Path) -> None:
    async def story(journal: Journal) -> None:
        began = asyncio.get_running_loop().time()
        journal.commit.add(Entry(decision("lazy", kind=progressed)))
        await journal.release_of(1)
        assert 1.5 < asyncio.get_running_loop().time() - began < 4.0
        assert journal.batches() == [["lazy0"]]
        journal.commit.add(Entry(decision("later", kind=progressed)))
        await journal.commit.flush()
        assert journal.batches() == [["lazy0"], ["later0"]]

    play(tmp_path, story)


def test_a_lazy_event_that_falls_due_during_a_slow_sync_follows_it_at_once(tmp_path: Path) -> None:
    fs = SlowFs()

    async def story(journal: Journal) -> None:
        fs.may_sync.clear()
        journal.commit.add(Entry(decision("a")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        journal.commit.add(Entry(decision("lazy", kind=progressed)))
        await asyncio.sleep(LAZY_SECONDS + 0.2)
        fs.may_sync.set()
        await journal.release_of(2)
        assert journal.batches() == [["a0"], ["lazy0"]]

    play(tmp_path, story, fs)


def test_an_answer_waits_for_the_lazy_events_that_it_may_tell_of(tmp_path: Path) -> None:
    async def story(journal: Journal) -> None:
        journal.commit.add(Entry(decision("lazy", kind=progressed)))
        journal.commit.add(Entry(Decision(), waiter=lambda: None))
        assert journal.released == []
        await journal.commit.flush()
        assert [journal.durable().seq, len(journal.released)] == [1, 2]

    play(tmp_path, story)


def test_flushing_makes_lazy_events_durable_too(tmp_path: Path) -> None:
    async def story(journal: Journal) -> None:
        journal.commit.add(Entry(decision("lazy", kind=progressed)))
        await journal.commit.flush()
        assert journal.durable().seq == 1

    play(tmp_path, story)


def test_a_decision_is_never_split_unless_it_alone_is_too_large() -> None:
    sizes = [EVENTS_PER_BATCH - 1, 2, 2 * EVENTS_PER_BATCH + 1]
    batches = batches_of([Entry(decision(str(number), size)) for number, size in enumerate(sizes)])
    assert [len(batch) for batch in batches] == [EVENTS_PER_BATCH - 1, 2, EVENTS_PER_BATCH, EVENTS_PER_BATCH, 1]


def test_file_work_that_is_named_again_waits_for_a_commit_that_a_full_disk_holds_up(tmp_path: Path) -> None:
    async def story() -> list[str]:
        table = Table().with_parser()
        lease = table.running()
        log, _ = LogWriter.open(RealFs(), tmp_path, reserve_bytes=0)
        whole, has_room = LogWriter.append_packed, asyncio.Event()

        def append(self: LogWriter, events: Sequence[bytes]) -> Appended:
            if not has_room.is_set():
                raise LogFull(tmp_path, 0)
            return whole(self, events)

        released: list[Entry] = []
        full = asyncio.Event()
        commit = GroupCommit(
            log, release=released.extend, on_full=lambda error: full.set(), on_failure=lambda error: None
        )
        engine = Engine(table.state, table.presence, TableClock(table), commit.add)
        with patch.object(LogWriter, "append_packed", append):
            engine.submit(c.FinishReceived("w1", [c.FinishedItem(lease.job_id, lease.epoch, offer())]))
            await asyncio.wait_for(full.wait(), 10)
            named = engine.submit(c.RedoFileWork())
            assert [type(effect) for effect in named.effects] == [Promote, Sweep]
            assert released == [], "its commit is not durable"
            has_room.set()
            await asyncio.wait_for(commit.flush(), 10)
        commit.close()
        log.close(seal=False)
        return [type(effect).__name__ for entry in released for effect in entry.decision.effects]

    assert asyncio.run(story()) == ["Promote", "SendToWorker", "Promote", "Sweep"]
