"""What a screen and the shell are to each other, and the table of actions from which keys, footer, help and palette are made.

A screen owns its own state (selection, filters, open panes), turns keys into effects through its actions, takes the answers
to what it asked, and draws itself from `Context.facts`. An action whose operation the protocol lacks is not in the table.
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


#: Help that begins so names the part of a screen where the key works.
_PLACES = ("Log: ", "Monitoring: ", "Dead letters: ", "In the rule explorer: ")


def idle_words(action: Action, where: str) -> str:
    """`R (retry) does nothing on a finished job. It would …`: why a key did nothing."""
    does = action.help if action.help.startswith(_PLACES) else f"It would {action.help[0].lower()}{action.help[1:]}"
    return f"{key_name(action.keys[0])} ({action.label}) does nothing {where}. {does}."


def _entry(action: Action) -> Line:
    return [("footer key", f" {key_name(action.keys[0])}"), ("footer", f" {action.label} ")]


class Context(Protocol):
    """The shell, as screens and actions see it."""

    glyphs: Glyphs
    #: The home's directory, as text.
    home: str

    @property
    def facts(self) -> Facts:
        """Of now, or of the past that the console stands in."""
        ...

    @property
    def past_seq(self) -> int | None:
        """The sequence that the console stands at; None is now."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the main area, as last drawn."""
        ...

    @property
    def can_change(self) -> bool:
        """Whether actions that change something may be done: now, with a sentinel that answers."""
        ...

    def say(self, text: str, style: str = "") -> None:
        """Put a sentence into the message line; style "bad" for failures, "ok" for what was done."""
        ...

    def log_command(self, cli: str) -> None:
        """Note a command line in the command log, without doing anything."""
        ...

    def visit(self, screen: str) -> Effects:
        """Change the mode, with a way back by Esc."""
        ...

    def go(self, screen: str) -> Effects:
        """Change the mode."""
        ...

    def open(self, overlay: Overlay) -> Effects:
        """Show an overlay above everything; there is only ever one."""
        ...

    def confirm(self, title: str, question: str, then: Effects, *, details: Sequence[str] = ()) -> Effects:
        """Ask once; `then` is done on yes. The title says what is done, the details name what it hits."""
        ...

    def prompt(self, title: str, then: Callable[[str], Effects], *, text: str = "", hint: str = "") -> Effects:
        """Ask for a line of text."""
        ...

    def choose(self, title: str, options: Sequence[tuple[str, str]], then: Callable[[str], Effects]) -> Effects:
        """Let one of (value, text) be chosen from a list that filters while typing."""
        ...

    def screen(self, name: str) -> Screen:
        """Another screen, to hand something over to it before `go`."""
        ...


class Screen:
    """A mode, with defaults for what it does not care about."""

    name: ClassVar[str]
    title: ClassVar[str]
    #: The key that leads to it from everywhere.
    key: ClassVar[str]
    #: Its actions; the shell adds its own. Built once, from `actions.existing`.
    ACTIONS: ClassVar[tuple[Action, ...]] = ()

    @property
    def is_unsaved(self) -> bool:
        """Something typed would be lost by quitting."""
        return False

    # What other screens hand over, besides `go`; a screen that does not deal in such things lets it pass.

    def show_job(self, job_id: str, context: Context) -> Effects:
        return []

    def show_file(self, path: str) -> Effects:
        """The jobs of a file."""
        return []

    def show_quarantine(self, jobs: Sequence[str] = ()) -> Effects:
        """What was set aside of jobs (none: of all)."""
        return []

    def show_parser(self, name: str, context: Context) -> Effects:
        return []

    def test_file(self, parser: str, path: str, context: Context) -> Effects:
        """Run a registered parser on a file, without publishing anything."""
        return []

    def place(self) -> Hashable:
        """What is open on it, the innermost: after a visit, Esc leads back from there."""
        return None

    def enter(self, context: Context) -> Effects:
        """It became visible."""
        return []

    def changed(self, context: Context) -> Effects:
        """The facts changed while it is visible (at most once a frame): ask again for what has grown old."""
        return []

    def selected_words(self, context: Context) -> str:
        """Where a key did nothing: `on a finished job`, `here`."""
        return "here"

    def not_found(self, pattern: str) -> str:
        """What to say when `search` found nothing."""
        return f"“{pattern}” is not in this list."

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        """An answer to an effect whose tag begins with this screen's name; also while it is not visible."""
        return []

    def is_typing(self) -> bool:
        """A field has the focus: letters are text, not actions. Enter, Esc, Tab and Ctrl keys that it leaves come through."""
        return False

    def type(self, key: str, context: Context) -> Effects | None:
        """A key while `is_typing`; None when the field has no use for it."""
        return None

    def paste(self, text: str, context: Context) -> Effects:
        return []

    def move(self, key: str, context: Context) -> Effects:
        """One of `listing.MOVES`."""
        return []

    def search(self, pattern: str, step: int, context: Context) -> Match | None:
        """Go to the next match (`step` 1: from here on, 2: behind here, -1: before here); None when nothing can be searched."""
        return None

    def escape(self, context: Context) -> bool:
        """Leave the innermost sub-state; False when there is none."""
        return False

    def click(self, row: int, column: int, clicks: int, context: Context) -> Effects:
        """Within the main area, from 0."""
        return []

    def scroll(self, row: int, column: int, lines: int, context: Context) -> Effects:
        return []

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        """Exactly `height` lines of exactly `width` columns (`canvas.block`)."""
        raise NotImplementedError

    def summary(self, context: Context) -> str:
        """What is selected, in words, for the assistant."""
        return self.title
