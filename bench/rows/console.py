"""Row 11: the console on a pseudo-terminal with a real daemon: the time until an event and a key are on the screen, its load at
rest, and the time of a query that a prepared command answers.

The clock of an event starts before the request that causes it, that of a key before it is written to the terminal; both end
when the frame that shows it was written. All output of the console is read, as by a terminal. A query's clock runs from before
it is written to the command until the command has ended; the bare case is DuckDB and Python alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import select
import shutil
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psutil

from bench.children import ROOT, own_environment
from bench.measure import Benchmark, Case, Figure, Sample, Setting, Size, Target
from bench.stamps import percentile
from bench.world import daemon, end, new_home, pretend_files, queue_no_op, register_no_op
from casparian_protocol.client import Client
from casparian_protocol.home import Home

COLUMNS, ROWS = 200, 60
_PATIENCE_SECONDS = 120.0
_LOOK_SECONDS = 0.3
_EVENT, _EVENT_TAIL = "event p50", "event p99"
_KEY, _KEY_TAIL = "key p50", "key p99"
_REST = "at rest"
_ROWS, _ROWS_RATIO = "rows p50", "rows / bare"
#: The console's query for a table's first page.
_PAGE = "select range as n, range::varchar as text, range * 1.5 as price from range(100000) limit 501"
_BARE = "import duckdb; duckdb.sql({!r}).to_arrow_table()"
#: Keys that go to Jobs and open the only group, so that every job is a row.
_OPEN = (b"\x1bj", b" ")
#: Keys that move the cursor in a list.
_KEYS = (b"j", b"j", b"k", b"\x1b[6~", b"j", b"G", b"k", b"g")


def measure(scratch: Path, *, jobs: int, events: int, keys: int, rest_seconds: int, queries: int) -> dict[str, Any]:
    """All figures with `jobs` waiting jobs in the list."""
    home = new_home(scratch / "home")
    try:
        with daemon(home, 0) as client:
            register_no_op(client, home, scratch)
            pretend_files(client, home, scratch / "files", jobs)
            queue_no_op(client, scratch / "files")
            with _console(home, scratch / "stamps.json") as console:
                console.settle()
                rest = console.cpu_percent(rest_seconds)
                caused = list(_cause(client, events))
                for key in _OPEN:
                    console.write(key)
                    console.settle()
                pressed = list(_press(console, keys))
                rss_bytes = console.process.memory_info().rss
            asked, bare = zip(*(_ask(home) for _ in range(queries)), strict=True)
            stamps = json.loads((scratch / "stamps.json").read_text(encoding="utf-8"))
        shown = [_first(stamps, began, 1, seq) for began, seq in caused]
        answered = [_first(stamps, began, 2, number) for began, number in pressed]
        return {
            "event": _milliseconds(shown),
            "key": _milliseconds(answered),
            "idle_percent": rest,
            "rows": _milliseconds(asked),
            "bare": _milliseconds(bare),
            "frames": len(stamps),
            "peak_rss_bytes": rss_bytes,
        }
    finally:
        shutil.rmtree(scratch)


def _cause(client: Client, events: int) -> Iterator[tuple[float, int]]:
    """Cause events by pausing and resuming a parser. Returns (time before, sequence of the event)."""
    pace = random.Random(7)
    seq = int(client.request("ping")["seq"])
    for number in range(events):
        time.sleep(pace.uniform(0.06, 0.25))
        began = time.monotonic()
        client.request(
            "resume" if number % 2 else "pause",
            {"parser": "no_op", "reason": "bench"} if not number % 2 else {"parser": "no_op"},
        )
        seq += 1
        yield began, seq
    if int(client.request("ping")["seq"]) != seq:
        raise RuntimeError("other events came between those that were caused")


def _press(console: _Console, keys: int) -> Iterator[tuple[float, int]]:
    """Press keys. Returns (time before, number of keys so far)."""
    pace = random.Random(11)
    for number in range(keys):
        time.sleep(pace.uniform(0.03, 0.1))
        began = time.monotonic()
        console.write(_KEYS[number % len(_KEYS)])
        yield began, number + 1 + len(_OPEN)


def _ask(home: Home) -> tuple[float, float]:
    """The seconds of one query by a waiting command, and by a new Python process with DuckDB alone."""
    command = [sys.executable, "-m", "casparian", "--home", str(home.root), "sql", "--format", "arrays", "--warm", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=own_environment()) as child:
        _await_rest(psutil.Process(child.pid))
        began = time.monotonic()
        told, _ = child.communicate(json.dumps({"sql": _PAGE, "limit": 501}).encode() + b"\n", _PATIENCE_SECONDS)
        asked = time.monotonic() - began
    if child.returncode or len(told.splitlines()) != 502:
        raise RuntimeError(f"the query ended with {child.returncode} and {len(told.splitlines())} lines")
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", _BARE.format(_PAGE)], check=True, env=own_environment())
    return asked, time.monotonic() - began


def _await_rest(command: psutil.Process) -> None:
    """Wait until the command and its child are idle and wait for a query."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    before = -1.0
    while time.monotonic() < deadline:
        processes = [command, *command.children()]
        spent = sum(sum(process.cpu_times()[:2]) for process in processes)
        is_waiting = all(process.status() == psutil.STATUS_SLEEPING for process in processes)
        if len(processes) == 2 and is_waiting and spent == before:
            return
        before = spent
        time.sleep(_LOOK_SECONDS)
    raise RuntimeError("the command that waits for a query never came to rest")


