"""Matching a glob against all files while it is typed, without delaying a key.

The file index is read in pages of at most 5,000 paths. Each page is matched when it arrives, then the next one is queried.
Only counts and the first matches are kept. If the pattern begins with plain folders or ends with an extension, only such files
are queried. The first page is cached, so a key shows matches at once; answers for an older pattern are dropped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from casparian_console.messages import Answer, Effects, RunQuery
from casparian_console.screens.discover.files import Source
from casparian_protocol.errors import CasparianError
from casparian_protocol.globs import Glob, compile_glob
from casparian_protocol.queries.files import FilePath, FilePaths

PAGE_ROWS = 5_000
#: Fewer paths for a pattern with dates: dates are parsed, which takes 3 to 12 µs for a path instead of 0.5.
DATED_ROWS = 1_200
#: The share of the cached first page that is matched within a key press.
AT_ONCE_SHARE = 0.25
MATCHES_SHOWN = 500
_FOLDERS_MAX = 5_000
_PATTERN_CHARACTERS_AT_FULL_PAGE = 60
HERE = "(here)"
OTHERS = "(other folders)"
_SPECIAL = re.compile(r"[*?\[\]{}\\]")


class Matcher:
    """Matches one pattern after the other."""

    def __init__(self) -> None:
        self.problem = ""
        self.is_done = True
        #: Files checked in this round, without those that cannot match.
        self.seen = 0
        self.matched = 0
        #: The first matches; `fields` reads the pattern's fields from one.
        self.matches: list[str] = []
        self.folders: Counter[str] = Counter()
        #: Exclusion → number of files that the pattern would match without it.
        self.excluded: Counter[str] = Counter()
        self.source = Source()
        self.folder = ""
        self._generation = 0
        self._glob: Glob | None = None
        self._excludes: list[tuple[str, Callable[[str], object]]] = []
        self._test: Callable[[str], object] = bool
        self._limit = PAGE_ROWS
        self._first_page: list[str] = []

    def scope(self, source: Source, folder: str) -> None:
        """The files to match, and the folder below which they are counted by folder."""
        if source != self.source:
            self._first_page = []
        self.source, self.folder = source, folder

    def start(self, pattern: str, excludes: Sequence[str]) -> Effects:
        """Start a new round. An invalid pattern gives the reason and no matches."""
        self._generation += 1
        self._reset()
        self.problem, self._glob = "", None
        if not pattern:
            self.problem = "Type a pattern: `*.log`, `trades/**/2024-*.csv`, `{client}/{date:%Y-%m-%d}/*.hl7`."
            return []
        try:
            self._glob = compile_glob(pattern)
            self._excludes = [(text, _quick(compile_glob(text))) for text in excludes]
        except CasparianError as error:
            self._glob, self.problem = None, error.problem
            return []
        self._test = _quick(self._glob)
        longest = max(len(pattern), *(len(text) for text in excludes), 1)
        most = (DATED_ROWS if self._glob.date_formats else PAGE_ROWS) // (1 + len(self._excludes))
        self._limit = max(200, min(most, most * _PATTERN_CHARACTERS_AT_FULL_PAGE // longest))
        self.is_done = False
        self._slice(self._first_page[: int(self._limit * AT_ONCE_SHARE)])
        return [self._page("", "")]

    def stop(self) -> None:
        """Stop: answers in flight are dropped."""
        self._generation += 1
        self.is_done = True

    def _reset(self) -> None:
        self.seen = self.matched = 0
        self.matches, self.folders, self.excluded = [], Counter(), Counter()
        self.is_done = True

    def _page(self, path: str, file_id: str) -> RunQuery:
        assert self._glob is not None
        below, ending = plain_prefix(self._glob.pattern), self._glob.suffix
        wanted = replace(self.source.filter, starts_with=below, ends_with=ending)
        tag = ("discover", "match", str(self._generation), "" if path else "first")
        return RunQuery(tag, FilePaths(wanted, self._limit, path, file_id))

    def on_answer(self, answer: Answer) -> Effects:
        """Match a page that arrived, and query the next one."""
        if answer.tag[2] != str(self._generation) or self._glob is None:
            return []
        rows: list[FilePath] = answer.rows
        paths = [row["rel_path"] for row in rows]
        if answer.tag[3] == "first":
            self._reset()  # the paths matched at once come again with the first page
            if not plain_prefix(self._glob.pattern) and not self._glob.suffix:
                self._first_page = paths
            self.is_done = False
        self._slice(paths)
        if len(rows) < self._limit:
            self.is_done = True
            return []
        return [self._page(rows[-1]["path"], rows[-1]["id"])]

    def failed(self, generation: str, problem: str) -> None:
        if generation == str(self._generation):
            self.problem, self.is_done = problem, True

    def _slice(self, paths: Sequence[str]) -> None:
        assert self._glob is not None
        test, at = self._test, len(self.folder)
        for path in paths:
            if not test(path):
                continue
            if self._excludes and (by := self._excluded_by(path)) is not None:
                self.excluded[by] += 1
                continue
            self.matched += 1
            name, slash, _ = path[at:].partition("/")
            name = f"{name}/" if slash else HERE
            self.folders[name if name in self.folders or len(self.folders) < _FOLDERS_MAX else OTHERS] += 1
            if len(self.matches) < MATCHES_SHOWN:
                self.matches.append(path)
        self.seen += len(paths)

    def fields(self, rel_path: str) -> dict[str, str]:
        """The fields that the pattern reads from a matching path."""
        return (self._glob.match(rel_path) or {}) if self._glob is not None and self._glob.field_names else {}

    def _excluded_by(self, path: str) -> str | None:
        return next((text for text, excludes in self._excludes if excludes(path)), None)


def _quick(glob: Glob) -> Callable[[str], object]:
    """The cheapest equivalent test: only dates need more than the regular expression."""
    shape = re.compile(glob.regex, re.DOTALL).match
    return (lambda path: shape(path) is not None and glob.matches(path)) if glob.date_formats else shape


def plain_prefix(pattern: str) -> str:
    """The folders that every match begins with: `a/b/` for `a/b/*.log`. None for a pattern that is matched against file names."""
    if "/" not in pattern:
        return ""
    special = _SPECIAL.search(pattern)
    plain = pattern[: special.start()] if special else pattern
    return plain[: plain.rfind("/") + 1].lstrip("/") if "//" not in plain else ""
