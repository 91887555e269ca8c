"""The left list of the Parser Bench, and the choice of a file to test on: files that failed last come first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from casparian_console.canvas import Glyphs, Line
from casparian_console.effects import Effects, Query, Tag
from casparian_console.facts.registry import Parser, Registry
from casparian_console.messages import Answer
from casparian_console.overlays import Choose
from casparian_console.text import ago, clean, count, size

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
    #: The parser's name, the file's name, or the path that was typed.
    name: str
    #: What `casparian run` is given.
    target: str
    parser: Parser | None = None
    file: ParserFile | None = None

    @property
    def identity(self) -> Identity:
        return (self.kind, self.name)

    @property
    def path(self) -> str:
        """The file that can be watched; empty for what is registered."""
        return "" if self.kind == "registered" else self.target

    @property
    def can_run(self) -> bool:
        return self.file is None or not self.file.is_broken


@dataclass
class Entries:
    """The list, made anew from the facts whenever it is drawn: it has as many rows as there are parsers."""

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
    """(glyph's name, style, words): how a registered parser stands."""
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


#: The states in the list, where the detail beside it says the rest.
_SHORT = {"paused by its circuit breaker": "paused", "waits for approval": "to approve", "one job tries": "one tries"}


def success_rate(parser: Parser) -> str:
    """`98%` of its runs ended well; empty before the first. Only all of them are 100%."""
    if not parser.runs:
        return ""
    if parser.successes == parser.runs:
        return "100%"
    return f"{min(99.9, 100 * parser.successes / parser.runs):.3g}%"


def entry_lines(entry: Entry, registry: Registry, now_us: int, glyphs: Glyphs) -> tuple[Line, Line]:
    """Its name, and how it fares."""
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


#: Chosen to name a path instead.
OTHER = ""
_LIMIT = 300

#: Each input of the parser as its last job left it, then files with one of its topics that it has not seen.
_OF_PARSER = """
with tried as (
    select input_file as path, max_by(status, sequence) as status, max_by(quarantine_rows, sequence) as bad,
        max(sequence) as seen
    from cf_processing_queue where job_type = 'PARSE' and plugin_name = ? and input_file is not null group by input_file
), topical as (
    select f.path, f.size from scout_files f
    where f.status <> 'vanished' and f.path not in (select path from tried) and f.id in (
        select t.file_id from scout_file_tags t where list_contains(string_split(?, chr(10)), t.tag))
    order by f.path limit 300
)
select path, standing, size from (
    select t.path, t.seen, case when t.status in ('FAILED', 'DEAD_LETTER') then 'failed'
        when t.bad > 0 then 'bad rows'
        when t.status in ('COMPLETED', 'PARTIAL_SUCCESS') then 'passed' else 'open' end as standing,
        (select max(f.size) from scout_files f where f.path = t.path) as size
    from tried t
    union all select path, 0, 'new', size from topical
) order by case standing when 'failed' then 0 when 'bad rows' then 1 when 'open' then 2 when 'new' then 3 else 4 end,
    seen desc, path limit ?
"""
_OF_CATALOGUE = """
select path, 'known' as standing, size from scout_files where status <> 'vanished' order by last_changed desc, path limit ?
"""


def file_query(tag: Tag, parser: Parser | None) -> Query:
    if parser is None:
        return Query(tag, _OF_CATALOGUE, (_LIMIT,), _LIMIT)
    return Query(tag, _OF_PARSER, (parser.name, "\n".join(parser.topics), _LIMIT), _LIMIT)


class FileChoice(Choose):
    """The files, once the projection has named them; what is typed before that stays, and Enter waits."""

    def __init__(self, title: str, then: Callable[[str], Effects]) -> None:
        super().__init__(title, [], then)
        self.wish = (110, 24)

    def fill(self, answer: Answer) -> None:
        self.options = [
            *(
                (str(path), f"{standing:<9}{size(length or 0):>10}  {clean(path)}")
                for path, standing, length in answer.rows
            ),
            (OTHER, "another file: type its path"),
        ]

    def fail(self) -> None:
        """Nobody can say which files there are: a path can still be typed."""
        self.options = [(OTHER, "another file: type its path")]

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        lines = super().body(width, height, glyphs)
        return lines if self.options else [*lines[:2], [("dim", f"asking which files there are{glyphs.ellipsis}")]]
