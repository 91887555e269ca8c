"""A home, an authored parser and the real command line, for tests from end to end: nothing in here is mocked."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from casparian.main import casparian, run
from tests.ending import await_end

ADVICE = '''
"""Payment advices: `id;amount;day` a line. Lines that begin with `!` make trouble for tests."""

import os
import time

name, version, topics = "advice", "{version}", ["advice"]
dependencies = []
outputs = {{"advices": {{"columns": [
    {{"name": "id", "type": "string", "nullable": False}},
    {{"name": "amount", "type": {{"kind": "decimal", "precision": 12, "scale": 2}}, "nullable": False}},
    {{"name": "day", "type": "date"}},
]}}}}


def parse(path, ctx):
    text = ctx.file.read().decode()
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            ctx.skip("comment")
        elif line == "!boom":
            {on_boom}
        elif line.startswith("!sleep "):
            ctx.skip("pause")
            time.sleep(float(line.split()[1]))
        elif line == "!grow":
            ctx.skip("pause")
            deadline = time.monotonic() + 60
            while "!grown" not in text and os.path.getsize(path) == len(text) and time.monotonic() < deadline:
                time.sleep(0.01)
        elif line == "!grown":
            ctx.skip("pause")
        else:
            id, amount, day = line.split(";")
            yield {{"id": id, "amount": amount, "day": day or None, "__cf_row_id": number}}
'''


def advice(version: str = "1.0.0", on_boom: str = 'raise ValueError(f"no idea what line {number} is")') -> str:
    """The source of a version of the parser."""
    return ADVICE.format(version=version, on_boom=on_boom)


def lines(count: int, *, bad: Sequence[int] = (), start: int = 0) -> str:
    """`count` advices; those at `bad` have an amount that is not a decimal."""
    return "".join(
        f"A{start + number};{'1,50' if number in bad else f'{number}.25'};2024-05-{1 + number % 28:02d}\n"
        for number in range(count)
    )


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


@dataclass
class World:
    """One home below `root`, and what is called on it."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    def write(self, name: str, text: str) -> Path:
        self.inbox.mkdir(exist_ok=True)
        path = self.inbox / name
        path.write_text(text)
        return path

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "casparian", "--home", str(self.home), *map(str, arguments)]

    def run(self, *arguments: str | Path, status: int = 0) -> Done:
        """One command, which must end with `status`: here, or in a process of its own where one stays behind."""
        if arguments[0] in ("start", "worker"):
            done = self._run_as_a_process(*arguments)
        else:
            done = run_here("--home", self.home, *arguments)
        assert done.code == status, f"{arguments} ended with {done.code}:\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def _run_as_a_process(self, *arguments: str | Path) -> Done:
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def ask(self, *arguments: str | Path, status: int = 0) -> Any:
        """The one JSON document that a command prints."""
        return json.loads(self.run(*arguments, "--json", status=status).stdout)

    def sql(self, query: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.run("sql", query, "--format", "json").stdout)
        return rows

    def popen(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """A command that runs on, in a session of its own as in a terminal of its own."""
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def register(self, source: str, *, approves: bool = True) -> None:
        path = self.root / "advice.py"
        path.write_text(source)
        self.run("parser", "register", path)
        if approves:
            self.run("contract", "approve", "advice")

    def scan(self) -> None:
        self.run("scan", self.inbox, "--tag", "advice")

    def published(self, output: str = "advices") -> list[Path]:
        return sorted((self.home / "outputs" / output).glob("v*/part-*.parquet"))

    def daemon_pid(self) -> int:
        return int((self.home / "run" / "sentinel.pid").read_text())

    def processes(self) -> list[psutil.Process]:
        """Everything that runs on this home, guests included (their directory or bundle lies in it)."""
        found = []
        for one in psutil.process_iter():
            try:
                words = [*one.cmdline(), one.cwd()]
            except psutil.Error:
                continue
            if one.pid != os.getpid() and any(str(self.home) in word for word in words):
                found.append(one)
        return found

    def assert_nothing_runs(self) -> None:
        """Within a moment: the kernel ends guests with their workers, and workers notice that the sentinel is gone."""
        deadline = time.monotonic() + 20
        while running := self.processes():
            assert time.monotonic() < deadline, running
            await_end([process.pid for process in running])

    def assert_at_rest(self, *folders: str) -> None:
        """No process, a sound log, and nothing in these folders (default: no staging, no scratch)."""
        self.assert_nothing_runs()
        assert [path for name in folders or (".staging", ".scratch") for path in (self.home / name).rglob("*")] == []
        self.run("log", "verify")

    def kill(self, pids: Sequence[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def serve(self, workers: int) -> None:
        """A daemon that queues nothing unasked, so that `process` says how many files it took in."""
        self.run("start", "--detach", "--no-planning", "--workers", str(workers))

    def stop(self) -> None:
        self.run("stop")
        self.assert_at_rest()


def run_here(*arguments: str | Path) -> Done:
    """A command as its function: the same arguments, streams and code, without an interpreter's start."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace") for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        code = run(casparian, [*map(str, arguments)])
    return Done(int(code), _written(out), _written(err))


def _written(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def wait_for(what: Callable[[], bool], why: str, *, seconds: float = 60.0) -> None:
    """Poll what other processes do to files."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"never happened: {why}"
        time.sleep(0.02)
