"""Loading jobs from the tables and from a snapshot: the queries, and how their answers enter the book.

An answer may be a little older or newer than the feed. Where the feed has reported a job, the feed wins. Events enter through
the book's own `fold`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from casparian_console.facts.book import MOST_LISTED, JobBook, Settled
from casparian_console.facts.jobs import (
    CLOSED,
    ENDED_STATES,
    STANDINGS,
    BucketKey,
    Counts,
    Job,
    Standing,
    recency,
)
from casparian_console.kinds import look_of
from casparian_console.messages import Answer, RunQuery, Tag
from casparian_protocol.events import Event, JobEvent, JobProgressed, JobQueued, JobReplayed
from casparian_protocol.feed import FeedEvent
from casparian_protocol.jobs import JobState
from casparian_protocol.queries import Query
from casparian_protocol.queries.files import FileSums
from casparian_protocol.queries.jobs import (
    EndedJobs,
    GroupedJob,
    JobGroupRow,
    JobGroups,
    JobsById,
    JobsInQueue,
    JobsMatching,
    JobsOfGroup,
)
from casparian_protocol.queries.outputs import OutputsListed
from casparian_protocol.queries.registry import ContractsListed, ParserVersions, Sources, WaitingTags
from casparian_protocol.wire.operations.daemon import Snapshot

#: How many ended jobs are loaded at the start; the others are counted, and loaded when a group is opened.
RECENT_JOBS = 1_000
PAGE_JOBS = 500
#: The size of a page of waiting jobs. A group with fewer listed jobs gets its next page before anyone looks for it.
PAGE_WAITING = 1_000
#: How many jobs one query asks for by id.
IDS_AT_ONCE = 2_000

#: For how many buckets without a loaded job a page is queried at once.
_PAGES_AT_ONCE = 8
#: The states of waiting jobs that no worker has.
WAITING_STATES = ("QUEUED", "RETRY_WAIT")
#: The states of jobs that an answer may add. Jobs in progress come from the snapshot and the feed.
_TAKEN = ENDED_STATES | {*WAITING_STATES}
#: A bucket, and the state of its ended jobs that a page is about; a page of waiting jobs is about all of them (`QUEUE`).
_Page = tuple[BucketKey, str]
#: The query for a page of a group.
GroupPage = JobsInQueue | JobsOfGroup
QUEUE = "queue"
#: Where the first page begins.
_FIRST = (0, "")

_BEGUN = frozenset({"RUNNING", "COMMITTED"})
#: The queries that complete a snapshot, by the name of the table that they fill.
LOADS: dict[str, Query[Any]] = {
    "groups": JobGroups(),
    "jobs": EndedJobs(RECENT_JOBS),
    "parsers": ParserVersions(),
    "contracts": ContractsListed(),
    "outputs": OutputsListed(),
    "sources": Sources(),
    "files": FileSums(),
    "waiting": WaitingTags(),
}


def load(table: str) -> RunQuery:
    return RunQuery(("facts", table), LOADS[table])


def by_id(job_ids: list[str]) -> RunQuery:
    return RunQuery(("facts", "byid"), JobsById(tuple(job_ids)))


def page_of(key: BucketKey, state: str, behind: tuple[int, str] = _FIRST) -> RunQuery:
    """The query for the next jobs of a bucket behind a sort key: of ended jobs in one state, or of waiting jobs."""
    _, kind, which, version, cause = key
    parser, path = (which, "") if look_of(kind).is_grouped_by_parser else ("", which)
    query: GroupPage
    if state == QUEUE:
        query = JobsInQueue(WAITING_STATES, kind, parser, version, path, after_seq=behind[0], limit=PAGE_WAITING)
    else:
        before_at, before_id = behind if behind != _FIRST else (None, "")
        query = JobsOfGroup(
            state, kind, parser, version, cause, path, before_at=before_at, before_id=before_id, limit=PAGE_JOBS
        )
    return RunQuery(page_tag(key, state), query)


def matching(query: JobsMatching) -> RunQuery:
    return RunQuery(("facts", "found", query.text, query.type, query.parser, *query.statuses), query)


def matching_key(tag: Tag) -> JobsMatching:
    """The query that an answer with this tag belongs to."""
    _, _, text, kind, parser, *statuses = tag
    return JobsMatching(tuple(statuses), text, kind, parser)


def page_tag(key: BucketKey, state: str) -> Tag:
    return ("facts", "page", state, *map(str, key))


def page_key(tag: Tag) -> tuple[BucketKey, str]:
    """The bucket and the state that a page belongs to."""
    _, _, state, standing, kind, which, version, cause = tag
    return (int(standing), kind, which, version, cause), state


def states_of(standing: int) -> list[str]:
    """What the pages of a bucket are about: the states of its ended jobs, or the queue. Running jobs have no pages."""
    if standing == Standing.WAITING:
        return [QUEUE]
    return [state for state in sorted(ENDED_STATES) if STANDINGS[state] == standing]


def take_snapshot(book: JobBook, taken: Snapshot, now_us: int, stalled_after_us: int) -> None:
    """Take in the open jobs. The start of a running job comes from the worker that holds it."""
    book.forget_open()
    seconds = {held.job_id: held.seconds for worker in taken.workers for held in worker.jobs}
    stuck = _stuck(taken)
    for job in taken.jobs:
        # also reported when there was no progress since the last report
        reported_at = job.progress.updated_at if job.progress is not None else 0
        book.put(
            Job(
                job.job_id,
                job.type,
                job.parser,
                job.parser_version,
                job.input,
                state=JobState(job.state),
                attempt=job.attempt - (job.state in WAITING_STATES),  # the attempts before this one
                epoch=job.epoch,
                worker_id=job.worker_id,
                retry_count=job.retry_count,
                not_before=job.not_before,
                queued_at=job.queued_at,
                queued_seq=job.queued_seq,
                # a job that waits behind another at its worker has not begun
                started_at=round(now_us - seconds.get(job.job_id, 0.0) * 1e6) if job.state in _BEGUN else 0,
                progress=job.progress,
                progressed_at=min(reported_at, now_us - stalled_after_us) if job.job_id in stuck else reported_at,
                last_seq=taken.seq,
            )
        )
    if taken.groups:
        book.count_open(
            (each.state, each.type, each.parser, each.parser_version, each.input, each.jobs) for each in taken.groups
        )


def _stuck(taken: Snapshot) -> set[str]:
    """The jobs of workers that report no progress; the report does not say which of several jobs it is."""
    running = {job.job_id for job in taken.jobs if job.state == "RUNNING"}
    held = [[each.job_id for each in worker.jobs] for worker in taken.workers if worker.state == "stalled"]
    return {begun[0] for jobs in held if len(begun := [job_id for job_id in jobs if job_id in running]) == 1}


@dataclass(slots=True)
class Totals:
    """Ended jobs of the whole home by state, and their rows. Exact as of `seq` plus every later event; unknown before an
    answer."""

    seq: int = -1
    by_state: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    quarantined: int = 0

    @property
    def is_known(self) -> bool:
        return self.seq >= 0

    def settle(self, seq: int, settled: Iterable[Settled]) -> None:
        """Count an ended job, unless the answer contains it already."""
        for each in settled if seq > self.seq else ():
            self.by_state[each.state] += each.sign
            self.rows += each.rows
            self.quarantined += each.quarantined


def take_groups(book: JobBook, rows: list[JobGroupRow], seq: int) -> Totals:
    """Count the ended jobs as of `seq`; the totals leave out closed failures."""
    counted: dict[BucketKey, tuple[Counts, int, set[str]]] = {}
    totals = Totals(seq)
    for row in rows:
        if row["status"] not in ENDED_STATES:
            continue  # open jobs come from the snapshot and the feed
        standing = Standing.CANCELLED if row["is_closed"] else STANDINGS[row["status"]]
        which = look_of(row["type"]).group(row["parser"], row["input"])
        key = (int(standing), row["type"], which, row["version"], CLOSED if row["is_closed"] else row["cause"])
        sums, latest_at, outputs = counted.setdefault(key, (Counts(), 0, set()))
        sums.add(Counts(row["jobs"], row["rows"], row["quarantined"], row["skipped"], row["bytes"]))
        counted[key] = (sums, max(latest_at, row["latest_at"]), outputs | set(row["outputs"]))
        if not row["is_closed"]:
            totals.by_state[row["status"]] += row["jobs"]
            totals.rows += row["rows"]
            totals.quarantined += row["quarantined"]
    book.count_ended({key: (sums, at, outputs) for key, (sums, at, outputs) in counted.items()}, seq)
    return totals


def job_of(row: GroupedJob) -> Job:
    """A job from a row of the tables."""
    is_done = STANDINGS[row["status"]] is Standing.DONE
    return Job(
        row["id"],
        row["job_type"],
        state=JobState(row["status"]),
        parser=row["plugin_name"] or "",
        version=row["parser_version"] or "",
        input=row["input_file"] or "",
        topic=row["topic"] or "",
        attempt=row["attempt"] or 0,
        epoch=row["lease_epoch"] or 0,
        worker_id=row["worker_id"] or "",
        retry_count=row["retry_count"] or 0,
        not_before=row["not_before"] or 0,
        queued_at=row["queued_at"] or 0,
        queued_seq=row["queued_seq"] or 0,
        started_at=row["started_at"] or 0,
        ended_at=row["ended_at"] or 0,
        rows=row["rows_valid"] or 0,
        quarantined=row["quarantine_rows"] or 0,
        skipped=row["rows_skipped"] or 0,
        bytes=row["data_bytes"] or 0,
        files=row["files"] or 0,
        seconds=row["seconds"] or 0.0,
        outputs=outputs_of(row["output_path"] or ""),
        error_code="" if is_done else row["error_code"] or "",  # the tables hold the error of an earlier attempt
        error_message="" if is_done else row["error_message"] or "",
        fingerprint="" if is_done else row["error_fingerprint"] or "",
        reason=row["reason"] or "",
        closed_by=row["closed_by"] or "",
    )


def queued_again(job: Job) -> Job:
    """The job as it was before the events that its answer contains already: counted as waiting."""
    return Job(job.job_id, job.type, job.parser, job.version, job.input, job.topic, job.queued_at, job.queued_seq)


def outputs_of(paths: str) -> tuple[str, ...]:
    """The output names in paths of the form `outputs/<name>/v1/…`, where the projection records a job's rows."""
    parts = paths.split("/")
    return tuple(name for at, name in enumerate(parts[1:], 1) if parts[at - 1].endswith("outputs"))


