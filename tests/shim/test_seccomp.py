"""The filter of system calls, run by an interpreter of its language: what it answers to each call, on both architectures."""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from casparian_shim.sandbox.seccomp import (
    ABSENT,
    ALLOW,
    KILL_PROCESS,
    PRETEND,
    REFUSE,
    UNSUPPORTED,
    actions_for,
    filter_for,
    refused_names,
)
from casparian_shim.sandbox.syscalls import Architecture, architecture

PID = 4242
MACHINES = ["x86_64", "aarch64"]
HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
GENERIC_HEADER = Path("/usr/include/asm-generic/unistd.h")
THREAD_FLAGS = 0x3D0F00
FORK_FLAGS = 0x01200011


DANGEROUS = """
    execve execveat socket connect bind listen accept accept4 ptrace process_vm_readv process_vm_writev pidfd_open
    pidfd_send_signal pidfd_getfd io_uring_setup io_uring_enter io_uring_register memfd_create memfd_secret
    userfaultfd add_key request_key keyctl bpf perf_event_open unshare setns mount umount2 pivot_root chroot
    open_tree move_mount fsopen fsmount shmget shmat semget msgget mq_open kexec_load reboot swapon init_module
    finit_module delete_module quotactl personality setuid setresuid setgroups capset seccomp landlock_restrict_self
    open_by_handle_at name_to_handle_at symlinkat linkat mknodat inotify_init1 fanotify_init setsid setpgid tkill
    vmsplice sethostname settimeofday clock_settime adjtimex syslog acct kcmp process_madvise setdomainname
"""


def known(machine: str) -> Architecture:
    found = architecture(machine)
    assert found is not None
    return found


def answer(machine: str, name: str | int, *arguments: int, token: int = 0, **options: bool) -> int:
    """What the filter of this machine answers."""
    about = known(machine)
    number = about.numbers[name] if isinstance(name, str) else name
    words = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=iIQ6Q", number, token or about.token, 0, *(word & (1 << 64) - 1 for word in words))
    return run(filter_for(about, PID, **options), data)


def run(program: bytes, data: bytes) -> int:
    """Interpret the program as the kernel does."""
    code = list(struct.iter_unpack("=HBBI", program))
    place = accumulator = 0
    while True:
        operation, if_true, if_false, value = code[place]
        place += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x54:
                accumulator &= value
            case 0x15 | 0x35:
                holds = accumulator == value if operation == 0x15 else accumulator >= value
                place += if_true if holds else if_false
            case 0x05:
                place += value
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(hex(operation))


@pytest.mark.parametrize("machine", MACHINES)
def test_every_call_of_the_table_gets_its_answer_and_a_newer_one_does_not_exist(machine: str) -> None:
    actions = actions_for(PID)
    for name in known(machine).numbers:
        wanted = actions.get(name, REFUSE)
        if isinstance(wanted, int):
            assert answer(machine, name) == wanted, name
    highest = max(known(machine).numbers.values())
    assert {answer(machine, highest + more) for more in (1, 2, 1000)} == {ABSENT}


@pytest.mark.parametrize("machine", MACHINES)
def test_what_makes_processes_connections_and_namespaces_is_refused(machine: str) -> None:
    dangerous = DANGEROUS.split()
    assert {name: answer(machine, name) for name in dangerous} == dict.fromkeys(dangerous, REFUSE)
    assert set(dangerous) <= set(refused_names(known(machine).numbers))
    for old in ("fork", "vfork", "iopl", "ioperm", "modify_ldt", "symlink", "link", "mknod"):
        if old in known(machine).numbers:
            assert answer(machine, old) == REFUSE
    assert answer(machine, "clone3") == answer(machine, "openat2") == ABSENT


@pytest.mark.parametrize("machine", MACHINES)
def test_a_foreign_convention_ends_the_process(machine: str) -> None:
    other = next(each for each in MACHINES if each != machine)
    assert answer(machine, "getpid", token=known(other).token) == KILL_PROCESS
    assert answer(machine, "getpid", token=0x40000003) == KILL_PROCESS
    if machine == "x86_64":
        assert answer(machine, 0x40000000 + 39) == KILL_PROCESS


