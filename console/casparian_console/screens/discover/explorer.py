"""The rule explorer: choosing a folder, writing a pattern with its matches shown while typing, testing and saving the rule."""

from __future__ import annotations

import json
from heapq import nlargest
from typing import Literal, TypedDict, cast

from casparian_console.canvas import Glyphs, Line, bar, box, clean, clip_left, count, fit, restyle, short, size, spread
from casparian_console.editor import Editor
from casparian_console.listing import Cursor, Fixed
from casparian_console.messages import Answer, Effects, Ended, Failed, Output, RunCommand, RunQuery
from casparian_console.overlays import wrapped
from casparian_console.screen import Context
from casparian_console.screens.discover.files import Source
from casparian_console.screens.discover.matching import Matcher
from casparian_protocol.errors import CasparianError
from casparian_protocol.queries.files import Folder, Folders
from casparian_protocol.tagging import check_tag

Phase = Literal["explore", "edit", "test", "publish"]
FIELDS = ("pattern", "exclude", "tag")
_EXAMPLES = "200"


class MatchedFile(TypedDict):
    path: str


class RuleTest(TypedDict, total=False):
    """The document that `casparian rule test --json` prints."""

    matched: int
    files: int
    matches: list[MatchedFile]


class Explorer:
    """The state of the explorer, open or closed; its fields survive closing."""

    def __init__(self) -> None:
        self.is_open = False
        self.phase: Phase = "explore"
        self.source = Source()
        #: The open folder, with its `/`; empty at the top.
        self.folder = ""
        self.rows: list[Folder] = []
        self.cursor = Cursor()
        self.fields = {name: Editor() for name in FIELDS}
        self.focus = 0
        self.matcher = Matcher()
        self.top = 0
        #: The result of `casparian rule test`; empty before a test.
        self.tested: RuleTest = {}
        self.problem = ""
        self.list_height = 1
        self._chunks: list[str] = []
        self._typed: tuple[str, ...] = ()

    @property
    def is_focused(self) -> bool:
        return bool(self.folder)

    @property
    def is_typing(self) -> bool:
        return self.is_open and self.phase == "edit"

    @property
    def is_unsaved(self) -> bool:
        """Whether the pattern was edited and not saved."""
        return self.is_open and self.phase != "explore" and bool(self._typed)

    @property
    def pattern(self) -> str:
        return self.fields["pattern"].text.strip()

    def found(self) -> tuple[list[str], int]:
        """The matches to show and their number, from the matcher while typing or from the test."""
        if self.phase == "edit":
            return self.matcher.matches, self.matcher.matched
        return [each["path"] for each in self.tested.get("matches", ())], self.tested.get("matched", 0)

    @property
    def excludes(self) -> tuple[str, ...]:
        """The exclusions: patterns separated by blanks."""
        return tuple(self.fields["exclude"].text.split())

    @property
    def tag(self) -> str:
        return self.fields["tag"].text.strip()

    # --- explore and focus --------------------------------------------------------------------------------------------

    def open(self, source: Source) -> Effects:
        """Open where it was left, unless another source was chosen since."""
        self.is_open = True
        #: The source of the rule, or all. A directory that was scanned by hand is not a source.
        wanted = source if source.kind == "source" else Source(name="all sources")
        if wanted != self.source:
            self.source, self.folder = wanted, ""
        self.phase = "explore"
        return self._ask_folders()

    def close(self) -> None:
        self.is_open = False
        self.matcher.stop()

    def _ask_folders(self) -> Effects:
        return [RunQuery(("discover", "folders", self.folder), Folders(self.source.filter, self.folder))]

    def list_rows(self) -> Fixed:
        return Fixed([row["name"] for row in self.rows])

    def current(self) -> str:
        """The selected row: a folder with its `/`, or `*.ext`."""
        return str(self.cursor.identity or "") if self.rows else ""

    def focus_folder(self) -> Effects:
        """Enter the folder, or begin a pattern for the files of this extension."""
        name = self.current()
        if not name:
            return []
        if name.endswith("/"):
            self.folder += name
            self.rows, self.cursor = [], Cursor()
            return self._ask_folders()
        return self.edit(f"{self.folder}{name}" if self.folder else name)

    def up(self) -> Effects:
        """Leave the folder; the cursor goes back to it."""
        left = self.folder.rstrip("/").rpartition("/")
        self.folder = f"{left[0]}/" if left[0] else ""
        self.rows, self.cursor = [], Cursor(identity=f"{left[2]}/")
        return self._ask_folders()

    # --- edit ---------------------------------------------------------------------------------------------------------

    def edit(self, pattern: str = "") -> Effects:
        self.phase, self.top, self.tested, self.problem = "edit", 0, {}, ""
        if pattern:
            self.fields["pattern"].set(pattern)
        elif not self._typed or not self.pattern:
            self.fields["pattern"].set(f"{self.folder}**")
        self.focus = 0
        self._typed = ()
        self.matcher.scope(self.source, self.folder if self.pattern.startswith(self.folder) else "")
        return self.match()

    def match(self) -> Effects:
        return self.matcher.start(self.pattern, self.excludes)

    def type(self, key: str) -> Effects | None:
        """Handle a key in one of the fields."""
        if key in ("tab", "s-tab"):
            self.focus = (self.focus + (1 if key == "tab" else -1)) % len(FIELDS)
            return []
        if key in ("up", "down", "pgup", "pgdn"):
            step = {"up": -1, "down": 1, "pgup": -self.list_height, "pgdn": self.list_height}[key]
            self.top = max(0, min(self.top + step, len(self.matcher.matches) - self.list_height))
            return []
        before = (self.pattern, self.excludes)
        if not self.fields[FIELDS[self.focus]].handle(key):
            return None
        self._typed = (self.pattern, *self.excludes, self.tag)
        if (self.pattern, self.excludes) == before:
            return []
        self.top = 0
        return self.match()

    def paste(self, text: str) -> Effects:
        self.fields[FIELDS[self.focus]].insert(text)
        self._typed = (self.pattern, *self.excludes, self.tag)
        return self.match()

    # --- test and publish ---------------------------------------------------------------------------------------------

    def _predicates(self) -> tuple[str, ...]:
        excluded = tuple(part for text in self.excludes for part in ("--exclude", text))
        return (*excluded, *(("--source", self.source.value) if self.source.kind == "source" else ()))

    def test(self) -> Effects:
        """Test the rule over all known files, with the command that checks dates, kinds and all rules."""
        if self.matcher.problem:
            self.problem = self.matcher.problem
            return []
        try:
            check_tag(self.tag)
        except CasparianError as error:
            self.problem = f"{error.problem} {error.remedy}" if self.tag else "Which tag? Tab goes to its field."
            self.focus = FIELDS.index("tag")
            return []
        self.phase, self.tested, self.problem, self._chunks = "test", {}, "", []
        args = ("rule", "test", *self._predicates(), "--limit", _EXAMPLES, "--json", "--", self.pattern)
        return [RunCommand(("discover", "ruletest"), args)]

    def save(self, context: Context) -> Effects:
        """Save the rule, after a question that says what it will do."""
        known = self.tested.get("matched", 0)
        args = ("rule", "add", *self._predicates(), "--", self.pattern, self.tag)
        where = clean(self.source.name) if self.source.kind == "source" else "all sources"
        excluded = f"excluded: {' '.join(clean(text) for text in self.excludes)}" if self.excludes else ""
        self.phase = "publish"
        return context.confirm(
            "Save the rule",
            f"Save the rule? {count(known, 'known file')} of {where} get the tag “{clean(self.tag)}”, and those that come.",
            [RunCommand(("discover", "rulesave"), args)],
            details=[f"pattern: {clean(self.pattern)}", *([excluded] if excluded else [])],
        )

    def back(self) -> bool:
        """Go back one phase. False: this is the first one, so the explorer closes."""
        if self.phase in ("test", "publish"):
            self.phase = "edit"
        elif self.phase == "edit":
            self.matcher.stop()
            self.phase = "explore"
        else:
            return False
        return True

    # --- answers ------------------------------------------------------------------------------------------------------

    def on_answer(self, message: Answer | Output | Ended | Failed, context: Context) -> Effects:
        what = message.tag[1]
        if what == "match":
            if isinstance(message, Answer):
                return self.matcher.on_answer(message)
            self.matcher.failed(message.tag[2], getattr(message, "problem", ""))
        elif what == "folders" and isinstance(message, Answer) and message.tag[2] == self.folder:
            self.rows = message.rows
            self.cursor.settle(self.list_rows(), self.list_height)
        elif isinstance(message, Output):
            self._chunks.append(message.text)
        elif isinstance(message, Ended | Failed):
            self._command_ended(what, message, context)
        return []

    def _command_ended(self, what: str, message: Ended | Failed, context: Context) -> None:
        text, self._chunks = "".join(self._chunks), []
        printed = message.stderr if isinstance(message, Ended) else f"casparian: {message.problem} {message.remedy}"
        words = " ".join(line.strip().removeprefix("casparian: ") for line in printed.splitlines() if line.strip())
        if isinstance(message, Failed) or message.code:
            self.problem = words or "The command failed without a message."
            self.phase = "edit" if self.phase == "test" and not self.tested else self.phase
            context.say(self.problem, "bad")
        elif what == "ruletest":
            try:
                self.tested = cast(RuleTest, json.loads(text))
            except ValueError:
                self.problem, self.phase = "The test of the rule printed no JSON.", "edit"
        else:
            context.say(words or "The rule is saved.", "ok")
            self._typed = ()
            self.close()


