"""The interface between a screen and the shell, and the actions from which keys, footer, help and palette are built.

A screen owns its state (selection, filters, open panes). Its actions turn keys into effects, and the answers come back to it.
It draws itself from `Context.facts`. An action is left out if the protocol lacks its operation.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from casparian_console.canvas import Glyphs, Line, line_width
from casparian_console.facts import Facts
from casparian_console.listing import Match
from casparian_console.messages import Effects, Tagged
from casparian_protocol.wire.operations import OPERATIONS

if TYPE_CHECKING:
    from casparian_console.overlays import Overlay


def _always(_owner: Any, _context: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a user can do, with its keys."""

    #: The owner's name, a dot and a word, such as `jobs.retry`.
    id: str
    keys: tuple[str, ...]
    #: One or two words for the footer.
    label: str
    #: What it does, for the help and the palette.
    help: str
    run: Callable[[Any, Any], Effects]
    is_there: Callable[[Any, Any], bool] = _always
    #: The priority in the footer of a narrow terminal: the lowest are left out first; 0 is never shown there.
    weight: int = 50
    #: The operation of the protocol that the action needs.
    needs: str = ""
    #: Whether it changes something, and so is refused in the past and without the daemon.
    is_change: bool = False

    @property
    def owner(self) -> str:
        return self.id.partition(".")[0]


def existing(actions: Iterable[Action]) -> tuple[Action, ...]:
    """The actions whose operation exists."""
    return tuple(action for action in actions if not action.needs or action.needs in OPERATIONS)


def matches(actions: Iterable[Action], key: str) -> list[Action]:
    """The actions bound to the key. In one state of a screen at most one of them works."""
    return [action for action in actions if key in action.keys]


#: How many columns may stay unused at the end of a footer row.
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
    """The key as users write it: `Alt-h`, `Ctrl-P`, `Enter`, `↑`."""
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
    """`Enter details  l logs …`, in the table's order; on a narrow line those of the lowest priority are left out."""
    kept = [(action, _entry(action)) for action in actions if action.weight and action.keys]
    while kept and sum(line_width(entry) for _, entry in kept) > width:
        kept.remove(min(kept, key=lambda each: each[0].weight))
    return kept


def footer_rows(actions: Iterable[Action], width: int, rows: int) -> list[list[tuple[Action, Line]]]:
    """As many entries as fit into this number of rows."""
    kept = footer_entries(actions, rows * width - (rows - 1) * _ENTRY_WIDTH)
    found: list[list[tuple[Action, Line]]] = [[] for _ in range(rows)]
    at = used = 0
    for action, entry in kept:
        if used + line_width(entry) > width and at < rows - 1:
            at, used = at + 1, 0
        found[at].append((action, entry))
        used += line_width(entry)
    return [*found[at + 1 :], *found[: at + 1]]  # the empty row goes above, so that keys are in the lowest line


#: Help texts with this beginning name the part of the screen where the key works.
_PLACES = ("Log: ", "Monitoring: ", "Dead letters: ", "In the rule explorer: ")


def idle_words(action: Action, where: str) -> str:
    """Say why a key did nothing: `R (retry) does nothing on a finished job. It would …`."""
    does = action.help if action.help.startswith(_PLACES) else f"It would {action.help[0].lower()}{action.help[1:]}"
    return f"{key_name(action.keys[0])} ({action.label}) does nothing {where}. {does}."


def _entry(action: Action) -> Line:
    return [("footer key", f" {key_name(action.keys[0])}"), ("footer", f" {action.label} ")]


