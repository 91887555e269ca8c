"""A world for daemon tests: a real daemon process, a home with real files, and a tiny worker that speaks the bus."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import zmq
from blake3 import blake3

from casparian_protocol.client import Client
from casparian_protocol.home import Home, make_home
from casparian_protocol.jobs import Manifest, OutputAccounting, StagedFile
from casparian_protocol.wire import messages as m
from casparian_protocol.wire.messages import decode, encode
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.ports import RealFs
from casparian_sentinel.registry.keys import home_key
from casparian_sentinel.registry.prepare import prepare
from casparian_worker.discovery.file_index import ChangeWriter, FileRow
from casparian_worker.staging import StagingDirectory

PATIENCE_SECONDS = 20.0
PARSER = """
name, version, topics = "orders", "{version}", ["orders"]
outputs = {{"orders": {{"columns": [{{"name": "id", "type": "int", "nullable": False}}]}}}}

def parse(path, ctx):
    raise SystemExit("never run here")
"""
M = TypeVar("M", bound=m.Message)


def until(condition: Callable[[], Any], what: str) -> Any:
    """Await a condition that another process brings about."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"never happened: {what}")


class Daemon:
    """A daemon in a process of its own, without local workers unless asked for."""

    started: ClassVar[list[Daemon]] = []

    def __init__(self, home: Home, *arguments: str, module: Sequence[str] = (), **environment: str) -> None:
        reading, writing = os.pipe()
        argv = [sys.executable, *(module or ("-m", "casparian_sentinel.daemon.main")), "--home", str(home.root)]
        argv += ["--ready-fd", str(writing), *(arguments or ("--workers", "0"))]
        self.home = home
        self.log = home.root.parent / "stderr.txt"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                argv, pass_fds=[writing], stderr=log, env={**os.environ, **environment}, cwd=Path(__file__).parents[3]
            )
        os.close(writing)
        with os.fdopen(reading, "rb") as notice:
            self.is_ready = notice.read() == b"ready\n"
        self.started.append(self)

    def client(self) -> Client:
        return Client.connect(self.home, actor="user:test@cli")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def said(self) -> str:
        return self.log.read_text()


@contextmanager
def running(home: Home, *arguments: str, module: Sequence[str] = (), **environment: str) -> Iterator[Daemon]:
    daemon = Daemon(home, *arguments, module=module, **environment)
    assert daemon.is_ready, daemon.said()
    try:
        yield daemon
    finally:
        if daemon.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                daemon.stop()
        if daemon.process.poll() is None:
            daemon.kill()


def new_home(tmp_path: Path, config: str = "") -> Home:
    home = Home(tmp_path / "home")
    make_home(home)
    (home.config_file).write_text("[log]\nreserve_bytes = 65536\nlow_disk_bytes = 0\n" + config)
    return home


def put(home: Home, content: bytes) -> str:
    return BlobStore(RealFs(), home.blobs).put(content).digest


def register(
    client: Client,
    home: Home,
    tmp_path: Path,
    version: str = "1.0.0",
    *,
    approve: bool = True,
    tamper: bool = False,
) -> str:
    """A parser `orders` with an approved contract; the hash of that contract."""
    directory = tmp_path / f"parser-{version}"
    directory.mkdir()
    (directory / "orders.py").write_text(PARSER.format(version=version))
    artifact = prepare(directory, home_key=home_key(home.keys), gatekeeper_mode="warn")
    for content in artifact.blobs.values():
        put(home, content)
    facts = artifact.facts()
    client.request("register", {"artifact": {**facts, "signature": "00" * 64} if tamper else facts})
    if approve:
        client.request("decide_contract", {"selector": f"orders@{version}", "approve": True})
    return artifact.contracts["orders"].hash()


def changes_of(directory: Path, names: Sequence[str], tag: str) -> bytes:
    """Make the files and say about them what a scan that hashes and tags would."""
    directory.mkdir(exist_ok=True)
    writer = ChangeWriter()
    for name in names:
        path = directory / name
        path.write_text(f"content of {name}")
        status = path.stat()
        writer.add(
            "new",
            FileRow(
                id=blake3(str(path).encode()).hexdigest()[:16],
                path=str(path),
                rel_path=name,
                size=status.st_size,
                mtime_ns=status.st_mtime_ns,
                device=status.st_dev,
                inode=status.st_ino,
                content_hash=blake3(path.read_bytes()).hexdigest(),
                kind="text",
                tags=(tag,),
                tag_rule_ids=(None,),
            ),
        )
    return writer.finish()