_STEPS = ("explore", "focused", "edit", "test", "publish")
_NAMES = {"pattern": "Pattern", "exclude": "Exclude", "tag": "Tag"}
_HINTS = {"pattern": "e.g. **/*.log", "exclude": "e.g. old/** **/*.tmp", "tag": "e.g. fix"}


def draw_explorer(explorer: Explorer, context: Context, width: int, height: int) -> list[Line]:
    steps = _steps(explorer, context.glyphs)
    if explorer.phase == "explore":
        body = _folders(explorer, context, width, height - 1)
    else:
        left_width = width * 9 // 20
        left = _fields(explorer, context, left_width, height - 1)
        right = _matches(explorer, context, width - left_width, height - 1)
        body = [[*a, *b] for a, b in zip(left, right, strict=True)]
    return [fit(steps, width), *body]


def _steps(explorer: Explorer, glyphs: Glyphs) -> Line:
    step = "focused" if explorer.phase == "explore" and explorer.is_focused else explorer.phase
    line: Line = [("title", " Rule: ")]
    for at, name in enumerate(_STEPS):
        line += [("dim", f" {glyphs.arrow} ")] if at else []
        line.append(("bold accent", f"[{name}]") if name == step else ("dim", name))
    scope = clean(explorer.source.name) or "all sources"
    return [*line, ("dim", f"   {scope}")]


