"""Discover: choosing sources and tags, the list of files as a window, previews, tags, scans, the rule explorer."""

from __future__ import annotations

import json
import operator
from typing import Any

import pytest

from casparian_console.messages import (
    Answer,
    Click,
    Effects,
    Ended,
    ListDirectory,
    LoadPast,
    Output,
    PastEvents,
    RunCommand,
    RunOperation,
    RunQuery,
    Scroll,
    StopCommand,
)
from casparian_console.screens.discover import Discover
from casparian_console.screens.discover.files import LABELS, PAGE_ROWS, PAGES, SOURCES
from casparian_protocol.queries.files import FileFilter
from tests.console.driving import Driver, fail, matches_snapshot, run_job

FILE_COLUMNS = ("id", "path", "rel_path", "size", "mtime", "kind", "status", "is_hashed", "tags")
ABOUT_COLUMNS = (
    "path", "size", "kind", "status", "content_hash", "first_seen", "last_changed", "mtime", "path_fields", "tags", "duplicate_of"
)  # fmt: skip
JOB_COLUMNS = (
    "id", "job_type", "status", "plugin_name", "parser_version", "since_us", "rows_valid", "quarantine_rows",
    "error_code", "error_message",
)  # fmt: skip


class Catalogue:
    """The files of a home, asked as the projection is: answers Discover's queries out of a sorted list."""

    def __init__(self, driver: Driver, files: list[tuple[Any, ...]]) -> None:
        self.driver = driver
        self.files = sorted(files, key=lambda row: (row[1], row[0]))
        self.asked: list[RunQuery] = []

    def answer(self, effects: Effects) -> None:
        """Every query among the effects, and what follows from its answer."""
        waiting = [effect for effect in effects if isinstance(effect, RunQuery)]
        while waiting:
            query = waiting.pop(0)
            self.asked.append(query)
            found = self._rows(query)
            if found is not None:
                fresh = self.driver.answer(query.tag, *found)
                waiting += [effect for effect in fresh if isinstance(effect, RunQuery)]

    def _rows(self, query: RunQuery) -> tuple[tuple[str, ...], list[Any]] | None:
        match query.tag[1]:
            case "page":
                return FILE_COLUMNS, self._page(query)
            case "totals":
                asked: Any = query.query
                shown = self._shown(query)
                before = sum((row[1], row[0]) < (asked.path, asked.id) for row in shown)
                return ("files", "bytes", "before"), [(len(shown), sum(row[3] for row in shown), before)]
            case "sources":
                return ("source_id", "root", "files"), [("s1", None, len(self.files) - 1), (None, "/tmp/by_hand/", 1)]
            case "labels":
                kinds = [
                    ("all", "", "all tags", len(self.files)),
                    ("untagged", "", "untagged", 2),
                    ("tag", "fix", "fix", 3),
                ]
                kinds += [("tag", "hl7", "hl7", 1), ("rule", "r1", "**/*.log → fix", 3)]
                return ("kind", "value", "name", "files"), kinds
            case "match":
                return ("path", "id", "rel_path"), self._matching(query)
            case "folders":
                columns = ("name", "files", "bytes", "untagged")
                return columns, [] if query.tag[2] else [("nyse/", 2, 2048, 1), ("cme/", 1, 10, 0), ("*.csv", 1, 99, 1)]
            case "about":
                row = next(row for row in self.files if row[0] == query.tag[2])
                about = (
                    row[1],
                    row[3],
                    row[5],
                    row[6],
                    "ab" * 32,
                    1,
                    1,
                    row[4],
                    '{"venue": "nyse"}',
                    "fix (by hand)",
                    None,
                )
                return ABOUT_COLUMNS, [about]
            case "jobs":
                failed = (
                    "j1",
                    "PARSE",
                    "FAILED",
                    "fix",
                    "1.0.0",
                    self.driver.now_us,
                    None,
                    0,
                    "INVALID_DATA",
                    "row 42",
                )
                return JOB_COLUMNS, [failed]
        return None

    def _shown(self, query: RunQuery) -> list[tuple[Any, ...]]:
        """As far as the tests filter: by tag, by a text, by having no tag."""
        shown = self.files
        asked: Any = query.query
        wanted: FileFilter = asked.filter
        if wanted.tag is not None:
            shown = [row for row in shown if row[8] == wanted.tag]
        if wanted.is_untagged:
            shown = [row for row in shown if not row[8]]
        if wanted.contains is not None:
            shown = [row for row in shown if wanted.contains.lower() in row[2].lower()]
        return shown

    def _page(self, query: RunQuery) -> list[tuple[Any, ...]]:
        shown, part = self._shown(query), query.tag[3]
        if part in ("next", "again", "previous"):
            asked: Any = query.query
            key = (asked.path, asked.id)
            compare = {"next": operator.gt, "again": operator.ge, "previous": operator.lt}[part]
            shown = [row for row in shown if compare((row[1], row[0]), key)]
        return shown[::-1][:PAGE_ROWS] if part in ("previous", "end") else shown[:PAGE_ROWS]

    def _matching(self, query: RunQuery) -> list[tuple[Any, ...]]:
        asked: Any = query.query
        prefix, suffix = asked.filter.starts_with, asked.filter.ends_with
        rows = [(row[1], row[0], row[2]) for row in self.files if row[2].startswith(prefix) and row[2].endswith(suffix)]
        return [row for row in rows if row[:2] > (asked.path, asked.id)][: asked.limit]


