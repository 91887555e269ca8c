"""What a wide or tall terminal shows beside what every terminal shows."""

from __future__ import annotations

import pytest

from casparian_console.messages import Click
from casparian_console.screens.jobs import Jobs
from tests.console.driving import Driver
from tests.console.jobs_scene import work_day


@pytest.fixture
def day() -> Driver:
    driver = work_day()
    driver.metric("throughput", rows_per_second=5.0, bytes_per_second=0.0)
    driver.tick(10)
    return driver


def jobs_of(driver: Driver) -> Jobs:
    screen = driver.shell.screens["jobs"]
    assert isinstance(screen, Jobs)
    return screen


@pytest.mark.parametrize(("width", "is_shown"), [(159, False), (160, True), (200, True)])
def test_home_shows_queue_throughput_and_workers_at_its_side_where_there_is_room(
    day: Driver, width: int, is_shown: bool
) -> None:
    text = day.text(width, 50)

    for title in ("─ QUEUE ─", "─ THROUGHPUT ─", "─ WORKERS ─"):
        assert (title in text) is is_shown, title
    assert "Needs a person" in text


@pytest.mark.parametrize(("width", "is_open"), [(120, False), (160, True)])
def test_the_detail_of_the_selected_job_is_open_by_itself_where_there_is_room(
    day: Driver, width: int, is_open: bool
) -> None:
    day.lines(width, 50)
    day.press("alt-j")

    assert ("INPUT" in day.text(width, 50)) is is_open


def test_a_detail_that_was_closed_stays_closed_on_a_wide_terminal(day: Driver) -> None:
    day.lines(200, 50)
    day.press("alt-j", "enter", "esc", "esc")
    assert not jobs_of(day).detail.is_open
    day.press("alt-h", "alt-j")

    assert "INPUT" not in day.text(200, 50)


def test_escape_leaves_jobs_though_the_detail_has_opened_by_itself(day: Driver) -> None:
    day.lines(200, 50)
    day.press("alt-j")
    day.lines(200, 50)
    day.press("esc")

    assert day.shell.mode == "home"


def test_enter_on_a_detail_that_is_open_already_goes_into_it(day: Driver) -> None:
    day.lines(200, 50)
    day.press("alt-j", "enter")

    assert jobs_of(day).part == "detail"


def test_a_blank_line_stands_between_cards_on_a_tall_terminal_only(day: Driver) -> None:
    day.press("alt-j")
    short, tall = day.lines(100, 30), day.lines(100, 50)
    card = next(at for at, line in enumerate(short) if "GUEST_CRASHED" in line)
    assert short[card + 2].strip().startswith("✗")
    card = next(at for at, line in enumerate(tall) if "GUEST_CRASHED" in line)
    assert not tall[card + 2].strip()


def test_a_tall_terminal_has_two_rows_of_keys_and_a_click_on_the_second_is_its_key(day: Driver) -> None:
    day.press("alt-j")
    one, two = day.lines(100, 30), day.lines(100, 40)
    assert "filter" in one[-1] and "log" in two[-2]
    words = two[-2] + two[-1]
    assert len(words.split()) > len(one[-1].split())
    assert "? help" in two[-1]
    day.send(Click(39, two[-1].index("help")))
    assert "Keys: Jobs" in day.text(100, 40)


def test_names_of_outputs_leave_their_numbers_within_sight_on_a_wide_terminal() -> None:
    driver = Driver()
    driver.snapshot()
    row = ("fix_orders", "fix", 1, 5_680, 1000, 12, 132, driver.now_us)
    columns = ("name", "parser", "version", "rows", "bytes", "files", "quarantined", "last_commit")
    driver.answer(("facts", "outputs"), columns, [row])
    driver.press("alt-i")
    line = next(line for line in driver.lines(200, 50) if "fix_orders" in line)

    assert line.index("5,680") < 100
