"""Row 12: the cost of a long history. Each case is a home with a number of ended jobs; the figures should not grow with it.

`batch` is one batch of events applied to the tables as they come from one worker (queued, leased and started, committed,
completed: a batch each). `least batch` is processor time: the mean over the four steps of the fastest batch of each step, because
other load on a machine
only adds time. `a hundred` is a hundred complete jobs in one batch, `boot` is recovery from a log of that many jobs with its
snapshot, `groups` is
the first query of the console: the fastest of three. `memory` is DuckDB's memory, `file` the size of the tables on disk. Tables
are filled by SQL with the rows that the fold would write; logs are written event by event. `--plots` draws the figures over the
number of jobs.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.measure import Benchmark, Case, Figure, Sample, Setting, Size, Target
from bench.plots import Panel, panels
from casparian_protocol.events import (
    Event,
    JobCancelled,
    JobCompleted,
    JobLeased,
    JobOutputsCommitted,
    JobQueued,
    JobStarted,
)
from casparian_protocol.home import Home, make_home
from casparian_protocol.jobs import JobSpec, JobState, Manifest, OutputAccounting, StagedFile
from casparian_protocol.jobs.kinds import JobInput, ParseWork
from casparian_protocol.queries.jobs import JobGroups
from casparian_protocol.settings import Settings
from casparian_sentinel.daemon import boot_home, pack_snapshot, write_snapshot
from casparian_sentinel.log import Head, LogRecord, LogWriter, Position
from casparian_sentinel.ports import RealFs
from casparian_sentinel.projection.store import Projection

_PARSER, _VERSION, _OUTPUT, _HASH = "past", "1.0.0", "rows", "c" * 64
_START_US = 1_700_000_000_000_000
#: One job in this many has failed and is an open failure.
_FAILED = 100
_FACTS_A_BATCH = 4_000
#: The number of waiting files for the measured jobs.
_WAITING_FILES = 5_000
_MIB = 1024 * 1024
#: The number of batches of one job.
_STEPS = 4
_TRIES = 3

_PAST_JOBS = """
insert into {table} by name
select md5('j' || i)[:16] as id, 'PARSE' as job_type, $parser as plugin_name, $version as parser_version,
    md5('f' || i)[:16] as file_version_id, '/data/in/' || i || '.log' as input_file, $status as status, 0 as priority,
    0 as retry_count, 1 as attempt, md5('c' || i) || md5('d' || i) as content_hash, 'k' || i as job_key, i as sequence,
    i as queued_seq, make_timestamp($start + i) as queued_at, make_timestamp($start + i) as started_at,
    make_timestamp($start + i) as end_time, make_timestamp($start + i) as updated_at, 7 as rows_valid, 0 as quarantine_rows,
    'outputs/rows/v1' as output_path, 70 as output_size_bytes, 70 as data_bytes, '{{}}' as spec_json, $topic as topic,
    case when $status = 'FAILED' then 'INVALID_DATA' end as error_code,
    case when $status = 'FAILED' then 'f' || lpad((i % 7)::varchar, 15, '0') end as error_fingerprint
from range($jobs) t(i) where (i % $failed = 0) = ($status = 'FAILED')
"""
_PAST_FILES = """
insert into scout_files by name
select md5('f' || i)[:16] as id, 's' as source_id, '/data/in/' || i || '.log' as path, i || '.log' as rel_path, 10 as size,
    md5('c' || i) || md5('d' || i) as content_hash, 'processed' as status, $topic as tag, i as content_seq
from range($jobs + $waiting) t(i)
"""
_PAST_COMMITS = """
insert into cf_commits by name
select md5('j' || i)[:16] as job_id, $parser as parser, $version as parser_version, md5('f' || i)[:16] as file_id,
    '/data/in/' || i || '.log' as input_file, md5('c' || i) || md5('d' || i) as content_hash, 0 as generation, 7 as rows,
    0 as quarantined, make_timestamp($start + i) as committed_at, i as sequence, true as is_live,
    make_timestamp($start + i) as live_since, i as live_since_seq
from range($jobs) t(i) where i % $failed <> 0
"""
_PAST_CONTENTS = """
insert into cf_processed_contents by name
select $parser as parser, md5('f' || i)[:16] as file_id, md5('c' || i) || md5('d' || i) as content_hash,
    md5('j' || i)[:16] as job_id, i as as_of_seq, i as since_seq
from range($jobs) t(i) where i % $failed <> 0
"""
_PAST_PARTS = """
insert into cf_output_parts by name
select $output as output, 1 as version, 'data' as kind, 'outputs/rows/v1/part-' || md5('j' || i)[:16] as path,
    md5('j' || i)[:16] as job_id, 7 as rows, 70 as bytes, $parser as parser, false as is_damaged, i as sequence,
    repeat('c', 64) as contract_hash, false as has_raw_encoding
