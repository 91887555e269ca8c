"""Calls of the command line: in this process, and as a user's shell makes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from casparian.main import casparian, run


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call ended with."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class Caller:
    """Calls commands on one home, in this process."""

    def __init__(self, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capfd = capfd

    def __call__(self, *arguments: str) -> Answer:
        self._capfd.readouterr()
        code = run(casparian, ["--home", str(self.home), *arguments])
        out, err = self._capfd.readouterr()
        return Answer(int(code), out, err)


def call_process(home: Path, *arguments: str, columns: int = 80) -> Answer:
    """The same in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "casparian", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": str(columns)},
        timeout=60,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def longest_line(text: str) -> int:
    return max(map(len, text.splitlines()), default=0)
