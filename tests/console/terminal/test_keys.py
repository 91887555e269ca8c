"""Keys have the names that the screens' tables use, whatever the terminal sends for them."""

from __future__ import annotations

import pytest
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding.key_processor import KeyPress

from casparian_console.screens import SCREENS
from casparian_console.shell_actions import ACTIONS
from casparian_console.terminal.script import BadScript, Step, read_script
from casparian_console.terminal.window import ALL_NAMES, is_key_name, name_of, written


def heard(sent: str) -> list[str]:
    presses: list[KeyPress] = []
    parser = Vt100Parser(presses.append)
    parser.feed_and_flush(sent)
    names = [name_of(press.key) for press in presses]
    if len(names) == 2 and names[0] == "esc" and names[1] is not None:
        return [f"alt-{names[1]}"]
    return [name for name in names if name is not None]


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("a", "a"),
        ("Q", "Q"),
        (" ", " "),
        ("ü", "ü"),
        ("\r", "enter"),
        ("\n", "ctrl-j"),
        ("\t", "tab"),
        ("\x1b[Z", "s-tab"),
        ("\x1b", "esc"),
        ("\x7f", "backspace"),
        ("\x1b[A", "up"),
        ("\x1b[5~", "pgup"),
        ("\x1b[6~", "pgdn"),
        ("\x1b[H", "home"),
        ("\x1b[3~", "delete"),
        ("\x10", "ctrl-p"),
        ("\x14", "ctrl-t"),
        ("\x03", "ctrl-c"),
        ("\x1b[15~", "f5"),
        ("\x1b[1;5A", "ctrl-up"),
        ("\x1bh", "alt-h"),
        ("\x1b\r", "alt-enter"),
    ],
)
def test_what_a_terminal_sends_is_named(sent: str, name: str) -> None:
    assert heard(sent) == [name]


def test_every_key_of_every_action_can_be_pressed() -> None:
    """A key that no terminal sends would be a dead key."""
    tables = [*ACTIONS, *(action for screen in SCREENS for action in screen.ACTIONS)]
    keys = {key for action in tables for key in action.keys}
    unknown = {
        key
        for key in keys
        if len(key) > 1 and key.removeprefix("alt-") not in ALL_NAMES and len(key.removeprefix("alt-")) > 1
    }
    assert unknown == set()


def test_keys_of_tables_may_be_written_in_scripts() -> None:
    for key in ("j", "G", "/", "?", "enter", "alt-j", "ctrl-p", "s-tab", "f5", "pgdn", "space", "ctrl-up", "ü"):
        assert is_key_name(key), key
    assert written("space") == " "
    assert not is_key_name("entre")


def test_a_script_is_keys_texts_and_waits() -> None:
    assert read_script("wait:live alt-j 'text:hello world' wait:text:live wait:0.5 wait:idle enter") == [
        Step("live", ""),
        Step("key", "alt-j"),
        Step("text", "hello world"),
        Step("await", "live"),
        Step("sleep", "0.5"),
        Step("idle", ""),
        Step("key", "enter"),
    ]


@pytest.mark.parametrize("script", ["entre", "wait:for-ever", "'open", "wait:text:"])
def test_what_is_no_word_of_a_script_is_named(script: str) -> None:
    with pytest.raises(BadScript):
        read_script(script)
