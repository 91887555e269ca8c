"""SCAN jobs: the commit records what the walk found, so that a repeated attempt records nothing twice."""

from __future__ import annotations

from collections.abc import Mapping

from casparian_protocol.bounds import COUNT_MAX
from casparian_protocol.events import FilesObserved, ScanFinished, ScanStarted
from casparian_protocol.events.base import as_map
from casparian_protocol.jobs import CHANGES
from casparian_protocol.jobs.kinds import Briefing, ScanBriefing, ScanWork
from casparian_sentinel.core.decision import DecisionBuilder, PlanFiles
from casparian_sentinel.core.kinds.kind import JobKind
from casparian_sentinel.core.state import OpenJob, State
from casparian_sentinel.core.worker_commands import FinishedItem

_CHANGES = ("new", "changed", "vanished", "renamed", "tagged")
_READ = ("files", "bytes", "unchanged", "unreadable")


class Scan(JobKind[ScanWork]):
    def briefing(self, state: State, work: ScanWork) -> Briefing:
        return ScanBriefing(rules=[as_map(rule) for rule in state.rules.values()], wanted_tags=wanted_tags_of(state))

    def problem(self, state: State, work: ScanWork, item: FinishedItem) -> str:
        manifest = item.manifest
        if manifest.outputs:
            return "a scan has no outputs"
        if [file.name for file in manifest.files] not in ([], [CHANGES]):
            return f"a scan offers {CHANGES} and nothing else"
        if manifest.files and CHANGES not in item.blobs:
            return "the changes of the scan were not stored"
        return _problem_of_facts(manifest.facts)

    def record_commit(
        self, decision: DecisionBuilder, job: OpenJob, work: ScanWork, item: FinishedItem, committed: int
    ) -> None:
        facts = item.manifest.facts
        started = ScanStarted(scan_id=job.job_id, roots=(work.root,), source_id=work.source_id, job_id=job.job_id)
        began = decision.record(started, cause=committed)
        if changes := item.blobs.get(CHANGES):
            counts = {name: _count(facts, name) for name in _CHANGES}
            decision.record(FilesObserved(scan_id=job.job_id, blob=changes, **counts), cause=began)
        ended = {name: _count(facts, name) for name in _READ}
        complete, seconds = bool(facts.get("complete", False)), item.manifest.total_seconds
        decision.record(ScanFinished(scan_id=job.job_id, complete=complete, seconds=seconds, **ended), cause=committed)
        decision.do(PlanFiles())


def _problem_of_facts(facts: Mapping[str, object]) -> str:
    """What the events could not hold or would misstate; a fact that the worker leaves out counts as 0."""
    for name, value in facts.items():
        if name == "complete":
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= COUNT_MAX:
            return f"facts.{name}: {_shown(value)} is not a count between 0 and {COUNT_MAX:,}"
    if not isinstance(facts.get("complete", False), bool):
        return f"facts.complete: {_shown(facts['complete'])} is neither true nor false"
    return ""


def _shown(value: object) -> str:
    return repr(value)[:40]


def _count(facts: Mapping[str, object], name: str) -> int:
    value = facts.get(name, 0)
    assert isinstance(value, int), "checked by `_problem_of_facts`"
    return value


def wanted_tags_of(state: State) -> list[str]:
    """Tags that a parser subscribes to; files with these tags are hashed."""
    topics = {
        topic
        for line in state.parsers.values()
        for version in line.versions.values()
        if not version.is_retired
        for topic in version.topics
    }
    return sorted(topics)
