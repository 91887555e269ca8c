"""The daemon's care of its own disk: when work is refused, what is removed, and what is moved aside.

`IntakeWatch` checks whether the disk has room for new work. `Upkeep` rotates the daemon's log and removes leftovers that will
never be finished. `OrphanSearch` looks once for published files without a commit in this log. A live attempt is never touched.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NamedTuple

from casparian_protocol.client import RequestRefused
from casparian_protocol.home import STANDARD_DESCRIPTORS, Home, follow, rotate_if_large
from casparian_protocol.settings import DaemonSettings
from casparian_protocol.trees import remove_if_unused
from casparian_sentinel.commit.promote import move_aside, published_parts
from casparian_sentinel.core import PauseIntake, ResumeIntake, State
from casparian_sentinel.daemon.failures import Tasks
from casparian_sentinel.daemon.journal import GroupCommit
from casparian_sentinel.daemon.projector import ProjectionAway, ProjectionQueries
from casparian_sentinel.log import LogBroken
from casparian_sentinel.ports import Fs

#: The number of new files that the file system must have room for; each running job creates about ten.
FILES_FLOOR = 1000
#: Intake resumes only above the floor plus this share of it, so that it does not flap.
_MARGIN = 0.05
#: The prefix of reasons for which this module pauses intake; the rest names what is short.
DISK = "disk: "


def judge_intake(
    paused: str | None,
    free_bytes: int,
    floor_bytes: int,
    *,
    free_files: int | None = None,
    has_reserve: bool,
    is_log_full: bool,
) -> PauseIntake | ResumeIntake | None:
    """The command for the core, given why intake is paused now (None if it is open).

    `free_files` is how many more files the file system can hold, or None if it does not count them.
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


class IntakeWatch:
    """Checks the disk in a thread, since a failing disk may block for long. Call its methods only in the event loop."""

    def __init__(
        self,
        home: Home,
        fs: Fs,
        state: State,
        journal: GroupCommit,
        threads: Executor,
        tasks: Tasks,
        *,
        floor_bytes: Callable[[], int],
        submit: Callable[[PauseIntake | ResumeIntake], object],
        on_broken: Callable[[LogBroken], None],
    ) -> None:
        self._home, self._fs, self._state, self._journal = home, fs, state, journal
        self._threads, self._tasks = threads, tasks
        self._floor_bytes = floor_bytes
        self._submit = submit
        self._on_broken = on_broken
        self._is_looking = False

    def look(self) -> None:
        """Pause or resume intake, once the free space is known."""
        if not self._is_looking:
            self._is_looking = True
            self._tasks.run("judging the intake", self._look())

    async def _look(self) -> None:
        try:
            paused, is_full = self._state.intake_paused, self._journal.is_waiting_for_room
            wants_reserve = paused is not None and not is_full
            loop = asyncio.get_running_loop()
            room = await loop.run_in_executor(self._threads, self._room, wants_reserve)
        except LogBroken as broken:
            self._on_broken(broken)
            return
        except OSError as cause:
            logger.warning("Could not read free disk space: %s", cause)
            return
        finally:
            self._is_looking = False
        if self._journal.is_closed:
            return
        verdict = judge_intake(
            self._state.intake_paused,
            room.free_bytes,
            self._floor_bytes(),
            free_files=room.free_files,
            has_reserve=paused is None or room.has_reserve,
            is_log_full=is_full,
        )
        if verdict is not None:
            logger.warning("Intake: %s", verdict.reason)
            self._submit(verdict)

    def _room(self, wants_reserve: bool) -> _Room:
        """In a thread: measure the free space, and restore the log's reserve if wanted."""
        has_reserve = wants_reserve and self._journal.restore_reserve()
        return _Room(self._fs.free_bytes(self._home.root), self._fs.free_files(self._home.root), has_reserve)


class _Room(NamedTuple):
    free_bytes: int
    free_files: int | None
    has_reserve: bool


def _mebibytes(count: int) -> str:
    return f"{count / 1024**2:,.1f} MiB"


#: A blob that was not written to for this long will not be finished.
INCOMING_SECONDS = 600.0
_INCOMING_LOOKS = 600
_ATTEMPT = re.compile(r"([0-9a-f]{16})-(\d{1,20})\Z")

logger = logging.getLogger(__name__)


