"""Files: scans that record what changed, a look into one, and labels by hand and by rule."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from casparian_app.files import (
    FileUnreadable,
    NotInFileIndex,
    ScanOptions,
    ScanProgress,
    ScanTotals,
    WalkOptions,
    change_tag,
    files_named,
    find_source,
    hash_missing,
    options_of_source,
    preview_file,
    retag_all,
    scan_roots,
    wanted_tags,
)
from casparian_app.gateway import Gateway, open_gateway
from casparian_app.names import UnknownName
from casparian_protocol.home import Home
from casparian_protocol.queries.files import FileFilter, FilesListed
from casparian_protocol.tagging import TagRule
from casparian_protocol.wire.operations.registry import ADD_RULE, ADD_SOURCE, REMOVE_RULE


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with three files in two folders."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_text("a")
    (tmp_path / "in" / "b.log").write_text("bb")
    (tmp_path / "in" / "deep" / "c.txt").write_text("ccc")
    return tmp_path / "in"


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Gateway]:
    with open_gateway(Home(tmp_path / "home"), creates_home=True) as gateway:
        yield gateway


def scanned(gateway: Gateway, place: Path, **options: object) -> ScanTotals:
    walk = WalkOptions(options.pop("excludes", ()), options.pop("patterns", ()))  # type: ignore[arg-type]
    return scan_roots(gateway, [str(place)], ScanOptions(walk, **options))  # type: ignore[arg-type]


def names(gateway: Gateway, chosen: FileFilter = FileFilter()) -> list[str]:  # noqa: B008 -- frozen
    return [row["rel_path"] for row in gateway.query(FilesListed(chosen, 100))]


def tags(gateway: Gateway) -> dict[str, str | None]:
    return {row["rel_path"]: row["tags"] for row in gateway.query(FilesListed(FileFilter(), 100))}


# --- scans ---


def test_a_scan_records_what_is_new_changed_and_gone(fresh: Gateway, place: Path) -> None:
    first = scanned(fresh, place)
    assert (first.files, first.bytes, first.new, first.unchanged) == (3, 6, 3, 0)
    assert names(fresh) == ["a.txt", "b.log", "deep/c.txt"]

    (place / "a.txt").write_text("aaaa")
    os.utime(place / "a.txt", ns=(1, 1))
    (place / "b.log").unlink()
    (place / "d.txt").write_text("d")
    second = scanned(fresh, place)
    assert (second.new, second.changed, second.vanished, second.unchanged) == (1, 1, 1, 1)
    assert names(fresh) == ["a.txt", "d.txt", "deep/c.txt"]
    assert names(fresh, FileFilter(status="vanished")) == ["b.log"]


def test_patterns_and_excludes_leave_files_out(fresh: Gateway, place: Path) -> None:
    totals = scanned(fresh, place, patterns=["*.txt"], excludes=("deep",))
    assert names(fresh) == ["a.txt"] and totals.files == 1


def test_a_tag_of_a_scan_is_on_everything_found_and_tagged_files_are_known_by_content(
    fresh: Gateway, place: Path
) -> None:
    scanned(fresh, place, tags=["odd"], wanted_tags={"odd"})
    assert tags(fresh) == {"a.txt": "odd", "b.log": "odd", "deep/c.txt": "odd"}
    assert all(row["content_hash"] for row in fresh.query(FilesListed(FileFilter(), 10)))


def test_a_scan_that_is_stopped_keeps_what_it_found_and_takes_nothing_as_gone(fresh: Gateway, place: Path) -> None:
    scanned(fresh, place)
    (place / "a.txt").unlink()
    stopped = scan_roots(fresh, [str(place)], ScanOptions(), should_stop=lambda: True)
    assert stopped.files == 0
    assert "a.txt" in names(fresh)


def test_progress_is_told_to_whoever_asks(fresh: Gateway, place: Path) -> None:
    told: list[ScanProgress] = []
    scan_roots(fresh, [str(place)], ScanOptions(), on_progress=told.append)
    assert all(one.files <= 3 for one in told)


def test_what_is_no_file_is_passed_by_and_counted(fresh: Gateway, place: Path) -> None:
    (place / "link").symlink_to("a.txt")
    os.mkfifo(place / "pipe")
    totals = scanned(fresh, place)
    assert (totals.files, totals.symlinks, totals.pipes) == (3, 1, 1)
    assert totals.passed_by() == "1 symlink and 1 pipe"


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({}, ""),
        ({"symlinks": 2}, "2 symlinks"),
        ({"symlinks": 1, "sockets": 3}, "1 symlink and 3 sockets"),
        ({"symlinks": 1, "pipes": 1, "devices": 1}, "1 symlink, 1 pipe and 1 device"),
    ],
)
def test_what_was_passed_by_is_said_in_words(counts: dict[str, int], said: str) -> None:
    assert ScanTotals(**counts).passed_by() == said  # type: ignore[arg-type]


def test_tags_that_somebody_takes_or_gives_are_wanted(own: Gateway) -> None:
    assert wanted_tags(own) == {"advice"}
    rule = TagRule(id="0" * 16, name="r", pattern="*.log", tag="logs")
    own.perform(ADD_RULE(rule=rule.model_dump(mode="json")))
    assert wanted_tags(own) == {"advice", "logs"}


def test_a_source_is_scanned_as_it_was_added(fresh: Gateway, place: Path) -> None:
    options: dict[str, str | list[str]] = {
        "tags": ["odd"],
        "excludes": ["deep"],
        "patterns": ["*.txt"],
        "on_change": "replace",
    }
    added = fresh.perform(ADD_SOURCE(name="in", path=str(place), poll_seconds=0, options={**options}))

    source = find_source(fresh, "in")
    assert source["id"] == added.source_id == find_source(fresh, added.source_id[:8])["id"]
    scan_roots(fresh, [source["path"]], options_of_source(fresh, source["id"]), source_id=source["id"])
    assert tags(fresh) == {"a.txt": "odd"}
    assert names(fresh, FileFilter(source="in")) == ["a.txt"]
    with pytest.raises(UnknownName):
        find_source(fresh, "inn")


# --- labels ---


def test_files_are_named_by_path_directory_or_the_beginning_of_an_id(fresh: Gateway, place: Path) -> None:
    scanned(fresh, place)
    everything = fresh.query(FilesListed(FileFilter(), 10))
    assert [row["path"] for row in files_named(fresh, [str(place / "a.txt")])] == [str(place / "a.txt")]
    assert len(files_named(fresh, [str(place)])) == 3
    assert len(files_named(fresh, [str(place), str(place / "a.txt")])) == 3  # each once
    assert files_named(fresh, [everything[0]["id"][:8]])[0]["id"] == everything[0]["id"]


def test_a_file_that_was_never_scanned_is_refused_with_what_helps(fresh: Gateway, place: Path) -> None:
    with pytest.raises(NotInFileIndex) as refused:
        files_named(fresh, [str(place / "a.txt")])
    assert refused.value.remedy == f"`casparian scan {place / 'a.txt'}` takes it in."
    with pytest.raises(NotInFileIndex) as refused:
        files_named(fresh, ["nowhere.txt"])
    assert refused.value.remedy is not None and refused.value.remedy.startswith("There is no such file either.")


def test_a_tag_goes_on_and_off_by_name_and_by_filter(fresh: Gateway, place: Path) -> None:
    scanned(fresh, place)
    done = change_tag(fresh, "odd", [str(place / "a.txt")], remove=False)
    assert (done.files, done.hashed.files) == (1, 1)
    done = change_tag(fresh, "even", FileFilter(like="%.txt"), remove=False)
    assert done.files == 2
    assert tags(fresh) == {"a.txt": "even, odd", "b.log": None, "deep/c.txt": "even"}
    done = change_tag(fresh, "even", [str(place)], remove=True)
    assert done.hashed.files == 0
    assert tags(fresh) == {"a.txt": "odd", "b.log": None, "deep/c.txt": None}


def test_more_files_than_fit_one_request_are_tagged_all_the_same(
    fresh: Gateway, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then their ids travel as a blob; here that begins at two files."""
    monkeypatch.setattr("casparian_app.files.FILE_IDS_LIMIT", 1)
    scanned(fresh, place)
    assert change_tag(fresh, "odd", FileFilter(), remove=False).files == 3
    assert set(tags(fresh).values()) == {"odd"}


