"""minisign's format: a vector of minisign's own, ours read back, and every way in which a signature is not valid."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.minisign import (
    SignatureUnfit,
    Signed,
    key_id_of,
    public_key_line,
    public_key_text,
    sign_text,
    verify,
)

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key().public_bytes_raw()
KEY = public_key_line(PUBLIC)
CONTENT = b"head of the log"
TEXT = sign_text(CONTENT, PUBLIC, PRIVATE.sign, "home 7, event 12")


@given(st.binary(max_size=200), st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=40))
def test_what_is_signed_is_verified_with_its_comment(content: bytes, comment: str) -> None:
    signed = verify(content, sign_text(content, PUBLIC, PRIVATE.sign, comment), KEY)

    assert signed == Signed(key_id_of(PUBLIC), comment)


@given(st.binary(max_size=60), st.data())
def test_no_other_content_has_the_signature(content: bytes, data: st.DataObject) -> None:
    other = data.draw(st.binary(max_size=60).filter(lambda drawn: drawn != content))
    with pytest.raises(SignatureUnfit):
        verify(other, sign_text(content, PUBLIC, PRIVATE.sign, ""), KEY)


@given(st.integers(0, len(TEXT) - 1), st.characters(min_codepoint=33, max_codepoint=126))
def test_a_signature_that_was_altered_fits_only_where_nothing_is_said(place: int, character: str) -> None:
    """The untrusted comment is nobody's word; a last Base64 digit has bits that mean nothing."""
    altered = TEXT[:place] + character + TEXT[place + 1 :]
    try:
        signed = verify(CONTENT, altered, KEY)
    except SignatureUnfit:
        return
    assert signed == Signed(key_id_of(PUBLIC), "home 7, event 12")
    assert (
        altered == TEXT
        or TEXT.index("\n", len("untrusted comment: ")) > place
        or character in "=/+"
        or (
            base64.b64decode(altered.splitlines()[1]) == base64.b64decode(TEXT.splitlines()[1])
            and base64.b64decode(altered.splitlines()[3]) == base64.b64decode(TEXT.splitlines()[3])
        )
    )


def test_a_signature_has_the_parts_that_minisign_expects() -> None:
    untrusted, one, trusted, both = TEXT.splitlines()
    body, outer = base64.b64decode(one), base64.b64decode(both)

    assert untrusted.startswith("untrusted comment: ")
    assert trusted == "trusted comment: home 7, event 12"
    assert (body[:2], body[2:10], len(body), len(outer)) == (b"ED", key_id_of(PUBLIC), 74, 64)
    PRIVATE.public_key().verify(body[10:], hashlib.blake2b(CONTENT).digest())
    PRIVATE.public_key().verify(outer, body[10:] + b"home 7, event 12")


def test_a_key_is_written_as_a_line_and_as_a_file_and_both_verify() -> None:
    text = public_key_text(PUBLIC)

    assert base64.b64decode(KEY) == b"Ed" + key_id_of(PUBLIC) + PUBLIC
    assert text.splitlines()[1] == KEY
    assert key_id_of(PUBLIC)[::-1].hex().upper() in text.splitlines()[0]
    assert verify(CONTENT, TEXT, text) == verify(CONTENT, TEXT, KEY) == verify(CONTENT, TEXT, f"  {KEY}\n")


OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER_KEY = public_key_line(OTHER.public_key().public_bytes_raw())
LINES = TEXT.splitlines()
UNHASHED = base64.b64encode(b"Ed" + base64.b64decode(LINES[1])[2:]).decode()
STRANGE_KEY = base64.b64encode(base64.b64decode(KEY)[:10] + b"\xff" * 32).decode()


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("", KEY, "it is not a minisign signature"),
        ("\n\n\n\n", KEY, "it is not a minisign signature"),
        ("\n".join(LINES[:3]), KEY, "it is not a minisign signature"),
        ("\n".join(["comment", *LINES[1:]]), KEY, "it is not a minisign signature"),
        ("\n".join([*LINES[:2], "comment: x", LINES[3]]), KEY, "it is not a minisign signature"),
        ("\n".join([LINES[0], "!", *LINES[2:]]), KEY, "the signature is not Base64"),
        ("\n".join([*LINES[:3], "ä"]), KEY, "the signature is not Base64"),
        ("\n".join([LINES[0], UNHASHED, *LINES[2:]]), KEY, "it is not a prehashed minisign signature"),
        ("\n".join([LINES[0], "RUQ=", *LINES[2:]]), KEY, "it is not a prehashed minisign signature"),
        (
            "\n".join([*LINES[:2], "trusted comment: another", LINES[3]]),
            KEY,
            "the content or the comment is not what was",
        ),
        (
            "\n".join([*LINES[:3], base64.b64encode(bytes(64)).decode()]),
            KEY,
            "the content or the comment is not what was",
        ),
        ("\n".join([*LINES[:3], ""]), KEY, "it is not a minisign signature"),
        ("\n".join([*LINES[:3], "", ""]), KEY, "the content or the comment is not what was"),
        (TEXT, "", "the public key is not one of minisign"),
        (TEXT, "RWQ=", "the public key is not one of minisign"),
        (TEXT, "not a key", "the public key is not Base64"),
        (TEXT, OTHER_KEY, "it was made with another key"),
        (TEXT, STRANGE_KEY, "the content or the comment is not what was signed"),
    ],
)
def test_why_a_signature_does_not_fit(text: str, key: str, words: str) -> None:
    with pytest.raises(SignatureUnfit) as refused:
        verify(CONTENT, text, key)

    assert words in refused.value.problem
    assert refused.value.remedy == "Do not trust the file. Ask for a new copy and the signer's public key."


@pytest.mark.parametrize("comment", ["a\nb", "a\r", "\n"])
def test_a_comment_is_one_line(comment: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        sign_text(CONTENT, PUBLIC, PRIVATE.sign, comment)


def test_a_signature_of_minisigns_own_is_verified() -> None:
    """From minisign's documentation: its key, and its signature of the four bytes `test`."""
    key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
    text = (
        "untrusted comment: signature from minisign secret key\n"
        "RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n"
        "trusted comment: timestamp:1633700835\tfile:test\tprehashed\n"
        "wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==\n"
    )
    assert verify(b"test", text, key).trusted_comment == "timestamp:1633700835\tfile:test\tprehashed"
    with pytest.raises(SignatureUnfit):
        verify(b"Test", text, key)
