"""Collects a parser's files: the content of its bundle, the module that is the parser, and the contracts.

`run`, tests and registration all use it. The bundle of a directory has its source, json and yaml files and those that the
parser's `include` names. The bundle of a single file has the file, the neighbouring modules that it imports, its contracts, and
the files that `include` names. Files that are left out are listed with the reason. The module reads files, but imports and runs
nothing.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from pydantic import JsonValue

from casparian_protocol.contract import Contract
from casparian_protocol.errors import CasparianError
from casparian_protocol.globs import compile_glob
from casparian_protocol.parsers.bundle import ENTRIES_MAX, TOTAL_BYTES_MAX, name_problem
from casparian_protocol.parsers.errors import (
    ContractFileInvalid,
    ContractsContradict,
    EntryNotFound,
    NotAParser,
    ParserSourceError,
)
from casparian_protocol.parsers.metadata import NAME_PATTERN, ParserMetadata, read_metadata
from casparian_protocol.parsers.source import (
    assigned_names,
    body_of,
    find_entry_point,
    find_imports,
    parse_source,
    source_text,
)

CONTRACT_SUFFIX = ".schema.json"
TESTS_FOLDER = "tests"
_CONTRACT_CHARACTERS_MAX = 2_000_000


def choose_entry(sources: Mapping[str, str], directory_name: str) -> str:
    """The name of the parser's module among `sources` (POSIX name in the bundle → text).

    It is the only top-level module with `name`, `version` and `parse`, or of several the one named like the directory.
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

    Both may give the same contract, even spelled differently (an alias, another order of keys), but never two different ones.
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
    """The JSON object in a contract file. Repeated keys and NaN are refused, because JSON readers disagree on them."""
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
    """Whether a module looks like a parser. A broken module counts, so that its own error is shown."""
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
        raise ValueError("a key appears twice")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


LOCK_FILE = "uv.lock"
#: Source, json, yaml and lock files, and the project file, which uv needs to read its lock.
_SUFFIXES = frozenset({".py", ".json", ".yaml", ".yml", ".lock"})
_NAMES = frozenset({"pyproject.toml"})
_FOLDERS_LEFT_OUT: Mapping[str, str] = {
    TESTS_FOLDER: "tests are not part of the bundle",
    **dict.fromkeys(("venv", "node_modules", "build", "dist"), "made by tools"),
    "__pycache__": "made by Python",
}
_COMPILED = frozenset({".so", ".dll", ".dylib", ".pyd", ".pyc", ".pyo", ".whl", ".egg"})
_ENTRIES_SEEN_MAX = 100_000


class BundleSourceRefused(CasparianError):
    """The parser's directory contains something that cannot be bundled, such as a link."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(
            f"{ascii(path)[1:-1]} cannot go into the bundle: {why}.",
            remedy="Bundles contain plain files only: replace links by copies, and keep data and environments elsewhere.",
        )


class IncludeMatchesNothing(CasparianError):
    """A pattern of `include` names no file."""

    def __init__(self, pattern: str, entry: str) -> None:
        super().__init__(
            f"`include` of {ascii(entry)[1:-1]} names {pattern!a}, but no file in the parser's directory matches it.",
            remedy="Correct the pattern, or leave it out; hidden files, tests/ and environments are never bundled.",
        )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder (its name ends with `/`) next to the parser that is not in its bundle."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Collected:
    """The files of a parser as found on disk."""

    files: dict[str, bytes]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class ParserFiles:
    """A parser's bundle before it is stored: its files, which of them is the parser, and its metadata."""

    files: dict[str, bytes]
    left_out: tuple[LeftOut, ...]
    entry: str
    metadata: ParserMetadata


def collect_parser(path: Path, entry: str = "") -> ParserFiles:
    """The bundle of the parser at `path`, a directory or a file. Raises `CasparianError` or `OSError`.

    `entry` names the parser's module in a directory, if known.
    """
    if not path.is_dir():
        return _collect_single(path)
    collected = collect_directory(path)
    entry = entry or choose_entry(_sources(collected.files), path.resolve().name)
    metadata = read_metadata(source_text(collected.files[entry], entry), entry)
    if metadata.include:
        collected = collect_directory(path, metadata.include)
        _require_matches(metadata.include, collected.files, entry)
    return ParserFiles(collected.files, collected.left_out, entry, metadata)