def test_a_tagged_file_that_cannot_be_read_is_named(fresh: Gateway, place: Path) -> None:
    scanned(fresh, place)
    (place / "a.txt").unlink()
    done = change_tag(fresh, "odd", FileFilter(), remove=False)
    assert done.hashed.files == 2
    assert [path for path, _why in done.hashed.unread] == [str(place / "a.txt")]
    assert hash_missing(fresh, "nobody").files == 0


def test_rules_give_and_take_tags_of_known_files(fresh: Gateway, place: Path) -> None:
    scanned(fresh, place)
    rule = TagRule(id="0" * 16, name="texts", pattern="**/*.txt", tag="text")
    added = fresh.perform(ADD_RULE(rule=rule.model_dump(mode="json")))
    assert retag_all(fresh) == 2 and retag_all(fresh) == 0
    assert tags(fresh) == {"a.txt": "text", "b.log": None, "deep/c.txt": "text"}
    fresh.perform(REMOVE_RULE(rule=added.rule_id))
    assert retag_all(fresh) == 2
    assert set(tags(fresh).values()) == {None}


# --- a look ---


def test_a_look_into_a_file_says_its_kind_and_types(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,amount\na,1\nb,2\n")
    seen, rows = preview_file(str(tmp_path / "t.csv"), 10)
    assert seen.detected.kind == "delimited" and rows == []
    assert [(column.name, column.type) for column in seen.columns] == [("id", "text"), ("amount", "int64")]
    assert [list(record) for record in seen.records] == [["a", "1"], ["b", "2"]]


def test_the_first_bytes_are_shown_sixteen_to_a_row(tmp_path: Path) -> None:
    (tmp_path / "b.bin").write_bytes(bytes(range(40)))
    _seen, rows = preview_file(str(tmp_path / "b.bin"), 2, is_hex=True)
    assert [row.offset for row in rows] == [0, 16]


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileUnreadable) as refused:
        preview_file(str(tmp_path / name), 1)
    assert "cannot be read" in refused.value.problem
