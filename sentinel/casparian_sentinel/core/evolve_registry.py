"""Folding what is known about parsers, contracts, outputs and policies.

The current version is the one that new and changed files go to; `ParserCurrentChanged` says which. In logs of before that
event it follows from approvals, commits and ends of jobs: `_derive_current`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from packaging.version import Version

from casparian_protocol.jobs import OutputStatus
from casparian_protocol.jobs.kinds import Work
from casparian_sentinel.core import evolve_breaker
from casparian_sentinel.core.state import (
    Contract,
    OutputOwner,
    OutputVersion,
    ParserLine,
    ParserVersion,
    State,
)

Data: TypeAlias = dict[str, Any]


# --- logs of before `ParserCurrentChanged`; never changed ---


def _derive_current(state: State, line: ParserLine) -> None:
    """Once something was committed, the current version stayed; if it was retired, one with the very contracts followed.

    Before that the newest version that might run was current, at once, unless jobs of another one were still open.
    """
    now = line.versions.get(line.current)
    stays = now is not None and now.is_runnable
    if stays and (line.has_processed or line.open_jobs):
        return
    runnable = [version for version in line.versions.values() if version.is_runnable]
    if line.has_processed:
        runnable = [version for version in runnable if _has_contracts_of_live_rows(state, version.outputs)]
    newest = max(runnable, key=lambda version: Version(version.version), default=None)
    line.current = newest.version if newest is not None else ""


def _has_contracts_of_live_rows(state: State, contracts: dict[str, str]) -> bool:
    for output, contract in contracts.items():
        owner = state.outputs.get(output)
        if owner is not None and owner.live is not None and owner.live.contract_hash != contract:
            return False
    return True


# --- what jobs do to parsers and outputs ---


def job_opened(state: State, parser: str) -> None:
    line = state.parsers.get(parser)
    if line is not None:
        line.open_jobs += 1


def job_closed(state: State, parser: str) -> None:
    line = state.parsers.get(parser)
    if line is None:
        return
    line.open_jobs -= 1
    if line.is_derived and not line.open_jobs and not line.has_processed:
        _derive_current(state, line)


def outputs_committed(state: State, work: Work, versions: Mapping[str, int]) -> None:
    line = state.parsers.get(work.parser)
    if line is not None:
        line.has_processed = True
    for output, number in versions.items():
        owner = state.outputs.get(output)
        if owner is None:
            continue
        version = owner.versions.get(number)
        if version is None:  # a log of before `OutputVersionCreated`: the first commit made version 1
            contract = work.contracts.get(output, "")
            version = owner.versions[number] = OutputVersion(number, OutputStatus.LIVE, contract, [contract])
        version.has_rows = True


# --- parsers ---


def _registered(state: State, seq: int, ts: int, data: Data) -> None:
    name = data["name"]
    line = state.parsers.get(name)
    if line is None:
        line = state.parsers[name] = ParserLine(name)
    line.versions[data["version"]] = ParserVersion(
        parser_id=data["parser_id"],
        version=data["version"],
        artifact=data["artifact"],
        entry=data["entry"],
        kind=data["kind"],
        topics=list(data["topics"]),
        outputs=dict(data["outputs"]),
        params=data["params"],
    )
    for output in data["outputs"]:
        state.outputs.setdefault(output, OutputOwner(output, name))


def _retired(state: State, seq: int, ts: int, data: Data) -> None:
    line = state.parsers[data["name"]]
    line.versions[data["version"]].is_retired = True
    _derive_if_old(state, line, data)


def _derive_if_old(state: State, line: ParserLine, data: Data) -> None:
    if data.get("derives_current"):
        line.is_derived = True
        _derive_current(state, line)


def _current_changed(state: State, seq: int, ts: int, data: Data) -> None:
    line = state.parsers[data["name"]]
    line.current = data["version"]
    line.is_derived = False
    version = line.versions.get(line.current)
    if version is not None:
        version.waits = []
    _note_waiting(state, line)


def _version_waits(state: State, seq: int, ts: int, data: Data) -> None:
    line = state.parsers[data["name"]]
    line.versions[data["version"]].waits = list(data["problems"])
    _note_waiting(state, line)


def _note_waiting(state: State, line: ParserLine) -> None:
    if line.waits_for_jobs():
        state.waiting_lines[line.name] = None
    else:
        state.waiting_lines.pop(line.name, None)


def _parameters_set(state: State, seq: int, ts: int, data: Data) -> None:
    state.parsers[data["name"]].params = dict(data["params"])


def _paused(state: State, seq: int, ts: int, data: Data) -> None:
    version = data.get("version", "")
    if version:
        evolve_breaker.opened(state, ts, data["name"], version, data["reason"])
    else:
        state.parsers[data["name"]].paused = data["reason"]


def _half_opened(state: State, seq: int, ts: int, data: Data) -> None:
    evolve_breaker.half_opened(state, data["name"], data["version"])


def _resumed(state: State, seq: int, ts: int, data: Data) -> None:
    version = data.get("version", "")
    if not version:
        state.parsers[data["name"]].paused = None
    evolve_breaker.closed(state, data["name"], version)


def _proposed(state: State, seq: int, ts: int, data: Data) -> None:
    state.contracts[data["contract_id"]] = Contract(
        data["contract_id"],
        data["scope_id"],
        data["parser"],
        data["version"],
        data["output"],
        data["contract_hash"],
    )


def _approved(state: State, seq: int, ts: int, data: Data) -> None:
    contract = state.contracts[data["contract_id"]]
    contract.status = "APPROVED"
    line = state.parsers[contract.parser]
    line.versions[contract.version].approved.add(contract.output)
    _derive_if_old(state, line, data)


def _rejected(state: State, seq: int, ts: int, data: Data) -> None:
    state.contracts[data["contract_id"]].status = "REJECTED"


# --- outputs ---


def _output_version_created(state: State, seq: int, ts: int, data: Data) -> None:
    owner = state.outputs.setdefault(data["output"], OutputOwner(data["output"], data["parser"]))
    contract = data["contract_hash"]
    known = owner.versions.get(data["version"])
    owner.versions[data["version"]] = OutputVersion(
        data["version"],
        OutputStatus(data["status"]),
        contract,
        [contract],
        has_rows=known is not None and known.has_rows,  # of a log that is older than this event
    )


def _output_version_set_live(state: State, seq: int, ts: int, data: Data) -> None:
    owner = state.outputs[data["output"]]
    if owner.live is not None:
        owner.live.status = OutputStatus.RETIRED
    owner.versions[data["version"]].status = OutputStatus.LIVE


def _output_contracts_changed(state: State, seq: int, ts: int, data: Data) -> None:
    version = state.outputs[data["output"]].versions[data["version"]]
    version.contract_hash = data["contract_hash"]
    version.contracts = list(data["contracts"])


def _policy_set(state: State, seq: int, ts: int, data: Data) -> None:
    scope = (data["parser"], data["output"])
    if data["policy"]:
        state.policies[scope] = data["policy"]
    else:
        state.policies.pop(scope, None)


HANDLERS: dict[str, Callable[[State, int, int, Data], None]] = {
    "ParserRegistered": _registered,
    "ParserRetired": _retired,
    "ParserCurrentChanged": _current_changed,
    "ParserVersionWaits": _version_waits,
    "ParserParametersSet": _parameters_set,
    "OutputVersionCreated": _output_version_created,
    "OutputVersionSetLive": _output_version_set_live,
    "OutputContractsChanged": _output_contracts_changed,
    "ParserPaused": _paused,
    "ParserHalfOpened": _half_opened,
    "ParserResumed": _resumed,
    "ContractProposed": _proposed,
    "ContractApproved": _approved,
    "ContractRejected": _rejected,
    "QuarantinePolicySet": _policy_set,
}
