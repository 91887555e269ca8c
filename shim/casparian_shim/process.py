"""What a process sets up for itself: signals, missing modules, Arrow's memory, memory checks.

Only `prepare_arrow` needs more than the standard library.

A new process inherits ignored and blocked signals. If its starter ignores SIGCHLD, it cannot wait for children; if its starter
blocks SIGTERM, it cannot end any. Every process calls `reset_signals` first. `ensure_room` refuses a batch whose conversion would
not fit into memory.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Collection

from casparian_shim.errors import CasparianError, ErrorCode

#: Python's default: a write to a closed pipe, or beyond a size limit, raises an exception instead of ending the process.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)
#: Signals that a shell may ignore for a command: under `nohup`, in a script's background, or without its own terminal.
TERMINAL = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})


def reset_signals(*, keep: Collection[signal.Signals] = ()) -> None:
    """Unblock all signals, and ignore only SIGPIPE and SIGXFSZ. Signals in `keep` stay ignored if they were."""
    for number in signal.valid_signals():
        if number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        elif number not in keep and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def remember_absent(module: str) -> bool:
    """Make imports of `module` fail at once if it cannot be found; returns whether it is missing."""
    if module in sys.modules or importlib.util.find_spec(module) is not None:
        return False
    sys.modules[module] = None  # type: ignore[assignment]  # documented: None makes the import fail
    return True


def prepare_arrow() -> None:
    """Set up a process that judges many batches, as soon as its import paths are final.

    pyarrow tries to import dateutil for each Python scalar that a kernel gets. The system's allocator gives the memory of one
    batch to the next; Arrow's own pools return it to the kernel in between.
    """
    import pyarrow

    remember_absent("dateutil")
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())


_SAFETY_FACTOR = 3
#: Smaller batches are not checked.
_WORTH_ASKING_BYTES = 1024 * 1024


class OomRisk(CasparianError):
    """Converting a batch would probably exhaust memory."""

    code = ErrorCode.OOM_RISK

    def __init__(self, batch_bytes: int, available_bytes: int) -> None:
        super().__init__(
            f"A batch of about {batch_bytes} bytes needs {_SAFETY_FACTOR} times that to be converted, "
            f"{available_bytes} bytes are available.",
            remedy="Stream: yield rows or smaller tables instead of returning everything at once.",
        )


def ensure_room(batch_bytes: int) -> None:
    """Raise `OomRisk` if three times the batch exceeds the available memory. If it is unknown, nothing is raised."""
    if batch_bytes < _WORTH_ASKING_BYTES:
        return
    available = available_bytes()
    if available is not None and available < _SAFETY_FACTOR * batch_bytes:
        raise OomRisk(batch_bytes, available)


def available_bytes() -> int | None:
    """The smaller of the machine's available memory and the rest of this process's address space."""
    known = [value for value in (_machine_available_bytes(), _address_space_left_bytes()) if value is not None]
    return min(known, default=None)


def _machine_available_bytes() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:  # not Linux, or a sandbox without /proc
        return None
    return None


def _address_space_left_bytes() -> int | None:
    try:
        import resource  # not available on every platform

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit == resource.RLIM_INFINITY:
            return None
        with open("/proc/self/statm", encoding="ascii") as statm:
            used = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ImportError):
        return None
    return max(0, limit - used)