def asked(query: RunQuery) -> Any:
    """The named query, whose fields are those of its kind."""
    return query.query


def file(number: int, rel_path: str, *, tags: str = "", size: int = 1024, status: str = "pending") -> tuple[Any, ...]:
    return (f"{number:032x}", f"/data/{rel_path}", rel_path, size, 1_000, "", status, True, tags)


FEW = [
    file(1, "cme/b.log", tags="fix", status="processed"),
    file(2, "nyse/2024/a.log", tags="fix", status="failed"),
    file(3, "nyse/2024/evil\x1b[31m\u202ename.log", tags="fix", size=3_000_000),
    file(4, "nyse/notes.txt"),
    file(5, "readme.md"),
    file(6, "results.hl7", tags="hl7"),
]
LOOK = {
    "path": "/data/cme/b.log", "size_bytes": 1024, "kind": "delimited", "encoding": "utf-8", "inner": None,
    "columns": [{"name": "id", "type": "int64"}, {"name": "side", "type": "text"}],
    "records": [["1", "buy"], ["22", "s\x1bell"]],
    "lines": ["id,side", "1,buy"],
    "hex": [{"offset": 0, "hex": "69 64 2c 73", "text": "id,s"}],
}  # fmt: skip


def discover(files: list[tuple[Any, ...]] | None = None, *, is_ascii: bool = False) -> tuple[Driver, Catalogue]:
    driver = Driver(is_ascii=is_ascii)
    driver.snapshot()
    driver.event("SourceAdded", source_id="s1", name="desk", path="/data", poll_seconds=0, options={})
    driver.event("ParserRegistered", name="fix", version="1.0.0", artifact="a", topics=["fix"], outputs={"orders": ""})
    driver.event("ParserRegistered", name="other", version="2.0.0", artifact="b", topics=["x"], outputs={})
    catalogue = Catalogue(driver, FEW if files is None else files)
    effects = driver.press("alt-d")
    catalogue.answer(effects)
    return driver, catalogue


def screen(driver: Driver) -> Discover:
    found = driver.shell.screens["discover"]
    assert isinstance(found, Discover)
    return found


