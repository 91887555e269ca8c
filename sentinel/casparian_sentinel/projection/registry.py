"""Events about parsers, contracts, outputs and workers, as statements for their tables.

These tables are small and seldom change. `jobs` folds events about jobs, `files` those about files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from casparian_protocol.errors import CasparianError
from casparian_protocol.events import (
    ContractApproved,
    ContractProposed,
    ContractRejected,
    Event,
    JobCompleted,
    OutputContractsChanged,
    OutputVersionClosed,
    OutputVersionCreated,
    OutputVersionSetLive,
    ParserCurrentChanged,
    ParserHalfOpened,
    ParserParametersSet,
    ParserPaused,
    ParserRegistered,
    ParserResumed,
    ParserRetired,
    ParserVersionWaits,
    QuarantinePolicySet,
    WorkerJoined,
    WorkerLeft,
    WorkerLost,
)
from casparian_protocol.parsers.bundle import read_bundle
from casparian_sentinel.log import LogRecord
from casparian_sentinel.projection.database import ReadBlob, Statement, as_json, at, new_row

#: The limit of a shown entry module; a longer one is only in the bundle.
_SOURCE_BYTES = 1024 * 1024


def _source_of(fact: ParserRegistered, read_blob: ReadBlob) -> str | None:
    """The entry module from the bundle; None if it cannot be read."""
    with suppress(CasparianError, KeyError):
        return read_bundle(read_blob(fact.artifact))[fact.entry][:_SOURCE_BYTES].decode("utf-8", "replace")
    return None


def _parser_registered(event: LogRecord, fact: ParserRegistered, read_blob: ReadBlob) -> list[Statement]:
    made = [
        new_row(
            "cf_parsers",
            id=fact.parser_id,
            name=fact.name,
            version=fact.version,
            source_hash=fact.source_hash,
            source_code=_source_of(fact, read_blob),
            registered_at=at(event.ts),
            artifact_hash=fact.artifact,
            lock_hash=fact.lock_hash or None,
            signed_by=fact.signed_by,
            state="REGISTERED",
            kind=fact.kind,
            entry=fact.entry,
            may_drop_records=fact.may_drop_records,
            params_json=as_json(fact.params),
            outputs_json=as_json(fact.outputs),
            findings_json=as_json(fact.findings),
            registered_by=event.actor,
        )
    ]
    made += [
        new_row("cf_parser_topics", parser_id=fact.parser_id, parser_name=fact.name, topic=topic)
        for topic in fact.topics
    ]
    made.append(
        Statement(
            "insert into cf_parser_runs (parser_name, total_executions, successful_executions) select ?, 0, 0"
            " where not exists (from cf_parser_runs where parser_name = ?)",
            (fact.name, fact.name),
        )
    )
    made.append(
        new_row(
            "cf_breakers",
            parser_name=fact.name,
            parser_version=fact.version,
            state="closed",
            consecutive_failures=0,
        )
    )
    return made


def _parser_retired(event: LogRecord, fact: ParserRetired, _blob: ReadBlob) -> list[Statement]:
    return [
        Statement("update cf_parsers set state = 'RETIRED' where name = ? and version = ?", (fact.name, fact.version))
    ]


def _current_changed(event: LogRecord, fact: ParserCurrentChanged, _blob: ReadBlob) -> list[Statement]:
    now = (fact.name, fact.version)
    return [
        Statement("update cf_parsers set is_current = false where name = ?", (fact.name,)),
        Statement(
            "update cf_parsers set is_current = true, waits_json = null, may_be_chosen = null, current_since = ?,"
            " current_reason = ?, current_by = ? where name = ? and version = ?",
            (at(event.ts), fact.reason, fact.by, *now),
        ),
    ]


def _version_waits(event: LogRecord, fact: ParserVersionWaits, _blob: ReadBlob) -> list[Statement]:
    waits = {name: getattr(fact, name) for name in ("problems", "left_out", "like")} if fact.problems else None
    return [
        Statement(
            "update cf_parsers set waits_json = ?, may_be_chosen = ? where name = ? and version = ?",
            (None if waits is None else as_json(waits), fact.may_be_chosen, fact.name, fact.version),
        )
    ]


def _parameters_set(event: LogRecord, fact: ParserParametersSet, _blob: ReadBlob) -> list[Statement]:
    made = [Statement("delete from cf_parser_params where parser_name = ?", (fact.name,))]
    for name, value in fact.params.items():
        made.append(
            new_row(
                "cf_parser_params",
                parser_name=fact.name,
                name=name,
                value_json=as_json(value),
                set_at=at(event.ts),
                set_by=event.actor,
            )
        )
    return made


def _output_version_created(event: LogRecord, fact: OutputVersionCreated, _blob: ReadBlob) -> list[Statement]:
    return [
        new_row(
            "cf_output_versions",
            output=fact.output,
            version=fact.version,
            status=fact.status,
            parser=fact.parser,
            contract_hash=fact.contract_hash,
            contracts_json=as_json([fact.contract_hash]),
            created_at=at(event.ts),
        )
    ]


def _output_version_set_live(event: LogRecord, fact: OutputVersionSetLive, _blob: ReadBlob) -> list[Statement]:
    return [
        Statement(
            "update cf_output_versions set status = 'retired' where output = ? and status = 'live'", (fact.output,)
        ),
        Statement(
            "update cf_output_versions set status = 'live', live_since = ? where output = ? and version = ?",
            (at(event.ts), fact.output, fact.version),
        ),
    ]


def _output_version_closed(event: LogRecord, fact: OutputVersionClosed, _blob: ReadBlob) -> list[Statement]:
    return [
        Statement(
            "update cf_output_versions set status = ? where output = ? and version = ?",
            (fact.status, fact.output, fact.version),
        )
    ]


def _output_contracts_changed(event: LogRecord, fact: OutputContractsChanged, _blob: ReadBlob) -> list[Statement]:
    return [
        Statement(
            "update cf_output_versions set contract_hash = ?, contracts_json = ? where output = ? and version = ?",
            (fact.contract_hash, as_json(fact.contracts), fact.output, fact.version),
        )
    ]


def _parser_paused(event: LogRecord, fact: ParserPaused, _blob: ReadBlob) -> list[Statement]:
    if not fact.version:
        return [
            Statement(
                "update cf_parser_runs set paused_at = ?, pause_reason = ? where parser_name = ?",
                (at(event.ts), fact.reason, fact.name),
            )
        ]
    cooldown_seconds = fact.cooldown_seconds
    probe_at = at(event.ts + int(cooldown_seconds * 1_000_000)) if cooldown_seconds else None
    return [
        Statement(
            "update cf_breakers set state = 'open', opened_at = ?, probe_at = ?, reason = ?"
            " where parser_name = ? and parser_version = ?",
            (at(event.ts), probe_at, fact.reason, fact.name, fact.version),
        )
    ]


def _parser_half_opened(event: LogRecord, fact: ParserHalfOpened, _blob: ReadBlob) -> list[Statement]:
    return [
        Statement(
            "update cf_breakers set state = 'half_open' where parser_name = ? and parser_version = ?",
            (fact.name, fact.version),
        )
    ]


def _parser_resumed(event: LogRecord, fact: ParserResumed, _blob: ReadBlob) -> list[Statement]:
    name, version = fact.name, fact.version
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


def _contract_proposed(event: LogRecord, fact: ContractProposed, read_blob: ReadBlob) -> list[Statement]:
    schema = read_blob(fact.contract_hash).decode()
    return [
        new_row(
            "cf_schema_contracts",
            contract_id=fact.contract_id,
            scope_id=fact.scope_id,
            parser=fact.parser,
            version=fact.version,
            output=fact.output,
            state="PROPOSED",
            schema_json=schema,
            contract_hash=fact.contract_hash,
            logic_hash=fact.logic_hash,
            quarantine_config_json=as_json(json.loads(schema).get("quarantine")),
            columns=fact.columns,
            proposed_at=at(event.ts),
        )
    ]


def _contract_decided(event: LogRecord, fact: ContractApproved | ContractRejected, _blob: ReadBlob) -> list[Statement]:
    is_approved = isinstance(fact, ContractApproved)
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
                fact.reason,
                (fact.carried_from or None) if isinstance(fact, ContractApproved) else None,
                fact.contract_id,
            ),
        )
    ]


def _policy_set(event: LogRecord, fact: QuarantinePolicySet, _blob: ReadBlob) -> list[Statement]:
    return [
        Statement(
            "delete from cf_quarantine_policies where parser = ? and output = ?",
            (fact.parser, fact.output),
        ),
        new_row(
            "cf_quarantine_policies",
            parser=fact.parser,
            output=fact.output,
            policy_json=as_json(fact.policy),
            set_at=at(event.ts),
            set_by=event.actor,
        ),
    ]


def _worker_joined(event: LogRecord, fact: WorkerJoined, _blob: ReadBlob) -> list[Statement]:
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


def _worker_gone(event: LogRecord, fact: WorkerLost | WorkerLeft, _blob: ReadBlob) -> list[Statement]:
    state = "lost" if isinstance(fact, WorkerLost) else "left"
    return [
        Statement(
            "update cf_workers set state = ?, left_at = ?, reason = ? where worker_id = ?",
            (state, at(event.ts), fact.reason if isinstance(fact, WorkerLost) else None, fact.worker_id),
        )
    ]


def _completed_damaged(event: LogRecord, fact: JobCompleted, _blob: ReadBlob) -> list[Statement]:
    if fact.damaged_left_out:  # `casparian verify` lists the others
        return [Statement("update cf_output_parts set is_damaged = true where job_id = ?", (fact.job_id,))]
    return [
        Statement("update cf_output_parts set is_damaged = true where path = ?", (path,)) for path in fact.damaged or []
    ]


HANDLERS: dict[type[Event], Callable[[LogRecord, Any, ReadBlob], list[Statement]]] = {
    ParserRegistered: _parser_registered,
    ParserRetired: _parser_retired,
    ParserCurrentChanged: _current_changed,
    ParserVersionWaits: _version_waits,
    ParserParametersSet: _parameters_set,
    OutputVersionCreated: _output_version_created,
    OutputVersionClosed: _output_version_closed,
    OutputVersionSetLive: _output_version_set_live,
    OutputContractsChanged: _output_contracts_changed,
    ParserPaused: _parser_paused,
    ParserHalfOpened: _parser_half_opened,
    ParserResumed: _parser_resumed,
    ContractProposed: _contract_proposed,
    ContractApproved: _contract_decided,
    ContractRejected: _contract_decided,
    QuarantinePolicySet: _policy_set,
    WorkerJoined: _worker_joined,
    WorkerLost: _worker_gone,
    WorkerLeft: _worker_gone,
    JobCompleted: _completed_damaged,
}
