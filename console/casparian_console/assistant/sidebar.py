"""The assistant's sidebar: its keys, input field and scrolling, and the conversation wrapped to a narrow column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from casparian_console.assistant.turns import Conversation, Entry, Turns
from casparian_console.canvas import Glyphs, Line, block, clean, fit, line_width, width_of
from casparian_console.editor import Editor
from casparian_console.messages import Click, Effects, Scroll
from casparian_console.screen import Action, matches

_PIECE_CHARACTERS = 2_000
_WHO = {"you": ("accent bold", "you"), "model": ("title", "assistant"), "request": ("warn bold", "it asks you")}
_STYLES = {"you": "", "model": "", "tool": "dim", "note": "dim", "problem": "bad", "request": "warn"}
_TAB = "    "

WELCOME = (
    "Ask about what you see. The assistant looks things up with commands, which it shows here; it changes nothing"
    " without you."
)
SETUP = (
    "No assistant is set up.",
    "",
    "Name its server in the home's config.toml:",
    "[assistant]",
    'endpoint = "http://127.0.0.1:11434/v1"',
    'model = "llama3.1:8b"',
    "",
    "Any server that speaks the OpenAI protocol will do, also one on this machine. What you type, what is selected and what is"
    " looked up goes there and nowhere else. Then start the console again.",
)


class Wrapped:
    """The rows of a conversation at one width, cached between frames."""

    def __init__(self) -> None:
        self._width = 0
        self._rows: dict[int, tuple[tuple[str, str], list[Line]]] = {}

    def rows(self, talk: Conversation, width: int) -> list[Line]:
        """All rows. Only entries that changed since the last frame are wrapped again."""
        if width != self._width:
            self._width, self._rows = width, {}
        kept: dict[int, tuple[tuple[str, str], list[Line]]] = {}
        rows: list[Line] = []
        for entry in talk.entries:
            known = self._rows.get(id(entry))
            if known is None or known[0] != (entry.role, entry.text):
                known = ((entry.role, entry.text), list(entry_rows(entry, width)))
            kept[id(entry)] = known
            rows += known[1]
        self._rows = kept
        return rows


def entry_rows(entry: Entry, width: int) -> Iterator[Line]:
    if entry.role in _WHO:
        yield []
        style, who = _WHO[entry.role]
        yield [(style, who)]
    style = _STYLES[entry.role]
    for text in wrapped(entry.text, width):
        yield [(style, text)]


def wrapped(text: str, width: int) -> Iterator[str]:
    """Cleaned lines of at most `width` columns, broken at blanks where possible; long words are cut."""
    for line in text.replace("\r\n", "\n").replace("\t", _TAB).split("\n"):
        pieces = [line[at : at + _PIECE_CHARACTERS] for at in range(0, len(line), _PIECE_CHARACTERS)] or [""]
        for piece in pieces:
            yield from _broken(clean(piece).rstrip(), width)


def _broken(line: str, width: int) -> Iterator[str]:
    if width_of(line) <= width:
        yield line
        return
    row, used = "", 0
    for word in line.split(" "):
        columns = width_of(word)
        if row and used + 1 + columns <= width:
            row, used = f"{row} {word}", used + 1 + columns
            continue
        if row:
            yield row
        row, used = word, columns
        while used > width:
            cut = _cut(row, width)
            yield row[:cut]
            row = row[cut:]
            used = width_of(row)
    yield row


def _cut(text: str, width: int) -> int:
    """The number of characters that fit: at least one, so that the caller's loop ends."""
    used = 0
    for at, character in enumerate(text):
        used += width_of(character)
        if used > width:
            return max(1, at)
    return len(text)


def setup_rows(width: int) -> list[Line]:
    rows: list[Line] = []
    for text in SETUP:
        style = "accent" if text.startswith(("[", "endpoint", "model")) else ""
        rows += [[(style, line)] for line in wrapped(text, width)]
    return rows


def title_line(state: str, width: int, glyphs: Glyphs, *, is_focused: bool) -> Line:
    """The first row: the name and the current state."""
    style = "title" if is_focused else "dim"
    right = f" {state} " if state else ""
    rest = max(0, width - len("ASSISTANT ") - width_of(right))
    return [(style, "ASSISTANT "), ("border", glyphs.corners[4] * rest), ("warn" if state else "", right)]


_NARROWEST = 24
_FIELD_ROWS = 5


def _is_set_up(sidebar: Any, _context: Any) -> bool:
    return bool(sidebar.is_configured and sidebar.is_focused)


def _is_busy(sidebar: Any, context: Any) -> bool:
    return _is_set_up(sidebar, context) and sidebar.turns.is_busy


def _can_send(sidebar: Any, context: Any) -> bool:
    return _is_set_up(sidebar, context) and not sidebar.turns.is_busy


def _is_asked(sidebar: Any, _context: Any) -> bool:
    return sidebar.turns.request is not None


