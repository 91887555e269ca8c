"""Who vouches for an artifact: what a signature covers, and every way in which it does not fit."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from casparian_protocol.parsers import (
    ArtifactStatement,
    BundleRefused,
    UntrustedArtifact,
    pack_bundle,
    sha256_of,
    statement_of,
    verify_bundle,
)
from casparian_protocol.parsers.bundle import verify_statement

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = KEY.public_key().public_bytes_raw().hex()
FILES = {"fix.py": b"name = 'fix'\n", "codes.json": b"{}"}
FACTS: dict[str, Any] = {"parser": "fix", "version": "1.0.0", "lock_hash": "", "contracts": {"orders": "ab" * 32}}
STATEMENT = statement_of(FILES, **FACTS)
SIGNATURE = KEY.sign(STATEMENT.signed_bytes()).hex()


def check(blob: bytes, **changed: Any) -> None:
    given_facts = {**FACTS, "signature": SIGNATURE, "signed_by": SIGNER, "trusted": {SIGNER}, **changed}
    verify_bundle(blob, **given_facts)


def test_what_is_signed_is_every_file_and_what_the_artifact_claims() -> None:
    assert STATEMENT.files == (("codes.json", sha256_of(b"{}")), ("fix.py", sha256_of(FILES["fix.py"])))
    assert STATEMENT.signed_bytes().startswith(b"casparian artifact 1\n{")
    check(pack_bundle(FILES))


@given(
    st.dictionaries(st.sampled_from(["a.py", "b.py", "c.json"]), st.binary(max_size=8), min_size=1, max_size=3),
    st.randoms(),
)
def test_the_order_in_which_files_are_found_changes_nothing(files: dict[str, bytes], random: Any) -> None:
    shuffled = list(files.items())
    random.shuffle(shuffled)

    assert statement_of(dict(shuffled), **FACTS).signed_bytes() == statement_of(files, **FACTS).signed_bytes()


@pytest.mark.parametrize(
    "changed",
    [
        {"parser": "fax"},
        {"version": "1.0.1"},
        {"lock_hash": "00"},
        {"contracts": {}},
        {"contracts": {"orders": "cd" * 32}},
        {"contracts": {"trades": "ab" * 32}},
        {"signature": SIGNATURE[:-2] + "00"},
        {"signature": ""},
        {"signature": "not hex"},
        {"signature": SIGNATURE + "00"},
    ],
)
def test_a_signature_is_valid_for_nothing_else(changed: dict[str, Any]) -> None:
    with pytest.raises(UntrustedArtifact, match="its signature is not valid"):
        check(pack_bundle(FILES), **changed)


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_file_may_be_changed_added_or_left_out(name: str) -> None:
    others = {
        "changed": {**FILES, name: FILES[name] + b" "},
        "added": {**FILES, f"x_{name}": b""},
        "renamed": {f"x_{each}" if each == name else each: data for each, data in FILES.items()},
        "left out": {each: data for each, data in FILES.items() if each != name},
    }
    for files in others.values():
        with pytest.raises(UntrustedArtifact):
            check(pack_bundle(files))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"trusted": set()}, "is not trusted"),
        ({"signed_by": "00" * 32}, f"the key {'0' * 64!r} is not trusted"),
        ({"signed_by": "zz", "trusted": {"zz"}}, "its signature is not valid"),
        ({"signed_by": "00", "trusted": {"00"}}, "its signature is not valid"),
        ({"signed_by": "\x1b[31m" * 40}, "the key '\\x1b[31m"),
    ],
)
def test_a_key_counts_only_when_it_is_trusted(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UntrustedArtifact) as refused:
        check(pack_bundle(FILES), **changed)

    assert words in refused.value.problem
    assert "\x1b" not in refused.value.problem
    assert "casparian parser register" in refused.value.remedy


def test_what_is_no_bundle_is_refused_before_any_signature() -> None:
    with pytest.raises(BundleRefused):
        check(b"not a bundle")


def test_a_signature_for_another_purpose_is_not_valid() -> None:
    """The purpose stands before what is signed."""
    bare = STATEMENT.signed_bytes().partition(b"\n")[2]
    with pytest.raises(UntrustedArtifact):
        verify_statement(STATEMENT, KEY.sign(bare).hex(), SIGNER, {SIGNER})


def test_a_statement_is_exactly_its_fields() -> None:
    with pytest.raises(ValidationError):
        ArtifactStatement.model_validate({**STATEMENT.model_dump(), "extra": 1})
