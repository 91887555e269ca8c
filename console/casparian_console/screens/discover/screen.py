"""Discover: the sources, their files, the content of a file, and tags.

The screen owns the chosen source and tag, the list's window and cursor, and the focus. `preview` shows files, `matching`
matches patterns, `commands` changes tags, and `drawing` draws.
"""

from __future__ import annotations

from casparian_console.canvas import Line
from casparian_console.listing import Cursor, Fixed, Match
from casparian_console.messages import Answer, Done, Effects, Ended, Failed, Listing, Output, Tagged
from casparian_console.overlays import PathPrompt
from casparian_console.screen import Context, Screen
from casparian_console.screens.discover import commands, drawing
from casparian_console.screens.discover.commands import Scan
from casparian_console.screens.discover.explorer import Explorer
from casparian_console.screens.discover.files import (
    LABELS,
    SOURCES,
    Dropdown,
    File,
    Filter,
    Label,
    Source,
    Window,
    label_options,
    source_options,
)
from casparian_console.screens.discover.preview import Preview

#: Events that make lists and counts out of date. The end of a job changes the status of its file.
_CHANGES = frozenset(
    {
        *(
            "FilesObserved",
            "FilesRevised",
            "FilesTagged",
            "ScanFinished",
            "TagRuleAdded",
            "TagRuleRemoved",
            "SourceAdded",
            "SourceRemoved",
        ),
        *("JobCompleted", "JobFailed", "JobDeadLettered", "JobCancelled"),
    }
)
#: The shortest time between two such refreshes.
_REFRESH_US = 2_000_000


