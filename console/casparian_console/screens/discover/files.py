"""The list of files and its filter: sources, tags, rules, a text in the path; and the two dropdowns that filter while typing.

At most `PAGES` pages of 5,000 files are loaded at a time; a page is fetched when the cursor comes near it. Rows are in the
order of the file index's key.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, cast

from casparian_console.canvas import Glyphs, Line, clean, clip_left, fit, restyle, short, spread
from casparian_console.editor import Editor
from casparian_console.facts import Registry
from casparian_console.listing import Cursor, Fixed
from casparian_console.messages import Answer, Effects, RunQuery
from casparian_protocol.queries.files import (
    FileFilter,
    FilePage,
    FilePaged,
    FilesByLabel,
    FilesBySource,
    FileTotals,
    LabelOfFiles,
    PageStart,
    SourceOfFiles,
)

SourceKind = Literal["all", "source", "root"]
TagKind = Literal["all", "untagged", "tag", "rule"]


@dataclass(frozen=True, slots=True)
class Source:
    """A source, or a directory that was scanned by hand."""

    kind: SourceKind = "all"
    #: A source's id, or the directory with its `/` at the end.
    value: str = ""
    name: str = ""

    @property
    def filter(self) -> FileFilter:
        return FileFilter(
            source=self.value if self.kind == "source" else None, root=self.value if self.kind == "root" else None
        )

    @property
    def options(self) -> tuple[str, ...]:
        if self.kind == "source":
            return ("--source", self.value)
        return ("--root", self.value) if self.kind == "root" else ()


@dataclass(frozen=True, slots=True)
class Label:
    """A tag, a rule, or `untagged`."""

    kind: TagKind = "all"
    value: str = ""
    name: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        if self.kind == "untagged":
            return ("--untagged",)
        if self.kind == "tag":
            return ("--tagged", self.value)
        return ("--rule", self.value) if self.kind == "rule" else ()


@dataclass(frozen=True, slots=True)
class Filter:
    source: Source = Source()
    label: Label = Label()
    #: A text in the relative path; letter case does not matter.
    text: str = ""

    @property
    def catalogue(self) -> FileFilter:
        """The filter in the form that queries of the file index take."""
        label = self.label
        return replace(
            self.source.filter,
            tag=label.value if label.kind == "tag" else None,
            rule_id=label.value if label.kind == "rule" else None,
            is_untagged=label.kind == "untagged",
            contains=self.text or None,
        )

    @property
    def options(self) -> tuple[str, ...]:
        """The options that make `casparian tag` select the same files; never empty, since the command needs at least one."""
        chosen = (*self.source.options, *self.label.options, *(("--contains", self.text) if self.text else ()))
        return chosen or ("--under", "/")

    @property
    def words(self) -> str:
        parts = [self.source.name or "all sources"]
        if self.label.kind != "all":
            parts.append(self.label.name)
        if self.text:
            parts.append(f"“{self.text}”")
        return ", ".join(parts)


PAGE_ROWS = 5_000
PAGES = 5
#: The next page is fetched when the cursor is this near to the end of the loaded rows.
_NEAR_ROWS = 1_000

Part = Literal["start", "end", "next", "previous", "again"]


class File(NamedTuple):
    """One row of the file index; 5,000 are made at once."""

    file_id: str
    path: str
    rel_path: str
    size_bytes: int
    mtime_ns: int
    kind: str
    status: str
    is_hashed: bool
    tags: str

    @property
    def key(self) -> tuple[str, str]:
        return (self.path, self.file_id)

    @property
    def tag_list(self) -> list[str]:
        return self.tags.split(", ") if self.tags else []


class Window:
    """`listing.Rows` over the loaded files."""

    def __init__(self) -> None:
        self.filter = Filter()
        self.rows: list[File] = []
        #: The number of files before the first row; None until they are counted.
        self.before: int | None = 0
        self.has_before = self.has_after = False
        self.files: int | None = None
        self.bytes = 0
        self.is_loading = False
        #: Where the cursor goes when the page arrives.
        self.jump: Literal["", "first", "last"] = ""
        self._generation = 0
        self._places: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def identity(self, at: int) -> Hashable:
        return self.rows[at].file_id

    def place(self, identity: Hashable) -> int | None:
        return self._places.get(identity)

    # --- queries ------------------------------------------------------------------------------------------------------

    def show(self, chosen: Filter) -> Effects:
        """Apply another filter: query its first page and its counts. The list stays until they arrive."""
        self.filter = chosen
        return self.first()

    def first(self) -> Effects:
        return [self._page("start"), self._totals(("", ""))]

    def last(self) -> Effects:
        return [self._page("end")]

    def again(self, top: int) -> Effects:
        """Load the files around `top` again, after a scan or a change of tags; the list does not move."""
        start = max(0, top - _NEAR_ROWS)
        if not self.rows or (start == 0 and not self.has_before):
            return self.first()
        return [self._page("again", self.rows[start].key), self._totals(self.rows[start].key)]

    def near(self, at: int) -> Effects:
        """Query what the cursor at `at` will need next."""
        if self.is_loading or not self.rows:
            return []
        if self.has_after and at >= len(self.rows) - _NEAR_ROWS:
            return [self._page("next", self.rows[-1].key)]
        if self.has_before and at < _NEAR_ROWS:
            return [self._page("previous", self.rows[0].key)]
        return []

    def _page(self, part: Part, key: tuple[str, str] = ("", "")) -> RunQuery:
        self._generation += 1
        self.is_loading = True
        wheres: dict[Part, PageStart] = {"next": "after", "again": "from", "previous": "before"}
        is_descending = part in ("previous", "end")
        page = FilePage(self.filter.catalogue, PAGE_ROWS, wheres.get(part, "all"), *key, is_descending=is_descending)
        return RunQuery(("discover", "page", str(self._generation), part), page)

    def _totals(self, key: tuple[str, str]) -> RunQuery:
        return RunQuery(("discover", "totals", str(self._generation)), FileTotals(self.filter.catalogue, *key))

    # --- answers ------------------------------------------------------------------------------------------------------

    def on_answer(self, answer: Answer) -> None:
        """Take a page or the counts; answers for an older filter are dropped."""
        what, generation = answer.tag[1], answer.tag[2]
        if what == "totals":
            row = answer.rows[0]
            self.files, self.bytes = row["files"], row["bytes"]
            if generation == str(self._generation):
                self.before = row["before"]
        elif generation == str(self._generation):
            self._take_page(answer.tag[3], [_file(row) for row in answer.rows])

    def failed(self, generation: str) -> None:
        self.is_loading = self.is_loading and generation != str(self._generation)

    def _take_page(self, part: str, fresh: list[File]) -> None:
        self.is_loading = False
        is_full = len(fresh) == PAGE_ROWS
        if part in ("previous", "end"):
            fresh.reverse()
        if part == "next":
            self.rows, self.has_after = [*self.rows, *fresh], is_full
            self._drop_front(len(self.rows) - PAGES * PAGE_ROWS)
        elif part == "previous":
            self.rows, self.has_before = [*fresh, *self.rows], is_full
            self.before = max(0, self.before - len(fresh)) if self.before is not None else None
            if len(self.rows) > PAGES * PAGE_ROWS:
                del self.rows[PAGES * PAGE_ROWS :]
                self.has_after = True
        else:
            self.rows = fresh
            self.has_before = part == "again" or (part == "end" and is_full)
            self.has_after = is_full and part != "end"
            self.before = max(0, (self.files or 0) - len(fresh)) if part == "end" else 0 if part == "start" else None
        self._places = {file.file_id: at for at, file in enumerate(self.rows)}

    def _drop_front(self, number: int) -> None:
        if number > 0:
            del self.rows[:number]
            self.has_before = True
            self.before = self.before + number if self.before is not None else None

    def number(self, at: int) -> str:
        """The place of the row among all files: `412 of 1,247`."""
        total = f"{self.files:,}" if self.files is not None else "…"
        return f"{self.before + at + 1:,} of {total}" if self.before is not None and self.rows else total


def _file(row: FilePaged) -> File:
    return File(
        row["id"],
        row["path"],
        row["rel_path"],
        row["size"] or 0,
        row["mtime"] or 0,
        row["kind"],
        row["status"],
        row["is_hashed"],
        row["tags"],
    )


def ids_of(files: Sequence[File]) -> list[str]:
    return [file.file_id for file in files]


SOURCES = RunQuery(("discover", "sources"), FilesBySource())
LABELS = RunQuery(("discover", "labels"), FilesByLabel())
_ORDER = ("all", "untagged", "tag", "rule")


@dataclass(frozen=True, slots=True)
class Option:
    """One row of a dropdown."""

    value: Source | Label
    text: str
    files: int


class Dropdown:
    """A dropdown. `chosen` is in force; while it is open, the list shows the files of the cursor's row."""

    def __init__(self, title: str, key: str, chosen: Source | Label) -> None:
        self.title, self.key = title, key
        self.options: list[Option] = []
        self.chosen: Source | Label = chosen
        self.is_open = False
        self.editor = Editor()
        self.cursor = Cursor()
        self.height = 8

    def open(self) -> None:
        self.is_open = True
        self.editor = Editor()
        self.cursor = Cursor(identity=self.chosen)
        self.cursor.settle(self._rows(), self.height)

    def matching(self) -> list[Option]:
        """The options that contain every typed word."""
        words = self.editor.text.casefold().split()
        return [option for option in self.options if all(word in option.text.casefold() for word in words)]

    def _rows(self) -> Fixed:
        return Fixed([option.value for option in self.matching()])

    def current(self) -> Source | Label:
        """The option under the cursor; if nothing matches, the chosen one."""
        found = self.matching()
        if not found:
            return self.chosen
        self.cursor.settle(self._rows(), self.height)
        return found[self.cursor.at].value

    def handle(self, key: str) -> bool:
        """Handle a key while it is open. False: it has no meaning here."""
        if key in ("up", "down", "pgup", "pgdn"):
            self.cursor.move(key, self._rows(), self.height)
            return True
        before = self.editor.text
        if not self.editor.handle(key):
            return False
        if self.editor.text != before:
            self.cursor = Cursor()
        return True

    def keep_known(self) -> None:
        """After new options arrive, keep showing a chosen option that is gone by its name."""
        for option in self.options:
            if (option.value.kind, option.value.value) == (self.chosen.kind, self.chosen.value):
                self.chosen = option.value

    def lines(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        """The dropdown as lines. Closed: its name and the chosen option. Open: the field and the rows around the cursor."""
        sign = glyphs.opened if self.is_open else glyphs.closed
        head: Line = [("key", f"{self.key} "), ("title", self.title), ("dim", f" {sign}")]
        if not self.is_open:
            name = self.chosen.name or ("all sources" if isinstance(self.chosen, Source) else "all tags")
            return [head, [("", f"  {clip_left(clean(name), width - 2, glyphs.ellipsis)}")]]
        self.height = max(1, height - 2)
        found = self.matching()
        self.cursor.settle(self._rows(), self.height)
        lines: list[Line] = [head, self.editor.line(width, style="input", placeholder="type to filter")]
        for at, option in enumerate(found[self.cursor.top : self.cursor.top + self.height], self.cursor.top):
            number = f" {short(option.files)} "
            name = clip_left(option.text, max(4, width - len(number) - 1), glyphs.ellipsis)
            line = spread([("", f" {name}")], [("dim", number)], width)
            lines.append(restyle(fit(line, width), "selected") if at == self.cursor.at else line)
        return lines if found else [*lines, [("dim", " nothing matches")]]


def source_options(answer: Answer, registry: Registry) -> list[Option]:
    """All; then the sources by name, also those without files; then directories that were scanned by hand."""
    counted: dict[str, int] = {}
    by_hand: list[Option] = []
    counts: list[SourceOfFiles] = answer.rows
    for row in counts:
        if row["source_id"]:
            counted[row["source_id"]] = counted.get(row["source_id"], 0) + row["files"]
        else:
            root = row["root"] or "/"
            by_hand.append(Option(Source("root", root, root), clean(root), row["files"]))
    total = sum(counted.values()) + sum(option.files for option in by_hand)
    named = sorted(registry.sources.values(), key=lambda source: source.name)
    sources = [
        Option(Source("source", each.source_id, each.name), clean(each.name), counted.pop(each.source_id, 0))
        for each in named
    ]
    #: Removed sources, whose files stay known.
    gone = [
        Option(Source("source", key, f"removed {key[:8]}"), f"removed {key[:8]}", files)
        for key, files in counted.items()
    ]
    return [Option(Source(name="all sources"), "all sources", total), *sources, *by_hand, *gone]


def label_options(answer: Answer) -> list[Option]:
    labels: list[LabelOfFiles] = answer.rows
    rows = sorted(labels, key=lambda row: (_ORDER.index(row["kind"]), row["name"]))
    return [
        Option(
            Label(cast(TagKind, row["kind"]), row["value"], row["name"]),
            clean(f"rule {row['name']}" if row["kind"] == "rule" else row["name"]),
            row["files"],
        )
        for row in rows
    ]


def tag_names(options: Sequence[Option]) -> list[str]:
    return [option.value.value for option in options if option.value.kind == "tag"]
