"""The actions that work on every screen, and what they open: the help, the command palette and the command log.

The help and the reference page (docs/reference/console.md) are built from the tables that bind the keys.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Protocol

from casparian_console.assistant import ACTIONS as CHAT_ACTIONS
from casparian_console.assistant import Sidebar
from casparian_console.canvas import Glyphs, Line, clean, clip, clock, fit, restyle
from casparian_console.editor import Editor
from casparian_console.listing import Cursor, Fixed
from casparian_console.messages import Copy, Effects, RunOperation, Suspend
from casparian_console.overlays import Overlay, TextView, ranked, wrapped
from casparian_console.screen import Action, Context, Screen, existing, key_name, keys_of
from casparian_console.screens import SCREENS
from casparian_console.travel import ACTIONS as TRAVEL
from casparian_console.travel import Travel


@dataclass
class Palette(Overlay):
    """Every action with its key; those that do not work right now are dim and say so."""

    actions: Sequence[tuple[Action, bool]]
    perform: Callable[[Action], Effects]
    refuse: Callable[[Action], None]
    title: str = "Commands"
    wish: tuple[int, int] = (76, 22)

    def __post_init__(self) -> None:
        self.editor = Editor()
        self.cursor = Cursor()
        self._height = 8

    def _matching(self) -> list[tuple[Action, bool]]:
        return ranked(self.editor.text, self.actions, lambda entry: entry[0].label, lambda entry: entry[0].help)

    def handle(self, key: str) -> Effects:
        found = self._matching()
        if key == "enter" and found:
            action, works = found[min(self.cursor.at, len(found) - 1)]
            self.is_closed = True
            if works:
                return self.perform(action)
            self.refuse(action)
        elif key in ("up", "down", "pgup", "pgdn"):
            self.cursor.move(key, Fixed([action.id for action, _ in found]), self._height)
        elif key != "enter" and self.editor.handle(key):
            self.cursor = Cursor()
        return []

    def paste(self, text: str) -> None:
        self.editor.insert(text)

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        self._height = max(1, height - 2)
        found = self._matching()
        self.cursor.settle(Fixed([action.id for action, _ in found]), self._height)
        lines: list[Line] = [self.editor.line(width, style="input", placeholder="type a command"), []]
        for at, (action, works) in enumerate(found[self.cursor.top : self.cursor.top + self._height], self.cursor.top):
            keys = keys_of(action)
            line: Line = [("" if works else "dim", clip(action.help, width - 16)), ("", "  ")]
            line = [*fit(line, width - 14), ("key" if works else "dim", clip(keys, 14))]
            lines.append(restyle(fit(line, width), "selected") if at == self.cursor.at else line)
        return lines if found else [*lines, [("dim", "nothing matches")]]

    def hint(self) -> str:
        return "letters filter   Enter: do it   Esc: cancel"


#: The width of the column of keys in the help; more keys take another line.
_KEY_COLUMNS = 13
_NOW = "Works here now"


class HelpView(TextView):
    """Every key: first those that work right now, then the others by table, dim.

    `/` filters by a word of the key or of its description.
    """

    def __init__(self, title: str, now: Sequence[Action], groups: Sequence[tuple[str, Sequence[Action]]]) -> None:
        super().__init__(title, [], wish=(96, 60))
        working = {action.id for action in now}
        self._groups = [(_NOW, list(now))]
        self._groups += [(name, [each for each in actions if each.id not in working]) for name, actions in groups]
        self._filter = Editor()
        self._is_filtering = False
        self._width = 80

    def handle(self, key: str) -> Effects:
        if self._is_filtering and key != "enter":
            self._filter.handle(key)
            self.top = 0
        elif key in ("/", "enter"):
            self._is_filtering = key == "/"
        else:
            return super().handle(key)
        return []

    def escape(self) -> bool:
        if not (self._is_filtering or self._filter.text):
            return False
        self._is_filtering = False
        self._filter = Editor()
        return True

    def rows(self, width: int) -> int:
        """The height of the unfiltered text, so that the box does not change while the user types."""
        everything = [line for name, actions in self._groups for line in self._group(name, actions, width)]
        self.lines = everything[:-1]
        return super().rows(width)

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        wanted = self._filter.text.casefold()
        if not wanted and not self._is_filtering:
            return super().body(width, height, glyphs)
        found = [
            line
            for name, actions in self._groups
            for line in self._group(name, [each for each in actions if wanted in _words(each)], width)
        ]
        self.lines = found[:-1] or [[("dim", "No key does that.")]]
        field = self._filter.line(width, style="input", is_focused=self._is_filtering, placeholder="type to filter")
        return [field, [], *super().body(width, height - 2, glyphs)]

    def hint(self) -> str:
        if self._is_filtering:
            return "letters filter  Enter: scroll in it  Esc: all keys"
        return f"/ filter  {super().hint()}"

    def _group(self, name: str, actions: Sequence[Action], width: int) -> list[Line]:
        listed = [action for action in actions if action.keys]
        if not listed:
            return []
        works = name == _NOW
        lines: list[Line] = [[("title", name), ("dim", "" if works else "  not right now")]]
        for action in listed:
            keys = wrapped(keys_of(action), _KEY_COLUMNS, "key" if works else "dim")
            helps = wrapped(action.help, width - _KEY_COLUMNS - 3, "" if works else "dim")
            for left, right in zip_longest(keys, helps):
                lines.append([*fit([("", "  "), *(left or [])], _KEY_COLUMNS + 3), *(right or [])])
        return [*lines, []]


def _words(action: Action) -> str:
    return f"{keys_of(action)} {action.label} {action.help}".casefold()


_KEPT = 500


@dataclass(frozen=True, slots=True)
class LoggedCommand:
    at_us: int
    cli: str
    #: "" while it runs, "ok", or what went wrong.
    outcome: str = ""


class CommandLog(deque[LoggedCommand]):
    """The command log, the latest entry last."""

    def __init__(self) -> None:
        super().__init__(maxlen=_KEPT)

    def note(self, at_us: int, cli: str, outcome: str = "") -> None:
        self.append(LoggedCommand(at_us, cli, outcome))

    def settle(self, cli: str, outcome: str) -> None:
        """Record the outcome of the last such command without one."""
        for at in range(len(self) - 1, -1, -1):
            if self[at].cli == cli and not self[at].outcome:
                self[at] = replace(self[at], outcome=outcome)
                break

    def view(self) -> TextView:
        """A view of the log with a key to copy it, scrolled to its end."""
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


class Shell(Context, Protocol):
    """The part of the shell that its actions use."""

    screens: dict[str, Screen]
    mode: str
    searching: Editor | None
    travel: Travel
    sidebar: Sidebar
    undo: RunOperation | None
    commands: CommandLog

    @property
    def current(self) -> Screen: ...

    def actions(self) -> list[Action]: ...

    def working(self) -> list[Action]: ...

    def works(self, action: Action) -> bool: ...

    def perform(self, action: Action) -> Effects: ...

    def refuse(self, action: Action) -> None: ...


def show_help(shell: Shell) -> Effects:
    groups: list[tuple[str, Sequence[Action]]] = [(shell.current.title, shell.current.ACTIONS)]
    if shell.travel.is_on:
        groups.append(("Time travel", shell.travel.actions()))
    if shell.sidebar.is_open:
        groups.append(("In the chat", CHAT_ACTIONS))
    groups.append(("Everywhere", ACTIONS))
    return shell.open(HelpView(f"Keys: {shell.current.title}", shell.working(), groups))


def show_palette(shell: Shell) -> Effects:
    """Show every action of every screen; those that do not work here are dim and say where they do."""
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
    """Show the command log, the latest entry last, with a key to copy it."""
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
        *(
            Action(f"shell.{mode.name}", (mode.key,), mode.name, f"Go to {mode.title}", _mode(mode.name), weight=0)
            for mode in SCREENS
        ),
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
#: Listed here for the help only; the shell passes these keys to the visible list.
MOVE = "shell.move"
#: The actions that work while letters are text.
BESIDE_TEXT = tuple(
    replace(action, keys=keys)
    for action in ACTIONS
    if action.id not in (MOVE, "shell.back")
    and (keys := tuple(key for key in action.keys if key.startswith(("alt-", "ctrl-"))))
)


_REFERENCE_HEAD = """\
# Keys of the console

Generated from the tables that bind the keys (`python -m docs.generated`). What a key does can depend on what is open;
`?` in the console lists what is there, the lowest line what works right now. A key that changes something is marked *; it asks
first where work or data are hit, and is refused in the past and while no daemon answers. The [how-to](../how-to/console.md)
explains the screens.
"""


def reference() -> str:
    parts = [_REFERENCE_HEAD]
    tables: list[tuple[str, Iterable[Action]]] = [("Everywhere", ACTIONS)]
    tables += [(screen.title, screen.ACTIONS) for screen in SCREENS]
    tables += [("Time travel", TRAVEL), ("Assistant", CHAT_ACTIONS)]
    for title, actions in tables:
        parts.append(f"\n## {title}\n\n| key | does |\n|---|---|\n")
        parts += [_reference_row(action) for action in actions]
    return "".join(parts)


def _reference_row(action: Action) -> str:
    keys = " ".join(f"`{key_name(key)}`" for key in action.keys)
    mark = " *" if action.is_change else ""
    return f"| {keys} | {action.help.replace('|', '&#124;')}{mark} |\n"
