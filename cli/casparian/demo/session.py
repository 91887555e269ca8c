"""The demo's session: it calls the real command line on a home, explains each call, and shows the daemon's progress.

`steps` decides the order of the calls.
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TextIO

from casparian_app.texts import UsageProblem, WorkFailed
from casparian_console.run_view import RunView
from casparian_protocol.client import Client, NoSentinel, RequestRefused
from casparian_protocol.feed import FeedEvent
from casparian_protocol.home import Home
from casparian_protocol.wire.operations.daemon import STOP
from casparian_protocol.wire.operations.jobs import QUEUE, QueueResult
from casparian_protocol.wording import command_line
from casparian_shim.safe import scrub

if TYPE_CHECKING:
    from rich.live import Live

    from casparian_protocol.values import PlainRow

_MARK = "truth.json"


class PlaceTaken(UsageProblem):
    """The directory for the demo is not empty."""


@dataclass(frozen=True, slots=True)
class Place:
    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def config(self) -> Path:
        return Home(self.home).config_file

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def truth(self) -> Path:
        """The file with the expected results, which the generator writes next to the directory of the logs."""
        return self.root / _MARK


def choose(given: Path | None) -> Place:
    """A new temporary directory, or the named one if it is empty or missing. Raises `PlaceTaken`."""
    if given is None:
        return Place(Path(tempfile.mkdtemp(prefix="casparian-demo-")))
    root = given.absolute()
    try:
        holds = sorted(one.name for one in root.iterdir())
    except FileNotFoundError:
        root.mkdir(mode=0o700, parents=True)
        return Place(root)
    except NotADirectoryError as cause:
        raise PlaceTaken(f"{root} is a file.", remedy="Name a new directory for the demo.") from cause
    if _MARK in holds:
        raise PlaceTaken(
            f"{root} already holds a demo, which is left as it is.",
            remedy=f"Continue with it: `{command_line('--home', str(root / 'home'), 'jobs')}`. Or name a new directory.",
        )
    if holds:
        raise PlaceTaken(
            f"{root} is not empty (it has {holds[0]!a}); the demo touches nothing of yours.",
            remedy="Name a new or empty directory, or leave the directory out.",
        )
    return Place(root)


WIDTH = 80
_INDENT = "  "


def command_lines(words: Sequence[str], width: int = WIDTH) -> list[str]:
    """A command that can be pasted into a shell. Lines break between words, or inside quotes of a long text."""
    lines, current = [], _INDENT + "$"
    for word in map(quoted, words):
        if len(current) + len(word) + 3 > width and current.strip() != "$":
            lines.append(f"{current} \\")
            current = _INDENT * 3 + word
        else:
            current = f"{current} {word}"
        if len(current) > width and " " in word:
            # A shell keeps a line break inside quotes, and SQL reads it as a space.
            *full, current = textwrap.wrap(
                current, width, subsequent_indent=_INDENT * 4, break_long_words=False, break_on_hyphens=False
            )
            lines += full
    return [*lines, current]


def quoted(word: str) -> str:
    """The text quoted for the shell; in double quotes if it contains single ones."""
    is_plain = not any(character in word for character in '"\\$`!')
    return f'"{word}"' if is_plain and (" " in word or "'" in word) else shlex.quote(word)


def aligned(rows: Iterable[Sequence[object]], right: Iterable[int] = ()) -> list[str]:
    """Rows as columns, each as wide as its widest cell; the columns named in `right` are right-aligned."""
    texts = [[scrub(_cell(value)) for value in row] for row in rows]
    if not texts:
        return []
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    to_right = set(right)
    return [
        "  ".join(
            text.rjust(width) if column in to_right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    ]


def cut(text: str, width: int = WIDTH) -> str:
    """The text, cut with an ellipsis if it is too long."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _cell(value: object) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


class Narrator:
    """Prints to one stream; silent under --json."""

    def __init__(self, out: TextIO, *, is_silent: bool = False) -> None:
        self._out = out
        self._is_silent = is_silent
        self._has_colour = not is_silent and out.isatty()
        self._number = 0

    def heading(self, title: str) -> None:
        self._number += 1
        self._print("")
        self._print(self._styled(f"{self._number}. {title}", "1"))

    def command(self, words: Sequence[str]) -> None:
        """Print a command line exactly as it can be called."""
        for line in command_lines(words):
            self._print(self._styled(line, "36"))

    def prose(self, text: str) -> None:
        """Print paragraphs, one for each line of the text."""
        for paragraph in text.strip().split("\n"):
            for line in textwrap.wrap(scrub(paragraph), WIDTH - len(_INDENT), break_on_hyphens=False):
                self._print(_INDENT + line)

    def lines(self, lines: Iterable[str]) -> None:
        """Print the lines, cut at the width."""
        for line in lines:
            self._print(_INDENT + cut(scrub(line), WIDTH - len(_INDENT)))

    def verdict(self, text: str, *, is_good: bool) -> None:
        self._print("")
        self._print(self._styled(scrub(text), "1;32" if is_good else "1;31"))

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._has_colour else text

    def _print(self, line: str) -> None:
        if not self._is_silent:
            print(line, file=self._out, flush=True)