def collect_directory(path: Path, include: Sequence[str] = (), *, only_included: bool = False) -> Collected:
    """The files for the bundle of the parser in the directory `path`, or only those that `include` names."""
    globs = [compile_glob(pattern) for pattern in include]
    files: dict[str, bytes] = {}
    left_out: list[LeftOut] = []
    total_bytes = 0
    for entry, name in _walk(path, "", left_out):
        is_included = any(glob.matches(name) for glob in globs)
        suffix = Path(entry.name).suffix.lower()
        if suffix in _COMPILED:
            if is_included:
                raise BundleSourceRefused(name, "compiled code is never bundled, since it cannot be reviewed")
            left_out.append(LeftOut(name, "compiled code"))
            continue
        if not is_included and (only_included or not (entry.name in _NAMES or suffix in _SUFFIXES)):
            left_out.append(LeftOut(name, "no source, json or yaml; `include` can name it"))
            continue
        if entry.is_symlink():
            raise BundleSourceRefused(name, "it is a link")
        if why := name_problem(name):
            raise BundleSourceRefused(name, f"its name {why}")
        data = _read_regular(entry.path, name, TOTAL_BYTES_MAX - total_bytes)
        total_bytes += len(data)
        files[name] = data
        if len(files) > ENTRIES_MAX:
            raise BundleSourceRefused(name, f"there are more than {ENTRIES_MAX:,} files")
    return Collected(files, tuple(sorted(left_out, key=lambda one: one.name)))


def _collect_single(path: Path) -> ParserFiles:
    """A file, the neighbouring modules that it imports directly or indirectly, its contracts, and the files that it includes.

    A parser that declares outputs owns their `<output>.schema.json`; one that declares none owns all in the directory.
    """
    folder = path.parent
    files = {path.name: _read_regular(path, path.name, TOTAL_BYTES_MAX)}
    metadata = read_metadata(source_text(files[path.name], path.name), path.name)
    waiting = [path.name]
    while waiting:
        for name in _imported(files[waiting.pop()], folder, files):
            files[name] = _read_regular(folder / name, name, TOTAL_BYTES_MAX - sum(map(len, files.values())))
            waiting.append(name)
    declared = [f"{output}{CONTRACT_SUFFIX}" for output in metadata.outputs]
    for name in declared or sorted(one.name for one in folder.glob(f"*{CONTRACT_SUFFIX}")):
        if (folder / name).exists():
            files[name] = _read_regular(folder / name, name, TOTAL_BYTES_MAX)
    if metadata.include:
        files |= collect_directory(folder, metadata.include, only_included=True).files
        _require_matches(metadata.include, files, path.name)
    return ParserFiles(files, (), path.name, metadata)


def _imported(data: bytes, folder: Path, known: Collection[str]) -> list[str]:
    """Modules and packages in `folder` that a source imports, as names in the bundle."""
    tree = parse_source(source_text(data, "a module of the parser"), "a module of the parser")
    found: list[str] = []
    for top in dict.fromkeys(one.top_level for one in find_imports(tree) if one.top_level and not one.is_relative):
        if (folder / f"{top}.py").is_file():
            found.append(f"{top}.py")
        elif (folder / top / "__init__.py").is_file():
            found += sorted(one.relative_to(folder).as_posix() for one in (folder / top).rglob("*.py"))
    return [name for name in found if name not in known]


def _require_matches(patterns: Sequence[str], names: Collection[str], entry: str) -> None:
    for pattern in patterns:
        glob = compile_glob(pattern)
        if not any(glob.matches(name) for name in names):
            raise IncludeMatchesNothing(pattern, entry)


def _sources(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: source_text(data, name) for name, data in files.items() if name.endswith(".py")}


def own_modules(files: Collection[str]) -> set[str]:
    """The top-level modules in a bundle."""
    return {PurePosixPath(name).parts[0].removesuffix(".py") for name in files if name.endswith(".py")}


def _walk(directory: Path, prefix: str, left_out: list[LeftOut]) -> Iterator[tuple[os.DirEntry[str], str]]:
    """(entry, name) of every file below, in order of name; links to directories are not followed."""
    with os.scandir(directory) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    for entry in entries:
        name = prefix + entry.name
        if len(left_out) > _ENTRIES_SEEN_MAX:
            raise BundleSourceRefused(name, "this directory contains far more than a parser")
        if entry.name.startswith("."):
            left_out.append(LeftOut(name, "hidden"))
        elif entry.is_dir():
            if entry.name in _FOLDERS_LEFT_OUT:
                left_out.append(LeftOut(name + "/", _FOLDERS_LEFT_OUT[entry.name]))
            elif entry.is_symlink():
                raise BundleSourceRefused(name, "it is a link")
            else:
                yield from _walk(Path(entry.path), name + "/", left_out)
        else:
            yield entry, name


def _read_regular(path: str | Path, name: str, allowed_bytes: int) -> bytes:
    """Read one regular file, which must not have become a link, a pipe or too large since it was listed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as cause:
        why = "it is a link" if cause.errno == errno.ELOOP else (cause.strerror or str(cause))
        raise BundleSourceRefused(name, why) from cause
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleSourceRefused(name, "it is not a regular file")
        data = file.read(allowed_bytes + 1)
    if len(data) > allowed_bytes:
        raise BundleSourceRefused(name, f"the files have more than {TOTAL_BYTES_MAX:,} bytes")
    return data
