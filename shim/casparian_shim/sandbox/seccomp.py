"""The filter of system calls: which calls a guest may make, as a program for the kernel (classic BPF, built here).

It is a list of what is allowed. Any other known call fails with EPERM; one that is newer than the tables with ENOSYS, which is
what an older kernel says. Calls of a foreign architecture end the process. Some calls depend on their arguments: only numbers can
be looked at, never memory, so a call that takes its options from memory (`clone3`, `openat2`) does not exist (ENOSYS; libraries
then use the older one).

Calls that change nothing but a file's mode, owner, times or locks succeed without effect: Landlock does not cover them, and
refusing them breaks libraries (`shutil.copy`). A guest is one process, so a lock on a file excludes no other.
docs/decisions/0063 says why the list is made so.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import TypeAlias

from casparian_shim.sandbox.syscalls import Architecture, architecture, libc

#: Files and what is waited for; memory; signals and timers of its own; threads; clocks and facts; the inherited connection.
_ALLOWED = """
    read write close stat fstat lstat newfstatat statx poll ppoll select pselect6 lseek readv writev pread64 pwrite64 preadv
    pwritev preadv2 pwritev2 sendfile splice copy_file_range readahead fadvise64 sync_file_range fsync fdatasync ftruncate
    truncate access faccessat faccessat2 getdents getdents64 getcwd chdir fchdir rename renameat renameat2 mkdir
    mkdirat rmdir unlink unlinkat readlink readlinkat statfs fstatfs umask dup dup2 dup3 pipe pipe2 close_range creat
    eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime epoll_create epoll_create1 epoll_ctl
    epoll_wait epoll_pwait epoll_pwait2

    mmap mprotect munmap brk mremap msync mincore madvise mlock mlock2 munlock mlockall munlockall membarrier pkey_mprotect
    pkey_alloc pkey_free mseal map_shadow_stack get_mempolicy

    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack restart_syscall pause
    alarm getitimer setitimer timer_create timer_settime timer_gettime timer_getoverrun timer_delete

    exit exit_group wait4 waitid futex futex_waitv futex_wake futex_wait futex_requeue set_robust_list set_tid_address rseq
    sched_yield sched_getaffinity sched_getparam sched_getscheduler sched_getattr sched_get_priority_max
    sched_get_priority_min sched_rr_get_interval getcpu arch_prctl getpriority ioprio_get

    nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times getrusage getrlimit setrlimit sysinfo uname
    getrandom getpid gettid getppid getpgrp getpgid getsid getuid geteuid getgid getegid getresuid getresgid getgroups capget

    recvfrom recvmsg recvmmsg shutdown getsockname getpeername getsockopt
"""
#: They succeed without effect.
_PRETENDED = "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes utimensat futimesat flock"
#: The answer of a file system without extended attributes, and without space to reserve: reserving fills a disk in an instant,
#: while what is written is measured before it is much.
_UNSUPPORTED = """
    fallocate
    setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr lremovexattr
    fremovexattr setxattrat getxattrat listxattrat removexattrat