_WORDS_SHOWN = 600


class CommandFailed(WorkFailed):
    """A command of the demo failed."""

    def __init__(self, words: list[str], status: int, printed: str) -> None:
        super().__init__(
            f"`{' '.join(words)}` ended with {status}: {printed.strip()[-_WORDS_SHOWN:]}",
            remedy="This is a bug. Run `casparian doctor` to rule out the machine, and please report it.",
        )


class Session:
    """Calls commands on the demo's home."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def shown(self, *arguments: str) -> list[str]:
        """The command as it is typed in a shell."""
        return ["casparian", "--home", str(self.place.home), *arguments]

    def call(self, *arguments: str) -> tuple[int, str]:
        """Run a command. Returns its exit status and its output."""
        done = self._run(arguments)
        return done.returncode, done.stdout

    def ask(self, *arguments: str) -> Any:
        """Run a command that must succeed. Returns its JSON document."""
        done = self._run(["--json", *arguments])
        if done.returncode != 0:
            raise CommandFailed(self.shown(*arguments), done.returncode, done.stderr or done.stdout)
        return json.loads(done.stdout)

    def rows(self, query: str) -> list[PlainRow]:
        """The rows of one SQL query."""
        answer: list[PlainRow] = self.ask("sql", query)
        return answer

    def _run(self, arguments: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "casparian", "--home", str(self.place.home), *arguments]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", check=False
        )


WORKERS = 2
_RUN_SECONDS_MAX = 120.0
_END_SECONDS = 10.0


class RunBroken(WorkFailed):
    """The demo's daemon ended before its work was done."""

    def __init__(self, home: Home, why: str) -> None:
        super().__init__(f"The demo's daemon {why}.", remedy=f"{home.daemon_log} has its output.")


@contextmanager
def running_daemon(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that ends with the demo."""
    from casparian_app.daemons import spawn_daemon

    child = spawn_daemon(home, ["--workers", str(WORKERS), "--with-parent"])
    try:
        yield child
    finally:
        _end(home, child)


def _end(home: Home, child: subprocess.Popen[bytes]) -> None:
    """Make sure that the daemon has ended: stop it if it runs, and kill it if it does not stop."""
    if child.poll() is None:
        try:
            with Client.connect(home, _END_SECONDS) as client:
                client.perform(STOP(now=True))
        except (NoSentinel, RequestRefused):
            child.terminate()
    try:
        child.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def follow(home: Home, child: subprocess.Popen[bytes], narrator: Narrator, *, is_live: bool) -> QueueResult:
    """Queue the pending files and watch until no job is left. Returns the answer to the queueing."""
    view = RunView(started=time.monotonic())
    with (
        Client.connect(home) as client,
        _screen(view, narrator, is_live=is_live) as screen,
        _remembered() as interrupts,
    ):
        queued = client.perform(QUEUE())
        with client.follow(outlives_daemon=True) as feed:
            for item in feed:
                if interrupts:
                    raise KeyboardInterrupt
                line = _ending_line(view, item) if isinstance(item, FeedEvent) else None
                view.apply(item)
                if line:
                    screen.say(line)
                screen.redraw()
                if view.is_idle:
                    return queued
                if child.poll() is not None:
                    raise RunBroken(home, f"ended by itself (exit {child.returncode})")
                if time.monotonic() - view.started > _RUN_SECONDS_MAX:
                    raise RunBroken(home, f"was not done after {_RUN_SECONDS_MAX:.0f} s")
    raise RunBroken(home, "stopped responding")


@contextmanager
def _remembered() -> Iterator[list[int]]:
    """Handle Ctrl-C as usual, but remember it: Python swallows one that arrives while a destructor runs."""
    came: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def _ending_line(view: RunView, event: FeedEvent) -> str | None:
    """One line for a job that has ended."""
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
    """Prints lines only, where there is no terminal."""

    def __init__(self, narrator: Narrator) -> None:
        self._narrator = narrator

    def say(self, line: str) -> None:
        self._narrator.lines([line])

    def redraw(self) -> None:
        """Do nothing."""


class _Moving:
    """Prints permanent lines above a live display."""

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