class Upkeep:
    def __init__(
        self,
        home: Home,
        settings: DaemonSettings,
        output: int,
        threads: Executor,
        tasks: Tasks,
        is_over: Callable[[str, int], bool],
    ) -> None:
        """`is_over(job_id, epoch)` tells whether that lease has ended, so that no worker may use its files any more."""
        self._home, self._settings, self._output = home, settings, output
        self._threads = threads
        self._tasks = tasks
        self._is_over = is_over
        self._loop = asyncio.get_running_loop()
        self._is_clearing = False
        self._looks = 0
        self._said = ""

    def each_second(self) -> None:
        self._rotate()
        if not self._is_clearing:
            self._is_clearing = True
            self._tasks.run("clearing away", self._clear())

    def _rotate(self) -> None:
        settings, path = self._settings, self._home.daemon_log
        try:
            if rotate_if_large(path, self._output, max_bytes=settings.log_bytes, keep_files=settings.log_files):
                follow(path, STANDARD_DESCRIPTORS)
                logger.info("The log before this line is %s.1.", path.name)
        except OSError as cause:
            self._complain(f"The daemon's log could not be rotated: {cause}")

    async def _clear(self) -> None:
        try:
            names: list[str] = await self._in_thread(_names, self._home.scratch)
            over = [
                name for name in names if (found := _ATTEMPT.match(name)) and self._is_over(found[1], int(found[2]))
            ]
            removed = await self._in_thread(_remove_unused, self._home.scratch, over) if over else 0
            if removed:
                logger.info("Scratch of %d dead attempts removed.", removed)
            if self._looks % _INCOMING_LOOKS == 0:
                await self._in_thread(clear_incoming, self._home.blobs / "incoming", time.time())
            self._looks += 1
        except OSError as cause:
            self._complain(f"Leftovers could not be removed: {cause}")
        finally:
            self._is_clearing = False

    async def _in_thread(self, work: Callable[..., object], *arguments: object) -> Any:
        return await self._loop.run_in_executor(self._threads, work, *arguments)

    def _complain(self, text: str) -> None:
        if text != self._said:
            logger.warning("%s", text)
            self._said = text


def clear_incoming(incoming: Path, now_seconds: float) -> int:
    """Remove blobs that their writers left unfinished; returns how many."""
    removed = 0
    for name in _names(incoming):
        path = incoming / name
        try:
            if now_seconds - path.lstat().st_mtime > INCOMING_SECONDS:
                path.unlink()
                removed += 1
        except FileNotFoundError:  # it was finished just now
            continue
    if removed:
        logger.info("%d unfinished blobs removed.", removed)
    return removed


def clear_unknown_scratch(home: Home, last_seq: int) -> int:
    """Before the first lease: remove scratch of leases that are not in this log, because the same epochs will be given again."""
    found = [(name, _ATTEMPT.match(name)) for name in _names(home.scratch)]
    strange = [name for name, attempt in found if attempt is not None and int(attempt[2]) > last_seq]
    return _remove_unused(home.scratch, strange)


def _names(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir())
    except FileNotFoundError:
        return []


def _remove_unused(scratch: Path, names: Sequence[str]) -> int:
    return sum(remove_if_unused(scratch / name) for name in names)


EVERY_SECONDS = 3600
_PATHS_PER_QUESTION = 500
_SHOWN = 3
_UNKNOWN = """
select path from (select unnest(?::varchar[]) as path)
where path not in (select path from cf_output_files)
"""


class OrphanSearch:
    """The search for orphaned files. Call its methods only in the event loop."""

    def __init__(
        self,
        home: Home,
        fs: Fs,
        queries: ProjectionQueries,
        threads: Executor,
        tasks: Tasks,
        *,
        durable_seq: Callable[[], int],
        may_ask: Callable[[], bool],
    ) -> None:
        """`may_ask()` tells whether the tables are ready and have every event."""
        self._home, self._fs, self._queries, self._threads = home, fs, queries, threads
        self._tasks = tasks
        self._durable_seq = durable_seq
        self._may_ask = may_ask
        self._loop = asyncio.get_running_loop()
        self._running: asyncio.Task[None] | None = None
        self._wait_seconds = 0

    def each_second(self) -> None:
        self._wait_seconds = max(0, self._wait_seconds - 1)
        if self._running is None and not self._wait_seconds and self._may_ask():
            self._running = self._tasks.run("orphans", self._search())

    def close(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _search(self) -> None:
        try:
            moved = await self.run()
        except (ProjectionAway, RequestRefused, OSError) as cause:
            logger.warning("Published files could not be compared with the log; this is tried again: %s", cause)
            self._wait_seconds = 60
        else:
            self._wait_seconds = EVERY_SECONDS
            if moved:
                logger.warning(
                    "%d published files that no commit of the log names were moved to %s: %s%s",
                    len(moved), self._home.orphans, ", ".join(moved[:_SHOWN]), " …" if len(moved) > _SHOWN else "",
                )  # fmt: skip
        finally:
            self._running = None

    async def run(self) -> list[str]:
        """Move aside files that no commit names; returns their new paths, relative to the home."""
        listed = await self._loop.run_in_executor(self._threads, lambda: [*published_parts(self._fs, self._home)])
        paths = [path for directory in listed for path in directory]
        moved: list[str] = []
        for start in range(0, len(paths), _PATHS_PER_QUESTION):
            unknown = await self._unknown(paths[start : start + _PATHS_PER_QUESTION])
            if unknown:
                moved += await self._loop.run_in_executor(self._threads, move_aside, self._fs, self._home, unknown)
        return moved

    async def _unknown(self, paths: Sequence[str]) -> list[str]:
        answer = await self._queries.ask(
            _UNKNOWN, [list(paths)], at_least_seq=self._durable_seq(), limit_rows=_PATHS_PER_QUESTION
        )
        return [path for (path,) in answer.rows]
