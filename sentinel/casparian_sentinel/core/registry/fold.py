"""Folding events about parsers, contracts, outputs and policies.

New and changed files go to the current version, and `ParserCurrentChanged` says which one that is. In logs older than that event
it follows from approvals, commits and ends of jobs (`_derive_current`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from packaging.version import Version

from casparian_protocol.events import (
    ContractApproved,
    ContractProposed,
    ContractRejected,
    Event,
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
)
from casparian_protocol.jobs import OutputStatus
from casparian_protocol.jobs.kinds import Work
from casparian_sentinel.core import breaker
from casparian_sentinel.core.state import (
    Contract,
    OutputOwner,
    OutputVersion,
    ParserLine,
    ParserVersion,
    State,
)

# --- logs older than `ParserCurrentChanged`; this must never change ---


def _derive_current(state: State, line: ParserLine) -> None:
    """The rule of old versions for the current version.

    Once something was committed, the current version stayed; if it was retired, a version with exactly its contracts followed.
    Before the first commit the newest runnable version was current at once, unless jobs of another version were still open.
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


# --- how jobs change parsers and outputs ---


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
        if version is None:  # a log older than `OutputVersionCreated`: the first commit created version 1
            contract = work.contracts.get(output, "")
            version = owner.versions[number] = OutputVersion(number, OutputStatus.LIVE, contract, [contract])
        version.has_rows = True


# --- parsers ---


def _registered(state: State, seq: int, ts: int, event: ParserRegistered) -> None:
    name = event.name
    line = state.parsers.get(name)
    if line is None:
        line = state.parsers[name] = ParserLine(name)
    line.versions[event.version] = ParserVersion(
        parser_id=event.parser_id,
        version=event.version,
        artifact=event.artifact,
        entry=event.entry,
        kind=event.kind,
        topics=list(event.topics),
        outputs=dict(event.outputs),
        params=event.params,
    )
    for output in event.outputs:
        state.outputs.setdefault(output, OutputOwner(output, name))


def _retired(state: State, seq: int, ts: int, event: ParserRetired) -> None:
    line = state.parsers[event.name]
    line.versions[event.version].is_retired = True
    _derive_if_old(state, line, event)


def _derive_if_old(state: State, line: ParserLine, event: ParserRetired | ContractApproved) -> None:
    if event.derives_current:
        line.is_derived = True
        _derive_current(state, line)


def _current_changed(state: State, seq: int, ts: int, event: ParserCurrentChanged) -> None:
    line = state.parsers[event.name]
    line.current = event.version
    line.is_derived = False
    version = line.versions.get(line.current)
    if version is not None:
        version.waits = []
    _note_waiting(state, line)


def _version_waits(state: State, seq: int, ts: int, event: ParserVersionWaits) -> None:
    line = state.parsers[event.name]
    line.versions[event.version].waits = list(event.problems)
    _note_waiting(state, line)


def _note_waiting(state: State, line: ParserLine) -> None:
    if line.waits_for_jobs():
        state.waiting_lines[line.name] = None
    else:
        state.waiting_lines.pop(line.name, None)


def _parameters_set(state: State, seq: int, ts: int, event: ParserParametersSet) -> None:
    state.parsers[event.name].params = dict(event.params)


def _paused(state: State, seq: int, ts: int, event: ParserPaused) -> None:
    version = event.version
    if version:
        breaker.opened(state, ts, event.name, version, event.reason)
    else:
        state.parsers[event.name].paused = event.reason


def _half_opened(state: State, seq: int, ts: int, event: ParserHalfOpened) -> None:
    breaker.half_opened(state, event.name, event.version)


def _resumed(state: State, seq: int, ts: int, event: ParserResumed) -> None:
    version = event.version
    if not version:
        state.parsers[event.name].paused = None
    breaker.closed(state, event.name, version)


def _proposed(state: State, seq: int, ts: int, event: ContractProposed) -> None:
    state.contracts[event.contract_id] = Contract(
        event.contract_id,
        event.scope_id,
        event.parser,
        event.version,
        event.output,
        event.contract_hash,
    )


def _approved(state: State, seq: int, ts: int, event: ContractApproved) -> None:
    contract = state.contracts[event.contract_id]
    contract.status = "APPROVED"
    line = state.parsers[contract.parser]
    line.versions[contract.version].approved.add(contract.output)
    _derive_if_old(state, line, event)


def _rejected(state: State, seq: int, ts: int, event: ContractRejected) -> None:
    state.contracts[event.contract_id].status = "REJECTED"


# --- outputs ---


def _output_version_created(state: State, seq: int, ts: int, event: OutputVersionCreated) -> None:
    owner = state.outputs.setdefault(event.output, OutputOwner(event.output, event.parser))
    contract = event.contract_hash
    known = owner.versions.get(event.version)
    owner.versions[event.version] = OutputVersion(
        event.version,
        OutputStatus(event.status),
        contract,
        [contract],
        has_rows=known is not None and known.has_rows,  # from a log older than this event
    )


def _output_version_set_live(state: State, seq: int, ts: int, event: OutputVersionSetLive) -> None:
    owner = state.outputs[event.output]
    if owner.live is not None:
        owner.live.status = OutputStatus.RETIRED
    owner.versions[event.version].status = OutputStatus.LIVE


def _output_version_closed(state: State, seq: int, ts: int, event: OutputVersionClosed) -> None:
    version = state.outputs[event.output].versions[event.version]
    version.status = OutputStatus(event.status)
    version.has_rows = version.has_rows and version.status is OutputStatus.RETIRED


def _output_contracts_changed(state: State, seq: int, ts: int, event: OutputContractsChanged) -> None:
    version = state.outputs[event.output].versions[event.version]
    version.contract_hash = event.contract_hash
    version.contracts = list(event.contracts)


def _policy_set(state: State, seq: int, ts: int, event: QuarantinePolicySet) -> None:
    scope = (event.parser, event.output)
    if event.policy:
        state.policies[scope] = event.policy
    else:
        state.policies.pop(scope, None)


HANDLERS: dict[type[Event], Callable[[State, int, int, Any], None]] = {
    ParserRegistered: _registered,
    ParserRetired: _retired,
    ParserCurrentChanged: _current_changed,
    ParserVersionWaits: _version_waits,
    ParserParametersSet: _parameters_set,
    ParserPaused: _paused,
    ParserHalfOpened: _half_opened,
    ParserResumed: _resumed,
    ContractProposed: _proposed,
    ContractApproved: _approved,
    ContractRejected: _rejected,
    OutputVersionClosed: _output_version_closed,
    OutputVersionCreated: _output_version_created,
    OutputVersionSetLive: _output_version_set_live,
    OutputContractsChanged: _output_contracts_changed,
    QuarantinePolicySet: _policy_set,
}
