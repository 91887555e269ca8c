"""Sources, scans, tags and rules: what is refused before anything is recorded."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from casparian_protocol.parsers import blake3_of
from casparian_sentinel.operations.discovery import SMALL_UPLOAD_BYTES
from casparian_sentinel.operations.steps import OperationRefused
from casparian_sentinel.projection import files
from tests.sentinel.operations.player import Player

_NAMING_A_BLOB: list[tuple[str, dict[str, str]]] = [
    ("tag", {"tag": "advice"}),
    ("observe", {"scan_id": "abcd"}),
    ("revise", {}),
]


@pytest.fixture
def player(tmp_path: Path) -> Player:
    return Player(tmp_path)


def test_a_source_has_an_absolute_path(player: Player) -> None:
    with pytest.raises(OperationRefused, match="data/in is not an absolute path"):
        player.request("add_source", name="in", path="data/in")
    assert player.request("add_source", name="in", path="/data/in").already is False
    assert [event.type for event in player.table.log] == ["SourceAdded"]


def test_a_source_is_scanned_by_one_job_at_a_time(player: Player) -> None:
    player.request("add_source", name="in", path="/data/in")
    first = player.request("rescan", source="in")
    again = player.request("rescan", source="in")
    assert (first.already, again.already) == (False, True)
    assert first.job_id == again.job_id
    with pytest.raises(OperationRefused, match="There is no source 'out'"):
        player.request("rescan", source="out")


@pytest.mark.parametrize("args", [{}, {"file_ids": ["f1"], "blob": "a" * 64}])
def test_files_to_tag_are_named_in_one_way(player: Player, args: dict[str, object]) -> None:
    with pytest.raises(OperationRefused, match="give either file_ids or blob"):
        player.request("tag", tag="advice", **args)


@pytest.mark.parametrize(("op", "args"), _NAMING_A_BLOB)
def test_an_event_never_names_a_blob_of_another_kind(player: Player, op: str, args: dict[str, str]) -> None:
    blob = player.blobs.put(b"not Arrow").digest
    with pytest.raises(OperationRefused, match=f"{op}: blob: The blob is not a") as refused:
        player.request(op, blob=blob, **args)
    assert refused.value.reply_code == "BAD_BLOB"
    assert player.table.log == []


def test_a_rule_that_cannot_be_is_refused_by_its_field(player: Player) -> None:
    with pytest.raises(OperationRefused, match=r"rule\.tag: Field required") as refused:
        player.request("add_rule", rule={"name": "x", "pattern": "*.csv"})
    assert "pattern" in refused.value.remedy


@pytest.mark.parametrize(("op", "args"), _NAMING_A_BLOB)
def test_without_memory_the_answer_says_so_and_nothing_is_recorded(
    player: Player, op: str, args: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_content: bytes) -> object:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr(files, "check_changes", full)
    monkeypatch.setattr(files, "check_tagged", full)
    with pytest.raises(OperationRefused, match="the sentinel does not have enough memory") as refused:
        player.request(op, blob=player.blobs.put(b"any").digest, **args)
    assert refused.value.reply_code == "NO_MEMORY"
    assert player.table.log == []


def test_small_blobs_are_taken_while_the_disk_is_nearly_full(player: Player) -> None:
    player.table.state.intake_paused = "the disk is nearly full"
    piece = b"corrected parser"
    taken = player.request("upload", [piece], size=len(piece), digest=blake3_of(piece))
    assert taken.is_complete and player.blobs.get(blake3_of(piece)) == piece
    with pytest.raises(OperationRefused, match="the disk is nearly full") as refused:
        player.request("upload", [piece], size=SMALL_UPLOAD_BYTES + 1, digest="a" * 64)
    assert refused.value.reply_code == "INTAKE_PAUSED"
