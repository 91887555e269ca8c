"""A home under attack: its daemon and who works for it, what is in it, and whether every row is accounted for.

Nothing in here is mocked: daemon, workers, guests and projector are the shipped programs, the home is a real directory.
What hurts them is the tests' business.
"""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import duckdb
import psutil
import pyarrow.parquet as pq

from casparian_protocol.client import Client, NoSentinel, TablesAway
from casparian_protocol.home import Home
from casparian_protocol.jobs import OPEN
from casparian_sentinel.local import LocalSentinel
from tests.crash.load import CONFIG, PARSER, Expected, Truth
from tests.end_to_end.world import World

REPOSITORY = Path(__file__).parents[2]
Role = Literal["sentinel", "worker", "guest", "projector"]
_LONG_LIVED: frozenset[Role] = frozenset({"sentinel", "worker", "projector"})
_LOOK_SECONDS = 0.1
_LAST_WORDS_CHARACTERS = 4000
_OPEN_STATES = ", ".join(f"'{state}'" for state in sorted(OPEN))
_QUEUED_AND_OPEN = f"""
select count(*) filter (job_type = 'PARSE') as queued, count(*) filter (status in ({_OPEN_STATES})) as open
from cf_processing_queue
"""
#: A word of the command line that tells what a process is.
_MARKS: dict[str, Role] = {
    "casparian_worker": "worker",
    "tests.crash.odd_worker": "worker",
    "casparian_sentinel.projection": "projector",
    "tests.crash.odd_daemon": "sentinel",
    "casparian": "sentinel",
}


