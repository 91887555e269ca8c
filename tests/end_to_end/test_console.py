"""The console on a real terminal, beside a real daemon with real jobs. One daemon, one story in order."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.end_to_end.screens import Screen, has_tmux
from tests.end_to_end.world import World, advice, lines
from tests.ending import words_of

pytestmark = pytest.mark.skipif(not has_tmux(), reason="tmux is not installed, and it is what stands for a terminal")


@pytest.fixture(scope="module")
def daemon(story: World) -> Iterator[World]:
    """A home with one published file, and its daemon."""
    story.run("init")
    story.register(advice())
    story.write("good.txt", lines(20, bad=[3]))
    story.scan()
    story.serve(workers=1)
    story.run("process")
    yield story
    story.run("stop")


@pytest.fixture(scope="module")
def screen(daemon: World) -> Iterator[Screen]:
    with Screen("main") as screen:
        screen.start(daemon.command("console"))
        yield screen


def test_it_is_soon_live_and_tells_what_is_there(screen: Screen) -> None:
    screen.wait("live @")
    screen.wait(lambda text: "1 complete" in text and "1 quarantined" in text)
    assert len(screen.lines()) == 40


def test_keys_change_the_mode_and_a_lone_esc_leaves_it_at_once(screen: Screen) -> None:
    took = []
    for _ in range(3):
        screen.press("?")
        screen.wait("Keys: Home")

        screen.press("Escape")
        took.append(screen.wait(lambda text: "Keys: Home" not in text))
    assert min(took) < 0.5  # of 1.5 s that prompt_toolkit takes unless told otherwise; a busy machine may disturb one

    screen.press("M-j")
    screen.wait(lambda text: "1 complete" not in text)
    screen.press("Escape")
    screen.wait("1 complete")


def test_a_new_failure_appears_without_being_asked_for(daemon: World, screen: Screen) -> None:
    daemon.write("bad.txt", "!boom\n")
    daemon.scan()
    daemon.run("process", status=1)
    screen.wait("1 failed")


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 60), (120, 40)])
def test_it_follows_the_size_of_the_window(screen: Screen, columns: int, rows: int) -> None:
    def fills(text: str) -> bool:
        lines = text.split("\n")
        return len(lines) == rows and "help" in lines[-1] and "live @" in lines[0] and len(lines[0]) >= columns - 2

    screen.resize(columns, rows)
    screen.wait(fills)


def test_a_killed_sentinel_is_said_and_a_new_one_is_found(daemon: World, screen: Screen) -> None:
    killed = daemon.daemon_pid()
    os.kill(killed, signal.SIGKILL)
    took = screen.wait("no daemon")
    assert took < 3.0  # silence alone would take that long
    assert "1 failed" in screen.text()  # the last state stays

    daemon.serve(workers=1)
    screen.wait("live @")
    assert "1 failed" in screen.text()


def test_a_stopped_sentinel_is_not_said_to_be_lost(daemon: World, screen: Screen) -> None:
    daemon.run("stop")
    screen.wait("The daemon was stopped.")

    daemon.serve(workers=1)
    screen.wait("live @")


def test_a_mute_sentinel_is_said_to_be_silent(daemon: World, screen: Screen) -> None:
    os.kill(daemon.daemon_pid(), signal.SIGSTOP)
    try:
        screen.wait("silent")
    finally:
        os.kill(daemon.daemon_pid(), signal.SIGCONT)
    screen.wait("live @")


def test_ctrl_c_ends_it_and_restores_the_terminal(screen: Screen) -> None:
    assert screen.asks("#{alternate_on} #{mouse_any_flag}") == "1 1"

    screen.press("C-c")
    screen.wait("gone 0")

    assert screen.asks("#{alternate_on} #{mouse_any_flag} #{cursor_flag}") == "0 0 1"
    screen.write("echo still $((40 + 2))")
    screen.press("Enter")
    screen.wait("still 42")
    assert "NDELAY" not in screen.text()  # what a shell says that finds its terminal changed


def test_no_color_is_obeyed_an_ended_process_restores_its_terminal_and_a_pipe_is_refused(daemon: World) -> None:
    with Screen("plain", 80, 24) as screen:
        screen.start(daemon.command("console"), {"NO_COLOR": "1"})
        screen.wait("live @")
        assert "\x1b[38" not in screen.colours()
        assert "\x1b[48" not in screen.colours()
        console = next(one for one in daemon.processes() if "console" in words_of(one))
        console.terminate()
        screen.wait("gone 0")
        assert screen.asks("#{alternate_on} #{mouse_any_flag}") == "0 0"
    assert "needs a terminal" in daemon.run("console", status=2).stderr
