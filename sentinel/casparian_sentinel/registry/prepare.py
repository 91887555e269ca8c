"""From a parser on disk to the facts that `register` needs: read, check, bundle, hash, sign.

`prepare` only reads files; it stores nothing, records nothing and never runs the parser. The caller stores `blobs` durably in the
home, runs the parser's tests, and sends `facts()` with the operation `register`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from pydantic import JsonValue

from casparian_protocol.contract import Contract
from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_protocol.parsers import (
    BASE_MODULES,
    CONTRACT_SUFFIX,
    LOCK_FILE,
    ImportFound,
    LeftOut,
    ParserFiles,
    ParserMetadata,
    blake3_of,
    collect_parser,
    contracts_of,
    find_imports,
    foreign_imports,
    own_modules,
    pack_bundle,
    parse_source,
    sha256_of,
    source_digest,
    source_text,
    statement_of,
)
from casparian_sentinel.registry.gatekeeper import Finding, Mode, check
from casparian_sentinel.registry.keys import HomeKey


class NoParserThere(CasparianError):
    """There is no parser at this path."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"There is no parser at {ascii(str(path))[1:-1]}.",
            remedy="Name a Python file or a directory that contains one; `casparian new parser NAME` writes a skeleton.",
        )


class EnvironmentNeeded(CasparianError):
    """The parser needs libraries, and there are no environments for parsers yet."""

    code = ErrorCode.DEPENDENCY_MISSING

    def __init__(self, needed: Sequence[str], *, has_lock: bool) -> None:
        shown = ", ".join(ascii(name)[1:-1] for name in needed[:8]) + (", …" if len(needed) > 8 else "")
        lock = "there is a uv.lock next to it" if has_lock else ""
        wants = " and ".join(part for part in (f"it needs {shown}" if needed else "", lock) if part)
        super().__init__(
            f"The parser cannot be registered: {wants}, but parsers run only with Python's standard library and pyarrow; "
            "environments for parsers are not implemented yet.",
            remedy="Remove the library, guard its import with `except ImportError`, or put its source into the parser's "
            "directory; remove uv.lock. `casparian run PARSER FILE` uses the libraries of your own environment.",
        )


class FileParameter(CasparianError):
    """The parser declares a parameter of type file, which production jobs cannot get yet."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The parser cannot be registered: its parameter {name} is a file, and files given as parameters are not"
            " granted to production jobs and not hashed with them yet.",
            remedy="Put the file next to the parser, name it in `include` and read it with ctx.resource; `casparian run"
            f" PARSER FILE --param {name}=PATH` takes the parameter as it is.",
        )


class BundleTestInvalid(CasparianError):
    """A test of the parser cannot be run."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"The test {ascii(str(path))[1:-1]} cannot be used: {why}.",
            remedy="docs/reference/parser-bundle.md shows the form of `tests/<case>.expected.json`.",
        )


def import_place(filename: str, found: ImportFound) -> str:
    """`polars (parser.py:3)`: a module and where it is imported."""
    return f"{found.top_level} ({filename}:{found.line})"


_FINDINGS_KEPT_MAX = 50


