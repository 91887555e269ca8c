"""A world whose parser fails on everything until it is mended, and a judge of circuit breakers with a memory of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

from casparian_protocol.jobs import JobError
from casparian_protocol.settings import BreakerSettings
from casparian_sentinel import core as c
from casparian_sentinel.core.decision import Decision
from tests.sentinel.core.play import ANN
from tests.simulation.faults import Faults, Shape
from tests.simulation.invariants import Violated
from tests.simulation.world import SETTINGS, World

TRIPS_AFTER = 3
COOLDOWN_SECONDS = 0.6
_MENDED_AFTER_SECONDS = 3.0
_RESUMES_EVERY_SECONDS = 1.0
_ENDS_A_LEASE = frozenset(
    {"LeaseExpired", "JobOutputsCommitted", "JobFailed", "JobRetryScheduled", "JobDeadLettered", "JobCancelled"}
)
_FAILURES = frozenset({"JobFailed", "JobRetryScheduled", "JobDeadLettered"})


@dataclass(slots=True)
class BreakerJudge:
    """Follows one parser version by its events. A crash may keep a failure and lose the pause that came with it."""

    state: str = "closed"
    failures: int = 0
    #: Leased since the breaker became half-open.
    probes: set[str] = field(default_factory=set)
    pauses: int = 0

    def see(self, kind: str, data: dict[str, object]) -> None:
        job_id = str(data.get("job_id", ""))
        error = data.get("error")
        if kind == "JobLeased":
            self._lease(job_id)
        elif kind in _ENDS_A_LEASE:
            self.probes.discard(job_id)
        if kind in _FAILURES and isinstance(error, dict) and error["origin"] == "parser":
            self.failures += 1
        elif kind == "JobOutputsCommitted":
            self.failures = 0
        elif kind == "ParserPaused":
            if self.failures < TRIPS_AFTER and self.state == "closed":
                raise Violated(f"breaker: paused after {self.failures} failures")
            self.state, self.pauses = "open", self.pauses + 1
        elif kind == "ParserHalfOpened":
            if self.state != "open":
                raise Violated(f"breaker: half-opened while {self.state}")
            self.state, self.probes = "half_open", set()
        elif kind == "ParserResumed":
            self.state, self.failures, self.probes = "closed", 0, set()

    def _lease(self, job_id: str) -> None:
        if self.state == "open":
            raise Violated(f"breaker: {job_id} is leased although its parser is paused")
        if self.state == "half_open":
            self.probes.add(job_id)
            if len(self.probes) > 1:
                raise Violated(f"breaker: {sorted(self.probes)} probe at once")


class FailingWorld(World):
    """The parser is mended after a while. Without a cool-down a person resumes it now and then."""

    def __init__(
        self, seed: int, faults: Faults | None = None, *, cooldown_seconds: float = COOLDOWN_SECONDS, jobs: int = 12
    ) -> None:
        super().__init__(seed, faults, Shape(workers=3, jobs=jobs))
        breaker = BreakerSettings(consecutive_failures=TRIPS_AFTER, cooldown_seconds=cooldown_seconds)
        self.settings = SETTINGS.model_copy(update={"breaker": breaker})
        self.breaker = BreakerJudge()
        self.has_tripped = False
        if not cooldown_seconds:
            self.agenda.after(_RESUMES_EVERY_SECONDS, self._resume)

    def verdict(self, job_id: str) -> tuple[str, bool]:
        if self.agenda.now_s > _MENDED_AFTER_SECONDS:
            return "", False
        return ("TIMEOUT", True) if (self.seed + int(job_id, 16)) % 3 else ("INVALID_DATA", False)

    def error_of(self, job_id: str, code: str, is_retryable: bool) -> JobError:
        """By the parser's own making, with one of two causes."""
        return JobError(
            code=code,
            retryable=is_retryable,
            origin="environment" if code == "DISK_FULL" else "parser",
            fingerprint=f"{int(job_id, 16) % 2:016x}",
        )

    def decided(self, decision: Decision) -> None:
        super().decided(decision)
        for event in decision.events:
            self.breaker.see(event.about.name, event.to_data())
        self.has_tripped |= self.breaker.pauses > 0

    def _boot(self) -> None:
        before = self.shell
        super()._boot()
        if self.shell is not None and self.shell is not before:  # what was not durable did not happen
            self.breaker = BreakerJudge()
            for event in self.platter.events:
                self.breaker.see(event.type, event.data)

    def _resume(self) -> None:
        self.agenda.after(_RESUMES_EVERY_SECONDS, self._resume)
        if self.shell is not None and self.shell.is_ready and "advice" in self.shell.booted.state.parsers:
            self.shell.engine.submit(c.ResumeParser("advice", "looked at it", ANN))
