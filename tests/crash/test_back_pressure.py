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
from tests.crash.site import Site
from tests.end_to_end.world import wait_for

ROWS = 300_000
FIRST_ID = 1_000_000
STALL_SECONDS = 1.5
FLAT_BYTES = 4 * 1024 * 1024
#: Far less than the 300 MB that flow through.
WORKER_BYTES = 64 * 1024 * 1024
SLOW_TO_LOSE = CONFIG.replace("lease_timeout_seconds = 3.0", "lease_timeout_seconds = 60.0")
SMALL_GROUPS = "\n[outputs]\nrow_group_rows = 8192\n\n[limits]\nbatch_bytes = 1048576\n"


@contextmanager
def stopped(worker: psutil.Process) -> Iterator[None]:
    worker.suspend()
    try:
        yield
    finally:
        worker.resume()


#: The numbers of the kernel's calls that send, by machine: write, sendto, sendmsg.
SENDING_CALLS = {"x86_64": ("1", "44", "46"), "aarch64": ("64", "206", "211")}.get(platform.machine(), ())

Stall = Callable[[psutil.Process, Path], AbstractContextManager[None]]
STALLS: dict[str, Stall] = {
    "the disk takes nothing": lambda _worker, home: frozen(home),
    "the worker stands still": lambda worker, _home: stopped(worker),
}


@pytest.mark.campaign  # it watches processes by the clock: too delicate for a machine that does other work beside it
@pytest.mark.skipif(not SENDING_CALLS, reason="the kernel's calls are not known by number for this machine")
@pytest.mark.parametrize("stall", sorted(STALLS))
def test_a_stalled_sink_holds_the_guest_and_not_the_memory(site: Site, stall: str) -> None:
    (site.home / "config.toml").write_text(SLOW_TO_LOSE + SMALL_GROUPS)
    with ExitStack() as stack:
        stack.callback(site.kill_everything)
        if stall == "the disk takes nothing":
            move_onto_ext4(stack, site.home, "128m")
            move_onto_tmpfs(stack, site.home / "log", "16m")
        large = large_file(site.root / "large" / "large.txt", ROWS, FIRST_ID)
        site.add(large)
        site.start(workers=1)
        job, worker_pid = site.leased(next(iter(large)))
        guest, worker = psutil.Process(job["guest_pid"]), psutil.Process(worker_pid)
        base = worker.memory_info().rss

        with STALLS[stall](worker, site.home):
            wait_for(lambda: is_waiting(guest), "the guest waits in its send")
            before, busy = worker.memory_info().rss, guest.cpu_times()
            until = time.monotonic() + STALL_SECONDS
            while time.monotonic() < until:
                assert worker.memory_info().rss - before < FLAT_BYTES
                time.sleep(0.05)
            assert guest.cpu_times() == busy

        peak = base
        while guest.is_running() and guest.status() != psutil.STATUS_ZOMBIE:
            peak = max(peak, worker.memory_info().rss)
            time.sleep(0.02)
        assert peak - base < WORKER_BYTES
        site.until_idle()
        site.stop()
        site.assert_accounted()


def is_waiting(guest: psutil.Process) -> bool:
    """Asleep in a call that sends: the kernel's number of the call, by name."""
    number = Path(f"/proc/{guest.pid}/syscall").read_text().split()[0]
    return number in SENDING_CALLS and guest.status() == psutil.STATUS_SLEEPING
