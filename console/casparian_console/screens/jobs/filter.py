"""The filter of the job list, the dialog that sets it, and the text search in many jobs.

A filter by group (status, type, parser) is free. A filter by job (text, dead letters) makes `job_list` keep its own lists; the
fields of many jobs are joined and searched as one text. Only some jobs of each bucket are loaded: `Finding` queries the tables
for the others, and pins the buckets so that the jobs found stay loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import attrgetter

from casparian_console.canvas import Glyphs, Line, clean, clip, count, restyle
from casparian_console.editor import Editor
from casparian_console.facts import STANDINGS as ALL_STANDINGS
from casparian_console.facts import BucketKey, Facts, Job, Standing
from casparian_console.kinds import KINDS, look_of
from casparian_console.listing import Match
from casparian_console.messages import Effects
from casparian_console.overlays import Overlay
from casparian_protocol.queries.jobs import JobsMatching

#: A separator that no path and no id contains.
_BETWEEN = "\0"
_CHUNK = 10_000
_HEX = frozenset("0123456789abcdef")
_FIELDS: dict[int, tuple[str, ...]] = {
    Standing.FAILED: ("input", "error_message", "error_code"),
    Standing.RUNNING: ("input", "worker_id"),
    Standing.WAITING: ("input", "error_code"),
    Standing.DONE: ("input",),
    Standing.CANCELLED: ("input", "reason"),
}


def _fields(standing: int, wanted: str) -> Sequence[str]:
    """The fields to search for a text; ids only if the text may be part of one."""
    return (*_FIELDS[standing], "job_id") if _HEX.issuperset(wanted) else _FIELDS[standing]


def matches(job: Job, wanted: str) -> bool:
    """Whether the job's file, error, worker or id contains the text (in lower case)."""
    return any(wanted in getattr(job, field).casefold() for field in _fields(job.standing, wanted))


def matching_places(jobs: Iterable[Job], standing: int, wanted: str) -> list[int]:
    """The places of the matching jobs, in order."""
    found: list[int] = []
    for number, chunk in enumerate(_chunks(jobs)):
        found += [number * _CHUNK + place for place in _places(chunk, standing, wanted)]
    return found


def all_matches(jobs: Iterable[Job], standing: int, wanted: str) -> Iterator[Job]:
    """The matching jobs, in their order."""
    for chunk in _chunks(jobs):
        yield from map(chunk.__getitem__, _places(chunk, standing, wanted))


