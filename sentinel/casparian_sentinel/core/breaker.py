"""Circuit breakers: when a failing parser version is paused, when it is tried again, and when it runs normally again.

Only failures that the parser itself causes are counted (`casparian_protocol.errors.is_parsers_own`). An open breaker cools down
in monotonic time; then one job at a time runs as a probe. A probe that fails through the parser opens the breaker again; a probe
that fails through the machine is repeated with another job. The first half of this module folds events into `State.breakers`,
the second half decides.
"""

from __future__ import annotations

from dataclasses import replace

from casparian_protocol.errors import is_parsers_own
from casparian_protocol.events import ParserHalfOpened, ParserPaused, ParserResumed
from casparian_protocol.jobs import JobError
from casparian_protocol.jobs.kinds import Work
from casparian_sentinel.core.commands import SENTINEL
from casparian_sentinel.core.decision import DecisionBuilder
from casparian_sentinel.core.state import CLOSED, HALF_OPEN, OPEN, Breaker, OpenJob, State

_CONTENT_DIGITS = 16


def failed(state: State, job: OpenJob, error: JobError | None) -> None:
    """Count a failed attempt if the parser itself caused the failure."""
    if error is None or not is_parsers_own(error.origin, error.code):
        return
    key = (job.work.parser, job.work.parser_version)
    breaker = state.breakers.get(key)
    if breaker is None:
        breaker = state.breakers[key] = Breaker(*key)
    count(breaker, job, error)


def count(breaker: Breaker, job: OpenJob, error: JobError) -> None:
    breaker.count(error.fingerprint, job.work.content[:_CONTENT_DIGITS])


def succeeded(state: State, work: Work) -> None:
    key = (work.parser, work.parser_version)
    breaker = state.breakers.get(key)
    if breaker is None:
        return
    if breaker.state == CLOSED:
        del state.breakers[key]
    else:
        breaker.forget()


def leased(state: State, job: OpenJob) -> None:
    """The first job leased from a half-open version is its probe; no second job is leased until the probe ends."""
    breaker = state.breakers.get((job.work.parser, job.work.parser_version))
    if breaker is not None and breaker.state == HALF_OPEN and not breaker.probe:
        breaker.probe = job.job_id


def unleased(state: State, job: OpenJob) -> None:
    """The attempt is over, whatever its outcome, so another job may be the probe."""
    breaker = state.breakers.get((job.work.parser, job.work.parser_version))
    if breaker is not None and breaker.probe == job.job_id:
        breaker.probe = ""


def opened(state: State, ts: int, parser: str, version: str, reason: str) -> None:
    key = (parser, version)
    breaker = state.breakers.get(key)
    if breaker is None:
        breaker = state.breakers[key] = Breaker(*key)
    breaker.state, breaker.reason, breaker.opened_at, breaker.probe = OPEN, reason, ts, ""


def half_opened(state: State, parser: str, version: str) -> None:
    breaker = state.breakers.get((parser, version))
    if breaker is not None:
        breaker.state, breaker.probe = HALF_OPEN, ""


def closed(state: State, parser: str, version: str) -> None:
    """Close the breaker of one version, or of all versions when `version` is empty."""
    for key in [key for key in state.breakers if key[0] == parser and version in ("", key[1])]:
        del state.breakers[key]


def after_failure(decision: DecisionBuilder, job: OpenJob, error: JobError, failed: int) -> int:
    """Pause the version if this failure (event `failed`) reaches the limit; returns the pause's sequence number, or 0."""
    if not is_parsers_own(error.origin, error.code):
        return 0
    work = job.work
    known = decision.state.breakers.get((work.parser, work.parser_version))
    if known is not None and known.probe == job.job_id:
        return _open(
            decision, known, f"[CIRCUIT_BREAKER] Parser '{work.parser}' paused again: its probe failed", failed
        )
    if known is not None and known.state != CLOSED:
        return 0
    if known is None:
        grown = Breaker(work.parser, work.parser_version)
    else:
        grown = replace(known, fingerprints=list(known.fingerprints), files=list(known.files))
    count(grown, job, error)
    if not grown.is_beyond(decision.presence.breaker.consecutive_failures):
        return 0
    many = f"{grown.failures} consecutive failure{'' if grown.failures == 1 else 's'}"
    return _open(decision, grown, f"[CIRCUIT_BREAKER] Parser '{work.parser}' paused after {many}", failed)


def _open(decision: DecisionBuilder, breaker: Breaker, reason: str, failed: int) -> int:
    cooldown_seconds = decision.presence.breaker.cooldown_seconds
    paused = ParserPaused(
        name=breaker.parser, version=breaker.version, reason=reason, cooldown_seconds=cooldown_seconds
    )
    seq = decision.record(paused, actor=SENTINEL, cause=failed)
    decision.presence.cool_down(breaker.parser, breaker.version, decision.now.monotonic_s)
    return seq


def after_success(decision: DecisionBuilder, job: OpenJob, committed: int) -> None:
    """Close the breaker when a probe has committed (event `committed`)."""
    breaker = decision.state.breakers.get((job.work.parser, job.work.parser_version))
    if breaker is not None and breaker.probe == job.job_id:
        resumed = ParserResumed(name=breaker.parser, version=breaker.version, reason="its probe succeeded")
        decision.record(resumed, actor=SENTINEL, cause=committed)


def end_cooldowns(decision: DecisionBuilder) -> None:
    """Allow a probe for each version whose cool-down has ended."""
    cooling, now_s = decision.presence.cooling, decision.now.monotonic_s
    for key in [key for key, due_s in cooling.items() if due_s <= now_s]:
        cooling.drop(key)
        breaker = decision.state.breakers.get(key)
        if breaker is not None and breaker.state == OPEN:
            decision.record(ParserHalfOpened(name=breaker.parser, version=breaker.version), actor=SENTINEL)
