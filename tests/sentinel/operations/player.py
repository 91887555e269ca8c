"""Operations on the table: requests go to a core without a daemon, and what they ask of the tables is given by the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from casparian_protocol.client import Rows
from casparian_protocol.home import Home, make_home
from casparian_protocol.settings import Settings
from casparian_protocol.wire.operations.base import Result
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.core import Now
from casparian_sentinel.operations.steps import (
    AdoptSettings,
    Ask,
    Context,
    Decide,
    EndDaemon,
    InThread,
    Step,
    answer_of,
)
from casparian_sentinel.operations.table import begin
from casparian_sentinel.ports import RealFs
from tests.sentinel.core.play import ANN, Table

CONTRACT = b'{"columns": [{"name": "symbol", "type": "string"}], "quarantine": {"max_pct": 2.5}}'


class Player:
    """Performs requests: `rows` answers a SELECT, each time with the next list; a SELECT without one has no rows."""

    def __init__(self, root: Path, mode: Literal["daemon", "local"] = "daemon") -> None:
        self.table = Table()
        self.home = Home(root / "home")
        make_home(self.home)
        self.blobs = BlobStore(RealFs(), self.home.blobs)
        self.contract = self.blobs.put(CONTRACT).digest
        self.rows: dict[str, list[Sequence[Mapping[str, object]]]] = {}
        #: Each SELECT with the position that it asked for.
        self.asked: list[tuple[str, int | None]] = []
        self.ended: list[EndDaemon] = []
        self.context = Context(
            home=self.home, settings=Settings(), blobs=self.blobs, state=self.table.state, presence=self.table.presence,
            mode=mode, version="0", pid=1, now=lambda: Now(self.table.wall_us, self.table.now_s),
            durable_seq=lambda: self.table.state.seq, projection=lambda: (self.table.state.seq, "ready"),
        )  # fmt: skip

    def with_parser(self, *versions: str, **more: Any) -> Player:
        """These versions of the parser `advice`, whose contract is approved."""
        for version in versions:
            self.table.register(version, contract=self.contract, artifact=version[0] * 64, **more)
        self.table.approve()
        return self

    def request(self, op: str, attachments: Sequence[bytes] = (), /, **args: Any) -> Any:
        """The result of an operation. Raises what the caller of a daemon would get as a refusal."""
        steps = begin(self.context, op, args, ANN, attachments)
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as stop:
                assert isinstance(stop.value, Result)
                return stop.value
            answer = self._do(step)

    def _do(self, step: Step) -> Any:
        match step:
            case Ask(sql=sql, at_least_seq=at_least_seq):
                self.asked.append((sql, at_least_seq))
                waiting = self.rows.get(sql, [])
                rows = waiting.pop(0) if waiting else []
                return Rows(self.table.state.seq, list(rows[0]) if rows else [], [list(row.values()) for row in rows])
            case Decide(command=command):
                return answer_of(self.table.do(command)) or {}
            case InThread(work=work):
                return work()
            case EndDaemon():
                self.ended.append(step)
            case AdoptSettings(settings=settings):
                self.context.settings = settings
        return None
