"""A double click is a click and Enter, on every list of every mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from casparian_console.messages import Click
from tests.console.driving import Driver
from tests.console.jobs_scene import work_day
from tests.console.test_bench import bench
from tests.console.test_discover import discover
from tests.console.test_home import busy


def _home() -> Driver:
    return busy(Driver())


def _approvals() -> Driver:
    driver = busy(Driver())
    driver.press("A")
    return driver


def _discover() -> Driver:
    return discover()[0]


def _jobs() -> Driver:
    driver = work_day()
    driver.press("alt-j")
    return driver


@pytest.mark.parametrize(
    ("scene", "words", "column"),
    [
        (_home, "2 jobs failed", 10),
        (_home, "fix 1.0.0 is paused", 10),
        (_approvals, "fix_orders", 10),
        (_discover, "results.hl7", 40),
        (bench, "hl7 2.0.0", 10),
        (bench, "orders.py", 10),
        (_jobs, "mail 2.0.0", 20),
    ],
)
def test_a_double_click_does_what_a_click_and_enter_do(scene: Callable[[], Driver], words: str, column: int) -> None:
    found = []
    for ending in ([Click], ["enter"]):
        driver = scene()
        row = next(at for at, line in enumerate(driver.lines(120, 40)) if words in line)
        driver.send(Click(row, column))
        driver.lines(120, 40)
        asked = driver.send(Click(row, column, 2)) if ending == [Click] else driver.press("enter")
        found.append((asked, driver.text(120, 40)))
    assert found[0] == found[1]
    assert found[0][0] or found[0][1] != scene().text(120, 40), "it does something"