def look(driver: Driver, effects: Effects, document: dict[str, Any] | None = None) -> Effects:
    """Answer the look among the effects."""
    run = next(effect for effect in effects if isinstance(effect, RunCommand) and effect.args[0] == "preview")
    driver.send(Output(run.tag, json.dumps(LOOK if document is None else document)))
    return driver.send(Ended(run.tag, 0))


def shown_files(driver: Driver) -> list[str]:
    return [row.rel_path for row in screen(driver).window.rows]


def selected(driver: Driver) -> str:
    driver.text()
    found = screen(driver).file()
    return found.rel_path if found is not None else ""


def only_command(effects: Effects) -> RunCommand:
    (command,) = [effect for effect in effects if isinstance(effect, RunCommand) and effect.args[0] != "preview"]
    return command


# --- choosing what is shown -------------------------------------------------------------------------------------------


def test_the_list_follows_the_cursor_while_a_tag_is_chosen_and_escape_restores_it() -> None:
    driver, catalogue = discover()
    driver.press("2")
    catalogue.answer(driver.press("down"))  # untagged
    while_choosing = shown_files(driver)
    catalogue.answer(driver.press("down"))  # fix
    on_fix = shown_files(driver)
    catalogue.answer(driver.press("esc"))
    catalogue.answer(driver.shell.settle())

    assert while_choosing == ["nyse/notes.txt", "readme.md"]
    assert len(on_fix) == 3
    assert len(shown_files(driver)) == len(FEW)


def test_typing_filters_the_tags_digits_included_and_enter_confirms() -> None:
    driver, catalogue = discover()
    driver.press("2")
    catalogue.answer(driver.write("hl7"))
    catalogue.answer(driver.press("enter"))

    assert shown_files(driver) == ["results.hl7"]
    assert screen(driver).dropdown() is None
    assert "2 Tags, rules ▸" in driver.text()


def test_a_source_becomes_a_condition_of_the_query() -> None:
    driver, _ = discover()
    driver.press("1")
    effects = driver.write("desk")
    page = next(effect for effect in effects if isinstance(effect, RunQuery) and effect.tag[1] == "page")

    assert asked(page).filter == FileFilter(source="s1")
    assert "by_hand" not in driver.text()


def test_directories_that_were_scanned_by_hand_can_be_chosen_too() -> None:
    driver, _ = discover()
    driver.press("1")
    effects = driver.write("hand")
    page = next(effect for effect in effects if isinstance(effect, RunQuery) and effect.tag[1] == "page")

    assert asked(page).filter == FileFilter(root="/tmp/by_hand/")


def test_a_text_filters_all_files_in_any_case() -> None:
    driver, catalogue = discover()
    driver.press("f")
    driver.write("NOTES")
    catalogue.answer(driver.press("enter"))
    assert shown_files(driver) == ["nyse/notes.txt"]
    catalogue.answer(driver.press("F"))

    assert len(shown_files(driver)) == len(FEW)


def test_answers_of_an_older_filter_change_nothing() -> None:
    driver, catalogue = discover()
    driver.press("2")
    old = [effect for effect in driver.press("down") if isinstance(effect, RunQuery)]
    new = driver.press("down")
    catalogue.answer(new)
    catalogue.answer(list(old))

    assert len(shown_files(driver)) == 3


# --- the window -------------------------------------------------------------------------------------------------------


def many(number: int) -> list[tuple[Any, ...]]:
    return [file(at, f"d{at // 1000:03d}/f{at:06d}.log") for at in range(number)]


def test_files_come_in_pages_as_one_scrolls_and_only_some_are_kept() -> None:
    driver, catalogue = discover(many(30_000))
    assert len(shown_files(driver)) == PAGE_ROWS
    driver.text()
    held = []
    for _ in range(34):
        catalogue.answer(driver.send(Scroll(10, 30, 900)))
        held.append(len(shown_files(driver)))
    driver.press("G")

    assert selected(driver) == "d029/f029999.log"
    assert max(held) == PAGES * PAGE_ROWS
    assert "30,000 of 30,000" in driver.text()


