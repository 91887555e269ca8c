"""Access to a home with or without a daemon, in the present or the past.

With a running daemon, every request goes over its bus. Without one, the home is opened in this process under the same lock, and
the same operations run here. For the past, the log is replayed up to an event into a temporary database, which cannot be
changed. Callers see no difference, except that some operations need a daemon.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from casparian_app.texts import NoDaemon, NoHome, UsageProblem
from casparian_protocol.client import Client, NoSentinel, default_actor
from casparian_protocol.feed import SILENCE_SECONDS, Feed, FeedEvent
from casparian_protocol.home import Home, is_home, make_home
from casparian_protocol.queries import Query, RowT
from casparian_protocol.queries.outputs import TableColumns, TableRows
from casparian_protocol.wire.operations.base import Call, Done, R
from casparian_protocol.wire.operations.daemon import PingResult, Snapshot
from casparian_protocol.wording import MOMENT_HINT, NotAMoment, read_moment

if TYPE_CHECKING:
    import pyarrow as pa

    from casparian_sentinel import LocalSentinel, Projection, Relations

#: How long to wait for a command or a starting daemon that has the home: longer than either takes.
_PATIENCE_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 0.05
#: A time includes the whole second, so the present second may end a moment from now.
_SAME_SECOND_US = 1_000_000
#: How long a command that waits for jobs retries when the tables are not available.
_TABLES_PATIENCE_SECONDS = 60.0


class Gateway(Protocol):
    """The requests that a front end may make to a home."""

    home: Home

    @property
    def is_daemon(self) -> bool:
        """Whether a running daemon answers the requests."""
        ...

    @property
    def as_of_seq(self) -> int | None:
        """The last event of the past that is shown; None: the present."""
        ...

    def perform(self, call: Call[R]) -> R:
        """Perform an operation of `casparian_protocol.wire.operations`, such as `QUEUE(parser="fix")`. Returns its result."""
        ...

    def query(self, query: Query[RowT]) -> list[RowT]:
        """The rows of a named query, at least as new as this gateway's last operation and the last event of its open feed. Times
        are µs UTC."""
        ...

    def query_table(self, query: Query[Any]) -> pa.Table:
        """Like `query`, but as an Arrow table of any size."""
        ...

    def state_table(self, name: str, columns: frozenset[str] | None) -> pa.Table | Path:
        """A table of the projection for `casparian_sentinel.sql.ask`: these columns (None: all), or a file with them."""
        ...

    def publish_output_views(self) -> None:
        """Make sure that `catalog.duckdb` shows everything committed so far."""
        ...

    def upload(self, content: bytes) -> str:
        """Make bytes durable in the home's blob store, so that an operation can name them. Returns their digest."""
        ...

    def feed(self, *, outlives_daemon: bool = False) -> AbstractContextManager[Feed]:
        """A snapshot, then events and metrics as they happen. Raises `NoDaemon` without a daemon, and `NoSentinel` when it ends
        (unless the caller's feed outlives it)."""
        ...


class RemoteGateway:
    """A gateway over the bus of a running daemon."""

    is_daemon = True
    as_of_seq = None

    def __init__(self, client: Client) -> None:
        self.client = client
        self.home = client.home
        self._performed_seq = client.seq_at_connect
        self._feed: Feed | None = None

    @property
    def _seq(self) -> int:
        """The last event that this gateway's caller knows of."""
        return max(self._performed_seq, self._feed.seq if self._feed is not None else 0)

    def perform(self, call: Call[R]) -> R:
        result = self.client.perform(call)
        if isinstance(result, Done | PingResult):
            self._performed_seq = max(self._performed_seq, result.seq)
        return result

    def query(self, query: Query[RowT]) -> list[RowT]:
        return self.client.ask(query, at_least_seq=self._seq).rows

    def query_table(self, query: Query[Any]) -> pa.Table:
        import pyarrow as pa

        path = self.client.ask_file(query, at_least_seq=self._seq)
        try:
            with pa.memory_map(str(path)) as source:  # stays mapped after the file is deleted
                return pa.ipc.open_stream(source).read_all()
        finally:
            path.unlink()

    def state_table(self, name: str, columns: frozenset[str] | None) -> pa.Table | Path:
        return self.client.ask_file(rows_of_table(self, name, columns), at_least_seq=self._seq)

    def publish_output_views(self) -> None:
        self.client.publish_output_views(self._seq)

    def upload(self, content: bytes) -> str:
        return self.client.upload(content)

    @contextmanager
    def feed(self, *, outlives_daemon: bool = False) -> Iterator[Feed]:
        with self.client.follow(outlives_daemon=outlives_daemon) as feed:
            self._feed = feed
            try:
                yield feed
            finally:
                self._performed_seq, self._feed = self._seq, None


