"""The past: the same questions, asked of the home as it was after some event.

The log is replayed into a temporary database up to that event, and a gateway over it answers. Works with and without a
running sentinel, since the log can be read up to its last whole batch at any time. Nothing can be changed in the past.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from casparian_app.gateway import select_of
from casparian_app.problems import UsageProblem
from casparian_protocol.home import Home
from casparian_protocol.queries import Query, RowT

if TYPE_CHECKING:
    import pyarrow as pa

    from casparian_protocol.feed import Feed
    from casparian_sentinel import Projection, Relations

_SEQ = re.compile(r"[0-9]{1,19}\Z")


@dataclass(frozen=True, slots=True)
class PastHome(Home):
    """The home, with its catalogue and small files in a temporary directory."""

    temporary: Path = Path()

    @property
    def catalog_db(self) -> Path:
        return self.temporary / "catalog.duckdb"

    @property
    def run(self) -> Path:
        return self.temporary


class PastGateway:
    """Answers from a projection of the past."""

    is_daemon = False

    def __init__(self, home: PastHome, projection: Projection, seq: int) -> None:
        self.home: Home = home
        self.as_of_seq = seq
        self._past = home
        self._projection = projection
        self._missing: dict[str, str] = {}

    def request(self, op: str, **_args: Any) -> dict[str, Any]:
        self._refuse(f"`{op}`")

    def upload(self, content: bytes) -> str:
        self._refuse("An upload")

    def feed(self) -> AbstractContextManager[Feed]:
        self._refuse("Following the feed")

    @staticmethod
    def _refuse(what: str) -> NoReturn:
        raise UsageProblem(f"{what} cannot be done in the past.", remedy="Leave out --as-of.")

    def query(self, query: Query[RowT]) -> list[RowT]:
        return self._projection.ask(query)

    def query_table(self, query: Query[Any]) -> pa.Table:
        return self._projection.table(query)

    def state_table(self, name: str, columns: frozenset[str] | None) -> pa.Table | Path:
        return self._projection.query(select_of(self, name, columns))

    def publish_catalogue(self) -> None:
        """The outputs that were published then; a version that was dropped since is gone all the same."""
        from casparian_sentinel import publish_past_catalogue

        self._missing = publish_past_catalogue(self._past, self._projection)

    def refuse_missing(self, sql: str, known: Relations) -> None:
        """Raises `UsageProblem` when the query reads an output of which a part is gone: half an answer is none."""
        from casparian_sentinel import check_sql

        gone = sorted(check_sql(sql, known).published & self._missing.keys())
        if gone:
            raise UsageProblem(
                f"{gone[0]} cannot be read as of event {self.as_of_seq:,}: {self._missing[gone[0]]} is no longer on disk.",
                remedy="Bring the file back from a backup, or ask as of a later event.",
            )


@contextmanager
def open_past(home: Home, as_of: str) -> Iterator[PastGateway]:
    """The home as it was. Raises `UsageProblem` for what is no event and no time."""
    from casparian_sentinel import RealFs, end_of_log, fold_from_scratch, last_seq_at

    end = end_of_log(RealFs(), home.log)
    if end is None:
        raise UsageProblem(f"The log of {home.root} is empty.", remedy="There is no past to look at.")
    seq = int(as_of) if _SEQ.match(as_of) else last_seq_at(home, _microseconds(as_of), end)
    with tempfile.TemporaryDirectory(prefix="casparian-as-of-") as directory:
        projection = fold_from_scratch(home, Path(directory) / "state.duckdb", seq, end)
        try:
            if _SEQ.match(as_of) and projection.seq < seq:
                raise UsageProblem(
                    f"The log ends with event {projection.seq}; there is no event {seq} yet.",
                    remedy="Name an event or a time that has been; `casparian log tail` shows the last ones.",
                )
            yield PastGateway(PastHome(home.root, Path(directory)), projection, projection.seq)
        finally:
            projection.close()


def _microseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)  # as every time is shown
    except ValueError as cause:
        raise UsageProblem(
            f"--as-of {text!r} is neither an event's number nor an ISO time.",
            remedy="For example 1234, 2026-05-01, 2026-05-01T16:30 (UTC) or 2026-05-01T18:30+02:00.",
        ) from cause
    return round(moment.timestamp() * 1_000_000)