def test_the_ends_of_a_long_list_are_one_key_away_and_the_place_is_told() -> None:
    driver, catalogue = discover(many(12_000))
    driver.text()
    catalogue.answer(driver.press("G"))
    at_end = selected(driver)
    told = driver.text()
    for _ in range(300):
        catalogue.answer(driver.press("pgup"))
    above = selected(driver)
    catalogue.answer(driver.press("g"))

    assert at_end == "d011/f011999.log"
    assert "12,000 of 12,000" in told
    assert above == "d005/f005999.log" or above < "d007"
    assert selected(driver) == "d000/f000000.log"


def test_a_finished_scan_refreshes_list_and_counts_without_moving_the_cursor() -> None:
    driver, catalogue = discover()
    catalogue.answer(driver.press("j", "j"))
    before = selected(driver)
    line = next(at for at, text in enumerate(driver.lines()) if "▸·" in text or "▸✗" in text)
    catalogue.files = sorted([*catalogue.files, file(0, "aaa/first.log"), file(9, "cme/c.log")], key=lambda row: row[1])
    driver.event("ScanFinished", scan_id="1", complete=True, files=8, bytes=1, unchanged=6, unreadable=0, seconds=1.0)
    driver.tick(3)
    catalogue.answer(driver.shell.settle())

    assert selected(driver) == before
    assert len(shown_files(driver)) == len(FEW) + 2
    assert next(at for at, text in enumerate(driver.lines()) if "▸·" in text or "▸✗" in text) in (line, line + 2)


def test_many_ended_jobs_cause_one_refresh_in_two_seconds() -> None:
    driver, catalogue = discover()
    driver.tick(3)
    catalogue.answer(driver.shell.settle())
    asked: Effects = []
    for number in range(100):
        driver.event("JobCancelled", job_id=f"{number:016x}", reason="")
        asked += driver.shell.settle()

    assert [effect for effect in asked if effect in (SOURCES, LABELS)] == [SOURCES, LABELS]


def test_search_finds_a_file_and_a_click_selects_one() -> None:
    driver, catalogue = discover()
    driver.press("/")
    driver.write("NOTES")
    driver.press("enter")
    found = selected(driver)
    row = next(at for at, line in enumerate(driver.lines()) if "results.hl7" in line)
    catalogue.answer(driver.send(Click(row, 30)))

    assert found == "nyse/notes.txt"
    assert selected(driver) == "results.hl7"


# --- looking into files -----------------------------------------------------------------------------------------------


def test_one_look_at_a_time_and_then_the_file_on_which_the_cursor_rests() -> None:
    driver, catalogue = discover()
    first = next(effect for effect in driver.effects if isinstance(effect, RunCommand))
    moved = driver.press("j", "j", "j")
    catalogue.answer(moved)
    assert not [effect for effect in moved if isinstance(effect, RunCommand)]
    driver.send(Output(first.tag, json.dumps(LOOK)))
    (second,) = driver.send(Ended(first.tag, 0))

    assert first.args == ("preview", "/data/cme/b.log", "--json", "--hex", "-n", "100")
    assert isinstance(second, RunCommand)
    assert second.args[1] == "/data/nyse/notes.txt"
    assert not first.is_logged


def test_a_file_is_shown_as_records_text_bytes_and_by_its_history() -> None:
    driver, _ = discover()
    look(driver, driver.effects)
    records = driver.text(120, 40)
    driver.press("v")
    text = driver.text(120, 40)
    driver.press("v")
    in_hex = driver.text(120, 40)
    driver.press("v")
    about = driver.text(120, 40)

    assert "22 s\\x1bell" in records
    assert "2 1,buy" in text
    assert "69 64 2c 73" in in_hex
    assert "INVALID_DATA: row 42" in about
    assert "venue     nyse" in about


