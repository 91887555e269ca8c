"""One attempt as a worker makes it: a parser in a file, an input in a file, a real guest, a real home."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from casparian_protocol.contract import Contract
from casparian_protocol.home import Home, make_home
from casparian_protocol.jobs import JobInput, ParseWork
from casparian_protocol.settings import LimitSettings, SandboxSettings, Settings, WarmSettings
from casparian_worker.execute import CancelToken, Failed, Finished, Outcome, WorkerContext
from casparian_worker.execute.run import StreamCounters
from casparian_worker.guest import BASE_ENVIRONMENT, ColdSpawner, Environment, Machine, Spawner, WarmSpawner
from casparian_worker.kinds.parse import ParseTask, execute
from casparian_worker.staging import sync_together

JOB_ID = "0123456789abcdef"
EPOCH = 7
LEASED_AT = 1_700_000_000_000_000
#: A machine without any sandbox: guests may start processes and change files.
BARE = Machine()
ROWS = {"columns": [{"name": "a", "type": "string"}, {"name": "n", "type": "int64"}]}
#: Two busy cores start an interpreter slowly.
START_SECONDS = 20.0


@cache
def warm_spawner(machine: Machine | None) -> WarmSpawner:
    """One for all tests, as a worker has one for all jobs. It ends with this process."""
    return WarmSpawner(WarmSettings(), machine)


def spawner_for(way: str, machine: Machine | None) -> Spawner:
    return warm_spawner(machine) if way == "warm" else ColdSpawner(machine)


#: Ways to start a guest, for tests of how guests behave.
WAYS = ("cold", "warm")


@dataclass
class Desk:
    """A home, a parser and an input."""

    folder: Path
    home: Home = field(init=False)

    def __post_init__(self) -> None:
        self.home = Home(self.folder / "home")
        make_home(self.home)
        (self.folder / "bundle").mkdir()
        self.input = self.folder / "input.txt"
        self.input.write_text("a\nb\n")
        self.limits: dict[str, Any] = {}
        self.policies: dict[str, Any] = {}
        self.contracts: dict[str, Any] = {"rows": ROWS}
        self.params: dict[str, Any] = {}
        #: What guests may use of this machine's sandbox; None: everything.
        self.machine: Machine | None = None
        self.way = "cold"
        self.stop = CancelToken()
        self.counters = StreamCounters()

    def task(self, source: str, *, environment: Environment = BASE_ENVIRONMENT, **changes: Any) -> ParseTask:
        (self.folder / "bundle" / "parser.py").write_text(source)
        digest = blake3(self.input.read_bytes()).hexdigest() if self.input.is_file() else ""
        spec: dict[str, Any] = {
            "input": JobInput(path=str(self.input), content_hash=digest),
            "parser": "p",
            "parser_version": "1.0.0",
            "policies": self.policies,
            "params": self.params,
        }
        return ParseTask(
            job_id=JOB_ID,
            work=ParseWork(**(spec | changes)),
            attempt=1,
            epoch=EPOCH,
            leased_at_us=LEASED_AT,
            bundle=self.folder / "bundle",
            entry="parser.py",
            contracts={name: Contract.from_literal(literal) for name, literal in self.contracts.items()},
            environment=environment,
        )

    def context(self) -> WorkerContext:
        settings = Settings(limits=LimitSettings(**self.limits))
        if self.machine is not None:
            settings = settings.model_copy(update={"sandbox": SandboxSettings(minimum="none")})
        return WorkerContext(self.home, settings, spawner_for(self.way, self.machine), start_seconds=START_SECONDS)

    def run(self, source: str, **changes: Any) -> Outcome:
        outcome = execute(self.task(source, **changes), self.context(), self.stop, counters=self.counters)
        if outcome.staging is not None:
            assert sync_together([outcome.staging]) == [None]
        return outcome

    def finished(self, source: str, **changes: Any) -> Finished:
        outcome = self.run(source, **changes)
        assert isinstance(outcome, Finished), outcome
        return outcome

    def failed(self, source: str, **changes: Any) -> Failed:
        outcome = self.run(source, **changes)
        assert isinstance(outcome, Failed), outcome
        assert not list(self.home.scratch.iterdir())
        if outcome.uncommitted is None:
            assert not list(self.home.staging.iterdir())
        return outcome

    def staged(self, name: str) -> Path:
        return self.home.staged(JOB_ID, EPOCH, name)

    def table(self, name: str) -> pa.Table:
        return pq.ParquetFile(self.staged(name)).read()

    def log(self) -> str:
        (path,) = self.home.logs.glob("*/*.log")
        return path.read_text()
