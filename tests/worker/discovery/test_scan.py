"""Scans of real trees: what is new, changed, renamed, vanished, and what stays as it was."""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from blake3 import blake3

from casparian_protocol.tagging import RuleSet, TagRule
from casparian_worker.discovery.child import ScanOrder
from casparian_worker.discovery.file_index import BadChanges, apply_changes, decode_changes, encode_changes, retag
from casparian_worker.discovery.files import RootUnreadable, Unreadable, WalkOptions
from casparian_worker.discovery.scan import ScanOptions, ScanOutcome, ScanProgress, file_id, scan
from casparian_worker.kinds.scan import ScanProcess

CSV_RULE = TagRule(id="r1", name="csv", pattern="**/*.csv", tag="csv")


def put(root: Path, *names: str, text: str = "a,b\n1,2\n") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


class Catalogue:
    """A root and what is known of it, scan after scan."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.table: pa.Table | None = None
        self.scan_count = 0

    def scan(self, options: ScanOptions | None = None, rules: tuple[TagRule, ...] = (), **more: Any) -> ScanOutcome:
        self.scan_count += 1
        scan_id = f"s{self.scan_count}"
        outcome = scan(
            str(self.root),
            self.table,
            options or ScanOptions(),
            RuleSet(rules),
            lambda root, rel_path: file_id(root, rel_path, scan_id),
            **more,
        )
        self.table = apply_changes(self.table, outcome.changes)
        return outcome

    def files(self) -> dict[str, dict[str, Any]]:
        assert self.table is not None
        return {row["rel_path"]: row for row in self.table.to_pylist()}


def changes(outcome: ScanOutcome) -> dict[str, str]:
    return {row["rel_path"]: row["change"] for row in outcome.changes.to_pylist()}


def test_a_first_scan_finds_everything_and_a_second_nothing(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", ".hidden", "deep/down/b.csv", "deep/c.txt")
    catalogue = Catalogue(tmp_path)

    first = catalogue.scan()
    second = catalogue.scan()

    assert changes(first) == dict.fromkeys([".hidden", "a.csv", "deep/c.txt", "deep/down/b.csv"], "new")
    assert first.is_complete
    assert first.counts.files == first.new == 4
    assert second.change_count == 0
    assert second.unchanged == 4
    row = catalogue.files()["deep/down/b.csv"]
    status = (tmp_path / "deep/down/b.csv").stat()
    assert row["path"] == str(tmp_path / "deep/down/b.csv")
    assert (row["size"], row["mtime_ns"], row["inode"]) == (status.st_size, status.st_mtime_ns, status.st_ino)


def test_each_kind_of_change_is_told_apart(tmp_path: Path) -> None:
    put(tmp_path, "same", "changes", "moves", "goes", "d/x")
    catalogue = Catalogue(tmp_path)
    catalogue.scan()
    before = catalogue.files()
    put(tmp_path, "changes", text="more than before\n")
    (tmp_path / "moves").rename(tmp_path / "d" / "moved")
    (tmp_path / "goes").unlink()
    put(tmp_path, "comes", text="x")

    outcome = catalogue.scan()

    found = changes(outcome)
    if before["goes"]["inode"] != (tmp_path / "comes").stat().st_ino:
        assert found == {"changes": "changed", "d/moved": "renamed", "goes": "vanished", "comes": "new"}
    after = catalogue.files()
    assert after["d/moved"]["id"] == before["moves"]["id"]
    assert after["changes"]["id"] == before["changes"]["id"]
    assert outcome.unchanged == 2
    assert catalogue.scan().change_count == 0


def test_a_rename_keeps_tags_and_digest(tmp_path: Path) -> None:
    put(tmp_path, "in/a.csv")
    catalogue = Catalogue(tmp_path)
    catalogue.scan(ScanOptions(tags=["mine"], wanted_tags=["mine"]))
    before = catalogue.files()["in/a.csv"]
    (tmp_path / "in").rename(tmp_path / "out")

    catalogue.scan()

    after = catalogue.files()["out/a.csv"]
    assert {name: after[name] for name in ("id", "tags", "content_hash", "kind", "tag_source")} == {
        "id": before["id"],
        "tags": ["mine"],
        "content_hash": blake3(b"a,b\n1,2\n").hexdigest(),
        "kind": "delimited",
        "tag_source": "manual",
    }


def test_a_new_file_under_an_old_name_is_another_file(tmp_path: Path) -> None:
    put(tmp_path, "a")
    catalogue = Catalogue(tmp_path)
    catalogue.scan()
    (tmp_path / "a").rename(tmp_path / "b")
    catalogue.scan()
    put(tmp_path, "a", text="another")
    catalogue.scan()

    ids = [row["id"] for row in catalogue.files().values()]
    assert len(ids) == len(set(ids)) == 2


def test_a_scan_that_was_cut_short_deletes_nothing(tmp_path: Path) -> None:
    put(tmp_path, "a/1", "b/2", "c/3")
    catalogue = Catalogue(tmp_path)
    catalogue.scan()
    (tmp_path / "c/3").unlink()
    put(tmp_path, "a/4")
    answers = iter([False, True])

    outcome = catalogue.scan(should_stop=lambda: next(answers))

    assert not outcome.is_complete
    assert changes(outcome) == {"a/4": "new"}
    assert changes(catalogue.scan()) == {"c/3": "vanished"}


ORDER: ScanOrder = {
    "root": "",
    "previous": "",
    "changes": "",
    "rules": [],
    "wanted_tags": [],
    "options": {},
    "source_id": None,
    "scan_id": "s1",
}


def test_a_full_disk_is_the_reason_why_a_scan_failed(tmp_path: Path) -> None:
    put(tmp_path, "a")
    child = ScanProcess({**ORDER, "root": str(tmp_path), "changes": "/dev/full"}, lambda said: None)

    assert child.final_message(lambda: None) == {
        "failed": "The changes cannot be written: [Errno 28] No space left on device.",
        "remedy": "`casparian doctor` shows how much space is left on the home's disk.",
        "code": "DISK_FULL",
    }
    child.end()


def test_a_child_that_ends_before_it_reads_its_task_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("true"))
    child = ScanProcess({**ORDER, "wanted_tags": ["more than a pipe holds"] * 100_000}, lambda said: None)

    assert child.final_message(lambda: None) is None
    assert child.end() in (0, -signal.SIGKILL)


def test_what_an_option_leaves_out_has_not_vanished(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "b.txt", "sub/c.txt")
    catalogue = Catalogue(tmp_path)
    catalogue.scan()

    assert catalogue.scan(ScanOptions(walk=WalkOptions(patterns=["*.csv"]))).change_count == 0
    assert catalogue.scan(ScanOptions(walk=WalkOptions(excludes=["sub"]))).change_count == 0


def test_a_root_that_is_gone_is_an_error_not_a_mass_deletion(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "root")
    put(tmp_path, "root/a")
    catalogue.scan()
    shutil.rmtree(tmp_path / "root")

    with pytest.raises(RootUnreadable) as caught:
        catalogue.scan()
    assert "mounted" in caught.value.remedy


@contextmanager
def mounted(place: Path) -> Iterator[None]:
    """An empty file system of its own in this place."""
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_files_of_an_unmounted_root_have_not_vanished(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path)
    with mounted(tmp_path):
        put(tmp_path, "a", "deep/b")
        catalogue.scan()
    before = catalogue.table

    put(tmp_path, "placeholder")
    with pytest.raises(RootUnreadable) as caught:
        catalogue.scan()
    assert str(caught.value.problem) == (
        f"{tmp_path} cannot be scanned: another file system is mounted there than at the last scan."
    )
    assert f"`casparian scan --new-disk {tmp_path}`" in caught.value.remedy
    assert catalogue.table is before

    accepted = catalogue.scan(ScanOptions(accepts_new_disk=True))
    assert changes(accepted) == {"a": "vanished", "deep/b": "vanished", "placeholder": "new"}
    assert catalogue.scan().change_count == 0


def test_a_disk_mounted_again_under_another_number_has_its_changes(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path)
    put(tmp_path, "a", "b", "deep/c")
    catalogue.scan()
    with mounted(tmp_path):
        put(tmp_path, "a")

        assert changes(catalogue.scan()) == {"a": "changed", "b": "vanished", "deep/c": "vanished"}


def test_files_of_an_unmounted_directory_below_the_root_have_not_vanished(tmp_path: Path) -> None:
    put(tmp_path, "here", "gone", "disk/under")
    catalogue = Catalogue(tmp_path)
    with mounted(tmp_path / "disk"):
        put(tmp_path, "disk/a", "disk/deep/b")
        catalogue.scan()
    (tmp_path / "gone").unlink()

    outcome = catalogue.scan()
    assert changes(outcome) == {"disk/under": "new", "gone": "vanished"}
    assert outcome.unreadable == [
        Unreadable("disk/", "another file system is mounted there than at the last scan; --new-disk accepts it")
    ]
    assert changes(catalogue.scan(ScanOptions(accepts_new_disk=True))) == {
        "disk/a": "vanished",
        "disk/deep/b": "vanished",
    }


def test_every_file_of_a_mounted_disk_may_vanish(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path)
    with mounted(tmp_path):
        put(tmp_path, "a", "deep/b")
        catalogue.scan()
        (tmp_path / "a").unlink()
        shutil.rmtree(tmp_path / "deep")

        assert changes(catalogue.scan()) == {"a": "vanished", "deep/b": "vanished"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_below_a_closed_directory_have_not_vanished(tmp_path: Path) -> None:
    put(tmp_path, "closed/a", "open/b")
    catalogue = Catalogue(tmp_path)
    catalogue.scan()
    (tmp_path / "closed").chmod(0)
    try:
        outcome = catalogue.scan()
    finally:
        (tmp_path / "closed").chmod(0o755)

    assert outcome.change_count == 0
    assert [each.rel_path for each in outcome.unreadable] == ["closed/"]


def test_a_single_file_can_be_a_root(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "b.csv")
    catalogue = Catalogue(tmp_path / "a.csv")

    assert changes(catalogue.scan(ScanOptions(hash_all=True))) == {"a.csv": "new"}
    assert catalogue.files()["a.csv"]["path"] == str(tmp_path / "a.csv")
    assert catalogue.files()["a.csv"]["content_hash"] == blake3(b"a,b\n1,2\n").hexdigest()
    assert catalogue.scan(ScanOptions(hash_all=True)).change_count == 0


def test_rules_tag_and_wanted_tags_are_hashed(tmp_path: Path) -> None:
    put(tmp_path, "acme/2024-01-31/x.csv", "other.txt")
    by_client = TagRule(id="r2", name="c", pattern="{client}/{day:%Y-%m-%d}/*", tag="client", priority=1)
    by_kind = TagRule(id="r3", name="k", tag="table", kinds=("delimited",), extensions=(".csv",))
    catalogue = Catalogue(tmp_path)

    catalogue.scan(ScanOptions(wanted_tags=["table"]), (CSV_RULE, by_client, by_kind))

    files = catalogue.files()
    row = files["acme/2024-01-31/x.csv"]
    assert row["tags"] == ["client", "csv", "table"]
    assert row["tag_rule_ids"] == ["r2", "r1", "r3"]
    assert (row["tag_source"], row["rule_id"], row["kind"]) == ("rule", "r2", "delimited")
    assert dict(row["path_fields"]) == {"client": "acme", "day": "2024-01-31"}
    assert row["content_hash"] is not None
    assert (files["other.txt"]["tags"], files["other.txt"]["content_hash"]) == ([], None)


def test_an_unchanged_file_is_not_read_again_but_catches_up(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "b.txt")
    catalogue = Catalogue(tmp_path)
    catalogue.scan(rules=(CSV_RULE,))

    assert changes(catalogue.scan(ScanOptions(wanted_tags=["csv"]))) == {"a.csv": "rehashed"}
    (tmp_path / "a.csv").chmod(0)  # reading it again would now fail for all but root
    assert catalogue.scan(ScanOptions(wanted_tags=["csv"])).change_count == 0
    (tmp_path / "a.csv").chmod(0o644)
    assert changes(catalogue.scan(ScanOptions(tags=["mine"]))) == {"a.csv": "retagged", "b.txt": "retagged"}
    assert catalogue.files()["a.csv"]["tags"] == ["mine", "csv"]
    assert catalogue.scan(ScanOptions(tags=["mine"])).change_count == 0


def test_a_changed_file_keeps_manual_tags_and_loses_its_digest(tmp_path: Path) -> None:
    put(tmp_path, "a.csv")
    catalogue = Catalogue(tmp_path)
    catalogue.scan(ScanOptions(tags=["mine"], hash_all=True), (CSV_RULE,))
    put(tmp_path, "a.csv", text="longer, much longer\n")

    catalogue.scan()

    row = catalogue.files()["a.csv"]
    assert (row["tags"], row["content_hash"]) == (["mine"], None)


def test_names_that_are_no_text_are_kept_without_loss(tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/caf\xe9\n\x1b[31m.csv"
    Path(os.fsdecode(odd)).write_bytes(b"x,y\n1,2\n")
    put(tmp_path, "literal\\xe9", "schön")
    catalogue = Catalogue(tmp_path)

    catalogue.scan(ScanOptions(hash_all=True, kinds="all"))

    files = catalogue.files()
    assert set(files) == {"caf\\xe9\n\x1b[31m.csv", "literal\\x5cxe9", "schön"}
    assert all(row["content_hash"] and row["kind"] for row in files.values())
    assert catalogue.scan().change_count == 0


def test_progress_is_told_while_it_runs(tmp_path: Path) -> None:
    put(tmp_path, "a", "b/c")
    told: list[ScanProgress] = []

    Catalogue(tmp_path).scan(on_progress=told.append)

    assert told[-1].files == 2
    assert told[-1].bytes == 16
    assert told[-1].files_per_second > 0


def test_a_blob_survives_its_round_trip_and_damage_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "a", "b")
    outcome = Catalogue(tmp_path).scan()

    assert decode_changes(encode_changes(outcome.changes)).equals(outcome.changes)
    for bad in (b"", b"junk", outcome.blob[:-20], outcome.blob[:100]):
        with pytest.raises(BadChanges):
            decode_changes(bad)


def test_random_histories_end_in_the_catalogue_that_a_fresh_scan_gives(tmp_path: Path) -> None:
    """Whatever happens between scans, folding the changes gives the files that are there."""
    rng = random.Random(7)
    root = tmp_path / "tree"
    root.mkdir()
    catalogue = Catalogue(root)

    def some_file() -> Path | None:
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return rng.choice(files) if files else None

    def new_name() -> Path:
        return root / "/".join(rng.choice("abc") for _ in range(rng.randint(1, 3))) / f"f{rng.randint(0, 9)}"

    def create() -> None:
        path = new_name()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * rng.randint(0, 50))

    def act(change: Callable[[Path], object]) -> None:
        if (path := some_file()) is not None:
            change(path)

    def move(path: Path) -> None:
        target = new_name()
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)

    deeds: list[Callable[[], None]] = [create, create, lambda: act(move), lambda: act(Path.unlink)]
    for _ in range(40):
        for _ in range(rng.randint(0, 6)):
            deeds[rng.randrange(4)]()
        catalogue.scan()
        fresh = Catalogue(root)
        fresh.scan()
        for name in ("size", "mtime_ns", "inode"):
            known = {path: row[name] for path, row in catalogue.files().items()}
            assert known == {path: row[name] for path, row in fresh.files().items()}
        ids = [row["id"] for row in catalogue.files().values()]
        assert len(ids) == len(set(ids))


def test_a_change_of_rules_retags_without_looking_at_the_disk(tmp_path: Path) -> None:
    put(tmp_path, "root/a.csv", "root/b.txt", "root/c.log")
    catalogue = Catalogue(tmp_path / "root")
    catalogue.scan(ScanOptions(tags=["mine"], walk=WalkOptions(patterns=["*.log"])))
    catalogue.scan(rules=(CSV_RULE,))
    shutil.rmtree(tmp_path / "root")
    text_rule = TagRule(id="r9", name="all", pattern="{stem}.{txt,log}", tag="text")

    blob, count = retag(catalogue.table, RuleSet([text_rule]))

    after = {row["rel_path"]: row for row in decode_changes(blob).to_pylist()}
    assert count == 3
    assert {path: row["tags"] for path, row in after.items()} == {
        "a.csv": [],
        "b.txt": ["text"],
        "c.log": ["mine", "text"],
    }
    assert after["c.log"]["tag_rule_ids"] == [None, "r9"]
    assert dict(after["b.txt"]["path_fields"]) == {"stem": "b"}
    catalogue.table = apply_changes(catalogue.table, decode_changes(blob))
    assert retag(catalogue.table, RuleSet([text_rule]))[1] == 0
