"""Blobs lie under the hash of their content, and are checked on the way out."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from blake3 import blake3

from casparian_sentinel.blobs import BlobDamaged, BlobMissing, BlobStore
from casparian_sentinel.ports import RealFs


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(RealFs(), tmp_path / "blobs")


def test_bytes_streams_and_pieces_of_one_content_are_one_blob(store: BlobStore, tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    digest = blake3(content).hexdigest()

    for source in (content, io.BytesIO(content), [content[:100], content[100:]]):
        blob = store.put(source)
        assert (blob.digest, blob.size_bytes) == (digest, len(content))

    assert store.get(digest) == content
    assert store.checked_path(digest) == tmp_path / "blobs" / digest[:2] / digest
    assert [path.name for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == [digest]


def test_the_empty_blob_is_a_blob(store: BlobStore) -> None:
    assert store.get(store.put(b"").digest) == b""


def test_a_damaged_blob_is_never_handed_out_and_is_healed_by_putting_it_again(store: BlobStore) -> None:
    digest = store.put(b"bulk facts").digest
    store.path(digest).write_bytes(b"bulk farts")

    with pytest.raises(BlobDamaged):
        store.get(digest)
    with pytest.raises(BlobDamaged):
        store.checked_path(digest)
    store.put(b"bulk facts")
    assert store.get(digest) == b"bulk facts"


def test_a_missing_blob_says_so(store: BlobStore) -> None:
    digest = blake3(b"nothing").hexdigest()

    assert not store.has(digest)
    with pytest.raises(BlobMissing, match=digest):
        store.get(digest)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n"])
def test_what_is_no_digest_names_no_file(store: BlobStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a BLAKE3 digest"):
        store.get(name)


def test_a_source_that_fails_leaves_nothing_behind(store: BlobStore, tmp_path: Path) -> None:
    def broken() -> object:
        yield b"a piece"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store.put(broken())  # type: ignore[arg-type]
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []
