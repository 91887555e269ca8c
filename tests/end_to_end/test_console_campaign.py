"""The console where it is hard: a terminal that stands still, hostile names and logs, a hundred thousand jobs."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.world import daemon, new_home, pretend_files, queue_no_op, register_no_op
from casparian_protocol.client import Client
from casparian_protocol.home import Home
from casparian_protocol.queries.files import FileSums
from tests.end_to_end.screens import Screen, has_tmux
from tests.end_to_end.world import World, advice, lines

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.skipif(not has_tmux(), reason="tmux is not installed, and it is what stands for a terminal"),
]
#: Escape sequences, a bidi override, a zero-width space, a wide character, a newline.
HOSTILE = "evil\x1b[2J\x1b]0;owned\x07\u202egnp.\u200b界\nnext"
LINE_CHARACTERS = 1_000_000


@pytest.fixture(scope="module")
def site(story: World) -> Iterator[World]:
    """A daemon, a file of a hostile name whose parser says hostile things, and one that logs endless lines."""
    story.run("init")
    say = f"print({HOSTILE!r}); print('y' * {LINE_CHARACTERS}); raise ValueError({HOSTILE!r})"
    story.register(advice(on_boom=say))
    story.write("good.txt", lines(20))
    story.write(f"{HOSTILE}.txt", "!boom\n")
    story.scan()
    story.serve(workers=1)
    story.run("process", status=1)
    yield story
    story.run("stop")


def test_nothing_hostile_reaches_the_terminal_on_any_screen(site: World) -> None:
    with Screen("hostile") as screen:
        screen.start(site.command("console"))
        screen.wait("1 failed")
        for keys in (
            ["M-j"],
            ["Enter"],
            ["Escape"],
            ["l"],
            ["Escape"],
            ["M-d"],
            ["M-p"],
            ["M-i"],
            ["M-h"],
            ["!"],
            ["Escape"],
        ):
            screen.press(*keys)
            time.sleep(0.4)
            text = screen.text()
            assert "live @" in text, keys  # the screen was not cleared by what it shows
            assert "\u202e" not in text and "\u200b" not in text
        assert screen.asks("#{pane_title}") != "owned"


def test_the_log_with_an_endless_line_is_shown_and_keys_are_answered(site: World) -> None:
    with Screen("endless") as screen:
        screen.start(site.command("console"))
        screen.wait("1 failed")
        screen.press("M-j")
        screen.wait("ACTIONABLE")
        screen.press("l")
        screen.wait("yyyyyyyy")
        screen.press("?")
        assert screen.wait("Keys: Jobs") < 1.0


def test_a_terminal_that_stands_still_catches_up(site: World) -> None:
    """Nobody reads what the console writes while events come; when somebody does, all is there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 200, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    child = subprocess.Popen(
        site.command("console"), stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    )
    os.close(slave)
    try:
        _read(master, b"live", 20)
        for _ in range(40):  # each draws whole screens until the pipe is full
            os.write(master, b"\x1bj\x1bh\x1bd\x1bi")
        for number in range(10):
            site.run("parser", "pause" if number % 2 == 0 else "resume", "advice")
        with Client.connect(Home(site.home)) as client:
            seq = client.request("ping")["seq"]
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 180, 0, 0))
        child.send_signal(signal.SIGWINCH)  # draws the whole screen again
        _read(master, f"@{seq:,}".encode(), 20)
        os.write(master, b"\x03")
        _read(master, b"\x1b[?1049l", 20)
        assert child.wait(10) == 0
    finally:
        child.kill()
        child.wait()
        os.close(master)


def _read(descriptor: int, until: bytes, seconds: float) -> bytes:
    """What is written, up to these bytes."""
    deadline, found = time.monotonic() + seconds, b""
    while until not in found:
        readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        assert readable, f"never written: {until!r}; the last: {found[-300:]!r}"
        found += os.read(descriptor, 65_536)
    return found


def test_a_hundred_thousand_jobs_are_a_list_like_any_other(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    with daemon(home, 0) as client, Screen("many", 200, 60) as screen:
        register_no_op(client, home, tmp_path)
        pretend_files(client, home, tmp_path / "files", 100_000)
        queue_no_op(client, tmp_path / "files")
        screen.start(World(tmp_path).command("console"))
        screen.wait("live @", seconds=60)
        screen.press("M-j")
        screen.wait("100,000 queued")
        screen.press("Space")
        screen.wait("file_")
        began = time.monotonic()
        screen.press("G")
        screen.press("g")
        screen.press("?")
        screen.wait("Keys: Jobs")
        assert time.monotonic() - began < 2.0


@pytest.mark.timeout(900)
def test_with_three_hundred_thousand_queued_jobs_the_console_is_there_within_three_seconds(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    with daemon(home, 0) as client:
        register_no_op(client, home, tmp_path)
        for part in range(6):
            pretend_files(client, home, tmp_path / f"files_{part}", 50_000)
            queue_no_op(client, tmp_path / f"files_{part}")
        client.ask(FileSums(), at_least_seq=client.request("ping")["seq"])  # the tables have caught up
        with Screen("queue", 200, 60) as screen:
            began = time.monotonic()
            screen.start(World(tmp_path).command("console"))
            screen.wait("300,000", seconds=30)
            assert time.monotonic() - began < 3.0
            screen.press("M-j")
            screen.press("Space")
            screen.wait("file_0000000.txt")
