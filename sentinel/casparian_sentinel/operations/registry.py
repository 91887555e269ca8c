"""Operations on parsers, contracts and policies.

An artifact is accepted if its blobs are intact and this home's key signed it. Contracts are compared here (`fits_of`) for the
core, which knows only their hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import permutations

from blake3 import blake3
from pydantic import ValidationError

from casparian_protocol.contract import Contract, Misfit, QuarantinePolicy, misfits, unbuilt_keys
from casparian_protocol.packing import pack
from casparian_protocol.parsers import verify_bundle
from casparian_protocol.wire.operations.base import Done
from casparian_protocol.wire.operations.registry import (
    Artifact,
    CarriedApproval,
    ContractView,
    DecideContractArgs,
    DecideContractResult,
    EffectiveParameter,
    PauseArgs,
    PolicyArgs,
    RegisterArgs,
    RegisterResult,
    ResumeArgs,
    RetireArgs,
    RetireResult,
    SetParametersArgs,
    SetParametersResult,
    UseArgs,
    UseResult,
    VersionVerdict,
)
from casparian_sentinel.core import Contract as KnownContract
from casparian_sentinel.core import (
    ContractFacts,
    ContractsDecided,
    DecideContract,
    PauseParser,
    Registered,
    RegisterParser,
    ResumeParser,
    RetireParser,
    SetParameters,
    SetQuarantinePolicy,
    UseVersion,
    VersionChosen,
    VersionRetired,
    select_contracts,
)
from casparian_sentinel.core import declared_parameters as declared_of
from casparian_sentinel.core import effective_parameters as effective
from casparian_sentinel.operations.steps import Context, Decide, InThread, OperationRefused, Steps, decide
from casparian_sentinel.registry.keys import home_key

#: The facts of an artifact become one event of at most 16 KiB.
_FACTS_LIMIT_BYTES = 14 * 1024


def register(context: Context, args: RegisterArgs, actor: str) -> Steps:
    artifact = _within_limit(args.artifact)
    yield InThread(lambda: check_artifact(context, artifact))
    fits = yield InThread(lambda: fits_of(context, artifact.name, artifact.outputs))
    command = RegisterParser(
        parser_id=context.new_id(),
        name=artifact.name,
        version=artifact.version,
        artifact=artifact.artifact,
        actor=actor,
        sha256=artifact.sha256,
        source_hash=artifact.source_hash,
        lock_hash=artifact.lock_hash,
        logic_hash=artifact.contracts[0].logic_hash if artifact.contracts else "",
        topics=tuple(artifact.topics),
        outputs=artifact.outputs,
        params=artifact.params,
        entry=artifact.entry,
        kind=artifact.kind,
        may_drop_records=artifact.may_drop_records,
        signed_by=artifact.signed_by,
        signature=artifact.signature,
        findings=tuple(artifact.findings),
        carries_over=context.settings.approvals.carry_over == "identical",
        fits=fits,
        contracts=tuple(
            ContractFacts(
                contract_id=context.new_id(),
                scope_id=scope_id(artifact.name, artifact.version, proposed.output),
                output=proposed.output,
                contract_hash=proposed.contract_hash,
                columns=proposed.columns,
            )
            for proposed in artifact.contracts
        ),
    )
    answer = yield from decide(command, Registered)
    return RegisterResult(
        parser_id=answer.parser_id,
        name=artifact.name,
        version=artifact.version,
        artifact=artifact.artifact,
        contracts=_contracts_of(context, artifact.name, artifact.version),
        already=answer.already,
        carried=[CarriedApproval(**each._asdict()) for each in answer.carried],
        versions=_verdicts(answer.versions),
        seq=context.durable_seq(),
    )


def _within_limit(artifact: Artifact) -> Artifact:
    """The artifact with its findings cut to fit into an event; everything else must fit."""
    bare_bytes = len(pack(artifact.model_copy(update={"findings": [], "contracts": []}).model_dump()))
    if bare_bytes > _FACTS_LIMIT_BYTES:
        raise OperationRefused(
            f"The facts of {artifact.name} {artifact.version} have {bare_bytes:,} bytes, more than an event can hold.",
            "Give it fewer topics, parameters or outputs.",
            "TOO_LARGE",
        )
    findings = list(artifact.findings)
    while findings and bare_bytes + len(pack(findings)) > _FACTS_LIMIT_BYTES:
        findings.pop()
    return artifact.model_copy(update={"findings": findings})


def check_artifact(context: Context, artifact: Artifact) -> None:
    """Check that the blobs exist and are intact, and that this home's key signed exactly this bundle. Waits for the disk."""
    bundle = context.blobs.get(artifact.artifact)
    for contract in artifact.contracts:
        context.blobs.get(contract.contract_hash)
    verify_bundle(
        bundle,
        parser=artifact.name,
        version=artifact.version,
        lock_hash=artifact.lock_hash,
        contracts=artifact.outputs,
        signature=artifact.signature,
        signed_by=artifact.signed_by,
        trusted=[home_key(context.home.keys).public_key],
    )


def scope_id(parser: str, version: str, output: str) -> str:
    return blake3(f"{parser}\0{version}\0{output}".encode()).hexdigest()[:16]