from range($jobs) t(i) where i % $failed <> 0
"""


def with_past(path: Path, jobs: int) -> Projection:
    """Tables with this many ended jobs, one in a hundred an open failure, with their files and commits."""
    projection = Projection(path, lambda _digest: b"{}", "bench")
    db = projection._db
    given = {
        "jobs": jobs, "failed": _FAILED, "parser": _PARSER, "version": _VERSION, "topic": _PARSER, "output": _OUTPUT,
        "start": _START_US, "waiting": _WAITING_FILES,
    }  # fmt: skip
    done = ("cf_settled_jobs", "COMPLETED"), ("cf_unsettled_jobs", "FAILED")
    for table, status in done:
        _fill(projection, _PAST_JOBS.format(table=table), {**given, "status": status})
    for sql in (_PAST_FILES, _PAST_COMMITS, _PAST_CONTENTS, _PAST_PARTS):
        _fill(projection, sql, given)
    db.execute("checkpoint")
    return projection


def _fill(projection: Projection, sql: str, given: dict[str, object]) -> None:
    projection._db.execute(sql, {name: value for name, value in given.items() if f"${name}" in sql})


class Applied(NamedTuple):
    """The times of one batch, in milliseconds."""

    wall: float
    cpu: float


class Lives:
    """New jobs, event by event, in batches as a projector gets them."""

    def __init__(self, projection: Projection, past_jobs: int) -> None:
        self._projection = projection
        self._next = past_jobs
        self._seq = 10_000_000
        self._batches = 0

    def as_they_come(self, lives: int) -> list[Applied]:
        """Apply this many complete jobs, with a batch for each step of each job."""
        return [self._apply(batch) for _ in range(lives) for batch in self._steps()]

    def at_once(self, lives: int) -> Applied:
        """Apply this many complete jobs in one batch."""
        return self._apply([event for _ in range(lives) for batch in self._steps() for event in batch])

    def _steps(self) -> Iterator[list[LogRecord]]:
        spec = _spec(self._next)
        self._next += 1
        yield [self._event(JobQueued(job=spec))]
        epoch = self._seq + 1
        leased = JobLeased(job_id=spec.job_id, worker_id="w", attempt=1, sandbox="none")
        yield [self._event(leased), self._event(JobStarted(job_id=spec.job_id, epoch=epoch, guest_pid=9))]
        committed = JobOutputsCommitted(
            job_id=spec.job_id, epoch=epoch, manifest=_MANIFEST, versions={_OUTPUT: 1}, rows=7, quarantined=0, skipped=0,
            seconds=0.1, part_names=1,
        )  # fmt: skip
        yield [self._event(committed)]
        completed = JobCompleted(
            job_id=spec.job_id, epoch=epoch, status=JobState.COMPLETED, rows=7, quarantined=0, skipped=0, seconds=0.1,
            damaged=(),
        )  # fmt: skip
        yield [self._event(completed)]

    def _event(self, fact: Event) -> LogRecord:
        self._seq += 1
        about = fact.about
        return LogRecord(self._seq, _START_US + self._seq, about.name, about.version, "sentinel", fact.to_data())

    def _apply(self, events: Sequence[LogRecord]) -> Applied:
        self._batches += 1
        head = Head(Position(1, self._batches), self._batches, events[-1].seq, bytes(32))
        began, cpu_began = time.perf_counter(), time.process_time()
        self._projection.apply(events, head)
        return Applied((time.perf_counter() - began) * 1000, (time.process_time() - cpu_began) * 1000)


_MANIFEST = Manifest(
    files=[
        StagedFile(name=f"data.{_OUTPUT}.0.parquet", kind="data", output=_OUTPUT, rows=7, bytes=70, digest="d" * 64)
    ],
    outputs={
        _OUTPUT: OutputAccounting(status="success", received=7, valid=7, quarantined=0, contract_hash=_HASH),
    },
    source_hash="e" * 64,
)


def _spec(number: int) -> JobSpec:
    """The job of a waiting file of `with_past`."""

    def name(what: str) -> str:
        return hashlib.md5(f"{what}{number}".encode(), usedforsecurity=False).hexdigest()

    source = JobInput(
        path=f"/data/in/{number}.log", file_id=name("f")[:16], content_hash=name("c") + name("d"), size=10
    )
    work = ParseWork(
        parser=_PARSER, parser_version=_VERSION, input=source, artifact="a" * 64, contracts={_OUTPUT: _HASH},
        output_versions={_OUTPUT: 1}, tag=_PARSER,
    )  # fmt: skip
    return JobSpec(job_id=f"{number:016x}", key=f"key-{number}", work=work, queued_at=_START_US)


def write_past(home: Home, jobs: int) -> None:
    """Write a log of this many ended jobs, and the snapshot of a clean stop."""
    fs = RealFs()
    make_home(home)
    writer, _recovery = LogWriter.open(fs, home.log, reserve_bytes=0)
    facts = []
    template = JobQueued(job=_spec(0)).to_data()["job"]
    for number in range(jobs):
        job_id = f"{number:016x}"
        job = {**template, "job_id": job_id, "key": job_id}
        cancelled = JobCancelled(job_id=job_id, reason="bench")
        facts.append((_START_US, "JobQueued", JobQueued.about.version, "bench", {"job": job}))
        facts.append((_START_US, "JobCancelled", JobCancelled.about.version, "bench", cancelled.to_data()))
        if len(facts) >= _FACTS_A_BATCH:
            writer.append(facts)
            facts = []
    if facts:
        writer.append(facts)
    writer.close(seal=True)
    booted = boot_home(home, Settings(), fs)
    booted.state.prune_recent_keys(booted.state.seq)  # as a daemon with up-to-date tables does
    write_snapshot(fs, home.snapshot_file, pack_snapshot(booted.state, booted.log.chain_id), booted.log.durable)
    booted.log.close(seal=True)


def boot_seconds(home: Home) -> float:
    """The seconds of recovery with the snapshot."""
    began = time.perf_counter()
    booted = boot_home(home, Settings(), RealFs())
    took = time.perf_counter() - began
    booted.log.close(seal=True)
    return took


def least_cpu(batches: Sequence[Applied]) -> float:
    """The mean over the steps of the fastest batch, in milliseconds of processor time; `batches` are complete jobs."""
    return statistics.mean(min(each.cpu for each in batches[step::_STEPS]) for step in range(_STEPS))


def _groups_ms(projection: Projection) -> float:
    began = time.perf_counter()
    projection.ask(JobGroups())
    return (time.perf_counter() - began) * 1000


def memory_bytes(projection: Projection) -> int:
    """DuckDB's memory for these tables."""
    found: tuple[int] = projection._db.execute(
        "select sum(memory_usage_bytes)::bigint from duckdb_memory()"
    ).fetchall()[0]
    return found[0]