@dataclass
class Site(World):
    """One home below `root`; its inbox and the truth about it may be shared with others."""

    files: Path
    truth: dict[str, Expected] = field(default_factory=dict)
    daemon: subprocess.Popen[bytes] | None = None
    #: How many descriptors a process of each role has open when nothing was ever done to it; empty: not known.
    calm: dict[Role, int] = field(default_factory=dict)

    @property
    def inbox(self) -> Path:
        return self.files

    def prepare(self, truth: Truth, config: str = CONFIG) -> None:
        """A home with the parser, its approved contract and the scanned files."""
        self.truth = dict(truth)
        self.run("init")
        (self.home / "config.toml").write_text(config)
        (self.root / "readings.py").write_text(PARSER)
        self.run("parser", "register", "--no-tests", self.root / "readings.py")
        self.run("contract", "approve", "readings")
        self.rescan()

    def rescan(self) -> None:
        self.run("scan", self.files, "--tag", "readings")

    def add(self, files: Truth) -> None:
        """Files beside the inbox, which are scanned as well."""
        self.truth |= files
        for folder in {Path(path).parent for path in files}:
            self.run("scan", folder, "--tag", "readings")

    # --- the daemon

    def start(self, *arguments: str, module: str = "casparian", workers: int = 2, **environment: str) -> None:
        """Return when the daemon serves; `module` may be a daemon with odd doors to the machine."""
        assert self.try_start(*arguments, module=module, workers=workers, **environment), self.said()

    def try_start(self, *arguments: str, module: str = "casparian", workers: int = 2, **environment: str) -> bool:
        """Whether it came so far as to serve."""
        with self.launch(*arguments, module=module, workers=workers, **environment) as notice:
            return notice.read() == b"ready\n"

    def launch(self, *arguments: str, module: str = "casparian", workers: int = 2, **environment: str) -> BinaryIO:
        """Start it and wait for nothing; its notice can be read from what is returned."""
        reading, writing = os.pipe()
        command = [sys.executable, "-m", module, "--home", str(self.home)]
        command += ["start", "--foreground"] if module == "casparian" else []
        command += ["--workers", str(workers), "--ready-fd", str(writing), *arguments]
        with (self.root / "daemon.txt").open("ab") as said:
            self.daemon = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=[writing],
                start_new_session=True,
                cwd=REPOSITORY,
                env={**os.environ, **environment},
            )
        os.close(writing)
        return os.fdopen(reading, "rb")

    def reap(self, seconds: float = 60.0) -> int:
        """Wait for the daemon's end; its exit code."""
        assert self.daemon is not None
        status = self.daemon.wait(seconds)
        self.daemon = None
        return status

    def stop(self) -> None:
        """An orderly end of a daemon that is idle."""
        self.assert_no_descriptor_is_kept()
        with self.client() as client:
            client.request("stop")
        assert self.reap() == 0, self.said()

    def said(self) -> str:
        """What the daemon said, to whoever started it and to its own log."""
        log = self.home / "logs" / "daemon.log"
        return (self.root / "daemon.txt").read_text() + (log.read_text() if log.exists() else "")

    def client(self) -> Client:
        return Client.connect(Home(self.home))

    @property
    def pid(self) -> int:
        assert self.daemon is not None
        return self.daemon.pid

    # --- who runs

    def running(self, role: Role) -> list[psutil.Process]:
        return [one for one in self.processes() if role_of(one) == role]

    def descriptors(self) -> dict[Role, int]:
        """How many a process of each role has open, at most."""
        found: dict[Role, int] = {}
        for process in self.processes():
            role = role_of(process)
            try:
                count = process.num_fds()
            except psutil.NoSuchProcess:
                continue
            if role in _LONG_LIVED:
                found[role] = max(count, found.get(role, 0))
        return found

    def assert_no_descriptor_is_kept(self) -> None:
        """Of whoever died, came late, or hung up: within a moment all is as it would be without."""

        def is_calm() -> bool:
            return all(count <= self.calm[role] for role, count in self.descriptors().items())

        if self.calm:
            try:
                awaited(is_calm, "descriptors are closed", 10.0)
            except AssertionError as failure:
                failure.add_note(f"in calm: {self.calm}\n" + "\n".join(map(opened, self.processes())))
                raise

    def kill_everything(self) -> None:
        """As when the power fails."""
        victims = self.processes()
        for one in victims:
            end(one)
        if self.daemon is not None:
            self.reap()
        psutil.wait_procs(victims, timeout=20)

    def until_running(self, **counts: int) -> None:
        """Until of each role so many are there."""

        def all_there() -> bool:
            roles = [role_of(one) for one in self.processes()]
            return all(roles.count(role) == count for role, count in counts.items())  # type: ignore[arg-type]

        awaited(all_there, f"{counts} run")

    def leased(self, path: str) -> tuple[dict[str, Any], int]:
        """The job of this input, once its guest runs, and the pid of its worker."""
        found: list[tuple[dict[str, Any], int]] = []

        def runs() -> bool:
            with self.client() as client:
                workers = client.request("status")["workers"]
            pairs = [(job, one["pid"]) for one in workers for job in one["jobs"]]
            found[:] = [(job, pid) for job, pid in pairs if job["input"] == path and job["guest_pid"]]
            return bool(found)

        awaited(runs, f"{path} is being parsed")
        return found[0]

    # --- how far it is

    def published_count(self) -> int:
        return len(self.published("readings"))

    def until_published(self, count: int, seconds: float = 60.0) -> None:
        awaited(lambda: self.published_count() >= count, f"{count} files are published", seconds)

    def until_idle(self, seconds: float = 120.0) -> None:
        """The running daemon has no job that is not ended. The sentinel and the tables may come and go meanwhile.

        One answer tells both that all is queued and that nothing is open: of two answers the first may be from before
        the files were planned and the second from after it, the more so when the tables are only being rebuilt.
        """

        def idle() -> bool:
            try:
                with self.client() as client:
                    status = client.request("status")
                    ((queued, is_open),) = client.query(_QUEUED_AND_OPEN, at_least_seq=status["seq"]).rows
            except (NoSentinel, TablesAway):
                return False
            if status["planning"]:
                return False
            return bool(queued >= len(self.truth)) and not is_open and status["intake"] == "open"

        awaited(idle, "everything queued is done", seconds)

    # --- the account

    def finish(self) -> None:
        """Do what is left, as an operator would: run what waits, retry what a kill failed."""
        if self.tables(_QUEUED_AND_OPEN) != [{"queued": len(self.truth), "open": 0}]:
            self.run_to_the_end()
        failed = self.tables("select id, error_message from cf_processing_queue where status = 'FAILED'")
        for job in failed:
            assert "killed by SIGKILL" in job["error_message"], f"nothing else may fail here: {job}"
            self.run("job", "retry", job["id"])
        if failed:
            self.run_to_the_end()

    def run_to_the_end(self) -> None:
        """`process`, whatever became of the jobs."""
        done = subprocess.run(
            self.command("process", "--workers", "2"),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr, done.stderr

    def assert_accounted(self) -> None:
        """Every file once, every row once, by the log's tables and by the bytes on disk alike; nothing else left."""
        error = "case when status in ('FAILED', 'DEAD_LETTER') then error_message end as error"
        columns = f"input_file, status, rows_valid, quarantine_rows, rows_skipped, {error}"
        jobs = self.tables(f"select {columns} from cf_processing_queue where job_type = 'PARSE' order by input_file")
        expected = [
            (path, _status(one), len(one.good), len(one.bad), one.skipped, None)
            for path, one in sorted(self.truth.items())
        ]
        self._assert_same("the jobs by the log's tables", [tuple(job.values()) for job in jobs], expected)
        good = sorted(row for one in self.truth.values() for row in one.good)
        bad = sorted(row for one in self.truth.values() for row in one.bad)
        self._assert_same("the rows in outputs/", self._ids("outputs"), good)
        self._assert_same("the rows in quarantine/", self._ids("quarantine"), bad)
        self._assert_same("the rows as readers see them", self._seen("readings"), good)
        self._assert_same("the bad rows as readers see them", self._seen("quarantine.readings"), bad)
        self.assert_at_rest(".staging")

    def _assert_same(self, what: str, found: Sequence[object], expected: Sequence[object]) -> None:
        if found != expected:
            lines = difflib.unified_diff(
                [repr(one) for one in expected], [repr(one) for one in found], "the truth", what, n=0, lineterm=""
            )
            said = self.said()[-_LAST_WORDS_CHARACTERS:]
            raise AssertionError(
                "\n".join([f"{what} differ from the truth:", *lines, "The daemon's last words:", said])
            )

    def tables(self, query: str) -> list[dict[str, Any]]:
        """Rows of the projection as the shipped code opens it without a daemon."""
        with LocalSentinel(Home(self.home)) as local:
            rows: list[dict[str, Any]] = local.query(query).to_pylist()
        return rows

    def events(self, *kinds: str, about: str = "") -> list[dict[str, Any]]:
        """Events of these types in the log, in order; no daemon runs."""
        wanted = ", ".join(f"'{kind}'" for kind in kinds)
        subject = f" and data like '%{about}%'" if about else ""
        return self.tables(f"select type, subject, data from cf_audit where type in ({wanted}){subject} order by seq")

    def _seen(self, relation: str) -> list[int]:
        """As readers see it: through the catalogue."""
        with duckdb.connect(str(self.home / "catalog.duckdb"), read_only=True) as catalogue:
            return sorted(int(row) for (row,) in catalogue.execute(f"select id from {relation}").fetchall())

    def _ids(self, tree: str) -> list[int]:
        parts = sorted((self.home / tree / "readings").glob("v*/*.parquet"))
        return sorted(int(row) for part in parts for row in pq.read_table(part, columns=["id"])["id"].to_pylist())


def _status(expected: Expected) -> str:
    return "PARTIAL_SUCCESS" if expected.bad else "COMPLETED"


def role_of(process: psutil.Process) -> Role | None:
    try:
        words = process.cmdline()
    except psutil.Error:
        return None
    if any(word.endswith("launch.py") for word in words):
        return "guest"
    return next((role for mark, role in _MARKS.items() if mark in words), None)


def opened(process: psutil.Process) -> str:
    """What it has open, in a line of its own each."""
    folder = Path(f"/proc/{process.pid}/fd")
    return "\n".join(
        [f"{role_of(process)} {process.pid}:", *sorted(f"  {one.name}: {one.readlink()}" for one in folder.iterdir())]
    )


def end(process: psutil.Process) -> bool:
    """Kill it; False when it was gone already."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def awaited(what: Callable[[], bool], why: str, seconds: float = 60.0) -> None:
    """Look again and again, but leave the machine to those who work."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"never happened: {why}"
        time.sleep(_LOOK_SECONDS)
