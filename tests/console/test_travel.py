"""Standing in the past: what is shown there, how one moves and plays, and that the present goes on and is there again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from casparian_console.facts.jobs import Standing
from casparian_console.history import KEPT, History, Past
from casparian_console.listing import Cursor
from casparian_console.messages import Effect, Ended, Heard, LoadPast, PastEvents, StopCommand
from casparian_console.screen import Screen
from casparian_console.travel import ACTIONS, Places
from casparian_protocol.feed import FeedEvent
from casparian_protocol.wire.operations.daemon import Snapshot
from tests.console.driving import SECOND_US, Driver, complete, fail, job_id, matches_snapshot, queued, run_job
from tests.console.events import whole


class Traveller(Driver):
    """A console with a log to go back in; it answers `LoadPast` from what was heard."""

    def __init__(self, **settings: bool) -> None:
        super().__init__(**settings)
        self.snapshot()

    def travel(self, *, chunk_events: int = 3) -> None:
        self.tick(0)  # the driver's events alone do not tell the console the time
        self.read(self.press("ctrl-t"), chunk_events=chunk_events)

    def leave_now(self) -> LoadPast:
        """Ask for the past, and leave it to the test what comes of that."""
        (asked,) = self.press("ctrl-t")
        assert isinstance(asked, LoadPast)
        return asked

    def read(self, effects: Sequence[Effect], *, chunk_events: int = 3) -> None:
        (asked,) = effects
        assert isinstance(asked, LoadPast)
        wanted = [event for event in self.log if event.seq >= asked.from_seq]
        for start in range(0, len(wanted), chunk_events):
            self.send(PastEvents(asked.tag, tuple(wanted[start : start + chunk_events])))
        self.send(Ended(asked.tag, 0))

    @property
    def at(self) -> int | None:
        return self.shell.past_seq

    def state_of(self, number: int) -> str:
        job = self.shell.facts.jobs.get(job_id(number))
        return job.state if job is not None else ""


def traveller(**settings: bool) -> Traveller:
    """Three jobs: one completes (events 1 to 5), one fails (6 to 9), one runs (10 to 12)."""
    driver = Traveller(**settings)
    complete(driver, run_job(driver, 1))
    fail(driver, run_job(driver, 2))
    run_job(driver, 3)
    return driver


def test_the_past_begins_at_the_end_and_goes_back_event_by_event() -> None:
    driver = traveller()
    driver.travel()
    assert driver.at == 12 and driver.state_of(3) == "RUNNING"

    driver.press("left")
    assert driver.at == 11 and driver.state_of(3) == "LEASED"
    driver.press("left", "left")
    assert driver.at == 9 and driver.state_of(3) == "" and driver.shell.facts.failed == 1
    driver.press("left")
    assert driver.state_of(2) == "RUNNING" and driver.shell.facts.failed == 0
    driver.press("right")
    assert driver.state_of(2) == "FAILED"


def test_the_past_has_ends_and_nothing_beyond() -> None:
    driver = traveller()
    driver.travel()
    driver.press("home")
    assert driver.at == 1
    driver.press("left", "ctrl-left")
    assert driver.at == 1 and driver.state_of(1) == "QUEUED"
    driver.press("ctrl-right", "right")
    assert driver.at == 12
    driver.press("home", "end")
    assert driver.at == 12


def test_esc_returns_to_now_which_went_on_meanwhile() -> None:
    driver = traveller()
    driver.travel()
    driver.press("home")
    fail(driver, job_id(3))
    assert driver.state_of(3) == "" and driver.shell.present.failed == 2

    driver.press("esc")

    assert driver.at is None and driver.state_of(3) == "FAILED"
    assert "PAST" not in driver.text()


def test_what_happens_meanwhile_extends_the_end() -> None:
    driver = traveller()
    driver.travel()
    driver.press("left")
    fail(driver, job_id(3))
    assert driver.at == 11
    driver.press("end")
    assert driver.at == 13 and driver.state_of(3) == "FAILED"


def test_what_happens_while_the_log_is_read_is_not_lost() -> None:
    driver = traveller()
    asked = driver.leave_now()
    read = tuple(driver.log)
    fail(driver, job_id(3))
    driver.send(PastEvents(asked.tag, read), Ended(asked.tag, 0))
    assert driver.at == 13 and driver.state_of(3) == "FAILED"


def test_after_a_gap_the_log_is_asked_for_what_is_missing() -> None:
    driver = traveller()
    driver.travel()
    driver.press("home")
    driver.log += [whole(seq, driver.now_us, "JobDue", {"job_id": job_id(3)}) for seq in (13, 14)]
    effects = [
        effect
        for effect in driver.send(Heard(Snapshot(seq=14, jobs=[], workers=[], totals={})))
        if isinstance(effect, LoadPast)
    ]
    assert effects[0].from_seq == 13
    driver.read(effects)
    assert driver.at == 1
    driver.press("end")
    assert driver.at == 14


def test_coming_again_asks_only_for_what_is_new() -> None:
    driver = traveller()
    driver.travel()
    driver.press("home", "esc")
    fail(driver, job_id(3))
    asked = driver.leave_now()
    assert asked.from_seq == 13
    driver.read([asked])
    assert driver.at == 13 and driver.state_of(3) == "FAILED"


def test_leaving_while_the_log_is_read_stops_it_and_late_stretches_are_ignored() -> None:
    driver = traveller()
    asked = driver.leave_now()
    assert "PAST  loading the log: 12 events to read; Esc stops it" in driver.text()
    driver.send(PastEvents(asked.tag, tuple(driver.log[:4])))
    assert "reading the log: 4 of 12 events (33 %)" in driver.text()
    driver.press("t")
    assert "The log is still being read: t (go to) works after that." in driver.text()

    assert driver.press("esc") == [StopCommand(asked.tag)]

    driver.send(PastEvents(asked.tag, tuple(driver.log[4:])), Ended(asked.tag, 0))
    assert driver.at is None and "PAST" not in driver.text()
    driver.travel()
    assert driver.at == 12 and driver.state_of(2) == "FAILED"


def test_that_the_log_is_being_read_is_said_only_until_it_is_read() -> None:
    driver = traveller()
    asked = driver.leave_now()
    driver.press("t")
    assert "still being read" in driver.text()
    driver.read([asked])
    assert "still being read" not in driver.text()
    driver.press("left")
    assert driver.at == 11


def test_a_log_that_cannot_be_read_is_said_and_now_stays() -> None:
    driver = traveller()
    asked = driver.leave_now()
    driver.send(Ended(asked.tag, 1, "the log is damaged at byte 7"))
    assert driver.at is None and not driver.shell.travel.is_on
    assert "The log cannot be read: the log is damaged at byte 7" in driver.text()


def test_a_hole_in_the_log_is_said() -> None:
    driver = traveller()
    asked = driver.leave_now()
    driver.send(PastEvents(asked.tag, (*driver.log[:3], *driver.log[5:])))
    assert driver.at is None
    assert "event 4 is missing before 6" in driver.text(120, 24)


def test_nothing_can_be_changed_in_the_past() -> None:
    driver = traveller()
    driver.travel()
    assert not driver.shell.can_change
    driver.press("esc")
    assert driver.shell.can_change


def test_brackets_follow_one_job_through_its_life() -> None:
    driver = Traveller()
    first = run_job(driver, 1)  # 1 2 3
    second = run_job(driver, 2)  # 4 5 6
    complete(driver, first)  # 7 8
    fail(driver, second)  # 9
    driver.travel()
    steps = []
    for key in ("[", "[", "[", "["):
        driver.press(key)
        steps.append(driver.at)
    assert steps == [6, 5, 4, 4]
    assert "Nothing happened to this job before this." in driver.text()
    driver.press("left", "]")
    assert driver.at == 7


@pytest.mark.parametrize(
    ("typed", "seq"),
    [
        ("5", 5),
        ("@1,0", 10),
        ("999", 12),
        ("-5s", 7),
        ("-1m", 1),
        ("2026-03-05T14:00:03Z", 3),
        ("2026-03-05T14:00:03.5+00:00", 3),
        ("14:00:08Z", 8),
    ],
)
def test_t_goes_to_a_sequence_or_a_time(typed: str, seq: int) -> None:
    driver = traveller()
    driver.travel()
    driver.press("t")
    driver.write(typed)
    driver.press("enter")
    assert driver.at == seq


@pytest.mark.parametrize("typed", ["soon", "2026-13-01", "25:00", "-", "9" * 15 + "-01-01"])
def test_what_is_no_time_is_said_and_nothing_moves(typed: str) -> None:
    driver = traveller()
    driver.travel()
    driver.press("left", "t")
    driver.write(typed)
    driver.press("enter")
    assert driver.at == 11
    assert driver.shell.message[1] == "bad"


def test_playing_keeps_the_times_of_the_log_at_its_speed() -> None:
    driver = traveller()  # an event a second
    driver.travel()
    driver.press("home", " ")
    driver.tick(0.5)
    assert driver.at == 1
    driver.tick(0.5)
    assert driver.at == 2
    driver.press("+")
    driver.tick(1.0)
    assert driver.at == 4
    driver.press(" ")
    driver.tick(5.0)
    assert driver.at == 4


def test_a_long_wait_is_cut_to_a_second_and_the_bar_says_so() -> None:
    driver = Traveller()
    driver.event("JobQueued", **queued(job_id(1)))
    driver.now_us += 3_600 * SECOND_US
    driver.event("JobQueued", **queued(job_id(2)))
    driver.event("JobQueued", **queued(job_id(3)))
    driver.travel()
    driver.press("home", " ")
    assert "waits max 1 s" in driver.text() and "waits cut to 1 s" in driver.text(120, 40)
    driver.tick(1.0)
    assert driver.at == 2


def test_playing_ends_at_the_end_and_asks_for_quick_ticks_only_until_then() -> None:
    driver = traveller()
    driver.travel()
    driver.press(" ")
    assert driver.shell.travel.tick_seconds is None and "end of the log" in driver.text()
    driver.press("left", " ")
    assert driver.shell.travel.tick_seconds == 0.1
    driver.tick(1.0)
    assert driver.at == 12 and driver.shell.travel.tick_seconds is None


def test_the_time_in_the_past_is_that_of_the_event() -> None:
    driver = traveller()
    driver.travel()
    driver.press("home")
    driver.tick(3600.0)
    assert driver.shell.facts.now_us == driver.log[0].ts


def test_keys_of_the_past_are_in_help_and_footer_only_there() -> None:
    driver = traveller()
    assert "before" not in "".join(driver.lines(120, 40)[-2:])
    driver.travel()
    assert "before" in "".join(driver.lines(120, 40)[-2:])
    driver.press("?")
    assert "Go to the previous event of the same job" in driver.text(120, 60)


def test_hostile_text_in_an_event_is_shown_harmless() -> None:
    driver = Traveller()
    driver.event("WorkerLost", worker_id="w\x1b[31m\u202ex", reason="")
    driver.travel()
    assert "\x1b" not in driver.text() and "\\x1b" in driver.text(120, 40)


class _Pane:
    def __init__(self) -> None:
        self.cursor = Cursor(3, 1, "c")


_Pane.__module__ = "casparian_console.screens.made_up"


class _Made(Screen):
    name = "made"

    def __init__(self) -> None:
        self.own = Cursor(5, 2, "e")
        self.panes = {"left": _Pane()}


_Made.__module__ = "casparian_console.screens.made_up"


def test_cursors_that_the_past_moved_are_put_back_and_those_that_a_person_moved_are_not() -> None:
    screens = {"left": _Made(), "right": _Made()}
    places = Places(screens)
    for screen in screens.values():
        screen.own.at, screen.own.identity = 0, "a"
        screen.panes["left"].cursor.identity = None
    places.moved("right")
    places.put_back()

    assert (screens["left"].own.at, screens["left"].own.identity) == (5, "e")
    assert screens["left"].panes["left"].cursor.identity == "c"
    assert screens["right"].own.identity == "a"


def test_a_long_log_is_stood_in_anywhere_as_if_it_were_folded_from_its_start() -> None:
    history = History()
    events = _long_log(3_000)
    for event in events:
        assert history.append(event)
    past = Past(history)
    past._stride = 100
    for seq in (9_000, 8_999, 1, 4_500, 4_499, 4_400, 8_000, 17, 9_000, 2):
        facts = past.go(seq)
        fresh = Past(history)
        assert facts.seq == seq
        assert facts.jobs.by_state == fresh.go(seq, is_passing=True).jobs.by_state
        assert {key: bucket.size for key, bucket in facts.jobs.buckets.items()} == {
            key: bucket.size for key, bucket in fresh.facts.jobs.buckets.items()
        }
    assert len(past._kept) <= KEPT
    assert [event.seq for event in history.events(700, 2_000)] == list(range(701, 2_001))


def _long_log(jobs: int) -> list[FeedEvent]:
    events: list[FeedEvent] = []
    for number in range(jobs):
        made = job_id(number)
        for kind, data in (
            ("JobQueued", queued(made)),
            ("JobLeased", {"job_id": made, "worker_id": "w", "attempt": 1, "sandbox": "none"}),
            ("JobCancelled", {"job_id": made, "reason": ""}),
        ):
            events.append(FeedEvent(len(events) + 1, len(events) * 1000, kind, 1, "test", data))
    return events


def test_a_clock_that_was_set_back_does_not_hide_events() -> None:
    history = History()
    for seq, at in enumerate((100, 200, 50, 300), 1):
        history.append(FeedEvent(seq, at, "IntakeResumed", 1, "test", {}))
    assert [history.last_at(at) for at in (10, 50, 100, 250, 300, 999)] == [0, 3, 3, 3, 4, 4]


def test_groups_of_the_past_stand_as_they_stood() -> None:
    driver = traveller()
    driver.travel()
    driver.press("home", "right", "right")
    assert [bucket.standing for bucket in driver.shell.facts.jobs.ordered()] == [Standing.RUNNING]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_the_bar_of_the_past(width: int, height: int) -> None:
    driver = traveller()
    driver.travel()
    driver.press("[", "+", "+")
    stopped = driver.lines(width, height)[1]
    driver.press("home", " ")
    playing = driver.lines(width, height)[1]
    matches_snapshot("\n".join(line.rstrip() for line in (stopped, playing)) + "\n", f"travel_bar_{width}x{height}")


def test_the_bar_speaks_ascii_where_the_rest_does() -> None:
    driver = traveller(is_ascii=True)
    driver.travel()
    assert driver.lines(80, 24)[1].isascii()


def test_a_selection_survives_the_past_in_which_its_row_was_not() -> None:
    driver = traveller()
    driver.press("alt-j")
    driver.lines()
    driver.press("j")
    driver.lines()
    selected = driver.shell.current.summary(driver.shell)
    driver.travel()
    driver.press("home")
    driver.lines()
    assert driver.shell.current.summary(driver.shell) != selected

    driver.press("esc")
    driver.lines()

    assert driver.shell.mode == "jobs"
    assert driver.shell.current.summary(driver.shell) == selected


def test_how_much_is_left_to_read_is_said_only_when_the_length_is_known() -> None:
    driver = traveller()
    asked = driver.leave_now()
    driver.shell.present.seq = 0  # no sentinel ever answered
    assert "PAST  loading the log; Esc stops it" in driver.text()
    driver.send(PastEvents(asked.tag, tuple(driver.log[:4])))
    assert "reading the log: 4 events; Esc stops it" in driver.text()


def test_places_are_chosen_for_the_length_of_the_log() -> None:
    history = History()
    for event in _long_log(100):
        history.append(event)
    for expected, kept in ((0, 4), (300, 4), (200 * KEPT, 2)):
        past = Past(history)
        past._stride = 100
        past.expect(expected)
        past.go(300, is_passing=True)
        assert len(past._kept) == kept, expected


def test_a_key_of_the_past_is_offered_once_and_for_what_it_does() -> None:
    driver = traveller()
    driver.press("alt-j")
    driver.travel()
    keys = [key for action in driver.shell.working() for key in action.keys]

    assert len(keys) == len(set(keys))
    assert "play" in "".join(driver.lines(120, 40)[-2:])
    assert "Space files" not in "".join(driver.lines(120, 40)[-2:])


def test_the_bar_of_the_past_is_one_strip() -> None:
    driver = traveller()
    driver.travel()
    for width in (80, 120, 200):
        assert {style.split()[0] for style, text in driver.shell.view(width, 40)[1] if text} == {"past"}


def test_what_a_key_of_the_past_would_do_is_a_sentence() -> None:
    for action in ACTIONS:
        assert action.help.split()[0] in {"Go", "Play"}, action.help
