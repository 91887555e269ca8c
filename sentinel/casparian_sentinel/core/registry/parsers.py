"""Decisions about parsers, contracts and policies: registration, approval, pausing, retirement, and who owns which output."""

from __future__ import annotations

import re
from dataclasses import replace

from packaging.version import InvalidVersion, Version

from casparian_protocol.events import (
    ContractApproved,
    ContractProposed,
    ContractRejected,
    ParserPaused,
    ParserRegistered,
    ParserResumed,
    ParserRetired,
    QuarantinePolicySet,
)
from casparian_protocol.jobs import OUTPUT_NAME
from casparian_protocol.packing import pack
from casparian_sentinel.core.answers import Carried, ContractsDecided, Registered, VersionRetired, VersionVerdict
from casparian_sentinel.core.attempts import recall
from casparian_sentinel.core.commands import (
    DecideContract,
    PauseParser,
    RegisterParser,
    ResumeParser,
    RetireParser,
    SetQuarantinePolicy,
)
from casparian_sentinel.core.decision import DecisionBuilder, PlanFiles
from casparian_sentinel.core.registry.versions import admit, follow_retired, forget_waiting
from casparian_sentinel.core.state import CLOSED, Contract, ParserLine, ParserVersion, State

#: Clients that may only propose, whether a person uses them or not; a person approves their proposals elsewhere.
PROPOSING_CLIENTS = frozenset({"mcp", "assistant"})
_POLICY_KEYS = frozenset({"allow", "max_pct", "max_count", "dir", "keep_days"})
_REGISTRATION_BYTES = 14 * 1024
_SHOWN_FINDINGS = 50
_ID_PREFIX = re.compile(r"[0-9a-f-]{4,64}")


# --- registration ---


def register(decision: DecisionBuilder, command: RegisterParser) -> None:
    """Register an immutable version and propose its contracts; registering the identical version again changes nothing."""
    state = decision.state
    line = state.parsers.get(command.name)
    known = line.versions.get(command.version) if line is not None else None
    if known is not None:
        if known.artifact == command.artifact:
            decision.answer(Registered(known.parser_id, already=True))
        else:
            decision.reject(
                f"{command.name} {command.version} is registered with another artifact ({known.artifact[:12]}…).",
                "A version is immutable: raise the version number and register again.",
                code="VERSION_TAKEN",
            )
        return
    if not _is_sound(decision, command):
        return
    registered = _registration(command)
    if len(pack(registered.to_data())) > _REGISTRATION_BYTES:
        decision.reject(
            f"What {command.name} declares is larger than 16 KiB.",
            "Declare fewer outputs, topics or parameters in one parser.",
            code="TOO_LARGE",
        )
        return
    decision.cause = decision.record(registered)
    for contract in command.contracts:
        decision.record(
            ContractProposed(
                contract_id=contract.contract_id,
                scope_id=contract.scope_id,
                parser=command.name,
                version=command.version,
                output=contract.output,
                contract_hash=contract.contract_hash,
                logic_hash=command.logic_hash,
                columns=contract.columns,
            )
        )
    carried = _carry_approvals(decision, command)
    verdicts: list[VersionVerdict] = []
    version = _version_of(command, {each.output for each in carried})
    if version.is_runnable:
        known_versions = line.versions if line is not None else {}
        after = replace(line or ParserLine(command.name), versions={**known_versions, version.version: version})
        verdicts = admit(decision, after, [version], command.fits, by="approval")
    decision.answer(Registered(command.parser_id, carried=tuple(carried), versions=tuple(verdicts)))
    decision.do(PlanFiles())


def _version_of(command: RegisterParser, approved: set[str]) -> ParserVersion:
    """The version as registered, with the contracts of these outputs approved."""
    return ParserVersion(
        parser_id=command.parser_id,
        version=command.version,
        artifact=command.artifact,
        entry=command.entry,
        kind=command.kind,
        topics=list(command.topics),
        outputs=dict(command.outputs),
        params=dict(command.params),
        approved=approved,
    )


