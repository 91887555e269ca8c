"""The table of actions as people see it: names of keys, rows of the footer, and why a key did nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_console.canvas import line_width, plain
from casparian_console.screen import (
    Action,
    existing,
    footer_entries,
    footer_rows,
    idle_words,
    key_name,
    keys_of,
    matches,
)


def action(label: str = "retry", *keys: str, weight: int = 50, needs: str = "", help: str = "Retry the job") -> Action:
    return Action(f"jobs.{label}", keys or ("r",), label, help, lambda s, c: [], weight=weight, needs=needs)


LABELS = st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=1, max_size=12)
ACTIONS = st.lists(st.builds(action, LABELS, st.sampled_from("abcxyz"), weight=st.integers(0, 9)), max_size=12)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("r", "r"), ("R", "R"), ("esc", "Esc"), (" ", "Space"), ("pgdn", "PgDn"), ("s-tab", "Shift-Tab"),
        ("ctrl-p", "Ctrl-P"), ("alt-h", "Alt-h"), ("alt-left", "Alt-Left"), ("f1", "F1"), ("home", "Home"),
    ],
)  # fmt: skip
def test_a_key_is_named_as_people_write_it(key: str, name: str) -> None:
    assert key_name(key) == name


def test_an_action_has_all_its_keys_and_only_if_its_operation_exists() -> None:
    both, future = action("quit", "q", "ctrl-q"), action("backtest", "b", needs="backtest")

    assert keys_of(both) == "q Ctrl-Q"
    assert [each.id for each in existing([both, future, action("cancel", "c", needs="cancel")])] == [
        "jobs.quit",
        "jobs.cancel",
    ]
    assert matches([both, future], "ctrl-q") == [both]


@given(ACTIONS, st.integers(0, 120))
def test_the_footer_fits_keeps_its_order_and_gives_up_the_lightest_first(actions: list[Action], width: int) -> None:
    kept = [each for each, _ in footer_entries(actions, width)]

    assert sum(line_width(entry) for _, entry in footer_entries(actions, width)) <= width
    assert kept == [each for each in actions if any(each is one for one in kept)]
    dropped = [each for each in actions if each.weight and not any(each is one for one in kept)]
    assert max((each.weight for each in dropped), default=0) <= min((each.weight for each in kept), default=9)


@given(ACTIONS, st.integers(24, 120), st.integers(1, 3))
def test_each_row_of_the_footer_fits_and_an_empty_one_is_above(actions: list[Action], width: int, rows: int) -> None:
    found = footer_rows(actions, width, rows)

    assert len(found) == rows
    assert all(sum(line_width(entry) for _, entry in row) <= width for row in found)
    filled = [bool(row) for row in found]
    assert filled == sorted(filled)
    listed = [each for row in found for each, _ in row]
    assert [each.id for each in listed] == [
        each.id for each, _ in footer_entries(actions, rows * width - (rows - 1) * 24)
    ]


def test_an_entry_of_the_footer_is_its_key_and_its_label() -> None:
    ((_, entry),) = footer_entries([action("retry", "r", "R")], 80)

    assert plain(entry) == " r retry "


def test_a_key_that_does_nothing_says_what_it_would_do() -> None:
    retry = action("retry", "R", help="Let a failed job try again")
    pane = action("pane", "tab", help="Monitoring: the next panel")

    assert idle_words(retry, "on a finished job") == (
        "R (retry) does nothing on a finished job. It would let a failed job try again."
    )
    assert idle_words(pane, "here") == "Tab (pane) does nothing here. Monitoring: the next panel."
