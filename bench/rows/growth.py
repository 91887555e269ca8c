"""Growth: the same work at four sizes, each ten times the one before. What a file, a job or a row costs should not depend on it.

Four works, each with its own largest size. *Files*: a tagged tree scanned and hashed, and scanned again when nothing has changed.
*Jobs*: no-op jobs planned, the daemon stopped and started while all are open, then run, then counted by `casparian sql`. *Parts*:
published files of one output; ten more jobs are committed and the catalogue is published. *Rows*: one CSV file, parsed, validated
and written. Costs are processor time, which other load distorts least: of the daemon's processes, or, of a query, also of its
command. Memory is the highest resident size of each kind of process. Each work has a daemon and a home of its own.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from bench.data import WITH_PYARROW, write_files, write_trades_parser
from bench.measure import Benchmark, Case, Figure, Sample, Setting, Size, Target
from bench.plots import Panel, panels
from bench.rows.scale import Lives, with_past
from bench.rows.scan import write_tree
from bench.stamps import Stamps
from bench.world import (
    Peaks,
    bus_workers,
    casparian,
    cpu_seconds_of,
    daemon,
    end,
    new_home,
    pretend_files,
    queue_no_op,
    register,
    register_no_op,
    sentinel_pid,
    start_daemon,
    tree_cpu_seconds,
    wait_for_tables,
    wait_until_idle,
)
from casparian_protocol.client import Client
from casparian_protocol.home import Home
from casparian_sentinel.projection.projector import publish_output_views

#: The sizes of a work, as fractions of the largest.
_STEPS = (1_000, 100, 10, 1)
_PATIENCE_SECONDS = 900.0
_LOOK_SECONDS = 0.1
_NEW_JOBS = 10
_TRIES = 3
_MICRO, _MILLI = 1e6, 1e3


def _seq(client: Client) -> int:
    return int(client.request("ping")["seq"])


def _memory(peaks: Peaks) -> dict[str, float]:
    return {role: size for role, size in peaks.mib().items() if role != "other"}


def _spent_by_command(home: Home, sql: str) -> float:
    """The CPU milliseconds of one query: of its command with the process that runs it, and of the daemon."""
    before = _children_seconds() + tree_cpu_seconds(home)
    casparian(home, ["sql", sql])
    return (_children_seconds() + tree_cpu_seconds(home) - before) * _MILLI


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def files(scratch: Path, count: int) -> dict[str, float]:
    tree, home = scratch / "tree", new_home(scratch / "home")
    write_tree(tree, count)
    with daemon(home, 1) as client, Peaks(home) as peaks:
        spent: list[float] = []
        for _ in range(2):
            before = tree_cpu_seconds(home)
            casparian(home, ["scan", str(tree), "--tag", "bench"])
            wait_for_tables(client, _seq(client))
            spent.append((tree_cpu_seconds(home) - before) / count * _MICRO)
    return {"cost": spent[0], "again": spent[1], **_memory(peaks)}


def jobs(scratch: Path, count: int) -> dict[str, float]:
    home, _bodies, committed = new_home(scratch / "home"), Stamps(scratch / "bodies"), Stamps(scratch / "committed")
    with _daemon(home) as (child, client), Peaks(home) as peaks:
        register_no_op(client, home, scratch)
        pretend_files(client, home, scratch / "files", count)
        before = tree_cpu_seconds(home)
        if queue_no_op(client, scratch / "files") != count:
            raise RuntimeError("not all files were queued")
        wait_for_tables(client, _seq(client))
        planned = tree_cpu_seconds(home) - before
        while_open = _memory(peaks)
        stopping, stopping_cpu = _stopped(home, child)
    began = time.perf_counter()
    with _daemon(home) as (_child, client), Peaks(home) as peaks:
        starting = time.perf_counter() - began
        starting_cpu = cpu_seconds_of(sentinel_pid(home))
        before = tree_cpu_seconds(home)
        with bus_workers(home, scratch / "bodies", 2):
            committed.wait(count, _PATIENCE_SECONDS)
            wait_until_idle(client, _LOOK_SECONDS)
            wait_for_tables(client, _seq(client))
        ran = tree_cpu_seconds(home) - before
        counting = min(_spent_by_command(home, "select count(*) from cf_processing_queue") for _ in range(_TRIES))
    memory = {role: max(size, while_open.get(role, 0.0)) for role, size in _memory(peaks).items()}
    return {
        "cost": ran / count * _MICRO, "plan": planned / count * _MICRO, "count": counting, "stop": stopping,
        "stop cpu": stopping_cpu, "start": starting, "start cpu": starting_cpu, **memory,
    }  # fmt: skip


@contextmanager
def _daemon(home: Home) -> Iterator[tuple[subprocess.Popen[bytes], Client]]:
    """Like `daemon`, but the process may be stopped meanwhile."""
    child = start_daemon(home, 0)
    try:
        with Client.connect(home, actor="user:bench@cli") as client:
            yield child, client
    finally:
        if child.poll() is None:
            end(child)


def _stopped(home: Home, child: subprocess.Popen[bytes]) -> tuple[float, float]:
    """End a daemon; how long it took, and the sentinel's processor time for it."""
    pid = sentinel_pid(home)
    spent, began = cpu_seconds_of(pid), time.perf_counter()
    os.kill(pid, signal.SIGTERM)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # its figures can still be read
    took, spent = time.perf_counter() - began, cpu_seconds_of(pid) - spent
    child.wait()
    return took, spent