def test_a_look_that_fails_says_why() -> None:
    driver, _ = discover()
    run = next(effect for effect in driver.effects if isinstance(effect, RunCommand))
    driver.send(Ended(run.tag, 2, "casparian: /data/cme/b.log cannot be read: Permission denied.\n  Name another.\n"))

    assert "Permission denied" in driver.text(200, 60)


# --- what is done with files ------------------------------------------------------------------------------------------


def test_enter_offers_the_parsers_of_the_files_tags_first_and_tests_one_at_the_bench() -> None:
    driver, _ = discover()
    driver.press("enter")
    offered = [line for line in driver.lines() if "test " in line]
    driver.write("test fix")
    run = only_command(driver.press("enter"))

    assert "test fix 1.0.0" in offered[0]
    assert run.args == ("run", "fix@1.0.0", "/data/cme/b.log", "--json", "--contained")
    assert driver.shell.mode == "bench"


def test_a_tag_is_an_operation_that_can_be_taken_back() -> None:
    driver, _ = discover()
    driver.press("t")
    driver.write("urgent")
    (ask,) = driver.press("enter")
    assert isinstance(ask, RunOperation)
    driver.done(ask, tag="urgent", files=1)
    (undo,) = driver.press("U")

    assert ask.cli == "casparian tag /data/cme/b.log urgent"
    assert (ask.op, ask.call.packed()["remove"]) == ("tag", False)
    assert isinstance(undo, RunOperation)
    assert (undo.call.packed()["file_ids"], undo.call.packed()["remove"]) == ([FEW[0][0]], True)


def test_a_file_that_was_never_read_is_tagged_by_the_command_which_digests_it() -> None:
    unread = (*FEW[0][:7], False, "")
    driver, _ = discover([unread])
    driver.press("t")
    driver.write("urgent")

    assert only_command(driver.press("enter")).args == ("tag", "/data/cme/b.log", "urgent")


def test_what_is_no_tag_is_refused_with_the_reason() -> None:
    driver, _ = discover()
    driver.press("t")
    driver.write("a,b")

    assert driver.press("enter") == []
    assert "is not a valid tag" in driver.text()


def test_tagging_all_asks_with_the_number_and_many_files_go_through_the_command() -> None:
    driver, catalogue = discover(many(1_000))
    driver.press("f")
    driver.write("f0009")
    catalogue.answer(driver.press("enter"))
    driver.press("T")
    driver.write("late")
    driver.press("enter")
    assert "Put the tag “late” on 100 files?" in driver.text()
    (few,) = driver.press("enter")
    catalogue.answer(driver.press("F"))
    driver.press("T")
    driver.write("late")
    driver.press("enter")
    assert "Put the tag “late” on 1,000 files?" in driver.text()

    assert isinstance(few, RunOperation)
    assert len(few.call.packed()["file_ids"]) == 100
    assert only_command(driver.press("enter")).args == ("tag", "--under", "/", "late")


def test_a_scan_tells_its_progress_and_its_result() -> None:
    driver, _ = discover()
    assert [effect.path for effect in driver.press("s") if isinstance(effect, ListDirectory)] == ["."]
    driver.write("/data/new")
    run = only_command(driver.press("enter"))
    driver.send(Output(run.tag, '{"progress": {"files": 1200, "seconds": 0.5}}\n{"progr'))
    running = driver.text()
    driver.send(Output(run.tag, 'ess": {"files": 2400, "seconds": 1.0}}\n'))
    later = driver.text()
    driver.send(Output(run.tag, '{"files": 2500, "bytes": 10, "new": 7, "unchanged": 2493, "is_complete": true}\n'))
    driver.send(Ended(run.tag, 0))

    assert run.args == ("scan", "/data/new", "--progress", "--json")
    assert "1,200 files" in running
    assert "2,400 files" in later
    assert "2,500 files, 10 B: 7 new, 2,493 unchanged" in driver.text()


