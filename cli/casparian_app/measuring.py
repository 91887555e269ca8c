"""Measuring the machine and the home: the only part of doctor that touches either. It draws no conclusions.

It leaves nothing behind: the one file it writes, to time a sync, is removed. It opens no home and takes no lock.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import shutil
import stat
import sys
import tempfile
import time
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from casparian_protocol.client import Client, NoSentinel, RequestRefused
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import IPC_PATH_LIMIT_BYTES, Home
from casparian_protocol.wire.operations.daemon import PING, STATUS, StatusResult
from casparian_shim.process import available_bytes
from casparian_shim.sandbox.confine import LEVELS

PACKAGES = ("pyarrow", "duckdb", "pyzmq", "pydantic", "msgpack", "blake3", "cryptography", "uvloop")
#: Larger than `struct timex` anywhere; what adjtimex returns when the clock is not synchronized.
_TIMEX_BYTES = 512
_TIME_ERROR = 5
_SYNC_COUNT = 40
_PARQUET_END = b"PAR1"
_SYNC_BYTES = 4096
_SYNC_SECONDS_MAX = 3.0
_ZONES_TRIED = ("UTC", "Europe/Berlin", "America/New_York")


@dataclass(frozen=True, slots=True)
class Disk:
    """The home's disk: free space for this user, file system, and how long a small write takes to be durable."""

    free_bytes: int
    file_system: str
    #: Sorted; empty if it could not be measured, which `why_unmeasured` explains.
    sync_seconds: tuple[float, ...]
    why_unmeasured: str = ""
    #: How many more files can be created; None if the file system has no limit.
    free_files: int | None = None


@dataclass(frozen=True, slots=True)
class HomeFacts:
    """The home's directory: owner, mode, and what it contains."""

    exists: bool
    is_directory: bool = False
    owner_uid: int = 0
    mode: int = 0
    config_exists: bool = False
    #: The first directory of the home that this process cannot write; empty if it can write them all.
    not_writable: str = ""


@dataclass(frozen=True, slots=True)
class ClockFacts:
    wall_seconds: float
    #: How far the wall and monotonic clocks drifted apart, and for how long this was measured.
    drift_seconds: float
    watched_seconds: float
    #: The modification time of the event log's newest file; None without one.
    newest_log_seconds: float | None
    #: Whether the kernel reports that a time service sets the wall clock; None: unknown.
    is_kept: bool | None = None


@dataclass(frozen=True, slots=True)
class MachineFacts:
    cores: int
    memory_bytes: int
    #: None: unknown.
    available_bytes: int | None
    #: None: unlimited.
    open_files_soft: int | None
    open_files_hard: int | None
    #: Limits that children inherit; None: unlimited.
    address_space_bytes: int | None = None
    file_bytes: int | None = None
    processes: int | None = None


@dataclass(frozen=True, slots=True)
class PublishedFacts:
    """The files that `catalog.duckdb` names: whether they exist, and whether their last bytes are intact."""

    files: int = 0
    #: Outputs with a file that is missing or truncated; sorted.
    damaged: tuple[str, ...] = ()
    #: Why `catalog.duckdb` cannot be read; empty when it can.
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class SandboxFacts:
    """What guests get on this machine, found out by trying."""

    level: str
    #: Level → what the machine lacks for it, and what would supply it.
    missing: Mapping[str, Sequence[str]]
    landlock_abi: int = 0
    has_filter: bool = False
    #: Guests get a user of their own, because this process is root.
    changes_user: bool = False
    #: Guests get a network of their own, in which there is nothing.
    owns_network: bool = False
    #: Why root cannot give guests another user; "" if it can, or if this is not root.
    user_problem: str = ""


def measure_home(home: Home) -> HomeFacts:
    try:
        status = home.root.stat()
    except FileNotFoundError:
        return HomeFacts(exists=False)
    written = (home.root, home.log, home.blobs, home.outputs, home.quarantine, home.staging, home.logs, home.run)
    return HomeFacts(
        True,
        stat.S_ISDIR(status.st_mode),
        status.st_uid,
        stat.S_IMODE(status.st_mode),
        home.config_file.exists(),
        next((str(each) for each in written if each.exists() and not os.access(each, os.W_OK | os.X_OK)), ""),
    )