def _carry_approvals(decision: DecisionBuilder, command: RegisterParser) -> list[Carried]:
    """Approve contracts that are identical to ones approved for another version of this parser."""
    carried: list[Carried] = []
    approved = [each for each in contracts_of(decision.state, command.name) if each.status == "APPROVED"]
    for contract in command.contracts if command.carries_over else ():
        same = (contract.output, contract.contract_hash)
        origin = next((each for each in reversed(approved) if (each.output, each.contract_hash) == same), None)
        if origin is None:
            continue
        reason = f"identical to the contract approved for {origin.version}"
        decision.record(
            ContractApproved(contract_id=contract.contract_id, reason=reason, carried_from=origin.contract_id)
        )
        carried.append(Carried(contract.output, origin.version, origin.contract_id))
    return carried


def _is_sound(decision: DecisionBuilder, command: RegisterParser) -> bool:
    try:
        Version(command.version)
    except InvalidVersion:
        decision.reject(
            f"{command.version!r} is not a version by PEP 440.", "Use something like 1.2.0.", code="INVALID_VERSION"
        )
        return False
    for output in command.outputs:
        owner = decision.state.outputs.get(output)
        if owner is not None and owner.parser != command.name:
            decision.reject(
                f"The output {output!r} belongs to the parser {owner.parser!r}.",
                "Rename the output; a name belongs to one parser in a home.",
                code="OUTPUT_TAKEN",
            )
            return False
        if not OUTPUT_NAME.match(output):
            decision.reject(
                f"{output!r} is not a name for an output.",
                "Use small letters, digits and underscores, a letter first, at most 63.",
                code="OUTPUT_NAME",
            )
            return False
    proposed = {contract.output: contract.contract_hash for contract in command.contracts}
    if proposed != {output: contract for output, contract in command.outputs.items() if contract}:
        decision.reject(
            "The proposed contracts are not those that the outputs name.", "Register again.", code="INVALID_CONTRACTS"
        )
        return False
    return True


def _registration(command: RegisterParser) -> ParserRegistered:
    return ParserRegistered(
        parser_id=command.parser_id,
        name=command.name,
        version=command.version,
        artifact=command.artifact,
        sha256=command.sha256,
        source_hash=command.source_hash,
        lock_hash=command.lock_hash,
        topics=tuple(command.topics),
        outputs=dict(command.outputs),
        params=dict(command.params),
        entry=command.entry,
        kind=command.kind,
        may_drop_records=command.may_drop_records,
        signed_by=command.signed_by,
        signature=command.signature,
        findings=tuple(command.findings[:_SHOWN_FINDINGS]),
    )


# --- contracts ---


def contracts_of(state: State, parser: str, version: str = "", output: str = "") -> list[Contract]:
    return [
        contract
        for contract in state.contracts.values()
        if contract.parser == parser and version in ("", contract.version) and output in ("", contract.output)
    ]


def select_contracts(state: State, selector: str) -> list[Contract]:
    """Find contracts by `parser`, `parser@version`, `parser@version/output`, an id, or a prefix of an id."""
    name, _, rest = selector.partition("@")
    version, _, output = rest.partition("/")
    found = contracts_of(state, name, version, output)
    if not found and _ID_PREFIX.fullmatch(selector):
        found = [contract for key, contract in state.contracts.items() if key.startswith(selector)]
        return found if len(found) == 1 else []
    return found


def _contracts_like(state: State, selector: str) -> str:
    """A remedy that shows the full form: an output name without its parser is ambiguous."""
    meant = [each for each in state.contracts.values() if each.output == selector]
    if not meant:
        return "`casparian contract list` shows them."
    named = ", ".join(f"{each.parser}@{each.version}/{each.output}" for each in meant[-3:])
    return f"An output's contract is named with its parser: {named}."


