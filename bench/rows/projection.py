"""Row 4: the log applied to DuckDB tables: a rebuild from the log, and a projector that follows it and is asked meanwhile.

The log has complete jobs of files that the file index knows, in the order of a daemon with busy workers: pages of queued jobs,
then leases, commits and completions of sixteen jobs at a time, four events a job. `casparian` rebuilds the tables in this
process. `casparian, followed` is the projector's own process; it learns of the log a step at a time and is asked twenty questions
a second. `duckdb` inserts one row of six columns for each event, in batches of the same size, and does nothing else: no log is
read, and there are no jobs. CPU time is the user and system time of the process that writes the tables.
"""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import duckdb
import msgpack
import pyarrow as pa
import zmq

from bench.children import ROOT, own_environment
from bench.measure import Benchmark, Case, Figure, Sample, Setting, Size, Target
from bench.world import cpu_seconds_of, end, peak_rss_bytes
from casparian_protocol.events import (
    Event,
    FilesObserved,
    JobCompleted,
    JobLeased,
    JobOutputsCommitted,
    JobQueued,
    ScanStarted,
)
from casparian_protocol.home import Home, make_home
from casparian_protocol.jobs import JobSpec, JobState, Manifest, OutputAccounting
from casparian_protocol.jobs.kinds import JobInput, ParseWork
from casparian_protocol.queries import name_of
from casparian_protocol.queries.jobs import JobsByStatus
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.log import Head, LogWriter
from casparian_sentinel.ports import RealFs
from casparian_sentinel.projection.projector import catch_up, open_projection
from casparian_worker.discovery.file_index import ChangeWriter, FileRow

_START_US = 1_700_000_000_000_000
_CONTRACT = "c" * 64
_BATCH_EVENTS = 5_000
_PAGE, _GROUP = 500, 16
_STEPS_A_SECOND, _QUESTIONS_A_SECOND = 50, 20
_PATIENCE_SECONDS = 600.0
_MIB = 1024 * 1024
_MANIFEST = Manifest(
    outputs={"rows": OutputAccounting(status="no_data", received=0, valid=0, quarantined=0, contract_hash=_CONTRACT)},
    source_hash="e" * 64,
)


class JobLog:
    """A home whose log has so many complete jobs; `marks` has the place after each batch."""

    def __init__(self, root: Path, jobs: int) -> None:
        self.home = Home(root)
        make_home(self.home)
        self._writer, _recovery = LogWriter.open(RealFs(), self.home.log, reserve_bytes=0)
        self.marks: list[Head] = []
        self.seq = 0
        specs = self._files(jobs)
        for first in range(0, jobs, _PAGE):
            self._write([JobQueued(job=spec) for spec in specs[first : first + _PAGE]])
        self.queued_seq = self.seq
        groups = [[spec.job_id for spec in specs[first : first + _GROUP]] for first in range(0, jobs, _GROUP)]
        epochs: dict[str, int] = {}
        for number in range(len(groups) + 2):
            facts: list[Event] = []
            for job_id in groups[number] if number < len(groups) else ():
                epochs[job_id] = self.seq + len(facts) + 1
                facts.append(JobLeased(job_id=job_id, worker_id=f"w{number % 2}", attempt=1, sandbox="none"))
            for job_id in groups[number - 1] if 0 < number <= len(groups) else ():
                facts.append(_committed(job_id, epochs[job_id]))
            for job_id in groups[number - 2] if number > 1 else ():
                facts.append(_completed(job_id, epochs[job_id]))
            self._write(facts)
        self._writer.sync()
        self._writer.close(seal=True)

    def _files(self, jobs: int) -> list[JobSpec]:
        """Record the files and return the jobs that parse them."""
        self._write([ScanStarted(scan_id="scan", roots=("/data",), source_id="")])
        changes, specs = ChangeWriter(), []
        for number in range(jobs):
            digest = hashlib.sha256(str(number).encode()).hexdigest()
            name = f"file_{number:07d}.txt"
            changes.add(
                "new",
                FileRow(
                    id=digest[:16], path=f"/data/{name}", rel_path=name, size=100, mtime_ns=0, device=0, inode=number,
                    content_hash=digest, kind="text", tags=("no_op",), tag_rule_ids=(None,),
                ),
            )  # fmt: skip
            source = JobInput(path=f"/data/{name}", file_id=digest[:16], content_hash=digest, size=100)
            work = ParseWork(
                parser="no_op", parser_version="1.0.0", input=source, artifact="a" * 64, contracts={"rows": _CONTRACT},
                output_versions={"rows": 1}, tag="no_op",
            )  # fmt: skip
            specs.append(JobSpec(job_id=digest[-16:], key=digest[::-1], work=work, queued_at=_START_US))
        blob = BlobStore(RealFs(), self.home.blobs).put(changes.finish()).digest
        self._write([FilesObserved(scan_id="scan", blob=blob, new=jobs, changed=0, vanished=0, renamed=0, tagged=jobs)])
        return specs

    def _write(self, facts: Sequence[Event]) -> None:
        if not facts:
            return
        rows = [
            (_START_US + self.seq + n, fact.about.name, fact.about.version, "sentinel", fact.to_data())
            for n, fact in enumerate(facts)
        ]
        self._writer.append(rows)
        self.seq += len(rows)
        self.marks.append(self._writer.end)