def _folders(explorer: Explorer, context: Context, width: int, height: int) -> list[Line]:
    """The folders and file extensions at this place, with the number of untagged files."""
    explorer.list_height = max(1, height - 3)
    explorer.cursor.settle(explorer.list_rows(), explorer.list_height)
    glyphs, inner = context.glyphs, width - 2
    most = max((row["files"] for row in explorer.rows), default=1)
    lines: list[Line] = [
        spread([("dim", "   folder, or files by extension")], [("dim", "files     size   untagged ")], inner)
    ]
    top = explorer.cursor.top
    for at, row in enumerate(explorer.rows[top : top + explorer.list_height], top):
        is_chosen = at == explorer.cursor.at
        name = clip_left(clean(row["name"]), max(10, inner - 52), glyphs.ellipsis)
        mark = glyphs.cursor if is_chosen else " "
        numbers = f"{row['files']:>9,} {size(row['bytes'] or 0):>10} "
        untagged = row["untagged"]
        left: Line = [("", f" {mark} "), ("accent" if row["name"].endswith("/") else "", name)]
        right: Line = [
            *bar(row["files"] / most, 12, glyphs),
            ("dim", numbers),
            ("warn" if untagged else "dim", f"{untagged:>9,} "),
        ]
        line = spread(left, right, inner)
        lines.append(restyle(line, "selected") if is_chosen else line)
    if not explorer.rows:
        lines.append([("dim", "   nothing here")])
    title = clean(explorer.folder) or "All folders"
    return box(lines, width, height, glyphs, title=title, style="accent")