CONDITIONS: list[tuple[str, tuple[int, ...], int]] = [
    ("clone", (THREAD_FLAGS,), ALLOW),
    ("clone", (FORK_FLAGS,), REFUSE),
    ("clone", (THREAD_FLAGS | 0x10000000,), REFUSE),
    ("kill", (PID, 9), ALLOW),
    ("kill", (0, 9), REFUSE),
    ("kill", (-1, 9), REFUSE),
    ("kill", (-PID, 9), REFUSE),
    ("tgkill", (PID, PID, 6), ALLOW),
    ("tgkill", (1, 1, 6), REFUSE),
    ("prctl", (15,), ALLOW),
    ("prctl", (1,), REFUSE),
    ("prctl", (4,), REFUSE),
    ("prctl", (22,), REFUSE),
    ("ioctl", (0, 0x5401), ALLOW),
    ("ioctl", (0, 0x5412), REFUSE),
    ("ioctl", (0, 0x5412 | 1 << 32), REFUSE),
    ("fcntl", (0, 1030), ALLOW),
    ("fcntl", (0, 6), PRETEND),
    ("fcntl", (0, 38), PRETEND),
    ("fcntl", (0, 8), REFUSE),
    ("fcntl", (0, 1024), REFUSE),
    ("openat", (-100, 0, 0), ALLOW),
    ("openat", (-100, 0, 0o1001), ALLOW),
    ("openat", (-100, 0, 0o1000), REFUSE),
    ("openat", (-100, 0, 0o2001000), REFUSE),
    ("prlimit64", (0,), ALLOW),
    ("prlimit64", (1,), REFUSE),
    ("setpriority", (0, 0), ALLOW),
    ("setpriority", (0, 1), REFUSE),
    ("setpriority", (2, 0), REFUSE),
    ("sched_setaffinity", (PID,), ALLOW),
    ("sched_setaffinity", (1,), REFUSE),
    ("socketpair", (1, 1 | 0o2000000), ALLOW),
    ("socketpair", (1, 2), REFUSE),
    ("socketpair", (2, 1), REFUSE),
    ("sendto", (3, 0, 0, 0, 0), ALLOW),
    ("sendto", (3, 0, 0, 0, 1), REFUSE),
    ("sendto", (3, 0, 0, 0, 1 << 40), REFUSE),
    ("sendto", (3, 0, 0, 0x20000000, 0), REFUSE),
    ("sendmsg", (3, 0, 0x4000), ALLOW),
    ("sendmsg", (3, 0, 0x20000000), REFUSE),
    ("setsockopt", (3, 6, 1), ALLOW),
    ("setsockopt", (3, 1, 1), REFUSE),
    ("flock", (3, 2), PRETEND),
    ("fchmodat", (-100,), PRETEND),
    ("fsetxattr", (3,), UNSUPPORTED),
]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("name", "arguments", "wanted"), CONDITIONS)
def test_arguments_decide(machine: str, name: str, arguments: tuple[int, ...], wanted: int) -> None:
    assert answer(machine, name, *arguments) == wanted


@pytest.mark.parametrize("machine", MACHINES)
def test_truncating_by_path_is_refused_where_landlock_does_not_cover_it(machine: str) -> None:
    assert answer(machine, "truncate") == ALLOW
    assert answer(machine, "truncate", truncates_by_path=False) == REFUSE


def test_an_error_of_the_filter_is_that_of_the_system() -> None:
    assert (REFUSE & 0xFFFF, ABSENT & 0xFFFF, UNSUPPORTED & 0xFFFF) == (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP)
    assert PRETEND & 0xFFFF == 0 and PRETEND != ALLOW


def test_an_unknown_machine_has_no_filter() -> None:
    assert architecture("riscv64") is None


def in_header(path: Path) -> Iterator[tuple[str, int]]:
    for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\s*$", path.read_text(), re.MULTILINE):
        is_for_32_bits = 403 <= int(number) < 424
        if name not in ("arch_specific_syscall", "syscalls") and not is_for_32_bits:
            yield {"fstatat": "newfstatat", "sync_file_range2": "sync_file_range"}.get(name, name), int(number)


@pytest.mark.parametrize(("machine", "header"), [("x86_64", HEADER), ("aarch64", GENERIC_HEADER)])
def test_the_numbers_are_those_of_the_kernels_header(machine: str, header: Path) -> None:
    if not header.exists():
        pytest.skip("the kernel's headers are not installed")
    ours = known(machine).numbers
    theirs = dict(in_header(header))
    assert {name: ours.get(name) for name in theirs} == theirs
