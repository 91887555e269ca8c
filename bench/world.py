"""A real casparian to measure: a home, its daemon, a parser, known files, and the kernel's figures about the processes.

The module uses the same operations as the commands. No part of the daemon is replaced or left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from blake3 import blake3

from bench.children import ROOT, ChildFailed, own_environment
from casparian_app.daemons import spawn_daemon
from casparian_protocol.client import Client
from casparian_protocol.home import Home, make_home
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.ports import RealFs
from casparian_sentinel.registry.keys import home_key
from casparian_sentinel.registry.prepare import prepare
from casparian_worker.discovery.file_index import ChangeWriter, FileRow

_STOP_SECONDS = 60.0
_QUEUE_SECONDS = 300.0
_IDLE_SECONDS = 600.0
NO_OP = """
name, version, topics = "no_op", "1.0.0", ["no_op"]
outputs = {"nothing": {"columns": [{"name": "id", "type": "int64"}]}}


def parse(path, ctx):
    return []
"""


def new_home(root: Path, settings: str = "") -> Home:
    """A home with these settings and otherwise built-in ones, but without the check of free disk space."""
    home = Home(root)
    make_home(home)
    home.config_file.write_text("[log]\nlow_disk_bytes = 0\n" + settings, encoding="utf-8")
    return home


@contextmanager
def daemon(home: Home, workers: int) -> Iterator[Client]:
    """A daemon in a process of its own, as `casparian start` starts it, without automatic queueing."""
    child = start_daemon(home, workers)
    try:
        with Client.connect(home, actor="user:bench@cli") as client:
            yield client
    finally:
        end(child)


def start_daemon(home: Home, workers: int) -> subprocess.Popen[bytes]:
    options = ["--workers", str(workers)] if workers else ["--no-workers"]
    return spawn_daemon(home, [*options, "--no-planning", "--with-parent"])


def cpu_seconds(home: Home) -> dict[str, float]:
    """The CPU seconds of the sentinel and its projector so far, which do not depend on other load."""
    sentinel = sentinel_pid(home)
    spent = {"sentinel": cpu_seconds_of(sentinel)}
    for pid in children_of(sentinel):
        if "casparian_sentinel.projection" in command_of(pid):
            spent["projector"] = cpu_seconds_of(pid)
    return spent


def end(child: subprocess.Popen[bytes]) -> None:
    """End a process: ask twice, then kill it."""
    for _ in range(2):
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(_STOP_SECONDS / 4)
            return
    child.kill()
    child.wait(_STOP_SECONDS)


@contextmanager
def bus_workers(home: Home, stamps: Path, count: int) -> Iterator[None]:
    """Worker processes on the bus whose jobs do nothing."""
    running = []
    try:
        for number in range(count):
            given = {"home": str(home.root), "worker_id": f"bench-{number}", "stamps": str(stamps)}
            command = [sys.executable, "-m", "bench.programs.bus_worker", json.dumps(given)]
            running.append(subprocess.Popen(command, env=own_environment(), cwd=ROOT))
        yield
    finally:
        for child in running:
            end(child)


def register(client: Client, home: Home, directory: Path, name: str) -> None:
    """Register the parser in `directory` and approve its contracts."""
    artifact = prepare(directory, home_key=home_key(home.keys), gatekeeper_mode="warn")
    store = BlobStore(RealFs(), home.blobs)
    for content in artifact.blobs.values():
        store.put(content)
    client.request("register", {"artifact": artifact.facts()})
    client.request("decide_contract", {"selector": name, "approve": True})


def register_no_op(client: Client, home: Home, scratch: Path) -> None:
    directory = scratch / "no_op"
    directory.mkdir()
    (directory / "no_op.py").write_text(NO_OP, encoding="utf-8")
    register(client, home, directory, "no_op")


def pretend_files(client: Client, home: Home, directory: Path, count: int) -> None:
    """Record `count` tagged files that do not exist; no-op jobs do not open them."""
    scan_id = client.request("begin_scan", {"roots": [str(directory)]})["scan_id"]
    writer = ChangeWriter()
    for number in range(count):
        name = f"file_{number:07d}.txt"
        digest = blake3(f"{directory}/{name}".encode()).hexdigest()
        row = FileRow(
            id=digest[:16],
            path=f"{directory}/{name}",
            rel_path=name,
            size=100,
            mtime_ns=0,
            device=0,
            inode=number,
            content_hash=digest,
            kind="text",
            tags=("no_op",),
            tag_rule_ids=(None,),
        )
        writer.add("new", row)
    blob = BlobStore(RealFs(), home.blobs).put(writer.finish()).digest
    client.request("observe", {"scan_id": scan_id, "blob": blob, "new": count})
    seen = client.request("end_scan", {"scan_id": scan_id, "complete": True, "files": count})
    wait_for_tables(client, int(seen["seq"]))


def queue_no_op(client: Client, path: Path) -> int:
    """Queue all pending files below `path`. Returns the number of jobs."""
    answer = client.request("queue", {"parser": "no_op", "path": str(path)}, timeout_seconds=_QUEUE_SECONDS)
    return int(answer["queued"])


def wait_for_tables(client: Client, seq: int) -> None:
    """Wait until the tables contain this event."""
    deadline = time.monotonic() + _IDLE_SECONDS
    while time.monotonic() < deadline:
        if client.request("status")["projection"]["seq"] >= seq:
            return
        time.sleep(0.05)
    raise TimeoutError("the tables stay behind")


def wait_until_idle(client: Client, look_seconds: float) -> None:
    """Wait until no job is open, by the daemon's counts. It checks rarely, because each check is work too."""
    deadline = time.monotonic() + _IDLE_SECONDS
    while time.monotonic() < deadline:
        queue = client.request("status")["queue"]
        if not (queue["queued"] or queue["running"] or queue["retrying"]):
            return
        time.sleep(look_seconds)
    raise TimeoutError("the queue did not become empty")


