"""Paths inside a home directory, and the addresses of its daemon's sockets.

`make_home` creates the directories; `record_sockets` writes where the sockets are. What else is written into a file
belongs to the module named beside its path.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

#: libzmq refuses ipc paths beyond this many bytes (sun_path less its terminator).
IPC_PATH_LIMIT_BYTES = 107
_LONGEST_SOCKET_NAME = "projector.sock"


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
        """The projection; disposable, opened by the projector alone."""
        return self.root / "state.duckdb"

    @property
    def state_position(self) -> Path:
        """Where in the log the projection stands, for who must not open it; written with each batch, never synced."""
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
        """Unpacked artifacts, `<artifact hash>/`; a cache of `blobs`, read-only once made."""
        return self.root / "artifacts"

    @property
    def parsers(self) -> Path:
        """Parsers that somebody works on; the console's Parser Bench lists them. Nothing of ours writes here."""
        return self.root / "parsers"

    @property
    def outputs(self) -> Path:
        return self.root / "outputs"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def orphans(self) -> Path:
        """Published files that no commit of the log names, moved aside; on the file system of the outputs."""
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
        """What daemon, projector and workers print when nobody is looking."""
        return self.logs / "daemon.log"

    @property
    def snapshot_file(self) -> Path:
        """The sentinel's compact snapshot of open state."""
        return self.root / "log" / "open-state.snapshot"

    @property
    def sockets_record(self) -> Path:
        """Where the running daemon's sockets are."""
        return self.run / "sockets"

    @property
    def sockets(self) -> Path:
        """The directory of the ipc sockets: what the daemon recorded, or where one of this environment would put them.

        A daemon's own environment chooses it, and its own name for the home; cron, sudo, systemd and shells have others.
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

    def staging_of(self, job_id: str, epoch: int) -> Path:
        return self.staging / job_id / str(epoch)

    def output_version(self, output: str, version: int) -> Path:
        return self.outputs / output / f"v{version}"

    def quarantine_version(self, output: str, version: int) -> Path:
        return self.quarantine / output / f"v{version}"

    def blob(self, digest: str) -> Path:
        return self.blobs / digest[:2] / digest


def home_from(given: str | os.PathLike[str] | None, environment: dict[str, str]) -> Home:
    """The home that a command means: `--home`, then `CASPARIAN_HOME`, then `~/.casparian_flow`."""
    named = given or environment.get("CASPARIAN_HOME") or "~/.casparian_flow"
    return Home(Path(named).expanduser().absolute())


def is_home(home: Home) -> bool:
    """Whether a home was made there, even when part of it is gone since."""
    return home.log.is_dir() or home.blobs.is_dir() or home.state_db.exists()


def make_home(home: Home) -> None:
    """Create what is missing of the home, private to this user (0700). Existing files are left alone."""
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
        # The parent counts too: whoever may write there can put a directory of their own in place of ours.
        for directory in (sockets.parent, sockets):
            directory.mkdir(mode=0o700, exist_ok=True)
            status = directory.lstat()
            others = 0o077 if directory == sockets else 0o022
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & others:
                raise PermissionError(f"{directory} is to hold our sockets but is not private to this user")


def record_sockets(home: Home) -> None:
    """Say where the sockets of a daemon of this environment are; the caller holds the home's lock."""
    aside = home.sockets_record.with_suffix(".new")
    aside.write_text(f"{home.sockets_here}\n", encoding="utf-8")
    aside.replace(home.sockets_record)
