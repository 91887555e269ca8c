"""Liveness and failures on the tables themselves: random histories, cut into runs in every way, against the rules."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from casparian_protocol.queries.files import FilesBySource
from casparian_protocol.queries.registry import SourcesListed
from casparian_sentinel.log.format import Head, LogRecord, Position
from casparian_sentinel.projection import jobs
from casparian_sentinel.projection.liveness import Committed, Recognised
from casparian_sentinel.projection.queries import planning
from casparian_sentinel.projection.store import Projection
from tests.sentinel.projection.lives import _ipc
from tests.sentinel.projection.test_liveness import Rule

_FILES = ("f1", "f2", "f3", "f4")
_CONTENTS = ("c1", "c2", "c3", "c4", "c5")
_PARSERS = ("advice", "fix")
_TABLES = ("cf_commits", "cf_processed_contents", "cf_processing_queue", "cf_quarantine_counts", "scout_files")

_ENDED = {"rows": 1, "quarantined": 0, "skipped": 0, "seconds": 0.1}


class Story:
    """Events of a few jobs at a time, as the core would record them, and what the rules say of them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.events: list[LogRecord] = []
        self.blobs: dict[str, bytes] = {}
        self.rule = Rule()
        #: Open jobs: job → its specification and the sequence that queued it.
        self.open: dict[str, tuple[dict[str, Any], int]] = {}
        #: Committed jobs that are not in place yet.
        self.promoting: list[str] = []
        #: Failed jobs: job → (specification, sequence), and those that are closed.
        self.failed: dict[str, tuple[dict[str, Any], int]] = {}
        self.closed: dict[str, str] = {}
        self._jobs = 0
        self._specs: dict[str, dict[str, Any]] = {}
        self._add("ScanStarted", scan_id="s", roots=["/in"])
        self.observe(*((file, self.random.choice(_CONTENTS)) for file in _FILES))

    def _add(self, kind: str, **data: Any) -> int:
        seq = len(self.events) + 1
        self.events.append(LogRecord(seq, 1_700_000_000_000_000 + seq, kind, 1, "sentinel", data))
        return seq

    def run(self, steps: int) -> None:
        doings = (self.queue, self.queue, self.commit, self.commit, self.complete, self.fail, self.retry, self.close)
        for _ in range(steps):
            self.random.choice([*doings, self.see, self.recognise])()

    def see(self) -> None:
        self.observe((self.random.choice(_FILES), self.random.choice(_CONTENTS)))

    def observe(self, *seen: tuple[str, str]) -> None:
        files, contents = zip(*seen, strict=True)
        table = pa.table(
            {
                "change": ["changed"] * len(seen),
                "id": files,
                "path": [f"/in/{file}" for file in files],
                "rel_path": files,
                "content_hash": contents,
            }
        )
        name = f"blob{len(self.blobs)}"
        self.blobs[name] = _ipc(table)
        self._add("FilesObserved", scan_id="s", blob=name, new=0, changed=len(seen), vanished=0, renamed=0, tagged=0)
        self.rule.present.update(seen)

    def queue(self) -> None:
        self._jobs += 1
        job_id, file = f"{self._jobs:016x}", self.random.choice(_FILES)
        source = {"path": f"/in/{file}", "file_id": file, "content_hash": self.random.choice(_CONTENTS), "size": 1}
        spec = {
            "job_id": job_id,
            "type": "PARSE",
            "key": str(self._jobs),
            "input": source,
            "parser": self.random.choice(_PARSERS),
            "parser_version": "1",
            "options": {"on_change": "append"} if self.random.random() < 0.1 else {},
        }
        self.open[job_id] = (spec, self._add("JobQueued", job=spec))

    def _taken(self) -> tuple[dict[str, Any], int] | None:
        return self.open.pop(self.random.choice(list(self.open))) if self.open else None

    def commit(self) -> None:
        taken = self._taken()
        if taken is None:
            return
        spec, queued_seq = taken
        job_id, source = spec["job_id"], spec["input"]
        file = {
            "name": "data.rows.0.parquet",
            "kind": "data",
            "output": "rows",
            "rows": 1,
            "bytes": 1,
            "digest": "d" * 64,
        }
        counts = {"status": "success", "received": 1, "valid": 1, "quarantined": 0}
        manifest = {"files": [file], "outputs": {"rows": counts}, "source_hash": source["content_hash"]}
        seq = self._add(
            "JobOutputsCommitted",
            job_id=job_id,
            epoch=1,
            manifest=manifest,
            versions={"rows": 1},
            part_names=2,
            **_ENDED,
        )
        keeps = spec["options"].get("on_change") == "append"
        self.rule.apply(
            Committed(seq, seq, job_id, spec["parser"], source["file_id"], source["content_hash"], queued_seq, keeps)
        )
        self.promoting.append(job_id)
        self._specs[job_id] = spec

    def complete(self) -> None:
        if not self.promoting:
            return
        job_id = self.promoting.pop(self.random.randrange(len(self.promoting)))
        seq = self._add("JobCompleted", job_id=job_id, epoch=1, status="COMPLETED", damaged=[], **_ENDED)
        spec = self._specs[job_id]
        for failed, (other, failed_seq) in self.failed.items():
            mine, theirs = spec["input"], other["input"]
            is_alike = mine["file_id"] == theirs["file_id"] or mine["content_hash"] == theirs["content_hash"]
            if other["parser"] == spec["parser"] and is_alike and failed_seq < seq:
                self.closed.setdefault(failed, job_id)

    def fail(self) -> None:
        taken = self._taken()
        if taken is not None:
            spec, _queued = taken
            error = {"code": "INVALID_DATA", "message": "bad", "fingerprint": "f" * 16}
            self.failed[spec["job_id"]] = (spec, self._add("JobFailed", job_id=spec["job_id"], epoch=1, error=error))
            counted = {"counts": [["null", "id", 3]], "rows": 3, "files": [], "is_committed": False}
            self._add("QuarantineRecorded", job_id=spec["job_id"], output="rows", version=1, **counted)

    def retry(self) -> None:
        if self.failed:
            job_id = self.random.choice(list(self.failed))
            spec, _seq = self.failed.pop(job_id)
            self.closed.pop(job_id, None)
            self.open[job_id] = (spec, self._add("JobReplayed", job=spec, from_state="FAILED"))

    def close(self) -> None:
        if self.failed:
            job_id = self.random.choice(list(self.failed))
            self._add("FailureClosed", job_id=job_id, reason="seen")
            self.closed.setdefault(job_id, "sentinel")

    def recognise(self) -> None:
        parser, file, content = (self.random.choice(names) for names in (_PARSERS, _FILES, _CONTENTS))
        position = len(self.events) - self.random.randrange(3)
        event = {"parser": parser, "on_change": "replace", "as_of_seq": position, "contents": [[file, content]]}
        seq = self._add("ContentsRecognised", **event, files=1)
        self.rule.apply(Recognised(seq, seq, parser, file, content, position))


