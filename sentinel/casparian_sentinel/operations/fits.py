"""Contracts of a parser held against each other, for the core's decisions: it knows their hashes only."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

from casparian_protocol.contract import Contract, Misfit, misfits
from casparian_sentinel.operations.steps import Context

#: Of so many contracts of an output each is held against each.
_NEWEST = 8


def fits_of(context: Context, parser: str, outputs: Mapping[str, str]) -> dict[tuple[str, str], tuple[Misfit, ...]]:
    """The parser's live contracts against all others of the same output, both ways. Waits for the disk.

    `outputs` has further contracts, of a version that is not registered yet.
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
        for pair in permutations(list(hashes)[-_NEWEST:], 2):  # what becomes live now, against what waits
            found[pair[0], pair[1]] = _compare(context, pair)
    return found


def _compare(context: Context, pair: tuple[str, ...]) -> tuple[Misfit, ...]:
    lies, against = pair
    known = context.compared_contracts.get((lies, against))
    if known is None:
        lying, other = (Contract.from_json(context.blobs.get(each), is_stored=True) for each in pair)
        known = context.compared_contracts[lies, against] = misfits(lying, other)
    return known