ACTIONS: tuple[Action, ...] = (
    Action("assistant.send", ("enter",), "send", "Send what is typed", lambda s, c: s.send(c), _can_send, 95),
    Action(
        "assistant.decide",
        ("ctrl-y",),
        "decide",
        "See what the assistant asks for, and agree or refuse",
        lambda s, c: s.turns.decide(c),
        _is_asked,
        94,
    ),
    Action(
        "assistant.stop",
        ("ctrl-x", "esc"),
        "stop",
        "Stop the answer, the tool or the request that is running",
        lambda s, c: s.turns.stop(),
        _is_busy,
        93,
    ),
    Action(
        "assistant.switch",
        ("tab",),
        "chat/main",
        "Between the chat and the main area",
        lambda s, c: s.switch(),
        weight=80,
    ),
    Action(
        "assistant.line",
        ("alt-enter", "ctrl-j"),
        "new line",
        "A new line in the question",
        lambda s, c: s.new_line(),
        _is_set_up,
        40,
    ),
    Action(
        "assistant.page_up",
        ("pgup",),
        "scroll",
        "A page up in the conversation",
        lambda s, c: s.page(-1),
        _is_set_up,
        50,
    ),
    Action("assistant.page_down", ("pgdn",), "down", "A page down, to its end", lambda s, c: s.page(1), _is_set_up, 0),
    Action(
        "assistant.row_up",
        ("ctrl-up",),
        "up",
        "A line up in the conversation",
        lambda s, c: s.scroll(-1),
        _is_set_up,
        0,
    ),
    Action("assistant.row_down", ("ctrl-down",), "down", "A line down", lambda s, c: s.scroll(1), _is_set_up, 0),
)


class Sidebar:
    def __init__(self, *, is_configured: bool) -> None:
        self.is_configured = is_configured
        self.is_open = False
        self.is_focused = False
        self.editor = Editor(is_multiline=True)
        self.talk = Conversation()
        self.turns = Turns(self.talk)
        self._wrapped = Wrapped()
        #: The first visible row; None follows the end.
        self._top: int | None = None
        self._rows = self._height = 0

    def main_width(self, width: int) -> int:
        """The main area's width in columns while the sidebar is open: 70 %."""
        return width - max(_NARROWEST, width * 3 // 10) if self.is_open else width

    def toggle(self, context: Any) -> Effects:
        self.is_open = self.is_focused = not self.is_open
        return []

    def switch(self) -> Effects:
        self.is_focused = not self.is_focused
        return []

    # --- keys ---------------------------------------------------------------------------------------------------------

    def actions(self) -> tuple[Action, ...]:
        """The key bindings while the sidebar is open. While the main area has the focus, only the key that leads into the
        chat."""
        if not self.is_open:
            return ()
        return ACTIONS if self.is_focused else tuple(action for action in ACTIONS if action.id == "assistant.switch")

    def key(self, key: str, context: Any) -> Effects | None:
        """Handle a key while the chat has the focus. None: the shell handles it."""
        action = next((each for each in matches(ACTIONS, key) if each.is_there(self, context)), None)
        if action is not None:
            effects: Effects = action.run(self, context)
            return effects
        if key == "esc" or key.startswith("alt-") or key in ("ctrl-p", "ctrl-t"):
            return None
        if key == "enter" and self.turns.is_busy:
            context.say("It is still answering the last question; Esc stops it.", "dim")
        elif self.is_configured:
            self.editor.handle(key)
        return []

    def send(self, context: Any) -> Effects:
        question = self.editor.text.strip()
        if not question:
            return []
        self.editor.remember()
        self.editor.set("")
        self._top = None
        return self.turns.ask(question, context)

    def new_line(self) -> Effects:
        self.editor.insert("\n")
        return []

    def paste(self, text: str) -> None:
        if self.is_configured:
            self.editor.insert(text)

    def page(self, step: int) -> Effects:
        return self.scroll(step * max(1, self._height - 1))

    def scroll(self, rows: int) -> Effects:
        """Scroll the conversation. At the end, the view follows new text."""
        last = max(0, self._rows - self._height)
        top = (last if self._top is None else min(self._top, last)) + rows
        self._top = None if top >= last else max(0, top)
        return []

    def mouse(self, message: Any, context: Any) -> Effects:
        if isinstance(message, Scroll):
            self.scroll(message.lines)
        elif isinstance(message, Click):
            self.is_focused = True
        return []

    def on_answer(self, message: Any, context: Any) -> Effects:
        return self.turns.on_answer(message, context)

    # --- how it looks -------------------------------------------------------------------------------------------------

    def draw(self, context: Any, width: int, height: int) -> list[Line]:
        inner = width - 2
        edge = "border" if not self.is_focused else "accent"
        head = title_line(self.turns.state, inner, context.glyphs, is_focused=self.is_focused)
        if not self.is_configured:
            lines = [head, *setup_rows(inner - 1)]
        else:
            field = self._field(inner)
            below = [[("border", context.glyphs.corners[4] * inner)], *field, self._hint(inner)]
            lines = [head, *self._window(inner - 1, height - 1 - len(below)), *below]
        return [[(edge, context.glyphs.corners[5]), ("", " "), *line] for line in block(lines, inner, height)]

    def _window(self, width: int, height: int) -> list[Line]:
        rows = self._wrapped.rows(self.talk, width)
        if not rows:
            rows = [[("dim", text)] for text in wrapped(WELCOME, width)]
        self._rows, self._height = len(rows), height
        last = max(0, len(rows) - height)
        top = last if self._top is None else min(self._top, last)
        return block(rows[top : top + height], width, height)

    def _field(self, width: int) -> list[Line]:
        rows = max(1, min(_FIELD_ROWS, self.editor.text.count("\n") + 1))
        if not self.editor.text and not self.is_focused:
            return [[("dim", "Tab: ask something")]]
        return self.editor.lines(width, rows, style="input", is_focused=self.is_focused)

    def _hint(self, width: int) -> Line:
        """The keys that matter now; the footer lists the others."""
        if self.turns.request is not None:
            words = [("warn", "Ctrl-Y decide"), ("dim", " Ctrl-X drop")]
        elif self.turns.is_busy:
            words = [("dim", "Esc or Ctrl-X: stop")]
        elif self._top is not None:
            words = [("dim", "PgDn: to the end")]
        elif self.is_focused:
            words = [("dim", "Enter sends  Tab main")]
        else:
            words = [("dim", "Alt-a closes")]
        return words if line_width(words) <= width else fit(words[:1], width)
