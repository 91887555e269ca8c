"""scan, files, tag, untag, rule, source: the catalogue, without a daemon."""

import json
import os
from pathlib import Path

import pytest

from tests.cli.calls import Caller, longest_line


@pytest.fixture
def call(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Caller:
    monkeypatch.setenv("COLUMNS", "80")
    return Caller(tmp_path / "home", capfd)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    (folder / "nyse").mkdir(parents=True)
    for name in ("a.log", "b.log", "nyse/c.log", "notes.txt"):
        (folder / name).write_text(f"content of {name}\n")
    return folder


def test_scan_counts_what_it_finds_and_a_second_scan_finds_nothing_new(call: Caller, logs: Path) -> None:
    first = call("scan", str(logs))
    second = call("scan", str(logs), "--json")

    assert first.code == 0
    assert first.out.strip().endswith("4 new")
    assert (second.document["files"], second.document["new"], second.document["unchanged"]) == (4, 0, 4)


def test_an_unchanged_tree_costs_no_events_beyond_the_scans_own(call: Caller, logs: Path) -> None:
    call("scan", str(logs))
    before = call("log", "stats", "--json").document["event_counts"]
    call("scan", str(logs))
    after = call("log", "stats", "--json").document["event_counts"]

    grown = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert grown == {"SentinelStarted": 1, "ScanStarted": 1, "ScanFinished": 1, "SentinelStopped": 1}


def test_scan_of_nothing_is_a_usage_error_that_names_the_path(call: Caller) -> None:
    answer = call("scan", "/nowhere/at/all")

    assert answer.code == 2
    assert "/nowhere/at/all" in answer.err


def test_tags_given_at_the_scan_are_shown_and_their_files_are_digested(call: Caller, logs: Path) -> None:
    call("scan", str(logs), "--pattern", "*.log", "--tag", "fix")
    files = call("files", "--tag", "fix", "--json").document

    assert [Path(file["path"]).name for file in files] == ["a.log", "b.log", "c.log"]
    assert all(file["content_hash"] and file["status"] == "tagged" for file in files)


def test_tag_and_untag_by_hand(call: Caller, logs: Path) -> None:
    call("scan", str(logs))
    tagged = call("tag", str(logs / "a.log"), str(logs / "nyse"), "fix")
    found = call("files", "--tag", "fix", "--json").document
    call("untag", str(logs / "a.log"), "fix")
    left = call("files", "--tag", "fix", "--json").document

    assert tagged.code == 0 and "2 files" in tagged.err
    assert [Path(file["path"]).name for file in found] == ["a.log", "c.log"]
    assert all(file["content_hash"] for file in found)
    assert [Path(file["path"]).name for file in left] == ["c.log"]


def test_tag_takes_all_files_that_the_options_select(call: Caller, logs: Path) -> None:
    call("scan", str(logs))
    call("tag", "--under", str(logs), "--contains", ".LOG", "fix")
    call("tag", "--untagged", "rest")
    refused = call("tag", "--untagged", str(logs / "a.log"), "fix")

    tagged = {tag: call("files", "--tag", tag, "--json").document for tag in ("fix", "rest")}
    assert {tag: [Path(file["path"]).name for file in files] for tag, files in tagged.items()} == {
        "fix": ["a.log", "b.log", "c.log"],
        "rest": ["notes.txt"],
    }
    assert refused.code == 2


def test_a_scan_tells_its_progress_as_lines_when_asked(call: Caller, logs: Path) -> None:
    *progress, document = map(json.loads, call("scan", str(logs), "--progress", "--json").out.splitlines())

    assert progress[-1]["progress"]["files"] == document["files"] == 4


def test_a_rule_leaves_out_what_it_excludes(call: Caller, logs: Path) -> None:
    call("scan", str(logs))
    tried = call("rule", "test", "**/*.log", "--exclude", "nyse/**", "--json").document
    call("rule", "add", "**/*.log", "fix", "--exclude", "nyse/**")

    assert [match["path"] for match in tried["matches"]] == ["a.log", "b.log"]
    assert [file["rel_path"] for file in call("files", "--tag", "fix", "--json").document] == ["a.log", "b.log"]


def test_a_file_outside_the_catalogue_cannot_be_tagged(call: Caller, logs: Path, tmp_path: Path) -> None:
    call("scan", str(logs))
    answer = call("tag", str(tmp_path / "other.log"), "fix")

    assert answer.code == 2
    assert "not in the file index" in answer.err


def test_a_rule_tags_what_is_known_and_what_comes(call: Caller, logs: Path) -> None:
    call("scan", str(logs))
    tried = call("rule", "test", "nyse/*.log", "--json").document
    added = call("rule", "add", "nyse/*.log", "venue", "--json").document
    (logs / "nyse" / "d.log").write_text("later\n")
    call("scan", str(logs))
    found = call("files", "--tag", "venue", "--json").document
    removed = call("rule", "remove", added["rule_id"][:8], "--json").document

    assert tried["matched"] == added["files"] == 1
    assert [Path(file["path"]).name for file in found] == ["c.log", "d.log"]
    assert removed["files"] == 2
    assert call("files", "--tag", "venue", "--json").document == []


def test_identical_files_are_told_apart_from_their_duplicates(call: Caller, logs: Path) -> None:
    (logs / "copy_of_a.log").write_bytes((logs / "a.log").read_bytes())
    call("scan", str(logs), "--tag", "fix")
    files = {Path(file["path"]).name: file for file in call("files", "--json").document}

    assert files["copy_of_a.log"]["duplicate_of"] == str(logs / "a.log")
    assert files["a.log"]["duplicate_of"] is None


def test_a_vanished_file_is_kept_in_mind_and_out_of_sight(call: Caller, logs: Path) -> None:
    call("scan", str(logs))
    (logs / "a.log").unlink()
    answer = call("scan", str(logs))

    assert "1 vanished" in answer.out
    assert len(call("files", "--json").document) == 3
    assert len(call("files", "--status", "vanished", "--json").document) == 1


def test_sources_are_added_rescanned_here_and_removed(call: Caller, logs: Path) -> None:
    call("source", "add", str(logs), "--name", "archive", "--tag", "fix")
    rescanned = call("source", "rescan", "archive", "--json").document
    listed = call("source", "list", "--json").document
    call("source", "remove", "archive")

    assert rescanned["new"] == 4
    assert (listed[0]["name"], listed[0]["files"]) == ("archive", 4)
    assert len(call("files", "--tag", "fix", "--json").document) == 4
    assert call("source", "list", "--json").document == []


def test_hostile_file_names_reach_no_terminal(call: Caller, logs: Path) -> None:
    (logs / "red\x1b[31m\u202e.log").write_text("x")
    call("scan", str(logs))
    answer = call("files")

    assert "\x1b" not in answer.out and "\u202e" not in answer.out
    assert "\\x1b" in answer.out


def test_listings_fit_the_terminal(call: Caller, logs: Path) -> None:
    (logs / ("long" * 30 + ".log")).write_text("x")
    call("scan", str(logs))

    assert longest_line(call("files").out) <= 200


def test_without_a_home_reading_says_how_to_make_one(call: Caller) -> None:
    answer = call("files")

    assert answer.code == 3
    assert "casparian init" in answer.err


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "--status", "nonsense"),
        ("job", "show", "xyz"),
        ("parser", "show", "none"),
        ("contract", "show", "none"),
        ("outputs", "show", "none"),
    ],
)
def test_what_does_not_exist_is_a_usage_error_with_a_remedy(call: Caller, words: tuple[str, ...]) -> None:
    call("init")
    answer = call(*words)

    assert answer.code == 2
    assert len(answer.err.strip().splitlines()) <= 3 and answer.err.startswith("casparian: ")