class LocalGateway:
    """A gateway in this process, which has opened the home under its lock."""

    is_daemon = False
    as_of_seq = None

    def __init__(self, sentinel: LocalSentinel, home: Home, actor: str) -> None:
        self._sentinel = sentinel
        self._actor = actor
        self.home = home

    def perform(self, call: Call[R]) -> R:
        from casparian_sentinel import DaemonNeeded

        try:
            return self._sentinel.perform(call, actor=self._actor)
        except DaemonNeeded as refused:
            raise NoDaemon(refused.problem, remedy=refused.remedy) from refused

    def query(self, query: Query[RowT]) -> list[RowT]:
        rows: list[RowT] = self._sentinel.ask(query)
        return rows

    def query_table(self, query: Query[Any]) -> pa.Table:
        return self._sentinel.table(query)

    def state_table(self, name: str, columns: frozenset[str] | None) -> pa.Table | Path:
        return self._sentinel.table(rows_of_table(self, name, columns))

    def publish_output_views(self) -> None:
        self._sentinel.publish_output_views()

    def upload(self, content: bytes) -> str:
        return self._sentinel.upload(content)

    def feed(self, *, outlives_daemon: bool = False) -> AbstractContextManager[Feed]:
        raise NoDaemon("The feed needs a running daemon.", remedy="Start one with `casparian start`.")


@dataclass(frozen=True, slots=True)
class PastHome(Home):
    """The home, but with its output views and all that they need in a temporary directory, so that the home stays as it is."""

    temporary: Path = Path()

    @property
    def catalog_db(self) -> Path:
        return self.temporary / "catalog.duckdb"

    @property
    def empties(self) -> Path:
        return self.temporary / "empty"

    @property
    def run(self) -> Path:
        return self.temporary


class PastGateway:
    """A gateway to tables of the past; it writes nothing into the home."""

    is_daemon = False

    def __init__(self, home: PastHome, projection: Projection, seq: int) -> None:
        self.home: Home = home
        self.as_of_seq = seq
        self._past = home
        self._projection = projection
        self._missing: dict[str, str] = {}

    def perform(self, call: Call[R]) -> R:
        self._refuse(f"`{call.operation.name}`")

    def upload(self, content: bytes) -> str:
        self._refuse("An upload")

    def feed(self, *, outlives_daemon: bool = False) -> AbstractContextManager[Feed]:
        self._refuse("Following the feed")

    @staticmethod
    def _refuse(what: str) -> NoReturn:
        raise UsageProblem(f"{what} is not possible with --as-of.", remedy="Leave out --as-of.")

    def query(self, query: Query[RowT]) -> list[RowT]:
        return self._projection.ask(query)

    def query_table(self, query: Query[Any]) -> pa.Table:
        return self._projection.table(query)

    def state_table(self, name: str, columns: frozenset[str] | None) -> pa.Table | Path:
        return self._projection.table(rows_of_table(self, name, columns))

    def publish_output_views(self) -> None:
        """Make the views of the outputs published then. The rows of a version that was dropped since are gone."""
        from casparian_sentinel import publish_past_output_views

        self._missing = publish_past_output_views(self._past, self._projection)

    def refuse_missing(self, sql: str, known: Relations) -> None:
        """Raise `UsageProblem` if the query reads an output whose files are partly gone, because the answer would be
        incomplete."""
        from casparian_sentinel import check_sql

        gone = sorted(check_sql(sql, known).published & self._missing.keys())
        if gone:
            raise UsageProblem(
                f"{gone[0]} cannot be read as of event {self.as_of_seq:,}: {self._missing[gone[0]]} is no longer on disk.",
                remedy="Bring the file back from a backup, or ask as of a later event.",
            )


def rows_of_table(gateway: Gateway, name: str, columns: frozenset[str] | None) -> TableRows:
    """The query for these columns (None: all) of a table of the projection."""
    listed = (row for row in gateway.query(TableColumns()) if (row["kind"], row["name"]) == ("state", name))
    known: list[str] = json.loads(next(listed)["columns"] or "[]")
    return TableRows(name, tuple(column for column in known if columns is None or column.lower() in columns))


