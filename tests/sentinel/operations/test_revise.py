"""Known files get other tags, or their digest, without a scan that nobody made."""

from dataclasses import replace
from pathlib import Path

import pytest

from casparian_protocol.home import Home
from casparian_sentinel import LocalSentinel
from casparian_sentinel.operations.steps import OperationRefused
from casparian_worker.discovery.file_index import ChangeWriter, FileRow

FILE = FileRow(id="f1", path="/in/a.csv", rel_path="a.csv", size=3, mtime_ns=1, device=1, inode=1)


def changes(change: str, file: FileRow) -> bytes:
    writer = ChangeWriter()
    writer.add(change, file)
    return writer.finish()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    with LocalSentinel(home) as sentinel:
        scan_id = sentinel.request("begin_scan", {"roots": ["/in"]})["scan_id"]
        sentinel.request("observe", {"scan_id": scan_id, "blob": sentinel.upload(changes("new", FILE)), "new": 1})
        sentinel.request("end_scan", {"scan_id": scan_id, "complete": True, "files": 1})
    return home


def test_new_tags_of_known_files_are_one_event_and_no_scan(home: Home) -> None:
    tagged = replace(FILE, tags=("orders",), tag_rule_ids=("r1",))
    with LocalSentinel(home) as sentinel:
        answer = sentinel.request("revise", {"blob": sentinel.upload(changes("retagged", tagged))})
        (file,) = sentinel.query("select tag, rule_id, last_scan_id, status from scout_files").to_pylist()
        (scan,) = sentinel.query("select id from cf_scans").to_pylist()
        told = sentinel.query("select type from cf_audit order by seq").column("type").to_pylist()

    assert answer == {"retagged": 1, "rehashed": 0, "seq": answer["seq"]}
    assert file == {"tag": "orders", "rule_id": "r1", "last_scan_id": scan["id"], "status": "tagged"}
    assert told.count("ScanStarted") == 1 and told.count("FilesRevised") == 1


@pytest.mark.parametrize("change", ["new", "vanished", "changed"])
def test_what_only_a_scan_can_find_is_refused(home: Home, change: str) -> None:
    with LocalSentinel(home) as sentinel:
        blob = sentinel.upload(changes(change, FILE))
        with pytest.raises(OperationRefused, match=f"it has changes that are {change}"):
            sentinel.request("revise", {"blob": blob})
