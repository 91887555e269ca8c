"""Plays a tutorial: writes the files it shows, runs the commands it shows, and puts their true output below each.

`python -m tests.end_to_end.tutorial docs/tutorial/first-table.md` rewrites the page; the test beside compares.
A fence ``` LANGUAGE PATH is a file to write; a fence ```console holds `$ command` lines, each followed by what it printed.
Tables are shown as a terminal of 80 columns shows them, not as a pipe gets them.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

_FENCE = re.compile(r"^```(?P<language>\w+)(?: (?P<path>\S+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_EXPORT = re.compile(r"export (\w+)=(.*)")
#: What differs from run to run, and what stands for it when pages are compared.
_VARIABLE = (
    (re.compile(r"\b[0-9a-f]{8,64}\b"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"\d+\.\d+ s\b"), "SECONDS"),
    (re.compile(r"\b[\d,]+ events\b"), "EVENTS"),  # progress is an event too: how many depends on how long it took
    (re.compile(r"\b[\d,]+ batch(es)?\b"), "BATCHES"),
)


Run = Callable[[str, Path, dict[str, str]], list[str]]


def play(page: str, directory: Path, run: Run | None = None) -> str:
    """The page with the output that its commands have in `directory`; `run` runs one and gives the lines it printed."""
    run = run or _run
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CASPARIAN_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "80",
        "NO_COLOR": "1",
    }

    def played(fence: re.Match[str]) -> str:
        if fence["path"]:
            file = directory / fence["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(fence["body"], encoding="utf-8")
        if fence["language"] != "console":
            return fence[0]
        lines: list[str] = []
        for line in fence["body"].splitlines():
            if line.startswith("$ "):
                lines += [line, *run(line[2:], directory, environment)]
        return "\n".join(["```console", *lines, "```"])

    return _FENCE.sub(played, page)


def without_accidents(page: str) -> str:
    """The page without ids, times, durations and counts of events."""
    for pattern, stand_in in _VARIABLE:
        page = pattern.sub(stand_in, page)
    return page


def _run(command: str, directory: Path, environment: dict[str, str]) -> list[str]:
    if exported := _EXPORT.fullmatch(command):
        environment[exported[1]] = exported[2].replace("$PWD", str(directory))
        return []
    code, printed = (_on_a_terminal if command.startswith("casparian sql ") else _in_a_pipe)(
        ["bash", "-c", command], directory, environment
    )
    assert code == 0, f"{command}: exit {code}\n{printed}"
    return [line.rstrip() for line in printed.replace(str(directory), "…").splitlines()]


def _in_a_pipe(command: list[str], directory: Path, environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


def _on_a_terminal(command: list[str], directory: Path, environment: dict[str, str]) -> tuple[int, str]:
    """The exit code, and what a terminal was sent."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with subprocess.Popen(
        command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        printed = b"".join(_until_closed(ours))
    os.close(ours)
    return process.returncode, printed.decode().replace("\r\n", "\n")


def _until_closed(terminal: int) -> Iterator[bytes]:
    # Linux says that the other end is closed by an error, others by an end of file.
    with contextlib.suppress(OSError):
        while chunk := os.read(terminal, 65536):
            yield chunk


if __name__ == "__main__":
    shown = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as room:
        shown.write_text(play(shown.read_text(encoding="utf-8"), Path(room)), encoding="utf-8")