def read_blob(home: Home, digest: str) -> bytes:
    """The bytes stored under this digest. Raises `BlobMissing`."""
    from casparian_sentinel import BlobStore, RealFs

    return BlobStore(RealFs(), home.blobs).get(digest)


# --- opening ----------------------------------------------------------------------------------------------------------


@contextmanager
def open_gateway(
    home: Home, *, as_of: str | None = None, creates_home: bool = False, is_patient: bool = False
) -> Iterator[Gateway]:
    """The home's gateway, as of an event's number or an ISO time when `as_of` gives one.

    A patient gateway retries for a while when the daemon's tables are not available; commands that wait for jobs use it.
    Raises `NoHome`, or `LogInUse` when another process owns the home and does not answer.
    """
    if not is_home(home):
        if not creates_home or (home.root.exists() and not home.root.is_dir()):
            raise NoHome(home)
        make_home(home)
    if as_of is not None:
        with open_past(home, as_of) as past:
            yield past
        return
    with ExitStack() as opened:
        owner = _owner_of(home, opened)
        if is_patient and isinstance(owner, RemoteGateway):
            owner.client.patience_seconds = _TABLES_PATIENCE_SECONDS
        yield owner


def _owner_of(home: Home, opened: ExitStack) -> Gateway:
    """The daemon if it answers, else this process. It waits for a command or a starting daemon that holds the home for a
    moment."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return RemoteGateway(opened.enter_context(Client.connect(home)))
        except NoSentinel:
            from casparian_sentinel import LocalSentinel, LogInUse
        left_seconds = deadline - time.monotonic()
        try:
            sentinel = opened.enter_context(LocalSentinel(home, patience_seconds=max(0.0, left_seconds)))
            return LocalGateway(sentinel, home, default_actor("cli"))
        except LogInUse:
            if left_seconds <= 0:
                raise
            # A starting daemon answers soon; before it binds, there is nothing to await.
            time.sleep(_LOOK_AGAIN_SECONDS)


@contextmanager
def open_past(home: Home, as_of: str) -> Iterator[PastGateway]:
    """The home as it was at an event or a time (`wording.read_moment`). Raises `UsageProblem` for anything else."""
    from casparian_sentinel import RealFs, end_of_log, fold_from_scratch, last_seq_at

    end = end_of_log(RealFs(), home.log)
    if end is None:
        raise UsageProblem(f"The log of {home.root} is empty.", remedy="There is no past to look at.")
    now_us = time.time_ns() // 1000
    try:
        moment = read_moment(as_of, now_us, now_us)
    except NotAMoment as cause:
        raise UsageProblem(
            f"--as-of {as_of[:80]!r} is not a valid event number or time.", remedy=f"Write {MOMENT_HINT}."
        ) from cause
    if moment.at_us is not None and moment.at_us > now_us + _SAME_SECOND_US:
        raise UsageProblem(
            f"--as-of {as_of[:80]!r} is in the future.",
            remedy="Name an event or a time in the past; `casparian log tail` shows the last ones.",
        )
    seq = moment.seq if moment.at_us is None else last_seq_at(home, moment.at_us, end)
    assert seq is not None
    with tempfile.TemporaryDirectory(prefix="casparian-as-of-") as directory:
        projection = fold_from_scratch(home, Path(directory) / "state.duckdb", seq, end)
        try:
            if moment.at_us is None and projection.seq < seq:
                raise UsageProblem(
                    f"The log ends with event {projection.seq}; there is no event {seq} yet.",
                    remedy="Name an event or a time in the past; `casparian log tail` shows the last ones.",
                )
            past = PastHome(home.root, Path(directory))
            past.empties.mkdir()
            yield PastGateway(past, projection, projection.seq)
        finally:
            projection.close()


def changes(feed: Feed, pause_seconds: float) -> Iterator[None]:
    """Yield when events or a snapshot have arrived: at once, or when this time has passed since the caller took the last ones."""
    not_before, is_changed = 0.0, False
    while True:
        wait_seconds = not_before - time.monotonic() if is_changed else SILENCE_SECONDS
        if wait_seconds <= 0:
            is_changed = False
            yield
            not_before = time.monotonic() + pause_seconds
        elif isinstance(feed.next(wait_seconds), Snapshot | FeedEvent):
            is_changed = True
