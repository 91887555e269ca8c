"""A sink that stalls: the guest waits in its send, the worker's memory stays flat, and afterwards everything is there."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.crash.load import CONFIG, large_file
from tests.crash.mounts import frozen, move_onto_ext4, move_onto_tmpfs
from tests.crash.odd_worker import STALL
from tests.crash.site import Site, awaited

#: A kilobyte each.
ROWS = 100_000
FIRST_ID = 1_000_000
STALL_SECONDS = 0.5
#: Far less than what flows through: one batch and one row group in flight.
WORKER_BYTES = 64 * 1024 * 1024
SLOW_TO_LOSE = CONFIG.replace("lease_timeout_seconds = 3.0", "lease_timeout_seconds = 60.0")
SMALL_GROUPS = "\n[outputs]\nrow_group_rows = 8192\n\n[limits]\nbatch_bytes = 1048576\n"
#: The numbers of the kernel's calls that send, by machine: write, sendto, sendmsg.
SENDING_CALLS = {"x86_64": ("1", "44", "46"), "aarch64": ("64", "206", "211")}.get(platform.machine(), ())
#: Waiting so often in a row is not a coincidence.
_LOOKS = 10
_LOOK_SECONDS = 0.05

Stall = Callable[[Site, psutil.Process], AbstractContextManager[None]]


@contextmanager
def a_sink_that_takes_nothing(site: Site, worker: psutil.Process) -> Iterator[None]:
    """It took nothing from the beginning (`odd_worker`)."""
    try:
        yield
    finally:
        (site.root / STALL).unlink()


@contextmanager
def a_disk_that_takes_nothing(site: Site, worker: psutil.Process) -> Iterator[None]:
    with frozen(site.home):
        yield


@contextmanager
def a_worker_that_stands_still(site: Site, worker: psutil.Process) -> Iterator[None]:
    worker.suspend()
    try:
        yield
    finally:
        worker.resume()


LONG = pytest.mark.campaign
STALLS = [
    a_sink_that_takes_nothing,
    *(pytest.param(one, marks=LONG) for one in (a_disk_that_takes_nothing, a_worker_that_stands_still)),
]


@pytest.mark.skipif(not SENDING_CALLS, reason="the kernel's calls are not known by number for this machine")
@pytest.mark.parametrize("stall", STALLS)
def test_a_stalled_sink_holds_the_guest_and_not_the_memory(site: Site, stall: Stall) -> None:
    (site.home / "config.toml").write_text(SLOW_TO_LOSE + SMALL_GROUPS)
    with ExitStack() as stack:
        stack.callback(site.kill_everything)
        if stall is a_disk_that_takes_nothing:
            move_onto_ext4(stack, site.home, "128m")
            move_onto_tmpfs(stack, site.home / "log", "16m")
        large = large_file(site.root / "large" / "large.txt", ROWS, FIRST_ID)
        site.add(large)
        if stall is a_sink_that_takes_nothing:
            (site.root / STALL).touch()
            site.start("--odd-worker", "stalls", str(site.root), module="tests.crash.odd_daemon", workers=1)
        else:
            site.start(workers=1)
        job, worker_pid = site.leased(next(iter(large)))
        guest, worker = psutil.Process(job["guest_pid"]), psutil.Process(worker_pid)
        base = worker.memory_info().rss

        with stall(site, worker):
            waits = Waits(guest)
            awaited(lambda: waits.in_a_row >= _LOOKS, "the guest waits in its send")
            until = time.monotonic() + STALL_SECONDS
            while time.monotonic() < until:
                assert waits.in_a_row, "it goes on waiting"
                assert worker.memory_info().rss - base < WORKER_BYTES
                time.sleep(_LOOK_SECONDS)

        peak = base
        while guest.is_running() and guest.status() != psutil.STATUS_ZOMBIE:
            peak = max(peak, worker.memory_info().rss)
            time.sleep(_LOOK_SECONDS)
        assert peak - base < WORKER_BYTES
        site.until_idle()
        site.stop()
        site.assert_accounted()


class Waits:
    """How often in a row a process was seen asleep in one and the same call that sends: the rest to be sent has not moved.

    Whether it ran in between says nothing: a timer of its own may interrupt the call, which then goes on where it was.
    """

    def __init__(self, guest: psutil.Process) -> None:
        self._guest = guest
        self._count = 0
        self._call = ""

    @property
    def in_a_row(self) -> int:
        """Looks again; 0 when it does not wait, or has sent something since the last look."""
        call = Path(f"/proc/{self._guest.pid}/syscall").read_text()  # its number, its arguments and where it is
        is_asleep = call.split()[0] in SENDING_CALLS and self._guest.status() == psutil.STATUS_SLEEPING
        self._count = self._count + 1 if is_asleep and call == self._call else 0
        self._call = call
        return self._count
