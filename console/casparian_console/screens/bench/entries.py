"""The list at the left of the Parser Bench, and the choice of a file to test on, with files that failed last first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from casparian_console.canvas import Glyphs, Line, ago, clean, count, size
from casparian_console.facts import Parser, Registry
from casparian_console.messages import Answer, Effects, RunQuery, Tag
from casparian_console.overlays import Choose
from casparian_protocol.queries.files import InputFile, InputsOfParser, RecentFiles

Kind = Literal["registered", "file", "quick"]
Identity = tuple[str, str]

HEADINGS: dict[Kind, str] = {"registered": "REGISTERED", "file": "IN parsers/", "quick": "TRIED"}


@dataclass(frozen=True, slots=True)
class ParserFile:
    """An entry of `$CASPARIAN_HOME/parsers/`."""

    name: str
    is_directory: bool
    is_broken: bool
    size_bytes: int
    modified_us: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the list."""

    kind: Kind
    #: The parser's name, the file's name, or a typed path.
    name: str
    #: The argument for `casparian run`.
    target: str
    parser: Parser | None = None
    file: ParserFile | None = None

    @property
    def identity(self) -> Identity:
        return (self.kind, self.name)

    @property
    def path(self) -> str:
        """The file that can be watched; empty for a registered parser."""
        return "" if self.kind == "registered" else self.target

    @property
    def can_run(self) -> bool:
        return self.file is None or not self.file.is_broken


@dataclass
class Entries:
    """The list, rebuilt from the facts for every frame; it is as short as the number of parsers."""

    files: tuple[ParserFile, ...] = ()
    quick: list[str] = field(default_factory=list)

    def take_listing(self, entries: Iterable[tuple[str, bool, bool, int, int]]) -> None:
        shown = [ParserFile(*each) for each in entries if _may_be_parser(each[0], is_directory=each[1])]
        self.files = tuple(sorted(shown, key=lambda each: each.name))

    def remember_quick(self, path: str) -> Identity:
        if path not in self.quick:
            self.quick.append(path)
            del self.quick[:-20]
        return ("quick", path)

    def listed(self, registry: Registry, home: str) -> list[Entry]:
        registered = sorted(registry.current(), key=lambda parser: parser.name)
        return [
            *(Entry("registered", parser.name, f"{parser.name}@{parser.version}", parser) for parser in registered),
            *(Entry("file", file.name, f"{home}/parsers/{file.name}", file=file) for file in self.files),
            *(Entry("quick", path, path) for path in self.quick),
        ]


def _may_be_parser(name: str, *, is_directory: bool) -> bool:
    if name.startswith((".", "__")):
        return False
    return is_directory or name.endswith(".py")


CANNOT_RUN = "cannot run"


def state_of(parser: Parser, registry: Registry) -> tuple[str, str, str]:
    """The state of a registered parser: (glyph's name, style, words)."""
    contracts = registry.candidate(parser).contracts
    if parser.state == "retired":
        return "waiting", "dim", "retired"
    if not contracts or set(contracts.values()) & {"rejected", ""}:
        return "failed", "bad", CANNOT_RUN
    if parser.breaker == "half_open":
        return "paused", "warn", "one job tries"
    if parser.breaker == "open":
        return "paused", "bad", "paused by its circuit breaker"
    if parser.paused:
        return "paused", "warn", "paused"
    if "proposed" in contracts.values():
        return "warning", "accent", "waits for approval"
    if parser.waits:
        return "warning", "warn", "waits"
    return "done", "ok", "ready"


#: Shorter states for the list; the detail says the rest.
_SHORT = {"paused by its circuit breaker": "paused", "waits for approval": "to approve", "one job tries": "one tries"}


def success_rate(parser: Parser) -> str:
    """The share of successful runs, such as `98%`; empty before the first run. It is 100% only if all succeeded."""
    if not parser.runs:
        return ""
    if parser.successes == parser.runs:
        return "100%"
    return f"{min(99.9, 100 * parser.successes / parser.runs):.3g}%"


def entry_lines(entry: Entry, registry: Registry, now_us: int, glyphs: Glyphs) -> tuple[Line, Line]:
    """The parser's name and its results."""
    parser, file = entry.parser, entry.file
    if parser is not None:
        glyph, style, words = state_of(parser, registry)
        name: Line = [
            (style, f"{getattr(glyphs, glyph)} "),
            ("", clean(parser.name)),
            ("dim", f" {clean(parser.version)}"),
        ]
        rate = success_rate(parser)
        ran = f"{rate} of {count(parser.runs, 'run')} · {ago(parser.last_run_at, now_us)}" if rate else "no run yet"
        bad = bool(parser.runs) and parser.successes < parser.runs
        return name, [
            ("dim", "  "),
            *([(style, _SHORT.get(words, words)), ("dim", " · ")] if words != "ready" else []),
            ("warn" if bad else "dim", ran),
        ]
    if file is not None and file.is_broken:
        return [("bad", f"{glyphs.failed} {clean(file.name)}")], [("bad", "  broken link")]
    if file is not None:
        what = "directory" if file.is_directory else size(file.size_bytes)
        return [("", f"{glyphs.dot} {clean(file.name)}")], [
            ("dim", f"  {what} · changed {ago(file.modified_us, now_us)}")
        ]
    folder, _, name_only = entry.name.rpartition("/")
    return [("", f"{glyphs.dot} {clean(name_only)}")], [("dim", f"  {clean(folder) or '.'}")]


#: The choice that lets the user type a path instead.
OTHER = ""
_LIMIT = 300


def file_query(tag: Tag, parser: Parser | None) -> RunQuery:
    query = RecentFiles(_LIMIT) if parser is None else InputsOfParser(parser.name, parser.topics, _LIMIT)
    return RunQuery(tag, query)


class FileChoice(Choose):
    """A choice of files, filled when the projection answers. Text typed before that stays, and Enter waits."""

    def __init__(self, title: str, then: Callable[[str], Effects]) -> None:
        super().__init__(title, [], then)
        self.wish = (110, 24)

    def fill(self, answer: Answer) -> None:
        rows: list[InputFile] = answer.rows
        self.options = [
            *((row["path"], f"{row['standing']:<9}{size(row['size'] or 0):>10}  {clean(row['path'])}") for row in rows),
            (OTHER, "another file: type its path"),
        ]

    def fail(self) -> None:
        """The files could not be loaded: only a path can be typed."""
        self.options = [(OTHER, "another file: type its path")]

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        lines = super().body(width, height, glyphs)
        return lines if self.options else [*lines[:2], [("dim", f"loading the files{glyphs.ellipsis}")]]
