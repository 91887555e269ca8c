"""The small parts that screens are made of: text, canvas, lists, fields, the table of actions."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_console.canvas import (
    ASCII,
    UNICODE,
    ago,
    as_ascii,
    box,
    clean,
    clip,
    clip_left,
    clock,
    columns_of,
    duration,
    fit,
    fuzzy,
    line_width,
    overlaid,
    pad,
    plain,
    short,
    size,
    sparkline,
    spread,
    width_of,
)
from casparian_console.editor import Editor
from casparian_console.listing import Cursor, Fixed
from casparian_console.overlays import wrapped
from casparian_console.screens import SCREENS
from casparian_console.shell_actions import ACTIONS
from tests.console.driving import NOW_US

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40).map(clean)
LINES = st.lists(st.tuples(st.sampled_from(["", "dim", "bad"]), TEXTS), max_size=5)


@given(TEXTS, st.integers(0, 30))
def test_clipped_and_padded_texts_have_the_width_that_was_asked_for(text: str, width: int) -> None:
    assert width_of(clip(text, width)) <= width
    assert width_of(clip_left(text, width)) <= width
    assert width_of(pad(text, width)) == width


@given(LINES, st.integers(0, 60))
def test_lines_are_fitted_and_cut_by_columns(line: list[tuple[str, str]], width: int) -> None:
    assert line_width(fit(line, width)) == width
    assert line_width(as_ascii(line)) == line_width(line)
    whole = line_width(line)
    cut = min(width, whole)
    assert line_width(columns_of(line, 0, cut)) == cut
    assert line_width(columns_of(line, cut)) == whole - cut


@given(st.lists(LINES, min_size=8, max_size=8), st.integers(10, 30))
def test_a_box_above_a_frame_keeps_the_frames_shape(lines: list[list[tuple[str, str]]], width: int) -> None:
    frame = [fit(line, width + 10) for line in lines]
    drawn = box([[("", "inside")]], width, 4, UNICODE, title="A title that is rather long")
    assert {line_width(line) for line in drawn} == {width}

    assert {line_width(line) for line in overlaid(frame, drawn, width + 10)} == {width + 10}


def test_the_right_of_a_spread_line_wins() -> None:
    assert plain(spread([("", "left side")], [("", "right")], 10)) == "left…right"


def test_sparklines_scale_to_the_window_and_are_flat_in_the_middle() -> None:
    assert sparkline([0, 1, 2, 3], 4, UNICODE) == " ▂▅▇"
    assert sparkline([5, 5], 4, UNICODE) == "  ▄▄"
    assert sparkline([0, 4], 2, ASCII) == ".#"


def test_numbers_are_written_for_people() -> None:
    assert [short(842), short(12_345), short(4_100_000)] == ["842", "12.3K", "4.1M"]
    assert [size(512), size(8_500_000)] == ["512 B", "8.1 MiB"]
    assert [duration(0.42), duration(12), duration(365), duration(7800)] == ["0.42 s", "12 s", "6m 05s", "2h 10m"]
    assert [ago(0, 5), ago(1, 1_000_000), ago(1, 130_000_000)] == ["", "now", "2m ago"]


def test_a_cursor_stays_on_its_row_and_the_window_where_it_was() -> None:
    cursor = Cursor()
    rows = [f"r{n}" for n in range(100)]
    cursor.select(Fixed(rows), 50, 10)
    place_on_screen = cursor.at - cursor.top

    cursor.settle(Fixed(["new", "newer", *rows]), 10)

    assert (cursor.identity, cursor.at, cursor.at - cursor.top) == ("r50", 52, place_on_screen)


def test_a_cursor_whose_row_is_gone_takes_the_one_that_came_up() -> None:
    cursor = Cursor()
    cursor.select(Fixed(["a", "b", "c"]), 1, 10)
    cursor.settle(Fixed(["a", "c"]), 10)
    assert cursor.identity == "c"
    cursor.settle(Fixed([]), 10)
    assert cursor.at == 0


@given(
    st.lists(st.sampled_from(["j", "k", "g", "G", "pgup", "pgdn"]), max_size=20), st.integers(0, 30), st.integers(1, 12)
)
def test_a_cursor_never_leaves_its_rows_nor_the_window(keys: list[str], length: int, height: int) -> None:
    cursor, rows = Cursor(), Fixed(range(length))
    for key in keys:
        cursor.move(key, rows, height)
    cursor.settle(rows, height)
    assert 0 <= cursor.top <= cursor.at <= max(0, length - 1)
    assert cursor.at < cursor.top + height


def test_a_search_goes_around_the_end() -> None:
    cursor, names = Cursor(), ["alpha", "beta", "alphabet"]
    rows = Fixed(names)
    cursor.pattern = "ALPHA"
    places = []
    for _ in range(3):
        cursor.search(rows, names.__getitem__, 10)
        places.append(cursor.at)
    assert places == [2, 0, 2]


@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                "é",
                "界",
                " ",
                "left",
                "right",
                "home",
                "end",
                "backspace",
                "delete",
                "ctrl-w",
                "ctrl-u",
                "ctrl-k",
                "up",
                "down",
                "alt-enter",
            ]
        ),
        max_size=40,
    )
)
def test_a_field_takes_any_keys_and_always_draws_within_its_width(keys: list[str]) -> None:
    editor = Editor(is_multiline=True)
    for key in keys:
        editor.handle(key)
        assert 0 <= editor.cursor <= len(editor.text)
        assert line_width(editor.line(8)) <= 8
        assert all(line_width(line) <= 8 for line in editor.lines(8, 3))


def test_a_field_remembers_what_was_typed_before() -> None:
    editor = Editor()
    for text in ("one", "two"):
        editor.set(text)
        editor.remember()
    editor.set("")
    editor.handle("up")
    editor.handle("up")
    assert editor.text == "one"
    editor.handle("down")
    assert editor.text == "two"


def test_pasted_text_cannot_move_the_terminal() -> None:
    editor = Editor()
    editor.insert("select\n1\x1b[2J")
    assert editor.text == "select 1\\x1b[2J"


def test_every_action_has_a_name_a_key_and_a_help() -> None:
    tables = [(kind.name, kind.ACTIONS) for kind in SCREENS] + [("shell", ACTIONS)]
    for owner, actions in tables:
        names = [action.id for action in actions]
        assert len(names) == len(set(names)), (owner, names)
        for action in actions:
            assert action.owner == owner
            assert action.keys, action.id
            assert action.label, action.id
            assert len(action.help) > 5, action.id


def test_letters_in_order_match_and_word_starts_match_best() -> None:
    assert fuzzy("xyz", "retry the job") is None
    assert (fuzzy("rj", "retry job") or 0) < (fuzzy("rj", "carry ajar") or 0)


@given(TEXTS, st.integers(2, 40))
def test_wrapped_text_never_is_wider_than_asked_for_and_loses_nothing(text: str, width: int) -> None:
    lines = [plain(line) for line in wrapped(text, width)]

    assert all(width_of(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == clean(text).replace(" ", "")


def test_times_are_utc_and_say_so_whatever_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert clock(NOW_US) == "2026-03-05 14:00:00Z"
    finally:
        monkeypatch.undo()
        time.tzset()
