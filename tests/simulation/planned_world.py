"""A day with a person in it, from one seed: files change, a source is scanned, what is found is planned, parsed, committed.

Beside what `world` runs this is shipped: operations and requests, the planner, the tables that planning asks and that the
projector keeps (DuckDB, in a file of this machine), scans with their changes in blobs. Simulated are the disk under the
source, the projector's process, which may be killed at any moment between two batches, and the time that answers take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from blake3 import blake3

from casparian_protocol.client import Rows
from casparian_protocol.contract import Contract
from casparian_protocol.errors import CasparianError
from casparian_protocol.wire import ProjectorPhase
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.daemon.planner import Planner
from casparian_sentinel.daemon.projector import ProjectionAway
from casparian_sentinel.daemon.requests import Requests
from casparian_sentinel.log.format import Head
from casparian_sentinel.log.reader import LogReader
from casparian_sentinel.operations.file_memory import FileMemory, Known, Wanted
from casparian_sentinel.operations.table import begin
from casparian_sentinel.projection import projector
from casparian_sentinel.projection.answers import plain_rows
from casparian_sentinel.projection.store import Projection
from casparian_worker.discovery.file_index import ChangeWriter, FileRow
from tests.sentinel.core.play import ANN
from tests.sentinel.projection.test_projection import tables
from tests.simulation.faults import Faults, Shape
from tests.simulation.invariants import Violated
from tests.simulation.shell import SimShell
from tests.simulation.world import World, registration

_FILES, _CONTENTS = 5, 8
_SOURCE = "/data"
_TOPIC = "orders"
_BETWEEN_DEEDS_SECONDS = 0.25
#: Trouble lasts so much longer than in worlds without a person.
_LONGER = 3
_AWAY_SECONDS = 0.3
_SLOW_SECONDS = 0.1
#: Whether all is done is asked so seldom: the tables have to be asked too.
_LOOK_SECONDS = 0.1
_CHECK_TABLES_EVERY = 4


class TableProjector:
    """The projector's process: the shipped tables, fed from the durable log, gone when it is killed."""

    def __init__(self, world: PlannedWorld, on_applied: Callable[[int], None], on_away: Callable[[str], None]) -> None:
        self._world = world
        self._on_applied = on_applied
        self._on_away = on_away
        self._loop = asyncio.get_running_loop()
        self._mark: Head | None = None
        self._is_due = False
        self._is_closed = False
        self.projection: Projection | None = None
        self.applied_seq = 0
        self.state, self.phase, self.poison_events, self.is_given_up = "starting", ProjectorPhase.STARTING, 0, False

    def start(self) -> None:
        if self._is_closed:
            return
        with self._world.fs.untroubled():
            self.projection = self._world.open_tables("state.duckdb")
            self._reader = LogReader(self._world.fs, self._world.home.log)
        self.phase = ProjectorPhase.READY
        self.applied_seq = self.projection.seq
        self._arm()

    def watermark(self, head: Head) -> None:
        self._world.must_be_durable(head.seq, "told to the projector")
        self._mark = head
        self._arm()

    def send_watermark(self) -> None:
        self._arm()

    def kill(self) -> None:
        if self.projection is None:
            return
        self._world.tell("the projector is killed")
        self.let_go()
        self.phase = ProjectorPhase.AWAY
        self._on_away("was killed")
        self._loop.call_later(_AWAY_SECONDS, self.start)

    def let_go(self) -> None:
        """Nothing is said to the file: it is left as it is."""
        if self.projection is not None:
            self.projection._db.close()
            self.projection = None

    async def close(self) -> None:
        self._is_closed = True
        self.let_go()

    def _arm(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_later(self._world.dice.random() * _SLOW_SECONDS, self._advance)

    def _advance(self) -> None:
        self._is_due = False
        if self.projection is None or self._mark is None or self.projection.seq >= self._mark.seq:
            return
        if self._world.chance(self._world.projector_kills):
            self.kill()
            return
        with self._world.fs.untroubled():
            projector._apply(self.projection, self._reader, self._mark.position, self._world.dice.randint(1, 12))
        self.applied_seq = self.projection.seq
        self.poison_events = self.projection.poison_count
        if self.poison_events:
            (why,) = self.projection.query("select error from cf_poison_events limit 1").to_pylist()
            raise Violated(f"an event of these histories is poison to the tables: {why['error']}")
        self._on_applied(self.applied_seq)


class TableQueries:
    """Asks the projector, and waits for its answer; it may be killed meanwhile."""

    def __init__(self, world: PlannedWorld, shell: PlannedShell) -> None:
        self._world = world
        self._shell = shell
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def ask(
        self, sql: str, params: Sequence[Any], *, at_least_seq: int, limit_rows: int, is_large: bool = False
    ) -> Rows:
        while (at := self._shell.projector).applied_seq < at_least_seq or at.phase is not ProjectorPhase.READY:
            await self._turn(at_least_seq)
        answered: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((-1, answered))
        self._loop.call_later(self._world.dice.random() * _SLOW_SECONDS, _settle, answered)
        await answered
        tables = cast(TableProjector, self._shell.projector).projection
        if tables is None:
            raise ProjectionAway("was killed")
        found = tables.query(sql, params).slice(0, limit_rows)
        return Rows(tables.seq, found.column_names, [list(row) for row in plain_rows(found)])

    async def publish_output_views(self, at_least_seq: int) -> None:
        """Nobody reads the views here."""

    def applied(self, seq: int) -> None:
        for at_least_seq, waiting in self._waiting:
            if 0 <= at_least_seq <= seq:
                _settle(waiting)

    def abandon(self, why: str) -> None:
        waiting, self._waiting = self._waiting, []
        for _, one in waiting:
            if not one.done():
                one.set_exception(ProjectionAway(why))

    def close(self) -> None:
        self.abandon("the sentinel stops")

    async def _turn(self, at_least_seq: int) -> None:
        waiting: asyncio.Future[None] = self._loop.create_future()
        self._waiting = [*((seq, one) for seq, one in self._waiting if not one.done()), (at_least_seq, waiting)]
        await waiting


def _settle(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class PlannedShell(SimShell):
    """With the shipped requests and planner, over the shipped tables."""

    plans_by_itself = True

    def _make_wires(self, clock: object, output: int) -> None:
        super()._make_wires(clock, output)
        world = cast(PlannedWorld, self.world)
        self.context.new_id = lambda: f"{world.dice.getrandbits(64):016x}"
        self.queries = queries = cast(Any, TableQueries(world, self))

        def applied(seq: int) -> None:
            queries.applied(seq)
            self.changed.set()

        self.projector = cast(Any, TableProjector(world, applied, queries.abandon))
        self.requests = Requests(
            self.context,
            self.engine,
            self.queries,
            self.threads,
            durable_seq=lambda: self.journal.durable.seq,
            on_end=self._end_asked,
            on_settings=self._adopt_settings,
        )
        self.planner = Planner(self.requests, self.engine, self.options.plan, self.tasks)
        world.watch_memory(self.context.memory)
        if not world.seed % 2:  # as in a home that is too large for the memory: every plan asks the tables
            cast(Any, self.planner).load_memory = lambda: None

    def let_go(self) -> None:
        cast(TableProjector, self.projector).let_go()
        super().let_go()


class PlannedWorld(World):
    """In the end every content that a file of the source has was committed or has failed, without anybody asking for it."""

    shell_class = PlannedShell

    def __init__(self, seed: int, folder: Path, faults: Faults | None = None) -> None:
        super().__init__(seed, faults, Shape(workers=1 + seed % 4))
        if faults is None:
            self.until_s *= _LONGER
        self.folder = folder
        self.projector_kills = 0.05 if seed % 2 else 0.0
        self.power_cuts = 0
        #: Plans that were made from the sentinel's memory.
        self.remembered = 0
        #: number of the file → number of its content.
        self.disk: dict[int, int] = {0: 0}
        self.found: dict[tuple[str, int], bytes] = {}
        self.scans = 0
        self.looked_at_s = 0.0

    def watch_memory(self, memory: FileMemory) -> None:
        """Count the plans that are made from it."""
        look = memory.look

        def counted(wanted: Wanted, sources: Iterable[c.Source]) -> Known | None:
            known = look(wanted, sources)
            self.remembered += known is not None
            return known

        cast(Any, memory).look = counted

    def open_tables(self, name: str) -> Projection:
        return Projection(self.folder / name, BlobStore(self.fs, self.home.blobs).get, f"boot {self.power_cuts}")

    def _cut_power(self) -> None:
        self.power_cuts += 1
        super()._cut_power()

    # --- what a person does

    def _prepare(self, shell: SimShell) -> None:
        if not shell.is_ready:
            self.agenda.after(0.05, self._prepare, shell, loop=self.loop)
            return
        if "advice" not in shell.booted.state.parsers:
            self._register(shell)
        if not shell.booted.state.parsers["advice"].versions["1.0"].is_runnable:
            shell.engine.submit(c.DecideContract("advice", True, "", ANN))
        if not shell.booted.state.sources:
            self._request(shell, "add_source", {"name": "feed", "path": _SOURCE})
        self._act(shell)

    def _register(self, shell: SimShell) -> None:
        """The tables read the contract, so there is one."""
        contract = Contract.from_literal({"columns": [{"name": "n", "type": "int64"}]})
        with self.fs.untroubled():
            digest = shell.booted.blobs.put(contract.canonical_json().encode()).digest
        facts = (c.ContractFacts("1.0-orders", "scope", "orders", digest, 1),)
        shell.engine.submit(
            replace(registration(1, "1.0"), topics=(_TOPIC,), outputs={"orders": digest}, contracts=facts)
        )

    def _act(self, shell: SimShell) -> None:
        """Now and then a file gets another content, and somebody has the source scanned."""
        self.agenda.after(_BETWEEN_DEEDS_SECONDS, self._act, shell, loop=self.loop)
        self.is_prepared = bool(shell.booted.state.sources)
        if self.is_bad and self.dice.random() < 0.6:
            self.disk[self.dice.randrange(_FILES)] = self.dice.randrange(_CONTENTS)
        if self.is_prepared and (self.is_bad or not self._is_known()):
            self._request(shell, "rescan", {"source": "feed"})

    def _request(self, shell: SimShell, op: str, args: dict[str, Any]) -> None:
        async def asked() -> None:
            try:
                await shell.requests.run(begin(shell.context, op, args, ANN, ()))
            except (CasparianError, OSError) as refused:
                self.tell(f"{op} is refused: {refused}")

        shell.tasks.run(op, asked())

    # --- what a scan finds

    def changes_of(self, assignment: m.Assignment) -> bytes:
        """What the disk has that the tables do not know; once an attempt."""
        key = assignment.job.job_id, assignment.epoch
        if key not in self.found:
            self.found[key] = self._changes(assignment.epoch)
        return self.found[key]

    def _changes(self, at_least_seq: int) -> bytes:
        known = self._known(at_least_seq)
        if known is None:
            raise OSError("the tables do not answer")
        self.scans += 1
        writer, has_any = ChangeWriter(), False
        for number, content in sorted(self.disk.items()):
            before = known.get(f"{number:016x}")
            if before != _hash(content):
                writer.add("new" if before is None else "changed", _row(number, content))
                has_any = True
        return writer.finish() if has_any else b""

    def _known(self, at_least_seq: int) -> dict[str, str] | None:
        shown = cast(TableProjector, self.shell.projector).projection if self.shell is not None else None
        if shown is None or shown.seq < at_least_seq:
            return None
        rows = shown.query("select id, content_hash from scout_files").to_pylist()
        return {row["id"]: row["content_hash"] for row in rows}

    def _is_known(self) -> bool:
        """Whether the tables know every file as it is now."""
        return self._known(0) == {f"{number:016x}": _hash(content) for number, content in self.disk.items()}

    # --- the end

    def _is_over(self) -> bool:
        if self.is_ending:
            return super()._is_over()
        if self.is_bad or self.agenda.now_s < self.looked_at_s + _LOOK_SECONDS:
            return False
        self.looked_at_s = self.agenda.now_s
        shell = self.shell
        if shell is None or shell.booted.state.jobs or not shell.planner.is_idle or self.unhandled:
            return False
        return self._is_known() and super()._is_over()

    @property
    def unhandled(self) -> set[str]:
        """Contents that lie on the disk and were neither committed nor tried in vain."""
        wanted = {_hash(content) for content in self.disk.values()}
        for event in self.platter.events:
            if event.type == "JobQueued":
                work, job_id = event.data["job"]["work"], event.data["job"]["job_id"]
                if work["kind"] == "PARSE" and job_id not in self.live_judge.open_jobs:
                    wanted.discard(work["input"]["content_hash"])
        return wanted

    def _judge_queued(self) -> None:
        if self.unhandled:
            raise Violated(f"I4: {sorted(self.unhandled)} were found and never processed")
        if not self.seed % _CHECK_TABLES_EVERY:
            self._judge_tables()

    def _judge_tables(self) -> None:
        """What grew batch by batch, through kills of the projector, is what the log says from its beginning."""
        shell = self.shell
        assert shell is not None
        grown = cast(TableProjector, shell.projector).projection
        if grown is None:
            return
        with self.fs.untroubled(), self.open_tables("again.duckdb") as again:
            reader = LogReader(self.fs, self.home.log)
            end = shell.journal.durable.position
            projector._apply(grown, reader, end, 500)
            projector._apply(again, LogReader(self.fs, self.home.log), end, 500)
            if tables(grown) != tables(again):
                raise Violated("I9: the tables differ from what a rebuild says")


@cache
def _hash(content: int) -> str:
    return blake3(b"%d" % content).hexdigest()


def _row(number: int, content: int) -> FileRow:
    return FileRow(
        id=f"{number:016x}",
        path=f"{_SOURCE}/f{number}",
        rel_path=f"f{number}",
        size=content,
        mtime_ns=content,
        device=1,
        inode=number,
        content_hash=_hash(content),
        kind="text",
        tags=(_TOPIC,),
        tag_rule_ids=(None,),
    )
