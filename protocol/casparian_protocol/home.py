"""A home directory: its paths, the addresses of its daemon's sockets, and the rotation of the daemon's log.

`make_home` creates the directories and `record_sockets` records the places of the sockets; any other file belongs to the module
named with its path. Sentinel, projector and workers write to `logs/daemon.log` through one inherited descriptor, and only the
sentinel rotates it. A full log is renamed to `daemon.log.1` and replaced by a new one in one step, so that the name always exists
and no line is lost. Other processes write to the renamed file until they call `follow`.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: libzmq refuses ipc paths beyond this many bytes (sun_path less its terminator).
IPC_PATH_LIMIT_BYTES = 107
_LONGEST_SOCKET_NAME = "query.sock"


@dataclass(frozen=True, slots=True)
class Home:
    """A home on disk (`CASPARIAN_HOME`, default `~/.casparian_flow`); all paths are absolute."""

    root: Path

    @property
    def config_file(self) -> Path:
        return self.root / "config.toml"

    @property
    def log(self) -> Path:
        """The event log's segments; only the sentinel writes here."""
        return self.root / "log"

    @property
    def state_db(self) -> Path:
        """The projection; it can be rebuilt, and only the projector opens it."""
        return self.root / "state.duckdb"

    @property
    def state_position(self) -> Path:
        """The projection's position in the log, for processes that must not open it; written with each batch, never synced."""
        return self.root / "state.position"

    @property
    def catalog_db(self) -> Path:
        """Views over published files; replaced by rename, never kept open."""
        return self.root / "catalog.duckdb"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def artifacts(self) -> Path:
        """Unpacked artifacts, `<artifact hash>/`: a cache of `blobs`, read-only once created."""
        return self.root / "artifacts"

    @property
    def parsers(self) -> Path:
        """Parsers under development; the console's Parser Bench lists them. Casparian never writes here."""
        return self.root / "parsers"

    @property
    def outputs(self) -> Path:
        return self.root / "outputs"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def empties(self) -> Path | None:
        """Where the empty files go that give outputs without rows their columns; None: next to the rows of each version."""
        return None

    @property
    def orphans(self) -> Path:
        """Published files that belong to no commit, moved aside; on the file system of the outputs."""
        return self.quarantine / "_orphans"

    @property
    def staging(self) -> Path:
        return self.root / ".staging"

    @property
    def scratch(self) -> Path:
        """Private directories of running guests, `<job>-<epoch>/`, removed with the attempt."""
        return self.root / ".scratch"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def keys(self) -> Path:
        return self.run / "keys"

    @property
    def lock_file(self) -> Path:
        return self.run / "sentinel.lock"

    @property
    def pid_file(self) -> Path:
        return self.run / "sentinel.pid"

    @property
    def daemon_log(self) -> Path:
        """The output of daemon, projector and workers."""
        return self.logs / "daemon.log"

    @property
    def snapshot_file(self) -> Path:
        """The sentinel's compact snapshot of open state."""
        return self.root / "log" / "open-state.snapshot"

    @property
    def sockets_record(self) -> Path:
        """The file that records the places of the running daemon's sockets."""
        return self.run / "sockets"

    @property
    def sockets(self) -> Path:
        """The directory of the ipc sockets: as the daemon recorded it, or where a daemon in this environment would put them.

        It depends on the daemon's environment and path of the home, which cron, sudo, systemd and shells may not share.
        """
        try:
            recorded = self.sockets_record.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            recorded = ""
        if recorded.startswith("/") and len(os.fsencode(recorded)) < IPC_PATH_LIMIT_BYTES:
            return Path(recorded)
        return self.sockets_here

    @property
    def sockets_here(self) -> Path:
        """Where a daemon of this environment puts its sockets: in `run/`, unless that is too deep for libzmq."""
        if len(os.fsencode(self.run / _LONGEST_SOCKET_NAME)) <= IPC_PATH_LIMIT_BYTES:
            return self.run
        digest = hashlib.blake2b(os.fsencode(self.root), digest_size=8).hexdigest()
        runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/casparian-{os.getuid()}"  # noqa: S108 -- 0700, owner checked by make_home
        return Path(runtime) / f"casparian-{digest}"

    @property
    def bus_endpoint(self) -> str:
        return f"ipc://{self.sockets / 'bus.sock'}"

    @property
    def feed_endpoint(self) -> str:
        return f"ipc://{self.sockets / 'feed.sock'}"

    @property
    def query_endpoint(self) -> str:
        return f"ipc://{self.sockets / 'query.sock'}"

    def staged(self, job_id: str, epoch: int, name: str) -> Path:
        """A staged file of an attempt."""
        return self.staging / staged_name(job_id, epoch, name)

    def output_version(self, output: str, version: int) -> Path:
        return self.outputs / output / f"v{version}"

    def quarantine_version(self, output: str, version: int) -> Path:
        return self.quarantine / output / f"v{version}"

    def blob(self, digest: str) -> Path:
        return self.blobs / digest[:2] / digest


def staged_name(job_id: str, epoch: int, name: str) -> str:
    """The name of a staged file in `.staging/`. All attempts share that directory, and no two attempts a name."""
    return f"{job_id}.{epoch}.{name}"