def _first(stamps: Sequence[tuple[float, int, int]], began: float, which: int, least: float) -> float:
    """The time from `began` to the first frame that shows as much."""
    for stamp in stamps:
        if stamp[which] >= least and stamp[0] >= began:
            return stamp[0] - began
    raise RuntimeError("the console never showed it")


def _milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    values = [each * 1000 for each in seconds]
    return {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "worst": max(values)}


class _Console:
    """A console in a process of its own, on a pseudo-terminal whose output is read."""

    def __init__(self, home: Home, stamps: Path) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        command = [sys.executable, "-m", "bench.programs.console_watched"]
        command += [json.dumps({"home": str(home.root), "stamps": str(stamps)})]
        environment = {**own_environment(), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        self._child = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=ROOT, start_new_session=True
        )
        os.close(slave)
        self.process = psutil.Process(self._child.pid)
        self._read_at = time.monotonic()
        self._last = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def write(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def settle(self) -> None:
        """Wait until the console has drawn its frame and is idle, so that all its answers have arrived."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.cpu_percent(_LOOK_SECONDS) > 5.0 or not self._last:
            if time.monotonic() > deadline or self._child.poll() is not None:
                raise RuntimeError(f"the console did not settle: {self._last[-500:]!r}")

    def cpu_percent(self, seconds: float) -> float:
        before = self.process.cpu_times()
        time.sleep(seconds)
        after = self.process.cpu_times()
        return float(100 * (after.user + after.system - before.user - before.system) / seconds)

    def quit(self) -> None:
        self.write(b"\x03")
        status = self._child.wait(_PATIENCE_SECONDS)
        if status:
            raise RuntimeError(f"the console ended with {status}: {self._last[-500:]!r}")

    def close(self) -> None:
        end(self._child)
        self._reader.join()
        os.close(self._master)

    def _read(self) -> None:
        while True:
            readable, _, _ = select.select([self._master], [], [], 0.2)
            if readable:
                try:
                    self._last = os.read(self._master, 65_536) or self._last
                except OSError:
                    return
            elif self._child.poll() is not None:
                return


@contextmanager
def _console(home: Home, stamps: Path) -> Iterator[_Console]:
    console = _Console(home, stamps)
    try:
        yield console
        console.quit()
    finally:
        console.close()


def _prepare(setting: Setting) -> Sequence[Case]:
    sizes = setting.sizes

    def ours() -> Sample:
        scratch = Path(mkdtemp(dir=setting.scratch))
        found = measure(
            scratch,
            jobs=sizes["jobs"],
            events=sizes["events"],
            keys=sizes["keys"],
            rest_seconds=sizes["rest"],
            queries=sizes["queries"],
        )
        figures = {
            _EVENT_TAIL: found["event"]["p99"],
            _EVENT: found["event"]["p50"],
            _KEY_TAIL: found["key"]["p99"],
            _KEY: found["key"]["p50"],
            _REST: found["idle_percent"],
            _ROWS: found["rows"]["p50"],
            _ROWS_RATIO: found["rows"]["p50"] / found["bare"]["p50"],
        }
        return Sample(figures, found)

    return [Case("casparian", "casparian", ours)]


CONSOLE = Benchmark(
    name="console",
    row=11,
    title="the console at 200×60 on a pseudo-terminal beside a real daemon, all jobs in its list",
    figures=[
        Figure(_EVENT_TAIL, "ms", is_higher_better=False, digits=1),
        Figure(_EVENT, "ms", is_higher_better=False, digits=1),
        Figure(_KEY_TAIL, "ms", is_higher_better=False, digits=1),
        Figure(_KEY, "ms", is_higher_better=False, digits=1),
        Figure(_REST, "% CPU", is_higher_better=False, digits=2),
        Figure(_ROWS, "ms", is_higher_better=False, digits=0),
        Figure(_ROWS_RATIO, "×", is_higher_better=False, digits=2),
    ],
    sizes=[
        Size("--jobs", 100_000, "jobs in the list"),
        Size("--events", 100, "events, one after another"),
        Size("--keys", 200, "keys, one after another"),
        Size("--rest", 5, "seconds at rest"),
        Size("--queries", 15, "queries, one after another"),
    ],
    prepare=_prepare,
    targets=[
        Target("an event is on the screen within 100 ms (p99)", _EVENT_TAIL, at_most=100.0),
        Target("a key is answered within 16 ms (median)", _KEY, at_most=16.0),
        Target("a key is answered within 16 ms (p99)", _KEY_TAIL, at_most=16.0),
        Target("less than 1 % of a core at rest", _REST, at_most=1.0),
        Target("the rows of a query are there within 150 ms (median)", _ROWS, at_most=150.0),
    ],
    notes=[
        "An event's time includes the request that causes it and the sync before its reply: about a millisecond.",
        "Bare: a Python that starts, loads DuckDB and asks it the same query, without a home, limits or confinement.",
    ],
)
