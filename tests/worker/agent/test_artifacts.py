"""Bundles and contracts by hash: fetched once, believed only when they are what their name says."""

import threading
from pathlib import Path

import pytest
from blake3 import blake3

from casparian_protocol.contract import Contract
from casparian_protocol.errors import ErrorCode
from casparian_protocol.home import Home, make_home
from casparian_protocol.parsers import pack_bundle
from casparian_worker.agent.artifacts import Artifacts, BlobForged, BlobMissing
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