def _is_of_open_job(event: Event) -> bool:
    """Whether the event is about a job's life and is not the one that begins it."""
    if isinstance(event, JobQueued | JobReplayed):
        return False
    return isinstance(event, JobProgressed) or (isinstance(event, JobEvent) and bool(event.about.leads_to))


class Unlisted:
    """Jobs that are counted but not loaded: the queries about them, and how far the pages reach. The caller owns the book.

    A snapshot lists only the first waiting jobs, and the book evicts jobs. An event about a job that is not loaded is held until
    the tables have answered which job it is; then it is folded like any other.
    """

    def __init__(self) -> None:
        #: Job id → events about it that wait until the job is loaded.
        self._held: dict[str, list[FeedEvent]] = {}
        #: How far the pages of a bucket reach: the sort key of the last row; None after the last page.
        self._reached: dict[_Page, tuple[int, str] | None] = {}
        #: Pages in flight, and the query by id (None): the event as of which they were sent.
        self._asked_at: dict[_Page | None, int] = {}
        #: The last event that queued a job: an answer as of it knows every job, however old it is otherwise.
        self._queued_seq = 0
        #: Job id → its last event since the oldest query in flight. An answer that is older says what the job was before.
        self._told: dict[str, int] = {}

    def fork(self) -> Unlisted:
        fresh = Unlisted()
        fresh._held = {job_id: events[:] for job_id, events in self._held.items()}
        fresh._reached, fresh._asked_at, fresh._told = self._reached.copy(), self._asked_at.copy(), self._told.copy()
        fresh._queued_seq = self._queued_seq
        return fresh

    def begin_anew(self, book: JobBook) -> None:
        """Start again: a new snapshot has listed the first of what is open."""
        self._held.clear()
        self._asked_at.clear()
        self._told.clear()
        self._queued_seq = book.seq
        for key, bucket in book.buckets.items():
            if key[0] == Standing.WAITING and bucket.jobs:
                self._reached[key, QUEUE] = recency(bucket.jobs[-1])

    # --- jobs that events name ----------------------------------------------------------------------------------------

    def holds(self, book: JobBook, record: FeedEvent, event: Event) -> bool:
        """Hold the event if its job is not loaded (only counted, or evicted). Returns whether it is held."""
        job_id = event.subject
        if self._asked_at and isinstance(event, JobEvent) and not isinstance(event, JobProgressed):
            self._told[job_id] = record.seq
        if isinstance(event, JobQueued | JobReplayed):
            self._queued_seq = record.seq
        if not (job_id in self._held and isinstance(event, JobEvent)):  # events about one job stay in order
            is_loaded = book.get(job_id) is not None
            if is_loaded or not _is_of_open_job(event) or not book.is_partial(Standing.WAITING):
                return False
        self._held.setdefault(job_id, []).append(record)
        return True

    def identify(self, book: JobBook) -> list[RunQuery]:
        """Query the named jobs: all in one query, one query at a time."""
        if not self._held or None in self._asked_at:
            return []
        self._asked_at[None] = book.seq
        return [replace(by_id(list(self._held)[:IDS_AT_ONCE]), at_least_seq=self._queued_seq)]

    # --- pages --------------------------------------------------------------------------------------------------------

    def more(self, book: JobBook, key: BucketKey) -> list[RunQuery]:
        """Query the next page of a bucket, unless a query is in flight or no more can be listed."""
        bucket = book.buckets.get(key)
        if bucket is None or bucket.is_whole or len(bucket.jobs) >= MOST_LISTED or key[4] == CLOSED:
            return []
        asked = []
        for state in states_of(key[0]):
            page = (key, state)
            behind = self._reached.get(page, _FIRST)
            if page in self._asked_at or behind is None:
                continue
            if state == QUEUE:  # what was behind the last listed job may have been evicted
                behind = min(behind, recency(bucket.jobs[-1])) if bucket.jobs else _FIRST
            self._asked_at[page] = book.seq
            asked.append(page_of(key, state, behind))
        return asked

    def is_loading(self, key: BucketKey) -> bool:
        """Whether a page of the bucket is in flight."""
        return any((key, state) in self._asked_at for state in states_of(key[0]))

    def first_pages(self, book: JobBook) -> list[RunQuery]:
        """Query the next page of buckets of which too little is listed, the latest first: nothing of ended jobs, less than a
        page of waiting ones."""
        short = [
            bucket
            for bucket in book.buckets.values()
            if not bucket.is_whole and len(bucket.jobs) < (PAGE_WAITING if bucket.standing is Standing.WAITING else 1)
        ]
        short.sort(key=lambda bucket: (bucket.key[0], -bucket.latest_at))
        asked: list[RunQuery] = []
        for bucket in short:
            if len(asked) >= _PAGES_AT_ONCE:
                break
            page = (bucket.key, QUEUE)
            if self._reached.get(page, _FIRST) is None:
                del self._reached[page]  # the last page was reached and jobs are missing: begin again
            asked += self.more(book, bucket.key)
        return asked

    def pin(self, book: JobBook, keys: Collection[BucketKey], searched: Collection[BucketKey]) -> None:
        """Mark these buckets as listed and the others as not listed, which evicts all but the first of their jobs."""
        book.searched = set(searched)
        for key in book.pinned - set(keys):
            book.let_go(key)
            if key[0] != Standing.WAITING:
                for state in states_of(key[0]):
                    self._reached.pop((key, state), None)
        book.pinned |= set(keys)

    # --- answers ------------------------------------------------------------------------------------------------------

    def on_answer(self, book: JobBook, answer: Answer) -> Iterable[FeedEvent]:
        """Take in the jobs. Returns the events that waited for them, to be folded now."""
        rows: list[GroupedJob] = answer.rows
        jobs = [job_of(row) for row in rows]
        if answer.tag[1] == "page":
            page = page_key(answer.tag)
            if answer.seq < self._asked_at.pop(page, book.seq):
                return []  # it was sent before the last snapshot
            self._reach(book, page, jobs)
        elif answer.tag[1] == "byid":
            self._asked_at.pop(None, None)
        named = [job for job in jobs if job.job_id in self._held]
        newest = {row["id"]: row["sequence"] or 0 for row in rows} if answer.tag[1] == "page" else {}
        others = [
            job
            for job in jobs
            if job.job_id not in self._held
            and job.state in _TAKEN
            and self._told.get(job.job_id, 0) <= answer.seq  # else the feed has moved it since
            and newest.get(job.job_id, 0) <= book.seq  # else the feed is about to tell what it is
        ]
        self._forget_told()
        book.know(others, answer.seq)
        book.know(map(queued_again, named), answer.seq, are_moving=True)
        return [event for job in named for event in self._held.pop(job.job_id)]

    def _reach(self, book: JobBook, page: _Page, jobs: list[Job]) -> None:
        """Note how far the pages reach now."""
        is_queue = page[1] == QUEUE
        is_last = len(jobs) < (PAGE_WAITING if is_queue else PAGE_JOBS)
        if is_last:
            self._reached[page] = None
        elif is_queue or page[0] in book.pinned:
            self._reached[page] = recency(jobs[-1]) if is_queue else (jobs[-1].at, jobs[-1].job_id)

    def _forget_told(self) -> None:
        oldest = min(self._asked_at.values(), default=None)
        self._told = {} if oldest is None else {each: seq for each, seq in self._told.items() if seq > oldest}

    def refused(self, tag: Tag) -> None:
        """A query was refused; it is sent again when it is needed again."""
        self._asked_at.pop(None if tag[1] == "byid" else page_key(tag), None)
        self._forget_told()