def test_a_priority_that_no_column_holds_is_refused_where_it_is_typed(call: Caller) -> None:
    done = call("rule", "add", "*.txt", "t", "--priority", "3000000000")

    assert done.code == 2
    assert "--priority" in done.err and "2,147,483,647" in done.err


def test_files_that_no_parser_takes_are_listed(lived: Caller, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    for name in ("tagged", "strange", "plain"):
        (tmp_path / "new" / name).write_text(name)
    lived("scan", str(tmp_path / "new"))
    lived("tag", str(tmp_path / "new" / "tagged"), "advice")
    lived("tag", str(tmp_path / "new" / "strange"), "advise")

    unclaimed = lived("files", "--unclaimed", "--json").document

    assert sorted(Path(one["path"]).name for one in unclaimed) == ["plain", "strange"]


def test_a_scan_counts_what_it_passes_by(call: Caller, tmp_path: Path) -> None:
    root = tmp_path / "odd"
    root.mkdir()
    (root / "a.txt").write_text("x")
    (root / "link").symlink_to("a.txt")
    (root / "gone").symlink_to("nowhere")
    os.mkfifo(root / "pipe")

    told = call("scan", str(root))
    document = call("scan", str(root), "--json").document

    assert "skipped 2 symlinks and 1 pipe: only regular files are read" in told.err
    assert (document["symlinks"], document["pipes"], document["sockets"], document["devices"]) == (2, 1, 0, 0)


def test_an_empty_list_of_files_says_to_scan_only_where_nothing_was_chosen(call: Caller) -> None:
    call("init")
    assert "No files yet; `casparian scan PATH` finds some." in call("files").err
    chosen = call("files", "--tag", "nope").err
    assert "There is no tag nope." in chosen and "scan" not in chosen
