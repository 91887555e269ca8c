"""The actions that work on every screen, and the command log that lists what was done as command lines."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from casparian_console.actions import Action, existing
from casparian_console.assistant.sidebar import ACTIONS as CHAT_ACTIONS
from casparian_console.canvas import Line
from casparian_console.editor import Editor
from casparian_console.effects import Copy, Effects, Suspend
from casparian_console.overlays import TextView
from casparian_console.palette import HelpView, Palette
from casparian_console.text import clean, clock

if TYPE_CHECKING:
    from casparian_console.shell import Shell

_KEPT = 500


@dataclass(frozen=True, slots=True)
class LoggedCommand:
    at_us: int
    cli: str
    #: "" while it runs, "ok", or what went wrong.
    outcome: str = ""


class CommandLog(deque[LoggedCommand]):
    """The youngest last."""

    def __init__(self) -> None:
        super().__init__(maxlen=_KEPT)

    def note(self, at_us: int, cli: str, outcome: str = "") -> None:
        self.append(LoggedCommand(at_us, cli, outcome))

    def settle(self, cli: str, outcome: str) -> None:
        """What came of the last such command that has no outcome yet."""
        for at in range(len(self) - 1, -1, -1):
            if self[at].cli == cli and not self[at].outcome:
                self[at] = replace(self[at], outcome=outcome)
                break

    def view(self) -> TextView:
        """All of it, with a key to copy it; its end is shown first."""
        lines: list[Line] = []
        for each in self:
            style = "bad" if each.outcome.startswith("failed") else "dim"
            lines.append(
                [("dim", f"{clock(each.at_us)[11:]}  "), ("", clean(each.cli)), (style, f"  {clean(each.outcome)}")]
            )
        text = "\n".join(each.cli for each in self)
        view = TextView("Command log", lines, keys={"y": ("copies all", lambda: [Copy(text)])})
        view.top = len(lines)
        return view


def show_help(shell: Shell) -> Effects:
    groups: list[tuple[str, Sequence[Action]]] = [(shell.current.title, shell.current.ACTIONS)]
    if shell.travel.is_on:
        groups.append(("Time travel", shell.travel.actions()))
    if shell.sidebar.is_open:
        groups.append(("In the chat", CHAT_ACTIONS))
    groups.append(("Everywhere", ACTIONS))
    return shell.open(HelpView(f"Keys: {shell.current.title}", shell.working(), groups))


def show_palette(shell: Shell) -> Effects:
    """Every action of every screen; what does not work here is dim, and says where it belongs."""
    listed = [(action, shell.works(action)) for action in shell.actions()]
    known = {action.id for action, _ in listed}
    for screen in shell.screens.values():
        listed += [(action, False) for action in screen.ACTIONS if action.id not in known]

    def refuse(action: Action) -> None:
        if action.owner in shell.screens and action.owner != shell.mode:
            shell.say(f"“{action.label}” belongs to {shell.screens[action.owner].title}.", "dim")
        else:
            shell.refuse(action)

    return shell.open(Palette(listed, shell.perform, refuse))


def show_commands(shell: Shell) -> Effects:
    """The command log, the youngest last, with a key to copy it."""
    if not shell.commands:
        shell.say("Nothing was done yet: actions are listed here with the commands that they stand for.", "dim")
        return []
    return shell.open(shell.commands.view())


def take_back(shell: Shell) -> Effects:
    undo, shell.undo = shell.undo, None
    return [undo] if undo is not None else []


def start_search(shell: Shell) -> Effects:
    shell.searching = Editor()
    return []


def _mode(name: str) -> Any:
    def run(shell: Any, _context: Any) -> Effects:
        return shell.go(name)  # type: ignore[no-any-return]

    return run


def _at_home(shell: Any, _context: Any) -> bool:
    return bool(shell.mode == "home")


ACTIONS: tuple[Action, ...] = existing(
    (
        Action(
            "shell.help",
            ("?",),
            "help",
            "Show every key; those that work here come first",
            lambda s, c: show_help(s),
            weight=95,
        ),
        Action(
            "shell.palette",
            (":", "ctrl-p"),
            "commands",
            "Open the command palette: find any action by a part of its name",
            lambda s, c: show_palette(s),
            weight=60,
        ),
        Action("shell.home", ("alt-h",), "home", "Go to Home", _mode("home"), weight=0),
        Action("shell.discover", ("alt-d",), "discover", "Go to Discover", _mode("discover"), weight=0),
        Action("shell.bench", ("alt-p",), "bench", "Go to the Parser Bench", _mode("bench"), weight=0),
        Action("shell.jobs", ("alt-j",), "jobs", "Go to Jobs", _mode("jobs"), weight=0),
        Action("shell.inspect", ("alt-i",), "inspect", "Go to Inspect", _mode("inspect"), weight=0),
        Action(
            "shell.assistant",
            ("alt-a",),
            "assistant",
            "Open or close the assistant at the side",
            lambda s, c: s.sidebar.toggle(s),
            weight=10,
        ),
        Action("shell.search", ("/",), "search", "Search the list", lambda s, c: start_search(s), weight=30),
        Action(
            "shell.next",
            ("n",),
            "next",
            "Go to the next match",
            lambda s, c: s.find_again(2),
            lambda s, c: bool(s.pattern),
            0,
        ),
        Action(
            "shell.previous",
            ("N",),
            "previous",
            "Go to the previous match",
            lambda s, c: s.find_again(-1),
            lambda s, c: bool(s.pattern),
            0,
        ),
        Action(
            "shell.log",
            ("!",),
            "log",
            "Show the command log: what was done here, as command lines",
            lambda s, c: show_commands(s),
            weight=20,
        ),
        Action(
            "shell.undo",
            ("U",),
            "undo",
            "Undo the last action",
            lambda s, c: take_back(s),
            lambda s, c: s.undo is not None,
            40,
            is_change=True,
        ),
        Action(
            "shell.travel",
            ("ctrl-t",),
            "past",
            "Time travel: show the home as it was at an earlier event",
            lambda s, c: s.travel.enter(s),
            weight=15,
        ),
        Action(
            "shell.back",
            ("esc",),
            "back",
            "Leave the innermost overlay, pane or mode, until Home",
            lambda s, c: [],
            weight=0,
        ),
        Action("shell.quit", ("q",), "quit", "Quit the console, from Home", lambda s, c: s.quit(), _at_home, 90),
        Action(
            "shell.quit_anywhere",
            ("ctrl-c",),
            "quit",
            "Quit from anywhere; asks when something typed would be lost",
            lambda s, c: s.quit(),
            weight=0,
        ),
        Action(
            "shell.suspend",
            ("ctrl-z",),
            "suspend",
            "Suspend the console; `fg` in the shell brings it back",
            lambda s, c: [Suspend()],
            weight=0,
        ),
        Action(
            "shell.move",
            ("j", "k", "up", "down", "g", "G", "pgup", "pgdn"),
            "move",
            "Move in lists: a line, to the ends, a page",
            lambda s, c: [],
            weight=0,
        ),
    )
)
#: Described here for the help; the shell hands its keys to the visible list.
MOVE = "shell.move"
#: Those that work while letters are text.
BESIDE_TEXT = tuple(
    replace(action, keys=keys)
    for action in ACTIONS
    if action.id not in (MOVE, "shell.back")
    and (keys := tuple(key for key in action.keys if key.startswith(("alt-", "ctrl-"))))
)
