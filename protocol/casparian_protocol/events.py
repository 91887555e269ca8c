"""The catalogue of events: each type, its version, and what its data carry.

An event is a past fact: `seq, ts, type, v, actor, data` (event-log.md). This module names the types and their fields, so
that core, projection, feed and documentation agree; `docs/reference/events.md` is generated from it. It neither makes
nor applies events: the sentinel's core does. A type's meaning never changes; new meaning is a new type, a changed shape is
a new version with an upcaster.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EventType:
    """One kind of fact: `fields` maps each field of `data` to its meaning; `?` at the end of a name marks it optional."""

    name: str
    meaning: str
    fields: dict[str, str]
    version: int = 1
    #: Rides in the next batch and forces none.
    is_lazy: bool = False


_TYPES = (
    # --- discovery
    EventType(
        "SourceAdded",
        "a directory became a source",
        {
            "source_id": "",
            "name": "",
            "path": "absolute",
            "poll_seconds": "0 = only when asked",
            "options": "excludes, pattern, tag",
            "params?": "parameters for parsers that take its files",
        },
    ),
    EventType("SourceRemoved", "a source is no longer scanned; its files stay known", {"source_id": ""}),
    EventType(
        "ScanStarted", "a scan began", {"scan_id": "", "roots": "absolute paths", "source_id?": "", "job_id?": ""}
    ),
    EventType(
        "FilesObserved",
        "what a scan found changed: a blob of changes",
        {
            "scan_id": "",
            "blob": "Arrow IPC of changes (discovery)",
            "new": "count",
            "changed": "count",
            "vanished": "count",
            "renamed": "count",
            "tagged": "count",
        },
    ),
    EventType(
        "ScanFinished",
        "a scan ended",
        {
            "scan_id": "",
            "complete": "false: nothing was taken as vanished",
            "files": "",
            "bytes": "",
            "unchanged": "",
            "unreadable": "count",
            "seconds": "",
        },
    ),
    EventType("TagRuleAdded", "a tagging rule", {"rule": "tagging.TagRule as a map"}),
    EventType("TagRuleRemoved", "a tagging rule is gone; tags it gave are gone with the blob", {"rule_id": ""}),
    EventType(
        "FilesTagged",
        "files got or lost a tag",
        {
            "tag": "",
            "is_removed": "",
            "tag_source": "rule|manual",
            "rule_id?": "",
            "file_ids?": "up to 200",
            "blob?": "Arrow IPC with column id (and tag when it varies)",
            "files": "count",
        },
    ),
    # --- registry
    EventType(
        "ParserRegistered",
        "an immutable artifact is known; its blob was durable before",
        {
            "parser_id": "",
            "name": "",
            "version": "PEP 440",
            "artifact": "BLAKE3 of the bundle",
            "sha256": "",
            "source_hash": "",
            "lock_hash": "empty without dependencies",
            "topics": "",
            "outputs": "{output: contract hash or empty}",
            "params": "",
            "entry": "entry module file in the bundle",
            "kind": "function|class",
            "may_drop_records?": "true: it declares that records may end as nothing",
            "signed_by": "public key, hex",
            "signature": "hex",
            "findings": "gatekeeper findings, at most 50",
        },
    ),
    EventType(
        "ParserRetired",
        "no new jobs for this version",
        {
            "name": "",
            "version": "",
            "derives_current?": "version 1: which version is current follows from this event; later there is an event for it",
        },
        version=2,
    ),
    EventType(
        "ParserCurrentChanged",
        "another version of the parser takes new and changed files; jobs that are open finish with theirs",
        {
            "name": "",
            "version": "empty: none may run",
            "previous": "the version before; empty: none",
            "by": "approval|hand|retirement|start (of the first sentinel that records it)",
            "reason": "",
        },
    ),
    EventType(
        "ParserVersionWaits",
        "a version may run, but its contracts do not fit the live rows; or an earlier event of this type is out of date",
        {
            "name": "",
            "version": "",
            "problems": "[{output, column, what, code}], at most 20; empty: nothing is in its way any more",
            "left_out": "count of further problems",
            "may_be_chosen": "whether `parser use` may make it current",
            "like": "a version that has the contract of the live rows; empty: none",
        },
    ),
    EventType(
        "ParserParametersSet",
        "what a parser's jobs get as parameters from now on, instead of the declared defaults",
        {"name": "", "params": "all stored values, {name: value}; empty: the declared defaults", "reason": ""},
    ),
    EventType(
        "OutputVersionCreated",
        "an output has a new version, without rows yet",
        {
            "output": "",
            "version": "N",
            "parser": "owner",
            "contract_hash": "every row will satisfy it",
            "status": "building|live|retired|removed",
        },
    ),
    EventType(
        "OutputVersionSetLive",
        "queries see this version of the output; the one that was live is retired",
        {"output": "", "version": "N"},
    ),
    EventType(
        "OutputContractsChanged",
        "rows for this version of an output are held against further contracts, or others",
        {
            "output": "",
            "version": "N",
            "contract_hash": "every row satisfies it",
            "contracts": "what rows may be held against on their way in: that one, and stricter ones; the newest 50",
        },
    ),
    EventType(
        "ParserPaused",
        "jobs stay queued",
        {
            "name": "",
            "reason": "",
            "version?": "of the version that its circuit breaker paused; by hand all versions are",
            "cooldown_seconds?": "of a circuit breaker; 0 = until somebody resumes it",
        },
    ),
    EventType("ParserHalfOpened", "a paused version has cooled down; one job may probe", {"name": "", "version": ""}),
    EventType(
        "ParserResumed",
        "jobs run again",
        {"name": "", "reason": "", "version?": "of the version whose probe succeeded; by hand all versions are"},
    ),
    EventType(
        "ContractProposed",
        "a contract waits for approval",
        {
            "contract_id": "",
            "scope_id": "hash of parser, version, output",
            "parser": "",
            "version": "",
            "output": "",
            "contract_hash": "blob of canonical JSON",
            "logic_hash": "",
            "columns": "count",
        },
    ),
    EventType(
        "ContractApproved",
        "rows may be held against it",
        {
            "contract_id": "",
            "reason": "",
            "carried_from": "the approval of an identical contract that it carries over; empty: somebody decided",
            "derives_current?": "as in ParserRetired",
        },
        version=2,
    ),
    EventType("ContractRejected", "nothing runs under it", {"contract_id": "", "reason": ""}),
    EventType(
        "QuarantinePolicySet", "a stored override", {"parser": "", "output": "empty = all outputs", "policy": "map"}
    ),
    # --- life of a job
    EventType("JobQueued", "work to do", {"job": "JobSpec as a map"}, version=2),
    EventType(
        "JobLeased",
        "a worker has it; the event's own seq is the lease's epoch",
        {"job_id": "", "worker_id": "", "attempt": "from 1", "sandbox": "level"},
    ),
    EventType("JobStarted", "the guest runs", {"job_id": "", "epoch": "", "guest_pid": ""}),
    EventType(
        "JobProgressed",
        "how far it is, at most once a second and only on change",
        {"job_id": "", "epoch": "", "progress": "Progress"},
        is_lazy=True,
    ),
    EventType(
        "JobOutputsCommitted",
        "THE commit: durable = committed",
        {
            "job_id": "",
            "epoch": "",
            "manifest?": "Manifest",
            "manifest_blob?": "when it is too large",
            "versions": "{output: N} that the files go to",
            "rows": "valid",
            "quarantined": "",
            "skipped": "declared non-records",
            "records_given?": "records that the SDK's readers gave out; absent when the parser reads the file itself",
            "records_unaccounted?": "of these, the ones that the parser may drop and dropped",
            "bytes_accounted?": "of the input, in records and in declared skips of the readers",
            "seconds": "of the attempt, by the worker's clock",
            "part_names": "how its parts are called: 1 = job and number, 2 = and a digest",
        },
        version=2,
    ),
    EventType(
        "JobCompleted",
        "files are in place",
        {
            "job_id": "",
            "epoch": "",
            "status": "COMPLETED|PARTIAL_SUCCESS",
            "rows": "valid",
            "quarantined": "",
            "skipped": "",
            "seconds": "",
            "damaged": "files that were neither staged nor in place, at most 8 KiB of paths",
            "damaged_left_out?": "how many more there are; all files of the job count as damaged then",
        },
    ),
    EventType(
        "JobFailed",
        "a permanent failure",
        {
            "job_id": "",
            "epoch": "",
            "error": "JobError",
            "uncommitted?": "manifest of kept quarantine",
            "uncommitted_blob?": "when it is too large",
        },
    ),
    EventType(
        "JobRetryScheduled",
        "a transient failure, due later",
        {
            "job_id": "",
            "epoch": "",
            "error": "JobError",
            "retry_count": "",
            "not_before": "µs UTC",
            "delay_seconds": "",
        },
    ),
    EventType("JobDue", "the wait of a retry is over", {"job_id": ""}),
    EventType(
        "JobDeadLettered",
        "retries or losses exhausted",
        {"job_id": "", "epoch": "", "reason": "retries|poison", "error?": "JobError", "retry_count": ""},
    ),
    EventType(
        "JobReplayed",
        "an ended job waits again, counts reset",
        {"job": "JobSpec as a map", "from_state": "FAILED|DEAD_LETTER|CANCELLED"},
        version=2,
    ),
    EventType("JobCancelRequested", "an operator wants it stopped", {"job_id": "", "reason": ""}),
    EventType("JobCancelled", "it is stopped and left nothing", {"job_id": "", "reason": ""}),
    EventType(
        "LeaseExpired",
        "the attempt is over without a verdict; queued again without burning a retry",
        {
            "job_id": "",
            "epoch": "",
            "worker_id": "",
            "reason": "lost|released|fenced|paused|recalled|shutdown",
            "is_loss": "counts as a loss",
        },
    ),
    EventType(
        "QuarantineRecorded",
        "rows of a committed output were set aside",
        {
            "job_id": "",
            "output": "",
            "version": "",
            "counts": "[[code, column, rows]…], the most frequent, at most 50 and 6 KiB; the manifest has all",
            "rows": "all",
            "files": "paths relative to the home, at most 50 and 6 KiB; the manifest has all",
            "is_committed": "",
            "left_out?": "how many `counts` were left out",
            "left_out_rows?": "their sum",
            "files_left_out?": "how many files were left out",
        },
    ),
    # --- processes
    EventType(
        "WorkerJoined",
        "a worker is here",
        {"worker_id": "", "host": "", "pid": "", "slots": "", "labels": "", "version": "", "sandbox": ""},
    ),
    EventType("WorkerLost", "a worker fell silent or died", {"worker_id": "", "reason": ""}),
    EventType("WorkerLeft", "a worker said goodbye", {"worker_id": ""}),
    EventType(
        "SentinelStarted",
        "a sentinel owns the log",
        {"pid": "", "version": "", "host": "", "boot_id": "", "mode": "daemon|local"},
    ),
    EventType("SentinelStopped", "a clean end", {"reason": ""}),
    EventType(
        "TornTailCut",
        "unacknowledged bytes were cut and kept",
        {"segment": "", "offset": "", "bytes": "", "kept_as": ""},
    ),
    EventType(
        "LogRepaired",
        "a damaged log was cut back to its last good batch, by hand; the old bytes are kept",
        {
            "segment": "",
            "offset": "of the cut",
            "last_good_seq": "",
            "last_seen_seq": "the highest event that could still be read behind the cut",
            "cut_bytes": "",
            "removed_segments": "names, at most 200",
            "segments_left_out?": "how many more were removed",
            "reason": "what was damaged",
            "kept_as": "below the log folder",
        },
    ),
    EventType(
        "ContentsRecognised",
        "files have a content that their parser has processed before; its rows are live, and no job is needed",
        {
            "parser": "",
            "on_change": "replace|append: whether their earlier contents lose them",
            "as_of_seq": "where the catalogue stood when it was seen",
            "contents?": "[[file id, content hash]…], up to 100",
            "blob?": "msgpack {files: [[file id, content hash]…]}",
            "files": "count",
        },
    ),
    EventType(
        "FailureClosed",
        "somebody looked into a failed job and it needs no more attention",
        {"job_id": "", "reason": ""},
    ),
    EventType("IntakePaused", "no new work is taken", {"reason": ""}),
    EventType("IntakeResumed", "work is taken again", {"reason": ""}),
)

CATALOGUE: dict[str, EventType] = {event.name: event for event in _TYPES}
LAZY: frozenset[str] = frozenset(event.name for event in _TYPES if event.is_lazy)
#: Events that `cf_audit` leaves out.
NOT_AUDITED: frozenset[str] = LAZY
