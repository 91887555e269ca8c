"""What the daemon clears away while it lives: its own log's old files, scratch of dead attempts, half-written blobs.

Looks every second, beginning at the start; the disk's work is done in a thread. Staging is the promoter's, job logs are
the workers'. Whether an attempt is over is the core's to say; whether its directory is still held, the kernel's.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from casparian_protocol.home import Home, follow, remove_if_unused, rotate_if_large
from casparian_protocol.home.daemon_log import STANDARD_DESCRIPTORS
from casparian_protocol.settings import DaemonSettings
from casparian_sentinel.daemon.tasks import Tasks

#: A blob that nobody has written to for so long will not be finished.
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
        """`is_over(job_id, epoch)`: nobody may work under that lease any more."""
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
    """Remove blobs that whoever wrote them left unfinished; how many."""
    removed = 0
    for name in _names(incoming):
        path = incoming / name
        try:
            if now_seconds - path.lstat().st_mtime > INCOMING_SECONDS:
                path.unlink()
                removed += 1
        except FileNotFoundError:  # finished at this moment
            continue
    if removed:
        logger.info("%d unfinished blobs removed.", removed)
    return removed


def clear_scratch_of_strangers(home: Home, last_seq: int) -> int:
    """Before the first lease: remove scratch of leases that this log never gave, for the same epochs will be given again."""
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
