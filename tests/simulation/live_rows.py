"""Days in which files change, are copied and come back while their jobs commit late or fail, drawn from a seed.

The shipped planning, core and projection on a home without a daemon; the worker is played, and honest: it commits only what
its file holds at that moment. A job whose file has changed is retried once, as the settings say. The model knows of each file
which content was last processed, and of each content its newest commit; what is live follows.
"""

from __future__ import annotations

from typing import Any

from casparian_protocol.jobs import JobError, Manifest, OutputAccounting, ParseWork
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.core.state import OpenJob
from casparian_sentinel.operations.steps import OperationRefused
from tests.simulation.invariants import Violated
from tests.simulation.planned_again import PlanningWalk, _hash


def _file_number(job: OpenJob) -> int:
    assert isinstance(job.work, ParseWork)
    return int(job.work.input.file_id, 16)


class LiveRowsWalk(PlanningWalk):
    """`run` raises `Violated` when a row of a content is live twice, or the wrong ones are."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        #: file → the content that was last processed for it; content → the job of its newest commit.
        self.holds: dict[int, str] = {}
        self.newest: dict[str, str] = {}
        self.commits = self.superseded = 0
        #: jobs that were retried since they were queued.
        self._retried: set[str] = set()

    def actions(self) -> tuple[Any, ...]:
        return (self._look, self._look, self._tag, self._commit, self._commit, self._commit, self._fail, self._rerun)

    def _leased(self) -> OpenJob | None:
        """One open job, given to the played worker."""
        engine, state = self.sentinel._engine, self.sentinel._engine.state
        self.agenda.now_s += 2.0
        engine.submit(c.Tick("retries"))
        if not engine.presence.workers:
            hello = m.Hello(
                protocol=m.PROTOCOL_VERSION, worker_id="w1", host="h", pid=1, slots=64, version="0", sandbox="none"
            )
            engine.submit(c.HelloReceived("w1", hello))
        engine.submit(c.WantReceived("w1", 64))
        held = [state.jobs[job_id] for job_id in state.epochs_held.get("w1", {})]
        return self.dice.choice(sorted(held, key=lambda job: job.work.content)) if held else None

    def _commit(self) -> None:
        job = self._leased()
        if job is None:
            return
        number = _file_number(job)
        if _hash(self.files[number][0]) != job.work.content:  # the worker hashes again before it parses
            self._finds_it_changed(job)
            return
        counts = OutputAccounting(
            status="no_data", received=0, valid=0, quarantined=0, contract_hash=job.work.contracts["orders"]
        )
        manifest = Manifest(outputs={"orders": counts}, source_hash=job.work.content, sandbox="none")
        content, job_id, epoch = job.work.content, job.job_id, job.epoch
        self.sentinel._engine.submit(c.FinishReceived("w1", [c.FinishedItem(job_id, epoch, manifest)]))
        self.open.pop(job_id, None)
        self.newest[content] = job_id
        self.failed.pop(content, None)
        self.holds[number] = content
        for other, (now, _tagged) in self.files.items():  # copies that were processed before, and changed alike
            if other in self.holds and _hash(now) == content:
                self.holds[other] = content
        self.commits += 1
        self._judge()

    def _fail(self) -> None:
        job = self._leased()
        if job is not None:
            self._ends(job, "INVALID_DATA")

    def _finds_it_changed(self, job: OpenJob) -> None:
        if job.job_id in self._retried:
            self._ends(job, "INPUT_CHANGED")
        else:
            self._retried.add(job.job_id)
            self._report(job, "INPUT_CHANGED")

    def _ends(self, job: OpenJob, code: str) -> None:
        self.open.pop(job.job_id, None)
        number, content = _file_number(job), job.work.content
        if content not in self.newest:
            places = self.failed.setdefault(content, set())
            if _hash(self.files[number][0]) == content:
                places.add((number, self.turns[number]))
        self._report(job, code)

    def _report(self, job: OpenJob, code: str) -> None:
        error = JobError(code=code, message="played", origin="environment")
        failed = m.Fail(job_id=job.job_id, epoch=job.epoch, error=error)
        self.sentinel._engine.submit(c.FailReceived("w1", failed))

    def _rerun(self) -> None:
        ended = self.sentinel.query(
            "select id, content_hash, file_version_id from cf_processing_queue"
            " where status in ('COMPLETED', 'FAILED') order by content_hash, id"
        ).to_pylist()
        busy = set(self.open.values())
        free = [row for row in ended if row["content_hash"] not in busy]
        if free:
            row = self.dice.choice(free)
            has_content = _hash(self.files[int(row["file_version_id"], 16)][0]) == row["content_hash"]
            try:
                job_id = self.sentinel.request("rerun", {"job_id": row["id"]})["job_id"]
            except OperationRefused as refused:
                if has_content or refused.reply_code != "INPUT_CHANGED":
                    raise
                return
            if not has_content:
                raise Violated(f"job {row['id']} runs again, though its file has other content")
            self.open[job_id] = row["content_hash"]
            self._retried.discard(job_id)
            self.failed.pop(row["content_hash"], None)

    def _plan(self, *, include_cancelled: bool = False) -> None:
        super()._plan(include_cancelled=include_cancelled)
        for number, (content, is_tagged) in self.files.items():
            if is_tagged and _hash(content) in self.newest:
                self.holds[number] = _hash(content)
        self._judge()

    def _judge(self) -> None:
        found = self.sentinel.query("select job_id, content_hash, is_live from cf_commits").to_pylist()
        live = sorted(row["job_id"] for row in found if row["is_live"])
        wanted = sorted({self.newest[content] for content in self.holds.values()})
        contents = [row["content_hash"] for row in found if row["is_live"]]
        if len(contents) != len(set(contents)):
            raise Violated("rows of one content are live twice")
        if live != wanted:
            raise Violated(f"live are {live}, of {wanted}")
        self.superseded = len(found) - len(live)
