"""A parser that attacks: each function is one attempt, and `parse` makes those that its parameters name.

An attempt returns what it got, or "no effect"; an error of the system is its outcome too (EPERM, EACCES). The file runs as a
guest and imports nothing of the tests. `world` has the things that it attacks: files, processes and sockets that the test made.
"""

# mypy: disable-error-code="return, func-returns-value"

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import resource
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

name, version = "attackers", "1.0.0"

World = dict[str, Any]
ATTACKS: dict[str, Callable[[World], object]] = {}
_libc = ctypes.CDLL(None, use_errno=True)
_IS_X86 = platform.machine() == "x86_64"
_NUMBERS = {"x86_64": {"clone": 56, "fork": 57, "vfork": 58, "socket": 41}, "aarch64": {"clone": 220, "socket": 198}}


def parse(path: str, ctx: Any) -> Iterator[dict[str, object]]:
    world = {**ctx.params, "path": path, "scratch": ctx.scratch}
    for number, attack in enumerate(world["attacks"], 1):
        yield {"attack": attack, "outcome": outcome_of(ATTACKS[attack], world), "__cf_row_id": number}


def outcome_of(attack: Callable[[World], object], world: World) -> str:
    try:
        got = attack(world)
    except OSError as refused:
        return errno.errorcode.get(refused.errno, type(refused).__name__) if refused.errno else type(refused).__name__
    except BaseException as other:  # noqa: BLE001 - the outcome is what is asked for
        return type(other).__name__
    return got if isinstance(got, str) else f"done: {got!r:.200}"


def attack(function: Callable[[World], object]) -> Callable[[World], object]:
    ATTACKS[function.__name__] = function
    return function


def call(name: str, *arguments: Any) -> int:
    """A system call by its name, past every library."""
    from casparian_shim.sandbox.syscalls import architecture

    known = architecture(platform.machine())
    assert known is not None
    return call_number(known.numbers[name], *arguments)


def call_number(number: int, *arguments: Any) -> int:
    given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    ctypes.set_errno(0)
    result = int(_libc.syscall(ctypes.c_long(number), *given))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"call {number}")
    return result


def buffer(size: int = 256) -> Any:
    return ctypes.create_string_buffer(size)


# --- files ------------------------------------------------------------------------------------------------------------


def reading(function_name: str, key: str) -> None:
    def read(world: World) -> object:
        with open(world.get(key, key), "rb") as file:
            return len(file.read(64))

    ATTACKS[function_name] = read


reading("reads_accounts", "/etc/passwd")
reading("reads_shadow", "/etc/shadow")
reading("reads_a_private_key", "key")
reading("reads_the_config", "config")
reading("reads_the_tables", "tables")
reading("reads_the_log", "log")
reading("reads_a_neighbours_input", "neighbour")
reading("reads_another_jobs_scratch", "others_scratch")
reading("reads_the_workers_environment", "parents_environ")
reading("reads_the_workers_memory", "parents_memory")
reading("reads_a_disk", "disk")
reading("reads_another_root", "/proc/1/root/etc/passwd")


@attack
def lists_the_home(world: World) -> object:
    return len(os.listdir(world["home"]))


@attack
def lists_processes(world: World) -> object:
    return len([name for name in os.listdir("/proc") if name.isdigit()])


@attack
def lists_the_workers_descriptors(world: World) -> object:
    return os.listdir(f"/proc/{os.getppid()}/fd")


@attack
def reads_past_python(world: World) -> object:
    descriptor = _libc.open(b"/etc/passwd", os.O_RDONLY)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "open")
    return descriptor


@attack
def follows_its_own_proc_root(world: World) -> object:
    with open("/proc/self/root/etc/passwd", "rb") as file:
        return len(file.read(64))


@attack
def finds_secrets_in_its_environment(world: World) -> object:
    all_of_it = repr(dict(os.environ))
    try:
        with open("/proc/self/environ", "rb") as file:
            all_of_it += file.read().decode()
    except PermissionError:  # not root: a process that cannot be traced may not read this of itself either
        return "found" if world["secret"] in all_of_it else "absent"
    return "found" if world["secret"] in all_of_it else "absent"