"""
#: They take their options from memory, where no filter can look.
_ABSENT = "clone3 openat2"

_AF_UNIX, _SOCK_STREAM, _SOCK_TYPES = 1, 1, 0xF
_MSG_FASTOPEN = 0x20000000
_IPPROTO_TCP, _TCP_NODELAY = 6, 1
_CLONE_THREAD = 0x00010000
#: CLONE_NEWTIME (which only clone3 and unshare take) aside, every namespace.
_CLONE_NAMESPACES = 0x7E020000
_O_TRUNC, _O_ACCMODE = 0o1000, 0o3
_PRIO_PROCESS = 0
#: TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX. TIOCSTI and TIOCLINUX are not among them.
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
#: DUPFD, GETFD, SETFD, GETFL, SETFL, GETLK, OFD_GETLK, DUPFD_QUERY, DUPFD_CLOEXEC, SETPIPE_SZ, GETPIPE_SZ, GET_SEALS.
_FCNTLS = (0, 1, 2, 3, 4, 5, 36, 1027, 1030, 1031, 1032, 1034)
#: SETLK, SETLKW, OFD_SETLK, OFD_SETLKW.
_FCNTL_LOCKS = (6, 7, 37, 38)
#: GET_PDEATHSIG, GET_DUMPABLE, SET_NAME, GET_NAME, GET_SECCOMP, CAPBSET_READ, SET_TIMERSLACK, GET_TIMERSLACK, GET_NO_NEW_PRIVS,
#: GET_TID_ADDRESS, SET_THP_DISABLE, GET_THP_DISABLE, GET_AUXV, SET_VMA. None that would undo what was set for the guest.
_PRCTLS = (2, 3, 15, 16, 21, 23, 29, 30, 39, 40, 41, 42, 0x41555856, 0x53564D41)

_PR_SET_NO_NEW_PRIVS = 38

_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _JUMP, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x05, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
ALLOW, KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
REFUSE = _ERRNO | errno.EPERM
ABSENT = _ERRNO | errno.ENOSYS
UNSUPPORTED = _ERRNO | errno.EOPNOTSUPP
PRETEND = _ERRNO | 0
Instruction: TypeAlias = tuple[int, int, int, int]
#: `struct sock_filter`: code, offset if true, offset if false, value.
_INSTRUCTION = struct.Struct("=HBBI")
_VALUE, _VALUE_AT = struct.Struct("=I"), 4
#: Added to the number of an argument: its upper half.
_UPPER_HALF = 16
_OFFSET_MAX = 255
#: Stands for the pid in a program that is used again; no process can have it, and no call an argument like it.
_OWN_PID = 0x7FFFFFF1


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the lower half of one argument: `(value & mask)` is one of `values`; otherwise the call is refused."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    #: The condition is that it is none of them.
    is_negated: bool = False
    #: For these values the call succeeds without effect.
    pretended: tuple[int, ...] = ()


def filter_for(architecture: Architecture, pid: int, *, truncates_by_path: bool = True) -> bytes:
    """The program for a process with this pid. `truncates_by_path`: false where Landlock does not cover `truncate` (ABI 1, 2)."""
    template, places = _template(architecture, truncates_by_path)
    program = bytearray(template)
    for place in places:
        _VALUE.pack_into(program, place, pid)
    return bytes(program)


@cache
def _template(architecture: Architecture, truncates_by_path: bool) -> tuple[bytes, tuple[int, ...]]:
    """The program for a process whose pid is `_OWN_PID`, and where that stands. A warm process makes it once for its guests."""
    instructions = _Assembler().program(architecture, actions_for(_OWN_PID, truncates_by_path=truncates_by_path))
    places = [place for place, each in enumerate(instructions) if each[3] == _OWN_PID]
    program = b"".join(_INSTRUCTION.pack(*each) for each in instructions)
    return program, tuple(place * _INSTRUCTION.size + _VALUE_AT for place in places)


def actions_for(pid: int, *, truncates_by_path: bool = True) -> dict[str, int | tuple[Condition, ...]]:
    """Name of a call → its answer, or the conditions under which it is allowed. All other calls are refused."""
    actions: dict[str, int | tuple[Condition, ...]] = dict.fromkeys(_ALLOWED.split(), ALLOW)
    actions |= dict.fromkeys(_PRETENDED.split(), PRETEND)
    actions |= dict.fromkeys(_UNSUPPORTED.split(), UNSUPPORTED)
    actions |= dict.fromkeys(_ABSENT.split(), ABSENT)
    actions |= _conditions(pid)
    if not truncates_by_path:
        actions["truncate"] = REFUSE
    return actions


def _conditions(pid: int) -> dict[str, tuple[Condition, ...]]:
    own = (0, pid)
    return {
        # Threads only; no process, no namespace.
        "clone": (Condition(0, (_CLONE_THREAD,), mask=_CLONE_THREAD | _CLONE_NAMESPACES),),
        "kill": (Condition(0, (pid,)),),
        "tgkill": (Condition(0, (pid,)),),
        "prctl": (Condition(0, _PRCTLS),),
        "ioctl": (Condition(1, _IOCTLS),),
        "fcntl": (Condition(1, _FCNTLS, pretended=_FCNTL_LOCKS),),
        "open": (_no_emptying(1),),
        "openat": (_no_emptying(2),),
        "prlimit64": (Condition(0, own),),
        "sched_setaffinity": (Condition(0, own),),
        "setpriority": (Condition(0, (_PRIO_PROCESS,)), Condition(1, own)),
        # Two connected ends, as asyncio needs for itself. A datagram socket could send to any address.
        "socketpair": (Condition(0, (_AF_UNIX,)), Condition(1, (_SOCK_STREAM,), mask=_SOCK_TYPES)),
        # No address, and no connection that is made by sending.
        "sendto": (Condition(3, (0,), mask=_MSG_FASTOPEN), Condition(4, (0,)), Condition(4 + _UPPER_HALF, (0,))),
        "sendmsg": (Condition(2, (0,), mask=_MSG_FASTOPEN),),
        "sendmmsg": (Condition(3, (0,), mask=_MSG_FASTOPEN),),
        "setsockopt": (Condition(1, (_IPPROTO_TCP,)), Condition(2, (_TCP_NODELAY,))),
    }


def _no_emptying(flags_argument: int) -> Condition:
    """Below Landlock ABI 3 a file that may only be read could be emptied by opening it for reading."""
    return Condition(flags_argument, (_O_TRUNC,), mask=_O_TRUNC | _O_ACCMODE, is_negated=True)


@dataclass(slots=True)
class _Assembler:
    """Writes the program; numbers are found by halving, so that a call costs few steps."""

    code: list[Instruction] = field(default_factory=list)

    def program(
        self, architecture: Architecture, actions: dict[str, int | tuple[Condition, ...]]
    ) -> tuple[Instruction, ...]:
        self._emit(_LOAD, _ARCHITECTURE_AT)
        self._emit(_EQUAL, architecture.token, if_true=1)
        self._emit(_RETURN, KILL_PROCESS)
        self._emit(_LOAD, _NUMBER_AT)
        if architecture.foreign_bit:
            self._emit(_AT_LEAST, architecture.foreign_bit, if_false=1)
            self._emit(_RETURN, KILL_PROCESS)
        self._halve(_ranges(architecture.numbers, actions))
        return tuple(self.code)

    def _emit(self, code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> int:
        if max(if_true, if_false) > _OFFSET_MAX:
            raise ValueError("a jump of the filter is too far")
        self.code.append((code, if_true, if_false, value))
        return len(self.code) - 1

    def _halve(self, ranges: list[tuple[int, int | tuple[Condition, ...]]]) -> None:
        if len(ranges) == 1:
            self._answer(ranges[0][1])
            return
        middle = len(ranges) // 2
        self._emit(_AT_LEAST, ranges[middle][0], if_false=1)
        jump = self._emit(_JUMP, 0)
        self._halve(ranges[:middle])
        self.code[jump] = (_JUMP, 0, 0, len(self.code) - jump - 1)
        self._halve(ranges[middle:])

    def _answer(self, action: int | tuple[Condition, ...]) -> None:
        if isinstance(action, int):
            self._emit(_RETURN, action)
            return
        for condition in action:
            self._check(condition)
        self._emit(_RETURN, ALLOW)

    def _check(self, condition: Condition) -> None:
        """Go on behind this check if the condition holds."""
        argument = condition.argument % _UPPER_HALF
        self._emit(_LOAD, _ARGUMENTS_AT + 8 * argument + (4 if condition.argument >= _UPPER_HALF else 0))
        if condition.mask != 0xFFFFFFFF:
            self._emit(_AND, condition.mask)
        for value in condition.pretended:
            self._emit(_EQUAL, value, if_false=1)
            self._emit(_RETURN, PRETEND)
        if condition.is_negated:
            for value in condition.values:
                self._emit(_EQUAL, value, if_false=1)
                self._emit(_RETURN, REFUSE)
            return
        for place, value in enumerate(condition.values):
            self._emit(_EQUAL, value, if_true=len(condition.values) - place)
        self._emit(_RETURN, REFUSE)


def _ranges(
    numbers: dict[str, int], actions: dict[str, int | tuple[Condition, ...]]
) -> list[tuple[int, int | tuple[Condition, ...]]]:
    """(first number, answer) of each run of numbers with the same answer, in order."""
    by_number: dict[int, int | tuple[Condition, ...]] = {
        number: actions.get(name, REFUSE) for name, number in numbers.items()
    }
    found: list[tuple[int, int | tuple[Condition, ...]]] = []
    for number in range(max(by_number) + 2):  # the last one is newer than the table
        action = by_number.get(number, ABSENT)
        if not found or found[-1][1] != action:
            found.append((number, action))
    return found


def refused_names(names: Iterable[str]) -> list[str]:
    """Those of these calls that are refused whatever their arguments are, in order."""
    actions = actions_for(1)
    return sorted(name for name in names if actions.get(name, REFUSE) == REFUSE)


def load(program: bytes) -> None:
    """Put the filter on every thread of this process, for good; it gains no privileges from then on. Raises `OSError`."""
    if libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    address = ctypes.cast(ctypes.c_char_p(program), ctypes.c_void_p).value
    head = struct.pack("HxxxxxxP", len(program) // _INSTRUCTION.size, address)  # struct sock_fprog
    number, set_mode_filter, on_all_threads = _seccomp_number(), 1, 1
    status = libc().syscall(
        ctypes.c_long(number), ctypes.c_long(set_mode_filter), ctypes.c_long(on_all_threads), ctypes.c_char_p(head)
    )
    if status != 0:
        raise OSError(ctypes.get_errno(), "seccomp: the filter was not accepted")


def _seccomp_number() -> int:
    found = architecture(os.uname().machine)
    if found is None:
        raise OSError(errno.ENOSYS, f"seccomp: no filter is known for {os.uname().machine}")
    return found.numbers["seccomp"]
