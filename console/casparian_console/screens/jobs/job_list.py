"""The job list as a sequence of rows: groups of jobs, and the jobs of open groups.

A `JobGroup` is a bucket of the book, except that the running and waiting jobs of one parser form one group, so that its row
stays in place between two jobs. `JobList.follow` applies the book's changes since the last call. Finding a row by place or by
identity takes a walk over the open groups and a binary search, never a scan of all jobs.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from itertools import islice
from typing import Any, NamedTuple

from sortedcontainers import SortedKeyList, SortedList

from casparian_console.canvas import shared_folder
from casparian_console.facts import Bucket, BucketKey, Job, JobBook, Move, Standing, recency
from casparian_console.kinds import look_of
from casparian_console.listing import Match
from casparian_console.screens.jobs.filter import STANDINGS, Filter, matching_places

FAILED, OPEN, DONE, CANCELLED = range(4)
_SECTIONS = {
    Standing.FAILED: FAILED,
    Standing.RUNNING: OPEN,
    Standing.WAITING: OPEN,
    Standing.DONE: DONE,
    Standing.CANCELLED: CANCELLED,
}

JobGroupKey = tuple[int, str, str, str, str]
Identity = tuple[str, Hashable]


def job_group_key(key: BucketKey) -> JobGroupKey:
    return (_SECTIONS[Standing(key[0])], *key[1:])


@dataclass(slots=True)
class FilteredBucket:
    """The jobs of a bucket that pass the filter, as (-at, job id, job), with the times at which they entered."""

    entries: list[tuple[int, str, Job]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, at: int) -> Job:
        return self.entries[at][2]

    def place(self, job: Job) -> int | None:
        at = bisect_left(self.entries, recency(job))
        return at if at < len(self.entries) and self.entries[at][1] == job.job_id else None

    def take(self, move: Move) -> None:
        at = bisect_left(self.entries, move.recency)
        is_there = at < len(self.entries) and self.entries[at][1] == move.job.job_id
        if move.sign > 0 and not is_there:
            insort(self.entries, (*move.recency, move.job))
        elif move.sign < 0 and is_there:
            del self.entries[at]


@dataclass(slots=True, eq=False)
class JobGroup:
    """Jobs that are listed together; `JobList.members` returns them."""

    key: JobGroupKey
    rank: tuple[int, int, JobGroupKey]

    @property
    def section(self) -> int:
        return self.key[0]

    @property
    def type(self) -> str:
        return self.key[1]

    @property
    def parser(self) -> str:
        return self.key[2] if look_of(self.type).is_grouped_by_parser else ""

    @property
    def version(self) -> str:
        return self.key[3]

    @property
    def bucket_keys(self) -> tuple[BucketKey, ...]:
        rest = self.key[1:]
        if self.section == OPEN:
            return ((int(Standing.RUNNING), *rest), (int(Standing.WAITING), *rest))
        standing = {FAILED: Standing.FAILED, DONE: Standing.DONE, CANCELLED: Standing.CANCELLED}[self.section]
        return ((int(standing), *rest),)


def jobs_of(part: Any) -> Iterable[Job]:
    return (entry[2] for entry in part.entries) if isinstance(part, FilteredBucket) else part


def rank_of(group: JobGroup) -> tuple[int, int, JobGroupKey]:
    return group.rank


#: How often newer jobs may move a group up, so that two busy groups do not swap places all the time.
_CALM_US = 60_000_000
_FINGERPRINT_DIGITS = 8
_LOOKED_AT = 64


class Span(NamedTuple):
    """An open group: its own row, the number of jobs listed before it, and the number of its own jobs."""

    row: int
    before: int
    size: int
    group: JobGroup


def _span_row(span: Span) -> int:
    return span.row


def _span_rank(span: Span) -> tuple[int, int, JobGroupKey]:
    return span.group.rank


class JobList:
    """The rows of the list under a filter."""

    def __init__(self) -> None:
        self.filter = Filter()
        self.book: JobBook | None = None
        self._opened: set[JobGroupKey] = set()
        self.order: Any = SortedKeyList(key=rank_of)
        self.groups: dict[JobGroupKey, JobGroup] = {}
        #: All causes in the list, to find their shortest unique prefixes.
        self._causes: Any = SortedList()
        self._kept: dict[BucketKey, FilteredBucket] = {}
        self._seen = 0
        self._starts: list[Span] | None = None
        #: The number of jobs and moves visited so far; tests check it instead of time.
        self.work = 0

    # --- following the book -------------------------------------------------------------------------------------------

    def follow(self, book: JobBook, wanted: Filter) -> None:
        """Apply the book's changes since the last call."""
        missed = book.moved - self._seen
        if book is not self.book or wanted != self.filter or missed > len(book.moves):
            self._read(book, wanted)
        elif missed:
            self._starts = None
            touched = set()
            for move in islice(book.moves, len(book.moves) - missed, None):
                self.work += 1
                if wanted.takes_bucket(move.key):
                    touched.add(job_group_key(move.key))
                    if wanted.is_by_job and (move.sign < 0 or wanted.takes_job(move.job)):
                        self._kept.setdefault(move.key, FilteredBucket()).take(move)
            for key in touched:
                self._settle(key)
        self._seen = book.moved

    def _read(self, book: JobBook, wanted: Filter) -> None:
        self.book, self.filter, self._starts = book, wanted, None
        self.order, self.groups, self._kept, self._causes = SortedKeyList(key=rank_of), {}, {}, SortedList()
        for key, bucket in book.buckets.items():
            if not wanted.takes_bucket(key):
                continue
            if wanted.is_by_job:
                self.work += len(bucket.jobs)
                entries = [(*recency(job), job) for job in wanted.taken(bucket.jobs, key[0])]
                self._kept[key] = FilteredBucket(entries)
            self._settle(job_group_key(key))

    def _settle(self, key: JobGroupKey) -> None:
        """Move a group to its current place, or remove it if it is empty."""
        group = self.groups.get(key)
        fresh = group or JobGroup(key, (0, 0, key))
        if not (self.size(fresh) if self.filter.is_by_job else self.total(fresh)):
            if group is not None:
                self.order.remove(group)
                del self.groups[key]
                self._causes.discard(key[4])
            return
        first = max((bucket.latest_at for bucket in self.buckets(fresh)), default=0)
        by_name = key[0] == OPEN
        last = -fresh.rank[1]
        rank = (key[0], 0 if by_name else -(first if first - last > _CALM_US else last), key)
        if group is None:
            fresh.rank = rank
            self.order.add(fresh)
            self.groups[key] = fresh
            if key[4]:
                self._causes.add(key[4])
        elif rank != group.rank:
            self.order.remove(group)
            group.rank = rank
            self.order.add(group)

    # --- members ------------------------------------------------------------------------------------------------------

    def buckets(self, group: JobGroup) -> list[Bucket]:
        assert self.book is not None
        return [
            bucket
            for key in group.bucket_keys
            if key[0] in STANDINGS[self.filter.status] and (bucket := self.book.buckets.get(key)) is not None
        ]

    def _part(self, bucket: Bucket) -> Any:
        return self._kept.get(bucket.key, ()) if self.filter.is_by_job else bucket.jobs

    def size(self, group: JobGroup) -> int:
        """The number of its jobs that can be listed: loaded jobs that pass the filter."""
        return sum(len(self._part(bucket)) for bucket in self.buckets(group))

    def all_of(self, group: JobGroup) -> int:
        """The number of its jobs without the filter."""
        return sum(bucket.size for bucket in self.buckets(group))

    def total(self, group: JobGroup) -> int:
        """The number of its jobs; under a filter by job, the number of matches found."""
        return self.size(group) if self.filter.is_by_job else self.all_of(group)

    def root(self, group: JobGroup) -> str:
        """The common directory of its jobs' inputs, with its slash."""
        roots = [bucket.root for bucket in self.buckets(group) if bucket.root is not None]
        return reduce(shared_folder, roots) if roots else ""

    def job(self, group: JobGroup, at: int) -> Job:
        for bucket in self.buckets(group):
            part = self._part(bucket)
            if at < len(part):
                found: Job = part[at]
                return found
            at -= len(part)
        raise IndexError(at)

    def known(self, group: JobGroup, at: int) -> Job | None:
        """Like `job`, but a negative place counts from the end. None: there is no such job."""
        size = self.size(group)
        return self.job(group, at % size) if size else None

    def members(self, group: JobGroup) -> Iterator[Job]:
        """All of its jobs; only used if the user asked for all."""
        for bucket in self.buckets(group):
            part = self._part(bucket)
            yield from jobs_of(part)

    def running(self, group: JobGroup, limit: int) -> list[Job]:
        """At most this many running jobs of an open group, the longest running first, since those may need a person."""
        for bucket in self.buckets(group):
            if bucket.standing is Standing.RUNNING:
                part = self._part(bucket)
                return [part[at] for at in range(len(part) - 1, max(-1, len(part) - 1 - limit), -1)]
        return []

    def speaker(self, group: JobGroup) -> Job | None:
        """The job whose detail and log are shown for the group: the longest running one, otherwise the one that changed last.

        None while no job of the group is loaded.
        """
        begun = (job for job in self.running(group, _LOOKED_AT) if job.state == "RUNNING")
        return next(begun, None) or (self.job(group, 0) if self.size(group) else None)

    def counts(self, group: JobGroup) -> tuple[int, int]:
        """The numbers of running and waiting jobs."""
        sizes = {
            bucket.standing: len(self._part(bucket)) if self.filter.is_by_job else bucket.size
            for bucket in self.buckets(group)
        }
        return sizes.get(Standing.RUNNING, 0), sizes.get(Standing.WAITING, 0)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def is_open(self, group: JobGroup) -> bool:
        return group.key in self._opened

    def open(self, group: JobGroup) -> None:
        self._opened.add(group.key)
        self._starts = None

    def close(self, group: JobGroup) -> None:
        self._opened.discard(group.key)
        self._starts = None

    def __len__(self) -> int:
        spans = self.spans()
        return len(self.order) + (spans[-1].before + spans[-1].size if spans else 0)

    def spans(self) -> list[Span]:
        """The open groups in the order of the list, with their rows; rebuilt after a move."""
        if self._starts is None:
            self._starts, before = [], 0
            for group in sorted((self.groups[key] for key in self._opened if key in self.groups), key=rank_of):
                size = self.size(group)
                self._starts.append(Span(self.order.index(group) + before, before, size, group))
                before += size
        return self._starts

    def end_words(self, at: int, is_loading: Callable[[BucketKey], bool]) -> str:
        """The message on the last listed job of an open group that has more jobs; else empty."""
        for span in self.spans():
            group = span.group
            if at == span.row + span.size and span.size < self.total(group):
                more = "more are loading." if any(map(is_loading, group.bucket_keys)) else "`f` and `/` look in all."
                if not span.size:
                    return f"None of the {self.total(group):,} jobs is listed; {more}"
                return f"The first {span.size:,} of {self.total(group):,} jobs are listed; {more}"
        return ""

    def row(self, at: int) -> tuple[JobGroup, Job | None]:
        """The group of a row, and its job unless it is the group's own row."""
        spans = self.spans()
        behind = bisect_left(spans, at, key=_span_row)
        if behind < len(spans) and spans[behind].row == at:
            return spans[behind].group, None
        before = 0
        if behind:
            last = spans[behind - 1]
            if at <= last.row + last.size:
                return last.group, self.job(last.group, at - last.row - 1)
            before = last.before + last.size
        found: JobGroup = self.order[at - before]
        return found, None

    def identity(self, at: int) -> Identity:
        group, job = self.row(at)
        return ("group", group.key) if job is None else ("job", job.job_id)

    def place(self, identity: Identity) -> int | None:
        """The current place of a row; None if it is gone. A job of a closed group is at its group's row."""
        kind, name = identity
        if kind == "job":
            found = self.find(str(name))
            if found is None:
                return None
            group, at = found
            own = self._own_place(group)
            return own + 1 + at if self.is_open(group) else own
        known = self.groups.get(name)  # type: ignore[call-overload]
        return None if known is None else self._own_place(known)

    def _own_place(self, group: JobGroup) -> int:
        spans = self.spans()
        behind = bisect_left(spans, group.rank, key=_span_rank)
        before = spans[behind - 1].before + spans[behind - 1].size if behind else 0
        return int(self.order.index(group)) + before

    def find(self, job_id: str) -> tuple[JobGroup, int] | None:
        """The group of a job, and the job's place in it."""
        job = self.book.get(job_id) if self.book is not None else None
        group = self.groups.get(job_group_key(job.bucket_key)) if job is not None else None
        if job is None or group is None:
            return None
        at = 0
        for bucket in self.buckets(group):
            part = self._part(bucket)
            if bucket.key == job.bucket_key:
                place = part.place(job) if isinstance(part, FilteredBucket) else part.bisect_key_left(recency(job))
                return None if place is None else (group, at + place)
            at += len(part)
        return None

    def search(self, text: str, at: int, step: int) -> tuple[Identity | None, Match]:
        """The next row that contains the text: from row `at` on (1), after it (2) or before it (-1), wrapping around at the end.

        Jobs of closed groups can match too.
        """
        found = self._matching(text.casefold()) if text and len(self.order) else []
        if not found:
            return None, Match()
        group, job = self.row(min(at, len(self) - 1))
        within = self.find(job.job_id) if job is not None else None
        here = (int(self.order.index(group)), within[1] if within is not None else -1)
        if step > 0:
            number = bisect_left(found, here if step == 1 else (here[0], here[1] + 1)) % len(found)
        else:
            number = bisect_left(found, here) - 1
        index, place = found[number]
        chosen: JobGroup = self.order[index]
        identity: Identity = ("group", chosen.key) if place < 0 else ("job", self.job(chosen, place).job_id)
        return identity, Match(number % len(found) + 1, len(found))

    def _matching(self, wanted: str) -> list[tuple[int, int]]:
        """All matching rows as (place of the group, place in the group); -1 is the group's own row."""
        found: list[tuple[int, int]] = []
        for index, group in enumerate(self.order):
            if wanted in self.title(group):
                found.append((index, -1))
            before = 0
            for bucket in self.buckets(group):
                part = self._part(bucket)
                self.work += len(part)
                places = matching_places(jobs_of(part), bucket.key[0], wanted)
                found += [(index, before + place) for place in places]
                before += len(part)
        return found

    def title(self, group: JobGroup) -> str:
        """The text of a group's own row that `/` searches."""
        code = self.job(group, 0).error_code if self.size(group) else ""
        return " ".join((*group.key[1:4], code, f"err-{group.key[4]}")).casefold()

    def fingerprint(self, whole: str) -> str:
        """`ERR-` and the shortest unique prefix, at least eight digits long, among the causes in the list."""
        at = self._causes.bisect_left(whole)
        digits = _FINGERPRINT_DIGITS
        for other in (*self._causes[max(0, at - 1) : at], *self._causes[at : at + 2]):
            if other != whole:
                shared = next((i for i, (a, b) in enumerate(zip(other, whole, strict=False)) if a != b), len(whole))
                digits = max(digits, shared + 1)
        return f"ERR-{whole[:digits]}"
