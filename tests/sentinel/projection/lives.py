"""Logs with every kind of event, made by a seeded generator, for tests of the projection."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgpack
import pyarrow as pa

from casparian_protocol.events import decode
from casparian_protocol.events.packing import Fact
from casparian_protocol.home import Home, make_home
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.log.format import Position
from casparian_sentinel.log.writer import LogWriter
from casparian_sentinel.ports import RealFs

CONTRACT = b'{"columns":[{"name":"symbol","type":"string"},{"name":"price","type":{"kind":"decimal","precision":18,"scale":4}}]}'
_START_US = 1_700_000_000_000_000
_PARSER = {"name": "advice", "version": "1.0.0"}


class History:
    """Facts of a small world, batch by batch; the same seed tells the same story."""

    def __init__(self, home: Home, seed: int) -> None:
        self.random = random.Random(seed)
        self.blobs = BlobStore(RealFs(), home.blobs)
        self.contract_hash = self.blobs.put(CONTRACT).digest
        self.next_seq = 1
        self._count = 0
        self._last_failed = "0" * 16
        self._pending: list[Fact] = []

    def opening(self) -> list[Fact]:
        """Sources, rules, a scan, a parser with its contract, a worker: one event of each kind but those of jobs."""
        changes = self.blobs.put(
            file_changes([("new", f"file{n}", ["advice"] if n % 2 else []) for n in range(20)])
        ).digest
        tags = self.blobs.put(_ipc(pa.table({"id": ["file0", "file2"], "tag": ["late", "late"]}))).digest
        contract = {
            "scope_id": "s",
            "parser": "advice",
            "version": "1.0.0",
            "output": "advice",
            "logic_hash": "",
            "columns": 2,
        }
        contract |= {"contract_hash": self.contract_hash}
        scan: dict[str, Any] = {"scan_id": "scan1"}
        counts = {"new": 20, "changed": 0, "vanished": 0, "renamed": 0, "tagged": 10}
        self._add("SentinelStarted", pid=1, version="1", host="h", boot_id="b", mode="daemon")
        self._add(
            "LogRepaired", segment="1", offset=1, last_good_seq=1, last_seen_seq=2, cut_bytes=3, removed_segments=[],
            reason="rot", kept_as="damaged/x",
        )  # fmt: skip
        self._add("WeakerSandboxAccepted", minimum="strong", level="basic", missing="Landlock")
        self._add("TornTailCut", segment="1", offset=1, bytes=2, kept_as="x")
        self._add("SourceAdded", source_id="src1", name="in", path="/data", poll_seconds=0, options={})
        self._add("SourceAdded", source_id="src2", name="gone", path="/gone", poll_seconds=1.5, options={})
        self._add("SourceRemoved", source_id="src2")
        self._add("TagRuleAdded", rule={"id": "r1", "name": "csv", "pattern": "*.csv", "tag": "advice", "priority": 1})
        self._add("TagRuleAdded", rule={"id": "r2", "name": "x", "pattern": "*.x", "tag": "x"})
        self._add("TagRuleRemoved", rule_id="r2")
        self._add("ScanStarted", **scan, roots=["/data"], source_id="src1")
        self._add("FilesObserved", **scan, blob=changes, **counts)
        self._add("ScanFinished", **scan, complete=True, files=20, bytes=200, unchanged=0, unreadable=0, seconds=0.5)
        revised = self.blobs.put(file_changes([("retagged", "file4", ["advice"])])).digest
        self._add("FilesRevised", blob=revised, retagged=1, rehashed=0)
        self._add("FilesTagged", tag="late", is_removed=False, tag_source="manual", blob=tags, files=2)
        self._add("FilesTagged", tag="late", is_removed=True, tag_source="manual", file_ids=["file0"], files=1)
        self._add(
            "ParserRegistered", parser_id="p1", **_PARSER, artifact="a" * 64, sha256="", source_hash="s", lock_hash="",
            topics=["advice"], outputs={"advice": self.contract_hash}, params={}, entry="parser.py", kind="function",
            signed_by="k", signature="", findings=[],
        )  # fmt: skip
        self._add(
            "ParserRegistered", parser_id="p2", name="other", version="0.1", artifact="b" * 64, sha256="", source_hash="",
            lock_hash="", topics=[], outputs={}, params={}, entry="other.py", kind="function", signed_by="k", signature="",
            findings=[],
        )  # fmt: skip
        self._add("ParserRetired", name="other", version="0.1")
        self._add("ContractProposed", contract_id="c1", **contract)
        self._add("ContractProposed", contract_id="c2", **{**contract, "output": "refused"})
        self._add("ContractApproved", contract_id="c1", reason="fine")
        self._add("ContractRejected", contract_id="c2", reason="no")
        created = {"parser": "advice", "contract_hash": self.contract_hash, "status": "building"}
        self._add("OutputVersionCreated", output="advice", version=1, **created)
        self._add("OutputVersionSetLive", output="advice", version=1)
        self._add("OutputVersionCreated", output="advice", version=2, **created)
        self._add("OutputVersionClosed", output="advice", version=2, status="removed", reason="a trial")
        self._add(
            "OutputContractsChanged", output="advice", version=1, contract_hash=self.contract_hash,
            contracts=["e" * 64, self.contract_hash],
        )  # fmt: skip
        current = {"name": "advice", "version": "1.0.0", "previous": ""}
        self._add("ParserCurrentChanged", **current, by="approval", reason="")
        problem = {"output": "advice", "column": "n", "what": "its type was string and is int64", "code": "CONTRACT"}
        waits = {"name": "other", "version": "0.1", "problems": [problem], "left_out": 0}
        self._add("ParserVersionWaits", **waits, may_be_chosen=False, like="")
        self._add("ParserParametersSet", name="advice", params={"tz": "UTC", "depth": 3}, reason="as agreed")
        self._add("QuarantinePolicySet", parser="advice", output="", policy={"max_pct": 5.0})
        self._add(
            "WorkerJoined", worker_id="w1", host="h", pid=2, slots=2, labels={"gpu": "no"}, version="1", sandbox="none"
        )
        self._add("WorkerJoined", worker_id="w2", host="h", pid=3, slots=2, labels={}, version="1", sandbox="none")
        self._add("WorkerLost", worker_id="w2", reason="silent")
        self._add("ParserPaused", name="advice", reason="by hand")
        self._add("ParserResumed", name="advice", reason="by hand")
        breaker = {"name": "other", "version": "0.1"}
        self._add("ParserPaused", **breaker, reason="[CIRCUIT_BREAKER] other", cooldown_seconds=600.0)
        self._add("ParserHalfOpened", **breaker)
        self._add("IntakePaused", reason="disk")
        self._add("IntakeResumed", reason="disk")
        return self._taken()

    def jobs(self, count: int) -> list[Fact]:
        """Whole lives of so many jobs, ending in every way there is."""
        for _ in range(count):
            self._life()
        return self._taken()

    def closing(self) -> list[Fact]:
        recognised = {"parser": "advice", "on_change": "replace", "as_of_seq": self.next_seq - 1}
        pairs = [[f"file{n}", f"hfile{n + 1}"] for n in range(5)]
        blob = self.blobs.put(msgpack.packb({"files": [["file9", "hfile3"]]})).digest
        self._add("ContentsRecognised", **recognised, contents=pairs, files=5)
        self._add("ContentsRecognised", **recognised, blob=blob, files=1)
        self._add("FailureClosed", job_id=self._last_failed, reason="the file is a picture")
        self._add("WorkerLeft", worker_id="w1")
        self._add("SentinelStopped", reason="asked")
        return self._taken()

    def _life(self) -> None:
        job_id = f"{self._count:016x}"
        file_id = f"file{self._count % 20}"
        self._count += 1
        spec = {
            "job_id": job_id, "type": "PARSE", "key": "k" + job_id, "input": {"path": f"/data/{file_id}", "file_id": file_id,
            "content_hash": "h" + file_id, "size": 10}, "parser": "advice", "parser_version": "1.0.0", "artifact": "a" * 64,
            "contracts": {"advice": self.contract_hash}, "params": {"b": 1, "a": 2}, "topic": "advice", "queued_at": _START_US,
        }  # fmt: skip
        self._add("JobQueued", job=spec)
        ending = self.random.choice(
            ["complete"] * 4 + ["partial", "fail", "retry", "dead", "cancel", "lost", "open", "given back", "waiting"]
        )
        if ending == "open":
            return
        epoch = self._leased(job_id)
        if ending == "given back":
            self._add("LeaseExpired", job_id=job_id, epoch=epoch, worker_id="w1", reason="shutdown", is_loss=False)
            return
        if ending == "lost":
            self._add("LeaseExpired", job_id=job_id, epoch=epoch, worker_id="w1", reason="lost", is_loss=True)
            epoch = self._leased(job_id)
        error = {
            "code": "INVALID_DATA",
            "exception": "ValueError",
            "message": "bad",
            "trace": "t",
            "context": {"line": 1},
            "origin": "parser",
        }
        failed = {"job_id": job_id, "epoch": epoch, "error": {**error, "fingerprint": "f" * 16}}
        if ending in ("retry", "waiting"):
            self._add("JobRetryScheduled", **failed, retry_count=1, not_before=_START_US + 9, delay_seconds=1.0)
            if ending == "waiting":
                return
            self._add("JobDue", job_id=job_id)
            epoch = self._leased(job_id)
        if ending == "fail":
            self._add("JobFailed", **failed)
            self._add("QuarantineKept", job_id=job_id, epoch=epoch)
            self._last_failed = job_id
        elif ending == "dead":
            self._add("JobDeadLettered", **failed, reason="retries", retry_count=3)
            self._add("JobReplayed", job=spec, from_state="DEAD_LETTER")
        elif ending == "cancel":
            self._add("JobCancelRequested", job_id=job_id, reason="by hand")
            self._add("JobCancelled", job_id=job_id, reason="by hand")
        else:
            self._committed(job_id, epoch, quarantined=3 if ending == "partial" else 0)

    def _leased(self, job_id: str) -> int:
        epoch = self.next_seq
        self._add("JobLeased", job_id=job_id, worker_id="w1", attempt=1, sandbox="none")
        self._add("JobStarted", job_id=job_id, epoch=epoch, guest_pid=99)
        for done in range(self.random.randrange(3)):
            progress = {
                "unit": "rows",
                "items_done": done,
                "items_total": 3,
                "throughput_per_sec": 1.5,
                "updated_at": _START_US,
            }
            self._add("JobProgressed", job_id=job_id, epoch=epoch, progress=progress)
        return epoch

    def _committed(self, job_id: str, epoch: int, quarantined: int) -> None:
        files = [
            {
                "name": "data.advice.0.parquet",
                "kind": "data",
                "output": "advice",
                "rows": 7,
                "bytes": 70,
                "digest": "d" * 64,
            }
        ]
        if quarantined:
            files.append({**files[0], "name": "quarantine.advice.0.parquet", "kind": "quarantine", "rows": quarantined})
        accounting = {
            "status": "partial_success" if quarantined else "success", "received": 7 + quarantined, "valid": 7,
            "quarantined": quarantined, "contract_hash": self.contract_hash,
        }  # fmt: skip
        manifest = {"files": files, "outputs": {"advice": accounting}, "skipped": {"blank": 1}, "source_hash": "e" * 64}
        ended = {"rows": 7, "quarantined": quarantined, "skipped": 1, "seconds": 0.1}
        self._add("JobOutputsCommitted", job_id=job_id, epoch=epoch, manifest=manifest, versions={"advice": 1}, **ended)
        if quarantined:
            self._add(
                "QuarantineRecorded", job_id=job_id, output="advice", version=1, counts=[["null", "price", 2]],
                rows=2, files=["quarantine/x"], is_committed=True,
            )  # fmt: skip
        status = "PARTIAL_SUCCESS" if quarantined else "COMPLETED"
        damaged = [f"outputs/advice/v1/part-{job_id}-0.parquet"] if self.random.random() < 0.1 else []
        self._add("JobCompleted", job_id=job_id, epoch=epoch, status=status, damaged=damaged, **ended)

    def _add(self, type_: str, **data: Any) -> None:
        """As a version 1 wrote it, which may be an older one."""
        decode(type_, 1, data)
        self._pending.append((_START_US + self.next_seq, type_, 1, "sentinel", data))
        self.next_seq += 1

    def _taken(self) -> list[Fact]:
        taken, self._pending = self._pending, []
        return taken


def new_home(root: Path) -> Home:
    home = Home(root / "h")
    make_home(home)
    return home


def open_writer(home: Home, *, segment_bytes: int = 1 << 26) -> LogWriter:
    return LogWriter.open(RealFs(), home.log, reserve_bytes=0, segment_bytes=segment_bytes)[0]


def write_history(
    home: Home, jobs: int = 60, *, seed: int = 1, batch_events: int = 25, segment_bytes: int = 1 << 26
) -> Position:
    """A whole history in the home's log, in batches of up to so many events, which begin anywhere in a life; the durable end."""
    history, writer = History(home, seed), open_writer(home, segment_bytes=segment_bytes)
    facts = [*history.opening(), *history.jobs(jobs), *history.closing()]
    cuts = random.Random(seed)
    while facts:
        size = cuts.randint(1, batch_events)
        writer.append(facts[:size])
        facts = facts[size:]
    writer.close(seal=False)
    return writer.durable.position


def file_changes(rows: list[tuple[str, str, list[str]]]) -> bytes:
    table = pa.table(
        {
            "change": [change for change, _id, _tags in rows],
            "id": [id_ for _change, id_, _tags in rows],
            "path": [f"/data/{id_}" for _change, id_, _tags in rows],
            "rel_path": [id_ for _change, id_, _tags in rows],
            "size": [10] * len(rows),
            "mtime_ns": [1] * len(rows),
            "content_hash": [f"h{id_}" for _change, id_, _tags in rows],
            "tags": pa.array([tags for _change, _id, tags in rows], pa.list_(pa.string())),
            "tag_rule_ids": pa.array([["r1"] * len(tags) for _change, _id, tags in rows], pa.list_(pa.string())),
        }
    )
    return _ipc(table)


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content
