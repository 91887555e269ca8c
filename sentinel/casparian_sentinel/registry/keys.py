"""The home's signing key: created on first use, and stored in `run/keys`, where only its owner can read it.

A home has one Ed25519 key. The private half never leaves its file; only the public half, in hex, is passed on.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from casparian_protocol.errors import CasparianError
from casparian_protocol.minisign import sign_text
from casparian_protocol.parsers import ArtifactStatement

_KEY_FILE = "home.ed25519"
_KEY_BYTES = 32


class KeyUnusable(CasparianError):
    """The key file exists but cannot be used."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"The home's signing key {path} cannot be used: {why}.",
            remedy="Restore it from a backup with mode 0600; without a backup, move it away, and a new key is created.",
        )


@dataclass(frozen=True, slots=True)
class HomeKey:
    """The key with which this home signs. Its representation shows only the public half."""

    public_key: str
    _private: Ed25519PrivateKey = field(repr=False)

    def sign(self, statement: ArtifactStatement) -> str:
        """The signature of the statement, in hex."""
        return self._private.sign(statement.signed_bytes()).hex()

    def sign_file(self, content: bytes, trusted_comment: str) -> str:
        """The minisign signature of a file. It signs a digest, so it cannot be mistaken for the signature of a statement."""
        return sign_text(content, bytes.fromhex(self.public_key), self._private.sign, trusted_comment)


def has_home_key(keys: Path) -> bool:
    """Whether a key exists; the check must not create one."""
    return (keys / _KEY_FILE).exists()


def home_key(keys: Path) -> HomeKey:
    """The key in the directory `keys` (`home.keys`), created if missing. Safe if two processes ask at once."""
    path = keys / _KEY_FILE
    if not path.exists():
        _create(path)
    private = Ed25519PrivateKey.from_private_bytes(_read(path))
    return HomeKey(private.public_key().public_bytes_raw().hex(), private)


def _create(path: Path) -> None:
    """Create the key aside and link it into place, so that the file is complete or absent and the first writer wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(Ed25519PrivateKey.generate().private_bytes_raw())
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(aside, path)
        except FileExistsError:
            return  # another process was faster, so its key is the home's
        _sync_directory(path.parent)
    finally:
        aside.unlink()


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode & 0o777
        if mode & 0o077:
            raise KeyUnusable(path, f"others can read it (mode {mode:04o})")
        key = file.read(_KEY_BYTES + 1)
    if len(key) != _KEY_BYTES:
        raise KeyUnusable(path, f"it does not have {_KEY_BYTES} bytes")
    return key


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
