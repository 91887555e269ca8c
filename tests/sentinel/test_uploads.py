"""Blobs that clients send: in pieces, in order, whole or not at all."""

from pathlib import Path

import pytest
from blake3 import blake3

from casparian_protocol.wire.messages import UPLOAD_PIECE_BYTES
from casparian_protocol.wire.operations.daemon import UploadArgs, UploadResult
from casparian_sentinel.blobs import SILENT_SECONDS, UPLOADS_MAX, BlobStore, UploadRefused, Uploads
from casparian_sentinel.ports import RealFs

CONTENT = b"one,two,three\n" * 1000


class Desk:
    """Uploads into a store of their own, with a clock that only the test moves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_s = 0.0
        self.blobs = BlobStore(RealFs(), folder / "blobs")
        self.uploads = Uploads(self.blobs, lambda: self.now_s)

    def send(self, piece: bytes, *, offset: int = 0, upload: str = "", content: bytes = CONTENT) -> UploadResult:
        digest = blake3(content).hexdigest()
        args = UploadArgs(upload=upload, offset=offset, size=len(content), digest=digest)
        return self.uploads.take(args, piece)

    def begin(self) -> str:
        return self.send(CONTENT[:10]).upload

    @property
    def unfinished(self) -> int:
        incoming = self.folder / "blobs" / "incoming"
        return len(list(incoming.iterdir())) if incoming.exists() else 0


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_pieces_in_order_become_a_blob_under_its_digest(desk: Desk) -> None:
    first = desk.send(CONTENT[:10])
    last = desk.send(CONTENT[10:], offset=10, upload=first.upload)

    assert first == UploadResult(upload=first.upload, received=10, is_complete=False)
    assert last == UploadResult(upload=first.upload, received=len(CONTENT), is_complete=True)
    assert desk.blobs.get(blake3(CONTENT).hexdigest()) == CONTENT
    assert desk.unfinished == 0


@pytest.mark.parametrize("content", [b"", b"x"])
def test_one_piece_is_enough_for_a_small_blob_and_for_an_empty_one(desk: Desk, content: bytes) -> None:
    assert desk.send(content, content=content).is_complete
    assert desk.blobs.get(blake3(content).hexdigest()) == content


@pytest.mark.parametrize(
    ("piece", "offset", "why"),
    [
        (CONTENT[11:20], 11, "a piece for offset 11 came after 10 bytes"),
        (CONTENT[:10], 0, "a piece for offset 0 came after 10 bytes"),
        (CONTENT, 10, "more than the announced 14,000 bytes"),
        (b"", 10, "an empty piece"),
        (b"x" * (UPLOAD_PIECE_BYTES + 1), 10, "a piece has at most"),
        (CONTENT[10:-1] + b"!", 10, "does not have the announced digest"),
    ],
)
def test_a_piece_that_does_not_fit_ends_its_upload_and_leaves_nothing(
    desk: Desk, piece: bytes, offset: int, why: str
) -> None:
    upload_id = desk.begin()

    with pytest.raises(UploadRefused, match=why) as refused:
        desk.send(piece, offset=offset, upload=upload_id)
    assert refused.value.reply_code == ("BAD_DIGEST" if "digest" in why else "BAD_UPLOAD")
    with pytest.raises(UploadRefused, match="there is no upload"):
        desk.send(CONTENT[10:], offset=10, upload=upload_id)
    assert desk.unfinished == 0
    assert not desk.blobs.has(blake3(CONTENT).hexdigest())


def test_an_upload_goes_on_only_for_the_blob_that_was_announced(desk: Desk) -> None:
    upload_id = desk.begin()

    with pytest.raises(UploadRefused, match=r"there is no upload .* of this blob"):
        desk.send(b"other"[5:], offset=10, upload=upload_id, content=b"other")
    assert desk.send(CONTENT[10:], offset=10, upload=upload_id).is_complete


def test_only_so_many_at_a_time_and_a_silent_one_makes_room(desk: Desk) -> None:
    first = desk.begin()
    for _ in range(UPLOADS_MAX - 1):
        desk.now_s += 0.001
        desk.begin()

    with pytest.raises(UploadRefused, match="32 uploads are already running") as refused:
        desk.begin()
    assert refused.value.reply_code == "BUSY"
    desk.now_s += SILENT_SECONDS
    desk.begin()
    assert desk.unfinished == UPLOADS_MAX
    with pytest.raises(UploadRefused, match="there is no upload"):
        desk.send(CONTENT[10:], offset=10, upload=first)


def test_what_broke_off_is_gone_when_the_daemon_ends(desk: Desk) -> None:
    desk.begin()
    desk.uploads.close()

    assert desk.unfinished == 0
