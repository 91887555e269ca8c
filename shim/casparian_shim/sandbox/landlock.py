"""Landlock: a process gives up its own rights on files, TCP, signals and abstract sockets, for good.

The three system calls (by ctypes; their numbers are the same on every architecture) and the rights of each ABI version follow the
kernel's Documentation/userspace-api/landlock.rst. They apply to the calling thread and everything that it starts later, so
`restrict` is called before libraries start threads. The caller says what a process needs: paths, or descriptors of open files.

Landlock does not cover a file's status, mode, owner, times and extended attributes, sockets other than TCP, or kernel interfaces
that are not files: `seccomp` does.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from casparian_shim.sandbox.syscalls import libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6
#: Bind and connect of TCP; abstract Unix sockets and signals.
_NETWORK, _SCOPES = 0b11, 0b11
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIRECTORY = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_READ = _READ_FILE | _READ_DIRECTORY
_TRUNCATE, _IOCTL_DEVICE, _RESOLVE_UNIX = 1 << 14, 1 << 15, 1 << 16
#: Devices, sockets, pipes with a name, symbolic links.
_MAKE_SPECIAL = 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12
#: Rights on files as opposed to directories: the only ones that a rule for a single file may grant.
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
#: Nobody needs them: programs, devices, links out of the granted directories.
_NEVER = _EXECUTE | _MAKE_SPECIAL | _IOCTL_DEVICE | _RESOLVE_UNIX
#: The newest version whose rights are known here; newer kernels have these too.
NEWEST_ABI = 9
#: ABI version → its highest right on files.
_HIGHEST_RIGHT = {1: 12, 2: 13, 3: 14, 4: 14, 5: 15, 6: 15, 7: 15, 8: 15, 9: 16}

#: `struct landlock_ruleset_attr`: handled rights on files, on the network, scopes; older kernels read only its first members.
_RULESET = struct.Struct("=QQQ")
#: `struct landlock_path_beneath_attr`: rights, directory.
_PATH_BENEATH = struct.Struct("=Qi")


def abi_version() -> int:
    """The kernel's Landlock ABI version; 0 if it has none, or a container forbids it."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def restrict(
    read: Iterable[str | os.PathLike[str] | int],
    write: Iterable[str | os.PathLike[str] | int],
    *,
    abi: int | None = None,
    also_read: Prepared | None = None,
) -> int:
    """Restrict this thread to reading below `read` and to reading, writing and removing files below `write`; no TCP, no signals
    to other processes, no abstract sockets of theirs.

    Each is a path or the descriptor of an open file or directory. Paths that do not exist are ignored. `abi` is the version whose
    rights are used, if the kernel has a newer one. What `also_read` has prepared is read too. Returns the version in use, or 0 if
    there is no Landlock and nothing was restricted. Raises `OSError` if the kernel refuses a step.
    """
    abi = min(abi_version(), NEWEST_ABI if abi is None else abi)
    if abi == 0:
        return 0
    every_right = (1 << (_HIGHEST_RIGHT[abi] + 1)) - 1
    has_network, has_scopes = abi >= _NETWORK_SINCE, abi >= _SCOPES_SINCE
    attributes = _RULESET.pack(every_right, _NETWORK if has_network else 0, _SCOPES if has_scopes else 0)
    ruleset = _call(_CREATE_RULESET, attributes, 24 if has_scopes else 16 if has_network else 8, 0)
    try:
        for rule in also_read.rules if also_read is not None else ():
            _add_rules()(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
        for path in read:
            _allow(ruleset, path, _READ & every_right)
        for path in write:
            _allow(ruleset, path, every_right & ~_NEVER)
        _put_on(ruleset)
    finally:
        os.close(ruleset)
    return abi


def _put_on(ruleset: int) -> None:
    if libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    _call(_RESTRICT_SELF, ruleset, 0)


def _allow(ruleset: int, path: str | os.PathLike[str] | int, rights: int) -> None:
    if isinstance(path, int):
        _add_rule(ruleset, path, rights)
        return
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        _add_rule(ruleset, descriptor, rights)
    finally:
        os.close(descriptor)


def _add_rule(ruleset: int, descriptor: int, rights: int) -> None:
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        rights &= _ON_FILES
    _add_rules()(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, _PATH_BENEATH.pack(rights, descriptor), 0)


@cache
def _add_rules() -> Callable[[int, int, int, bytes, int], int]:
    """The system call with the types that its arguments have here, which is quicker than saying them at each of many rules."""
    function = libc()["syscall"]
    function.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_long]
    function.restype = ctypes.c_long
    return lambda number, *arguments: _checked(number, function(number, *arguments))


def _checked(number: int, result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"landlock system call {number}: {os.strerror(code)}")
    return result


def _call(number: int, *arguments: bytes | int | None) -> int:
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = libc().syscall(ctypes.c_long(number), *words)
    return _checked(number, result)


# --- rules for many processes -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rules for reading that a process makes for those that it forks: what they are about is open already."""

    paths: frozenset[str] = frozenset()
    descriptors: tuple[int, ...] = ()
    rules: tuple[bytes, ...] = ()


def prepare(paths: Iterable[str], first_descriptor: int) -> Prepared:
    """Open those of these paths that stay what they are while the process lives, from this descriptor on.

    A file on disk may be replaced by another one of the same name, so a process opens it when it needs it.
    """
    prepared: dict[str, int] = {}
    for path in dict.fromkeys(paths):
        try:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # it is not there, or `restrict` says what is wrong with it
            continue
        try:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                prepared[path] = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, first_descriptor)
        except OSError:  # too many are open
            break
        finally:
            os.close(opened)
    rights = [_READ if stat.S_ISDIR(os.fstat(each).st_mode) else _READ & _ON_FILES for each in prepared.values()]
    rules = (_PATH_BENEATH.pack(right, each) for right, each in zip(rights, prepared.values(), strict=True))
    return Prepared(frozenset(prepared), tuple(prepared.values()), tuple(rules))