def test_a_scan_can_be_stopped_and_a_chosen_source_is_scanned_by_the_daemon() -> None:
    driver, catalogue = discover()
    driver.press("s")
    driver.write("/data/new")
    run = only_command(driver.press("enter"))
    assert driver.press("c") == [StopCommand(run.tag)]
    driver.press("1")
    catalogue.answer(driver.write("desk"))
    catalogue.answer(driver.press("enter"))
    driver.press("s")
    (ask,) = driver.press("enter")

    assert isinstance(ask, RunOperation)
    assert (ask.op, ask.call.packed(), ask.cli) == ("rescan", {"source": "s1"}, "casparian source rescan desk")


# --- the rule explorer ------------------------------------------------------------------------------------------------


def explore(driver: Driver, catalogue: Catalogue) -> None:
    catalogue.answer(driver.press("e"))


def retype(driver: Driver, catalogue: Catalogue, pattern: str) -> None:
    driver.press("ctrl-u")
    for key in pattern:
        catalogue.answer(driver.press(key))


def test_folders_lead_to_a_pattern_and_escape_leads_back_out() -> None:
    driver, catalogue = discover()
    explore(driver, catalogue)
    assert "nyse/" in driver.text()
    catalogue.answer(driver.press("enter"))
    assert "[focused]" in driver.text()
    catalogue.answer(driver.press("e"))
    assert screen(driver).explorer.pattern == "nyse/**"
    driver.press("esc", "esc")

    assert not screen(driver).explorer.is_open


def test_matches_appear_as_the_pattern_is_typed_with_counts_by_folder_and_exclusions() -> None:
    driver, catalogue = discover()
    explore(driver, catalogue)
    catalogue.answer(driver.press("e"))
    retype(driver, catalogue, "**/{name}.log")
    matcher = screen(driver).explorer.matcher
    assert (matcher.matched, dict(matcher.folders)) == (3, {"cme/": 1, "nyse/": 2})
    assert "name=b" in driver.text(120, 40)
    driver.press("tab")
    for key in "cme/**":
        catalogue.answer(driver.press(key))

    assert (matcher.matched, dict(matcher.excluded)) == (2, {"cme/**": 1})
    assert "1 excluded by cme/**" in driver.text()


def test_a_pattern_that_cannot_be_read_says_why_while_it_is_typed() -> None:
    driver, catalogue = discover()
    explore(driver, catalogue)
    catalogue.answer(driver.press("e"))
    retype(driver, catalogue, "{date:%Q}/*.log")

    assert "%Q is not one of" in driver.text()
    assert screen(driver).explorer.matcher.matched == 0


def test_every_slice_is_bounded_and_a_newer_pattern_drops_the_older_one() -> None:
    driver, catalogue = discover(many(12_000))
    explore(driver, catalogue)
    catalogue.answer(driver.press("e"))
    catalogue.asked.clear()
    (first,) = (effect for effect in driver.press("backspace") if isinstance(effect, RunQuery))
    fresh = driver.press("7")
    old = driver.send(Answer(first.tag, driver.seq, [{"path": "/data/x", "id": "1", "rel_path": "x"}]))
    catalogue.answer(fresh)

    assert old == []
    assert len([query for query in catalogue.asked if query.tag[1] == "match"]) == 3
    assert all(asked(query).limit <= PAGE_ROWS for query in catalogue.asked if query.tag[1] == "match")
    assert screen(driver).explorer.matcher.seen == 12_000
    assert screen(driver).explorer.matcher.is_done


def test_a_pattern_with_plain_folders_and_an_extension_asks_for_such_files_only() -> None:
    driver, catalogue = discover()
    explore(driver, catalogue)
    catalogue.answer(driver.press("e"))
    catalogue.asked.clear()
    retype(driver, catalogue, "nyse/2024/*.log")

    assert asked(catalogue.asked[-1]).filter == FileFilter(starts_with="nyse/2024/", ends_with=".log")


