"""When a parser version is paused because of what it does, tried again, and trusted again.

Judged are failures of the parser's own making (`casparian_protocol.errors`). An open breaker cools down in monotonic time;
then one job at a time probes. A probe that fails by the parser's making opens it again; one that the machine failed is
repeated with another job.
"""

from __future__ import annotations

from dataclasses import replace

from casparian_protocol.errors import is_parsers_own
from casparian_protocol.jobs import JobError
from casparian_sentinel.core import evolve_breaker
from casparian_sentinel.core.breaker import CLOSED, OPEN, Breaker
from casparian_sentinel.core.case import Case
from casparian_sentinel.core.commands import SENTINEL
from casparian_sentinel.core.manifests import error_facts
from casparian_sentinel.core.state import OpenJob


def after_failure(case: Case, job: OpenJob, error: JobError) -> bool:
    """Pause the version if this failure, whose event is recorded already, is one too many; whether it was."""
    facts = error_facts(error)
    if not is_parsers_own(facts):
        return False
    work = job.work
    known = case.state.breakers.get((work.parser, work.parser_version))
    if known is not None and known.probe == job.job_id:
        _open(case, known, f"[CIRCUIT_BREAKER] Parser '{work.parser}' paused again: its probe failed")
        return True
    if known is not None and known.state != CLOSED:
        return False
    if known is None:
        grown = Breaker(work.parser, work.parser_version)
    else:
        grown = replace(known, fingerprints=list(known.fingerprints), files=list(known.files))
    evolve_breaker.count(grown, job, facts)
    if not grown.is_beyond(case.live.breaker.consecutive_failures):
        return False
    many = f"{grown.failures} consecutive failure{'' if grown.failures == 1 else 's'}"
    _open(case, grown, f"[CIRCUIT_BREAKER] Parser '{work.parser}' paused after {many}")
    return True


def _open(case: Case, breaker: Breaker, reason: str) -> None:
    cooldown_seconds = case.live.breaker.cooldown_seconds
    data = {
        "name": breaker.parser,
        "version": breaker.version,
        "reason": reason,
        "cooldown_seconds": cooldown_seconds,
    }
    case.record("ParserPaused", data, actor=SENTINEL)
    case.live.cool_down(breaker.parser, breaker.version, case.now.monotonic_s)


def after_success(case: Case, job: OpenJob) -> None:
    """A probe that commits closes its breaker."""
    breaker = case.state.breakers.get((job.work.parser, job.work.parser_version))
    if breaker is not None and breaker.probe == job.job_id:
        data = {"name": breaker.parser, "version": breaker.version, "reason": "its probe succeeded"}
        case.record("ParserResumed", data, actor=SENTINEL)


def end_cooldowns(case: Case) -> None:
    """Let those probe that have cooled down."""
    cooling, now_s = case.live.cooling, case.now.monotonic_s
    for key in [key for key, due_s in cooling.items() if due_s <= now_s]:
        del cooling[key]
        breaker = case.state.breakers.get(key)
        if breaker is not None and breaker.state == OPEN:
            case.record("ParserHalfOpened", {"name": breaker.parser, "version": breaker.version}, actor=SENTINEL)
