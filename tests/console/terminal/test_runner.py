"""When frames are drawn, and that a fault of the console is written down and never the end of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from casparian_console.canvas import Line, plain
from casparian_console.facts.loading import LOADS
from casparian_console.messages import Answer, Effects, Heard, Key, Message, Tick
from casparian_console.shell import Shell
from casparian_console.terminal import script
from casparian_console.terminal.performer import ConsoleContext
from casparian_console.terminal.runner import FRAME_SECONDS, Runner
from casparian_console.terminal.script import Page, play, read_script
from casparian_protocol.feed import FeedEvent, Metric
from casparian_protocol.home import Home, make_home
from casparian_protocol.wire.operations.daemon import Snapshot
from tests.console.driving import NOW_US, group


class Pane:
    """A display that counts."""

    def __init__(self) -> None:
        self.draws = 0

    def size(self) -> tuple[int, int]:
        return 80, 24

    def show(self) -> None:
        self.draws += 1

    def write_raw(self, sequence: str) -> None: ...

    def suspend(self) -> None: ...

    def quit(self) -> None: ...


class Fragile(Shell):
    """Breaks on `f5` and draws nothing while it is said to."""

    is_blind = False

    def update(self, message: Message) -> Effects:
        if message == Key("f5"):
            raise KeyError("no such thing")
        return super().update(message)

    def view(self, width: int, height: int) -> list[Line]:
        if self.is_blind:
            raise ZeroDivisionError("no frame")
        return super().view(width, height)


def event(seq: int) -> Message:
    return Heard(FeedEvent(seq, NOW_US, "ScanStarted", 1, "sentinel", {"scan_id": "s", "roots": []}))


def running(folder: Path, tell: Callable[[Runner, Pane], Awaitable[None]], *, is_strict: bool = False) -> None:
    home = Home(folder / "h")
    make_home(home)

    async def story() -> None:
        pane = Pane()
        shell = Fragile()
        for message in (Tick(NOW_US), Heard(Snapshot(seq=0, jobs=[], workers=[], totals={}))):
            shell.update(message)  # what they ask for is left out: nobody would answer
        runner = Runner(shell, pane, ConsoleContext(home, "user:test@console", ()), is_strict=is_strict)
        runner.draw()
        pane.draws = 0
        try:
            await tell(runner, pane)
        finally:
            await runner.close()

    uvloop.run(story())


def shown(runner: Runner) -> str:
    return "\n".join(plain(line) for line in runner.frame(80, 24))


def test_a_flood_of_events_is_a_few_frames_and_none_is_left_out(tmp_path: Path) -> None:
    async def tell(runner: Runner, pane: Pane) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for seq in range(1, 301):
            runner.deliver([event(seq)])
            await asyncio.sleep(0.0005)
        lasted_s = loop.time() - began
        await asyncio.sleep(2 * FRAME_SECONDS)
        assert 1 <= pane.draws <= lasted_s / FRAME_SECONDS + 3
        assert "@300" in shown(runner)

    running(tmp_path, tell)


def test_a_key_is_drawn_at_once_even_in_a_flood(tmp_path: Path) -> None:
    async def tell(runner: Runner, pane: Pane) -> None:
        runner.deliver([event(1)])
        runner.press(Key("?"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert pane.draws == 1
        assert "Keys: Home" in shown(runner)

    running(tmp_path, tell)


def test_what_changes_nothing_is_not_drawn(tmp_path: Path) -> None:
    async def tell(runner: Runner, pane: Pane) -> None:
        runner.press(Key("f9"))
        await asyncio.sleep(2 * FRAME_SECONDS)
        assert pane.draws == 0

    running(tmp_path, tell)


def test_a_fault_is_said_and_written_down_and_the_console_goes_on(tmp_path: Path) -> None:
    async def tell(runner: Runner, pane: Pane) -> None:
        runner.press(Key("f5"))
        await asyncio.sleep(0.01)
        assert "KeyError" in shown(runner)
        assert "Traceback" in (tmp_path / "h" / "logs" / "console.log").read_text()
        runner.press(Key("?"))
        await asyncio.sleep(0.01)
        assert "Keys: Home" in shown(runner)
        assert runner.problems == 1

    running(tmp_path, tell)


def test_a_view_that_cannot_be_drawn_leaves_a_way_out(tmp_path: Path) -> None:
    async def tell(runner: Runner, pane: Pane) -> None:
        Fragile.is_blind = True
        try:
            runner.draw()
            assert "ZeroDivisionError" in shown(runner)
            assert "Ctrl-C quits" in shown(runner)
        finally:
            Fragile.is_blind = False
        runner.press(Key("esc"))
        runner.draw()
        assert "Discover" in shown(runner)

    running(tmp_path, tell)


def test_where_a_program_looks_on_a_fault_is_raised(tmp_path: Path) -> None:
    async def tell(runner: Runner, pane: Pane) -> None:
        with pytest.raises(KeyError):
            runner.press(Key("f5"))

    running(tmp_path, tell, is_strict=True)


def test_a_script_that_waits_for_live_sees_numbers_and_not_that_they_are_unknown(tmp_path: Path) -> None:
    async def tell(runner: Runner, pane: Pane) -> None:
        assert "not known yet" in shown(runner)
        groups = Answer(("facts", "groups"), 0, [group("FAILED", 3)])
        files = Answer(("facts", "files"), 0, [{"files": 0, "bytes": 0, "untagged": 0}])
        others = [Answer(("facts", table), 0, []) for table in LOADS if table not in ("groups", "files")]
        runner.deliver([groups])
        told: list[tuple[str, dict[str, Any]]] = [
            ("workers", {}),
            ("projection", {"applied": 0, "state": ""}),
            ("trouble", {}),
        ]
        metrics = [Heard(Metric(name, {"seq": 0, **values})) for name, values in told]
        later: list[Message] = [files, *others, *metrics]
        asyncio.get_running_loop().call_later(0.03, runner.deliver, later)
        lines = await play(runner, Page(80, 24), read_script("wait:live"))
        text = "\n".join(map(plain, lines))
        assert "3 failed" in text
        assert "not known yet" not in text

    running(tmp_path, tell)


def test_a_script_that_waits_for_what_never_comes_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "_TEXT_SECONDS", 0.02)

    async def tell(runner: Runner, pane: Pane) -> None:
        with pytest.raises(script.NeverHappened, match="“nowhere” on the screen"):
            await play(runner, Page(80, 24), read_script("wait:text:nowhere"))

    running(tmp_path, tell)
