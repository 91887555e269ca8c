"""Changing jobs: retry, cancel, rerun, and replay of dead letters, for one job or many, each with its command line.

For many jobs only a few requests are in flight at a time, each for up to 1,000 jobs, so that ten thousand jobs neither flood the
daemon nor delay the screen. Replays of a cause go page by page.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from casparian_console.canvas import clean, count
from casparian_console.facts import OPEN_STATES, Job, Standing
from casparian_console.kinds import look_of
from casparian_console.messages import Done, Effects, Failed, RunOperation, Tagged
from casparian_console.overlays import Confirm
from casparian_console.screen import Context
from casparian_console.screens.jobs.job_list import JobGroup
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

_IN_FLIGHT = 8
_NAMED = 6
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


def named(jobs: Sequence[Job]) -> list[str]:
    """Name the first few jobs, for a question."""
    lines = [f"  {job.input.rpartition('/')[2] or job.input}  {job.job_id[:8]}" for job in jobs[:_NAMED]]
    return [*lines, f"  and {len(jobs) - _NAMED:,} more"] if len(jobs) > _NAMED else lines


@dataclass
class Batch:
    """One operation on many jobs, in progress."""

    op: str
    waiting: deque[str]
    #: First job of each unanswered request → the number of jobs in the request.
    in_flight: dict[str, int] = field(default_factory=dict)
    done: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def more(self) -> Effects:
        asks: Effects = []
        while self.waiting and len(self.in_flight) < _IN_FLIGHT:
            ids = [self.waiting.popleft() for _ in range(min(JOBS_PER_REQUEST, len(self.waiting)))]
            self.in_flight[ids[0]] = len(ids)
            call = _CALLS_OF_MANY[self.op](job_ids=ids)
            asks.append(RunOperation(("jobs", "batch", self.op, ids[0]), call, command(self.op, *ids)))
        return asks

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

    @property
    def is_over(self) -> bool:
        return not self.waiting and not self.in_flight

    def words(self) -> str:
        one_does, many_do = _DONE_WORDS[self.op]
        text = f"{count(self.done, 'job')} {one_does if self.done == 1 else many_do}"
        text += "" if self.is_over else f", {len(self.waiting) + sum(self.in_flight.values()):,} to go"
        for problem, number in self.refused.most_common(2):
            text += f"; {number:,} refused: {clean(problem)}"
        return f"{text}."


@dataclass(frozen=True, slots=True)
class Chosen:
    """The jobs to change: one job, or all loaded jobs of a group. `total` also counts those that are not loaded."""

    group: JobGroup
    jobs: list[Job]
    total: int
    has_text_filter: bool = False

    @property
    def label(self) -> str:
        return clean(look_of(self.group.type).label(self.group.key[2], self.group.version))

    def words(self, noun: str) -> str:
        """`3 jobs of fix 1.2`; for a group that is not fully loaded, `the 2,000 listed of 12,345 jobs of fix 1.2`."""
        known = len(self.jobs)
        what = (
            count(known, noun)
            if known == 1 or known >= self.total
            else f"the {known:,} listed of {count(self.total, noun)}"
        )
        return f"{what} of {self.label}"


@dataclass
class Changes:
    """The changes in progress. A change of many jobs begins with a question that says how many."""

    #: Keeps the cursor in place while the changed jobs leave its row.
    stay: Callable[[], None]
    #: Formats a fingerprint for the user.
    shown: Callable[[str], str]
    batch: Batch | None = None
    _replayed: int = 0
    _refused: Counter[str] = field(default_factory=Counter)

    def retry(self, chosen: Chosen, context: Context) -> Effects:
        """Retry one job at once, or a group after a question that says how many."""
        jobs = chosen.jobs
        if len(jobs) == 1:
            self.stay()
            return [one("retry", jobs[0])]
        is_whole_cause = chosen.group.key[4] == jobs[0].fingerprint != "" and not chosen.has_text_filter
        if is_whole_cause and all(job.state == "DEAD_LETTER" for job in jobs):
            return self.replay(chosen, context)
        return self._ask("retry", jobs, f"Retry {chosen.words('job')}?", context)

    def rerun(self, chosen: Chosen, context: Context) -> Effects:
        question = f"Run {chosen.words('input')} again, with the parser's current version?"
        rows = sum(job.rows for job in chosen.jobs if job.standing is Standing.DONE)
        if rows:
            question += f" This replaces {count(rows, 'row')}."
        return self._ask("rerun", chosen.jobs, question, context)

    def cancel(self, chosen: Chosen, context: Context) -> Effects:
        running = sum(job.standing is Standing.RUNNING for job in chosen.jobs)
        question = f"Cancel {chosen.words('job')}, {running:,} of them running? They leave no output."
        return self._ask("cancel", [job for job in chosen.jobs if job.state in OPEN_STATES], question, context)

    def replay(self, chosen: Chosen, context: Context) -> Effects:
        """Replay dead letters: one, or all with the cause of the chosen group."""
        jobs = chosen.jobs
        if len(jobs) == 1:
            self.stay()
            return self.replay_one(jobs[0])
        cause = jobs[0].fingerprint
        if not cause:
            return self._ask("retry", jobs, f"Retry {count(len(jobs), 'dead letter')}?", context)
        question = f"Replay all dead letters with {self.shown(cause)}? {len(jobs):,} are known here."

        def start() -> Effects:
            self.stay()
            return self.replay_page(fingerprint=cause)

        return context.open(Confirm("Replay", question, start, named(jobs)))

    def replay_all(self, context: Context) -> Effects:
        question = f"Replay all {count(context.facts.dead, 'dead letter')} of this home?"
        return context.open(Confirm("Replay", question, self.replay_page, [f"home: {clean(context.home)}"]))

    def _ask(self, op: str, jobs: list[Job], question: str, context: Context) -> Effects:
        """Ask the user, then send the requests."""

        def start() -> Effects:
            self.stay()
            return [one(op, jobs[0])] if len(jobs) == 1 else self.many(op, jobs, context)

        return context.open(Confirm(op.capitalize(), question, start, named(jobs)))

    def many(self, op: str, jobs: Sequence[Job], context: Context) -> Effects:
        """Start a batch; a batch of the same operation in progress gets the jobs added."""
        ids = [job.job_id for job in jobs]
        if self.batch is not None and self.batch.op == op:
            self.batch.waiting.extend(ids)
        elif self.batch is not None:
            context.say(f"Wait: {self.batch.words()}", "warn")
            return []
        else:
            self.batch = Batch(op, deque(ids))
        context.say(self.batch.words(), "dim")
        return self.batch.more()

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        """Take the answer to a request of a batch, or to a page of a replay."""
        if isinstance(message, Done | Failed) and message.tag[1] == "replay":
            return self._on_replayed(message, context)
        batch = self.batch
        if batch is None or not isinstance(message, Done | Failed) or message.tag[1] != "batch":
            return []
        batch.on_answer(message)
        if not context.can_change:
            left = len(batch.waiting)
            batch.waiting.clear()
            batch.refused["the daemon stopped answering"] += left
        if batch.is_over:
            self.batch = None
        context.say(batch.words(), "bad" if batch.refused else "ok")
        return batch.more()

    # --- dead letters -------------------------------------------------------------------------------------------------

    def replay_one(self, job: Job) -> Effects:
        self._replayed, self._refused = 0, Counter()
        cli = f"casparian jobs replay {job.job_id}"
        return [RunOperation(("jobs", "replay", "", job.job_id), REPLAY(job_id=job.job_id), cli)]

    def replay_page(self, *, fingerprint: str = "", after: str = "") -> Effects:
        """Replay one page of all dead letters, or of those of a cause; the answer may lead to the next page."""
        if not after:
            self._replayed, self._refused = 0, Counter()
        call = REPLAY(fingerprint=fingerprint, after=after) if fingerprint else REPLAY(all_dead=True, after=after)
        which = f"--fingerprint ERR-{fingerprint}" if fingerprint else "--all-dead"
        return [RunOperation(("jobs", "replay", fingerprint), call, f"casparian jobs replay {which}")]

    def _on_replayed(self, message: Done | Failed, context: Context) -> Effects:
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
        context.say(f"{text}.", "warn" if self._refused else "ok")
        after = result.next_after
        return self.replay_page(fingerprint=message.tag[2], after=after) if after else []
