"""The events that make a job's story: its own, what led to it, and what happened around it while it was under way.

Asks the projection (`cf_audit`); progress, which the audit leaves out, is read from the log itself when asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from casparian_app.gateway import Gateway, Row
from casparian_app.stories.sentences import Told

_COLUMNS = "select seq, ts, type, actor, data from cf_audit"
_OWN = (
    f"{_COLUMNS} where subject = ? and (starts_with(type, 'Job') "
    " or type in ('LeaseExpired', 'QuarantineRecorded', 'FailureClosed'))"
)
_SCAN = (
    f"{_COLUMNS} where type = 'ScanStarted' and seq < ?"
    " and subject in (select last_scan_id from scout_files where id = ?)"
)
_PARSER = f"{_COLUMNS} where type = 'ParserRegistered' and seq < ? and contains(data, ?) order by seq limit 1"
_CONTRACTS = """
select a.seq, a.ts, a.type, a.actor, a.data, c.output from cf_audit a join cf_schema_contracts c on c.contract_id = a.subject
where a.type in ('ContractApproved', 'ContractRejected') and c.parser = ? and c.version = ? and a.seq < ?
"""
_AROUND = f"""
{_COLUMNS} where seq between ? and ? and (
    type in ('WorkerLost', 'WorkerLeft', 'SentinelStarted', 'SentinelStopped')
    or (type in ('ParserPaused', 'ParserHalfOpened', 'ParserResumed') and subject = ?))
"""
_RERUNS = f"{_COLUMNS} where type = 'JobQueued' and subject in (select id from cf_processing_queue where rerun_of = ?)"
#: What took the place of the job's rows: not one of its own events.
_SUPERSEDED = """
select a.seq, a.ts, 'RowsSuperseded' as type, a.actor, json_object('by', c.superseded_by)::varchar as data
from cf_commits c join cf_audit a on a.seq = c.superseded_seq where c.job_id = ?
"""
_UNDER_WAY = frozenset({"JobLeased", "JobStarted", "JobOutputsCommitted"})
_FOREVER = 2**63 - 1


def story(gateway: Gateway, job: Row) -> list[Told]:
    """Everything about `job` (a row of the queue), in order."""
    own = sorted(_told(gateway.rows(_OWN, [job["id"]]), "job"), key=lambda event: event.seq)
    if not own:
        return []
    first = own[0].seq
    before = [*_told(gateway.rows(_SCAN, [first, job["file_version_id"]]), "before")]
    before += _told(_registered(gateway, job, first), "before")
    before += _told(gateway.rows(_CONTRACTS, [job["plugin_name"], job["parser_version"], first]), "before")
    last = own[-1].seq if job["end_time"] else _FOREVER
    around = [
        event
        for event in _told(gateway.rows(_AROUND, [first, last, job["plugin_name"] or ""]), "around")
        if event.data.get("version") in (None, "", job["parser_version"]) or not event.type.startswith("Parser")
    ]
    reruns = _told(gateway.rows(_RERUNS, [job["id"]]), "around")
    superseded = _told(gateway.rows(_SUPERSEDED, [job["id"]]), "around")
    everything = sorted([*before, *own, *around, *reruns, *superseded], key=lambda event: event.seq)
    return list(_that_matters(everything))


def with_progress(events: Iterable[Told], progress: Iterable[Any], job_id: str) -> list[Told]:
    """The story with the progress of the job, taken from events of the log."""
    told = [
        Told(event.seq, event.ts, event.type, event.actor, event.data)
        for event in progress
        if event.type == "JobProgressed" and event.data["job_id"] == job_id
    ]
    return sorted([*events, *told], key=lambda event: event.seq)


def _registered(gateway: Gateway, job: Row, first: int) -> list[Row]:
    return gateway.rows(_PARSER, [first, job["artifact_hash"]]) if job["artifact_hash"] else []


def _told(rows: Iterable[Mapping[str, Any]], part: Literal["before", "job", "around"]) -> Iterator[Told]:
    for row in rows:
        data = json.loads(row["data"])
        if "output" in row:
            data["output"] = row["output"]
        yield Told(row["seq"], row["ts"], row["type"], row["actor"], data, part)


def _that_matters(events: Iterable[Told]) -> Iterator[Told]:
    """Of what happened around the job: the end of the worker that had it, and starts and stops while it ran."""
    holder = ""
    for event in events:
        if event.part == "job":
            if event.type == "JobLeased":
                holder = event.data["worker_id"]
            elif event.type not in _UNDER_WAY and event.type not in ("QuarantineRecorded", "JobCancelRequested"):
                holder = ""
        elif event.type in ("WorkerLost", "WorkerLeft"):
            if event.data["worker_id"] != holder:
                continue
        elif event.type in ("SentinelStarted", "SentinelStopped") and not holder:
            continue
        yield event
