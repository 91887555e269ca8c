"""Events about files and workers, as statements over small tables: sources, rules, scans, workers, damaged parts.

Each handler turns one event into `Statement`s (SQL with parameters), which the store runs in order. These tables are small
and change seldom; jobs and files, which do not, go through `jobs` and `changes`. Parsers, contracts and outputs are
`registry_facts`'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from casparian_protocol.events import Event as TypedEvent
from casparian_protocol.events import (
    FilesObserved,
    JobCompleted,
    ScanFinished,
    ScanStarted,
    SourceAdded,
    SourceRemoved,
    TagRuleAdded,
    TagRuleRemoved,
    WorkerJoined,
    WorkerLeft,
    WorkerLost,
)
from casparian_sentinel.log.event import Event
from casparian_sentinel.projection import registry_facts
from casparian_sentinel.projection.rows import ReadBlob, Statement, as_json, at, new_row


def statements(event: Event, fact: TypedEvent, read_blob: ReadBlob) -> list[Statement]:
    """What an event does to the small tables; nothing for events of other kinds."""
    handler = _HANDLERS.get(type(fact))
    return handler(event, fact, read_blob) if handler else []


def _source_added(event: Event, fact: SourceAdded, _blob: ReadBlob) -> list[Statement]:
    return [
        new_row(
            "scout_sources",
            id=fact.source_id,
            name=fact.name,
            source_type="directory",
            path=fact.path,
            poll_interval_secs=fact.poll_seconds,
            enabled=True,
            added_at=at(event.ts),
            params_json=as_json(fact.params or {}),
            on_change=(fact.options or {}).get("on_change") or "replace",
        )
    ]


def _source_removed(event: Event, fact: SourceRemoved, _blob: ReadBlob) -> list[Statement]:
    return [Statement("delete from scout_sources where id = ?", (fact.source_id,))]


def _scan_started(event: Event, fact: ScanStarted, _blob: ReadBlob) -> list[Statement]:
    return [
        new_row(
            "cf_scans",
            id=fact.scan_id,
            source_id=fact.source_id or None,
            job_id=fact.job_id or None,
            roots=as_json(fact.roots),
            started_at=at(event.ts),
        )
    ]


def _files_counted(event: Event, fact: FilesObserved, _blob: ReadBlob) -> list[Statement]:
    counts = {name: getattr(fact, name) for name in ("new", "changed", "vanished", "renamed")}
    sets = ", ".join(f"{name} = coalesce({name}, 0) + ?" for name in counts)
    return [Statement(f"update cf_scans set {sets} where id = ?", (*counts.values(), fact.scan_id))]


def _scan_finished(event: Event, fact: ScanFinished, _blob: ReadBlob) -> list[Statement]:
    return [
        Statement(
            "update cf_scans set finished_at = ?, is_complete = ?, files = ?, bytes = ?, unchanged = ?, unreadable = ?,"
            " seconds = ? where id = ?",
            (
                at(event.ts),
                fact.complete,
                fact.files,
                fact.bytes,
                fact.unchanged,
                fact.unreadable,
                fact.seconds,
                fact.scan_id,
            ),
        )
    ]


def _rule_added(event: Event, fact: TagRuleAdded, _blob: ReadBlob) -> list[Statement]:
    rule = fact.rule
    return [
        Statement("delete from scout_tagging_rules where id = ?", (rule.id,)),
        new_row(
            "scout_tagging_rules",
            id=rule.id,
            name=rule.name,
            source_id=rule.source_id or None,
            pattern=rule.pattern,
            tag=rule.tag,
            priority=rule.priority,
            enabled=rule.enabled,
            rule_json=as_json(event.data["rule"]),
        ),
    ]


def _rule_removed(event: Event, fact: TagRuleRemoved, _blob: ReadBlob) -> list[Statement]:
    return [Statement("delete from scout_tagging_rules where id = ?", (fact.rule_id,))]


def _worker_joined(event: Event, fact: WorkerJoined, _blob: ReadBlob) -> list[Statement]:
    return [
        Statement("delete from cf_workers where worker_id = ?", (fact.worker_id,)),
        new_row(
            "cf_workers",
            worker_id=fact.worker_id,
            host=fact.host,
            pid=fact.pid,
            slots=fact.slots,
            labels=as_json(fact.labels),
            version=fact.version,
            sandbox=fact.sandbox,
            state="joined",
            joined_at=at(event.ts),
        ),
    ]


def _worker_gone(event: Event, fact: WorkerLost | WorkerLeft, _blob: ReadBlob) -> list[Statement]:
    state = "lost" if isinstance(fact, WorkerLost) else "left"
    return [
        Statement(
            "update cf_workers set state = ?, left_at = ?, reason = ? where worker_id = ?",
            (state, at(event.ts), fact.reason if isinstance(fact, WorkerLost) else None, fact.worker_id),
        )
    ]


def _completed_damaged(event: Event, fact: JobCompleted, _blob: ReadBlob) -> list[Statement]:
    if fact.damaged_left_out:  # which the others are, `casparian verify` says
        return [Statement("update cf_output_parts set is_damaged = true where job_id = ?", (fact.job_id,))]
    return [
        Statement("update cf_output_parts set is_damaged = true where path = ?", (path,)) for path in fact.damaged or []
    ]


_HANDLERS: dict[type[TypedEvent], Callable[[Event, Any, ReadBlob], list[Statement]]] = {
    SourceAdded: _source_added,
    SourceRemoved: _source_removed,
    ScanStarted: _scan_started,
    FilesObserved: _files_counted,
    ScanFinished: _scan_finished,
    TagRuleAdded: _rule_added,
    TagRuleRemoved: _rule_removed,
    WorkerJoined: _worker_joined,
    WorkerLost: _worker_gone,
    WorkerLeft: _worker_gone,
    JobCompleted: _completed_damaged,
    **registry_facts.HANDLERS,
}
