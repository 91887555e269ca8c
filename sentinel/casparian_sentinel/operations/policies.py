"""The quarantine policies that are in force for a parser's outputs: of settings, stored ones, and those of contracts."""

from __future__ import annotations

import json
from functools import partial
from typing import TypeAlias

from casparian_protocol.bounds import Scalar
from casparian_protocol.contract import QuarantinePolicy, cascade
from casparian_protocol.settings import QuarantineSettings
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.core import ParserVersion
from casparian_sentinel.operations.steps import Context, Part, PolicyKeys, in_thread

#: The effective quarantine policy of each output.
Policies: TypeAlias = dict[str, dict[str, Scalar]]


def policies_of(context: Context, parser: str, version: ParserVersion) -> Part[Policies]:
    """The effective policies of a version; in a thread if a contract has to be read for them."""
    if context.contract_policies.keys() >= set(version.outputs.values()):
        return _read_policies(context, parser, version)
    return (yield from in_thread(partial(_read_policies, context, parser, version)))


def _read_policies(context: Context, parser: str, version: ParserVersion) -> Policies:
    """The effective quarantine policy of each output: the contract's overrides the stored one, which overrides the settings."""
    stored = context.state.policies
    effective: Policies = {}
    for output, contract_hash in version.outputs.items():
        layers = [
            _from_settings(context.settings.quarantine),
            _policy(stored.get((parser, ""), {})),
            _policy(stored.get((parser, output), {})),
            _policy(_contract_policy(context.blobs, contract_hash, context.contract_policies)),
        ]
        effective[output] = cascade(*layers).model_dump()
    return effective


def _from_settings(settings: QuarantineSettings) -> QuarantinePolicy:
    return QuarantinePolicy(allow=settings.allow, max_pct=settings.max_pct, max_count=settings.max_count)


def _policy(keys: PolicyKeys) -> QuarantinePolicy | None:
    return QuarantinePolicy.model_validate(keys) if keys else None


def _contract_policy(blobs: BlobStore, contract_hash: str, known: dict[str, PolicyKeys]) -> PolicyKeys:
    if contract_hash not in known:
        known[contract_hash] = json.loads(blobs.get(contract_hash)).get("quarantine") or {}
    return known[contract_hash]