def measure_disk(home: Home) -> Disk:
    """Facts about the home's disk, or the disk where the home would be created (nothing is written there)."""
    place = next(each for each in (home.root, *home.root.parents) if each.exists())
    free_bytes = shutil.disk_usage(place).free
    system, files = _file_system(place), _free_files(place)
    if place != home.root:
        return Disk(free_bytes, system, (), "there is no home yet", files)
    try:
        return Disk(free_bytes, system, _time_syncs(home.root), free_files=files)
    except OSError as cause:
        return Disk(free_bytes, system, (), cause.strerror or str(cause), files)


def _free_files(place: Path) -> int | None:
    status = os.statvfs(place)
    return status.f_favail if status.f_files else None


def measure_clock(home: Home, watched_since: tuple[float, float]) -> ClockFacts:
    """`watched_since`: the result of `now_pair` at the beginning."""
    wall, monotonic = now_pair()
    watched = monotonic - watched_since[1]
    times = [entry.stat().st_mtime for entry in home.log.glob("*.caslog")] if home.log.is_dir() else []
    return ClockFacts(wall, (wall - watched_since[0]) - watched, watched, max(times, default=None), _is_kept())


def _is_kept() -> bool | None:
    """The return value of an adjtimex(2) call that changes nothing; Linux only."""
    if sys.platform != "linux":
        return None
    question = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: change nothing
    state = ctypes.CDLL(None, use_errno=True).adjtimex(question)
    return None if state < 0 else state != _TIME_ERROR


def now_pair() -> tuple[float, float]:
    """Wall clock and monotonic clock, read together."""
    return time.time(), time.monotonic()


def measure_machine() -> MachineFacts:
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    soft, hard = _limits(resource.RLIMIT_NOFILE)
    return MachineFacts(
        os.cpu_count() or 1,
        memory_bytes,
        available_bytes(),
        soft,
        hard,
        address_space_bytes=_limits(resource.RLIMIT_AS)[0],
        file_bytes=_limits(resource.RLIMIT_FSIZE)[0],
        processes=_limits(resource.RLIMIT_NPROC)[0],
    )


def _limits(kind: int) -> tuple[int | None, int | None]:
    """Soft and hard; None: unlimited."""
    soft, hard = resource.getrlimit(kind)
    return (None if soft == resource.RLIM_INFINITY else soft, None if hard == resource.RLIM_INFINITY else hard)


def measure_sandbox() -> SandboxFacts:
    """Put each layer on a child process that tries what it should stop; a second call in this process costs nothing."""
    from casparian_worker import probe_sandbox

    machine = probe_sandbox()
    return SandboxFacts(
        level=machine.level,
        missing={level: machine.missing(level) for level in LEVELS},
        landlock_abi=machine.landlock_abi,
        has_filter=machine.has_filter,
        changes_user=machine.changes_user,
        owns_network=machine.owns_network,
        user_problem=machine.user_problem,
    )


def versions() -> dict[str, str]:
    """The versions of the packages used; empty for a missing package."""
    import zmq

    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found | {"libzmq": zmq.zmq_version()}


def time_zones() -> tuple[str, list[str]]:
    """The version of the tz database (empty if unknown), and the zones that could not be loaded."""
    missing = []
    for name in _ZONES_TRIED:
        try:
            zoneinfo.ZoneInfo.no_cache(name)
        except (zoneinfo.ZoneInfoNotFoundError, OSError):
            missing.append(name)
    return _tz_version(), missing


def socket_path_bytes(home: Home) -> tuple[int, int]:
    """The length of this home's longest socket path, and the limit of libzmq."""
    endpoints = (home.bus_endpoint, home.feed_endpoint, home.query_endpoint)
    return max(len(os.fsencode(each.removeprefix("ipc://"))) for each in endpoints), IPC_PATH_LIMIT_BYTES


