"""PARSE: open the input, run the parser in a guest, validate and stage its rows, build the manifest.

`execute` returns an `Outcome` for any error of a parser, an input or a disk, and raises only `Stopped`, when the attempt was
asked to stop. No process and no scratch directory is left in any case; staging is left only for an outcome that names files, and
is durable only once the caller has synced it.
"""

from __future__ import annotations

import importlib.metadata
import secrets
import time
import zoneinfo
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from pathlib import Path

from casparian_protocol.contract import Contract, QuarantinePolicy, cascade
from casparian_protocol.errors import CasparianError
from casparian_protocol.jobs import JobError, Manifest, RecordAccounting, StagedFile
from casparian_protocol.jobs.kinds import ParseBriefing, ParseWork
from casparian_protocol.parsers import read_metadata, source_text
from casparian_protocol.settings import Settings
from casparian_shim.frames import LogLevel, StreamCut
from casparian_shim.frames.kinds import GuestJob, Hello
from casparian_worker.discovery.files import path_os
from casparian_worker.execute.failures import QuarantineExceeded, Unaccounted, of_exception, of_report
from casparian_worker.execute.files import InputUnreadable, JobLog, Origin, Source, held_scratch, joblog_path
from casparian_worker.execute.outputs import JudgedOutput, Lineage, StagedRowWriter, consumer_among, hash_of
from casparian_worker.execute.records import SourceRecords, all_skips
from casparian_worker.execute.run import (
    CancelToken,
    Failed,
    Finished,
    JobRun,
    Outcome,
    Stopped,
    StreamCounters,
    WorkerContext,
)
from casparian_worker.execute.stream import GuestStream, Watchdog, arrow_limits, error_after_cut, error_after_end
from casparian_worker.guest import (
    BASE_ENVIRONMENT,
    Environment,
    Guest,
    GuestSpec,
    Level,
    limits_from,
    require_level,
    scrubbed_variables,
)
from casparian_worker.sinks import ParquetStaging, WriterSettings
from casparian_worker.staging import StagingDirectory

_FIRST_LINE_CHARACTERS = 100
#: The limit for the waiting rows of all outputs of an attempt together.
_ROW_GROUPS_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ParseTask:
    """One lease of one PARSE job, with everything fetched."""

    job_id: str
    work: ParseWork
    attempt: int
    epoch: int
    leased_at_us: int
    bundle: Path
    entry: str
    contracts: dict[str, Contract]
    #: What the parser may import.
    environment: Environment = BASE_ENVIRONMENT
    is_alone: bool = False


def execute(
    task: ParseTask,
    context: WorkerContext,
    stop: CancelToken,
    *,
    counters: StreamCounters | None = None,
    on_started: Callable[[int], None] = lambda guest_pid: None,
) -> Outcome:
    """Run one attempt to its end, in a thread that lives as long as the worker. Raises `Stopped`."""
    staging = StagingDirectory(context.home.staging, task.job_id, task.epoch)
    attempt = _Attempt(task, context, stop, staging, counters or StreamCounters(), on_started)
    outcome: Outcome | None = None
    try:
        outcome = attempt.run()
        return outcome
    finally:
        if outcome is None or (isinstance(outcome, Failed) and outcome.staging is None):
            staging.remove()


