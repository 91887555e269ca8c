"""A sentinel's core on the table: commands go in by short words, the log and every effect can be looked at."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from casparian_protocol.jobs import (
    JobError,
    JobInput,
    JobSpec,
    JobState,
    Manifest,
    OutputAccounting,
    ParseWork,
    StagedFile,
)
from casparian_protocol.settings import LivenessSettings, RetrySettings
from casparian_protocol.wire import Progress
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.core.decision import Decision, Effect, SendToWorker
from casparian_sentinel.core.folding import validate
from casparian_sentinel.core.handlers import decide, step
from casparian_sentinel.core.presence import WorkerPresence, after_boot
from casparian_sentinel.core.snapshot import dump
from casparian_sentinel.core.state import OpenJob, State
from casparian_sentinel.log.format import LogRecord

ANN = "user:ann@cli"
CONTRACT = "c" * 64
ARTIFACT = "a" * 64
DIGEST = "d" * 64


#: Tables with so little on them are looked at before and after every judgement.
_LOOKED_AT = 20


class Table:
    """One process of a sentinel, with the log it wrote."""

    def __init__(self, *, retry: RetrySettings | None = None) -> None:
        self.liveness = LivenessSettings()
        self.retry = retry or RetrySettings()
        self.state = State()
        self.presence = WorkerPresence(self.liveness, self.retry)
        self.log: list[LogRecord] = []
        self.wall_us = 1_000_000
        self.now_s = 100.0

    def do(self, command: c.Command) -> Decision:
        now = c.Now(self.wall_us, self.now_s)
        if len(self.state.jobs) + len(self.presence.workers) <= _LOOKED_AT:
            self.decides_without_a_trace(command, now)
        decision = step(self.state, self.presence, command, now)
        validate(self.state)
        seq = decision.first_seq
        for fact in decision.facts():
            self.log.append(LogRecord(seq, *fact))
            seq += 1
        return decision

    def decides_without_a_trace(self, command: c.Command, now: c.Now) -> None:
        """Neither state nor presence may tell that a command was ever judged, before its decision is made so."""
        state, presence = dump(self.state), deepcopy(self.presence)
        decide(self.state, self.presence, command, now)
        assert dump(self.state) == state, f"judging {command} changed the state"
        assert self.presence == presence, f"judging {command} changed what is known of workers"

    def restart(self, state: State) -> None:
        """Another process takes over the log."""
        self.state = state
        self.presence = after_boot(state, c.Now(self.wall_us, self.now_s), self.liveness, self.retry)

    def wait(self, seconds: float) -> Decision:
        self.now_s += seconds
        self.wall_us += int(seconds * 1_000_000)
        return self.do(c.Tick())

    # --- short words ---

    def register(
        self, version: str = "1.0", *, parser: str = "advice", contract: str = CONTRACT, **more: Any
    ) -> Decision:
        facts = c.ContractFacts(f"{parser}-{version}", f"scope-{version}", "orders", contract, 3)
        settings: dict[str, Any] = {
            "artifact": ARTIFACT,
            "outputs": {"orders": contract},
            "contracts": (facts,),
            "entry": "advice.py",
            **more,
        }
        return self.do(c.RegisterParser("p" * 16, parser, version, actor=ANN, **settings))

    def approve(self, selector: str = "advice") -> Decision:
        return self.do(c.DecideContract(selector, True, "looks right", ANN))

    def with_parser(self) -> Table:
        self.register()
        self.approve()
        return self

    def queue(self, *specs: JobSpec, position: int | None = None) -> Decision:
        return self.do(c.QueueJobs(specs, self.state.seq if position is None else position))

    def hello(
        self, worker: str = "w1", *holding: m.Held, pid: int = 7, protocol: int = m.PROTOCOL_VERSION, host: str = "here"
    ) -> Decision:
        message = m.Hello(
            protocol=protocol,
            worker_id=worker,
            host=host,
            pid=pid,
            slots=4,
            version="0",
            sandbox="none",
            holding=list(holding),
        )
        return self.do(c.HelloReceived(worker, message))

    def want(self, credit: int = 1, worker: str = "w1") -> Decision:
        return self.do(c.WantReceived(worker, credit))

    def running(self, job: JobSpec | None = None, worker: str = "w1") -> m.Held:
        """A job on its way: queued, leased, started; its lease."""
        self.queue(job or spec())
        if worker not in self.presence.workers:
            self.hello(worker)
        assigned = assignments(self.want(worker=worker))[0]
        self.started(m.Held(job_id=assigned.job.job_id, epoch=assigned.epoch), worker)
        return m.Held(job_id=assigned.job.job_id, epoch=assigned.epoch)

    def started(self, lease: m.Held, worker: str = "w1") -> Decision:
        item = m.StartedJob(job_id=lease.job_id, epoch=lease.epoch, guest_pid=99)
        return self.do(c.JobsStarted(worker, m.Started(jobs=[item])))

    def finish(self, lease: m.Held, manifest: Manifest | None = None, worker: str = "w1", **more: Any) -> Decision:
        item = c.FinishedItem(lease.job_id, lease.epoch, manifest or offer(), **more)
        return self.do(c.FinishReceived(worker, [item]))

    def fail(
        self, lease: m.Held, code: str = "TIMEOUT", *, retryable: bool = True, worker: str = "w1", **more: Any
    ) -> Decision:
        error = JobError(code=code, message="it failed", retryable=retryable)
        return self.do(c.FailReceived(worker, m.Fail(job_id=lease.job_id, epoch=lease.epoch, error=error, **more)))

    def beat(self, *leases: m.Held, rows: int | None = None, worker: str = "w1") -> Decision:
        done = None if rows is None else Progress(items_done=rows, unit="rows")
        jobs = [m.Beat(job_id=lease.job_id, epoch=lease.epoch, progress=done) for lease in leases]
        return self.do(c.BeatReceived(worker, m.Heartbeat(seq=1, jobs=jobs)))

    def release(self, *leases: m.Held, worker: str = "w1") -> Decision:
        return self.do(c.ReleaseReceived(worker, m.Released(jobs=list(leases))))

    def job(self, job_id: str | None = None) -> OpenJob:
        return self.state.jobs[job_id or spec().job_id]

    def count(self, state: JobState) -> int:
        return self.state.counts[state]


def spec(number: int = 1, *, parser: str = "advice", version: str = "1.0", **more: Any) -> JobSpec:
    settings: dict[str, Any] = {
        "artifact": ARTIFACT,
        "contracts": {"orders": CONTRACT},
        "input": JobInput(path=f"/data/{number}.fix", content_hash="f" * 64, size=10),
        **{name: value for name, value in more.items() if name in ParseWork.names()},
    }
    settings.setdefault("output_versions", dict.fromkeys(settings["contracts"], 1))
    common = {"key": f"key-{number}", **{name: value for name, value in more.items() if name not in settings}}
    work = ParseWork(parser=parser, parser_version=version, **settings)
    return JobSpec(job_id=f"{number:016x}", work=work, **common)


def offer(valid: int = 3, quarantined: int = 0, **more: Any) -> Manifest:
    """A manifest that adds up."""
    files = [StagedFile(name="data.orders.0.parquet", kind="data", output="orders", rows=valid, bytes=1, digest=DIGEST)]
    if quarantined:
        name = "quarantine.orders.0.parquet"
        files.append(
            StagedFile(name=name, kind="quarantine", output="orders", rows=quarantined, bytes=1, digest=DIGEST)
        )
    accounting = OutputAccounting(
        status="success", received=valid + quarantined, valid=valid, quarantined=quarantined, contract_hash=CONTRACT
    )
    settings: dict[str, Any] = {"files": files, "outputs": {"orders": accounting}, "source_hash": "f" * 64, **more}
    return Manifest(**settings)


def types(decision: Decision) -> list[str]:
    return [event.about.name for event in decision.events]


def sent(decision: Decision, kind: type[m.Message]) -> list[Any]:
    return [e.message for e in decision.effects if isinstance(e, SendToWorker) and isinstance(e.message, kind)]


def effects(decision: Decision) -> list[Effect]:
    """What is to be done beside sending messages."""
    return [effect for effect in decision.effects if not isinstance(effect, SendToWorker)]


def assignments(decision: Decision) -> list[m.Assignment]:
    return [assignment for message in sent(decision, m.Assign) for assignment in message.jobs]
