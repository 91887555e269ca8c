"""A console without a terminal, as tests drive it: keys and events in, effects and text out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from casparian_console.canvas import ASCII, UNICODE, line_width, plain
from casparian_console.messages import (
    Answer,
    Done,
    Effect,
    Effects,
    Failed,
    Heard,
    Key,
    Message,
    RunOperation,
    RunQuery,
    Tag,
    Tick,
)
from casparian_console.shell import Shell
from casparian_protocol.feed import FeedEvent, FeedItem, Metric
from casparian_protocol.queries.jobs import GroupedJob, JobGroupRow
from casparian_protocol.wire.operations.daemon import Snapshot
from tests.console.events import whole

#: 2026-03-05 14:00:00 UTC.
NOW_US = 1_772_719_200_000_000
SECOND_US = 1_000_000
SNAPSHOTS = Path(__file__).parent / "snapshots"


def snapshot_of(
    seq: int, jobs: Sequence[dict[str, Any]] = (), workers: Sequence[dict[str, Any]] = (), **more: Any
) -> Snapshot:
    """A snapshot, of maps as they come from the wire."""
    told = {"seq": seq, "jobs": list(jobs), "workers": list(workers), "totals": {}, **more}
    return Snapshot.model_validate(told)


class Driver:
    """Feeds a `Shell`. Events get their sequences and, without `at`, a time one second after the last."""

    def __init__(self, *, is_ascii: bool = False, has_assistant: bool = False, seq: int = 0) -> None:
        self.shell = Shell(
            home="/home/op/.casparian_flow", glyphs=ASCII if is_ascii else UNICODE, has_assistant=has_assistant
        )
        self.seq = seq
        self.now_us = NOW_US
        self.effects: Effects = []
        #: Every event so far, for whoever goes to the past.
        self.log: list[FeedEvent] = []
        self.tick(0)

    def send(self, *messages: Message) -> Effects:
        """Deliver; the effects of these messages."""
        fresh: Effects = []
        for message in messages:
            fresh += self.shell.update(message)
        self.effects += fresh
        return fresh

    def tick(self, seconds: float = 1.0) -> Effects:
        self.now_us += int(seconds * SECOND_US)
        return self.send(Tick(self.now_us))

    def press(self, *keys: str) -> Effects:
        return self.send(*(Key(key) for key in keys))

    def write(self, text: str) -> Effects:
        return self.press(*text)

    def snapshot(
        self,
        jobs: Sequence[dict[str, Any]] = (),
        workers: Sequence[dict[str, Any]] = (),
        *,
        unanswered: Sequence[str] = (),
        is_measured: bool = True,
    ) -> Effects:
        """A fresh picture; its loads are answered with nothing there, but for those that a test answers itself. The first
        metrics follow."""
        asked = self.send(Heard(snapshot_of(self.seq, jobs, workers)))
        for load in asked:
            if isinstance(load, RunQuery) and load.tag[0] == "facts" and load.tag[1] not in unanswered:
                nothing = [{"files": 0, "bytes": 0, "untagged": 0}] if load.tag[1] == "files" else []
                self.send(Answer(load.tag, self.seq, nothing))
        if is_measured:
            self.metric("workers", workers=list(workers))
            self.metric("projection", applied=self.seq)
            self.metric("trouble")
        return asked

    def event(self, kind: str, **data: Any) -> Effects:
        self.seq += 1
        self.now_us += SECOND_US
        self.log.append(whole(self.seq, self.now_us, kind, data))
        return self.hear(self.log[-1])

    def hear(self, *items: FeedItem) -> Effects:
        return self.send(*(Heard(item) for item in items))

    def metric(self, name: str, **values: Any) -> Effects:
        return self.hear(Metric(name, {"seq": self.seq, **values}))

    def answer(self, tag: Tag, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Effects:
        return self.send(Answer(tag, self.seq, [dict(zip(columns, row, strict=True)) for row in rows]))

    def done(self, ask: Effect, **result: Any) -> Effects:
        assert isinstance(ask, RunOperation)
        return self.send(Done(ask.tag, ask.op, ask.call.operation.read_result(result)))

    def fail(self, tag: Tag, problem: str, remedy: str = "") -> Effects:
        return self.send(Failed(tag, problem, remedy))

    def lines(self, width: int = 80, height: int = 24) -> list[str]:
        """The frame as text; every line has exactly the width, and there are exactly so many."""
        self.shell.settle()
        drawn = self.shell.view(width, height)
        assert len(drawn) == height, (len(drawn), height)
        assert {line_width(line) for line in drawn} == {width}, [(line_width(line), plain(line)) for line in drawn]
        return [plain(line) for line in drawn]

    def text(self, width: int = 80, height: int = 24) -> str:
        return "\n".join(line.rstrip() for line in self.lines(width, height)) + "\n"


def group(status: str, jobs: int, **sums: Any) -> JobGroupRow:
    """Jobs of fix 1.0.0 that stand alike, as the tables count them."""
    row = JobGroupRow(
        status=status, is_closed=False, type="PARSE", parser="fix", version="1.0.0", cause="", input="", jobs=jobs,
        rows=0, quarantined=0, skipped=0, bytes=0, latest_at=1, outputs=[],
    )  # fmt: skip
    row.update(sums)  # type: ignore[typeddict-item]
    return row


def grouped(made: str, **fields: Any) -> GroupedJob:
    """A job as the tables list it: completed, unless said otherwise."""
    row = dict.fromkeys(GroupedJob.__annotations__) | {
        "id": made,
        "job_type": "PARSE",
        "status": "COMPLETED",
        "plugin_name": "fix",
        "parser_version": "1.0.0",
        "input_file": "/data/a.log",
        "queued_at": 1,
        "started_at": 2,
    }
    return cast(GroupedJob, row | fields)


def files_wait(driver: Driver, **by_tag: int) -> None:
    """Answer the load of the files that have no job, by tag."""
    driver.answer(("facts", "waiting"), ("tag", "files"), list(by_tag.items()))


def queued(
    job_id: str, *, parser: str = "fix", version: str = "1.0.0", path: str = "/data/a.log", kind: str = "PARSE"
) -> dict[str, Any]:
    """The data of `JobQueued`."""
    spec = {"job_id": job_id, "type": kind, "key": job_id, "input": {"path": path, "size": 10}, "topic": "fix"}
    return {"job": spec | ({"parser": parser, "parser_version": version} if kind == "PARSE" else {})}


def job_id(number: int) -> str:
    return f"{number:016x}"


def run_job(driver: Driver, number: int, *, worker: str = "w1", **queue: Any) -> str:
    """Queue, lease and start a job."""
    made = job_id(number)
    driver.event("JobQueued", **queued(made, **queue))
    driver.event("JobLeased", job_id=made, worker_id=worker, attempt=1, sandbox="none")
    driver.event("JobStarted", job_id=made, epoch=driver.seq, guest_pid=4242)
    return made


def complete(
    driver: Driver, made: str, *, rows: int = 100, bad: int = 0, skipped: int = 0, output: str = "fix_orders"
) -> None:
    outputs = {output: {"status": "success", "received": rows + bad, "valid": rows, "quarantined": bad}}
    file = {
        "name": f"data.{output}.0.parquet",
        "kind": "data",
        "output": output,
        "rows": rows,
        "bytes": 4096,
        "digest": "0" * 64,
    }
    manifest = {"files": [file], "outputs": outputs, "skipped": {}}
    counts = {"rows": rows, "quarantined": bad, "skipped": skipped, "seconds": 1.5}
    driver.event("JobOutputsCommitted", job_id=made, epoch=1, manifest=manifest, versions={output: 1}, **counts)
    status = "PARTIAL_SUCCESS" if bad else "COMPLETED"
    driver.event("JobCompleted", job_id=made, epoch=1, status=status, damaged=[], **counts)


def fail(
    driver: Driver,
    made: str,
    *,
    code: str = "SCHEMA_MISMATCH",
    message: str = "row 42",
    fingerprint: str = "a1b2c3d4e5f60718",
) -> None:
    error = {
        "code": code,
        "message": message,
        "fingerprint": fingerprint,
        "exception": "ValueError",
        "trace": "",
        "context": {},
    }
    driver.event("JobFailed", job_id=made, epoch=1, error=error)


def matches_snapshot(text: str, name: str) -> None:
    """Compare with the kept screen; `CASPARIAN_UPDATE_SNAPSHOTS=1` keeps this one (look at it)."""
    kept = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("CASPARIAN_UPDATE_SNAPSHOTS"):
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(text, encoding="utf-8")
    assert text == kept.read_text(encoding="utf-8"), f"the screen differs from tests/console/snapshots/{name}.txt"
