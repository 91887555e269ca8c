"""Programs that are measured from outside, and the environment for the packages of peers.

A program gets its arguments as JSON in `argv[1]` and prints its answer as the last line of its standard output. It measures time
itself, after its imports. No program outlives the benchmark. Packages of peers are installed into a virtual environment below the
scratch directory, which is removed; pip's own configuration chooses the index.
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
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_PATIENCE_SECONDS = 600.0


class ChildFailed(Exception):
    """A measured program failed; the message has its last output."""


@dataclass(frozen=True, slots=True)
class Answer:
    values: dict[str, Any]
    wall_seconds: float
    #: CPU seconds of the program and the children it waited for.
    cpu_seconds: float
    #: The peak memory of the largest process among them.
    peak_rss_bytes: int


def own_environment() -> dict[str, str]:
    """The environment for programs that use the project's packages and `bench`."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def peer_environment() -> dict[str, str]:
    """The environment for programs of peers, which can import only modules of ours that need nothing but Python."""
    return {**{name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}, "PYTHONPATH": str(ROOT)}


def run_own(module: str, arguments: Mapping[str, Any], *, more: Mapping[str, str] | None = None) -> Answer:
    """Run `python -m MODULE` with the project's Python, and `more` variables in its environment."""
    return _run([sys.executable, "-m", module, json.dumps(arguments)], {**own_environment(), **(more or {})})


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
            raise ChildFailed(f"{command[-2]} ended with {status}: {(words or ['it printed nothing'])[-1]}")
    return Answer(json.loads(said[-1]), wall_seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def _wait(child: subprocess.Popen[bytes]) -> tuple[int, Any, float]:
    """The exit status, resources used and seconds. The whole process group is killed after a time limit or an interrupt."""
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


def require_counts(values: Mapping[str, Any], *, valid: int, bad: int) -> None:
    """Check that a case found the rows that the generator made; otherwise its result does not count."""
    found = (values["valid"], values["bad"])
    if found != (valid, bad):
        raise ChildFailed(f"found {found[0]} valid and {found[1]} bad rows where there are {valid} and {bad}")


# --- the peers' environment -------------------------------------------------------------------------------------------


_INSTALL_SECONDS = 180.0


class Unavailable(Exception):
    """A case cannot run here (its program cannot be installed); the reason goes into the report."""


class PeerEnvironment:
    """The environment of the peers, created on first use; the installation of each package is tried once."""

    def __init__(self, directory: Path, *, is_wanted: bool = True) -> None:
        self._directory = directory
        self._is_wanted = is_wanted
        self._problems: dict[tuple[str, ...], str] = {}

    @property
    def python(self) -> Path:
        return self._directory / "bin" / "python"

    def require(self, *packages: str) -> Path:
        """The environment's Python with these packages installed. Raises `Unavailable` if they cannot be installed."""
        if not self._is_wanted:
            raise Unavailable("peers are switched off (--no-peers)")
        if packages not in self._problems:
            self._problems[packages] = self._install(packages)
        if problem := self._problems[packages]:
            raise Unavailable(f"{' '.join(packages)} cannot be installed: {problem}")
        return self.python

    def versions(self) -> dict[str, str]:
        """The installed packages with their versions."""
        if not self.python.exists():
            return {}
        listed = subprocess.run(
            [str(self.python), "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=False
        )
        pairs = (line.partition("==") for line in listed.stdout.splitlines())
        return {name: version for name, found, version in pairs if found}

    def _install(self, packages: Sequence[str]) -> str:
        """Install packages. Returns the reason of a failure; empty on success."""
        print(f"installing {' '.join(packages)} …", file=sys.stderr)
        if not self.python.exists():
            venv.create(self._directory, with_pip=True)
        command = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return f"pip took longer than {_INSTALL_SECONDS:.0f} s"
        if done.returncode == 0:
            return ""
        words = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        return (words or [f"pip ended with {done.returncode}"])[-1]
