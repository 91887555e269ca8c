"""One input through one parser in dev mode: the worker's guest, stream and validation, with a screen instead of staging.

The guest has the user's environment, terminal and process group, and no limits. Quarantine policies are not applied:
violations are counted. What a parser does wrong is an `InputRun` with an error, never an exception.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from casparian.devrun.observe import Observer, OnRows
from casparian.devrun.parser import DevParser
from casparian.devrun.report import InputRun
from casparian.devrun.takers import DevTaker, JudgedTaker, Room, UnjudgedTaker
from casparian.exits import UsageProblem, WorkFailed
from casparian_protocol.errors import CasparianError
from casparian_protocol.jobs import JobError, RecordAccounting
from casparian_shim.frames import LogLevel, StreamCut
from casparian_shim.job import DEV, GuestJob
from casparian_shim.text import scrub
from casparian_worker.execute.ending import error_after_cut, error_after_end
from casparian_worker.execute.failures import Unaccounted, UndeclaredOutput, of_exception, of_report
from casparian_worker.execute.records import SourceRecords, all_skips
from casparian_worker.execute.source import Source
from casparian_worker.execute.stopping import CancelToken
from casparian_worker.execute.stream import GuestStream, StreamCounters, Watchdog
from casparian_worker.guest import ColdSpawner, Environment, Guest, GuestSpec
from casparian_worker.staging import Lineage

#: Stands where a job's id would: these rows are of no job.
DEV_JOB = "run"
_START_SECONDS = 60.0


def run_input(
    parser: DevParser,
    path: Path,
    *,
    params: Mapping[str, Any],
    python: str,
    limit: int | None,
    rows_shown: int,
    on_rows: OnRows | None,
) -> InputRun:
    """Run a copy of the parser's bundle on one file; what came of it. Only errors of `on_rows` are raised."""
    began_s = time.monotonic()
    try:
        source = Source(str(path.absolute()), follow_links=True)
    except CasparianError as unreadable:
        return InputRun(str(path), "", 0.0, {}, {}, False, of_exception(unreadable, "environment"))
    run = _Run(parser, source, Room(limit), rows_shown, on_rows, SourceRecords(source.size_bytes, source.descriptor))
    error: JobError | None
    try:
        error = run.parse(params, python)
        source.expect_unchanged()
    except (UsageProblem, WorkFailed):
        raise
    except CasparianError as wrong:
        error = of_exception(wrong)
    finally:
        source.close()
    seconds = time.monotonic() - began_s
    observers = {name: consumer.observer for name, consumer in run.takers.items()}
    return InputRun(
        str(path),
        source.content_hash,
        seconds,
        observers,
        all_skips(run.counters.told.skips, run.records.skips),
        run.room.is_full,
        error,
        run.accounting,
    )


@dataclass(slots=True)
class _Run:
    """One guest on one file."""

    parser: DevParser
    source: Source
    room: Room
    rows_shown: int
    on_rows: OnRows | None
    records: SourceRecords
    accounting: RecordAccounting | None = None
    counters: StreamCounters = field(default_factory=StreamCounters)
    takers: dict[str, DevTaker] = field(default_factory=dict)

    def parse(self, params: Mapping[str, Any], python: str) -> JobError | None:
        """None when all went well; raises what the worker found wrong."""
        for name in sorted(self.parser.contracts):
            self._taker(name)
        with tempfile.TemporaryDirectory(prefix="casparian-run-") as folder:
            scratch, bundle = Path(folder).resolve() / "scratch", Path(folder).resolve() / "bundle"
            scratch.mkdir()
            self.parser.unpack(bundle)
            spec = self._spec(params, scratch, bundle)
            guest = ColdSpawner().start(spec, Environment(python), _nothing_is_drained)
            try:
                return self._listen(guest, spec.job.token, bundle)
            finally:
                guest.end()

    def _listen(self, guest: Guest, token: str, bundle: Path) -> JobError | None:
        log = _TerminalLog()
        stream = GuestStream(
            guest.stream,
            token=token,
            watchdog=Watchdog(CancelToken(), None, None, log, start_seconds=_START_SECONDS, has_ended=guest.has_ended),
            find_output=self._taker,
            log=log,
            counters=self.counters,
            limits=None,
            records=self.records,
            rows_wanted=self.room.limit,
        )
        try:
            failure = stream.read()
        except StreamCut as cut:
            raise error_after_cut(guest, cut, cpu_seconds=None) from cut
        if failure is not None:
            return of_report(failure.report, bundle, is_dev=True)
        if not self.room.is_full:
            wrong = error_after_end(guest, stream.reader, cpu_seconds=None)
            if wrong is not None:
                raise wrong
        for consumer in self.takers.values():
            consumer.finish()
        if not self.room.is_full:
            self.accounting = self.records.accounting(sum(self.counters.told.skips.values()))
            if self.accounting.gap and not self.parser.metadata.may_drop_records:
                raise Unaccounted(self.accounting.gap)
        return None

    def _taker(self, name: str) -> DevTaker:
        if name not in self.takers:
            contracts = self.parser.contracts
            contract = contracts.get(name)
            if contracts and contract is None:
                raise UndeclaredOutput(name, sorted(contracts))
            observer = Observer(name, contract, self.rows_shown, self.on_rows)
            lineage = Lineage(self.source.content_hash, DEV_JOB, time.time_ns() // 1000, self.parser.metadata.version)
            self.takers[name] = (
                UnjudgedTaker(observer, lineage, self.room, self.records)
                if contract is None
                else JudgedTaker(contract, observer, lineage, self.room, self.records)
            )
        return self.takers[name]

    def _spec(self, params: Mapping[str, Any], scratch: Path, bundle: Path) -> GuestSpec:
        return GuestSpec(
            job=GuestJob(
                token=secrets.token_hex(16),
                socket_fd=-1,
                parser_path=str(bundle),
                entry=self.parser.entry,
                shown_path=str(self.parser.file.absolute().parent),
                input_path=self.source.path,
                outputs=tuple(sorted(self.parser.contracts)),
                params=dict(params),
                scratch_path=str(scratch),
                job_id=DEV_JOB,
                source_hash=self.source.content_hash,
                mode=DEV,
            ),
            variables=dict(os.environ),
            directory=Path.cwd(),
            input_fd=self.source.descriptor,
            options=(),
            is_contained=False,
        )


class _TerminalLog:
    """What a parser logs goes to stderr as it comes."""

    def write(self, level: LogLevel, origin: Literal["guest", "worker"], text: str) -> None:
        for line in text.split("\n"):
            print(f"{level.name.lower():<7}  {scrub(line)}", file=sys.stderr, flush=True)

    def flush(self) -> None:
        """Every line is out already."""


def _nothing_is_drained(level: LogLevel, data: bytes) -> None:
    """A guest that is not contained writes to the terminal itself."""