@attack
def writes_another_jobs_scratch(world: World) -> object:
    with open(world["others_scratch"], "ab") as file:
        return file.write(b"x")


@attack
def writes_another_jobs_staging(world: World) -> object:
    with open(os.path.join(world["staging"], "planted"), "wb") as file:
        return file.write(b"x")


@attack
def writes_its_library(world: World) -> object:
    with open(os.path.join(os.path.dirname(os.__file__), "planted.py"), "wb") as file:
        return file.write(b"x")


@attack
def writes_its_own_bundle(world: World) -> object:
    with open(__file__, "ab") as file:
        return file.write(b"#")


@attack
def writes_the_input(world: World) -> object:
    with open(world["path"], "ab") as file:
        return file.write(b"x")


@attack
def empties_the_input_by_reading(world: World) -> object:
    os.close(os.open(world["path"], os.O_RDONLY | os.O_TRUNC))
    return "emptied"


@attack
def truncates_the_input(world: World) -> object:
    os.truncate(world["path"], 0)


@attack
def replaces_the_input(world: World) -> object:
    with open(os.path.join(world["scratch"], "other"), "wb") as file:
        file.write(b"x")
    os.rename(os.path.join(world["scratch"], "other"), world["path"])


@attack
def removes_the_input(world: World) -> object:
    os.unlink(world["path"])


@attack
def links_to_a_secret(world: World) -> object:
    os.symlink(world["key"], os.path.join(world["scratch"], "link"))


@attack
def links_hard_to_a_secret(world: World) -> object:
    os.link(world["key"], os.path.join(world["scratch"], "hard"))


@attack
def moves_a_secret_in(world: World) -> object:
    os.rename(world["key"], os.path.join(world["scratch"], "moved"))


@attack
def makes_a_device(world: World) -> object:
    os.mknod(os.path.join(world["scratch"], "disk"), 0o660 | 0o060000, os.makedev(254, 0))


@attack
def writes_to_the_shared_tmp(world: World) -> object:
    with open(world["shared_tmp"], "wb") as file:
        return file.write(b"x")


@attack
def writes_to_shared_memory(world: World) -> object:
    with open(world["shared_memory"], "wb") as file:
        return file.write(b"x")


def changing(function_name: str, change: Callable[[str], object]) -> None:
    def look(path: str) -> tuple[int, int, int, int]:
        status = os.stat(path)
        return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns

    def attempt(world: World) -> object:
        before = look(world["key"])
        change(world["key"])
        return "no effect" if look(world["key"]) == before else "changed"

    ATTACKS[function_name] = attempt


changing("changes_a_mode", lambda path: os.chmod(path, 0o777))
changing("changes_an_owner", lambda path: os.chown(path, 0, 1))
changing("changes_times", lambda path: os.utime(path, (0, 0)))
changing("changes_an_attribute", lambda path: os.setxattr(path, "user.x", b"1"))


@attack
def opens_a_handle_later(world: World) -> object:
    """A file handle, which no path check ever sees, as a container escape uses it."""
    return call("open_by_handle_at", -100, struct.pack("=IiQ", 8, 1, 2), os.O_RDONLY)


@attack
def takes_a_lease_on_the_input(world: World) -> object:
    with open(world["path"], "rb") as file:
        return fcntl.fcntl(file, 1024, fcntl.F_RDLCK)


@attack
def locks_a_shared_file(world: World) -> object:
    """A lock on a library's file would be seen by every other guest, and hold up whoever waits for it."""
    with open(os.__file__, "rb") as first, open(os.__file__, "rb") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return "no effect"


@attack
def watches_a_directory(world: World) -> object:
    return call("inotify_init1", 0)


@attack
def fills_the_disk(world: World) -> object:
    with open(os.path.join(world["scratch"], "sparse"), "wb") as file:
        return file.truncate(1 << 40)


@attack
def reserves_space(world: World) -> object:
    """A disk is full at once, where writing takes its time; the C library would write instead."""
    with open(os.path.join(world["scratch"], "reserved"), "wb") as file:
        return call("fallocate", file.fileno(), 0, 0, 1 << 20)


# --- processes --------------------------------------------------------------------------------------------------------