def projected(path: Path, story: Story, runs: Iterator[int]) -> Projection:
    """The story in runs of so many events."""
    projection = Projection(path, story.blobs.__getitem__, "boot")
    rest = story.events
    while rest:
        size = next(runs)
        part, rest = rest[:size], rest[size:]
        projection.apply(part, Head(Position(1, part[-1].seq), part[-1].seq, part[-1].seq, b"\0" * 32))
    return projection


def tables_of(projection: Projection) -> dict[str, list[str]]:
    assert projection.query("from cf_poison_events").num_rows == 0
    return {name: sorted(map(repr, projection.query(f"from {name}").to_pylist())) for name in _TABLES}


@pytest.mark.parametrize("seed", range(4))
def test_random_histories_follow_the_rules_however_they_are_cut_into_runs(seed: int, tmp_path: Path) -> None:
    story = Story(seed)
    story.run(110)
    lengths = random.Random(seed)
    found = []
    for number, runs in enumerate((lambda: 10_000, lambda: 1, lambda: lengths.randrange(1, 40))):
        projection = projected(tmp_path / f"{number}.duckdb", story, iter(runs, None))
        found.append(tables_of(projection))
        live = projection.query("select job_id from cf_commits where is_live").column(0).to_pylist()
        assert set(live) == story.rule.live()
        assert len(live) == len(set(live))
        closed = projection.query(
            "select id, closed_by from cf_processing_queue where closed_at is not null"
        ).to_pylist()
        assert {row["id"]: row["closed_by"] for row in closed} == story.closed
        counted = projection.query(
            "select job_id, sum(rows)::bigint as n from cf_quarantine_counts group by 1"
        ).to_pylist()
        assert {row["n"] for row in counted} <= {3}, "a failure is counted once, however often its job was tried"
        projection.close()
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("seed", range(2))
def test_a_reader_sees_each_content_once_also_while_files_are_put_in_place(seed: int, tmp_path: Path) -> None:
    """After every single event: what the catalogue lists has no content of a parser twice, and loses no content."""
    story = Story(seed)
    story.run(90)
    projection = Projection(tmp_path / "state.duckdb", story.blobs.__getitem__, "boot")
    for event in story.events:
        projection.apply([event], Head(Position(1, event.seq), event.seq, event.seq, b"\0" * 32))
        if event.type not in ("JobOutputsCommitted", "JobCompleted", "ContentsRecognised"):
            continue
        listed = {row["path"] for row in projection.query(planning.OUTPUT_FILES).to_pylist() if row["path"]}
        shown = projection.query(
            "select c.job_id, c.parser, c.content_hash, c.is_live, p.path from cf_commits c"
            " join cf_output_parts p on p.job_id = c.job_id"
        ).to_pylist()
        contents = [(row["parser"], row["content_hash"]) for row in shown if row["path"] in listed]
        assert len(contents) == len(set(contents)), event
        done = {
            row["id"]
            for row in projection.query("select id from cf_processing_queue where status = 'COMPLETED'").to_pylist()
        }
        assert {row["path"] for row in shown if row["is_live"] and row["job_id"] in done} <= listed
    projection.close()


