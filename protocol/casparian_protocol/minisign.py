"""Signatures and public keys in minisign's format, so that anyone can check them with an independent tool.

A public key is `Ed`, an 8-byte key id and the 32 bytes of the Ed25519 key, in Base64 below a comment. A signature is
`ED`, the key id and the Ed25519 signature of the file's BLAKE2b-512 digest; a trusted comment follows, then a second
signature over the first one and that comment. The private key stays with the caller, who passes a function `sign`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from casparian_protocol.errors import CasparianError

_PUBLIC = b"Ed"
_PREHASHED = b"ED"
_KEY_ID_BYTES = 8
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
_UNTRUSTED = "untrusted comment: "
_TRUSTED = "trusted comment: "


class SignatureUnfit(CasparianError):
    """The signature is not valid for these bytes."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The signature is not valid: {why}.",
            remedy="Do not trust the file. Ask for a new copy and the signer's public key.",
        )


@dataclass(frozen=True, slots=True)
class Signed:
    """The contents of a valid signature."""

    key_id: bytes
    trusted_comment: str


def key_id_of(public_key: bytes) -> bytes:
    """The eight-byte id of the key; computed from the key, so that it need not be stored."""
    return hashlib.blake2b(public_key, digest_size=_KEY_ID_BYTES).digest()


def public_key_line(public_key: bytes) -> str:
    """The one line that `minisign -P` takes."""
    return base64.b64encode(_PUBLIC + key_id_of(public_key) + public_key).decode("ascii")


def public_key_text(public_key: bytes) -> str:
    """The file that `minisign -p` takes."""
    name = key_id_of(public_key)[::-1].hex().upper()
    return f"{_UNTRUSTED}minisign public key {name} of a Casparian home\n{public_key_line(public_key)}\n"


def sign_text(content: bytes, public_key: bytes, sign: Callable[[bytes], bytes], trusted_comment: str) -> str:
    """The `.minisig` file of `content`; the comment is one line and signed too."""
    if "\n" in trusted_comment or "\r" in trusted_comment:
        raise ValueError("a trusted comment is one line")
    signature = sign(hashlib.blake2b(content).digest())
    both = sign(signature + trusted_comment.encode())
    lines = (
        f"{_UNTRUSTED}signature by a Casparian home",
        base64.b64encode(_PREHASHED + key_id_of(public_key) + signature).decode("ascii"),
        f"{_TRUSTED}{trusted_comment}",
        base64.b64encode(both).decode("ascii"),
    )
    return "\n".join(lines) + "\n"


def verify(content: bytes, signature_text: str, key_line: str) -> Signed:
    """Check a `.minisig` file with a key (the line, or the whole file). Raises `SignatureUnfit`."""
    # Imported here because only checking needs it, and it loads slowly.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = _decoded(key_line.strip().splitlines()[-1] if key_line.strip() else "", "the public key")
    lines = signature_text.splitlines()
    if len(lines) < 4 or not lines[0].startswith(_UNTRUSTED) or not lines[2].startswith(_TRUSTED):
        raise SignatureUnfit("it is not a minisign signature")
    one, both = _decoded(lines[1], "the signature"), _decoded(lines[3], "the signature")
    comment = lines[2].removeprefix(_TRUSTED)
    id_end = len(_PUBLIC) + _KEY_ID_BYTES
    if len(key) != id_end + _KEY_BYTES or not key.startswith(_PUBLIC):
        raise SignatureUnfit("the public key is not one of minisign")
    if len(one) != id_end + _SIGNATURE_BYTES or not one.startswith(_PREHASHED):
        raise SignatureUnfit("it is not a prehashed minisign signature")
    if one[2:id_end] != key[2:id_end]:
        raise SignatureUnfit("it was made with another key")
    try:
        public = Ed25519PublicKey.from_public_bytes(key[id_end:])
        public.verify(one[id_end:], hashlib.blake2b(content).digest())
        public.verify(both, one[id_end:] + comment.encode())
    except (InvalidSignature, ValueError) as cause:
        raise SignatureUnfit("the content or the comment is not what was signed") from cause
    return Signed(one[2:id_end], comment)


def _decoded(line: str, what: str) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError) as cause:
        raise SignatureUnfit(f"{what} is not Base64") from cause