@dataclass(frozen=True, slots=True)
class PreparedArtifact:
    """An artifact before it is registered. Equal sources and keys give bit-for-bit equal artifacts."""

    metadata: ParserMetadata
    #: The module in the bundle that is the parser, and its text.
    entry: str
    source_code: str
    #: The reproducible ZIP, its BLAKE3 (the artifact's hash, which names its blob) and its SHA-256.
    bundle: bytes
    artifact_hash: str
    sha256: str
    #: BLAKE3 of the entry's source, of all Python source (`logic_hash`), and of `uv.lock` (empty without one).
    source_hash: str
    logic_hash: str
    lock_hash: str
    contracts: dict[str, Contract]
    signed_by: str
    signature: str
    findings: tuple[Finding, ...]
    #: Files next to the parser that are not in the bundle.
    left_out: tuple[LeftOut, ...]
    #: Name in the bundle → bytes.
    sizes: dict[str, int]

    @property
    def blobs(self) -> dict[str, bytes]:
        """Digest → content of everything that the events will name."""
        contracts = {contract.hash(): contract.canonical_json().encode() for contract in self.contracts.values()}
        return {self.artifact_hash: self.bundle, **contracts}

    def facts(self) -> dict[str, JsonValue]:
        """The artifact in the form of `operations.Artifact`: the argument of the operation `register`."""
        metadata = self.metadata
        return {
            "name": metadata.name,
            "version": metadata.version,
            "artifact": self.artifact_hash,
            "sha256": self.sha256,
            "source_hash": self.source_hash,
            "lock_hash": self.lock_hash,
            "topics": list(metadata.topics),
            "outputs": {output: contract.hash() for output, contract in self.contracts.items()},
            "params": {name: param.default for name, param in metadata.params.items()},
            "entry": self.entry,
            "kind": metadata.entry.kind,
            "may_drop_records": metadata.may_drop_records,
            "signed_by": self.signed_by,
            "signature": self.signature,
            "findings": [finding.model_dump() for finding in self.findings[:_FINDINGS_KEPT_MAX]],
            "contracts": [
                {
                    "output": output,
                    "contract_hash": contract.hash(),
                    "logic_hash": self.logic_hash,
                    "columns": len(contract.columns),
                }
                for output, contract in self.contracts.items()
            ],
        }


def prepare(path: Path, *, home_key: HomeKey, gatekeeper_mode: Mode) -> PreparedArtifact:
    """Read, check, bundle and sign the parser at `path`. Every refusal is a `CasparianError` with a remedy."""
    collected = _collect(path)
    entry, metadata = collected.entry, collected.metadata
    texts = _texts(collected.files)
    sources = {name: text for name, text in texts.items() if name.endswith(".py")}
    contracts = contracts_of(metadata, _beside(texts, entry), entry)
    findings = check(sources, gatekeeper_mode)
    _require_no_environment(metadata, sources, collected.files)
    for name, param in metadata.params.items():
        if param.kind == "file":
            raise FileParameter(name)
    statement = statement_of(
        collected.files,
        parser=metadata.name,
        version=metadata.version,
        lock_hash="",
        contracts={output: contract.hash() for output, contract in contracts.items()},
    )
    bundle = pack_bundle(collected.files)
    return PreparedArtifact(
        metadata=metadata,
        entry=entry,
        source_code=sources[entry],
        bundle=bundle,
        artifact_hash=blake3_of(bundle),
        sha256=sha256_of(bundle),
        source_hash=blake3_of(collected.files[entry]),
        logic_hash=source_digest(collected.files),
        lock_hash="",
        contracts=contracts,
        signed_by=home_key.public_key,
        signature=home_key.sign(statement),
        findings=findings,
        left_out=collected.left_out,
        sizes={name: len(data) for name, data in sorted(collected.files.items())},
    )


def _collect(path: Path) -> ParserFiles:
    """The parser's files, and the name of the one that is the parser."""
    if not path.is_dir() and (not path.is_file() or path.suffix != ".py"):
        raise NoParserThere(path)
    return collect_parser(path)


def _texts(files: Mapping[str, bytes]) -> dict[str, str]:
    """The Python and contract files of a bundle as text."""
    return {name: source_text(data, name) for name, data in files.items() if name.endswith((".py", CONTRACT_SUFFIX))}


def _beside(texts: Mapping[str, str], entry: str) -> dict[str, str]:
    """Files in the same folder as the parser; a schema deeper in the bundle is a resource, not a contract."""
    folder = PurePosixPath(entry).parent
    return {name: text for name, text in texts.items() if PurePosixPath(name).parent == folder}


def _require_no_environment(metadata: ParserMetadata, sources: Mapping[str, str], files: Mapping[str, bytes]) -> None:
    """Refuse parsers that need more than the standard library and pyarrow, because they would fail in production."""
    own = own_modules(files)
    needed = [
        import_place(name, found)
        for name, text in sorted(sources.items())
        for found in foreign_imports(find_imports(parse_source(text, name)), own)
    ]
    needed += [one for one in metadata.dependencies or () if Requirement(one).name.lower() not in BASE_MODULES]
    if needed or LOCK_FILE in files:
        raise EnvironmentNeeded(needed, has_lock=LOCK_FILE in files)
