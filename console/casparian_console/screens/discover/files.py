"""The list of files: a filter (source, tag, rule, text in the path) and a window over the catalogue.

However many files there are, at most `PAGES` pages of 5,000 are held; a page is fetched when the cursor comes near its end.
Rows are in the order of the catalogue's key.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from casparian_console.effects import Effects, RunQuery
from casparian_console.messages import Answer
from casparian_protocol.queries.files import FileFilter, FilePage, FilePaged, FileTotals

SourceKind = Literal["all", "source", "root"]
TagKind = Literal["all", "untagged", "tag", "rule"]


@dataclass(frozen=True, slots=True)
class Source:
    """A source, or a directory that was scanned by hand and is none."""

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
    """A tag, a rule, or having none."""

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
    #: In the relative path, in any case.
    text: str = ""

    @property
    def catalogue(self) -> FileFilter:
        """As queries of the catalogue take it."""
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
        """What makes `casparian tag` select the same files; never none, since all files must be asked for too."""
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
#: The next page is asked for when the cursor is so near to the end of what is there.
_NEAR_ROWS = 1_000

Part = Literal["start", "end", "next", "previous", "again"]


class File(NamedTuple):
    """One row of the catalogue; 5,000 are made at once."""

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
    """`listing.Rows` over what is loaded."""

    def __init__(self) -> None:
        self.filter = Filter()
        self.rows: list[File] = []
        #: Files before the first row; None until they are counted.
        self.before: int | None = 0
        self.has_before = self.has_after = False
        self.files: int | None = None
        self.bytes = 0
        self.is_loading = False
        #: Where the cursor goes when the page is there.
        self.jump: Literal["", "first", "last"] = ""
        self._generation = 0
        self._places: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def identity(self, at: int) -> Hashable:
        return self.rows[at].file_id

    def place(self, identity: Hashable) -> int | None:
        return self._places.get(identity)

    # --- asking -------------------------------------------------------------------------------------------------------

    def show(self, chosen: Filter) -> Effects:
        """Another filter: its first page and its counts; what is shown stays until they are there."""
        self.filter = chosen
        return self.first()

    def first(self) -> Effects:
        return [self._page("start"), self._totals(("", ""))]

    def last(self) -> Effects:
        return [self._page("end")]

    def again(self, top: int) -> Effects:
        """The files around `top` once more, after a scan or a tag; the list stays where it is."""
        start = max(0, top - _NEAR_ROWS)
        if not self.rows or (start == 0 and not self.has_before):
            return self.first()
        return [self._page("again", self.rows[start].key), self._totals(self.rows[start].key)]

    def near(self, at: int) -> Effects:
        """What the cursor at `at` will need next."""
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
        where = {"next": "after", "again": "from", "previous": "before"}.get(part, "all")
        is_descending = part in ("previous", "end")
        page = FilePage(self.filter.catalogue, PAGE_ROWS, where, *key, is_descending=is_descending)
        return RunQuery(("discover", "page", str(self._generation), part), page)

    def _totals(self, key: tuple[str, str]) -> RunQuery:
        return RunQuery(("discover", "totals", str(self._generation)), FileTotals(self.filter.catalogue, *key))

    # --- answers ------------------------------------------------------------------------------------------------------

    def on_answer(self, answer: Answer) -> None:
        """A page or the counts; of an older filter: nothing."""
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
        """`412 of 1,247`: where the row stands among all."""
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
