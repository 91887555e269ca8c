"""Events that are not about jobs, as statements over small tables: sources, rules, parsers, contracts, workers. Pure.

Each handler turns one event into `Statement`s (SQL with parameters), which the store runs in order. These tables are small
and change seldom; jobs and files, which do not, go through `jobs` and `bulk`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from casparian_sentinel.log.event import Event
from casparian_sentinel.projection.rows import as_json

BlobText = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Statement:
    sql: str
    parameters: tuple[Any, ...] = ()


_EPOCH = datetime(1970, 1, 1)


def at(microseconds: int) -> datetime:
    """Log time as the naive UTC that the tables hold."""
    return _EPOCH + timedelta(microseconds=microseconds)


def insert(table: str, **values: Any) -> Statement:
    columns = ", ".join(values)
    marks = ", ".join("?" for _ in values)
    return Statement(f"insert into {table} ({columns}) values ({marks})", tuple(values.values()))


def statements(event: Event, blob_text: BlobText) -> list[Statement]:
    """What `event` does to the small tables; nothing for events of other kinds."""
    handler = _HANDLERS.get(event.type)
    return handler(event, blob_text) if handler else []


def _source_added(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    return [
        insert(
            "scout_sources",
            id=data["source_id"],
            name=data["name"],
            source_type="directory",
            path=data["path"],
            poll_interval_secs=data.get("poll_seconds", 0),
            enabled=True,
            added_at=at(event.ts),
            params_json=as_json(data.get("params") or {}),
            on_change=(data.get("options") or {}).get("on_change") or "replace",
        )
    ]


def _source_removed(event: Event, _blob: BlobText) -> list[Statement]:
    return [Statement("delete from scout_sources where id = ?", (event.data["source_id"],))]


def _scan_started(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    return [
        insert(
            "cf_scans",
            id=data["scan_id"],
            source_id=data.get("source_id"),
            job_id=data.get("job_id"),
            roots=as_json(data["roots"]),
            started_at=at(event.ts),
        )
    ]


def _files_counted(event: Event, _blob: BlobText) -> list[Statement]:
    counts = {name: event.data.get(name, 0) for name in ("new", "changed", "vanished", "renamed")}
    sets = ", ".join(f"{name} = coalesce({name}, 0) + ?" for name in counts)
    return [Statement(f"update cf_scans set {sets} where id = ?", (*counts.values(), event.data["scan_id"]))]


def _scan_finished(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    return [
        Statement(
            "update cf_scans set finished_at = ?, is_complete = ?, files = ?, bytes = ?, unchanged = ?, unreadable = ?,"
            " seconds = ? where id = ?",
            (
                at(event.ts),
                data["complete"],
                data.get("files"),
                data.get("bytes"),
                data.get("unchanged"),
                data.get("unreadable"),
                data.get("seconds"),
                data["scan_id"],
            ),
        )
    ]


def _rule_added(event: Event, _blob: BlobText) -> list[Statement]:
    rule = event.data["rule"]
    rule_id = rule.get("id") or rule.get("rule_id")
    return [
        Statement("delete from scout_tagging_rules where id = ?", (rule_id,)),
        insert(
            "scout_tagging_rules",
            id=rule_id,
            name=rule.get("name"),
            source_id=rule.get("source_id") or None,
            pattern=rule.get("pattern"),
            tag=rule.get("tag"),
            priority=rule.get("priority", 0),
            enabled=rule.get("enabled", True),
            rule_json=as_json(rule),
        ),
    ]


def _rule_removed(event: Event, _blob: BlobText) -> list[Statement]:
    return [Statement("delete from scout_tagging_rules where id = ?", (event.data["rule_id"],))]


def _parser_registered(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    made = [
        insert(
            "cf_parsers",
            id=data["parser_id"],
            name=data["name"],
            version=data["version"],
            source_hash=data.get("source_hash"),
            registered_at=at(event.ts),
            artifact_hash=data["artifact"],
            lock_hash=data.get("lock_hash") or None,
            signed_by=data.get("signed_by"),
            state="REGISTERED",
            kind=data.get("kind"),
            entry=data.get("entry"),
            may_drop_records=data.get("may_drop_records", False),
            params_json=as_json(data.get("params", {})),
            outputs_json=as_json(data.get("outputs", {})),
            findings_json=as_json(data.get("findings", [])),
            registered_by=event.actor,
        )
    ]
    made += [
        insert("cf_parser_topics", parser_id=data["parser_id"], parser_name=data["name"], topic=topic)
        for topic in data.get("topics", [])
    ]
    made.append(
        Statement(
            "insert into cf_parser_runs (parser_name, total_executions, successful_executions) select ?, 0, 0"
            " where not exists (from cf_parser_runs where parser_name = ?)",
            (data["name"], data["name"]),
        )
    )
    made.append(
        insert(
            "cf_breakers",
            parser_name=data["name"],
            parser_version=data["version"],
            state="closed",
            consecutive_failures=0,
        )
    )
    return made


def _parser_retired(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    return [
        Statement(
            "update cf_parsers set state = 'RETIRED' where name = ? and version = ?", (data["name"], data["version"])
        )
    ]


def _current_changed(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    now = (data["name"], data["version"])
    return [
        Statement("update cf_parsers set is_current = false where name = ?", (data["name"],)),
        Statement(
            "update cf_parsers set is_current = true, waits_json = null, may_be_chosen = null, current_since = ?,"
            " current_reason = ?, current_by = ? where name = ? and version = ?",
            (at(event.ts), data.get("reason"), data["by"], *now),
        ),
    ]


def _version_waits(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    waits = {name: data[name] for name in ("problems", "left_out", "like")} if data["problems"] else None
    return [
        Statement(
            "update cf_parsers set waits_json = ?, may_be_chosen = ? where name = ? and version = ?",
            (None if waits is None else as_json(waits), data["may_be_chosen"], data["name"], data["version"]),
        )
    ]


def _parameters_set(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    made = [Statement("delete from cf_parser_params where parser_name = ?", (data["name"],))]
    for name, value in data["params"].items():
        made.append(
            insert(
                "cf_parser_params",
                parser_name=data["name"],
                name=name,
                value_json=as_json(value),
                set_at=at(event.ts),
                set_by=event.actor,
            )
        )
    return made


def _output_version_created(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    return [
        insert(
            "cf_output_versions",
            output=data["output"],
            version=data["version"],
            status=data["status"],
            parser=data["parser"],
            contract_hash=data["contract_hash"],
            contracts_json=as_json([data["contract_hash"]]),
            created_at=at(event.ts),
        )
    ]


def _output_version_set_live(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    return [
        Statement(
            "update cf_output_versions set status = 'retired' where output = ? and status = 'live'", (data["output"],)
        ),
        Statement(
            "update cf_output_versions set status = 'live', live_since = ? where output = ? and version = ?",
            (at(event.ts), data["output"], data["version"]),
        ),
    ]


def _output_version_closed(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    return [
        Statement(
            "update cf_output_versions set status = ? where output = ? and version = ?",
            (data["status"], data["output"], data["version"]),
        )
    ]


def _output_contracts_changed(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    return [
        Statement(
            "update cf_output_versions set contract_hash = ?, contracts_json = ? where output = ? and version = ?",
            (data["contract_hash"], as_json(data["contracts"]), data["output"], data["version"]),
        )
    ]


def _parser_paused(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    if not data.get("version"):
        return [
            Statement(
                "update cf_parser_runs set paused_at = ?, pause_reason = ? where parser_name = ?",
                (at(event.ts), data.get("reason"), data["name"]),
            )
        ]
    cooldown_seconds = data.get("cooldown_seconds")
    probe_at = at(event.ts + int(cooldown_seconds * 1_000_000)) if cooldown_seconds else None
    return [
        Statement(
            "update cf_breakers set state = 'open', opened_at = ?, probe_at = ?, reason = ?"
            " where parser_name = ? and parser_version = ?",
            (at(event.ts), probe_at, data.get("reason"), data["name"], data["version"]),
        )
    ]


def _parser_half_opened(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    return [
        Statement(
            "update cf_breakers set state = 'half_open' where parser_name = ? and parser_version = ?",
            (data["name"], data["version"]),
        )
    ]


def _parser_resumed(event: Event, _blob: BlobText) -> list[Statement]:
    name, version = event.data["name"], event.data.get("version", "")
    made = [
        Statement(
            "update cf_breakers set state = 'closed', consecutive_failures = 0, opened_at = null, probe_at = null,"
            " reason = null where parser_name = ? and ? in ('', parser_version)",
            (name, version),
        )
    ]
    if not version:
        made.append(
            Statement(
                "update cf_parser_runs set paused_at = null, pause_reason = null where parser_name = ?",
                (name,),
            )
        )
    return made


def _contract_proposed(event: Event, blob_text: BlobText) -> list[Statement]:
    data = event.data
    schema = blob_text(data["contract_hash"])
    return [
        insert(
            "cf_schema_contracts",
            contract_id=data["contract_id"],
            scope_id=data["scope_id"],
            parser=data["parser"],
            version=data["version"],
            output=data["output"],
            state="PROPOSED",
            schema_json=schema,
            contract_hash=data["contract_hash"],
            logic_hash=data.get("logic_hash"),
            quarantine_config_json=as_json(json.loads(schema).get("quarantine")),
            columns=data.get("columns"),
            proposed_at=at(event.ts),
        )
    ]


def _contract_decided(event: Event, _blob: BlobText) -> list[Statement]:
    is_approved = event.type == "ContractApproved"
    approval = (at(event.ts), event.actor) if is_approved else (None, None)
    return [
        Statement(
            "update cf_schema_contracts set state = ?, approved_at = ?, approved_by = ?, decided_at = ?, decided_by = ?,"
            " reason = ?, carried_from = ? where contract_id = ?",
            (
                "APPROVED" if is_approved else "REJECTED",
                *approval,
                at(event.ts),
                event.actor,
                event.data.get("reason"),
                event.data.get("carried_from") or None,
                event.data["contract_id"],
            ),
        )
    ]


def _policy_set(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    return [
        Statement(
            "delete from cf_quarantine_policies where parser = ? and output = ?",
            (data["parser"], data.get("output", "")),
        ),
        insert(
            "cf_quarantine_policies",
            parser=data["parser"],
            output=data.get("output", ""),
            policy_json=as_json(data["policy"]),
            set_at=at(event.ts),
            set_by=event.actor,
        ),
    ]


def _worker_joined(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    return [
        Statement("delete from cf_workers where worker_id = ?", (data["worker_id"],)),
        insert(
            "cf_workers",
            worker_id=data["worker_id"],
            host=data.get("host"),
            pid=data.get("pid"),
            slots=data.get("slots"),
            labels=as_json(data.get("labels", {})),
            version=data.get("version"),
            sandbox=data.get("sandbox"),
            state="joined",
            joined_at=at(event.ts),
        ),
    ]


def _worker_gone(event: Event, _blob: BlobText) -> list[Statement]:
    state = "lost" if event.type == "WorkerLost" else "left"
    return [
        Statement(
            "update cf_workers set state = ?, left_at = ?, reason = ? where worker_id = ?",
            (state, at(event.ts), event.data.get("reason"), event.data["worker_id"]),
        )
    ]


def _completed_damaged(event: Event, _blob: BlobText) -> list[Statement]:
    data = event.data
    if data.get("damaged_left_out"):  # which the others are, `casparian verify` says
        return [Statement("update cf_output_parts set is_damaged = true where job_id = ?", (data["job_id"],))]
    return [
        Statement("update cf_output_parts set is_damaged = true where path = ?", (path,))
        for path in data.get("damaged") or []
    ]


_HANDLERS: dict[str, Callable[[Event, BlobText], list[Statement]]] = {
    "SourceAdded": _source_added,
    "SourceRemoved": _source_removed,
    "ScanStarted": _scan_started,
    "FilesObserved": _files_counted,
    "ScanFinished": _scan_finished,
    "TagRuleAdded": _rule_added,
    "TagRuleRemoved": _rule_removed,
    "ParserRegistered": _parser_registered,
    "ParserRetired": _parser_retired,
    "ParserCurrentChanged": _current_changed,
    "ParserVersionWaits": _version_waits,
    "ParserParametersSet": _parameters_set,
    "OutputVersionCreated": _output_version_created,
    "OutputVersionClosed": _output_version_closed,
    "OutputVersionSetLive": _output_version_set_live,
    "OutputContractsChanged": _output_contracts_changed,
    "ParserPaused": _parser_paused,
    "ParserHalfOpened": _parser_half_opened,
    "ParserResumed": _parser_resumed,
    "ContractProposed": _contract_proposed,
    "ContractApproved": _contract_decided,
    "ContractRejected": _contract_decided,
    "QuarantinePolicySet": _policy_set,
    "WorkerJoined": _worker_joined,
    "WorkerLost": _worker_gone,
    "WorkerLeft": _worker_gone,
    "JobCompleted": _completed_damaged,
}


def subject(event: Event) -> str:
    """What an event is about, for `cf_audit` and `story`: the id or name that a person would search for."""
    data = event.data
    job = data.get("job")
    if isinstance(job, dict):
        return str(job.get("job_id", ""))
    for name in (
        "job_id",
        "contract_id",
        "scan_id",
        "source_id",
        "worker_id",
        "rule_id",
        "name",
        "parser",
        "output",
        "tag",
    ):
        if data.get(name):
            return str(data[name])
    rule = data.get("rule")
    return str(rule.get("id") or rule.get("rule_id") or "") if isinstance(rule, dict) else ""