@attack
def forks(world: World) -> object:
    if os.fork() == 0:
        os._exit(0)
    return "forked"


@attack
def forks_past_python(world: World) -> object:
    """Each way to ask for a process; the child, if there is one, ends at once."""
    numbers = _NUMBERS[platform.machine()]
    for number, arguments in (
        (numbers.get("fork"), ()),
        (numbers.get("vfork"), ()),
        (numbers["clone"], (17, 0, 0, 0, 0)),
    ):
        if number is None:
            continue
        try:
            if call_number(number, *arguments) == 0:
                os._exit(0)
            return "forked"
        except OSError as refused:
            last = refused
    raise last


@attack
def clones_the_new_way(world: World) -> object:
    return call("clone3", struct.pack("=11Q", 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0), 88)


@attack
def starts_a_shell(world: World) -> object:
    return subprocess.run(["/bin/sh", "-c", "id"], capture_output=True, check=False).returncode


@attack
def becomes_a_program(world: World) -> object:
    os.execv("/bin/true", ["true"])


@attack
def becomes_a_setuid_program(world: World) -> object:
    os.execv("/bin/su", ["su", "-c", "id"])


@attack
def runs_a_file_in_memory(world: World) -> object:
    return call("memfd_create", b"x", 0)


@attack
def runs_a_descriptor(world: World) -> object:
    with open("/dev/null", "rb") as file:
        return call("execveat", file.fileno(), b"", None, None, 0x1000)


@attack
def kills_the_worker(world: World) -> object:
    os.kill(os.getppid(), 9)


@attack
def kills_everybody(world: World) -> object:
    os.kill(-1, 9)


@attack
def kills_its_group(world: World) -> object:
    os.kill(0, 18)


@attack
def stops_a_neighbour(world: World) -> object:
    os.kill(world["decoy"], 19)


@attack
def signals_a_thread_of_a_neighbour(world: World) -> object:
    return call("tgkill", world["decoy"], world["decoy"], 19)


@attack
def queues_a_signal(world: World) -> object:
    return call("rt_sigqueueinfo", world["decoy"], 19, buffer())


@attack
def opens_a_process(world: World) -> object:
    return call("pidfd_open", world["decoy"], 0)


@attack
def signals_by_a_descriptor(world: World) -> object:
    return call("pidfd_send_signal", 0, 19, None, 0)


@attack
def has_a_descriptor_signal_the_worker(world: World) -> object:
    read, write = os.pipe()
    try:
        return fcntl.fcntl(read, fcntl.F_SETOWN, os.getppid())
    finally:
        os.close(read)
        os.close(write)


@attack
def steals_a_descriptor(world: World) -> object:
    return call("pidfd_getfd", 0, 1, 0)


@attack
def traces_the_worker(world: World) -> object:
    return call("ptrace", 0x4206, os.getppid(), 0, 0)


@attack
def traces_a_neighbour(world: World) -> object:
    return call("ptrace", 16, world["decoy"], 0, 0)


@attack
def reads_a_neighbours_memory(world: World) -> object:
    return call("process_vm_readv", world["decoy"], buffer(16), 1, buffer(16), 1, 0)


@attack
def outlives_its_worker(world: World) -> object:
    return call("prctl", 1, 0, 0, 0, 0)


@attack
def leaves_its_session(world: World) -> object:
    return call("setsid")


@attack
def slows_the_worker(world: World) -> object:
    os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)


@attack
def pins_the_worker(world: World) -> object:
    os.sched_setaffinity(os.getppid(), {0})


@attack
def limits_the_worker(world: World) -> object:
    return resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (8, 8))


@attack
def starts_ten_thousand_threads(world: World) -> object:
    go = threading.Event()
    started = []
    try:
        for _ in range(10_000):
            thread = threading.Thread(target=go.wait)
            thread.start()
            started.append(thread)
    finally:
        go.set()
        for thread in started:
            thread.join()
    return "started"


@attack
def takes_all_memory(world: World) -> object:
    return len(bytearray(8 << 30))


# --- network ----------------------------------------------------------------------------------------------------------


