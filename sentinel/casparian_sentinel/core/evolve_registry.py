"""Folding what is known about parsers, contracts, outputs and policies; and which version of a parser is current.

The current version is the one that new files go to. It follows from the events alone: see `_settle_current`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from packaging.version import Version

from casparian_sentinel.core import evolve_breaker
from casparian_sentinel.core.state import Contract, OutputOwner, ParserLine, ParserVersion, State, Work

Data: TypeAlias = dict[str, Any]


def _settle_current(state: State, line: ParserLine) -> None:
    """Choose the version that new files go to, so that no output ever mixes rows of two contracts.

    Once something was committed, the current version stays until a backfill flips it; if it was retired, only a version
    whose contracts are those of the live rows may follow. Before that the newest version that may run is current, at
    once, unless jobs of another one are still open.
    """
    now = line.versions.get(line.current)
    stays = now is not None and now.is_runnable
    if stays and (line.has_processed or line.open_jobs):
        return
    runnable = [version for version in line.versions.values() if version.is_runnable]
    if line.has_processed:
        runnable = [version for version in runnable if follows_live_rows(state, version.outputs)]
    newest = max(runnable, key=lambda version: Version(version.version), default=None)
    line.current = newest.version if newest is not None else ""


def follows_live_rows(state: State, contracts: dict[str, str]) -> bool:
    """Whether rows under these contracts may be appended to the live versions of their outputs."""
    for output, contract in contracts.items():
        owner = state.outputs.get(output)
        if owner is not None and owner.contract_hash and owner.contract_hash != contract:
            return False
    return True


def job_opened(state: State, parser: str) -> None:
    line = state.parsers.get(parser)
    if line is not None:
        line.open_jobs += 1


def job_closed(state: State, parser: str) -> None:
    line = state.parsers.get(parser)
    if line is None:
        return
    line.open_jobs -= 1
    if not line.open_jobs and not line.has_processed:
        _settle_current(state, line)


def outputs_committed(state: State, work: Work, outputs: Iterable[str]) -> None:
    line = state.parsers.get(work.parser)
    if line is not None:
        line.has_processed = True
    for output in outputs:
        owner = state.outputs.get(output)
        if owner is not None and not owner.contract_hash:
            owner.contract_hash = work.contracts.get(output, "")


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
    _settle_current(state, line)


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
    _settle_current(state, line)


def _rejected(state: State, seq: int, ts: int, data: Data) -> None:
    state.contracts[data["contract_id"]].status = "REJECTED"


def _policy_set(state: State, seq: int, ts: int, data: Data) -> None:
    scope = (data["parser"], data["output"])
    if data["policy"]:
        state.policies[scope] = data["policy"]
    else:
        state.policies.pop(scope, None)


HANDLERS: dict[str, Callable[[State, int, int, Data], None]] = {
    "ParserRegistered": _registered,
    "ParserRetired": _retired,
    "ParserPaused": _paused,
    "ParserHalfOpened": _half_opened,
    "ParserResumed": _resumed,
    "ContractProposed": _proposed,
    "ContractApproved": _approved,
    "ContractRejected": _rejected,
    "QuarantinePolicySet": _policy_set,
}
