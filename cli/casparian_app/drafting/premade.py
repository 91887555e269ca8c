"""Premade parsers: which there are, their parameters, and a parser of one's own made from one.

Each is a directory with a `premade.toml`, its *manifest*, which no bundle contains. A parser made from one is a copy of its
modules in which name, topics and defaults of parameters are replaced; of a *generic* one, the contract comes from a sample.
Nothing here runs a parser or writes a file.
"""

from __future__ import annotations

import ast
import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from casparian_app.drafting.source import python_literal
from casparian_app.inferring import DraftedContract
from casparian_app.names import hint
from casparian_app.texts import UsageProblem
from casparian_protocol.contract.model import ContractLiteral
from casparian_protocol.parsers import (
    CONTRACT_SUFFIX,
    TESTS_FOLDER,
    ParameterRefused,
    ParserFiles,
    ParserMetadata,
    collect_parser,
)
from casparian_protocol.parsers.metadata import read_parameter

MANIFEST = "premade.toml"
_LISTING = "casparian new parser --list-premade"
#: A layout or copybook that a parameter names is copied, and read whole.
_FILE_BYTES_MAX = 4 * 1024 * 1024


class PremadeRefused(UsageProblem):
    """A premade parser cannot be made into a parser of one's own in this way."""


class ParamManifest(BaseModel):
    """One parameter: what it means, and what it may be."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    about: str
    #: The only values, if it has not any text or number.
    values: tuple[str, ...] = Field(default=(), strict=False)
    #: Whether its value is a file, which is copied next to the parser.
    file: bool = False


class Manifest(BaseModel):
    """`premade.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    #: What it reads, in one line.
    line: str
    #: The detector's kinds of the files that it reads.
    reads: tuple[str, ...] = Field(strict=False)
    #: Its page in docs/reference.
    page: str
    params: dict[str, ParamManifest] = {}
    #: Whether its columns are its own, or those of a sample: then it is generic.
    columns_from: Literal["parser", "sample"] = "parser"
    #: Parameters with which a generic one gives all columns that it finds.
    all_columns: dict[str, str] = {}
    #: Whether drafts for these kinds are made from it. Otherwise a reader with the same options does.
    is_drafted: bool = True
    #: Parameters to try in turn on a sample of which the defaults read nothing.
    also_tried: tuple[dict[str, str], ...] = Field(default=(), strict=False)


@dataclass(frozen=True)
class Premade:
    """One premade parser."""

    kind: str
    folder: Path
    manifest: Manifest

    @property
    def is_generic(self) -> bool:
        return self.manifest.columns_from == "sample"

    @cached_property
    def bundle(self) -> ParserFiles:
        return collect_parser(self.folder)

    @property
    def metadata(self) -> ParserMetadata:
        return self.bundle.metadata

    @cached_property
    def samples(self) -> list[Path]:
        """The inputs of its own tests."""
        below = sorted((self.folder / TESTS_FOLDER).iterdir())
        return [path for path in below if path.is_file() and not path.name.endswith(".expected.json")]

    @property
    def tests(self) -> dict[str, bytes]:
        folder = self.folder / TESTS_FOLDER
        return {f"{TESTS_FOLDER}/{path.name}": path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}

    def document(self) -> dict[str, object]:
        """The premade parser as JSON."""
        return {
            "kind": self.kind,
            "line": self.manifest.line,
            "reads": list(self.manifest.reads),
            "columns_from": self.manifest.columns_from,
            "outputs": [] if self.is_generic else list(self.metadata.outputs),
            "params": [
                {
                    "name": name,
                    "default": self.metadata.params[name].default,
                    "about": each.about,
                    "values": list(each.values) or None,
                    "is_file": each.file,
                }
                for name, each in self.manifest.params.items()
            ],
        }


def premade_parsers(folder: Path) -> list[Premade]:
    """The premade parsers in the directories below `folder`."""
    return [
        Premade(path.parent.name, path.parent, Manifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))))
        for path in sorted(folder.glob(f"*/{MANIFEST}"))
    ]


def find_premade(known: Sequence[Premade], kind: str) -> Premade:
    """The premade parser with this name. Raises `PremadeRefused`, with the most similar name."""
    wanted = kind.casefold().replace("-", "_")
    for one in known:
        if wanted in (one.kind, one.metadata.name):
            return one
    for one in known:
        if wanted in one.manifest.reads:
            return one
    names = [one.kind for one in known]
    raise PremadeRefused(
        f"There is no premade parser {kind[:80]!a}.",
        remedy=f"{hint(wanted, names)}There are {', '.join(names)}; `{_LISTING}` says what each reads.",
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """Values of parameters, and the files that they name."""

    values: dict[str, JsonValue]
    #: Name in the parser's directory → content.
    files: dict[str, bytes]

    def over(self, lower: Settings) -> Settings:
        """These, and of `lower` what these leave open."""
        return Settings({**lower.values, **self.values}, {**lower.files, **self.files})


def given_settings(premade: Premade, given: Sequence[str]) -> Settings:
    """The parameters of `--param`. Raises `PremadeRefused` for a name or a value that there is not."""
    defaults = {name: each.default for name, each in premade.metadata.params.items()}
    values: dict[str, JsonValue] = {}
    files: dict[str, bytes] = {}
    for text in given:
        try:
            name, value = read_parameter(defaults, text)
        except ParameterRefused as refused:
            named = text.partition("=")[0]
            known = "" if named in defaults else f" It has: {', '.join(defaults)}."
            about = premade.manifest.params.get(named)
            meaning = f" {named}: {about.about}." if about is not None else ""
            problem = (
                f"--param {text[:80]}: {refused.problem.replace('The parser', f'The premade parser {premade.kind}')}"
            )
            remedy = (refused.remedy or "").removesuffix(known.strip()).strip()
            raise PremadeRefused(problem, remedy=f"{remedy}{known}{meaning}".strip()) from refused
        manifest = premade.manifest.params[name]
        if manifest.values and value not in manifest.values:
            near = difflib.get_close_matches(str(value), manifest.values, n=1)
            meant = f"Did you mean {name}={near[0]}? " if near else ""
            allowed = ", ".join(each or '""' for each in manifest.values)
            raise PremadeRefused(
                f"--param {name}: {str(value)[:80]!a} is not a valid value.",
                remedy=f"{meant}It is one of: {allowed} ({manifest.about}).",
            )
        if manifest.file and value:
            path = Path(str(value))
            files[path.name] = _content(name, path)
            value = path.name
        values[name] = value
    return Settings(values, files)


def _content(name: str, path: Path) -> bytes:
    if not path.is_file():
        raise PremadeRefused(f"--param {name}: {path} is not a file.", remedy="Name a file that you may read.")
    if path.stat().st_size > _FILE_BYTES_MAX:
        raise PremadeRefused(
            f"--param {name}: {path} has more than {_FILE_BYTES_MAX:,} bytes.", remedy="Name a layout or a copybook."
        )
    return path.read_bytes()


@dataclass(frozen=True)
class Instance:
    """A parser of one's own from a premade one: its name and its settings."""

    premade: Premade
    settings: Settings

    @property
    def row(self) -> str:
        return "a record" if self.premade.is_generic else f"what the premade parser {self.premade.kind} makes of it"

    @property
    def label(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.settings.values.items())
        return f"the premade parser {self.premade.kind}{f' with {shown}' if shown else ''}"

    @property
    def sentence(self) -> str:
        """Where the parser comes from, and which parameters are not as they are by default."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self.settings.values.items())
        return f"From the premade parser {self.premade.kind} ({self.premade.manifest.line}){f' with {shown}' if shown else ''}."

    @property
    def has_contract(self) -> bool:
        return not self.premade.is_generic

    @property
    def taking_all(self) -> Instance:
        """With all columns that there are, to find out which."""
        return replace(
            self, settings=Settings({**self.settings.values, **self.premade.manifest.all_columns}, self.settings.files)
        )

    def files(self, name: str, contracts: Sequence[DraftedContract] = ()) -> dict[str, bytes]:
        """The files of the bundle. Without contracts, a generic one has none."""
        premade = self.premade
        made = {each: data for each, data in premade.bundle.files.items() if not _is_example(premade, each)}
        names_of_files: list[JsonValue] = [each for each in self.settings.files if not each.endswith(".json")]
        source = with_literals(
            premade.bundle.files[premade.bundle.entry].decode("utf-8"),
            {"name": name, "topics": [name], **({"include": names_of_files} if names_of_files else {})},
            self.settings.values,
        )
        made[premade.bundle.entry] = source.encode()
        made.update(self.settings.files)
        for each in contracts if premade.is_generic else ():
            made[f"{each.output}{CONTRACT_SUFFIX}"] = contract_text(each.literal).encode()
        return made


def _is_example(premade: Premade, name: str) -> bool:
    """Whether a file of a generic premade parser is only an example: its contract, its layout."""
    return premade.is_generic and not name.endswith(".py")


def contract_text(literal: ContractLiteral) -> str:
    """A contract as the text of a file, one column a line."""
    columns = ",\n".join(f"    {json.dumps(each, ensure_ascii=False)}" for each in literal["columns"])
    return f'{{\n  "mode": {json.dumps(literal.get("mode", "strict"))},\n  "columns": [\n{columns}\n  ]\n}}\n'


def with_literals(source: str, fields: Mapping[str, JsonValue], params: Mapping[str, JsonValue]) -> str:
    """The source of a parser with other literals for these metadata fields and defaults of parameters; all else stays."""
    replaced: list[tuple[ast.expr, JsonValue]] = []
    for field, node in _top_level(ast.parse(source)):
        if field in fields:
            replaced.append((node, fields[field]))
        elif field == "params" and isinstance(node, ast.Dict):
            for key, default in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value in params:
                    replaced.append((default, params[str(key.value)]))
    lines = source.encode().splitlines(keepends=True)
    begins = [0]
    for line in lines:
        begins.append(begins[-1] + len(line))
    text = source.encode()
    for node, value in sorted(replaced, key=lambda each: (each[0].lineno, each[0].col_offset), reverse=True):
        assert node.end_lineno is not None and node.end_col_offset is not None
        start = begins[node.lineno - 1] + node.col_offset
        end = begins[node.end_lineno - 1] + node.end_col_offset
        text = text[:start] + python_literal(value).encode() + text[end:]
    return text.decode()


def _top_level(tree: ast.Module) -> list[tuple[str, ast.expr]]:
    """Each assignment to a name at the top level, also those of `a, b = 1, 2`."""
    found: list[tuple[str, ast.expr]] = []
    for node in tree.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=field), value=ast.expr() as value):
                found.append((field, value))
            case ast.Assign(targets=[ast.Name(id=field)], value=value):
                found.append((field, value))
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                pairs = zip(targets, values, strict=True)
                found += [(target.id, value) for target, value in pairs if isinstance(target, ast.Name)]
    return found
