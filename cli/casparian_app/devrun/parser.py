"""A parser in dev mode: the files of its bundle, its contracts if it has any, and its parameters.

Metadata are read from the AST, as at registration: a parser that runs here can be registered, and an invalid one is refused
with the same messages. The guest sees only a copy of the bundle's files, as in production.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import JsonValue

from casparian_app.gateway import Gateway, read_blob
from casparian_app.texts import UsageProblem
from casparian_protocol.contract import Contract, check_output_name
from casparian_protocol.parsers import (
    CONTRACT_SUFFIX,
    EntryNotFound,
    NotAParser,
    ParameterRefused,
    ParserFiles,
    ParserMetadata,
    ParserParam,
    collect_parser,
    contracts_of,
    find_imports,
    foreign_imports,
    own_modules,
    parse_source,
    read_contract_file,
    source_text,
    unpack_bundle,
)
from casparian_protocol.parsers.metadata import read_parameter
from casparian_protocol.queries.registry import ArtifactOf

_NAMED = re.compile(r"[a-z][a-z0-9_]{0,62}(?:@.{1,64})?")


class NoParserHere(UsageProblem):
    """The path is not a parser."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path}: {why}",
            remedy="Name a Python file with a function `parse`, or its directory; `casparian new parser NAME` writes one.",
        )


class ContractFileUnclear(UsageProblem):
    """`--contract` cannot be applied to this parser."""

    def __init__(self, path: Path, why: str, remedy: str) -> None:
        super().__init__(f"{path}: {why}", remedy=remedy)


class NoSuchParser(UsageProblem):
    """The name is neither a path nor a registered parser."""

    def __init__(self, named: str) -> None:
        super().__init__(
            f"{named} is neither a file nor a registered parser.",
            remedy="Name a Python file with a function `parse`, or one that `casparian parser list` shows;"
            " `casparian new parser NAME` writes one.",
        )


class ParamRefused(UsageProblem):
    """The parser has no such parameter, or the value is invalid."""


@dataclass(frozen=True, slots=True)
class DevParser:
    """One parser, ready to run."""

    #: The parser's module at its original place.
    file: Path
    metadata: ParserMetadata
    #: The files of its bundle, and the parser's path in it.
    files: dict[str, bytes]
    entry: str
    #: Output → contract. Rows of outputs without one are shown as they arrive.
    contracts: dict[str, Contract]

    @property
    def label(self) -> str:
        return f"{self.metadata.name} {self.metadata.version}"

    @property
    def foreign_modules(self) -> list[str]:
        """Imports that a registered parser would lack: neither the standard library, nor pyarrow, nor its own modules."""
        own = own_modules(self.files)
        found = (
            one.top_level
            for name, data in self.files.items()
            if name.endswith(".py")
            for one in foreign_imports(find_imports(parse_source(source_text(data, name), name)), own)
        )
        return sorted(set(found))

    def unpack(self, directory: Path) -> None:
        """Write the bundle's files below `directory`."""
        for name, data in self.files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(data)


def load_parser(path: Path, entry: str = "") -> DevParser:
    """The parser in a file or a directory; `entry` names the directory's module if known. Raises `UsageProblem`."""
    if not path.exists():
        raise NoParserHere(path, "there is no file at this path.")
    if not path.is_dir() and path.suffix != ".py":
        raise NoParserHere(path, "it is not a Python file.")
    try:
        found = collect_parser(path, entry)
    except NotAParser as not_one:
        raise NoParserHere(path, not_one.problem.partition(": ")[2]) from not_one
    except EntryNotFound as unclear:
        raise NoParserHere(path, unclear.problem) from unclear
    except OSError as cause:
        raise NoParserHere(path, f"{cause.strerror or cause}.") from cause
    file = path / found.entry if path.is_dir() else path
    contracts = contracts_of(found.metadata, _contract_files(found), str(file))
    return DevParser(file, found.metadata, found.files, found.entry, contracts)


def with_contracts(parser: DevParser, path: Path) -> DevParser:
    """The parser with the contracts of a JSON file: one for its only output, or a map of output → contract."""
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


def is_parser_name(text: str) -> bool:
    """Whether the text can name a registered parser, such as `fix_parser@1.0.0`. A path has a `/` or ends with `.py`."""
    return _NAMED.fullmatch(text) is not None and "/" not in text


def registered_parser(gateway: Gateway, named: str) -> DevParser:
    """A registered parser from its artifact: the named version, or the newest one in use."""
    name, _, version = named.partition("@")
    found = gateway.query(ArtifactOf(name, version))
    if not found:
        raise NoSuchParser(named)
    digest, entry = found[0]["artifact_hash"], found[0]["entry"] or ""
    with tempfile.TemporaryDirectory(prefix="casparian-run-") as folder:
        directory = Path(folder) / digest
        unpack_bundle(read_blob(gateway.home, digest), directory)
        loaded = load_parser(directory, entry)
    return replace(loaded, file=gateway.home.artifacts / digest / loaded.entry)


def read_params(given: Sequence[str], declared: Mapping[str, ParserParam]) -> dict[str, JsonValue]:
    """Each declared parameter with its value: from the command line, or the default."""
    defaults: dict[str, JsonValue] = {
        name: "" if param.kind == "file" else param.default for name, param in declared.items()
    }
    values = {name: default for name, default in defaults.items() if declared[name].kind == "value"}
    for text in given:
        try:
            name, value = read_parameter(defaults, text)
        except ParameterRefused as refused:
            raise ParamRefused(f"--param: {refused.problem}", remedy=refused.remedy or "") from refused
        values[name] = _file(name, str(value)) if declared[name].kind == "file" else value
    missing = [name for name in declared if name not in values]
    if missing:
        raise ParamRefused(f"The parser needs the file {missing[0]}.", remedy=f"Give --param {missing[0]}=PATH.")
    return values


def _file(name: str, text: str) -> str:
    path = Path(text)
    if not path.is_file():
        raise ParamRefused(f"--param {name}: {text} is not a file.", remedy="Name a file that you may read.")
    return str(path.absolute())


def _contract_files(found: ParserFiles) -> dict[str, str]:
    """The files `<output>.schema.json` next to the parser, for the outputs that it declares, or all if it declares none."""
    declared = [f"{output}{CONTRACT_SUFFIX}" for output in found.metadata.outputs]
    contracts = sorted(name for name in found.files if name.endswith(CONTRACT_SUFFIX) and "/" not in name)
    return {name: found.files[name].decode("utf-8") for name in declared or contracts if name in found.files}