def _fields(explorer: Explorer, context: Context, width: int, height: int) -> list[Line]:
    inner, glyphs = width - 4, context.glyphs
    lines: list[Line] = []
    for at, name in enumerate(FIELDS):
        is_focused = explorer.is_typing and at == explorer.focus
        editor = explorer.fields[name]
        field = editor.line(inner - 11, style="input", is_focused=is_focused, placeholder=_HINTS[name])
        mark = glyphs.cursor if is_focused else " "
        lines.append([("key" if is_focused else "dim", f"{mark} {_NAMES[name]:<9}"), *field])
    lines.append([])
    lines += _counts(explorer, inner, glyphs)
    room = height - 2 - len(lines) - explorer.is_typing
    shown = nlargest(max(0, room), explorer.matcher.folders.items(), key=lambda each: each[1]) if room > 0 else []
    most = shown[0][1] if shown else 1
    for name, number in shown:
        label = clip_left(clean(name), max(6, inner - 20), glyphs.ellipsis)
        lines.append(spread([("", label)], [*bar(number / most, 10, glyphs), ("dim", f"{number:>8,}")], inner))
    if explorer.is_typing:
        lines = [*lines, *[[]] * (height - 3 - len(lines)), [("dim", "Tab: next field  Enter: tests it")]]
    padded: list[Line] = [[("", " "), *fit(line, inner)] for line in lines]
    return box(padded, width, height, glyphs, title="Pattern", style="accent" if explorer.is_typing else "border")


def _counts(explorer: Explorer, width: int, glyphs: Glyphs) -> list[Line]:
    """The number of matches; while matching is in progress, also the number of files checked so far."""
    matcher = explorer.matcher
    if explorer.phase != "edit":
        return _tested(explorer, width, glyphs)
    if matcher.problem:
        return [*wrapped(matcher.problem, width, "warn"), []]
    state = "" if matcher.is_done else f", {short(matcher.seen)} checked{glyphs.ellipsis}"
    lines: list[Line] = [[("bold", count(matcher.matched, "match", "matches")), ("dim", state)]]
    for text, number in matcher.excluded.most_common(3):
        lines.append([("warn", f"{number:,} excluded"), ("dim", f" by {clean(text)}")])
    if explorer.problem:
        lines += wrapped(explorer.problem, width, "warn")
    return [*lines, []]


def _tested(explorer: Explorer, width: int, glyphs: Glyphs) -> list[Line]:
    if not explorer.tested:
        return [[("accent", f"{glyphs.running} testing over all known files{glyphs.ellipsis}")], []]
    matched, files = explorer.tested["matched"], explorer.tested["files"]
    style = "ok" if matched else "warn"
    return [
        [(style, f"{glyphs.done if matched else glyphs.warning} {matched:,} of {count(files, 'known file')} match")],
        [("dim", "Enter saves the rule and tags them, e goes back")],
        [],
    ]


def _matches(explorer: Explorer, context: Context, width: int, height: int) -> list[Line]:
    """The first matches, with the fields that the pattern reads from their paths."""
    explorer.list_height = max(1, height - 2)
    found, total = explorer.found()
    explorer.top = max(0, min(explorer.top, len(found) - explorer.list_height))
    shown = found[explorer.top : explorer.top + explorer.list_height]
    lines = [_match(path, explorer.matcher.fields(path), width - 4, context.glyphs) for path in shown]
    last = explorer.top + len(lines)
    title = f"Matches  {explorer.top + 1}-{last} of {total:,}" if lines else "Matches"
    if last == len(found) < total:
        title += f", the first {len(found):,} can be seen"
    return box(lines, width, height, context.glyphs, title=title)


def _match(rel_path: str, fields: dict[str, str], width: int, glyphs: Glyphs) -> Line:
    shown = "  ".join(f"{clean(name)}={clean(value)}" for name, value in fields.items())
    room = max(width // 2, width - len(shown) - 2) if shown else width
    path = clip_left(clean(rel_path), room, glyphs.ellipsis)
    return fit([("", f" {path}"), ("accent", f"  {shown}" if shown else "")], width + 2, ellipsis=glyphs.ellipsis)
