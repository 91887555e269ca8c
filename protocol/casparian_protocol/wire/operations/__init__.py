"""What a client may ask of a sentinel: each operation with its arguments and its result.

An operation travels as a `request`; the side that performs it validates its arguments (`parse_args`). Unknown arguments are
refused. Unknown fields of a result are ignored, so that a newer sentinel may say more. Each module has the operations of one
subject; how an operation is performed is the sentinel's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from casparian_protocol.errors import CasparianError
from casparian_protocol.wire.operations import daemon, jobs, registry
from casparian_protocol.wire.operations.base import Args, Done, NoArgs, Result

__all__ = ["OPERATIONS", "BadArguments", "Operation", "UnknownOperation", "parse_args"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One name that a `request` may carry."""

    name: str
    meaning: str
    args: type[Args]
    result: type[Result]
    #: Only a daemon can do it; without one the client does without.
    is_daemon_only: bool = False
    #: Its request brings one attachment.
    takes_bytes: bool = False


_OPERATIONS = (
    Operation("ping", "is anybody there", NoArgs, daemon.PingResult),
    Operation("status", "the sentinel, its workers and its queue in numbers", NoArgs, daemon.StatusResult),
    Operation("snapshot", "all that is open at a sequence, for readers of the feed", NoArgs, daemon.SnapshotResult),
    Operation("queue", "pending files become jobs", jobs.QueueArgs, jobs.QueueResult),
    Operation("cancel", "stop an open job; it leaves nothing", jobs.CancelArgs, jobs.JobResult),
    Operation(
        "retry", "a failed, dead or cancelled job waits again, with its own artifact", jobs.JobArgs, jobs.JobResult
    ),
    Operation("replay", "dead letters wait again, their counts reset", jobs.ReplayArgs, jobs.ReplayResult),
    Operation("close", "failures that need no more attention are counted no more", jobs.CloseArgs, jobs.CloseResult),
    Operation("rerun", "an ended job again, as a new job with the current artifact", jobs.JobArgs, jobs.JobResult),
    Operation(
        "rerun_failed",
        "inputs that failed, as new jobs with what is current",
        jobs.RerunFailedArgs,
        jobs.RerunFailedResult,
    ),
    Operation("pause", "jobs of the parser stay queued", registry.PauseArgs, Done),
    Operation("resume", "jobs of the parser run again", registry.ResumeArgs, Done),
    Operation("retire", "no new jobs for this version", registry.RetireArgs, registry.RetireResult),
    Operation("use_version", "this version takes new and changed files", registry.UseArgs, registry.UseResult),
    Operation(
        "set_parameters",
        "what jobs get as parameters from now on",
        registry.SetParametersArgs,
        registry.SetParametersResult,
    ),
    Operation("register", "an artifact and its contracts become known", registry.RegisterArgs, registry.RegisterResult),
    Operation(
        "decide_contract",
        "approve or reject proposed contracts",
        registry.DecideContractArgs,
        registry.DecideContractResult,
    ),
    Operation("set_policy", "store a quarantine policy", registry.PolicyArgs, Done),
    Operation("add_source", "a directory becomes a source", registry.AddSourceArgs, registry.AddSourceResult),
    Operation(
        "remove_source",
        "a source is scanned no more; its files stay known",
        registry.SourceArgs,
        registry.SourceResult,
    ),
    Operation(
        "rescan", "queue a SCAN job for a source", registry.SourceArgs, registry.RescanResult, is_daemon_only=True
    ),
    Operation(
        "upload",
        "a piece of a blob that a later operation names",
        daemon.UploadArgs,
        daemon.UploadResult,
        takes_bytes=True,
    ),
    Operation("begin_scan", "the client starts a scan of its own", registry.BeginScanArgs, registry.BeginScanResult),
    Operation("observe", "what the client's scan found changed", registry.ObserveArgs, Done),
    Operation("end_scan", "the client's scan ended", registry.EndScanArgs, Done),
    Operation(
        "revise",
        "known files get the tags of changed rules, or their digest",
        registry.ReviseArgs,
        registry.ReviseResult,
    ),
    Operation("tag", "files get or lose a tag by hand", registry.TagArgs, registry.TagResult),
    Operation("add_rule", "a tagging rule", registry.AddRuleArgs, registry.RuleResult),
    Operation("remove_rule", "a tagging rule is gone", registry.RemoveRuleArgs, registry.RuleResult),
    Operation("settings", "the settings that the daemon runs with", NoArgs, daemon.SettingsResult, is_daemon_only=True),
    Operation(
        "reload", "take over the settings that need no restart", NoArgs, daemon.ReloadResult, is_daemon_only=True
    ),
    Operation("drain", "take no new work; what runs may finish", NoArgs, Done, is_daemon_only=True),
    Operation("stop", "end the daemon", daemon.StopArgs, Done, is_daemon_only=True),
)

OPERATIONS: dict[str, Operation] = {operation.name: operation for operation in _OPERATIONS}


class UnknownOperation(CasparianError):
    """The sentinel does not know this operation."""

    def __init__(self, op: str) -> None:
        super().__init__(
            f"There is no operation {op[:64]!r}.",
            remedy="The peer speaks another version of the protocol; docs/protocol.md lists the operations.",
        )


class BadArguments(CasparianError):
    """The arguments do not fit the operation's model; names the first field that does not."""

    def __init__(self, op: str, invalid: ValidationError) -> None:
        first = invalid.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "args"
        super().__init__(f"{op}: {field}: {first['msg']}.", remedy="docs/protocol.md lists each operation's arguments.")
        self.field = field


def parse_args(op: str, args: Mapping[str, object]) -> Args:
    """The validated arguments of a request; raises `UnknownOperation` or `BadArguments`."""
    operation = OPERATIONS.get(op)
    if operation is None:
        raise UnknownOperation(op)
    try:
        return operation.args.model_validate(args)
    except ValidationError as invalid:
        raise BadArguments(op, invalid) from invalid