def parts(scratch: Path, count: int) -> dict[str, float]:
    """In this process: the tables are filled by SQL, and the parts are copies of one small file."""
    home = new_home(scratch / "home")
    pq.write_table(pa.table({"n": [1]}), scratch / "one.parquet")
    content = (scratch / "one.parquet").read_bytes()

    def put_in_place() -> None:
        for row in projection.query("select path from cf_output_parts").to_pylist():
            path = home.root / row["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_bytes(content)

    with with_past(scratch / "state.duckdb", count) as projection:
        put_in_place()
        first = _spent(lambda: publish_output_views(projection, home, is_sure=False))
        lives = Lives(projection, count)
        publishing = []
        for _ in range(_TRIES):
            lives.at_once(_NEW_JOBS)
            put_in_place()
            publishing.append(_spent(lambda: publish_output_views(projection, home)))
        listed = projection.query("select count(*) as n from cf_output_files where is_live").to_pylist()[0]["n"]
    with duckdb.connect(str(home.catalog_db), read_only=True) as db:
        counting = _spent(lambda: db.execute("select count(*) from rows").fetchall())
        found = db.execute("select count(*) from rows").fetchall()[0][0]
    if found != listed:
        raise RuntimeError(f"the catalogue shows {found} rows where there are {listed}")
    return {"cost": first / count * _MICRO, "publish": min(publishing) * _MILLI, "count": counting * _MILLI}


def _spent(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def rows(scratch: Path, count: int) -> dict[str, float]:
    home = new_home(scratch / "home")
    bad = write_files(scratch / "csv", 1, count, seed=8)
    parser = write_trades_parser(scratch / "parser", WITH_PYARROW)
    with daemon(home, 1) as client, Peaks(home) as peaks:
        register(client, home, parser, "trades")
        casparian(home, ["scan", str(scratch / "csv"), "--tag", "trades"])
        before = tree_cpu_seconds(home)
        client.request("queue", {"parser": "trades"}, timeout_seconds=_PATIENCE_SECONDS)
        wait_until_idle(client, _LOOK_SECONDS)
        spent = tree_cpu_seconds(home) - before
        found = client.query("select sum(rows_valid)::bigint from cf_processing_queue", at_least_seq=_seq(client)).rows
        if found[0][0] != count - bad:
            raise RuntimeError(f"{found[0][0]} rows are valid where there are {count - bad}")
        counting = min(_spent_by_command(home, "select count(*) from trades") for _ in range(_TRIES))
    return {"cost": spent / count * _MICRO, "count": counting, **_memory(peaks)}


_WORKS: Mapping[str, Callable[[Path, int], dict[str, float]]] = {
    "files": files, "jobs": jobs, "parts": parts, "rows": rows,
}  # fmt: skip
_WHOLE = "all"


def _name(work: str, step: int) -> str:
    return f"{work}, {_WHOLE}" if step == 1 else f"{work}, 1/{step:,}"


def _prepare(setting: Setting) -> Sequence[Case]:
    def sampled(work: str, count: int) -> Sample:
        scratch = Path(mkdtemp(dir=setting.scratch))
        try:
            return Sample(_WORKS[work](scratch, count), {"work": work, "size": count})
        finally:
            shutil.rmtree(scratch)

    return [
        Case(
            _name(work, step),
            "casparian",
            partial(sampled, work, count),
            f"{count:,} {work}",
            work=work,
        )
        for work in _WORKS
        for step in _STEPS
        if (count := setting.sizes[work] // step)
    ]


#: What is drawn: the work, the figure and its title.
_SHOWN = (
    ("files", "cost", "a new file, scanned and hashed: CPU µs"),
    ("files", "again", "a file that has not changed: CPU µs"),
    ("files", "projector", "files: memory of the projector, MiB"),
    ("jobs", "plan", "a job, planned: CPU µs"),
    ("jobs", "cost", "a job, run: CPU µs"),
    ("jobs", "count", "jobs: count(*) in SQL, CPU ms"),
    ("jobs", "stop", "stop with all jobs open, s"),
    ("jobs", "start", "start with all jobs open, s"),
    ("jobs", "sentinel", "jobs: memory of the sentinel, MiB"),
    ("jobs", "projector", "jobs: memory of the projector, MiB"),
    ("parts", "publish", "the catalogue after 10 more jobs: CPU ms"),
    ("parts", "cost", "a file of a catalogue built anew: CPU µs"),
    ("parts", "count", "parts: count(*) over all files, CPU ms"),
    ("rows", "cost", "a row: CPU µs"),
    ("rows", "worker", "rows: memory of the worker, MiB"),
    ("rows", "guest", "rows: memory of the guest, MiB"),
)


def growth(document: dict[str, Any]) -> str:
    """Each figure over the size of its work."""
    drawn: list[Panel] = []
    for work, figure, title in _SHOWN:
        found = sorted(
            (case["samples"][0]["facts"]["size"], case["median"][figure])
            for case in document["cases"]
            if case.get("samples") and case["work"] == work and case["median"].get(figure) is not None
        )
        drawn.append(Panel(title, [size for size, _value in found], [value for _size, value in found]))
    return panels(drawn)


def _flat(work: str, figure: str, what: str) -> Target:
    """Ten times as much work costs at most half as much again a unit."""
    against = _name(work, 10)
    return Target(f"{what} costs at most 1.5 times as much with all as with a tenth", figure, at_least=1 / 1.5,
                  against=against, case=_name(work, 1))  # fmt: skip


GROWTH = Benchmark(
    name="growth",
    row=13,
    title="the same work ten times larger, three times: files, jobs, published parts, rows",
    figures=(
        Figure("cost", "CPU µs a unit", is_higher_better=False, digits=1),
        Figure("again", "CPU µs a file again", is_higher_better=False, digits=1),
        Figure("plan", "CPU µs a job planned", is_higher_better=False),
        Figure("publish", "CPU ms a publish", is_higher_better=False),
        Figure("count", "CPU ms count(*)", is_higher_better=False),
        Figure("stop", "s", is_higher_better=False, digits=2),
        Figure("stop cpu", "CPU s of the sentinel", is_higher_better=False, digits=2),
        Figure("start", "s", is_higher_better=False, digits=2),
        Figure("start cpu", "CPU s of the sentinel", is_higher_better=False, digits=2),
        Figure("sentinel", "MiB", is_higher_better=False),
        Figure("projector", "MiB", is_higher_better=False),
        Figure("worker", "MiB", is_higher_better=False),
        Figure("guest", "MiB", is_higher_better=False),
    ),
    sizes=(
        Size("--files", 100_000, "files of the largest tree"),
        Size("--jobs", 100_000, "jobs of the largest queue"),
        Size("--parts", 20_000, "published files of the largest output"),
        Size("--rows", 3_000_000, "rows of the largest file"),
    ),
    prepare=_prepare,
    targets=(
        _flat("files", "cost", "a file"),
        _flat("files", "again", "a file that has not changed"),
        _flat("jobs", "plan", "planning a job"),
        _flat("jobs", "cost", "running a job"),
        _flat("rows", "cost", "a row"),
        _flat("rows", "worker", "memory of a worker"),
    ),
    notes=(
        "A unit of the smallest size carries the fixed costs: compare the two largest.",
        "parts: this process alone publishes; the cost a unit is that of a catalogue built from nothing.",
    ),
    plot=growth,
)
