"""The process of one query, from its caller's side: started before the query is known, given one order, ended.

This module imports no library, so that a command can start the process first and load its own libraries at the same time. A
process never runs a second query. `confined` is its program; `ask` judges the query and reads the answer.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casparian_protocol.home import Home

#: The prefix of scratch directories in the temporary directory, followed by the caller's pid.
SCRATCH_PREFIX = "casparian-sql-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Everything that the process may access: the first line of stdin, sent before the query. It gives up the rest at once."""

    #: `catalog.duckdb`, linked in a readable directory that no commit changes; the link is made when the order is known.
    catalog: str
    #: The directories with published files.
    directories: list[str]
    #: The directory that the process may write, where state tables are put.
    scratch: str
    #: The process ends when this process ends.
    asker_pid: int

    @classmethod
    def from_json(cls, text: str) -> Ground:
        return cls(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One query to run, and its limits: the rest of stdin."""

    sql: str
    #: Views of the catalog that may be read, in lower case.
    names: list[str]
    #: state table → a file of Arrow IPC with its rows.
    tables: dict[str, str]
    #: The file in the scratch directory for the answer.
    answer: str
    memory_bytes: int
    answer_bytes: int
    spill_bytes: int
    #: None means all rows.
    limit_rows: int | None

    @classmethod
    def from_json(cls, text: str) -> Order:
        return cls(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class QueryProcess:
    """A context manager; when it ends, the process and its directories are gone."""

    def __init__(self, home: Home) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix=f"{SCRATCH_PREFIX}{os.getpid()}-"))
        self._pinned = home.run / f"sql-{os.getpid()}-{secrets.token_hex(4)}" / home.catalog_db.name
        self._directories = [home.outputs, home.quarantine, *([home.empties] if home.empties is not None else [])]
        self._granted = _identities(self._directories)
        self._child: subprocess.Popen[bytes] | None = None
        try:
            self._pinned.parent.mkdir(mode=0o700, parents=True)
            self._child = self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> QueryProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    @property
    def is_fit(self) -> bool:
        """Whether it still waits for its order, and its directories are still the ones that it was granted."""
        is_waiting = self._child is not None and self._child.poll() is None
        return is_waiting and self.scratch.is_dir() and self._granted == _identities(self._directories)

    def pin(self, catalog: Path) -> None:
        """Give the process the current catalog: a commit replaces the file, not this link. Raises `FileNotFoundError`."""
        self._pinned.hardlink_to(catalog)

    def run(self, order: Order, timeout_seconds: float) -> tuple[int, bytes]:
        """Its exit status and its stderr. Raises `subprocess.TimeoutExpired` if it ran out of time."""
        assert self._child is not None
        try:
            _out, stderr = self._child.communicate(order.to_json().encode(), timeout_seconds)
        finally:
            self._child.kill()  # no effect if it has ended; otherwise it was too slow, or the caller was interrupted
        return self._child.wait(), stderr

    def close(self) -> None:
        if self._child is not None:
            with suppress(BrokenPipeError), self._child:  # an order that it did not read is still in the pipe's buffer
                self._child.kill()
        self._pinned.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            self._pinned.parent.rmdir()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _start(self) -> subprocess.Popen[bytes]:
        ground = Ground(
            catalog=str(self._pinned),
            directories=[str(directory) for directory in self._directories],
            scratch=str(self.scratch),
            asker_pid=os.getpid(),
        )
        child = subprocess.Popen(
            [sys.executable, "-I", "-m", "casparian_sentinel.sql.confined"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"},
            cwd="/",
        )
        assert child.stdin is not None
        with suppress(BrokenPipeError):  # it already ended, and `run` returns its stderr
            child.stdin.write(ground.to_json().encode() + b"\n")
            child.stdin.flush()
        return child


def _identities(directories: list[Path]) -> list[tuple[int, int] | None]:
    """The identities of the directories behind these paths: access is granted to a directory, not to its name."""
    found: list[tuple[int, int] | None] = []
    for directory in directories:
        try:
            status = directory.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino))
    return found
