"""Which version of a parser takes new and changed files, and which contracts may validate the rows of an output.

A version that becomes runnable takes over at once if all existing rows satisfy its contracts (`Fits`, which the caller computes
from the contracts); otherwise it waits, and the reasons are recorded. Files that were already processed are not touched in
either case. A version chosen by hand stays current until a newer version is approved after the choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from packaging.version import Version

from casparian_protocol.contract import Misfit
from casparian_protocol.events import (
    JobCancelled,
    JobCompleted,
    JobDeadLettered,
    JobFailed,
    OutputContractsChanged,
    OutputVersionCreated,
    OutputVersionSetLive,
    ParserCurrentChanged,
    ParserVersionWaits,
    Problem,
)
from casparian_protocol.jobs import OutputStatus
from casparian_protocol.wording import CONTRACT, JOBS_OPEN, NOT_COMPARED, what_to_do, why_waits
from casparian_sentinel.core.answers import VersionChosen, VersionVerdict
from casparian_sentinel.core.commands import Fits, UseVersion
from casparian_sentinel.core.decision import DecisionBuilder, PlanFiles
from casparian_sentinel.core.state import OutputOwner, ParserLine, ParserVersion, State

By: TypeAlias = Literal["approval", "hand", "retirement", "start"]

_PROBLEMS_IN_EVENT = 20
_PROBLEM_CHARACTERS = 160
_CONTRACTS_IN_EVENT = 50
_ENDS = (JobCompleted, JobFailed, JobDeadLettered, JobCancelled)
_NOT_COMPARED = (Misfit("", "its contract was not compared with that of the existing rows"),)


@dataclass(frozen=True, slots=True)
class LiveVersion:
    """The live version of an output as a decision sees it: the state's, with the decision's own changes."""

    number: int
    contract_hash: str
    contracts: tuple[str, ...]
    has_rows: bool


def live_versions_of(state: State, outputs: Iterable[str]) -> dict[str, LiveVersion]:
    """The live versions of these outputs; an output without one is left out."""
    found = {}
    for output in outputs:
        owner = state.outputs.get(output)
        live = owner.live if owner is not None else None
        if live is not None:
            found[output] = LiveVersion(live.number, live.contract_hash, tuple(live.contracts), live.has_rows)
    return found


# --- whether a version can take over ---


def problems_of(
    live_versions: Mapping[str, LiveVersion], contracts: Mapping[str, str], fits: Fits, open_jobs: int
) -> list[Problem]:
    """Why a version with these contracts cannot take over from the existing rows; empty if it can."""
    problems: list[Problem] = []
    for output, contract in contracts.items():
        live = live_versions.get(output)
        if live is None or live.contract_hash == contract or not (live.has_rows or open_jobs):
            continue
        code = CONTRACT if live.has_rows else JOBS_OPEN
        problems += [
            Problem(output=output, column=misfit.column, what=misfit.what[:_PROBLEM_CHARACTERS], code=code)
            for misfit in fits.get((live.contract_hash, contract), _NOT_COMPARED)
        ]
    return problems


def may_be_chosen(
    live_versions: Mapping[str, LiveVersion], contracts: Mapping[str, str], fits: Fits, open_jobs: int
) -> bool:
    """Whether a person may choose a version with these contracts: with a stricter contract the table keeps its own."""
    for output, contract in contracts.items():
        live = live_versions.get(output)
        if live is None or contract in live.contracts or not (live.has_rows or open_jobs):
            continue
        if fits.get((live.contract_hash, contract), _NOT_COMPARED) and fits.get(
            (contract, live.contract_hash), _NOT_COMPARED
        ):
            return False
    return True


def refusal_of_target(state: State, contracts: Mapping[str, str], targets: Mapping[str, int]) -> str:
    """Why rows under these contracts cannot go to these versions of their outputs, or an empty text if they can."""
    for output, contract in contracts.items():
        owner = state.outputs.get(output)
        version = owner.versions.get(targets.get(output, 0)) if owner is not None else None
        if version is None:
            return f"no version of the output {output} takes its rows yet"
        if version.status not in (OutputStatus.LIVE, OutputStatus.BUILDING):
            return f"version {version.number} of the output {output} is {version.status.value}"
        if contract not in version.contracts:
            return f"the rows of {output} follow another contract"
    return ""


def targets_of(state: State, outputs: Iterable[str]) -> dict[str, int]:
    """The live version of each output, which takes the rows of jobs queued now."""
    return {output: live.number for output, live in live_versions_of(state, outputs).items()}


# --- becoming current ---


def admit(
    decision: DecisionBuilder, line: ParserLine, newly_runnable: Iterable[ParserVersion], fits: Fits, *, by: By
) -> list[VersionVerdict]:
    """Decide about versions that have just become runnable, newest first; the verdicts are for the caller.

    `line` already includes the command's own registration and approvals.
    """
    current = line.current
    verdicts: list[VersionVerdict] = []
    for version in sorted(newly_runnable, key=_age, reverse=True):
        if current and Version(version.version) < Version(current):
            verdicts.append(_verdict(decision, line, version, "older", current))
            continue
        live_versions = live_versions_of(decision.state, version.outputs)
        problems = problems_of(live_versions, version.outputs, fits, line.open_jobs)
        if problems:
            verdicts.append(_wait(decision, line, version, current, problems, fits))
            continue
        _make_current(decision, line, version, current, fits, by=by, reason="")
        current = version.version
        verdicts.append(_verdict(decision, line, version, "current", current))
    return verdicts


def _age(version: ParserVersion) -> Version:
    return Version(version.version)


def _wait(
    decision: DecisionBuilder,
    line: ParserLine,
    version: ParserVersion,
    current: str,
    problems: list[Problem],
    fits: Fits,
) -> VersionVerdict:
    may_choose = may_be_chosen(live_versions_of(decision.state, version.outputs), version.outputs, fits, line.open_jobs)
    _record_waiting(decision, line, version, problems, may_choose=may_choose)
    return _verdict(decision, line, version, "waits", current, problems, may_choose=may_choose)


def _record_waiting(
    decision: DecisionBuilder, line: ParserLine, version: ParserVersion, problems: list[Problem], *, may_choose: bool
) -> None:
    kept = problems[:_PROBLEMS_IN_EVENT]
    if kept == version.waits:
        return
    decision.record(
        ParserVersionWaits(
            name=line.name,
            version=version.version,
            problems=tuple(kept),
            left_out=len(problems) - len(kept),
            may_be_chosen=may_choose,
            like=_like(decision.state, line, kept),
        )
    )


def _like(state: State, line: ParserLine, problems: Sequence[Problem]) -> str:
    """The newest version whose contract is that of the live rows of the first output in conflict."""
    output = problems[0]["output"] if problems else ""
    owner = state.outputs.get(output)
    live = owner.live if owner is not None else None
    found = [each for each in line.versions.values() if live and each.outputs.get(output) == live.contract_hash]
    return max(found, key=_age).version if found else ""


def _verdict(
    decision: DecisionBuilder,
    line: ParserLine,
    version: ParserVersion,
    state: Literal["current", "older", "waits"],
    current: str,
    problems: Sequence[Problem] = (),
    *,
    may_choose: bool = True,
) -> VersionVerdict:
    """The status of a version for the answer: `said` in words, and `remedy` if something can be done about it."""
    name = f"{line.name} {version.version}"
    if state == "current":
        status, remedy = f"{name} is current: new and changed files go to it; processed ones are not touched", ""
    elif state == "older":
        status = f"{name} may run but is older than {current}, which stays current"
        remedy = f"`casparian parser use {line.name}@{version.version} --reason TEXT` makes it current."
    else:
        left = f"new files still go to {current}" if current else "no version takes new files yet"
        status = f"{name} waits, {left}: {why_waits(problems)}"
        like = _like(decision.state, line, problems)
        remedy = what_to_do(line.name, version.version, problems, may_be_chosen=may_choose, like=like)
    return {
        "parser": line.name,
        "version": version.version,
        "state": state,
        "current": current,
        "said": status,
        "remedy": remedy,
        "problems": list(problems[:_PROBLEMS_IN_EVENT]),
    }


def _make_current(
    decision: DecisionBuilder,
    line: ParserLine,
    version: ParserVersion,
    previous: str,
    fits: Fits | None,
    *,
    by: By,
    reason: str,
) -> None:
    """Record that `version` takes new and changed files, and how its outputs' live versions change.

    Without `fits`, its contracts are known to be no stricter than those of the existing rows.
    """
    live_versions = live_versions_of(decision.state, version.outputs)
    for output, contract in version.outputs.items():
        live = live_versions.get(output)
        if live is None:
            _record_first_version(decision, line.name, decision.state.outputs.get(output), output, contract)
        elif live.contract_hash != contract:
            live_versions[output] = _record_contract(
                decision, output, live, contract, fits, has_open_jobs=line.open_jobs > 0
            )
    decision.record(
        ParserCurrentChanged(name=line.name, version=version.version, previous=previous, by=by, reason=reason[:512])
    )
    _refresh_waiting(decision, line, version, live_versions, fits)
    decision.do(PlanFiles())


def _refresh_waiting(
    decision: DecisionBuilder,
    line: ParserLine,
    current: ParserVersion,
    after: Mapping[str, LiveVersion],
    fits: Fits | None,
) -> None:
    """Update the waiting versions after `current` was chosen: older ones stop waiting, others may have fewer reasons to wait."""
    for each in line.versions.values():
        if not each.waits or each.version == current.version:
            continue
        if _age(each) < _age(current) or not each.is_runnable:
            _record_waiting(decision, line, each, [], may_choose=False)
        elif fits is not None:
            live_versions = {**live_versions_of(decision.state, each.outputs), **after}
            problems = problems_of(live_versions, each.outputs, fits, line.open_jobs)
            may_choose = may_be_chosen(live_versions, each.outputs, fits, line.open_jobs)
            _record_waiting(decision, line, each, problems, may_choose=may_choose)


def _record_first_version(
    decision: DecisionBuilder, parser: str, owner: OutputOwner | None, output: str, contract: str
) -> None:
    number = 1 + max(owner.versions, default=0) if owner is not None else 1
    _record_live_version(decision, parser, output, number, contract)


def _record_live_version(decision: DecisionBuilder, parser: str, output: str, number: int, contract: str) -> None:
    decision.record(
        OutputVersionCreated(
            output=output, version=number, parser=parser, contract_hash=contract, status=OutputStatus.BUILDING
        )
    )
    decision.record(OutputVersionSetLive(output=output, version=number))


def _record_contract(
    decision: DecisionBuilder, output: str, live: LiveVersion, contract: str, fits: Fits | None, *, has_open_jobs: bool
) -> LiveVersion:
    """Add a contract to the live version, as its own or as a stricter one; returns the changed live version."""
    is_in_use = live.has_rows or has_open_jobs
    is_stricter = is_in_use and fits is not None and bool(fits.get((live.contract_hash, contract), _NOT_COMPARED))
    own = live.contract_hash if is_stricter else contract
    others = [each for each in live.contracts if each not in (own, contract)] if is_in_use else []
    kept = [*others, *dict.fromkeys((own, contract))][-_CONTRACTS_IN_EVENT:]
    if own == live.contract_hash and contract in live.contracts:
        return live
    decision.record(
        OutputContractsChanged(output=output, version=live.number, contract_hash=own, contracts=tuple(kept))
    )
    return replace(live, contract_hash=own, contracts=tuple(kept))


# --- chosen by hand, after a retirement, after the last job ---


def use(decision: DecisionBuilder, command: UseVersion) -> None:
    """Make a version current by hand: it must be allowed to run, and its rows must be allowed next to the existing ones."""
    state = decision.state
    line = state.parsers.get(command.parser)
    version = line.versions.get(command.version) if line is not None else None
    if line is None or version is None:
        known = f"It has {', '.join(line.versions)}." if line is not None else "`casparian parser list` shows them."
        decision.reject(f"There is no {command.parser} {command.version}.", known, code="NOT_FOUND")
        return
    if version.is_retired:
        decision.reject(f"{line.name} {version.version} is retired.", "Choose another version.", code="RETIRED")
        return
    if not version.is_runnable:
        waiting = ", ".join(version.unapproved()) or "any output"
        decision.reject(
            f"{line.name} {version.version} has no approved contract for {waiting}.",
            f"`casparian contract approve {line.name}@{version.version}` approves what it proposes.",
            code="NOT_APPROVED",
        )
        return
    if line.current == version.version:
        decision.answer(VersionChosen(line.name, version.version, line.current, already=True))
        return
    live_versions = live_versions_of(state, version.outputs)
    if not may_be_chosen(live_versions, version.outputs, command.fits, line.open_jobs):
        problems = problems_of(live_versions, version.outputs, command.fits, line.open_jobs)
        decision.reject(
            f"{line.name} {version.version} cannot take over: {why_waits(problems)}.",
            what_to_do(line.name, version.version, problems, may_be_chosen=False, like=_like(state, line, problems)),
            code="INCOMPATIBLE",
        )
        return
    _make_current(decision, line, version, line.current, command.fits, by="hand", reason=command.reason)
    decision.answer(VersionChosen(line.name, version.version, line.current))


def follow_retired(decision: DecisionBuilder, line: ParserLine, retired: ParserVersion, fits: Fits) -> VersionVerdict:
    """After the current version was retired, make the newest one that fits current, if any. Returns the verdict on it."""
    others = [each for each in line.versions.values() if each is not retired and each.is_runnable]
    best_waiting: VersionVerdict | None = None
    for version in sorted(others, key=_age, reverse=True):
        live_versions = live_versions_of(decision.state, version.outputs)
        problems = problems_of(live_versions, version.outputs, fits, line.open_jobs)
        if all(live.contract_hash == each or each in live.contracts for each, live in _pairs(version, live_versions)):
            problems = []  # it was valid for these rows before
        if not problems:
            _make_current(decision, line, version, retired.version, fits, by="retirement", reason="")
            return _verdict(decision, line, version, "current", version.version)
        waiting = _wait(decision, line, version, "", problems, fits)
        best_waiting = best_waiting or waiting
    decision.record(
        ParserCurrentChanged(name=line.name, version="", previous=retired.version, by="retirement", reason="")
    )
    if best_waiting is not None:
        return best_waiting
    return {
        "parser": line.name,
        "version": "",
        "state": "none",
        "current": "",
        "said": f"no version of {line.name} takes files now",
        "remedy": "Register and approve another version; until then new and changed files wait.",
        "problems": [],
    }


def _pairs(version: ParserVersion, live_versions: Mapping[str, LiveVersion]) -> list[tuple[str, LiveVersion]]:
    return [
        (contract, live_versions[output]) for output, contract in version.outputs.items() if output in live_versions
    ]


def forget_waiting(decision: DecisionBuilder, line: ParserLine, version: ParserVersion) -> None:
    """A waiting version stops waiting because it was retired."""
    _record_waiting(decision, line, version, [], may_choose=False)


def after_ends(decision: DecisionBuilder) -> None:
    """After jobs ended, make a version that waited for the last of them current, or record why it still waits."""
    ended: dict[str, int] = {}
    for event in decision.events:
        job = decision.state.jobs.get(event.job_id) if isinstance(event, _ENDS) else None
        if job is not None and job.work.parser in decision.state.waiting_lines:
            ended[job.work.parser] = ended.get(job.work.parser, 0) + 1
    for name, jobs in ended.items():
        line = decision.state.parsers[name]
        if line.open_jobs <= jobs:
            _admit_waiting(decision, replace(line, open_jobs=0))


def _admit_waiting(decision: DecisionBuilder, line: ParserLine) -> None:
    waiting = [each for each in line.versions.values() if any(one["code"] == JOBS_OPEN for one in each.waits)]
    current = line.current
    for version in sorted(waiting, key=_age, reverse=True):
        live_versions = live_versions_of(decision.state, version.outputs)
        left = [
            Problem(output=problem["output"], column=problem["column"], what=problem["what"], code=CONTRACT)
            for problem in version.waits
            if problem["output"] in live_versions and live_versions[problem["output"]].has_rows
        ]
        is_older = bool(current) and Version(version.version) < Version(current)
        if left or is_older or version.is_retired:
            _record_waiting(decision, line, version, [] if is_older or version.is_retired else left, may_choose=False)
            continue
        _make_current(decision, line, version, current, None, by="approval", reason="the open jobs have ended")
        current = version.version


# --- homes of older versions ---


def adopt(decision: DecisionBuilder) -> None:
    """Record as events, once, what followed from events older than `ParserCurrentChanged`: at the first start that knows them."""
    for line in decision.state.parsers.values():
        if not line.is_derived:
            continue
        version = line.versions.get(line.current)
        for owner in decision.state.outputs.values():
            live = owner.live
            if owner.parser != line.name:
                continue
            if live is not None:
                _record_live_version(decision, line.name, owner.name, live.number, live.contract_hash)
            elif version is not None and owner.name in version.outputs:
                _record_first_version(decision, line.name, owner, owner.name, version.outputs[owner.name])
        decision.record(
            ParserCurrentChanged(name=line.name, version=line.current, previous="", by="start", reason="as before")
        )
        for each in line.versions.values():
            is_newer = bool(line.current) and Version(each.version) > Version(line.current)
            if each.is_runnable and is_newer:
                what = "it was approved before contracts were compared"
                problem = Problem(output="", column="", what=what, code=NOT_COMPARED)
                _record_waiting(decision, line, each, [problem], may_choose=True)