@dataclass(slots=True)
class _Attempt:
    task: ParseTask
    context: WorkerContext
    stop: CancelToken
    staging: StagingDirectory
    counters: StreamCounters
    on_started: Callable[[int], None]
    began_s: float = field(default_factory=time.monotonic)
    guest_seconds: float = 0.0
    level: Level = "none"
    outputs: dict[str, JudgedOutput] = field(default_factory=dict)
    writers: dict[str, StagedRowWriter] = field(default_factory=dict)
    source: Source | None = None
    records: SourceRecords | None = None

    def run(self) -> Outcome:
        """Run the attempt. A log that cannot be written fails it, like outputs that cannot be written, unless it was stopped."""
        try:
            log = self._open_log()
            try:
                outcome = self._run_and_log(log)
            except BaseException:
                with suppress(OSError):
                    log.close()
                raise
            log.close()
            return outcome
        except OSError as cause:  # raised by the log; any other error is already an outcome
            return Failed(of_exception(cause, "environment"))
        finally:
            if self.source is not None:
                self.source.close()

    def _run_and_log(self, log: JobLog) -> Outcome:
        try:
            alone = ", alone on its host: an earlier one ran out of memory" if self.task.is_alone else ""
            log.write(LogLevel.INFO, "worker", f"Attempt {self.task.attempt} (epoch {self.task.epoch}) begins{alone}.")
            outcome = self._run(log)
            log.write(*_last_words(outcome))
            return outcome
        except Stopped as stopped:
            log.write(LogLevel.WARNING, "worker", f"Stopped: {stopped.cause.value}.")
            raise

    def _run(self, log: JobLog) -> Outcome:
        try:
            return self._parse(log)
        except Stopped:
            raise
        except QuarantineExceeded as exceeded:
            return self._keep_quarantine(exceeded)
        except InputUnreadable as unreadable:
            return Failed(of_exception(unreadable, "environment"))
        except CasparianError as error:
            return Failed(of_exception(error))
        except Exception as accident:  # noqa: BLE001 -- a bug ends only this attempt, and is reported
            is_disk = isinstance(accident, OSError | MemoryError)
            return Failed(of_exception(accident, "environment" if is_disk else "worker"))

    def _parse(self, log: JobLog) -> Outcome:
        context, task = self.context, self.task
        require_level(context.settings.sandbox.minimum, context.spawner.machine)
        self.stop.check()
        self.source = Source(path_os(task.work.input.path), follow_links=context.follow_links)
        self.source.expect(task.work.input.content_hash)
        self.records = SourceRecords(self.source.size_bytes, self.source.descriptor)
        self._prepare_outputs(log)
        scratch = context.home.scratch / f"{task.job_id}-{self.task.epoch}"
        try:
            with held_scratch(scratch):
                error = self._run_guest(scratch, log)
        except (CasparianError, OSError):
            self.source.expect_unchanged()  # a parser may fail because the file changed while it was read
            raise
        self.source.expect_unchanged()
        if error is not None:
            return Failed(error)
        for output in self.outputs.values():
            output.finish()
        accounting = self.records.accounting(sum(self.counters.reported.skips.values()))
        if accounting.gap and not may_drop_records(self.task.bundle, self.task.entry):
            raise Unaccounted(accounting.gap)
        files = [file for writer in self.writers.values() for file in writer.close()]
        return Finished(self._manifest(files, accounting), self.staging)

    def _run_guest(self, scratch: Path, log: JobLog) -> JobError | None:
        """None if everything was sent and the guest exited normally; otherwise the guest's own report."""
        assert self.records is not None
        began_s, limits = time.monotonic(), self.context.settings.limits
        spec = self._guest_spec(scratch)
        guest = self.context.spawner.start(spec, self.task.environment, log.write_raw)
        try:
            self.stop.attach(guest)
            self.on_started(guest.pid)
            watchdog = Watchdog(
                self.stop,
                limits,
                scratch,
                log,
                start_seconds=self.context.start_seconds,
                has_ended=guest.has_ended,
                guest_pid=guest.pid,
            )
            stream = GuestStream(
                guest.stream,
                token=spec.job.token,
                watchdog=watchdog,
                find_output=consumer_among(self.outputs),
                log=log,
                counters=self.counters,
                limits=limits,
                records=self.records,
                greet=partial(self._greeted, guest),
                also_read=guest.also_read,
            )
            try:
                failure = stream.read()
            except StreamCut as cut:
                self.stop.check()
                raise error_after_cut(guest, cut, cpu_seconds=limits.cpu_seconds) from cut
            if failure is not None:
                return of_report(failure.report, self.task.bundle)
            wrong = error_after_end(guest, stream.reader, cpu_seconds=limits.cpu_seconds)
            self.stop.check()
            if wrong is not None:
                raise wrong
            return None
        finally:
            self.stop.detach()
            guest.end()
            self.guest_seconds = time.monotonic() - began_s

    def _greeted(self, guest: Guest, hello: Hello) -> None:
        guest.greeted(hello)
        self.level = guest.level

    def _guest_spec(self, scratch: Path) -> GuestSpec:
        assert self.source is not None
        task, context = self.task, self.context
        return GuestSpec(
            job=GuestJob(
                token=secrets.token_hex(16),
                socket_fd=-1,
                parser_path=str(self.task.bundle),
                entry=self.task.entry,
                input_path=self.source.path,
                outputs=tuple(sorted(self.task.contracts)),
                params=dict(task.work.params),
                scratch_path=str(scratch),
                job_id=task.job_id,
                source_hash=self.source.content_hash,
                batch_bytes=context.settings.limits.batch_bytes,
            ),
            variables=scrubbed_variables(scratch),
            directory=scratch,
            limits=limits_from(context.settings.limits),
            input_fd=self.source.descriptor,
        )

    def _prepare_outputs(self, log: JobLog) -> None:
        assert self.source is not None and self.records is not None
        task, context = self.task, self.context
        settings = context.settings
        sink = ParquetStaging(self.staging, context.meters)
        lineage = Lineage(
            self.source.content_hash,
            task.job_id,
            self.task.leased_at_us,
            task.work.parser_version,
            has_dictionaries=True,
        )
        for name, contract in sorted(self.task.contracts.items()):
            writing = WriterSettings(
                row_group_rows=settings.outputs.row_group_rows,
                row_group_bytes=_ROW_GROUPS_BYTES // len(self.task.contracts),
                compression=settings.outputs.compression,
                columns=len(contract.columns),
                metadata={
                    "cf.contract": hash_of(contract),
                    "cf.parser": f"{task.work.parser} {task.work.parser_version}",
                },
            )
            writer = self.writers[name] = StagedRowWriter(sink, name, lineage, writing)
            self.outputs[name] = JudgedOutput(
                name,
                contract,
                writer,
                policy=policy_of(task.work, name, contract, settings),
                limits=arrow_limits(settings.limits),
                warn=partial(log.write, LogLevel.WARNING, "worker"),
                records=self.records,
            )

    def _keep_quarantine(self, exceeded: QuarantineExceeded) -> Outcome:
        error = of_exception(exceeded)
        try:
            for output in self.outputs.values():
                output.release_rest()
            files = [file for writer in self.writers.values() for file in writer.close_quarantine()]
        except OSError as cause:
            return Failed(of_exception(cause, "environment"))
        return Failed(error, self._manifest(files, failed_output=exceeded.output), self.staging)

    def _manifest(
        self, files: list[StagedFile], records: RecordAccounting | None = None, *, failed_output: str = ""
    ) -> Manifest:
        assert self.source is not None and self.records is not None
        return Manifest(
            files=files,
            outputs={name: out.accounting(is_failed=name == failed_output) for name, out in self.outputs.items()},
            skipped=all_skips(self.counters.reported.skips, self.records.skips),
            records=records,
            source_hash=self.source.content_hash,
            source_bytes=self.source.size_bytes,
            sandbox=self.level,
            tz_database=tz_database(),
            guest_seconds=self.guest_seconds,
            total_seconds=time.monotonic() - self.began_s,
        )

    def _open_log(self) -> JobLog:
        day = datetime.now(UTC).date().isoformat()
        path = joblog_path(self.context.home, self.task.job_id, day)
        return JobLog(path, max_bytes=self.context.settings.job_logs.max_bytes)


