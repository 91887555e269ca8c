"""Programs that are measured from outside: started fresh, answered by one line of JSON, their memory and CPU known.

A program gets its arguments as JSON in `argv[1]` and prints its answer as the last line of its standard output. What it
times, it times itself, after its imports. No program outlives the benchmark.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_PATIENCE_SECONDS = 600.0


class ChildFailed(Exception):
    """A measured program ended badly; the last words it said."""


@dataclass(frozen=True, slots=True)
class Answer:
    values: dict[str, Any]
    wall_seconds: float
    #: Of the program itself and the children it waited for.
    cpu_seconds: float
    #: Of the largest single process among them.
    peak_rss_bytes: int


def own_environment() -> dict[str, str]:
    """For programs that use the project's packages and `bench` itself."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def peer_environment() -> dict[str, str]:
    """For programs in the peers' environment: of ours, only what needs nothing but Python can be imported."""
    return {**{name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}, "PYTHONPATH": str(ROOT)}


def run_own(module: str, arguments: Mapping[str, Any]) -> Answer:
    """Run `python -m MODULE` with the project's Python."""
    return _run([sys.executable, "-m", module, json.dumps(arguments)], own_environment())


def run_peer(python: Path, module: str, arguments: Mapping[str, Any]) -> Answer:
    """Run `python -m MODULE` with the peers' Python."""
    return _run([str(python), "-m", module, json.dumps(arguments)], peer_environment())


def _run(command: Sequence[str], environment: dict[str, str]) -> Answer:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with subprocess.Popen(
            command, stdout=out, stderr=err, env=environment, cwd=ROOT, start_new_session=True
        ) as child:
            status, usage, wall_seconds = _wait(child)
        out.seek(0)
        err.seek(0)
        said = out.read().decode(errors="replace").splitlines()
        if status != 0 or not said:
            words = err.read().decode(errors="replace").splitlines()
            raise ChildFailed(f"{command[-2]} ended with {status}: {(words or ['it said nothing'])[-1]}")
    return Answer(json.loads(said[-1]), wall_seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def _wait(child: subprocess.Popen[bytes]) -> tuple[int, Any, float]:
    """Exit status, resources used and seconds; the whole group is killed when patience or the user ends it."""
    began = time.perf_counter()
    pidfd = os.pidfd_open(child.pid)
    try:
        if not select.select([pidfd], [], [], _PATIENCE_SECONDS)[0]:
            raise ChildFailed(f"{child.args!r} took longer than {_PATIENCE_SECONDS:.0f} s")
        wall_seconds = time.perf_counter() - began
        _pid, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        return child.returncode, usage, wall_seconds
    except BaseException:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
        raise
    finally:
        os.close(pidfd)