class Context(Protocol):
    """The part of the shell that screens and actions may use."""

    glyphs: Glyphs
    #: The path of the home.
    home: str

    @property
    def facts(self) -> Facts:
        """The facts of now, or of the moment in the past that is shown."""
        ...

    @property
    def past_seq(self) -> int | None:
        """The sequence of the event that is shown; None: now."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """The columns and rows of the main area as last drawn."""
        ...

    @property
    def can_change(self) -> bool:
        """Whether actions may change something: the console shows the present, and the daemon answers."""
        ...

    def say(self, text: str, style: str = "") -> None:
        """Show a sentence in the message line; style "bad" for failures, "ok" for what was done."""
        ...

    def log_command(self, cli: str) -> None:
        """Add a command line to the command log without running it."""
        ...

    def visit(self, screen: str) -> Effects:
        """Change the mode; Esc leads back."""
        ...

    def go(self, screen: str) -> Effects:
        """Change the mode."""
        ...

    def open(self, overlay: Overlay) -> Effects:
        """Show an overlay above everything; only one is open at a time."""
        ...

    def confirm(self, title: str, question: str, then: Effects, *, details: Sequence[str] = ()) -> Effects:
        """Ask for confirmation; `then` happens on yes. The title says what is done, the details name what it affects."""
        ...

    def prompt(self, title: str, then: Callable[[str], Effects], *, text: str = "", hint: str = "") -> Effects:
        """Ask for a line of text."""
        ...

    def choose(self, title: str, options: Sequence[tuple[str, str]], then: Callable[[str], Effects]) -> Effects:
        """Let the user choose one of (value, text) from a list that filters while typing."""
        ...

    def screen(self, name: str) -> Screen:
        """Another screen, to hand something over before `go`."""
        ...


class Screen:
    """A mode, with defaults for optional methods."""

    name: ClassVar[str]
    title: ClassVar[str]
    #: The key that leads to it from everywhere.
    key: ClassVar[str]
    #: The screen's actions; the shell adds its own. Built once with `existing`.
    ACTIONS: ClassVar[tuple[Action, ...]] = ()

    @property
    def is_unsaved(self) -> bool:
        """Whether quitting would lose typed text."""
        return False

    # What other screens hand over besides `go`; by default a screen ignores it.

    def show_job(self, job_id: str, context: Context) -> Effects:
        return []

    def show_file(self, path: str) -> Effects:
        """Show the jobs of a file."""
        return []

    def show_quarantine(self, jobs: Sequence[str] = ()) -> Effects:
        """Show the quarantined rows of jobs (none: of all)."""
        return []

    def show_parser(self, name: str, context: Context) -> Effects:
        return []

    def test_file(self, parser: str, path: str, context: Context) -> Effects:
        """Run a registered parser on a file without publishing anything."""
        return []

    def place(self) -> Hashable:
        """The innermost open part. After a visit, Esc leads back from there."""
        return None

    def enter(self, context: Context) -> Effects:
        """The screen became visible."""
        return []

    def changed(self, context: Context) -> Effects:
        """The facts changed while the screen is visible (at most once a frame): query again what is out of date."""
        return []

    def selected_words(self, context: Context) -> str:
        """Where a key did nothing, in words: `on a finished job`, `here`."""
        return "here"

    def not_found(self, pattern: str) -> str:
        """The message for a search without a match."""
        return f"“{pattern}” is not in this list."

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        """Take an answer whose tag begins with this screen's name, also while the screen is not visible."""
        return []

    def is_typing(self) -> bool:
        """Whether a field has the focus, so that letters are text and not actions. Keys that the field does not use (Enter, Esc,
        Tab, Ctrl) still act."""
        return False

    def type(self, key: str, context: Context) -> Effects | None:
        """Handle a key while `is_typing`. None: the field has no use for it."""
        return None

    def paste(self, text: str, context: Context) -> Effects:
        return []

    def move(self, key: str, context: Context) -> Effects:
        """Move by one of `listing.MOVES`."""
        return []

    def search(self, pattern: str, step: int, context: Context) -> Match | None:
        """Go to the next match (`step` 1: from here on, 2: after here, -1: before here). None: there is nothing to search."""
        return None

    def escape(self, context: Context) -> bool:
        """Leave the innermost sub-state. False: there is none."""
        return False

    def click(self, row: int, column: int, clicks: int, context: Context) -> Effects:
        """Handle a click within the main area, counted from 0."""
        return []

    def scroll(self, row: int, column: int, lines: int, context: Context) -> Effects:
        return []

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        """Exactly `height` lines of exactly `width` columns (`canvas.block`)."""
        raise NotImplementedError

    def summary(self, context: Context) -> str:
        """Describe the selection for the assistant."""
        return self.title