def opening(function_name: str, *what: int) -> None:
    def attempt(world: World) -> object:
        socket.socket(*what).close()
        return "opened"

    ATTACKS[function_name] = attempt


opening("opens_a_datagram_socket", socket.AF_INET, socket.SOCK_DGRAM)
opening("opens_a_raw_socket", socket.AF_INET, socket.SOCK_RAW, 1)
opening("opens_a_packet_socket", 17, socket.SOCK_RAW, 0x300)
opening("opens_netlink", 16, socket.SOCK_RAW, 0)
opening("opens_a_socket_to_its_host", 40, socket.SOCK_STREAM)


@attack
def connects_to_the_sentinel(world: World) -> object:
    socket.create_connection(("127.0.0.1", world["port"]), timeout=2).close()
    return "connected"


@attack
def connects_to_the_world(world: World) -> object:
    socket.create_connection(("192.0.2.1", 80), timeout=2).close()
    return "connected"


@attack
def lists_the_machines_sockets(world: World) -> object:
    """Every table about sockets has a first line that names its columns."""
    for name in ("tcp", "tcp6", "udp", "udp6", "unix", "netlink", "raw", "packet"):
        with open(f"/proc/self/net/{name}", encoding="ascii") as table:
            if len(lines := table.readlines()) > 1 and name != "netlink":
                return lines[1]
    with open("/proc/self/net/dev", encoding="ascii") as table:
        interfaces = [line.partition(":")[0].strip() for line in table if ":" in line]
    return "nothing" if interfaces == ["lo"] else interfaces


@attack
def asks_for_a_name(world: World) -> object:
    return socket.getaddrinfo("example.com", 80)


@attack
def connects_to_a_local_socket(world: World) -> object:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(world["socket"])


@attack
def connects_to_an_abstract_socket(world: World) -> object:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0" + world["abstract"])


@attack
def makes_a_pair_that_sends_anywhere(world: World) -> object:
    socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return "made"


def job_socket() -> socket.socket:
    for descriptor in range(3, 64):
        try:
            found = socket.socket(fileno=os.dup(descriptor))
            found.getpeername()
        except OSError:
            continue
        return found
    raise AssertionError("no socket")


@attack
def turns_its_socket_around(world: World) -> object:
    job_socket().connect(("127.0.0.1", world["port"]))


@attack
def turns_its_socket_to_a_name(world: World) -> object:
    address = struct.pack("=H", socket.AF_UNIX) + b"\0somebody"
    mine = job_socket()
    call("connect", mine.fileno(), address, len(address))


@attack
def connects_by_sending(world: World) -> object:
    return job_socket().sendto(b"x", 0x20000000, ("127.0.0.1", world["port"]))


@attack
def listens_on_its_socket(world: World) -> object:
    job_socket().listen(1)


@attack
def sets_an_option_of_its_socket(world: World) -> object:
    return job_socket().setsockopt(socket.SOL_SOCKET, 15, 1)


# --- the kernel -------------------------------------------------------------------------------------------------------


def calling(function_name: str, system_call: str, *arguments: Any) -> None:
    ATTACKS[function_name] = lambda world: call(system_call, *arguments)