def test_files_that_were_scanned_before_their_directory_became_a_source_are_the_sources_own(tmp_path: Path) -> None:
    story = Story(0)
    story._add("SourceAdded", source_id="src1", name="in", path="/in", poll_seconds=0, options={})
    story._add("SourceAdded", source_id="src2", name="one", path="/in/f1", poll_seconds=0, options={})
    projection = Projection(tmp_path / "state.duckdb", story.blobs.__getitem__, "boot")
    projection.apply(story.events, Head(Position(1, 4), 4, 4, b"\0" * 32))
    assert projection.ask(FilesBySource()) == [{"source_id": "src1", "root": None, "files": 4}]
    assert [(each["name"], each["files"]) for each in projection.ask(SourcesListed())] == [("in", 4), ("one", 0)]

    story._add("SourceRemoved", source_id="src1")
    story._add("SourceAdded", source_id="src3", name="again", path="/in", poll_seconds=0, options={})
    projection.apply(story.events[4:], Head(Position(1, 6), 6, 6, b"\0" * 32))
    assert projection.ask(FilesBySource()) == [{"source_id": "src3", "root": None, "files": 4}]
    projection.close()


def test_which_jobs_are_kept_between_runs_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(7)
    story.run(110)
    found = []
    for kept in (10_000, 3, 0):
        monkeypatch.setattr(jobs, "KEPT_JOBS", kept)
        lengths = iter([1 + n % 19 for n in range(len(story.events))])
        with projected(tmp_path / f"{kept}.duckdb", story, lengths) as projection:
            found.append(tables_of(projection))
            projection._jobs.prepare([])
            assert len(projection._jobs._jobs) <= kept
    assert found[0] == found[1] == found[2]
