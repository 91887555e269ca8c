"""The daemon of the demo and the live view of its work: two workers, progress as it happens, and an end in any case.

A line for every file that is done, and on a terminal the moving picture of `process` below them. Whatever ends the demo,
Ctrl-C included, the daemon is gone before this returns.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from casparian.demo.session import WIDTH, Narrator, cut
from casparian_app.problems import WorkFailed
from casparian_console.run_view import RunView
from casparian_protocol.client import Client, NoSentinel, RequestRefused
from casparian_protocol.feed import FeedEvent
from casparian_protocol.home import Home
from casparian_shim.text import scrub

if TYPE_CHECKING:
    from rich.live import Live

WORKERS = 2
_RUN_SECONDS_MAX = 120.0
_END_SECONDS = 10.0


class RunBroken(WorkFailed):
    """The demo's daemon ended before its work was done."""

    def __init__(self, home: Home, why: str) -> None:
        super().__init__(f"The demo's daemon {why}.", remedy=f"{home.daemon_log} has its output.")


@contextmanager
def running_daemon(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that never outlives the demo."""
    from casparian_app.daemons import spawn_daemon

    child = spawn_daemon(home, ["--workers", str(WORKERS), "--with-parent"])
    try:
        yield child
    finally:
        _end(home, child)


def _end(home: Home, child: subprocess.Popen[bytes]) -> None:
    """Gone: it was stopped already, or it is stopped now, or it is killed."""
    if child.poll() is None:
        try:
            with Client.connect(home, _END_SECONDS) as client:
                client.request("stop", {"now": True})
        except (NoSentinel, RequestRefused):
            child.terminate()
    try:
        child.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def follow(home: Home, child: subprocess.Popen[bytes], narrator: Narrator, *, is_live: bool) -> dict[str, Any]:
    """Queue what is pending and watch until nothing is left to do; what the queueing answered."""
    view = RunView(started=time.monotonic())
    with (
        Client.connect(home) as client,
        _screen(view, narrator, is_live=is_live) as screen,
        _remembered() as interrupts,
    ):
        queued = client.request("queue")
        with client.follow() as feed:
            for item in feed:
                if interrupts:
                    raise KeyboardInterrupt
                told = _told(view, item) if isinstance(item, FeedEvent) else None
                view.apply(item)
                if told:
                    screen.say(told)
                screen.redraw()
                if view.is_idle:
                    return queued
                if child.poll() is not None:
                    raise RunBroken(home, f"ended by itself (exit {child.returncode})")
                if time.monotonic() - view.started > _RUN_SECONDS_MAX:
                    raise RunBroken(home, f"was not done after {_RUN_SECONDS_MAX:.0f} s")
    raise RunBroken(home, "stopped talking")


@contextmanager
def _remembered() -> Iterator[list[int]]:
    """Ctrl-C as ever, and noted: one that comes while a destructor runs is swallowed by Python."""
    came: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def _told(view: RunView, event: FeedEvent) -> str | None:
    """A line for a job that has ended."""
    job = view.open.get(event.data.get("job_id", ""))
    name = PurePath(job.input).name if job else ""
    if event.type == "JobCompleted":
        data = event.data
        return (
            f"✓ {name:<28} {data['rows']:>6,} rows {data['quarantined']:>4,} quarantined {data['skipped']:>4,} skipped"
        )
    if event.type in ("JobFailed", "JobDeadLettered"):
        error = event.data.get("error") or {}
        return f"✗ {name}: {error.get('code', event.type)}: {error.get('message', '')}"
    return None


class _Plain:
    """Lines only: there is no terminal."""

    def __init__(self, narrator: Narrator) -> None:
        self._narrator = narrator

    def say(self, line: str) -> None:
        self._narrator.lines([line])

    def redraw(self) -> None:
        """Nothing moves here."""


class _Moving:
    """Lines that stay, above a picture that moves."""

    def __init__(self, view: RunView, live: Live, width: int) -> None:
        self._view = view
        self._live = live
        self._width = width

    def say(self, line: str) -> None:
        self._live.console.print(f"  {cut(scrub(line), self._width - 2)}", markup=False, highlight=False)

    def redraw(self) -> None:
        from rich.text import Text

        self._live.update(Text("\n".join(self._view.lines(time.monotonic(), self._width))))


@contextmanager
def _screen(view: RunView, narrator: Narrator, *, is_live: bool) -> Iterator[_Plain | _Moving]:
    if not is_live:
        yield _Plain(narrator)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, markup=False)
    with Live(console=console, refresh_per_second=10, transient=True) as live:
        yield _Moving(view, live, min(WIDTH, console.width))
