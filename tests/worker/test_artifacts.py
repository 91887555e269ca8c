"""Blobs by hash: fetched once, by the shortest way, believed only when they are what their name says."""

import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
from blake3 import blake3

from casparian_protocol.contract import Contract
from casparian_protocol.errors import ErrorCode
from casparian_protocol.home import Home, make_home
from casparian_protocol.parsers import pack_bundle
from casparian_protocol.wire.messages import Fetch, Message
from casparian_worker import artifacts
from casparian_worker.artifacts import Artifacts, BlobForged, BlobMissing, BusTransfer, FetchTimeout, SameDiskTransfer
from tests.worker.attempts import ROWS

BUNDLE = pack_bundle({"parser.py": b"def parse(path): return None\n"})
DIGEST = blake3(BUNDLE).hexdigest()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    make_home(home)
    return home


def test_a_bundle_is_fetched_unpacked_and_compiled_once_however_many_ask(home: Home) -> None:
    asked: list[str] = []

    def fetch(digest: str) -> bytes:
        asked.append(digest)
        return BUNDLE

    artifacts = Artifacts(home, fetch)
    threads = [threading.Thread(target=artifacts.bundle, args=(DIGEST,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == [DIGEST]
    assert list((home.artifacts / DIGEST / "__pycache__").glob("parser.*.pyc"))


def test_what_was_altered_on_disk_is_unpacked_again(home: Home) -> None:
    directory = Artifacts(home, lambda digest: BUNDLE).bundle(DIGEST)
    (directory / "parser.py").chmod(0o600)
    (directory / "parser.py").write_text("evil = True\n")
    assert Artifacts(home, lambda digest: BUNDLE).bundle(DIGEST) == directory
    assert "evil" not in (directory / "parser.py").read_text()


def test_bytes_under_a_wrong_name_are_refused(home: Home) -> None:
    with pytest.raises(BlobForged) as forged:
        Artifacts(home, lambda digest: BUNDLE + b"x").bundle(DIGEST)
    assert forged.value.code is ErrorCode.UNTRUSTED_ARTIFACT
    with pytest.raises(BlobMissing) as missing:
        Artifacts(home, lambda digest: None).contract("0" * 64)
    assert missing.value.code is ErrorCode.CONTRACT_MISSING


def test_a_contract_is_read_from_its_canonical_form(home: Home) -> None:
    contract = Contract.from_literal(ROWS)
    stored = contract.canonical_json().encode()
    assert Artifacts(home, lambda digest: stored).contract(contract.hash()) == contract


class Loop:
    """Calls at once what a thread wants called, and notes what is sent."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.transfer = BusTransfer(lambda function, *arguments: function(*arguments), self.sent.append)

    def fetch(self, digest: str) -> Future[bytes | None]:
        before = len(self.sent)
        found: Future[bytes | None] = Future()

        def run() -> None:
            try:
                found.set_result(self.transfer.fetch(digest))
            except FetchTimeout as late:
                found.set_exception(late)

        threading.Thread(target=run).start()
        while len(self.sent) == before:
            time.sleep(0.001)
        return found


def test_a_blob_that_is_asked_for_twice_comes_to_both() -> None:
    loop = Loop()
    first, second = loop.fetch(DIGEST), loop.fetch(DIGEST)
    assert loop.sent == [Fetch(hash=DIGEST)] * 2
    loop.transfer.arrived(DIGEST, BUNDLE)
    assert (first.result(10), second.result(10)) == (BUNDLE, BUNDLE)


def test_what_is_awaited_is_asked_again_and_what_nobody_awaits_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "FETCH_SECONDS", 0.05)
    loop = Loop()
    waiting = loop.fetch(DIGEST)
    loop.transfer.ask_again()
    assert loop.sent == [Fetch(hash=DIGEST)] * 2
    with pytest.raises(FetchTimeout):
        waiting.result(10)
    loop.transfer.ask_again()
    assert len(loop.sent) == 2
    loop.transfer.arrived(DIGEST, BUNDLE)  # too late, and nobody minds


def test_on_the_same_disk_nobody_is_asked_unless_the_blob_is_missing_or_damaged(home: Home) -> None:
    asked: list[str] = []

    class Elsewhere:
        def fetch(self, digest: str) -> bytes:
            asked.append(digest)
            return BUNDLE

    transfer = SameDiskTransfer(home, Elsewhere())
    path = home.blob(DIGEST)
    assert transfer.fetch(DIGEST) == BUNDLE
    path.parent.mkdir()
    path.write_bytes(BUNDLE + b"x")
    assert transfer.fetch(DIGEST) == BUNDLE
    assert asked == [DIGEST, DIGEST]
    path.write_bytes(BUNDLE)
    assert transfer.fetch(DIGEST) == BUNDLE
    assert asked == [DIGEST, DIGEST]
