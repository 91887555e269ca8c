"""One table of actions: bindings, footer, help and palette are all made from it, so that no key can be undiscoverable.

An action belongs to a screen or to the shell. What it does is a function of its owner and the `Context`; whether it
works right now is another one. An action whose operation the protocol does not have is not in the table at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from casparian_console.canvas import Line, line_width
from casparian_console.effects import Effects
from casparian_protocol.wire.operations import OPERATIONS


def _always(_owner: Any, _context: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a person can do, with the keys that do it."""

    #: `jobs.retry`: the owner's name, a dot, a word.
    id: str
    keys: tuple[str, ...]
    #: One or two words for the footer.
    label: str
    #: What it does, for help and palette.
    help: str
    run: Callable[[Any, Any], Effects]
    is_there: Callable[[Any, Any], bool] = _always
    #: The heavier, the longer it stays in the footer of a narrow terminal; 0 never shows there.
    weight: int = 50
    #: Operation of the protocol without which the action does not exist.
    needs: str = ""
    #: Changes something: not in the past, not without a sentinel.
    is_change: bool = False

    @property
    def owner(self) -> str:
        return self.id.partition(".")[0]


def existing(actions: Iterable[Action]) -> tuple[Action, ...]:
    """Those whose operation exists."""
    return tuple(action for action in actions if not action.needs or action.needs in OPERATIONS)


def matches(actions: Iterable[Action], key: str) -> list[Action]:
    """Those that the key could mean; in one state of a screen at most one of its own works."""
    return [action for action in actions if key in action.keys]


#: What may be lost at the end of a row of the footer.
_ENTRY_WIDTH = 24
_KEY_NAMES = {
    "esc": "Esc",
    "enter": "Enter",
    "tab": "Tab",
    "s-tab": "Shift-Tab",
    " ": "Space",
    "pgup": "PgUp",
    "pgdn": "PgDn",
}


def key_name(key: str) -> str:
    """As people write it: `Alt-h`, `Ctrl-P`, `Enter`, `↑`."""
    if key in _KEY_NAMES:
        return _KEY_NAMES[key]
    if key.startswith("ctrl-"):
        return "Ctrl-" + key.removeprefix("ctrl-").capitalize()
    if key.startswith("alt-"):
        rest = key.removeprefix("alt-")
        return "Alt-" + (rest if len(rest) == 1 else rest.capitalize())
    return key if len(key) == 1 else key.capitalize()


def keys_of(action: Action) -> str:
    return " ".join(key_name(key) for key in action.keys)


def footer_entries(actions: Iterable[Action], width: int) -> list[tuple[Action, Line]]:
    """`Enter details  l logs …`, in the table's order; on a narrow line the lightest are left out."""
    kept = [(action, _entry(action)) for action in actions if action.weight and action.keys]
    while kept and sum(line_width(entry) for _, entry in kept) > width:
        kept.remove(min(kept, key=lambda each: each[0].weight))
    return kept


def footer_rows(actions: Iterable[Action], width: int, rows: int) -> list[list[tuple[Action, Line]]]:
    """As many entries as fit, in so many rows."""
    kept = footer_entries(actions, rows * width - (rows - 1) * _ENTRY_WIDTH)
    found: list[list[tuple[Action, Line]]] = [[] for _ in range(rows)]
    at = used = 0
    for action, entry in kept:
        if used + line_width(entry) > width and at < rows - 1:
            at, used = at + 1, 0
        found[at].append((action, entry))
        used += line_width(entry)
    return [*found[at + 1 :], *found[: at + 1]]  # an empty row is above: keys are in the lowest line


def _entry(action: Action) -> Line:
    return [("footer key", f" {key_name(action.keys[0])}"), ("footer", f" {action.label} ")]


def fuzzy(query: str, text: str) -> int | None:
    """How well the letters of `query` occur in order in `text`: smaller is better; None when they do not."""
    at, score, last = 0, 0, -1
    lowered = text.casefold()
    for character in query.casefold():
        if character == " ":
            continue
        found = lowered.find(character, at)
        if found < 0:
            return None
        is_start = found == 0 or not lowered[found - 1].isalnum()
        score += (found - last - 1) + (0 if is_start else 2)
        at, last = found + 1, found
    return score
