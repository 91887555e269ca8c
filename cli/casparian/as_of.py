"""`--as-of SEQ|TIME` on reading commands: the same questions, asked of the home as it was then.

The log is replayed into a temporary database up to that event, and a gateway over it answers. Works with and without a
running sentinel, since the log can be read up to its last whole batch at any time. Nothing can be changed in the past.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from casparian.app import App
from casparian.exits import UsageProblem
from casparian_protocol.home import Home
from casparian_protocol.queries import Query, RowT

if TYPE_CHECKING:
    import pyarrow as pa

    from casparian_sentinel.projection.store import Projection
    from casparian_sentinel.sql.guard import Relations

F = TypeVar("F", bound=Callable[..., Any])
_SEQ = re.compile(r"[0-9]{1,19}\Z")


def as_of_option(command: F) -> F:
    """Give a reading command the option; `open_gateway` heeds it."""
    option = click.option(
        "--as-of",
        metavar="SEQ|TIME",
        expose_value=False,
        callback=_remember,
        help="As it was after event SEQ of the log, or at an ISO time.",
    )
    return option(command)


def _remember(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(App).as_of = value


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
        self.seq = seq
        self._past = home
        self._projection = projection
        self._missing: dict[str, str] = {}

    def request(self, op: str, **_args: Any) -> dict[str, Any]:
        raise UsageProblem(f"`{op}` cannot be done in the past.", remedy="Leave out --as-of.")

    def query(self, query: Query[RowT]) -> list[RowT]:
        return self._projection.ask(query)

    def query_table(self, query: Query[Any]) -> pa.Table:
        return self._projection.table(query)

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        from casparian_sentinel.projection.answers import plain_rows

        table = self.table(sql, params)
        return [dict(zip(table.column_names, row, strict=True)) for row in plain_rows(table)]

    def table(self, sql: str, params: Sequence[Any] = ()) -> pa.Table:
        return self._projection.query(sql, params)

    def state_table(self, name: str, columns: frozenset[str] | None) -> pa.Table | Path:
        from casparian.gateway import select_of

        return self.table(select_of(self, name, columns))

    def publish_catalogue(self) -> None:
        """The outputs that were published then; a version that was dropped since is gone all the same."""
        from casparian_sentinel import catalog
        from casparian_sentinel.projection.queries import planning

        files = self._projection.query(planning.OUTPUT_FILES).to_pylist()
        for file in files:
            if file["path"] is not None and not (self.home.root / file["path"]).is_file():
                schema = "quarantine." if file["kind"] == "quarantine" else ""
                for name in (file["output"], f"{file['output']}@v{file['version']}"):
                    self._missing.setdefault(schema + name, file["path"])
                file["path"] = None
        contracts = self._projection.query(planning.APPROVED_CONTRACTS).to_pylist()
        live_outputs = self._projection.query(planning.LIVE_OUTPUTS).to_pylist()
        catalog.publish(
            self._past,
            catalog.datasets(self._past, files, contracts, live_outputs),
            self._projection.query(planning.LINEAGE_FILES),
            catalog.kept(
                self._past, self._projection.query(planning.UNCOMMITTED_FILES).to_pylist(), datetime.now(UTC)
            ).files,
        )

    def refuse_missing(self, sql: str, known: Relations) -> None:
        """Raises `UsageProblem` when the query reads an output of which a part is gone: half an answer is none."""
        from casparian_sentinel.sql.guard import check

        gone = sorted(check(sql, known).published & self._missing.keys())
        if gone:
            raise UsageProblem(
                f"{gone[0]} cannot be read as of event {self.seq:,}: {self._missing[gone[0]]} is no longer on disk.",
                remedy="Bring the file back from a backup, or ask as of a later event.",
            )


@contextmanager
def open_past(app: App, as_of: str) -> Iterator[PastGateway]:
    """The home as it was. Raises `UsageProblem` for what is no event and no time."""
    from casparian_sentinel.log.views import end_of_log
    from casparian_sentinel.ports import RealFs
    from casparian_sentinel.projection.past import fold_from_scratch, last_seq_at

    end = end_of_log(RealFs(), app.home.log)
    if end is None:
        raise UsageProblem(f"The log of {app.home.root} is empty.", remedy="There is no past to look at.")
    seq = int(as_of) if _SEQ.match(as_of) else last_seq_at(app.home, _microseconds(as_of), end)
    with tempfile.TemporaryDirectory(prefix="casparian-as-of-") as directory:
        projection = fold_from_scratch(app.home, Path(directory) / "state.duckdb", seq, end)
        try:
            if _SEQ.match(as_of) and projection.seq < seq:
                raise UsageProblem(
                    f"The log ends with event {projection.seq}; there is no event {seq} yet.",
                    remedy="Name an event or a time that has been; `casparian log tail` shows the last ones.",
                )
            app.say(f"as of event {projection.seq:,}")
            yield PastGateway(PastHome(app.home.root, Path(directory)), projection, projection.seq)
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