def decide_contract(decision: DecisionBuilder, command: DecideContract) -> None:
    """Approve or reject proposed contracts for a person; a decision that was made stays."""
    kind, _, who = command.actor.partition(":")
    if kind != "user" or who.rpartition("@")[2] in PROPOSING_CLIENTS:
        decision.reject(
            f"{command.actor} may propose contracts, never decide about them.",
            "Approve with the command line or the console of this machine.",
            code="NOT_ALLOWED",
        )
        return
    found = select_contracts(decision.state, command.selector)
    if not found:
        decision.reject(
            f"{command.selector!r} names no contract.",
            _contracts_like(decision.state, command.selector),
            code="NOT_FOUND",
        )
        return
    wanted = "APPROVED" if command.approve else "REJECTED"
    waiting = [contract for contract in found if contract.status == "PROPOSED"]
    if not waiting and all(contract.status != wanted for contract in found):
        decision.reject(
            f"{command.selector} was {found[0].status.lower()} already, and this cannot be changed.",
            "Register a new version to propose another contract.",
            code="DECIDED",
        )
        return
    decided = 0
    for contract in waiting:
        ruled, reason = contract.contract_id, command.reason[:512]
        if command.approve:
            decided = decision.record(ContractApproved(contract_id=ruled, reason=reason, carried_from=""))
        else:
            decision.record(ContractRejected(contract_id=ruled, reason=reason))
    decision.cause = decided or decision.cause
    verdicts = _admit_approved(decision, waiting, command) if command.approve else []
    decision.answer(ContractsDecided(tuple(contract.contract_id for contract in waiting), tuple(verdicts)))
    if command.approve and waiting:
        decision.do(PlanFiles())


def _admit_approved(
    decision: DecisionBuilder, approved: list[Contract], command: DecideContract
) -> list[VersionVerdict]:
    """What becomes of the versions that these approvals allow to run."""
    outputs: dict[str, dict[str, set[str]]] = {}
    for contract in approved:
        outputs.setdefault(contract.parser, {}).setdefault(contract.version, set()).add(contract.output)
    verdicts: list[VersionVerdict] = []
    for parser, versions in outputs.items():
        line = decision.state.parsers[parser]
        after = {
            name: replace(line.versions[name], approved=line.versions[name].approved | given)
            for name, given in versions.items()
        }
        runnable = [version for version in after.values() if version.is_runnable]
        seen = replace(line, versions={**line.versions, **after})
        verdicts += admit(decision, seen, runnable, command.fits, by="approval")
    return verdicts


# --- pause, resume, retire ---


def _line(decision: DecisionBuilder, name: str) -> ParserLine | None:
    line = decision.state.parsers.get(name)
    if line is None:
        decision.reject(f"There is no parser {name!r}.", "`casparian parser list` shows them.", code="NOT_FOUND")
    return line


def pause(decision: DecisionBuilder, command: PauseParser) -> None:
    line = _line(decision, command.parser)
    if line is None:
        return
    if line.paused is None:
        decision.cause = decision.record(ParserPaused(name=line.name, reason=command.reason[:512]))
        recall(decision, line.name, "", cause=int(decision.cause))


def resume(decision: DecisionBuilder, command: ResumeParser) -> None:
    line = _line(decision, command.parser)
    if line is None:
        return
    is_held = any(b.parser == line.name and b.state != CLOSED for b in decision.state.breakers.values())
    if line.paused is not None or is_held:
        decision.record(ParserResumed(name=line.name, reason=command.reason[:512]))


def retire(decision: DecisionBuilder, command: RetireParser) -> None:
    line = _line(decision, command.parser)
    if line is None:
        return
    version = line.versions.get(command.version)
    if version is None:
        known = ", ".join(line.versions)
        decision.reject(f"{line.name} has no version {command.version}.", f"It has {known}.", code="NOT_FOUND")
        return
    follows: list[VersionVerdict] = []
    if not version.is_retired:
        decision.cause = decision.record(ParserRetired(name=line.name, version=version.version))
        if line.current == version.version:
            follows = [follow_retired(decision, line, version, command.fits)]
        elif version.waits:
            forget_waiting(decision, line, version)
        decision.do(PlanFiles())
    decision.answer(VersionRetired(tuple(follows)))


# --- policies ---


def set_policy(decision: DecisionBuilder, command: SetQuarantinePolicy) -> None:
    line = _line(decision, command.parser)
    if line is None:
        return
    unknown = sorted(set(command.policy) - _POLICY_KEYS)
    owner = decision.state.outputs.get(command.output)
    if command.output and (owner is None or owner.parser != line.name):
        decision.reject(
            f"{line.name} has no output {command.output!r}.",
            f"`casparian parser show {line.name}` lists them.",
            "NOT_FOUND",
        )
    elif unknown:
        decision.reject(
            f"A quarantine policy has no {unknown[0]!r}.",
            f"It has {', '.join(sorted(_POLICY_KEYS))}.",
            "BAD_POLICY",
        )
    else:
        policy = dict(command.policy)
        decision.record(QuarantinePolicySet(parser=line.name, output=command.output, policy=policy))
