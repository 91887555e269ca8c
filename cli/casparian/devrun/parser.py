"""A parser as dev mode takes it: read where it lies, never bundled, registered or locked; its contracts, if it has any.

Metadata are read by AST, as at registration: what runs here can be registered, and what cannot says why in the same words.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from casparian.exits import UsageProblem
from casparian_protocol.bundle import collect_directory
from casparian_protocol.contract import Contract, check_output_name
from casparian_protocol.parser_entry import CONTRACT_SUFFIX, choose_entry, contracts_of, read_contract_file
from casparian_protocol.parser_errors import EntryNotFound, NotAParser
from casparian_protocol.parser_metadata import ParserMetadata, read_metadata, source_text


class NoParserHere(UsageProblem):
    """What the command line names is no parser."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path}: {why}",
            remedy="Name a Python file with a function `parse`, or its directory; `casparian new parser NAME` writes one.",
        )


class ContractFileUnclear(UsageProblem):
    """`--contract` cannot be applied to this parser."""

    def __init__(self, path: Path, why: str, remedy: str) -> None:
        super().__init__(f"{path}: {why}", remedy=remedy)


@dataclass(frozen=True, slots=True)
class DevParser:
    """One parser, ready to be run in place."""

    #: The module that is the parser.
    file: Path
    metadata: ParserMetadata
    #: Output → contract. Outputs without one are shown as they come.
    contracts: dict[str, Contract]

    @property
    def label(self) -> str:
        return f"{self.metadata.name} {self.metadata.version}"


def load_parser(path: Path) -> DevParser:
    """The parser in a file or a directory. Raises `UsageProblem` when there is none."""
    if path.is_dir():
        file = path / _entry_of(path)
    elif path.is_file():
        file = path
    else:
        raise NoParserHere(path, "there is no such file.")
    if file.suffix != ".py":
        raise NoParserHere(path, "this is no Python file.")
    try:
        metadata = read_metadata(source_text(file.read_bytes(), str(file)), str(file))
    except NotAParser as not_one:
        raise NoParserHere(path, not_one.problem.partition(": ")[2]) from not_one
    except OSError as cause:
        raise NoParserHere(path, f"{cause.strerror or cause}.") from cause
    return DevParser(file, metadata, contracts_of(metadata, _contract_files(file, metadata), str(file)))


def with_contracts(parser: DevParser, path: Path) -> DevParser:
    """The parser under the contracts of a JSON file: one for its only output, or a map of output → contract."""
    try:
        literal = read_contract_file(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as cause:
        raise ContractFileUnclear(path, "it cannot be read.", "Name a JSON file with --contract.") from cause
    known = parser.contracts
    if "columns" not in literal:
        named = {
            check_output_name(name): Contract.from_literal(one, place=f"{path}, {name}")
            for name, one in literal.items()
        }
        return replace(parser, contracts=known | named)
    if len(known) > 1:
        raise ContractFileUnclear(
            path,
            f"it has one contract, and the parser has {len(known)} outputs: {', '.join(known)}.",
            f"Write {json.dumps({next(iter(known)): '…'}, ensure_ascii=False)}: a map of output to contract.",
        )
    output = next(iter(known), parser.metadata.name)
    return replace(parser, contracts={output: Contract.from_literal(literal, place=str(path))})


def _entry_of(directory: Path) -> str:
    files = collect_directory(directory).files
    sources = {name: source_text(data, name) for name, data in files.items() if name.endswith(".py")}
    try:
        return choose_entry(sources, directory.resolve().name)
    except EntryNotFound as unclear:
        raise NoParserHere(directory, unclear.problem) from unclear


def _contract_files(file: Path, metadata: ParserMetadata) -> dict[str, str]:
    """`<output>.schema.json` beside the parser: of the outputs it declares, or all when it declares none."""
    names = [f"{output}{CONTRACT_SUFFIX}" for output in metadata.outputs]
    names = names or sorted(each.name for each in file.parent.glob(f"*{CONTRACT_SUFFIX}"))
    return {name: (file.parent / name).read_text(encoding="utf-8") for name in names if (file.parent / name).is_file()}