def contract_view(contract: KnownContract) -> ContractView:
    return ContractView(
        contract_id=contract.contract_id,
        parser=contract.parser,
        version=contract.version,
        output=contract.output,
        state=contract.status.lower(),
    )


def _verdicts(found: Iterable[Mapping[str, object]]) -> list[VersionVerdict]:
    return [VersionVerdict.model_validate(each) for each in found]


def _contracts_of(context: Context, parser: str, version: str) -> list[ContractView]:
    contracts = context.state.contracts.values()
    return [contract_view(each) for each in contracts if (each.parser, each.version) == (parser, version)]


def decide_contract(context: Context, args: DecideContractArgs, actor: str) -> Steps:
    parsers = {contract.parser for contract in select_contracts(context.state, args.selector)}
    fits: dict[tuple[str, str], tuple[Misfit, ...]] = {}
    for parser in sorted(parsers) if args.approve else ():
        fits |= yield InThread(partial(fits_of, context, parser, {}))
    answer = yield from decide(DecideContract(args.selector, args.approve, args.reason, actor, fits), ContractsDecided)
    known = context.state.contracts
    decided = [contract_view(known[contract_id]) for contract_id in answer.contract_ids]
    return DecideContractResult(decided=decided, versions=_verdicts(answer.versions), seq=context.durable_seq())


def use(context: Context, args: UseArgs, actor: str) -> Steps:
    fits = yield InThread(lambda: fits_of(context, args.parser, {}))
    chosen = yield from decide(UseVersion(args.parser, args.version, args.reason, actor, fits), VersionChosen)
    return UseResult(
        parser=chosen.parser,
        version=chosen.version,
        previous=chosen.previous,
        already=chosen.already,
        seq=context.durable_seq(),
    )


def set_parameters(context: Context, args: SetParametersArgs, actor: str) -> Steps:
    command = SetParameters(args.parser, args.values, args.reason, actor, tuple(args.unset), args.reset)
    yield Decide(command)
    line = context.state.parsers[args.parser]
    values, origins = effective(declared_of(line), [("set", line.params)])
    shown = [
        EffectiveParameter(name=name, value=value, origin=origins.get(name, "default"))
        for name, value in values.items()
    ]
    return SetParametersResult(parser=line.name, params=shown, seq=context.durable_seq())


def pause(context: Context, args: PauseArgs, actor: str) -> Steps:
    yield Decide(PauseParser(args.parser, args.reason, actor))
    return Done(seq=context.durable_seq())


def resume(context: Context, args: ResumeArgs, actor: str) -> Steps:
    yield Decide(ResumeParser(args.parser, args.reason, actor))
    return Done(seq=context.durable_seq())


def retire(context: Context, args: RetireArgs, actor: str) -> Steps:
    fits = yield InThread(lambda: fits_of(context, args.parser, {}))
    answer = yield from decide(RetireParser(args.parser, args.version, actor, fits), VersionRetired)
    return RetireResult(versions=_verdicts(answer.versions), seq=context.durable_seq())


def set_policy(context: Context, args: PolicyArgs, actor: str) -> Steps:
    try:
        policy = QuarantinePolicy.model_validate(args.policy)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "policy"
        allowed = ", ".join(QuarantinePolicy.model_fields)
        raise OperationRefused(f"policy.{field}: {first['msg']}.", f"Keys are {allowed}.", "BAD_POLICY") from invalid
    if unbuilt := unbuilt_keys(policy):
        raise OperationRefused(
            f"policy.{unbuilt[0]}: it is not implemented yet and would have no effect.", "Leave it out.", "BAD_POLICY"
        )
    yield Decide(SetQuarantinePolicy(args.parser, args.output, dict(args.policy), actor))
    return Done(seq=context.durable_seq())


#: The most contracts of an output that are compared with each other.
_NEWEST = 8


def fits_of(context: Context, parser: str, outputs: Mapping[str, str]) -> dict[tuple[str, str], tuple[Misfit, ...]]:
    """Compare the parser's live contracts with all others of the same output, in both directions. Waits for the disk.

    `outputs` has more contracts, of a version that is not registered yet.
    """
    by_output: dict[str, dict[str, None]] = {}
    for known in list(context.state.contracts.values()):
        if known.parser == parser:
            by_output.setdefault(known.output, {})[known.contract_hash] = None
    for output, contract_hash in outputs.items():
        if contract_hash:
            by_output.setdefault(output, {})[contract_hash] = None
    found: dict[tuple[str, str], tuple[Misfit, ...]] = {}
    for output, hashes in by_output.items():
        owner = context.state.outputs.get(output)
        live = owner.live.contract_hash if owner is not None and owner.live is not None else ""
        for other in hashes if live else ():
            for pair in permutations((live, other)):
                found[pair[0], pair[1]] = _compare(context, pair)
        for pair in permutations(
            list(hashes)[-_NEWEST:], 2
        ):  # a contract that becomes live now, against one that waits
            found[pair[0], pair[1]] = _compare(context, pair)
    return found


def _compare(context: Context, pair: tuple[str, ...]) -> tuple[Misfit, ...]:
    """Why rows under the first contract may not satisfy the second."""
    first, second = pair
    known = context.compared_contracts.get((first, second))
    if known is None:
        existing, other = (Contract.from_json(context.blobs.get(each), is_stored=True) for each in pair)
        known = context.compared_contracts[first, second] = misfits(existing, other)
    return known