calling("sets_up_io_uring", "io_uring_setup", 8, bytes(120))
calling("enters_io_uring", "io_uring_enter", 0, 1, 1, 0, 0, 0)
calling("makes_a_user_namespace", "unshare", 0x10000000)
calling("enters_a_namespace", "setns", 0, 0)
calling("mounts", "mount", b"none", b"/tmp", b"tmpfs", 0, 0)
calling("mounts_the_new_way", "fsopen", b"tmpfs", 0)
calling("opens_a_tree", "open_tree", -100, b"/", 1)
calling("changes_its_root", "chroot", b"/tmp")
calling("adds_a_key", "add_key", b"user", b"x", b"y", 1, -3)
calling("reads_keys", "keyctl", 0, -3, 0, 0, 0)
calling("handles_page_faults", "userfaultfd", 1)
calling("loads_a_program_into_the_kernel", "bpf", 0, bytes(128), 128)
calling("measures_others", "perf_event_open", bytes(128), 1, -1, -1, 0)
calling("reads_the_kernels_log", "syslog", 3, bytes(64), 64)
calling("loads_a_module", "init_module", bytes(8), 8, b"")
calling("loads_a_kernel", "kexec_load", 0, 0, 0, 0)
calling("restarts_the_machine", "reboot", 0, 0, 0, 0)
calling("swaps", "swapon", b"/dev/zero", 0)
calling("sets_the_clock", "clock_settime", 0, bytes(16))
calling("makes_shared_segments", "shmget", 1, 4096, 0o1600)
calling("makes_semaphores", "semget", 1, 1, 0o1600)
calling("makes_message_queues", "msgget", 1, 0o1600)
calling("opens_a_message_queue", "mq_open", b"x", 66, 0o600, 0)
calling("changes_its_personality", "personality", 0x0040000)
calling("becomes_root", "setresuid", 0, 0, 0)
calling("takes_capabilities", "capset", struct.pack("=Ii", 0x20080522, 0), b"\xff" * 24)
calling("removes_its_filter", "seccomp", 0, 0, 0)
calling("adds_a_filter", "prctl", 22, 2, 0, 0, 0)
calling("makes_rules", "landlock_create_ruleset", struct.pack("=QQQ", 4, 0, 0), 24, 0)
calling("allows_core_files", "prctl", 4, 1, 0, 0, 0)
calling("marks_everything", "fanotify_init", 0, 0)


@attack
def types_into_the_terminal(world: World) -> object:
    return fcntl.ioctl(0, 0x5412, b"x")


@attack
def types_with_a_longer_number(world: World) -> object:
    """The kernel looks at the lower half of an ioctl's number only; a filter must do the same."""
    return call("ioctl", 0, 0x5412 | 1 << 32, b"x")


@attack
def raises_its_limits(world: World) -> object:
    _soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard + 4096, hard + 4096))
    return "raised"


@attack
def runs_machine_code(world: World) -> object:
    """A socket by instructions of its own, which nothing in the process could stop."""
    if not _IS_X86:
        return call("socket", 2, 1, 0)
    code = b"\xb8\x29\x00\x00\x00\xbf\x02\x00\x00\x00\xbe\x01\x00\x00\x00\x31\xd2\x0f\x05\xc3"
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    run = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    result = run()
    if result < 0:
        raise OSError(-result, "socket")
    return result


@attack
def inherits_descriptors(world: World) -> object:
    """Whatever is open beside the standard three, the job's socket and the input."""
    found = []
    for descriptor in range(3, 4096):
        try:
            kind = os.fstat(descriptor).st_mode & 0o170000
        except OSError:
            continue
        found.append({0o140000: "socket", 0o100000: "file", 0o040000: "directory"}.get(kind, oct(kind)))
    return " ".join(sorted(set(found) - {"socket", "file"})) or "nothing else"


@attack
def makes_every_other_call(world: World) -> object:
    """Every call of the kernel's table that the filter does not allow, and numbers that no kernel has yet."""
    from casparian_shim.sandbox.seccomp import refused_names
    from casparian_shim.sandbox.syscalls import architecture

    known = architecture(platform.machine())
    assert known is not None
    through = []
    for each in refused_names(known.numbers):
        through += [each] if not is_refused(known.numbers[each], errno.EPERM) else []
    for number in range(max(known.numbers.values()) + 1, max(known.numbers.values()) + 64):
        through += [str(number)] if not is_refused(number, errno.ENOSYS) else []
    return " ".join(through) or "refused"


def is_refused(number: int, code: int) -> bool:
    try:
        call_number(number, -1, -1, -1, -1, -1, -1)
    except OSError as refused:
        return refused.errno == code
    return False


# --- in a guest of its own, because they end it ------------------------------------------------------------------------


@attack
def calls_by_another_convention(world: World) -> object:
    """x32: the same calls under other numbers."""
    return call_number(0x40000000 + 39)


@attack
def calls_as_a_32_bit_program(world: World) -> object:
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # getpid by int 0x80
    return ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


@attack
def loops(world: World) -> object:
    while True:
        pass


@attack
def ignores_limits_of_time(world: World) -> object:
    import signal

    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    while True:
        pass


@attack
def crashes(world: World) -> object:
    return ctypes.string_at(0)
