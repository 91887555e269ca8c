"""What is written to the terminal is the frame, whatever was there before; and no more than what changed."""

from __future__ import annotations

import asyncio
import io
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output.vt100 import Vt100_Output
from wcwidth import wcwidth

from casparian_console.canvas import Line, fit
from casparian_console.messages import Click, Key, Message, Paste, Scroll
from casparian_console.terminal import application
from casparian_console.terminal.application import TerminalDisplay
from casparian_console.terminal.frames import STYLES, Theme, attributes

_SEQUENCE = re.compile(r"\x1b\[(\?)?([\d;]*)([A-Za-z])|\x1b\][^\x07]*\x07")


class Glass:
    """As much of a terminal as the console uses: moves, erasing, text."""

    def __init__(self) -> None:
        self.size = Size(rows=5, columns=24)
        self.cells: dict[tuple[int, int], str] = {}
        self.row = self.column = 0

    def read(self, written: str) -> None:
        at = 0
        while at < len(written):
            if match := _SEQUENCE.match(written, at):
                if not match[1] and match[3]:
                    self._obey(match[3], int(match[2].partition(";")[0] or 0))
                at = match.end()
            else:
                self._put(written[at])
                at += 1

    def lines(self) -> list[str]:
        rows, columns = self.size
        return ["".join(self.cells.get((row, column), " ") for column in range(columns)) for row in range(rows)]

    def _put(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row += 1
        else:
            self.cells[self.row, self.column] = character
            for covered in range(1, wcwidth(character)):
                self.cells[self.row, self.column + covered] = ""
            self.column += wcwidth(character)

    def _obey(self, letter: str, number: int) -> None:
        if letter == "A":
            self.row -= number or 1
        elif letter == "C":
            self.column += number or 1
        elif letter == "D":
            self.column -= number or 1
        elif letter == "H":
            self.row = self.column = 0
        elif letter in "JK":
            for row, column in list(self.cells):
                if (row == self.row and column >= self.column) or (letter == "J" and row > self.row):
                    del self.cells[row, column]


Story = Callable[["Terminal"], Any]


class Terminal:
    """A display whose terminal is a `Glass`, and whose frame the test decides."""

    def __init__(self, keys: Any) -> None:
        self.glass = Glass()
        self.written = io.StringIO()
        self.keys = keys
        self.frame: list[Line] = []
        self.heard: list[Message] = []
        self.news = asyncio.Event()
        self.drawn = asyncio.Event()

    def hear(self, message: Message) -> None:
        self.heard.append(message)
        self.news.set()

    async def show(self, display: TerminalDisplay, frame: list[Line]) -> str:
        """Draw; what was written for it."""
        self.frame = frame
        self.drawn.clear()
        display.show()
        await asyncio.wait_for(self.drawn.wait(), 5)
        return self.flushed()

    def flushed(self) -> str:
        text = self.written.getvalue()
        self.written.seek(0)
        self.written.truncate()
        self.glass.read(text)
        return text


def on_terminal(
    monkeypatch: pytest.MonkeyPatch, story: Callable[[Terminal, TerminalDisplay], Any], theme: Theme = "dark"
) -> None:
    async def run() -> None:
        with create_pipe_input() as keys:
            terminal = Terminal(keys)
            output = Vt100_Output(terminal.written, lambda: terminal.glass.size, term="xterm-256color")
            monkeypatch.setattr(application, "create_input", lambda: keys)
            monkeypatch.setattr(application, "create_output", lambda: output)
            display = TerminalDisplay(theme, 0.02)
            display.press, display.drawn = terminal.hear, terminal.drawn.set
            display.frame = lambda width, height: terminal.frame
            running = asyncio.get_running_loop().create_task(display.run())
            await asyncio.wait_for(terminal.drawn.wait(), 5)
            terminal.flushed()
            try:
                await story(terminal, display)
            finally:
                display.quit()
                await running

    asyncio.run(run())


def texts(frame: list[Line]) -> list[str]:
    return ["".join(text for _, text in line) for line in frame]


def any_frame(chance: random.Random, columns: int, rows: int, before: list[Line]) -> list[Line]:
    frame = []
    for row in range(rows):
        if row < len(before) and chance.random() < 0.6:
            frame.append(before[row])
            continue
        words = [
            (chance.choice(["", "bad", "bar", "selected"]), "".join(chance.choices("ab 界x·", k=chance.randrange(9))))
            for _ in range(4)
        ]
        frame.append(fit(words, columns))
    return frame


def test_the_terminal_shows_every_frame_whatever_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(1)

    async def story(terminal: Terminal, display: TerminalDisplay) -> None:
        frame: list[Line] = []
        for _ in range(150):
            if chance.random() < 0.1:
                columns = chance.choice([terminal.glass.size.columns, chance.randrange(20, 40)])
                frame = frame if columns == terminal.glass.size.columns else []
                terminal.glass.size = Size(rows=chance.randrange(3, 8), columns=columns)
            rows, columns = terminal.glass.size
            frame = any_frame(chance, columns, rows, frame)
            await terminal.show(display, frame)
            assert terminal.glass.lines() == texts(frame)

    on_terminal(monkeypatch, story)


_SGR = re.compile(r"\x1b\[([\d;]*)m")


def sgr_before(written: str, text: str) -> set[str]:
    """The attributes that are in force where `text` is written."""
    (codes,) = _SGR.findall(written[: written.index(text)])[-1:]
    return set(codes.removeprefix("0").strip(";").replace("38;5;", "front ").replace("48;5;", "back ").split(";"))


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_terminal_shows_each_style_as_the_theme_has_it_and_nothing_of_prompt_toolkits(
    monkeypatch: pytest.MonkeyPatch, theme: Theme
) -> None:
    async def story(terminal: Terminal, display: TerminalDisplay) -> None:
        for word in sorted(STYLES):
            written = await terminal.show(display, [fit([(word, f"<{word}>")], 24), *[[("", " " * 24)]] * 4])
            found, wanted = sgr_before(written, f"<{word}>"), attributes(word, theme)
            assert ("7" in found) == bool(wanted.reverse), word
            assert ("1" in found) == bool(wanted.bold), word
            assert ("4" in found) == bool(wanted.underline), word
            assert any(code.startswith("front") for code in found) == bool(wanted.color), word
            assert any(code.startswith("back") for code in found) == bool(wanted.bgcolor), word

    on_terminal(monkeypatch, story, theme)


def test_only_what_changed_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(terminal: Terminal, display: TerminalDisplay) -> None:
        frame = [fit([("", f"line {number}")], 24) for number in range(5)]
        await terminal.show(display, frame)
        written = await terminal.show(display, [*frame[:3], fit([("bad", "line X")], 24), frame[4]])
        assert "X" in written
        assert "line 2" not in written and "line 4" not in written
        assert len(written) < 150

    on_terminal(monkeypatch, story)


def test_keys_pastes_clicks_and_the_wheel_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(terminal: Terminal, display: TerminalDisplay) -> None:
        await terminal.show(display, [fit([("", "界界 text")], 24)] * 5)
        terminal.keys.send_text("j\x1bh\x1b[A")  # Alt-h arrives whole
        terminal.keys.send_text("\x1b[200~two\nlines\x1b[201~")
        terminal.keys.send_text("\x1b[<0;6;3M\x1b[<0;6;3m\x1b[<0;6;3M\x1b[<64;2;2M\x1b[<65;2;2M")
        terminal.keys.send_text("\x1b\x1b")
        expected = [
            Key("j"),
            Key("alt-h"),
            Key("up"),
            Paste("two\nlines"),
            Click(2, 5),
            Click(2, 5, 2),
            Scroll(1, 1, -3),
            Scroll(1, 1, 3),
            Key("esc"),
            Key("esc"),
        ]
        async with asyncio.timeout(5):
            while len(terminal.heard) < len(expected):
                terminal.news.clear()
                await terminal.news.wait()
        assert terminal.heard == expected

    on_terminal(monkeypatch, story)


RESTORED = ("\x1b[?1049l", "\x1b[?1000l", "\x1b[?2004l", "\x1b[?25h")


def test_the_terminal_is_as_it_was_when_the_console_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    terminals: list[Terminal] = []

    async def story(terminal: Terminal, display: TerminalDisplay) -> None:
        terminals.append(terminal)

    on_terminal(monkeypatch, story)
    written = terminals[0].flushed()
    assert [ending for ending in RESTORED if ending not in written] == []


def test_the_terminal_is_as_it_was_when_drawing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    terminals: list[Terminal] = []

    async def story(terminal: Terminal, display: TerminalDisplay) -> None:
        terminals.append(terminal)

        def broken(width: int, height: int) -> list[Line]:
            raise ZeroDivisionError("no frame")

        display.frame = broken
        display.show()
        await asyncio.sleep(0.05)

    with pytest.raises(ZeroDivisionError, match="no frame"):
        on_terminal(monkeypatch, story)
    written = terminals[0].flushed()
    assert [ending for ending in RESTORED if ending not in written] == []