def daemon_of(home: Home) -> tuple[int | None, str]:
    """The pid of the daemon that answers for this home, or None and the reason."""
    try:
        with Client.connect(home, timeout_seconds=2.0) as client:
            return client.perform(PING(), timeout_seconds=2.0).pid, ""
    except (NoSentinel, RequestRefused) as cause:
        return None, cause.problem


def objection_to_log(home: Home) -> CasparianError | None:
    """Why opening the log would fail; reads only its last segment and changes nothing."""
    from casparian_sentinel import RealFs, examine_log, gather_witnesses

    try:
        examine_log(RealFs(), home.log, gather_witnesses(home))
    except CasparianError as objection:
        return objection
    return None


def count_orphans(home: Home) -> int:
    """The number of files in `quarantine/_orphans/`."""
    return sum(len(names) for _place, _folders, names in os.walk(home.orphans))


def measure_published(home: Home) -> PublishedFacts:
    """Whether the files that `catalog.duckdb` shows exist. Comparing digests is left to `verify`."""
    from casparian_sentinel import published_files

    try:
        by_output, unpublished = published_files(home)
    except CasparianError as cause:
        return PublishedFacts(why_not=cause.problem)
    damaged = {name for name, paths in by_output.items() if not all(map(_ends_like_parquet, paths))}
    return PublishedFacts(sum(map(len, by_output.values())), tuple(sorted(damaged | unpublished)))


def _ends_like_parquet(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            file.seek(-len(_PARQUET_END), os.SEEK_END)
            return file.read() == _PARQUET_END
    except OSError:
        return False


def status_of(home: Home) -> StatusResult | None:
    """The status of this home's daemon; None if none answers."""
    try:
        with Client.connect(home, timeout_seconds=2.0) as client:
            return client.perform(STATUS(), timeout_seconds=5.0)
    except (NoSentinel, RequestRefused):
        return None


def pid_of_file(home: Home) -> int | None:
    """The pid in `run/sentinel.pid`, if that process exists."""
    try:
        pid = int(home.pid_file.read_text(encoding="ascii").split()[0])
        os.kill(pid, 0)
    except PermissionError:  # it exists, but belongs to another user
        return pid
    except (OSError, ValueError, IndexError):
        return None
    return pid


def _time_syncs(directory: Path) -> tuple[float, ...]:
    """How long each of some small appends takes until it is durable; ends early on a slow disk."""
    taken: list[float] = []
    handle, name = tempfile.mkstemp(prefix=".doctor-", dir=directory)
    try:
        begun = time.monotonic()
        while len(taken) < _SYNC_COUNT and time.monotonic() - begun < _SYNC_SECONDS_MAX:
            before = time.perf_counter()
            os.pwrite(handle, bytes(_SYNC_BYTES), len(taken) * _SYNC_BYTES)
            os.fdatasync(handle) if sys.platform != "darwin" else os.fsync(handle)
            taken.append(time.perf_counter() - before)
    finally:
        os.close(handle)
        os.unlink(name)
    return tuple(sorted(taken))


def _file_system(place: Path) -> str:
    """The type of the file system of `place`; empty if unknown."""
    resolved = place.resolve()
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    mounts = [line.split(" ") for line in lines]
    holding = [(len(each[1]), each[2]) for each in mounts if len(each) > 2 and resolved.is_relative_to(each[1])]
    return max(holding, default=(0, ""))[1]


def _tz_version() -> str:
    """The version of the system's tz database, in the order zoneinfo searches, else of the tzdata package."""
    for directory in map(Path, zoneinfo.TZPATH):
        for name, prefix in (("+VERSION", ""), ("tzdata.zi", "# version "), ("version", "")):
            try:
                with (directory / name).open(encoding="ascii") as file:
                    line = file.readline(64).strip()
            except (OSError, UnicodeDecodeError):
                continue
            if line.startswith(prefix):
                return line.removeprefix(prefix)
    try:
        return f"tzdata {version('tzdata')}"
    except PackageNotFoundError:
        return ""
