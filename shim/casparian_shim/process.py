"""What a process sets up for itself: signals, missing modules, Arrow's memory, memory checks, dropped privileges.

Only `prepare_arrow` needs more than the standard library.

A new process inherits ignored and blocked signals. If its starter ignores SIGCHLD, it cannot wait for children; if its starter
blocks SIGTERM, it cannot end any. Every process calls `reset_signals` first. `ensure_room` refuses a batch whose conversion would
not fit into memory.

Landlock permanently takes away a process's own right to open files. Its three system calls (by ctypes; their numbers are the same
on x86-64 and aarch64) and the rights of each ABI version follow the kernel's Documentation/userspace-api/landlock.rst. They apply
to the calling thread and everything that it starts later, so `restrict` is called before libraries start threads. The caller says
which directories a process needs.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import stat
import struct
import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from casparian_shim.errors import CasparianError, ErrorCode

if TYPE_CHECKING:
    import ctypes
    from pathlib import Path

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


_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_SCOPES_SINCE = 6
_SCOPE_SIGNAL = 1 << 1
_READ_FILE, _READ_DIRECTORY = 1 << 2, 1 << 3
_READ = _READ_FILE | _READ_DIRECTORY
#: Rights on files as opposed to directories: the only ones that a rule for a single file may grant.
_ON_FILES = (1 << 0) | (1 << 1) | _READ_FILE | (1 << 14) | (1 << 15)
_HIGHEST_RIGHT = {1: 12, 2: 13, 3: 14, 4: 14}  # ABI → highest known bit; 15 from ABI 5 on


#: `struct landlock_ruleset_attr`: handled rights on files, on the network, scopes; older kernels read only its first members.
_RULESET = struct.Struct("=QQQ")
#: `struct landlock_path_beneath_attr`: rights, directory.
_PATH_BENEATH = struct.Struct("=Qi")


def abi_version() -> int:
    """The kernel's Landlock ABI version; 0 if it has none."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def restrict(read: Iterable[Path], write: Iterable[Path]) -> int:
    """Restrict this thread to reading below `read` and to everything below `write`; no TCP, no signals to other processes.

    Paths that do not exist are ignored. Returns the ABI version in use, or 0 if the kernel has no Landlock and nothing was
    restricted. Raises `OSError` if the kernel refuses a step.
    """
    abi = abi_version()
    if abi == 0:
        return 0
    every_right = (1 << (_HIGHEST_RIGHT.get(abi, 15) + 1)) - 1
    attributes = _RULESET.pack(every_right, 0b11 if abi >= 4 else 0, 0b11 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _call(_CREATE_RULESET, attributes, size, 0)
    try:
        for path in read:
            _allow(ruleset, path, _READ & every_right)
        for path in write:
            _allow(ruleset, path, every_right & ~1)  # every right except executing
        _put_on(ruleset)
    finally:
        os.close(ruleset)
    return abi


def keep_signals_inside() -> bool:
    """Restrict signals from this thread, and from what it starts, to what it starts. False if the kernel cannot do that."""
    if abi_version() < _SCOPES_SINCE:
        return False
    ruleset = _call(_CREATE_RULESET, _RULESET.pack(0, 0, _SCOPE_SIGNAL), _RULESET.size, 0)
    try:
        _put_on(ruleset)
    finally:
        os.close(ruleset)
    return True


def _put_on(ruleset: int) -> None:
    import ctypes

    if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    _call(_RESTRICT_SELF, ruleset, 0)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _ON_FILES
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, _PATH_BENEATH.pack(rights, descriptor), 0)
    finally:
        os.close(descriptor)


def _libc() -> ctypes.CDLL:
    import ctypes  # only where it is used, because guests start without it

    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: bytes | int | None) -> int:
    import ctypes

    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = _libc().syscall(ctypes.c_long(number), *words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"landlock system call {number}: {os.strerror(code)}")
    return result
