"""The signature of an artifact: the statement that is signed, and its check.

The statement is canonical JSON, so that the same facts give the same bytes on every machine. The home's private key
belongs to the sentinel (`registry.keys`). The caller says which public keys are trusted; a key that a message names
must be one of those.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict

from casparian_protocol.errors import CasparianError
from casparian_protocol.parsers.bundle import read_bundle, sha256_of

#: Stands before what is signed, so that a signature for one purpose is worth nothing for another.
_PURPOSE = b"casparian artifact 1\n"


class UntrustedArtifact(CasparianError):
    """The artifact is not signed by a key that this home trusts."""

    def __init__(self, parser: str, version: str, why: str) -> None:
        super().__init__(
            f"The artifact {ascii(parser)[1:-1]} {ascii(version)[1:-1]} is not trusted: {why}.",
            remedy=f"`casparian parser show {ascii(parser)[1:-1]}` names its signer; "
            "`casparian parser register PATH` signs the source with this home's key.",
        )


class ArtifactStatement(BaseModel):
    """What a signature covers: every file of the bundle, and what the artifact claims to be."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    parser: str
    version: str
    #: (name, SHA-256 hex) of each file, sorted by name.
    files: tuple[tuple[str, str], ...]
    #: BLAKE3 of `uv.lock`; empty without dependencies.
    lock_hash: str
    #: Output → hash of its proposed contract; empty when the output has none.
    contracts: dict[str, str]

    def signed_bytes(self) -> bytes:
        """The bytes that are signed: sorted keys, no spaces, ASCII only."""
        return _PURPOSE + json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":")).encode("ascii")


def statement_of(
    files: Mapping[str, bytes], *, parser: str, version: str, lock_hash: str, contracts: Mapping[str, str]
) -> ArtifactStatement:
    """The statement about these files."""
    return ArtifactStatement(
        parser=parser,
        version=version,
        files=tuple((name, sha256_of(files[name])) for name in sorted(files)),
        lock_hash=lock_hash,
        contracts=dict(contracts),
    )


def verify(statement: ArtifactStatement, signature: str, signed_by: str, trusted: Collection[str]) -> None:
    """Check `signature` (hex) by the key `signed_by` (hex), one of `trusted`; raises `UntrustedArtifact`."""
    if signed_by not in trusted:
        raise UntrustedArtifact(statement.parser, statement.version, f"the key {signed_by[:64]!a} is not trusted")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed_by))
        key.verify(bytes.fromhex(signature), statement.signed_bytes())
    except (InvalidSignature, ValueError) as cause:  # ValueError: not hex, or not 32 bytes
        raise UntrustedArtifact(statement.parser, statement.version, "its signature does not fit") from cause


def verify_bundle(
    blob: bytes,
    *,
    parser: str,
    version: str,
    lock_hash: str,
    contracts: Mapping[str, str],
    signature: str,
    signed_by: str,
    trusted: Collection[str],
) -> None:
    """Check that a trusted key signed exactly this blob under this name: at registration, lease and before spawn."""
    statement = statement_of(
        read_bundle(blob), parser=parser, version=version, lock_hash=lock_hash, contracts=contracts
    )
    verify(statement, signature, signed_by, trusted)
