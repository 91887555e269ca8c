"""A kind of job is one file and one table line in each layer: nothing outside the kinds' folders knows any by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from casparian_console.kinds import KINDS as LOOKS
from casparian_console.kinds import JobLook, look_of
from casparian_protocol.bounds import PathText
from casparian_protocol.home import Home, make_home
from casparian_protocol.jobs import WORKS, JobSpec, JobState, Manifest, Work
from casparian_protocol.jobs.kinds import Briefing, facts_of_work
from casparian_protocol.settings import Settings
from casparian_protocol.wire import messages as m
from casparian_protocol.wire.messages import decode, encode
from casparian_sentinel import core as c
from casparian_sentinel.core.decision import DecisionBuilder
from casparian_sentinel.core.kinds import KINDS as DECISIONS
from casparian_sentinel.core.kinds import JobKind
from casparian_sentinel.core.snapshot import dump, load
from casparian_sentinel.core.state import OpenJob, State
from casparian_sentinel.projection.kinds import KINDS as ROWS
from casparian_sentinel.projection.kinds import JobRows
from casparian_worker.execute import CancelToken, Finished, Outcome, WorkerContext
from casparian_worker.execute.run import StreamCounters
from casparian_worker.kinds import RUNNERS, JobRun
from casparian_worker.staging import StagingDirectory
from tests.sentinel.core.play import Table, assignments

ROOT = Path(__file__).parent.parent
PACKAGES = ("protocol", "shim", "worker", "sentinel", "console", "cli")


def test_every_layer_knows_the_same_kinds() -> None:
    assert set(WORKS) == set(DECISIONS) == set(RUNNERS) == set(ROWS) == set(LOOKS)
    assert {name: work.kind for name, work in WORKS.items()} == {name: name for name in WORKS}


def test_no_module_but_those_of_the_kinds_names_a_kind() -> None:
    named = re.compile(r"JobType\.|['\"](" + "|".join(WORKS) + r")['\"]")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "kinds" not in path.with_suffix("").parts
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if named.search(line)
    ]

    assert found == []


# --- a kind that only this test has: count the lines of a file ---


@dataclass(frozen=True, slots=True, kw_only=True)
class CountBriefing(Briefing):
    kind = "COUNT"
    limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CountWork(Work):
    kind = "COUNT"
    briefing = CountBriefing

    path: PathText

    @property
    def subject(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class CountAnswer(c.Answer):
    lines: int


class Count(JobKind[CountWork]):
    def refusal(self, state: State, work: CountWork) -> str:
        return "" if work.path.endswith(".txt") else f"{work.path} is not text"

    def briefing(self, state: State, work: CountWork) -> Briefing:
        return CountBriefing(limit=100)

    def problem(self, state: State, work: CountWork, item: c.FinishedItem) -> str:
        return "" if "lines" in item.manifest.facts else "the lines were not counted"

    def record_commit(
        self, decision: DecisionBuilder, job: OpenJob, work: CountWork, item: c.FinishedItem, committed: int
    ) -> None:
        lines = item.manifest.facts["lines"]
        assert isinstance(lines, int)
        decision.answer(CountAnswer(lines))


def run_count(run: JobRun) -> Outcome:
    work, briefing = run.assignment.job.work, run.assignment.briefing
    assert isinstance(work, CountWork) and isinstance(briefing, CountBriefing)
    run.on_started(1)
    lines = len(Path(work.path).read_text("utf-8").splitlines()[: briefing.limit])
    staging = StagingDirectory(run.context.home.staging, run.assignment.job.job_id, run.assignment.epoch)
    return Finished(Manifest(facts={"lines": lines}), staging)


@pytest.fixture
def with_count(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One line in each table."""
    tables: tuple[tuple[dict[str, Any], Any], ...] = (
        (WORKS, CountWork),
        (DECISIONS, Count()),
        (RUNNERS, run_count),
        (ROWS, JobRows()),
        (LOOKS, JobLook()),
    )
    for table, entry in tables:
        monkeypatch.setitem(table, "COUNT", entry)
    yield


def over_the_wire(assignment: m.Assignment) -> m.Assignment:
    message, _ = decode(encode(m.Assign(jobs=[assignment])))
    assert isinstance(message, m.Assign)
    return message.jobs[0]


@pytest.mark.usefixtures("with_count")
def test_a_new_kind_is_queued_leased_run_and_committed_by_its_table_lines_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    make_home(home)
    text = tmp_path / "a.txt"
    text.write_text("one\ntwo\n", "utf-8")
    job = JobSpec(job_id="c" * 16, key="count a", work=CountWork(path=str(text)))
    table = Table()
    table.hello()

    assert table.queue(job).answer == c.Queued(1)
    assert load(dump(table.state)).jobs[job.job_id].work == job.work

    (assignment,) = (over_the_wire(each) for each in assignments(table.want()))
    assert assignment.job == job and assignment.briefing == CountBriefing(limit=100)
    started: list[int] = []
    outcome = RUNNERS["COUNT"](
        JobRun(
            assignment,
            WorkerContext(home, Settings()),
            CancelToken(),
            StreamCounters(),
            started.append,
            bundle=lambda digest: home.root / digest,
            contract=lambda digest: pytest.fail(f"nobody asked for {digest}"),
        )
    )
    assert isinstance(outcome, Finished) and started == [1]

    decision = table.finish(m.Held(job_id=job.job_id, epoch=assignment.epoch), outcome.manifest)
    assert decision.answer == CountAnswer(2)
    assert table.count(JobState.COMPLETED) == 1  # it has no file to publish


@pytest.mark.usefixtures("with_count")
def test_a_new_kind_refuses_and_is_shown_by_its_own_words() -> None:
    image = JobSpec(job_id="c" * 16, key="count b", work=CountWork(path="/in/b.png"))
    assert Table().queue(image).answer == c.Queued(0, skipped=(c.SkippedJobs("", "/in/b.png is not text", 1),))
    assert ROWS["COUNT"].label(facts_of_work(image.work)) == look_of("COUNT").label("/in/b.png", "") == "/in/b.png"
    assert JobSpec.model_validate_json(image.model_dump_json()) == image


def test_a_kind_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="'COUNT' is not a kind of job: one of PARSE, SCAN"):
        JobSpec.model_validate({"job_id": "c" * 16, "key": "k", "work": {"kind": "COUNT", "path": "/a"}})