def attempt_of(staged: str) -> tuple[str, int] | None:
    """The job and epoch of the attempt that a staged file belongs to, by its name; None if it belongs to none."""
    job_id, _, rest = staged.partition(".")
    epoch, _, name = rest.partition(".")
    return (job_id, int(epoch)) if job_id and name and epoch.isascii() and epoch.isdecimal() else None


def home_from(given: str | os.PathLike[str] | None, environment: dict[str, str]) -> Home:
    """The home of a command: `--home`, then `CASPARIAN_HOME`, then `~/.casparian_flow`."""
    named = given or environment.get("CASPARIAN_HOME") or "~/.casparian_flow"
    return Home(Path(named).expanduser().absolute())


def is_home(home: Home) -> bool:
    """Whether a home was created there, even if part of it is missing now."""
    return home.log.is_dir() or home.blobs.is_dir() or home.state_db.exists()


def make_home(home: Home) -> None:
    """Create the missing directories of the home, private to this user (0700). Existing files are not changed."""
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for directory in (
        home.log,
        home.blobs,
        home.artifacts,
        home.parsers,
        home.outputs,
        home.quarantine,
        home.staging,
        home.scratch,
        home.logs,
        home.run,
        home.keys,
    ):
        directory.mkdir(mode=0o700, exist_ok=True)
    sockets = home.sockets_here
    if sockets != home.run:
        # Check the parent too: anyone who may write there can replace this directory.
        for directory in (sockets.parent, sockets):
            directory.mkdir(mode=0o700, exist_ok=True)
            status = directory.lstat()
            others = 0o077 if directory == sockets else 0o022
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & others:
                raise PermissionError(f"{directory} should hold Casparian's sockets but is not private to this user")


def record_sockets(home: Home) -> None:
    """Record where the sockets of a daemon in this environment are. The caller holds the home's lock.

    If the disk refuses, there is no record, and clients look where a daemon of their own environment would put the sockets.
    """
    aside = home.sockets_record.with_suffix(".new")
    try:
        aside.write_text(f"{home.sockets_here}\n", encoding="utf-8")
        aside.replace(home.sockets_record)
    except OSError:
        home.sockets_record.unlink(missing_ok=True)  # an earlier daemon's, which may be elsewhere
        aside.unlink(missing_ok=True)


# --- the daemon's log -------------------------------------------------------------------------------------------------

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
#: Standard output and error, which children inherit.
STANDARD_DESCRIPTORS = (1, 2)
#: More than the number of old files that a setting can keep.
OLD_FILES_MAX = 100


def open_daemon_log(path: Path) -> int:
    """Open the daemon's log for appending."""
    return os.open(path, _FLAGS, 0o600)


def old_name(path: Path, number: int) -> Path:
    """The path of an old log; `daemon.log.1` is the newest."""
    return path.with_name(f"{path.name}.{number}")


def rotate_if_large(path: Path, descriptor: int, *, max_bytes: int, keep_files: int) -> bool:
    """Rotate the log of `descriptor` if it is full. Returns whether it was. The caller holds the home's lock.

    If the disk refuses, the `OSError` is raised and the log continues in the same file. Old logs may have other numbers then, but
    the next call continues from there: however often this fails, at most one old log is removed.
    """
    if os.fstat(descriptor).st_size < max_bytes:
        return False
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    new = open_daemon_log(fresh)
    try:
        first = old_name(path, 1)
        if not (first.exists() and first.samefile(path)):  # otherwise the last call, or its process, ended here
            _make_room(path, keep_files)
            os.link(path, first)
        fresh.replace(path)
        os.dup2(new, descriptor, inheritable=False)
    finally:
        os.close(new)
    return True


def follow(path: Path, descriptors: Sequence[int] = STANDARD_DESCRIPTORS) -> bool:
    """Redirect descriptors that still write to a rotated file to the current one. Returns whether there were any.

    A descriptor of anything else (a terminal, a pipe, another file) is left alone.
    """
    try:
        present = path.stat()
    except OSError:
        return False
    stale = [each for each in descriptors if _is_other_file(each, present)]
    if not stale:
        return False
    old = _identities_of_old_files(path)
    stale = [each for each in stale if _identity(os.fstat(each)) in old]
    if not stale:
        return False
    try:
        new = open_daemon_log(path)
    except OSError:
        return False  # no free descriptor or no permission: the old file is used until the next check
    for each in stale:
        os.dup2(new, each, inheritable=True)
    os.close(new)
    return True


def _make_room(path: Path, keep_files: int) -> None:
    """Free the number 1: renumber the old files before the first free number; those beyond the number to keep are removed."""
    numbers = [number for number in range(1, OLD_FILES_MAX + 1) if old_name(path, number).exists()]
    free = next(number for number in range(1, OLD_FILES_MAX + 2) if number not in numbers)
    for number in reversed(numbers):
        if number > keep_files or number == keep_files < free:
            old_name(path, number).unlink()
        elif number < free:
            old_name(path, number).replace(old_name(path, number + 1))


def _is_other_file(descriptor: int, present: os.stat_result) -> bool:
    try:
        held = os.fstat(descriptor)
    except OSError:  # closed
        return False
    return stat.S_ISREG(held.st_mode) and _identity(held) != _identity(present)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _identities_of_old_files(path: Path) -> set[tuple[int, int]]:
    found = set()
    for number in range(1, OLD_FILES_MAX + 1):
        try:
            found.add(_identity(old_name(path, number).stat()))
        except OSError:  # a free number
            continue
    return found