def _chunks(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    rest = iter(jobs)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _places(jobs: Sequence[Job], standing: int, wanted: str) -> list[int]:
    """The places of the matching jobs, in order."""
    found: list[list[int]] = []
    for name in _fields(standing, wanted):
        text = _BETWEEN.join(map(attrgetter(name), jobs)).casefold()
        if wanted in text:
            found.append([place for place, part in enumerate(text.split(_BETWEEN)) if wanted in part])
    return found[0] if len(found) == 1 else sorted({place for places in found for place in places})


_ENDED_WELL = frozenset({Standing.DONE, Standing.CANCELLED})
#: status → the standings of jobs that have it.
STANDINGS: dict[str, frozenset[int]] = {
    "all": frozenset(Standing),
    "running": frozenset({Standing.RUNNING}),
    "failed": frozenset({Standing.FAILED}),
    "queued": frozenset({Standing.WAITING}),
    "done": frozenset({Standing.DONE}),
    "quarantined": frozenset({Standing.DONE}),
    "dead": frozenset({Standing.FAILED}),
    "cancelled": frozenset({Standing.CANCELLED}),
}
#: status → its only state, for a standing with several states.
_STATES = {"quarantined": "PARTIAL_SUCCESS", "dead": "DEAD_LETTER"}
_WORDS = {"dead": "dead letters", "quarantined": "done with quarantined rows"}


#: The standing as an adjective before `job`.
STANDING_WORDS = {
    Standing.FAILED: "failed",
    Standing.RUNNING: "running",
    Standing.WAITING: "queued",
    Standing.DONE: "finished",
    Standing.CANCELLED: "cancelled or closed",
}


def status_word(status: str) -> str:
    return _WORDS.get(status, status)


@dataclass(frozen=True, slots=True)
class Filter:
    """The filter of the list; empty fields match every job."""

    status: str = "all"
    type: str = ""
    parser: str = ""
    text: str = ""
    hides_done: bool = False

    @property
    def is_by_job(self) -> bool:
        """Whether the filter has to check each job of a group."""
        return bool(self.text) or self.status in _STATES

    @property
    def is_on(self) -> bool:
        return self != Filter(hides_done=self.hides_done)

    def takes_bucket(self, key: BucketKey) -> bool:
        standing, kind, which = key[0], key[1], key[2]
        if standing not in STANDINGS[self.status]:
            return False
        if self.hides_done and self.status == "all" and standing in _ENDED_WELL:
            return False
        return (not self.type or kind == self.type) and (
            not self.parser or (look_of(kind).is_grouped_by_parser and which == self.parser)
        )

    def takes_job(self, job: Job) -> bool:
        return self._takes_state(job) and (not self.text or matches(job, self.text.casefold()))

    def _takes_state(self, job: Job) -> bool:
        wanted = _STATES.get(self.status)
        return wanted is None or job.state == wanted

    @property
    def query(self) -> JobsMatching:
        """The query for the same jobs in the tables; hidden jobs are left out."""
        wanted = _STATES.get(self.status)
        states = [state for state, standing in ALL_STANDINGS.items() if standing in STANDINGS[self.status]]
        return JobsMatching((wanted,) if wanted else tuple(states), self.text, self.type, self.parser)

    def searching(self, text: str) -> JobsMatching:
        """The query for the jobs of this list that contain a text."""
        return replace(self, text=text).query

    def taken(self, jobs: Iterable[Job], standing: int) -> Iterator[Job]:
        """The jobs of a group that pass the filter, in their order."""
        if self.status in _STATES:
            jobs = filter(self._takes_state, jobs)
        return all_matches(jobs, standing, self.text.casefold()) if self.text else iter(jobs)

    def words(self) -> str:
        """The filter in words for the header; empty without a filter."""
        parts = [status_word(self.status)] if self.status != "all" else []
        parts += [each for each in (self.type, clean(self.parser)) if each]
        parts += [f"“{clean(self.text)}”"] if self.text else []
        words = f"only {', '.join(parts)}" if parts else ""
        hidden = "completed hidden" if self.hides_done and self.status == "all" else ""
        return "; ".join(each for each in (words, hidden) if each)


class Finding:
    """The query of the tables for the current filter and search, and the text shown until the answer."""

    def __init__(self) -> None:
        self._asked: JobsMatching | None = None
        #: The text of the last search in a list that is not fully loaded.
        self.sought = ""
        #: The message for a search without a match while the tables are queried; else empty.
        self.missed = ""

    def pinned(self, facts: Facts, wanted: Filter) -> set[BucketKey]:
        """The buckets that may hold a job that is searched for."""
        is_on = wanted.is_by_job or bool(self.sought)
        return {key for key in facts.jobs.buckets if wanted.takes_bucket(key)} if is_on else set()

    def query(self, wanted: Filter) -> JobsMatching | None:
        """The current query; for a filter by job it includes everything that a search could find."""
        if wanted.is_by_job:
            return wanted.query
        return wanted.searching(self.sought) if self.sought else None

    def ask(self, facts: Facts, wanted: Filter) -> Effects:
        """Query once for each filter and search, and again after a refusal or a new snapshot."""
        query = self.query(wanted)
        is_new, self._asked = query != self._asked, query
        return [*facts.find_jobs(query)] if query is not None and (is_new or query not in facts.found) else []

    def seek(self, text: str, facts: Facts, wanted: Filter) -> None:
        """Begin a search by the user; the tables are queried if not every job is loaded."""
        self.sought = text if not wanted.is_by_job and listed(facts, wanted) is not None else ""

    def forget_search(self) -> None:
        self.sought = self.missed = ""

    def note(self, found: Match, facts: Facts, wanted: Filter) -> Match:
        """Record what the search found among the loaded jobs."""
        is_missed = bool(self.sought) and not found and self.is_pending(facts, wanted)
        self.missed = f"“{self.sought}” is not {self.pending_words(facts, wanted)}…" if is_missed else ""
        return found

    def take_missed(self, facts: Facts, wanted: Filter) -> str | None:
        """Take the text that was not found among the loaded jobs, once the answer has arrived."""
        if not self.missed or self.is_pending(facts, wanted):
            return None
        self.missed = ""
        return self.sought

    def is_pending(self, facts: Facts, wanted: Filter) -> bool:
        """Whether jobs that are not loaded may match and the answer is still awaited."""
        query = self.query(wanted)
        return query is not None and facts.found.get(query) is None and listed(facts, wanted) is not None

    def words(self, facts: Facts, wanted: Filter) -> str:
        """The filter in words, and whether all its jobs are listed; empty without a filter."""
        query, description = self.query(wanted), wanted.words()
        if query is None or not wanted.is_by_job:
            return description
        if self.is_pending(facts, wanted):
            return f"{description}; asking the daemon for all of them"
        return (
            f"{description}; the latest {query.limit:,} of them"
            if (facts.found.get(query) or 0) >= query.limit
            else description
        )

    def pending_words(self, facts: Facts, wanted: Filter) -> str:
        """Where the search has looked so far, while the daemon is asked for the rest."""
        return f"in {listed(facts, wanted) or 'the jobs listed'}; asking for all"


def found_words(text: str, found: Match) -> tuple[str, str]:
    """The result of a search in all jobs, and its style."""
    if found:
        return f"“{text}” {found.place:,}/{found.total:,}", "dim"
    return f"No job contains “{text}”.", "warn"


def listed(facts: Facts, wanted: Filter) -> str | None:
    """`the 5,000 jobs listed of 300,000`; None if every job that passes the filter is loaded."""
    if not facts.is_known:
        return "the jobs listed so far"
    taken = [bucket for key, bucket in facts.jobs.buckets.items() if wanted.takes_bucket(key)]
    if all(bucket.is_whole for bucket in taken):
        return None
    known, total = sum(len(bucket.jobs) for bucket in taken), sum(bucket.size for bucket in taken)
    return f"the {count(known, 'job')} listed of {total:,}"


@dataclass
class FilterDialog(Overlay):
    """The dialog of the filter: four fields; arrows choose, what is typed is the text, Enter applies."""

    start: Filter
    parsers: Sequence[str]
    apply: Callable[[Filter], Effects]
    title: str = "Filter"
    wish: tuple[int, int] = (68, 10)
    at: int = 0
    _chosen: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.choices: list[Sequence[str]] = [tuple(STANDINGS), ("", *KINDS), ("", *self.parsers)]
        values = (self.start.status, self.start.type, self.start.parser)
        self._chosen = [
            list(choice).index(value) if value in choice else 0
            for choice, value in zip(self.choices, values, strict=True)
        ]
        self.editor = Editor(self.start.text)

    def handle(self, key: str) -> Effects:
        if key == "enter":
            self.is_closed = True
            return self.apply(self._made())
        if key in ("down", "tab", "up", "s-tab"):
            self.at = (self.at + (1 if key in ("down", "tab") else -1)) % 4
        elif key == "ctrl-r":
            self._chosen = [0, 0, 0]
            self.editor.set("")
        elif self.at == 3:
            self.editor.handle(key)
        elif key in ("left", "right", " "):
            step = -1 if key == "left" else 1
            self._chosen[self.at] = (self._chosen[self.at] + step) % len(self.choices[self.at])
        elif key == "backspace":
            self._chosen[self.at] = 0
        elif len(key) == 1:  # typed text is the text, on every line
            self.at = 3
            self.editor.handle(key)
        return []

    def paste(self, text: str) -> None:
        self.at = 3
        self.editor.insert(text)

    def _made(self) -> Filter:
        status, kind, parser = (choice[at] for choice, at in zip(self.choices, self._chosen, strict=True))
        return replace(self.start, status=status, type=kind, parser=parser, text=self.editor.text.strip())

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        made = self._made()
        values = (status_word(made.status), made.type or "all", clean(made.parser) or "all")
        lines: list[Line] = []
        for at, (name, value) in enumerate(zip(("status", "type", "parser"), values, strict=True)):
            shown = f"< {clip(value, width - 16, glyphs.ellipsis)} >" if at == self.at else f"  {value}"
            lines.append([("dim", f" {name:<8}"), ("", shown)])
        text = self.editor.line(
            width - 12, style="input", is_focused=self.at == 3, placeholder="file, id, error, worker"
        )
        lines.append([("dim", f" {'text':<8}"), ("", "  "), *text])
        lines[self.at] = restyle(lines[self.at], "accent") if self.at < 3 else lines[self.at]
        return [[], *lines]

    def hint(self) -> str:
        return "arrows: choose  type: text  Enter: apply  Ctrl-R: all  Esc: cancel"
