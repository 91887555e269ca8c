"""Parsers as data: their source read by AST, their metadata, their parameters, and the bundle that carries their files.

Nothing here imports or runs a parser. The sentinel registers one, the shim runs it.
"""

from casparian_protocol.parsers.bundle import (
    ArtifactStatement,
    BundleRefused,
    UnpackedAltered,
    UntrustedArtifact,
    blake3_of,
    pack_bundle,
    read_bundle,
    sha256_of,
    source_digest,
    statement_of,
    unpack_bundle,
    verify_bundle,
)
from casparian_protocol.parsers.collect import (
    CONTRACT_SUFFIX,
    LOCK_FILE,
    TESTS_FOLDER,
    LeftOut,
    ParserFiles,
    choose_entry,
    collect_parser,
    contracts_of,
    own_modules,
    read_contract_file,
)
from casparian_protocol.parsers.errors import EntryNotFound, NotAParser, ParserSourceError
from casparian_protocol.parsers.metadata import (
    NAME_PATTERN,
    ParameterRefused,
    ParserMetadata,
    ParserParam,
    read_metadata,
)
from casparian_protocol.parsers.source import (
    BASE_MODULES,
    EntryPoint,
    ImportFound,
    find_imports,
    foreign_imports,
    parse_source,
    source_text,
)

__all__ = [
    "BASE_MODULES",
    "CONTRACT_SUFFIX",
    "LOCK_FILE",
    "NAME_PATTERN",
    "TESTS_FOLDER",
    "ArtifactStatement",
    "BundleRefused",
    "EntryNotFound",
    "EntryPoint",
    "ImportFound",
    "LeftOut",
    "NotAParser",
    "ParameterRefused",
    "ParserFiles",
    "ParserMetadata",
    "ParserParam",
    "ParserSourceError",
    "UnpackedAltered",
    "UntrustedArtifact",
    "blake3_of",
    "choose_entry",
    "collect_parser",
    "contracts_of",
    "find_imports",
    "foreign_imports",
    "own_modules",
    "pack_bundle",
    "parse_source",
    "read_bundle",
    "read_contract_file",
    "read_metadata",
    "sha256_of",
    "source_digest",
    "source_text",
    "statement_of",
    "unpack_bundle",
    "verify_bundle",
]