def _committed(job_id: str, epoch: int) -> Event:
    return JobOutputsCommitted(
        job_id=job_id, epoch=epoch, manifest=_MANIFEST, versions={"rows": 1}, rows=0, quarantined=0, skipped=0, seconds=0.1,
        part_names=2,
    )  # fmt: skip


def _completed(job_id: str, epoch: int) -> Event:
    return JobCompleted(
        job_id=job_id, epoch=epoch, status=JobState.COMPLETED, rows=0, quarantined=0, skipped=0, seconds=0.1, damaged=()
    )


def rebuild(log: JobLog) -> Sample:
    """Apply the whole log to new tables in this process."""
    _remove_tables(log.home)
    with open_projection(log.home) as projection:
        began, cpu_began = time.perf_counter(), time.process_time()
        catch_up(projection, log.home, log.marks[-1].position, 4 * _BATCH_EVENTS)  # as the projector does it
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        found = projection.query("select count(*) as n from cf_processing_queue where status = 'COMPLETED'").to_pylist()
        if projection.poison_count or projection.seq != log.seq:
            raise RuntimeError(f"{projection.poison_count} poison events, {projection.seq} of {log.seq} applied")
    return _sample(log.seq, cpu, wall, {"completed": found[0]["n"]})


def follow(log: JobLog) -> Sample:
    """Let a projector follow the log, and ask it meanwhile."""
    _remove_tables(log.home)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "casparian_sentinel.projection", "--home", str(log.home.root)]
        command += ["--control-fd", str(theirs.fileno()), "--batch-events", str(_BATCH_EVENTS)]
        child = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env=own_environment(), cwd=ROOT, stdin=subprocess.DEVNULL
        )
    try:
        with ours:
            ours.settimeout(_PATIENCE_SECONDS)
            first = next(mark for mark in log.marks if mark.seq >= log.queued_seq)
            _tell(ours, first)
            _hear(ours, first.seq)
            return _followed(log, ours, child.pid, [mark for mark in log.marks if mark.seq > first.seq])
    finally:
        end(child)


