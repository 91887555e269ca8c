"""Which module of a bundle is the parser, and which contracts its files give. Pure: texts in, answers out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import NoReturn

from pydantic import JsonValue

from casparian_protocol.contract import Contract
from casparian_protocol.parser_errors import (
    ContractFileInvalid,
    ContractsContradict,
    EntryNotFound,
    NotAParser,
    ParserSourceError,
)
from casparian_protocol.parser_metadata import NAME_PATTERN, ParserMetadata, parse_source
from casparian_protocol.parser_shape import assigned_names, body_of, find_entry_point

CONTRACT_SUFFIX = ".schema.json"
TESTS_FOLDER = "tests"
_CONTRACT_CHARACTERS_MAX = 2_000_000


def choose_entry(sources: Mapping[str, str], directory_name: str) -> str:
    """The name of the module that is the parser, among `sources` (POSIX name in the bundle → text).

    The only top-level module with `name`, `version` and `parse`; of several, the one named like the directory.
    """
    modules = {name: text for name, text in sources.items() if name.endswith(".py") and "/" not in name}
    candidates = sorted(name for name, text in modules.items() if _looks_like_a_parser(text, name))
    preferred = f"{directory_name}.py"
    if len(candidates) == 1:
        return candidates[0]
    if preferred in modules and (preferred in candidates or not candidates):
        return preferred
    raise EntryNotFound(directory_name, candidates)


def contracts_of(metadata: ParserMetadata, files: Mapping[str, str], filename: str) -> dict[str, Contract]:
    """Output → contract, from the parser's literals and from the `<output>.schema.json` among `files`.

    Both may give the same contract, in other words too (an alias, another order of keys); never two different ones.
    """
    contracts = {
        output: Contract.from_literal(literal, place=f"contract of {output} ({filename}:{metadata.outputs_line})")
        for output, literal in metadata.outputs.items()
    }
    for contract_file in sorted(name for name in files if name.endswith(CONTRACT_SUFFIX)):
        output = PurePosixPath(contract_file).name.removesuffix(CONTRACT_SUFFIX)
        if not NAME_PATTERN.fullmatch(output):
            raise ContractFileInvalid(contract_file, f"{output!a} cannot name an output")
        contract = Contract.from_literal(read_contract_file(files[contract_file], contract_file), place=contract_file)
        if contracts.setdefault(output, contract).hash() != contract.hash():
            raise ContractsContradict(filename, metadata.outputs_line, output, contract_file)
    return contracts


def read_contract_file(text: str, filename: str) -> dict[str, JsonValue]:
    """The JSON object in a contract file; repeated keys and NaN are refused, since JSON readers disagree on them."""
    if len(text) > _CONTRACT_CHARACTERS_MAX:
        raise ContractFileInvalid(filename, f"it has more than {_CONTRACT_CHARACTERS_MAX:,} characters")
    try:
        literal = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
    except json.JSONDecodeError as cause:
        raise ContractFileInvalid(filename, f"line {cause.lineno}: {cause.msg}") from cause
    except (ValueError, RecursionError) as cause:
        raise ContractFileInvalid(filename, str(cause)) from cause
    if not isinstance(literal, dict):
        raise ContractFileInvalid(filename, "it is not a JSON object")
    return literal


def _looks_like_a_parser(text: str, filename: str) -> bool:
    """Whether a module has a parser's shape; a broken module counts, so that its own error is the one shown."""
    try:
        tree = parse_source(text, filename)
        entry = find_entry_point(tree, filename)
    except NotAParser:
        return False
    except ParserSourceError:
        return True
    return {"name", "version"} <= assigned_names(tree.body) | assigned_names(body_of(tree, entry))


def _without_repeats(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is there twice")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
