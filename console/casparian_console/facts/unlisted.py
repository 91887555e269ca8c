"""Jobs that are counted and not known: asking for the pages of a bucket, and for jobs that an event names.

A snapshot lists the first jobs that wait, and the book evicts what is too many. An event about such a job is held until the
tables have said whose job it is; then it is folded like any other. Owns what was asked and how far the pages reach.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from casparian_console.facts import loading
from casparian_console.facts.book import JobBook
from casparian_console.facts.jobs import CLOSED, ENDED_STATES, BucketKey, Standing
from casparian_console.messages import Answer, RunQuery, Tag
from casparian_protocol.feed import FeedEvent
from casparian_protocol.queries.jobs import GroupedJob

#: Buckets without a known job of which a page is asked for at once.
_PAGES_AT_ONCE = 8
#: Events that may be the first to name a job.
_OF_OPEN_JOBS = frozenset(
    {
        "JobLeased",
        "JobStarted",
        "JobProgressed",
        "LeaseExpired",
        "JobDue",
        "JobRetryScheduled",
        "JobOutputsCommitted",
        "JobCompleted",
        "JobFailed",
        "JobDeadLettered",
        "JobCancelled",
    }
)
#: States of jobs that an answer may add: what is under way the snapshot and the feed tell of.
_TAKEN = ENDED_STATES | {"QUEUED"}
_Page = tuple[BucketKey, str]


class Unlisted:
    """See the module. The book is the caller's."""

    def __init__(self) -> None:
        #: Job id → events about it that wait for it to be known.
        self._held: dict[str, list[FeedEvent]] = {}
        self._is_asking_ids = False
        #: How far the pages of a bucket and state reach: the place of the last row; None behind the last page.
        self._reached: dict[_Page, tuple[int, str] | None] = {}
        self._awaited: set[_Page] = set()

    def fork(self) -> Unlisted:
        fresh = Unlisted()
        fresh._held = {job_id: events[:] for job_id, events in self._held.items()}
        fresh._reached, fresh._awaited = self._reached.copy(), self._awaited.copy()
        fresh._is_asking_ids = self._is_asking_ids
        return fresh

    def begin_anew(self) -> None:
        """A snapshot tells of everything that is open."""
        self._held.clear()
        self._awaited.clear()
        self._is_asking_ids = False

    # --- jobs that events name ----------------------------------------------------------------------------------------

    def holds(self, book: JobBook, event: FeedEvent) -> bool:
        """Whether the event waits: it is about one of those that the snapshot counted, or that were evicted."""
        job_id = event.data.get("job_id", "")
        if event.type not in _OF_OPEN_JOBS or book.get(job_id) is not None:
            return False
        if job_id not in self._held and not book.is_partial(Standing.WAITING):
            return False
        self._held.setdefault(job_id, []).append(event)
        return True

    def identify(self) -> list[RunQuery]:
        """Ask who the named jobs are: all at once, one question at a time."""
        if not self._held or self._is_asking_ids:
            return []
        self._is_asking_ids = True
        return [loading.by_id(list(self._held)[: loading.IDS_AT_ONCE])]

    # --- pages --------------------------------------------------------------------------------------------------------

    def more(self, book: JobBook, key: BucketKey) -> list[RunQuery]:
        """The next page of a bucket of ended jobs, unless it is on its way or all are known."""
        bucket = book.buckets.get(key)
        if bucket is None or bucket.is_whole or key[0] in (Standing.RUNNING, Standing.WAITING) or key[4] == CLOSED:
            return []
        asked = []
        for state in loading.states_of(key[0]):
            page = (key, state)
            if page not in self._awaited and self._reached.get(page, (0, "")) is not None:
                self._awaited.add(page)
                asked.append(loading.page_of(key, state, self._reached.get(page)))
        return asked

    def first_pages(self, book: JobBook) -> list[RunQuery]:
        """The first page of buckets of which nothing but their sums is known, the latest first."""
        bare = [bucket for bucket in book.buckets.values() if not bucket.jobs and bucket.counted.jobs]
        bare.sort(key=lambda bucket: (bucket.key[0], -bucket.latest_at))
        asked: list[RunQuery] = []
        for bucket in bare:
            if len(asked) >= _PAGES_AT_ONCE:
                break
            asked += self.more(book, bucket.key)
        return asked

    def pin(self, book: JobBook, keys: Collection[BucketKey]) -> None:
        """These buckets are listed now, the others not any more: what is known of them beyond the first is evicted."""
        for key in book.pinned - set(keys):
            book.let_go(key)
            for state in loading.states_of(key[0]):
                self._reached.pop((key, state), None)
        book.pinned |= set(keys)

    # --- answers ------------------------------------------------------------------------------------------------------

    def on_answer(self, book: JobBook, answer: Answer) -> Iterable[FeedEvent]:
        """Take the jobs in; the events that waited for them, to be folded now."""
        rows: list[GroupedJob] = answer.rows
        jobs = [loading.job_of(row) for row in rows]
        if answer.tag[1] == "byid":
            self._is_asking_ids = False
        elif answer.tag[1] == "page":
            page = loading.page_key(answer.tag)
            self._awaited.discard(page)
            is_last = len(jobs) < loading.PAGE_JOBS
            if page[0] in book.pinned or is_last:
                self._reached[page] = None if is_last else (jobs[-1].at, jobs[-1].job_id)
        named = [job for job in jobs if job.job_id in self._held]
        others = [job for job in jobs if job.job_id not in self._held and job.state in _TAKEN]
        book.know(others, answer.seq)
        book.know(map(loading.queued_again, named), answer.seq)
        return [event for job in named for event in self._held.pop(job.job_id)]

    def refused(self, tag: Tag) -> None:
        """It is asked again when it is wanted again."""
        if tag[1] == "byid":
            self._is_asking_ids = False
        elif tag[1] == "page":
            self._awaited.discard(loading.page_key(tag))