def casparian(home: Home, arguments: Sequence[str]) -> Any:
    """Run a command with `--json`. Returns its document."""
    command = [sys.executable, "-m", "casparian", "--home", str(home.root), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=own_environment(), check=False)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).splitlines()
        raise ChildFailed(f"casparian {arguments[0]} ended with {done.returncode}: {(words or ['nothing said'])[-1]}")
    return json.loads(done.stdout) if done.stdout.strip() else None


# --- figures of the kernel --------------------------------------------------------------------------------------------


_TICKS = os.sysconf("SC_CLK_TCK")


def peak_rss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has no memory")


def cpu_seconds_of(pid: int) -> float:
    """The user and system time of the process itself."""
    user, system, *_ = _times(pid)
    return user + system


def descendants_cpu_seconds_of(pid: int) -> float:
    """The user and system time of everything that it started: children that it waited for, living ones, and theirs."""
    *_, user, system = _times(pid)
    return user + system + sum(cpu_seconds_of(each) + descendants_cpu_seconds_of(each) for each in children_of(pid))


def _times(pid: int) -> list[float]:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return [int(field) / _TICKS for field in fields[11:15]]


class Peaks:
    """The highest resident size of each kind of process of a daemon, looked at while the context lasts."""

    def __init__(self, home: Home) -> None:
        self._sentinel = sentinel_pid(home)
        self._bytes: dict[str, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def mib(self) -> dict[str, float]:
        return {role: size / 2**20 for role, size in self._bytes.items()}

    def _watch(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._ended.wait(_LOOK_SECONDS)  # at the end once more
            self._look(self._sentinel, "sentinel")

    def _look(self, pid: int, role: str) -> None:
        try:
            self._bytes[role] = max(self._bytes.get(role, 0), peak_rss_bytes(pid))
            children = children_of(pid)
        except (ProcessLookupError, FileNotFoundError):  # it has ended meanwhile
            return
        for child in children:
            self._look(
                child, _role_of(child) if role == "sentinel" else "guest" if role in ("worker", "guest") else role
            )


_LOOK_SECONDS = 0.05
_ROLES = {"casparian_sentinel.projection": "projector", "casparian_worker": "worker"}


def _role_of(pid: int) -> str:
    try:
        words = command_of(pid)
    except (ProcessLookupError, FileNotFoundError):
        return "other"
    return next((role for word, role in _ROLES.items() if word in words), "other")


def sentinel_pid(home: Home) -> int:
    return int(home.pid_file.read_text(encoding="ascii").split()[0])


def tree_cpu_seconds(home: Home) -> float:
    """The CPU seconds so far of the sentinel and of everything that it started and that still runs or was waited for."""
    pid = sentinel_pid(home)
    return cpu_seconds_of(pid) + descendants_cpu_seconds_of(pid)


def command_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")


def children_of(pid: int) -> list[int]:
    """The children of all its threads."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for each in lists for child in each.read_text(encoding="ascii").split()]
