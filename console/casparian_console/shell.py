"""The console without a terminal: messages in, effects out, a frame on demand.

The shell owns the modes, the one overlay, the search line, the message line, the command log, the sidebar and the switch
between now and the past. Screens own the main area.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from casparian_console import frame, shell_actions
from casparian_console.assistant import Sidebar
from casparian_console.canvas import UNICODE, Glyphs, Line, clean
from casparian_console.editor import Editor
from casparian_console.facts import Facts, is_load
from casparian_console.messages import (
    Answer,
    Click,
    Done,
    Effects,
    Failed,
    Gone,
    Heard,
    Key,
    Message,
    Paste,
    Quit,
    RunCommand,
    RunOperation,
    Scroll,
    Suspend,
    Tagged,
    Tick,
)
from casparian_console.overlays import Choose, Confirm, Overlay, Prompt, TextView
from casparian_console.screen import Action, Screen, idle_words, key_name, matches
from casparian_console.screens import SCREENS
from casparian_console.shell_actions import CommandLog
from casparian_console.travel import STILL_READING, Travel
from casparian_protocol.feed import FeedEvent
from casparian_protocol.wire.operations import BadArguments

MINIMUM = (80, 24)
#: How long an error message stays, whatever key is pressed.
_READ_US = 4_000_000


@dataclass
class Shell:
    """The whole console without a terminal. `home` and `assistant` come from the settings."""

    home: str = ""
    glyphs: Glyphs = UNICODE
    has_assistant: bool = False
    present: Facts = field(default_factory=Facts)

    def __post_init__(self) -> None:
        self.screens: dict[str, Screen] = {kind.name: kind() for kind in SCREENS}
        self.mode = "home"
        self.overlay: Overlay | None = None
        self.searching: Editor | None = None
        self.pattern = ""
        self.travel = Travel()
        self.sidebar = Sidebar(is_configured=self.has_assistant)
        self.message: tuple[str, str] = ("", "")
        #: The screen that Esc leads back to, and the place of the present screen from which it does.
        self._back: tuple[str, Hashable] | None = None
        self._said_us = 0
        #: The message shown while the daemon did not answer, to be removed when it does.
        self._is_said_alone = False
        self.undo: RunOperation | None = None
        self.commands = CommandLog()
        self.is_over = False
        self._size = MINIMUM
        self._asked: dict[tuple[str, ...], RunOperation] = {}

    # --- what screens see (`screen.Context`) --------------------------------------------------------------------------

    @property
    def facts(self) -> Facts:
        return self.travel.facts or self.present

    @property
    def past_seq(self) -> int | None:
        return self.travel.seq

    @property
    def size(self) -> tuple[int, int]:
        width, height = self._size
        return self.sidebar.main_width(width), max(1, height - 2 - self.footer_height - self._bars)

    @property
    def is_cut_off(self) -> bool:
        """Whether the picture may be out of date because the daemon does not answer."""
        return self.present.link in ("gone", "silent") and self.present.is_known

    @property
    def footer_height(self) -> int:
        """The number of footer rows."""
        return frame.footer_height(*self._size)

    @property
    def _bars(self) -> int:
        """The lines between the top bar and the screen."""
        return self.travel.is_on + self.is_cut_off

    @property
    def width(self) -> int:
        """The width of the whole screen as last drawn."""
        return self._size[0]

    @property
    def can_change(self) -> bool:
        return self.past_seq is None and self.present.link not in ("gone", "connecting")

    def say(self, text: str, style: str = "") -> None:
        self.message = (clean(text), style)
        self._said_us, self._is_said_alone = self.present.now_us, self.present.link == "gone"

    def log_command(self, cli: str) -> None:
        self.commands.note(self.present.now_us, cli, "ok")

    def go(self, screen: str) -> Effects:
        if screen not in self.screens:
            return []
        self.mode, self.searching, self._back = screen, None, None
        self.sidebar.is_focused = False
        return self.screens[screen].enter(self)

    def visit(self, screen: str) -> Effects:
        """Like `go`, but Esc leads back to the present screen from the other screen's current place."""
        origin = self.mode
        effects = self.go(screen)
        self._back = (origin, self.screens[screen].place())
        return effects

    def open(self, overlay: Overlay) -> Effects:
        self.overlay = overlay
        return []

    def confirm(self, title: str, question: str, then: Effects, *, details: Sequence[str] = ()) -> Effects:
        return self.open(Confirm(title, question, then, details))

    def prompt(self, title: str, then: Callable[[str], Effects], *, text: str = "", hint: str = "") -> Effects:
        return self.open(Prompt(title, then, text, hint))

    def choose(self, title: str, options: Sequence[tuple[str, str]], then: Callable[[str], Effects]) -> Effects:
        return self.open(Choose(title, options, then))

    def screen(self, name: str) -> Screen:
        return self.screens[name]

    @property
    def current(self) -> Screen:
        return self.screens[self.mode]

    # --- messages -----------------------------------------------------------------------------------------------------

    def update(self, message: Message) -> Effects:
        """Take one message. Returns the effects to perform; the next `view` shows the changes."""
        try:
            return self._noted(self._update(message))
        except BadArguments as error:  # typed text that the operation does not accept
            self.say(f"{error.problem} {error.remedy}", "bad")
            return []

    def _update(self, message: Message) -> Effects:
        match message:
            case Tick(now_us):
                self.present.tick(now_us)
                return self.travel.tick(self)
            case Heard(item):
                effects = [*self.present.hear(item), *self.travel.heard(item)]
                if isinstance(item, FeedEvent) and item.type == "WorkerLost" and self.message[1] != "bad":
                    self.say(f"Worker {item.data['worker_id']} is lost: {item.data['reason']}.", "warn")
                if self._is_said_alone and self.present.link == "live":
                    self.message, self._is_said_alone = ("", ""), False
                return effects
            case Gone(problem):
                self.present.gone(problem)
                return []
            case Key(name):
                return self._key(name)
            case Paste(text):
                return self._paste(text)
            case Click() | Scroll():
                return self._mouse(message)
            case _:
                return self._answer(message)

    def settle(self) -> Effects:
        """Before a frame, let the visible screen query again what is out of date."""
        return self._noted(self.current.changed(self))

    def _noted(self, effects: Effects) -> Effects:
        """Add effects to the command log, which shows the command line of every action."""
        for effect in effects:
            if isinstance(effect, RunOperation):
                self._asked[effect.tag] = effect
                self.commands.note(self.present.now_us, effect.cli)
            elif isinstance(effect, RunCommand) and effect.is_logged:
                self.commands.note(self.present.now_us, effect.cli)
            elif isinstance(effect, Quit):
                self.is_over = True
        return effects

    def _answer(self, message: Tagged) -> Effects:
        tag = message.tag
        if is_load(tag):
            if isinstance(message, Failed):
                self.say(f"{message.problem} {message.remedy}".strip(), "bad")
                self.present.refused(tag)
            return [*self.present.on_answer(message)] if isinstance(message, Answer) else []
        if isinstance(message, Done | Failed):
            self._outcome(message)
        if tag[0] == "travel":
            return self.travel.on_answer(message, self)
        if tag[0] == "assistant":
            return self.sidebar.on_answer(message, self)
        if tag[0] in self.screens:
            return self.screens[tag[0]].on_answer(message, self)
        return []

    def _outcome(self, message: Done | Failed) -> None:
        """Update the message line and the command log after an action."""
        asked = self._asked.pop(message.tag, None)
        if isinstance(message, Failed):
            self.say(f"{message.problem} {message.remedy}".strip(), "bad")
            outcome = f"failed: {message.problem}"
        else:
            outcome = "ok"
            if asked is not None and asked.done_text:
                known = {name: clean(value) for name, value in message.result.model_dump().items()}
                self.undo = asked.undo
                hint = "   (U takes it back)" if asked.undo is not None else ""
                self.say(asked.done_text.format_map(_Blanks(known)) + hint, "ok")
        if asked is not None:
            self.commands.settle(asked.cli, outcome)

    # --- keys ---------------------------------------------------------------------------------------------------------

    def _key(self, key: str) -> Effects:
        if self.message[1] != "bad" or key == "esc" or self.present.now_us - self._said_us > _READ_US:
            self.message = ("", "")
        if key == "ctrl-c":
            return self._quit()
        if key == "ctrl-z":
            return [Suspend()]
        if self.overlay is not None:
            return self._overlay_key(key)
        if self.searching is not None:
            return self._search_key(key)
        if self.sidebar.is_focused and (effects := self.sidebar.key(key, self)) is not None:
            return effects
        if self.current.is_typing() and key != "esc":
            effects = self.current.type(key, self)
            if effects is not None:
                return effects
            if len(key) == 1:
                return []
        if key == "esc":
            return self._escape()
        named = matches(self.actions(), key)
        if not named:
            return []
        action = next((each for each in named if self.works(each)), named[0])
        if action.id == shell_actions.MOVE:
            self.travel.touched(self.mode)
            return self.current.move(key, self)
        return self.perform(action)

    def actions(self) -> list[Action]:
        """The actions here: the screen's first, then the shell's."""
        if self.sidebar.is_focused:
            return [*self.sidebar.actions(), *shell_actions.BESIDE_TEXT]
        return [*self.sidebar.actions(), *self.travel.actions(), *self.current.ACTIONS, *shell_actions.ACTIONS]

    def owner(self, action: Action) -> Any:
        parts: dict[str, object] = {"shell": self, "travel": self.travel, "assistant": self.sidebar}
        return parts.get(action.owner) or self.screens[action.owner]

    def works(self, action: Action) -> bool:
        if action.is_change and not self.can_change:
            return False
        return action.is_there(self.owner(action), self)

    def perform(self, action: Action) -> Effects:
        """Perform an action, or say why it is not possible."""
        if not self.works(action):
            self.refuse(action)
            return []
        if action.owner == self.mode:
            self.travel.touched(self.mode)
        return action.run(self.owner(action), self)

    def refuse(self, action: Action) -> None:
        if action.is_change and self.past_seq is not None:
            self.say(f"Nothing can be changed in the past ({action.label}). Esc returns to now.", "warn")
        elif action.is_change and not self.can_change:
            self.say(f"{self.present.absence}, so nothing can be changed ({action.label}).", "warn")
        elif action.owner == "travel" and self.travel.seq is None:
            self.say(f"{STILL_READING} {key_name(action.keys[0])} ({action.label}) works after that.", "dim")
        else:
            self.say(idle_words(action, self.current.selected_words(self)), "dim")

    def _overlay_key(self, key: str) -> Effects:
        overlay = self.overlay
        assert overlay is not None
        if key == "esc":
            self.overlay = overlay if overlay.escape() else None
            return []
        if isinstance(overlay, TextView) and key.startswith("alt-"):
            self.overlay = None  # changing the mode also closes a text view
            return self._key(key)
        effects = overlay.handle(key)
        if overlay.is_closed and self.overlay is overlay:
            self.overlay = None
        return effects

    def _search_key(self, key: str) -> Effects:
        assert self.searching is not None
        if key == "esc":
            self.searching = None
        elif key == "enter":
            self.pattern, self.searching = self.searching.text, None
            self.find_again(1)
        else:
            self.searching.handle(key)
        return []

    def find_again(self, step: int) -> Effects:
        """Repeat the search. `step` 1: from the selected row on, 2: after it, -1: before it."""
        self.travel.touched(self.mode)
        found = self.current.search(self.pattern, step, self)
        if found is None:
            self.say("Nothing can be searched here.", "dim")
        elif not found:
            self.say(self.current.not_found(self.pattern), "warn")
        else:
            self.say(f"“{self.pattern}” {found.place:,}/{found.total:,}", "dim")
        return []

    def _escape(self) -> Effects:
        """Leave the innermost of: the chat, a sub-state, the past, the mode. At Home, Esc does nothing."""
        if self.sidebar.is_focused:
            self.sidebar.is_focused = False
            return []
        if self._back is not None and self._back[1] == self.current.place():
            return self.go(self._back[0])
        if self.current.escape(self):
            return []
        if self.travel.is_on:
            return self.travel.leave(self)
        return self.go("home") if self.mode != "home" else []

    def _quit(self) -> Effects:
        unsaved = [screen.title for screen in self.screens.values() if screen.is_unsaved]
        if isinstance(self.overlay, Confirm) and self.overlay.then == [Quit()]:
            return [Quit()]
        if unsaved:
            return self.confirm("Quit", f"Quit? What you typed in {' and '.join(unsaved)} is not saved.", [Quit()])
        return [Quit()]

    def quit(self) -> Effects:
        return self._quit()

    def _paste(self, text: str) -> Effects:
        if self.overlay is not None:
            self.overlay.paste(text)
        elif self.searching is not None:
            self.searching.insert(text)
        elif self.sidebar.is_focused:
            self.sidebar.paste(text)
        else:
            return self.current.paste(text, self)
        return []

    def _mouse(self, message: Click | Scroll) -> Effects:
        if self.overlay is not None:
            if isinstance(message, Scroll):
                self.overlay.scroll(message.lines)
            return []
        top = 1 + self._bars
        width, height = self.size
        row = message.row - top
        footer = message.row - (self._size[1] - self.footer_height)
        if isinstance(message, Click) and footer >= 0:
            action = frame.action_at(self.working(), footer, message.column, self._size[0], self.footer_height)
            return self.perform(action) if action is not None else []
        if isinstance(message, Click) and message.row == 0:
            mode = frame.mode_at(self, message.column)
            return self.go(mode) if mode else []
        if not (0 <= row < height):
            return []
        if message.column >= width:
            return self.sidebar.mouse(message, self)
        if isinstance(message, Scroll):
            return self.current.scroll(row, message.column, message.lines, self)
        self.travel.touched(self.mode)
        return self.current.click(row, message.column, message.clicks, self)

    def view(self, width: int, height: int) -> list[Line]:
        """The whole screen: exactly `height` lines of exactly `width` columns."""
        self._size = (width, height)
        return frame.draw(self, width, height)

    def working(self) -> list[Action]:
        """The actions whose keys work right now, with those keys. A key belongs to the first action that is bound to it;
        letters are text while a field has the focus."""
        working: list[Action] = []
        claimed: set[str] = set()
        for action in self.actions():
            if self.works(action):
                free = (key for key in action.keys if key not in claimed)
                keys = tuple(key for key in free if len(key) > 1 or not self.current.is_typing())
                claimed.update(keys)
                working += [replace(action, keys=keys)] if keys else []
        return working


class _Blanks(dict[str, str]):
    """A mapping for `format` in which missing names are empty."""

    def __missing__(self, key: str) -> str:
        return ""
