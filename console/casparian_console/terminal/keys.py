"""The names of keys: what a terminal sends, as `messages.Key` has it. Pure."""

from __future__ import annotations

import re

from prompt_toolkit.keys import Keys

_NAMES: dict[str, str] = {
    Keys.Escape.value: "esc",
    Keys.ShiftEscape.value: "esc",
    Keys.Enter.value: "enter",
    Keys.Tab.value: "tab",
    Keys.BackTab.value: "s-tab",
    Keys.Backspace.value: "backspace",
    Keys.PageUp.value: "pgup",
    Keys.PageDown.value: "pgdn",
    Keys.ControlAt.value: "ctrl-space",
    Keys.SIGINT.value: "ctrl-c",
}
_NO_KEYS = frozenset(
    key.value
    for key in (
        Keys.Any,
        Keys.CPRResponse,
        Keys.Vt100MouseEvent,
        Keys.WindowsMouseEvent,
        Keys.BracketedPaste,
        Keys.Ignore,
        Keys.ScrollUp,
        Keys.ScrollDown,
    )
)
#: Names that a person may write in `--script`: with or without `ctrl-`, `alt-`, `s-` before them.
_WRITTEN = re.compile(
    r"(?:ctrl-|alt-|s-)*(?:\S|space|enter|esc|tab|up|down|left|right|home|end|pgup|pgdn|insert|delete|backspace|f\d{1,2})\Z"
)


def name_of(key: str, *, with_alt: bool = False) -> str | None:
    """The name of one key of prompt_toolkit; None for what is no key."""
    value = key.value if isinstance(key, Keys) else key
    if value in _NO_KEYS:
        return None
    name = _NAMES.get(value)
    if name is None:
        name = value
        if len(value) > 1 and value.startswith("c-"):
            name = "ctrl-" + value.removeprefix("c-")
        name = name.replace("pageup", "pgup").replace("pagedown", "pgdn")
    return f"alt-{name}" if with_alt else name


def is_key_name(text: str) -> bool:
    """Whether `text` may stand in a script as a key."""
    return bool(_WRITTEN.match(text))


def written(text: str) -> str:
    """A key of a script as `messages.Key` has it."""
    return " " if text == "space" else text


ALL_NAMES = frozenset(name for key in Keys if (name := name_of(key)) is not None)