def _followed(log: JobLog, control: socket.socket, pid: int, marks: Sequence[Head]) -> Sample:
    began, cpu_began, asked = time.perf_counter(), cpu_seconds_of(pid), 0
    steps = iter(marks[:: max(1, len(marks) // (5 * _STEPS_A_SECOND))])
    longest = 0.0
    with zmq.Context() as context, context.socket(zmq.DEALER) as asker:
        asker.set(zmq.LINGER, 0)
        asker.set(zmq.RCVTIMEO, int(_PATIENCE_SECONDS * 1000))
        asker.connect(log.home.query_endpoint)
        for number, mark in enumerate((*steps, marks[-1])):
            _tell(control, mark)
            time.sleep(max(0.0, began + (number + 1) / _STEPS_A_SECOND - time.perf_counter()))
            if number * _QUESTIONS_A_SECOND // _STEPS_A_SECOND >= asked:
                longest, asked = max(longest, _asked_seconds(asker)), asked + 1
    _hear(control, log.seq)
    wall, cpu = time.perf_counter() - began, cpu_seconds_of(pid) - cpu_began
    facts = {"questions": asked, "longest_question_seconds": longest, "peak_mib": peak_rss_bytes(pid) / _MIB}
    return _sample(log.seq - log.queued_seq, cpu, wall, facts)


def _asked_seconds(asker: zmq.Socket[bytes]) -> float:
    """Ask the console's first question, and return how long its answer took."""
    began = time.perf_counter()
    asker.send_multipart([b"query", msgpack.packb({"id": "q", "name": name_of(JobsByStatus()), "params": {}})])
    while (kind := asker.recv_multipart()[0]) == b"working":
        pass
    if kind != b"rows":
        raise RuntimeError(f"a question was answered with {kind!r}")
    return time.perf_counter() - began


def bare(scratch: Path, events: int) -> Sample:
    """Insert one narrow row for each event."""
    path = scratch / "bare.duckdb"
    with duckdb.connect(str(path)) as db:
        db.execute("set threads = 1")
        db.execute("set fsync_mode = 'NONE'")
        db.execute(
            "create table t (seq ubigint, ts timestamp, type varchar, actor varchar, subject varchar, data varchar)"
        )
        batches = list(_rows(events))
        began, cpu_began = time.perf_counter(), time.process_time()
        for batch in batches:
            db.execute("begin")
            db.register("fresh", batch)
            db.execute("insert into t select * from fresh")
            db.unregister("fresh")
            db.execute("commit")
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    path.unlink()
    return _sample(events, cpu, wall, {})


def _rows(events: int) -> Iterator[pa.Table]:
    data = "x" * 200
    for first in range(0, events, _BATCH_EVENTS):
        seqs = range(first, min(events, first + _BATCH_EVENTS))
        yield pa.table(
            {
                "seq": pa.array(seqs, pa.uint64()),
                "ts": pa.array(seqs, pa.timestamp("us")),
                "type": ["JobQueued"] * len(seqs),
                "actor": ["sentinel"] * len(seqs),
                "subject": [f"{seq:016x}" for seq in seqs],
                "data": [data] * len(seqs),
            }
        )


def _sample(events: int, cpu: float, wall: float, facts: dict[str, Any]) -> Sample:
    return Sample({"of cpu": events / cpu, "rate": events / wall}, {"events": events, **facts})


def _remove_tables(home: Home) -> None:
    for path in (home.state_db, home.state_db.with_name(home.state_db.name + ".wal"), home.state_position):
        path.unlink(missing_ok=True)


def _tell(control: socket.socket, mark: Head) -> None:
    control.send(msgpack.packb({"watermark": list(mark.position), "seq": mark.seq, "asker": b""}))


def _hear(control: socket.socket, seq: int) -> None:
    """Wait for the report that this event is applied and the tables answer."""
    heard: dict[str, Any] = {}
    while max(heard.get("applied", 0), heard.get("seq", 0)) < seq:
        message = control.recv(8192)
        if not message:
            raise RuntimeError("the projector ended")
        heard |= msgpack.unpackb(message)


def _prepare(setting: Setting) -> list[Case]:
    log = JobLog(setting.scratch / "home", setting.sizes["jobs"])

    def limit() -> Sample:
        folder = Path(mkdtemp(dir=setting.scratch))
        try:
            return bare(folder, log.seq)
        finally:
            shutil.rmtree(folder)

    return [
        Case("casparian", "casparian", lambda: rebuild(log), "reads the log, folds jobs, and writes all tables"),
        Case(
            "casparian, followed",
            "casparian",
            lambda: follow(log),
            "after the jobs were queued, with 20 questions a second",
        ),
        Case("duckdb", "bare", limit, "one narrow row for each event, from Arrow"),
    ]


PROJECTION = Benchmark(
    name="projection",
    row=4,
    title="the event log in DuckDB tables",
    figures=[
        Figure("of cpu", "events/s of CPU", is_higher_better=True),
        Figure("rate", "events/s", is_higher_better=True),
    ],
    sizes=[Size("--jobs", 50_000, "complete jobs in the log, four events each")],
    prepare=_prepare,
    targets=[
        Target("at least 100,000 events a second of processor time", "of cpu", at_least=100_000),
        Target("a rebuild of a million events takes 15 s at most", "rate", at_least=1_000_000 / 15),
    ],
)