def observe(client: Client, home: Home, directory: Path, names: Sequence[str], *, tag: str = "orders") -> None:
    """Files appear, are scanned, hashed and tagged."""
    scan_id = client.request("begin_scan", {"roots": [str(directory)]})["scan_id"]
    blob = put(home, changes_of(directory, names, tag))
    client.request("observe", {"scan_id": scan_id, "blob": blob, "new": len(names)})
    client.request("end_scan", {"scan_id": scan_id, "complete": True, "files": len(names)})


class TinyWorker:
    """Speaks the worker's side of the bus, one call at a time, and stages real Parquet."""

    def __init__(self, home: Home, worker_id: str = "tiny", *, pid: int | None = None) -> None:
        self.home = home
        self.worker_id = worker_id
        self.pid = pid or os.getpid()
        self.holding: list[m.Held] = []
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None

    def __enter__(self) -> TinyWorker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self.send(m.Bye())  # so that the daemon need not wait for a goodbye
        self._context.destroy(linger=200)

    def connect(self) -> m.Welcome:
        """(Re)connect and say hello with what is in hand."""
        if self._socket is not None:
            self._socket.close(linger=0)
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.connect(self.home.bus_endpoint)
        self.send(
            m.Hello(
                protocol=m.PROTOCOL_VERSION,
                worker_id=self.worker_id,
                host="here",
                pid=self.pid,
                slots=1,
                version="0",
                sandbox="none",
                holding=self.holding,
            )
        )
        return self.receive(m.Welcome)

    def send(self, message: m.Message, attachments: Sequence[bytes] = ()) -> None:
        self.send_raw(*encode(message, attachments))

    def send_raw(self, *frames: bytes) -> None:
        assert self._socket is not None
        self._socket.send_multipart(frames)

    def receive(self, kind: type[M]) -> M:
        """The next message of that kind; others are passed over."""
        assert self._socket is not None
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (left := deadline - time.monotonic()) > 0 and self._socket.poll(int(left * 1000)):
            message, _ = decode(self._socket.recv_multipart())
            if isinstance(message, kind):
                return message
        raise AssertionError(f"no {kind.__name__} came")

    def take(self, credit: int = 1) -> m.Assignment:
        """Ask for work and get one job."""
        self.send(m.Want(credit=credit))
        assignment = self.receive(m.Assign).jobs[0]
        self.holding = [m.Held(job_id=assignment.job.job_id, epoch=assignment.epoch)]
        return assignment

    def started(self, assignment: m.Assignment) -> None:
        job = m.StartedJob(job_id=assignment.job.job_id, epoch=assignment.epoch, guest_pid=1)
        self.send(m.Started(jobs=[job]))

    def stage(self, assignment: m.Assignment, rows: int = 3) -> Manifest:
        """Write and seal one output file; the manifest to offer."""
        table = pa.BufferOutputStream()
        pq.write_table(pa.table({"id": pa.array(range(rows), pa.int64())}), table)
        file = self._staged(assignment, "data.orders.0.parquet", table.getvalue().to_pybytes())
        return Manifest(
            files=[StagedFile(kind="data", output="orders", rows=rows, **file)],
            outputs={
                "orders": OutputAccounting(
                    status="success",
                    received=rows,
                    valid=rows,
                    quarantined=0,
                    contract_hash=assignment.job.work.contracts["orders"],
                )
            },
            source_hash=assignment.job.work.content,
        )

    def stage_scan(self, assignment: m.Assignment, directory: Path, names: Sequence[str]) -> Manifest:
        """Carry out a SCAN: the directory's files, hashed and tagged, as `changes.arrow`."""
        file = self._staged(assignment, "changes.arrow", changes_of(directory, names, "orders"))
        changes = StagedFile(kind="changes", rows=len(names), **file)
        return Manifest(files=[changes], facts={"new": len(names), "files": len(names), "complete": True})

    def _staged(self, assignment: m.Assignment, name: str, content: bytes) -> dict[str, Any]:
        """Write one file as a worker does: while the sentinel may be removing another attempt of the same job."""
        staging = StagingDirectory(self.home.staging, assignment.job.job_id, assignment.epoch)
        file = staging.create(name)
        file.write(content)
        file.close()
        staging.close()
        return {"name": name, "bytes": len(content), "digest": file.digest}

    def finish(self, assignment: m.Assignment, manifest: Manifest) -> None:
        job = m.FinishedJob(job_id=assignment.job.job_id, epoch=assignment.epoch, manifest=manifest)
        self.send(m.Finish(jobs=[job]))


def completed(client: Client) -> int:
    return int(client.request("snapshot")["totals"]["COMPLETED"])


def event_types(client: Client) -> list[str]:
    seq = client.request("ping")["seq"]
    answer = client.query("select type from cf_audit order by seq", at_least_seq=seq)
    return [row[0] for row in answer.rows]
