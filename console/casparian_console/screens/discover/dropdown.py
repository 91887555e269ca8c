"""The two lists of the sidebar: sources, tags and rules. They filter as one types, and the files follow the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from casparian_console.canvas import Glyphs, Line, fit, restyle, spread
from casparian_console.editor import Editor
from casparian_console.effects import RunQuery
from casparian_console.facts.registry import Registry
from casparian_console.listing import Cursor, Fixed
from casparian_console.messages import Answer
from casparian_console.screens.discover.files import Label, Source, TagKind
from casparian_console.text import clean, clip_left, short
from casparian_protocol.queries.files import FilesByLabel, FilesBySource, LabelOfFiles, SourceOfFiles

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
    """One of the two. `chosen` is what holds; while it is open the cursor's row is what the files show."""

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
        """Those that contain every typed word."""
        words = self.editor.text.casefold().split()
        return [option for option in self.options if all(word in option.text.casefold() for word in words)]

    def _rows(self) -> Fixed:
        return Fixed([option.value for option in self.matching()])

    def current(self) -> Source | Label:
        """What the cursor stands on; what was chosen before when nothing matches."""
        found = self.matching()
        if not found:
            return self.chosen
        self.cursor.settle(self._rows(), self.height)
        return found[self.cursor.at].value

    def handle(self, key: str) -> bool:
        """A key while it is open; False when it means nothing here."""
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
        """After fresh options: what was chosen and is gone is still shown by its name."""
        for option in self.options:
            if (option.value.kind, option.value.value) == (self.chosen.kind, self.chosen.value):
                self.chosen = option.value

    def lines(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        """Closed: its name and what is chosen. Open: the field and the rows around the cursor."""
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
    """All, then the sources by name (those without files too), then directories that were scanned by hand."""
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
    #: Sources that were removed: their files stay known.
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
