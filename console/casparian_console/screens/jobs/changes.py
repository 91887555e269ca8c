"""Changing jobs: retry, cancel, rerun, and replay of dead letters, for one job or many, each with its command line.

For many jobs only a few requests are in flight at a time, each for up to 1,000 jobs, so that ten thousand jobs neither flood the
daemon nor delay the screen. The ids of a group that is not loaded as a whole are read page by page. Replays of a cause go page by
page too. The user can stop all of them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from casparian_console.canvas import clean, count
from casparian_console.facts import (
    CLOSED,
    OPEN_STATES,
    STANDINGS,
    BucketKey,
    GroupPage,
    Job,
    Standing,
    page_of,
    states_of,
)
from casparian_console.kinds import look_of
from casparian_console.messages import Answer, Done, Effects, Failed, RunOperation, RunQuery, Tagged
from casparian_console.overlays import Confirm
from casparian_console.screen import Context
from casparian_console.screens.jobs.job_list import JobGroup
from casparian_protocol.queries.jobs import GroupedJob, JobsInQueue, JobsOfGroup
from casparian_protocol.wire.operations import Call
from casparian_protocol.wire.operations.jobs import (
    CANCEL,
    CANCEL_JOBS,
    JOBS_PER_REQUEST,
    REPLAY,
    RERUN,
    RERUN_JOBS,
    RETRY,
    RETRY_JOBS,
    CancelJobsResult,
    JobResult,
    JobsAgainResult,
    ReplayResult,
)

#: The daemon carries out one request after the other: a second one keeps it busy, more would only delay what comes next.
_IN_FLIGHT = 2
_NAMED = 6
#: The size of a page of ids.
PAGE_IDS = 5 * JOBS_PER_REQUEST
_CALLS: dict[str, Callable[..., Call[JobResult]]] = {"retry": RETRY, "cancel": CANCEL, "rerun": RERUN}
_CALLS_OF_MANY: dict[str, Callable[..., Call[Any]]] = {
    "retry": RETRY_JOBS,
    "cancel": CANCEL_JOBS,
    "rerun": RERUN_JOBS,
}
_DONE_WORDS = {
    "retry": ("is queued again", "are queued again"),
    "cancel": ("is stopped", "are stopped"),
    "rerun": ("is queued again", "are queued again"),
}


def one(op: str, job: Job) -> RunOperation:
    said = {
        "retry": "Job {job_id} is queued again.",
        "cancel": "Job {job_id} is asked to stop: {state}.",
        "rerun": "Queued as job {job_id}.",
    }[op]
    return RunOperation(("jobs", op, job.job_id), _CALLS[op](job_id=job.job_id), command(op, job.job_id), said)


def command(op: str, *job_ids: str) -> str:
    """The command line, such as `casparian job retry 3f2a91c0`. The lists show eight digits; more digits work too."""
    return f"casparian job {op} {' '.join(job_ids)}"


def named(jobs: Sequence[Job], total: int = 0) -> list[str]:
    """Name the first few jobs, for a question. `total` also counts those that are not loaded."""
    lines = [f"  {job.input.rpartition('/')[2] or job.input}  {job.job_id[:8]}" for job in jobs[:_NAMED]]
    more = max(len(jobs), total) - len(lines)
    return [*lines, f"  and {more:,} more"] if more else lines


def pages_of_all(keys: Collection[BucketKey], until_seq: int, limit: int) -> list[GroupPage]:
    """The first pages of all jobs of these buckets, loaded or not; empty if closed failures, which have no pages, are among them.

    Jobs that are queued after `until_seq`, or end while the pages are read, are not on them."""
    pages: list[GroupPage] = []
    standings = {key[0] for key in keys}
    for key in keys:
        if key[4] == CLOSED:
            return []
        for state in states_of(key[0]):
            first = page_of(key, state).query
            if isinstance(first, JobsInQueue):
                states = tuple(each for each in sorted(OPEN_STATES) if STANDINGS[each] in standings)
                pages.append(replace(first, statuses=states, until_seq=until_seq, limit=limit))
            elif isinstance(first, JobsOfGroup):
                pages.append(replace(first, limit=limit))
    return pages


def next_page(page: GroupPage, rows: list[GroupedJob]) -> GroupPage | None:
    """The page behind one with these rows; None after the last one."""
    if len(rows) < page.limit:
        return None
    last = rows[-1]
    if isinstance(page, JobsInQueue):
        return replace(page, after_seq=last["queued_seq"] or 0)
    return replace(page, before_at=last["ended_at"] or last["started_at"] or last["queued_at"], before_id=last["id"])


@dataclass
class Batch:
    """One operation on many jobs, in progress."""

    op: str
    waiting: deque[str] = field(default_factory=deque)
    #: The pages of ids that are still to be read, for groups that are not loaded as a whole, and the jobs on them.
    pages: deque[GroupPage] = field(default_factory=deque)
    unread: int = 0
    is_reading: bool = False
    #: First job of each unanswered request → the number of jobs in the request.
    in_flight: dict[str, int] = field(default_factory=dict)
    done: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    #: The number of jobs that were not requested because the user stopped; None: the user did not.
    left: int | None = None

    def more(self) -> Effects:
        asks: Effects = []
        while self.waiting and len(self.in_flight) < _IN_FLIGHT:
            if self.pages and len(self.waiting) < JOBS_PER_REQUEST:
                break  # the next page fills the request
            ids = [self.waiting.popleft() for _ in range(min(JOBS_PER_REQUEST, len(self.waiting)))]
            self.in_flight[ids[0]] = len(ids)
            call = _CALLS_OF_MANY[self.op](job_ids=ids)
            asks.append(RunOperation(("jobs", "batch", self.op, ids[0]), call, command(self.op, *ids)))
        if self.pages and not self.is_reading and len(self.waiting) < JOBS_PER_REQUEST:
            self.is_reading = True
            asks.append(RunQuery(("jobs", "page", self.op), self.pages[0]))
        return asks

    def on_page(self, message: Answer | Failed) -> None:
        """Take a page of ids. After a failure the rest of the group stays as it is."""
        self.is_reading = False
        if not self.pages:
            return  # stopped since
        if isinstance(message, Failed):
            self.pages.clear()
            self.refused[message.problem] += self.unread
            self.unread = 0
            return
        self.waiting.extend(row["id"] for row in message.rows)
        self.unread = max(0, self.unread - len(message.rows))
        behind = next_page(self.pages.popleft(), message.rows)
        if behind is not None:
            self.pages.appendleft(behind)
        elif not self.pages:
            self.unread = 0  # some of the group have left it since they were counted

    def on_answer(self, message: Done | Failed) -> None:
        asked = self.in_flight.pop(message.tag[3], 0)
        if isinstance(message, Failed):
            self.refused[message.problem] += asked
            return
        result = message.result
        assert isinstance(result, CancelJobsResult | JobsAgainResult)
        self.done += result.cancelled + result.requested if isinstance(result, CancelJobsResult) else result.queued
        for each in result.refused:
            self.refused[each.reason] += each.jobs

    def drop(self) -> int:
        """Forget the jobs that were not requested yet. Returns how many."""
        left = len(self.waiting) + self.unread
        self.waiting.clear()
        self.pages.clear()
        self.unread = 0
        return left

    @property
    def is_over(self) -> bool:
        return not (self.waiting or self.in_flight or self.pages)

    def words(self) -> str:
        one_does, many_do = _DONE_WORDS[self.op]
        text = f"{count(self.done, 'job')} {one_does if self.done == 1 else many_do}"
        to_go = len(self.waiting) + sum(self.in_flight.values()) + self.unread
        text += "" if self.is_over else f", {to_go:,} to go"
        text += f"; the other {self.left:,} stay as they are" if self.left is not None else ""
        for problem, number in self.refused.most_common(2):
            text += f"; {number:,} refused: {clean(problem)}"
        return f"{text}."


@dataclass(frozen=True, slots=True)
class Chosen:
    """The jobs to change: one job, or those of a group. `total` also counts those that are not loaded."""

    group: JobGroup
    #: The loaded ones.
    jobs: list[Job]
    total: int
    has_text_filter: bool = False
    #: If not all are loaded: the first pages of all of them. Empty: only the loaded ones can be changed.
    pages: tuple[GroupPage, ...] = ()
    #: The rows that they have published.
    rows: int = 0

    @property
    def label(self) -> str:
        return clean(look_of(self.group.type).label(self.group.key[2], self.group.version))

    def words(self, noun: str) -> str:
        """`3 jobs of fix 1.2`, `all 300,000 jobs of fix 1.2`; or `the 200 listed of 12,345 jobs of fix 1.2`."""
        known = len(self.jobs)
        if self.pages:
            what = f"all {count(self.total, noun)}"
        elif known == 1 or known >= self.total:
            what = count(known, noun)
        else:
            what = f"the {known:,} listed of {count(self.total, noun)}"
        return f"{what} of {self.label}"


@dataclass
class Changes:
    """The changes in progress. A change of many jobs begins with a question that says how many."""

    #: Keeps the cursor in place while the changed jobs leave its row.
    stay: Callable[[], None]
    #: Formats a fingerprint for the user.
    shown: Callable[[str], str]
    batch: Batch | None = None
    #: Whether dead letters are replayed page by page, and whether the user has stopped that.
    is_replaying: bool = False
    _is_stopped: bool = False
    _replayed: int = 0
    _refused: Counter[str] = field(default_factory=Counter)

    @property
    def is_busy(self) -> bool:
        """Whether a change of many jobs is in progress that can be stopped."""
        return (self.batch is not None and self.batch.left is None) or (self.is_replaying and not self._is_stopped)

    def stop(self, context: Context) -> Effects:
        """Send no more requests. Those in flight are carried out."""
        self._is_stopped = self.is_replaying
        if self.batch is not None:
            self.batch.left = self.batch.drop()
            context.say(self.batch.words(), "warn")
            self.batch = None if self.batch.is_over else self.batch
        return []

    def retry(self, chosen: Chosen, context: Context) -> Effects:
        """Retry one job at once, or a group after a question that says how many."""
        jobs = chosen.jobs
        if len(jobs) == 1 and not chosen.pages:
            self.stay()
            return [one("retry", jobs[0])]
        is_whole_cause = chosen.group.key[4] == jobs[0].fingerprint != "" and not chosen.has_text_filter
        if is_whole_cause and all(job.state == "DEAD_LETTER" for job in jobs):
            return self.replay(chosen, context)
        return self._ask("retry", chosen, f"Retry {chosen.words('job')}?", context)

    def rerun(self, chosen: Chosen, context: Context) -> Effects:
        question = f"Run {chosen.words('input')} again, with the parser's current version?"
        if chosen.rows:
            question += f" This replaces {count(chosen.rows, 'row')}."
        return self._ask("rerun", chosen, question, context)

    def cancel(self, chosen: Chosen, context: Context) -> Effects:
        running = sum(job.standing is Standing.RUNNING for job in chosen.jobs)
        question = f"Cancel {chosen.words('job')}, {running:,} of them running? They leave no output."
        open_ones = replace(chosen, jobs=[job for job in chosen.jobs if job.state in OPEN_STATES])
        return self._ask("cancel", open_ones, question, context)

    def replay(self, chosen: Chosen, context: Context) -> Effects:
        """Replay dead letters: one, or all with the cause of the chosen group."""
        jobs = chosen.jobs
        if len(jobs) == 1:
            self.stay()
            return self.replay_one(jobs[0])
        cause = jobs[0].fingerprint
        if not cause:
            return self._ask("retry", chosen, f"Retry {count(len(jobs), 'dead letter')}?", context)
        question = f"Replay all dead letters with {self.shown(cause)}? {len(jobs):,} are known here."

        def start() -> Effects:
            self.stay()
            return self.replay_page(fingerprint=cause)

        return context.open(Confirm("Replay", question, start, named(jobs)))

    def replay_all(self, context: Context) -> Effects:
        question = f"Replay all {count(context.facts.dead, 'dead letter')} of this home?"
        return context.open(Confirm("Replay", question, self.replay_page, [f"home: {clean(context.home)}"]))

    def _ask(self, op: str, chosen: Chosen, question: str, context: Context) -> Effects:
        """Ask the user, then send the requests."""

        def start() -> Effects:
            self.stay()
            if len(chosen.jobs) == 1 and not chosen.pages:
                return [one(op, chosen.jobs[0])]
            return self.many(op, chosen, context)

        details = named(chosen.jobs, chosen.total if chosen.pages else 0)
        return context.open(Confirm(op.capitalize(), question, start, details))

    def many(self, op: str, chosen: Chosen, context: Context) -> Effects:
        """Start a batch; a batch of the same operation in progress gets the jobs added, unless they are to be read first."""
        if self.batch is not None and (self.batch.op != op or self.batch.left is not None or chosen.pages):
            context.say(f"Wait: {self.batch.words()}", "warn")
            return []
        batch = self.batch = self.batch or Batch(op)
        if chosen.pages:
            batch.pages.extend(chosen.pages)
            batch.unread += chosen.total
        else:
            batch.waiting.extend(job.job_id for job in chosen.jobs)
        context.say(batch.words(), "dim")
        return batch.more()

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        """Take the answer to a request of a batch, to a query of its ids, or to a page of a replay."""
        if isinstance(message, Done | Failed) and message.tag[1] == "replay":
            return self._on_replayed(message, context)
        batch = self.batch
        if batch is None:
            return []
        if isinstance(message, Answer | Failed) and message.tag[1] == "page":
            batch.on_page(message)
        elif isinstance(message, Done | Failed) and message.tag[1] == "batch":
            batch.on_answer(message)
        else:
            return []
        if not context.can_change and (dropped := batch.drop()):
            batch.refused["the daemon stopped answering"] += dropped
        if batch.is_over:
            self.batch = None
        is_odd = bool(batch.refused)
        context.say(batch.words(), "bad" if is_odd else "ok" if batch.left is None else "warn")
        return batch.more()

    # --- dead letters -------------------------------------------------------------------------------------------------

    def replay_one(self, job: Job) -> Effects:
        self._replayed, self._refused, self._is_stopped = 0, Counter(), False
        cli = f"casparian jobs replay {job.job_id}"
        return [RunOperation(("jobs", "replay", "", job.job_id), REPLAY(job_id=job.job_id), cli)]

    def replay_page(self, *, fingerprint: str = "", after: str = "") -> Effects:
        """Replay one page of all dead letters, or of those of a cause; the answer may lead to the next page."""
        if not after:
            self._replayed, self._refused, self._is_stopped = 0, Counter(), False
        self.is_replaying = True
        call = REPLAY(fingerprint=fingerprint, after=after) if fingerprint else REPLAY(all_dead=True, after=after)
        which = f"--fingerprint ERR-{fingerprint}" if fingerprint else "--all-dead"
        return [RunOperation(("jobs", "replay", fingerprint), call, f"casparian jobs replay {which}")]

    def _on_replayed(self, message: Done | Failed, context: Context) -> Effects:
        self.is_replaying = False
        if isinstance(message, Failed):
            return []
        result = message.result
        assert isinstance(result, ReplayResult)
        self._replayed += result.replayed
        for each in result.refused:
            self._refused[each.reason] += each.jobs
        text = f"{count(self._replayed, 'dead letter')} {'is' if self._replayed == 1 else 'are'} queued again"
        for reason, jobs in self._refused.most_common(2):
            text += f"; {jobs:,} not: {clean(reason)}"
        after = result.next_after
        if after and self._is_stopped:
            after, text = "", f"{text}; the others stay dead letters"
        context.say(f"{text}.", "warn" if self._refused or self._is_stopped else "ok")
        return self.replay_page(fingerprint=message.tag[2], after=after) if after else []
