"""Landlock: a process takes away its own right to open files, for good. Standard library only.

Owns the three system calls (by ctypes; their numbers are the same on x86-64 and aarch64) and the rights that each ABI version
knows; source: the kernel's Documentation/userspace-api/landlock.rst. Applies to the calling thread and what it starts
later, so call it before libraries start threads. Which directories a process needs is the caller's knowledge.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_SCOPES_SINCE = 6
_SCOPE_SIGNAL = 1 << 1

_READ_FILE, _READ_DIRECTORY = 1 << 2, 1 << 3
_READ = _READ_FILE | _READ_DIRECTORY
#: Rights on files (rather than directories): all that a rule for a single file may grant.
_ON_FILES = (1 << 0) | (1 << 1) | _READ_FILE | (1 << 14) | (1 << 15)
_HIGHEST_RIGHT = {1: 12, 2: 13, 3: 14, 4: 14}  # ABI → highest bit known; 15 from ABI 5 on


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (("handled_fs", ctypes.c_uint64), ("handled_net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi_version() -> int:
    """The kernel's Landlock ABI version; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    version = _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    return max(0, int(version))


def restrict(read: Iterable[Path], write: Iterable[Path]) -> int:
    """Leave this thread only reading below `read` and everything below `write`; no TCP, no signals to others.

    Paths that do not exist are passed over. Returns the ABI version that did it, 0 when the kernel has no Landlock (then
    nothing was restricted). Raises `OSError` when the kernel refuses a step.
    """
    abi = abi_version()
    if abi == 0:
        return 0
    every_right = (1 << (_HIGHEST_RIGHT.get(abi, 15) + 1)) - 1
    attributes = _RulesetAttributes(every_right, 0b11 if abi >= 4 else 0, 0b11 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _call(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for path in read:
            _allow(ruleset, path, _READ & every_right)
        for path in write:
            _allow(ruleset, path, every_right & ~1)  # everything but executing
        _put_on(ruleset)
    finally:
        os.close(ruleset)
    return abi


def keep_signals_inside() -> bool:
    """From now on this thread, and what it starts, can signal only what it starts. False where the kernel cannot do that."""
    if abi_version() < _SCOPES_SINCE:
        return False
    attributes = _RulesetAttributes(0, 0, _SCOPE_SIGNAL)
    ruleset = _call(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(24), ctypes.c_uint32(0))
    try:
        _put_on(ruleset)
    finally:
        os.close(ruleset)
    return True


def _put_on(ruleset: int) -> None:
    if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _ON_FILES
        rule = _PathBeneath(rights, descriptor)
        _call(
            _ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_RULE_PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0)
        )
    finally:
        os.close(descriptor)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    result: int = _libc().syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"landlock system call {number}: {os.strerror(code)}")
    return result
