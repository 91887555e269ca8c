"""The sentinel in the command line's own process, for a home without a daemon: the same lock, core and operations.

It opens the home, recovers and folds the log, and performs operations one after the other; each is durable before it returns.
File work that a crash left unfinished is completed. There are no workers, no feed and no clock; operations that need these need a
daemon. pyarrow and duckdb are imported for the first query.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from importlib import metadata
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from casparian_protocol.client import Rows, upload
from casparian_protocol.home import Home, make_home
from casparian_protocol.queries import Query, RowT
from casparian_protocol.settings import Settings, load
from casparian_protocol.wire.operations.base import Call, R, Result
from casparian_protocol.wire.operations.daemon import ParkedCommit
from casparian_sentinel.core import (
    DropStaging,
    DropUnpublished,
    Effect,
    KeepUncommitted,
    Promote,
    after_boot,
    commands,
)
from casparian_sentinel.daemon import (
    Booted,
    Engine,
    Entry,
    batches_of,
    boot_home,
    first_commands,
    judge_intake,
    pack_snapshot,
    parked_view,
    tables_in_a_process,
    write_snapshot,
)
from casparian_sentinel.daemon import perform_on_disk as perform
from casparian_sentinel.log import HomeLock, LogFull
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
from casparian_sentinel.operations.table import actor_of, begin
from casparian_sentinel.ports import Clock, Fs, RealClock, RealFs

if TYPE_CHECKING:
    import pyarrow as pa

    from casparian_sentinel.projection.store import Projection

_log = logging.getLogger("casparian.local")

_Answer = TypeVar("_Answer")

#: Folding fewer events than this is faster than writing and reading a snapshot.
_SNAPSHOT_WORTHWHILE_EVENTS = 5_000


class LocalSentinel:
    """A context manager that owns the home while it is entered. Raises `LogInUse` if another process owns it."""

    def __init__(
        self,
        home: Home,
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        fs: Fs | None = None,
        patience_seconds: float = 0.0,
    ) -> None:
        """If another command owns the home, this waits for it up to `patience_seconds`."""
        self.home = home
        self._patience_seconds = patience_seconds
        self._settings = settings or load(home, os.environ).settings
        self._clock = clock or RealClock()
        self._fs = fs or RealFs()
        self._projection: Projection | None = None
        self._has_written = False
        self._parked: list[ParkedCommit] = []

    def __enter__(self) -> Self:
        make_home(self.home)
        self._lock = HomeLock.acquire(self.home.lock_file, "command", patience_seconds=self._patience_seconds)
        try:
            self._open(boot_home(self.home, self._settings, self._fs, tables_in_a_process))
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Everything done is durable already, so a failure to tidy up (a full disk) is logged and fails no command."""
        try:
            try:
                self._record_stop()
                self._prune_keys()
                self._close_tables()
                self._context.uploads.close()
                self._write_snapshot()
            finally:
                self._close_log()
        finally:
            self._lock.release()

    @property
    def seq(self) -> int:
        """The last event; all events are durable here."""
        return self._booted.log.durable.seq

    def perform(self, call: Call[R], actor: str = "", attachments: Sequence[bytes] = ()) -> R:
        """Perform an operation; returns its result. Raises the error that a daemon would answer."""
        return call.operation.read_result(self.request(call.operation.name, call.packed(), actor, attachments))

    def request(
        self, op: str, args: dict[str, Any] | None = None, actor: str = "", attachments: Sequence[bytes] = ()
    ) -> dict[str, Any]:
        """`perform` for an operation given by name; returns the result as a daemon would send it."""
        self._prune_keys()
        steps = begin(self._context, op, args or {}, actor_of(actor), attachments)
        cause = f"{op}:{self._context.new_id()}"
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as stop:
                result: Result = stop.value
                return result.model_dump()
            answer = self._do(step, cause)

    def upload(self, content: bytes) -> str:
        """Store bytes as a durable blob of the home, so that an operation may name it; returns its digest."""
        return upload(content, lambda call, piece: self.perform(call, attachments=[piece]))

    def query(self, sql: str, params: Sequence[Any] = ()) -> pa.Table:
        """Run an internal read-only query on the projection, caught up to the end of the log."""
        return self._from_tables(lambda projection: projection.query(sql, params))

    def ask(self, query: Query[RowT]) -> list[RowT]:
        """The rows of a named query, as of the end of the log."""
        return self._from_tables(lambda projection: projection.ask(query))

    def table(self, query: Query[Any]) -> pa.Table:
        """Like `ask`, but as an Arrow table."""
        return self._from_tables(lambda projection: projection.table(query))

    def publish_output_views(self) -> None:
        """Make sure that `catalog.duckdb` shows all commits."""
        from casparian_sentinel.projection.projector import publish_output_views

        self._from_tables(lambda projection: publish_output_views(projection, self.home))

    def _from_tables(self, ask: Callable[[Projection], _Answer]) -> _Answer:
        """Query the tables, caught up. If they turn out to be damaged, rebuild them from the log once."""
        import duckdb

        from casparian_sentinel.projection.answers import is_damage
        from casparian_sentinel.projection.database import ProjectionError, is_failed_write

        try:
            return ask(self._caught_up())
        except duckdb.Error as cause:
            if is_failed_write(cause):
                problem = f"The tables cannot be written: {str(cause).splitlines()[0]}."
                raise ProjectionError(problem, remedy=f"Free some space on the disk of {self.home.root}.") from cause
            if self._projection is None or not is_damage(cause):
                raise
            _log.warning("rebuilding %s from the log: %s", self.home.state_db.name, str(cause).splitlines()[0])
        self._projection.rebuild()
        return ask(self._caught_up())

    def _open(self, booted: Booted) -> None:
        self._booted = booted
        now = commands.Now(self._clock.wall_microseconds(), self._clock.monotonic_seconds())
        version = metadata.version("casparian")
        presence = after_boot(
            booted.state, now, self._settings.liveness, self._settings.retry, version, self._settings.breaker
        )
        self._engine = Engine(booted.state, presence, self._clock, self._commit)
        self._context = Context(
            home=self.home,
            settings=self._settings,
            blobs=booted.blobs,
            state=booted.state,
            presence=presence,
            mode="local",
            version=version,
            pid=os.getpid(),
            now=self._engine.now,
            durable_seq=lambda: self.seq,
            projection=lambda: (self.seq, "in this process"),
            parked=lambda: self._parked,
            internal=self._engine.internal.view,
        )
        if booted.recovery.torn is not None or booted.state.promoting or booted.state.keeping:
            self._record_start()

    def _record_start(self) -> None:
        """Record the start before the first change and before repeated promotions; a command that only reads leaves no trace."""
        if not self._has_written:
            self._has_written = True
            for command in first_commands(self._booted, "local", self._context.version):
                self._engine.submit(command)
            self._reopen_intake()

    def _reopen_intake(self) -> None:
        """Resume intake paused by a full disk once there is space again, as a daemon's clock would."""
        paused = self._booted.state.intake_paused
        if paused is None:
            return
        free_bytes, floor_bytes = self._fs.free_bytes(self.home.root), self._settings.log.low_disk_bytes
        has_reserve = self._booted.log.restore_reserve()
        free_files = self._fs.free_files(self.home.root)
        verdict = judge_intake(
            paused, free_bytes, floor_bytes, free_files=free_files, has_reserve=has_reserve, is_log_full=False
        )
        if verdict is not None:
            self._engine.submit(verdict)

    def _do(self, step: Step, cause: str) -> Any:
        match step:
            case Ask(sql=sql, params=params, limit_rows=limit_rows):
                from casparian_sentinel.projection.answers import plain_rows

                table = self.query(sql, params).slice(0, limit_rows)
                return Rows(self.seq, table.column_names, [list(row) for row in plain_rows(table)])
            case Decide(command=command):
                self._record_start()
                return answer_of(self._engine.submit(command, cause=cause))
            case InThread(work=work):
                return work()
            case EndDaemon() | AdoptSettings():
                raise AssertionError(f"{type(step).__name__} belongs to operations that need a daemon")

    def _commit(self, entry: Entry) -> None:
        """Make the decision durable at once, then perform its effects."""
        log = self._booted.log
        for batch in batches_of([entry]):
            log.append_packed(batch)
        if entry.decision.events:
            log.sync()
        for effect in entry.decision.effects:
            try:
                self._perform(effect)
            except Exception as error:  # noqa: BLE001 -- the decision is durable; a daemon or the next start repeats the effect
                self._engine.internal.note(f"the effect {type(effect).__name__}", error)

    def _perform(self, effect: Effect) -> None:
        """Do file work immediately; workers and plans wait for a daemon."""
        match effect:
            case Promote() | KeepUncommitted() | DropStaging() | DropUnpublished():
                performed = perform(self.home, self._booted.blobs, [effect])
                for done in performed.done:
                    self._engine.submit(done)
                for stopped in performed.stopped:
                    self._parked.append(parked_view(stopped, self._clock.wall_microseconds()))
            case _:
                pass

    def _caught_up(self) -> Projection:
        from casparian_sentinel.projection.projector import catch_up, open_projection

        if self._projection is None:
            self._projection = open_projection(self.home)
        projection = self._projection
        if projection.seq < self.seq or projection.head is None:
            position = self._booted.log.durable.position
            catch_up(projection, self.home, position, self._settings.projection.batch_events)
        return projection

    def _prune_keys(self) -> None:
        """Forget keys of jobs that the tables know. Only between operations: a plan relies on keys queued since it looked."""
        if self._projection is not None:
            self._booted.state.prune_recent_keys(self._projection.seq)

    def _record_stop(self) -> None:
        if self._has_written and not self._engine.is_broken:
            try:
                self._engine.submit(commands.RecordStop("the command ended"))
            except LogFull as full:
                _log.warning("The end of this command is not recorded: %s", full)

    def _close_log(self) -> None:
        try:
            self._booted.log.close(seal=self._has_written or not self._booted.recovery.is_clean)
        except LogFull as full:  # the log is closed, and the next process that opens it recovers it
            _log.warning("The log is not sealed: %s", full)

    def _close_tables(self) -> None:
        if self._projection is not None:
            import duckdb

            try:
                self._projection.close()
            except duckdb.Error as cause:
                _log.warning(
                    "%s was not closed as it should be: %s", self.home.state_db.name, str(cause).splitlines()[0]
                )

    def _write_snapshot(self) -> None:
        booted = self._booted
        if booted.folded_events >= _SNAPSHOT_WORTHWHILE_EVENTS and booted.state.seq == booted.log.durable.seq:
            taken = pack_snapshot(booted.state, booted.log.chain_id)
            try:
                write_snapshot(self._fs, self.home.snapshot_file, taken, booted.log.durable)
            except OSError as cause:
                _log.warning("The snapshot could not be written: %s", cause)