def test_a_rule_is_tested_over_all_files_and_saved_once_confirmed() -> None:
    driver, catalogue = discover()
    explore(driver, catalogue)
    catalogue.answer(driver.press("e"))
    retype(driver, catalogue, "**/*.log")
    assert driver.press("enter") == []
    assert "Which tag?" in driver.text()
    driver.write("fix")
    test = only_command(driver.press("enter"))
    matches = [{"path": "cme/b.log", "fields": {}}]
    driver.send(Output(test.tag, json.dumps({"files": 6, "matched": 3, "matches": matches})), Ended(test.tag, 0))
    assert "3 of 6 known files match" in driver.text(120, 40)
    driver.press("enter")
    assert "3 known files of all sources get the tag “fix”" in driver.text(120, 40)
    save = only_command(driver.press("enter"))
    driver.send(Ended(save.tag, 0, "rule 3f2a91c0: 3 known files tagged fix\n"))

    assert test.args == ("rule", "test", "--limit", "200", "--json", "--", "**/*.log")
    assert save.args == ("rule", "add", "--", "**/*.log", "fix")
    assert "3 known files tagged fix" in driver.text()
    assert not screen(driver).explorer.is_open


def test_a_typed_rule_is_asked_about_before_quitting() -> None:
    driver, catalogue = discover()
    explore(driver, catalogue)
    catalogue.answer(driver.press("e"))
    retype(driver, catalogue, "*.log")
    driver.press("ctrl-c")

    assert "Quit? What you typed in Discover is not saved." in driver.text()


def test_in_the_past_only_what_events_tell_is_shown_and_nothing_is_asked_of_the_present() -> None:
    driver, _ = discover()
    (load,) = driver.press("ctrl-t")
    assert isinstance(load, LoadPast)
    driver.send(PastEvents(load.tag, tuple(driver.log)), Ended(load.tag, 0))
    asked = [effect for key in ("t", "s", "e", "1", "enter") for effect in driver.press(key)]
    text = driver.text()

    assert asked == []
    assert "Files, as the events up to here show" in text
    assert "desk" in text
    assert "cme/b.log" not in text


# --- how it looks -----------------------------------------------------------------------------------------------------


def test_hostile_names_are_harmless() -> None:
    driver, catalogue = discover()
    catalogue.answer(driver.press("j", "j"))
    text = driver.text(200, 60)

    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "evil\\x1b[31m" in text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_discover_at_its_sizes(width: int, height: int) -> None:
    driver, catalogue = discover()
    look(driver, driver.effects)
    matches_snapshot(driver.text(width, height), f"discover_{width}x{height}")
    driver.press("1")
    matches_snapshot(driver.text(width, height), f"discover_choosing_{width}x{height}")
    driver.press("esc")
    explore(driver, catalogue)
    catalogue.answer(driver.press("e"))
    retype(driver, catalogue, "**/{name}.log")
    matches_snapshot(driver.text(width, height), f"discover_rule_{width}x{height}")


def test_discover_without_unicode() -> None:
    driver, _ = discover(is_ascii=True)
    look(driver, driver.effects)
    text = driver.text(80, 24)

    assert text.isascii()
    matches_snapshot(text, "discover_ascii_80x24")


def test_enter_on_a_file_leads_to_its_jobs_in_jobs_mode_and_escape_to_all_of_them() -> None:
    driver, catalogue = discover()
    fail(driver, run_job(driver, 1, path="/data/cme/b.log"))
    fail(driver, run_job(driver, 2, path="/data/nyse/other.log"))
    catalogue.answer(driver.tick(5))
    catalogue.answer(driver.shell.settle())
    driver.press("enter")
    driver.write("its jobs, in")
    driver.press("enter")

    assert driver.shell.mode == "jobs"
    assert "1 of 2 jobs failed" in driver.text()
    driver.press("esc")
    assert "1 of 2" not in driver.text()
