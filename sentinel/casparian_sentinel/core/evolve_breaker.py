"""Folding what happens to jobs and parsers into circuit breakers."""

from __future__ import annotations

from casparian_protocol.errors import is_parsers_own
from casparian_protocol.jobs import JobError
from casparian_protocol.jobs.kinds import Work
from casparian_sentinel.core.breaker import CLOSED, HALF_OPEN, OPEN, Breaker
from casparian_sentinel.core.state import OpenJob, State

_CONTENT_DIGITS = 16


def failed(state: State, job: OpenJob, error: JobError | None) -> None:
    """An attempt failed; only what the parser did itself counts."""
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
    """The first job of a half-open version is its probe; the core leases no second one meanwhile."""
    breaker = state.breakers.get((job.work.parser, job.work.parser_version))
    if breaker is not None and breaker.state == HALF_OPEN and not breaker.probe:
        breaker.probe = job.job_id


def unleased(state: State, job: OpenJob) -> None:
    """The attempt is over, however: another job may probe."""
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
    """Of one version, or of all when `version` is empty."""
    for key in [key for key in state.breakers if key[0] == parser and version in ("", key[1])]:
        del state.breakers[key]