class Discover(Screen):
    name = "discover"
    title = "Discover"
    key = "alt-d"
    ACTIONS = commands.ACTIONS

    def __init__(self) -> None:
        self.dropdowns = (
            Dropdown("Source", "1", Source(name="all sources")),
            Dropdown("Tags, rules", "2", Label(name="all tags")),
        )
        self.window = Window()
        self.cursor = Cursor()
        self.preview = Preview()
        self.scan = Scan()
        self.explorer = Explorer()
        self.is_right = False
        self.layout = drawing.Layout()
        self.prompt: PathPrompt | None = None
        self._seen_seq = 0
        self._refreshed_us = 0
        self._is_stale = True

    # --- the selection ------------------------------------------------------------------------------------------------

    @property
    def is_unsaved(self) -> bool:
        return self.explorer.is_unsaved

    def file(self) -> File | None:
        rows = self.window.rows
        return rows[self.cursor.at] if self.cursor.at < len(rows) else None

    def dropdown(self) -> Dropdown | None:
        return next((each for each in self.dropdowns if each.is_open), None)

    def settle(self) -> None:
        self.cursor.settle(self.window, self.layout.files_shown)

    # --- keeping up ---------------------------------------------------------------------------------------------------

    def enter(self, context: Context) -> Effects:
        return self.changed(context)

    def changed(self, context: Context) -> Effects:
        """After a scan, a tag, a rule or ended jobs, load everything again without moving the list, at most every two seconds."""
        facts = context.facts
        if context.past_seq is not None:
            return []
        for event in reversed(facts.recent):
            if event.seq <= self._seen_seq:
                break
            self._is_stale = self._is_stale or event.type in _CHANGES
        self._seen_seq = max(self._seen_seq, facts.seq)
        if not self._is_stale or facts.now_us - self._refreshed_us < _REFRESH_US or facts.link != "live":
            return []
        self._is_stale, self._refreshed_us = False, facts.now_us
        return [*self.window.again(self.cursor.top), SOURCES, LABELS, *self.preview.refresh()]

    def _moved(self) -> Effects:
        """The cursor moved: load more files if needed, and another preview."""
        return [*self.window.near(self.cursor.at), *self.preview.choose(self.file())]

    def _filtered(self) -> Effects:
        source, label = (each.current() if each.is_open else each.chosen for each in self.dropdowns)
        assert isinstance(source, Source)
        assert isinstance(label, Label)
        wanted = Filter(source, label, self.window.filter.text)
        return self.window.show(wanted) if wanted != self.window.filter else []

    # --- the filter ---------------------------------------------------------------------------------------------------

    def open_dropdown(self, at: int, context: Context) -> Effects:
        self.dropdowns[at].open()
        self.is_right = False
        return []

    def is_typing(self) -> bool:
        return self.explorer.is_typing or self.dropdown() is not None

    def type(self, key: str, context: Context) -> Effects | None:
        if self.explorer.is_typing:
            return self.explorer.type(key)
        dropdown = self.dropdown()
        if dropdown is None or not dropdown.handle(key):
            return None
        return self._filtered()

    def paste(self, text: str, context: Context) -> Effects:
        if self.explorer.is_typing:
            return self.explorer.paste(text)
        if (dropdown := self.dropdown()) is not None:
            dropdown.editor.insert(text)
            dropdown.cursor = Cursor()
            return self._filtered()
        return []

    def ask_text(self, context: Context) -> Effects:
        return context.prompt(
            "Only files with this in their path",
            lambda text: self.set_text(text, context),
            text=self.window.filter.text,
            hint="In any case; looks at all known files of the chosen source and tag.",
        )

    def set_text(self, text: str, context: Context) -> Effects:
        chosen = self.window.filter
        return self.window.show(Filter(chosen.source, chosen.label, text))

    def go_on(self, context: Context) -> Effects:
        """Enter: confirm the dropdown, take the explorer's next step, or list what can be done with the file."""
        if self.explorer.is_open:
            return self._explorer_step(context)
        dropdown = self.dropdown()
        if dropdown is not None:
            dropdown.chosen, dropdown.is_open = dropdown.current(), False
            return self._filtered()
        return commands.offer(self, context)

    def escape(self, context: Context) -> bool:
        if self.explorer.is_open:
            if self.explorer.back():
                return True
            self.explorer.close()
            return True
        dropdown = self.dropdown()
        if dropdown is not None:
            dropdown.is_open = False
            self._is_stale = self._filtered() != []  # the list shown while choosing is replaced with the next frame
            self._refreshed_us = 0
            return True
        if self.is_right:
            self.is_right = False
            return True
        return False

    # --- the rule explorer --------------------------------------------------------------------------------------------

    def explore(self, context: Context) -> Effects:
        if not self.explorer.is_open:
            return self.explorer.open(self.window.filter.source)
        if self.explorer.phase == "explore":
            return self.explorer.edit()
        self.explorer.back()
        return self.explorer.match()

    def _explorer_step(self, context: Context) -> Effects:
        explorer = self.explorer
        if explorer.phase == "explore":
            return explorer.focus_folder()
        if explorer.phase == "edit":
            effects = explorer.test()
            if explorer.problem:
                context.say(explorer.problem, "warn")
            return effects
        if not context.can_change:
            context.say("The daemon does not answer, so no rule can be saved.", "warn")
            return []
        return explorer.save(context)

    # --- answers ------------------------------------------------------------------------------------------------------

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        tag = getattr(message, "tag", ("", ""))
        match tag[1]:
            case "page" | "totals":
                return self._took_files(message)
            case "sources" if isinstance(message, Answer):
                self.dropdowns[0].options = source_options(message, context.facts.registry)
                self.dropdowns[0].keep_known()
            case "labels" if isinstance(message, Answer):
                self.dropdowns[1].options = label_options(message)
                self.dropdowns[1].keep_known()
            case "look" | "about" | "jobs" if isinstance(message, Answer | Output | Ended | Failed):
                return self.preview.on_answer(message)
            case "scan" if isinstance(message, Output | Ended | Failed):
                self._is_stale = self.scan.on_answer(message, context) or self._is_stale
            case "tag" | "untag" if isinstance(message, Done):
                self._is_stale, self._refreshed_us = True, 0
            case "tagged" if isinstance(message, Ended):
                printed = " ".join(line.strip().removeprefix("casparian: ") for line in message.stderr.splitlines())
                context.say(printed or "done", "bad" if message.code else "ok")
                self._is_stale, self._refreshed_us = True, 0
            case "path" if isinstance(message, Listing) and self.prompt is not None:
                self.prompt.on_answer(message)
            case "match" | "folders" | "ruletest" | "rulesave" if isinstance(message, Answer | Output | Ended | Failed):
                if tag[1] == "rulesave" and isinstance(message, Ended):
                    self._is_stale, self._refreshed_us = True, 0
                return self.explorer.on_answer(message, context)
        return []

    def _took_files(self, message: Tagged) -> Effects:
        if isinstance(message, Failed):
            self.window.failed(message.tag[2])
        elif isinstance(message, Answer):
            self.window.on_answer(message)
            if message.tag[1] == "page" and self.window.jump and message.tag[3] in ("start", "end"):
                at = 0 if self.window.jump == "first" else len(self.window) - 1
                self.window.jump = ""
                self.cursor.select(self.window, at, self.layout.files_shown)
            self.settle()
            return self._moved()
        return []

    # --- keys and mouse -----------------------------------------------------------------------------------------------

    def switch(self, context: Context) -> Effects:
        self.is_right = not self.is_right
        return []

    def next_view(self, context: Context) -> Effects:
        self.preview.next_view()
        return []

    def move(self, key: str, context: Context) -> Effects:
        if self.explorer.is_open:
            self._move_explorer(key)
            return []
        if self.is_right:
            cursor = Cursor(at=self.preview.top, top=self.preview.top)
            last_top = max(0, self.layout.preview_lines - self.layout.preview_height)
            if cursor.move(key, Fixed(range(last_top + 1)), self.layout.preview_height):
                self.preview.top = cursor.at
            return []
        if key in ("g", "home") and self.window.has_before:
            self.window.jump = "first"
            return self.window.first()
        if key in ("G", "end") and self.window.has_after:
            self.window.jump = "last"
            return self.window.last()
        self.cursor.move(key, self.window, self.layout.files_shown)
        return self._moved()

    def _move_explorer(self, key: str) -> None:
        explorer = self.explorer
        if explorer.phase == "explore":
            explorer.cursor.move(key, explorer.list_rows(), explorer.list_height)
            return
        cursor = Cursor(at=explorer.top, top=explorer.top)
        last_top = max(0, len(explorer.tested.get("matches", ())) - explorer.list_height)
        if cursor.move(key, Fixed(range(last_top + 1)), explorer.list_height):
            explorer.top = cursor.at

    def search(self, pattern: str, step: int, context: Context) -> Match | None:
        """Search the loaded files; `f` filters all files."""
        if self.explorer.is_open or not self.window.rows:
            return None
        rows = self.window.rows
        return self.cursor.find(pattern, step, self.window, lambda at: rows[at].rel_path, self.layout.files_shown)

    def click(self, row: int, column: int, clicks: int, context: Context) -> Effects:
        if self.explorer.is_open or self.dropdown() is not None:
            return []
        layout = self.layout
        if column < layout.sidebar_width:
            at = next((at for at, (top, bottom) in enumerate(layout.dropdown_rows) if top <= row < bottom), None)
            return self.open_dropdown(at, context) if at is not None else []
        self.is_right = column >= layout.sidebar_width + layout.files_width
        place = row - layout.first_file_row + self.cursor.top
        if self.is_right or not 0 <= place < len(self.window) or row < layout.first_file_row:
            return []
        self.cursor.select(self.window, place, layout.files_shown)
        return commands.offer(self, context) if clicks > 1 else self._moved()

    def scroll(self, row: int, column: int, lines: int, context: Context) -> Effects:
        layout = self.layout
        if self.explorer.is_open:
            self.explorer.top = max(0, self.explorer.top + lines)
            return []
        if column >= layout.sidebar_width + layout.files_width:
            self.preview.top = max(0, min(self.preview.top + lines, layout.preview_lines - layout.preview_height))
            return []
        self.cursor.scroll(lines, self.window, layout.files_shown)
        return self._moved()

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        self.settle()
        return drawing.draw(self, context, width, height)

    def summary(self, context: Context) -> str:
        if self.explorer.is_open:
            return f"Discover, rule explorer ({self.explorer.phase}), pattern {self.explorer.pattern}"
        file = self.file()
        shown = f"Discover, files of {self.window.filter.words}"
        return f"{shown}; selected {file.path}, tags {file.tags or 'none'}" if file is not None else shown
