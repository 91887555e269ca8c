"""When a parser version is paused because of what it does, tried again, and trusted again.

Judged are failures of the parser's own making (`casparian_protocol.errors`). An open breaker cools down in monotonic time;
then one job at a time probes. A probe that fails by the parser's making opens it again; one that the machine failed is
repeated with another job.
"""

from __future__ import annotations

from dataclasses import replace

from casparian_protocol.errors import is_parsers_own
from casparian_protocol.events import ParserHalfOpened, ParserPaused, ParserResumed
from casparian_protocol.jobs import JobError
from casparian_sentinel.core import evolve_breaker
from casparian_sentinel.core.breaker import CLOSED, OPEN, Breaker
from casparian_sentinel.core.case import Case
from casparian_sentinel.core.commands import SENTINEL
from casparian_sentinel.core.state import OpenJob


def after_failure(case: Case, job: OpenJob, error: JobError, failed: int) -> int:
    """Pause the version if this failure, recorded as event `failed`, is one too many; the pause's sequence, else 0."""
    if not is_parsers_own(error.origin, error.code):
        return 0
    work = job.work
    known = case.state.breakers.get((work.parser, work.parser_version))
    if known is not None and known.probe == job.job_id:
        return _open(case, known, f"[CIRCUIT_BREAKER] Parser '{work.parser}' paused again: its probe failed", failed)
    if known is not None and known.state != CLOSED:
        return 0
    if known is None:
        grown = Breaker(work.parser, work.parser_version)
    else:
        grown = replace(known, fingerprints=list(known.fingerprints), files=list(known.files))
    evolve_breaker.count(grown, job, error)
    if not grown.is_beyond(case.live.breaker.consecutive_failures):
        return 0
    many = f"{grown.failures} consecutive failure{'' if grown.failures == 1 else 's'}"
    return _open(case, grown, f"[CIRCUIT_BREAKER] Parser '{work.parser}' paused after {many}", failed)


def _open(case: Case, breaker: Breaker, reason: str, failed: int) -> int:
    cooldown_seconds = case.live.breaker.cooldown_seconds
    paused = ParserPaused(
        name=breaker.parser, version=breaker.version, reason=reason, cooldown_seconds=cooldown_seconds
    )
    seq = case.record(paused, actor=SENTINEL, cause=failed)
    case.live.cool_down(breaker.parser, breaker.version, case.now.monotonic_s)
    return seq


def after_success(case: Case, job: OpenJob, committed: int) -> None:
    """A probe that commits, as event `committed`, closes its breaker."""
    breaker = case.state.breakers.get((job.work.parser, job.work.parser_version))
    if breaker is not None and breaker.probe == job.job_id:
        resumed = ParserResumed(name=breaker.parser, version=breaker.version, reason="its probe succeeded")
        case.record(resumed, actor=SENTINEL, cause=committed)


def end_cooldowns(case: Case) -> None:
    """Let those probe that have cooled down."""
    cooling, now_s = case.live.cooling, case.now.monotonic_s
    for key in [key for key, due_s in cooling.items() if due_s <= now_s]:
        del cooling[key]
        breaker = case.state.breakers.get(key)
        if breaker is not None and breaker.state == OPEN:
            case.record(ParserHalfOpened(name=breaker.parser, version=breaker.version), actor=SENTINEL)