class _Past:
    """The tables and the log of one case, created on its first run."""

    def __init__(self, scratch: Path, jobs: int) -> None:
        self._folder = scratch / f"past-{jobs}"
        self._jobs = jobs
        self._projection: Projection | None = None
        self._lives: Lives | None = None

    def sample(self) -> Sample:
        if self._projection is None or self._lives is None:
            self._folder.mkdir()
            self._projection = with_past(self._folder / "state.duckdb", self._jobs)
            self._lives = Lives(self._projection, self._jobs)
            write_past(Home(self._folder / "home"), self._jobs)
        batches = self._lives.as_they_come(25)
        file = self._folder / "state.duckdb"
        return Sample(
            {
                "batch": statistics.median(each.wall for each in batches),
                "least batch": least_cpu(batches),
                "worst batch": max(each.wall for each in batches),
                "a hundred": min(self._lives.at_once(100).wall for _ in range(_TRIES)),
                "groups": min(_groups_ms(self._projection) for _ in range(_TRIES)),
                "boot": min(boot_seconds(Home(self._folder / "home")) for _ in range(_TRIES)),
                "memory": memory_bytes(self._projection) / _MIB,
                "file": file.stat().st_size / _MIB,
            },
            {"jobs": self._jobs},
        )


def _prepare(setting: Setting) -> list[Case]:
    most = setting.sizes["jobs"]
    sizes = [size for size in (1_000, 10_000, 100_000, 1_000_000) if size < most]
    return [
        Case("casparian" if jobs == most else f"{jobs:,} jobs", "casparian", _Past(setting.scratch, jobs).sample)
        for jobs in (most, *reversed(sizes))
    ]


# --- the growth as a picture

#: The figures in the picture: name → title.
_SHOWN = {
    "least batch": "applying a batch: processor time, ms",
    "a hundred": "a hundred whole lives in a batch, ms",
    "groups": "the console's first query, ms",
    "boot": "boot from a snapshot, s",
    "memory": "memory of the tables, MiB",
    "file": "the tables on disk, MiB",
}


def growth(document: dict[str, Any]) -> str:
    """Each figure over the number of ended jobs."""
    cases = sorted(
        (case for case in document["cases"] if case.get("samples")),
        key=lambda case: case["samples"][0]["facts"]["jobs"],
    )
    jobs = [case["samples"][0]["facts"]["jobs"] for case in cases]
    return panels([Panel(title, jobs, [case["median"][name] for case in cases]) for name, title in _SHOWN.items()])


SCALE = Benchmark(
    name="scale",
    row=12,
    title="a long history: applying a batch, boot, groups",
    figures=(
        Figure("batch", "ms", is_higher_better=False, digits=2),
        Figure("least batch", "ms", is_higher_better=False, digits=2),
        Figure("worst batch", "ms", is_higher_better=False, digits=1),
        Figure("a hundred", "ms", is_higher_better=False),
        Figure("groups", "ms", is_higher_better=False),
        Figure("boot", "s", is_higher_better=False, digits=3),
        Figure("memory", "MiB", is_higher_better=False),
        Figure("file", "MiB", is_higher_better=False),
    ),
    sizes=(Size("--jobs", 1_000_000, "ended jobs of the largest case"),),
    prepare=_prepare,
    targets=(
        Target("a batch is applied in 10 ms, whatever the history", "least batch", at_most=10.0),
        Target("boot takes 1 s, whatever the history", "boot", at_most=1.0),
    ),
    notes=("casparian is the case with the most jobs; the others show the growth",),
    plot=growth,
)
