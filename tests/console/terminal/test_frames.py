"""Pictures of the screen: the same cells as on the terminal, as text, with colours, as SVG, in ASCII."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from casparian_console.canvas import plain
from casparian_console.terminal.frames import FrameNotWritten, as_ansi, as_svg, as_text, write_frame
from tests.console.driving import Driver, fail, run_job

SVG = "{http://www.w3.org/2000/svg}"


def busy() -> Driver:
    driver = Driver()
    driver.snapshot()
    fail(driver, run_job(driver, 1, path="/data/界 & <b>.log"))
    return driver


def test_text_is_what_the_screen_says() -> None:
    driver = busy()
    assert as_text(driver.shell.view(100, 30)) == driver.text(100, 30)


def test_colours_are_the_themes_and_the_text_is_the_same() -> None:
    drawn = as_ansi([[("bad", "failed"), ("", " x"), ("bar tab", " Home ")]], "dark")
    assert drawn == "\x1b[0;38;2;255;143;134mfailed\x1b[0m x\x1b[0;1;38;2;255;255;255;48;2;47;93;143m Home \x1b[0m\n"
    assert "38;2" not in as_ansi([[("bad", "failed")]], "mono")


def test_a_picture_is_wellformed_and_holds_every_word() -> None:
    lines = busy().shell.view(100, 30)
    root = ElementTree.fromstring(as_svg(lines, "light"))
    words = "".join(element.text or "" for element in root.iter(f"{SVG}text")).replace("\u00a0", " ")
    assert "Parser Bench" in words
    assert all(word in words for line in lines for word in plain(line).split() if word.isalpha())


def test_a_picture_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(FrameNotWritten, match="not a kind of picture"):
        write_frame(tmp_path / "screen.png", [], "dark")
    with pytest.raises(FrameNotWritten, match="cannot be written"):
        write_frame(tmp_path / "nowhere" / "screen.txt", [], "dark")