@lru_cache(maxsize=256)
def may_drop_records(bundle: Path, entry: str) -> bool:
    """Whether the parser declares that records may be dropped; read from its source without running it."""
    try:
        return read_metadata(source_text((bundle / entry).read_bytes(), entry), entry).may_drop_records
    except CasparianError:  # it was registered with an older version, which did not know this declaration
        return False


def policy_of(work: ParseWork, output: str, contract: Contract, settings: Settings) -> QuarantinePolicy:
    """The policy resolved when the job was queued; without one, the policy of the settings and the contract."""
    if output in work.policies:
        return cascade(QuarantinePolicy.model_validate(work.policies[output]))
    configured = settings.quarantine
    layer = QuarantinePolicy(allow=configured.allow, max_pct=configured.max_pct, max_count=configured.max_count)
    return cascade(layer, contract.quarantine)


def _last_words(outcome: Outcome) -> tuple[LogLevel, Origin, str]:
    if isinstance(outcome, Failed):
        return LogLevel.ERROR, "worker", f"Failed: {outcome.error.code}: {outcome.error.message}"
    manifest = outcome.manifest
    numbers = f"{manifest.valid_rows:,} rows valid, {manifest.quarantined_rows:,} quarantined"
    return LogLevel.INFO, "worker", f"Done: {numbers}, {manifest.total_seconds:.3f} s."


@cache
def tz_database() -> str:
    """The release of the time zone database in use, `2024b`, which determines zoned values. Empty if unknown."""
    for folder in zoneinfo.TZPATH:
        try:
            with (Path(folder) / "tzdata.zi").open(encoding="ascii", errors="replace") as lines:
                words = lines.readline(_FIRST_LINE_CHARACTERS).split()
        except OSError:
            continue
        if words[:2] == ["#", "version"] and len(words) > 2:
            return words[2][:32]
    try:
        return importlib.metadata.version("tzdata")[:32]
    except importlib.metadata.PackageNotFoundError:
        return ""


def run_parse(run: JobRun) -> Outcome:
    assignment = run.assignment
    work, briefing = assignment.job.work, assignment.briefing
    assert isinstance(work, ParseWork) and isinstance(briefing, ParseBriefing)
    task = ParseTask(
        job_id=assignment.job.job_id,
        work=work,
        attempt=assignment.attempt,
        epoch=assignment.epoch,
        leased_at_us=assignment.leased_at,
        bundle=run.bundle(work.artifact),
        entry=briefing.entry,
        contracts={output: run.contract(digest) for output, digest in work.contracts.items()},
        is_alone=assignment.is_alone,
    )
    return execute(task, run.context, run.stop, counters=run.counters, on_started=run.on_started)
