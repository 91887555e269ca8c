"""What the console knows: snapshots, events and answers folded into one picture."""

from __future__ import annotations

from collections import Counter

import pytest

from casparian_console.facts.book import JobBook
from casparian_console.facts.jobs import Job, Standing
from casparian_console.facts.loading import LOADS
from casparian_console.messages import Answer, Gone, Heard, RunQuery
from casparian_protocol.feed import FeedEvent, Gap, Silence
from casparian_protocol.jobs import JobState
from casparian_protocol.wire.operations.daemon import Snapshot
from tests.console.driving import Driver, complete, fail, group, grouped, job_id, queued, run_job
from tests.console.events import whole

OPEN_JOB = {
    "job_id": job_id(1),
    "type": "PARSE",
    "state": "RUNNING",
    "parser": "fix",
    "parser_version": "1.0.0",
    "input": "/data/a.log",
    "attempt": 1,
    "epoch": 3,
    "worker_id": "w1",
    "retry_count": 0,
    "not_before": 0,
    "queued_at": 1,
    "priority": 0,
    "progress": None,
}


def totals(driver: Driver, seq: int, **by_state: int) -> None:
    """Answer the load of the groups as of `seq`."""
    rows = [group(state, count, rows=10 * count, quarantined=count) for state, count in by_state.items()]
    driver.send(Answer(("facts", "groups"), seq, rows))


def test_a_snapshot_is_completed_by_loads() -> None:
    driver = Driver()

    asked = driver.snapshot([OPEN_JOB])

    assert driver.shell.present.running == 1
    assert {load.tag[1] for load in asked if isinstance(load, RunQuery)} == {
        "groups",
        "parsers",
        "contracts",
        "outputs",
        "sources",
        "files",
        "waiting",
        "jobs",
    }


def test_a_failure_is_counted_once_whether_it_came_before_or_after_the_totals() -> None:
    for totals_seq, loaded_failures in ((0, 0), (99, 1)):
        driver = Driver()
        driver.snapshot(unanswered=["groups"])
        fail(driver, run_job(driver, 1))
        totals(driver, totals_seq, FAILED=loaded_failures)

        assert driver.shell.present.failed == 1, totals_seq


PARSER_COLUMNS = (
    *("name", "version", "state", "registered_at", "artifact", "outputs_json", "pause_reason", "paused_at"),
    *("total_executions", "successful_executions", "last_run_at", "last_failure_reason", "breaker", "breaker_reason"),
    *("probe_at", "topics", "waits_json", "may_be_chosen", "is_current"),
)
OUTPUT_COLUMNS = ("name", "parser", "version", "rows", "bytes", "files", "quarantined", "last_commit")


def registered(driver: Driver, name: str) -> None:
    driver.event("ParserRegistered", name=name, version="1.0.0", artifact="a" * 64, topics=[name], outputs={"out": ""})


def test_what_happens_between_a_loads_sequence_and_its_arrival_is_in_every_table() -> None:
    driver = Driver()
    driver.snapshot(unanswered=["groups", "parsers", "contracts", "outputs", "sources", "files"])
    asked_at = driver.seq
    complete(driver, run_job(driver, 1), rows=7, bad=1)
    fail(driver, run_job(driver, 2))
    registered(driver, "later")
    contract = {"contract_id": "c1", "parser": "later", "version": "1.0.0", "output": "out", "columns": 1}
    driver.event("ContractProposed", **contract, contract_hash="b" * 64)
    driver.event("SourceAdded", source_id="s1", name="in", path="/in", poll_seconds=0, options={})
    driver.event("FilesObserved", scan_id="x", blob="b", new=3, changed=0, vanished=1, renamed=0, tagged=2)
    driver.seq, now = asked_at, driver.seq
    runs = (299, 290, 1, None, "closed", None, None, ["fix"], None, False, True)
    fix = ("fix", "1.0.0", "REGISTERED", 1, "a", "{}", None, None, *runs)
    driver.answer(("facts", "parsers"), PARSER_COLUMNS, [fix])
    driver.answer(("facts", "outputs"), OUTPUT_COLUMNS, [("fix_orders", "fix", 1, 100, 5, 1, 10, 1)])
    driver.answer(("facts", "contracts"), ("contract_id",), [])
    driver.answer(("facts", "sources"), ("id",), [])
    driver.answer(("facts", "files"), ("files", "bytes", "untagged"), [(10, 100, 5)])
    driver.send(Answer(("facts", "groups"), asked_at, [group("COMPLETED", 290, rows=1000)]))
    driver.seq = now

    facts, registry = driver.shell.present, driver.shell.present.registry
    assert registry.parsers["fix", "1.0.0"].runs == 301
    assert registry.parsers["fix", "1.0.0"].successes == 291
    assert ("later", "1.0.0") in registry.parsers
    assert [each.contract_id for each in registry.waiting_contracts] == ["c1"]
    assert list(registry.sources) == ["s1"]
    assert (registry.files, registry.untagged) == (12, 6)
    assert (registry.outputs["fix_orders"].rows, registry.outputs["fix_orders"].quarantined) == (107, 11)
    assert (facts.done, facts.failed, facts.totals.rows) == (291, 1, 1007)


def test_a_second_load_on_its_way_keeps_what_happens_for_both() -> None:
    driver = Driver()
    driver.snapshot(unanswered=["parsers"])
    driver.hear(Gap(1, 2))
    driver.snapshot(unanswered=["parsers"])
    asked_at = driver.seq
    registered(driver, "later")
    driver.seq, now = asked_at, driver.seq
    for _answer in ("to the first", "to the second"):
        driver.answer(("facts", "parsers"), PARSER_COLUMNS, [])
        assert list(driver.shell.present.registry.parsers) == [("later", "1.0.0")]
    driver.seq = now


def test_loads_that_were_lost_with_the_daemon_do_not_keep_events_for_ever() -> None:
    driver = Driver()
    driver.snapshot(unanswered=list(LOADS))
    driver.send(Gone("The daemon stopped answering.", "Start it with `casparian start`."))
    driver.snapshot()
    for number in range(20):
        run_job(driver, number)
    facts = driver.shell.present

    assert (facts._awaited, facts._behind) == (Counter(), [])
    assert (facts.jobs.journal, facts.jobs.has_journal) == ([], False)


def test_a_replayed_job_is_no_longer_a_failure() -> None:
    driver = Driver()
    driver.snapshot()
    made = run_job(driver, 1)
    fail(driver, made)
    assert driver.shell.present.failed == 1

    driver.event("JobReplayed", **queued(made), from_state="FAILED")

    assert driver.shell.present.failed == 0
    assert driver.shell.present.waiting == 1


def test_a_failure_counts_until_its_input_succeeds_or_somebody_closes_it() -> None:
    driver = Driver()
    driver.snapshot()
    facts = driver.shell.present
    facts.count_from_nothing()
    fail(driver, run_job(driver, 1, path="/data/a.log"))
    fail(driver, run_job(driver, 2, path="/data/b.log"))
    fail(driver, run_job(driver, 3, path="/data/b.log", parser="hl7"))
    before = facts.fork()
    complete(driver, run_job(driver, 4, path="/data/b.log"))
    assert facts.failed == 2
    assert [bucket.size for bucket in facts.jobs.latest(Standing.FAILED, 9)] == [1, 1], "another parser's stays open"
    driver.event("FailureClosed", job_id=job_id(1), reason="withdrawn")
    assert facts.failed == 1
    assert {job.job_id for job in facts.jobs.by_id.values() if job.is_closed} == {job_id(1), job_id(2)}

    driver.event("JobReplayed", **queued(job_id(2)), from_state="FAILED")
    assert facts.failed == 1, "it was counted out already"
    fail(driver, job_id(2))
    assert facts.failed == 2
    assert (before.failed, before.jobs.latest(Standing.FAILED, 9)[0].size) == (3, 1), "the past stays as it was"


def test_jobs_that_fail_of_the_same_cause_stand_together_above_those_that_run() -> None:
    driver = Driver()
    driver.snapshot()
    run_job(driver, 9)
    for number in (1, 2):
        fail(driver, run_job(driver, number))
    fail(driver, run_job(driver, 3), fingerprint="ffffffffffffffff")
    complete(driver, run_job(driver, 4, path="/data/b.log"))

    buckets = driver.shell.present.jobs.ordered()

    shape = [(bucket.standing, bucket.size) for bucket in buckets]
    assert shape == [(Standing.FAILED, 1), (Standing.FAILED, 2), (Standing.RUNNING, 1), (Standing.DONE, 1)]


def test_what_a_group_says_is_the_sum_of_its_jobs() -> None:
    driver = Driver()
    driver.snapshot()
    complete(driver, run_job(driver, 1), rows=100, bad=3)
    complete(driver, run_job(driver, 2), rows=50, skipped=2)

    (bucket,) = driver.shell.present.jobs.ordered()

    assert (bucket.rows, bucket.quarantined, bucket.skipped, bucket.bytes) == (150, 3, 2, 8192)
    assert dict(bucket.outputs) == {"fix_orders": 2}


def test_history_does_not_overwrite_what_the_feed_said_later() -> None:
    driver = Driver()
    driver.snapshot()
    made = run_job(driver, 1)
    complete(driver, made, rows=7)
    old = grouped(made, status="FAILED", error_code="X", ended_at=3)
    other = grouped(job_id(2), data_bytes=4096, output_path="outputs/a/v1, outputs/b/v2", ended_at=3)

    driver.send(Answer(("facts", "jobs"), 1, [old, other]))

    jobs = driver.shell.present.jobs
    assert jobs.by_id[made].state == "COMPLETED"
    assert (jobs.by_id[job_id(2)].state, jobs.by_id[job_id(2)].outputs) == ("COMPLETED", ("a", "b"))


def test_a_second_snapshot_drops_open_jobs_that_are_no_longer_open() -> None:
    driver = Driver()
    driver.snapshot([OPEN_JOB])
    driver.hear(Gap(5, 9))
    assert driver.shell.present.is_old

    driver.snapshot([])

    assert driver.shell.present.running == 0
    assert not driver.shell.present.is_old


def test_silence_is_told_and_forgotten_with_the_next_event() -> None:
    driver = Driver()
    driver.snapshot()
    driver.hear(Silence(3.2))
    assert "The daemon has been silent for 3 s" in driver.text()

    driver.event("IntakePaused", reason="the disk is full")

    assert "Nothing heard" not in driver.text()
    assert "No new work is taken: the disk is full" in driver.text()


def test_an_output_grows_with_each_commit_and_not_twice_with_what_was_loaded() -> None:
    driver = Driver(seq=10)
    driver.snapshot()
    driver.answer(("facts", "outputs"), OUTPUT_COLUMNS, [("fix_orders", "fix", 1, 500, 1000, 5, 1, 1)])
    driver.hear(whole(9, 1, "JobOutputsCommitted", {"job_id": job_id(7), "versions": {"fix_orders": 1}}))

    complete(driver, run_job(driver, 8), rows=11, bad=1)

    output = driver.shell.present.registry.outputs["fix_orders"]
    assert (output.rows, output.files, output.quarantined) == (511, 6, 2)


def test_a_breaker_pauses_one_version_and_its_probe_resumes_it() -> None:
    driver = Driver()
    driver.snapshot()
    for version in ("1.0.0", "1.1.0"):
        driver.event("ParserRegistered", name="fix", version=version, artifact="", topics=["fix"], outputs={})
    driver.event("ParserPaused", name="fix", version="1.1.0", reason="5 failures in a row", cooldown_seconds=600)
    registry = driver.shell.present.registry
    assert [(parser.version, parser.breaker) for parser in registry.paused_parsers] == [("1.1.0", "open")]

    driver.event("ParserResumed", name="fix", version="1.1.0", reason="the probe succeeded")

    assert registry.paused_parsers == []


def test_a_hundred_thousand_ended_jobs_are_taken_at_once() -> None:
    book = JobBook(keeps_all=True)
    book.know(
        [Job(job_id(n), "PARSE", "fix", "1", state=JobState.COMPLETED, ended_at=n, rows=1) for n in range(100_000)], 1
    )

    (bucket,) = book.ordered()
    assert bucket.first is not None
    assert (bucket.size, bucket.first.job_id) == (100_000, job_id(99_999))


def test_a_load_that_was_refused_is_asked_for_again() -> None:
    driver = Driver()
    driver.snapshot()
    driver.fail(("facts", "groups"), "The projector starts.")

    assert driver.metric("projection", applied=0) == []  # not at once
    driver.tick(4)

    assert [load.tag[1] for load in driver.metric("projection", applied=0) if isinstance(load, RunQuery)] == ["groups"]
    assert driver.metric("projection", applied=0) == []


def test_files_are_counted_again_after_a_scan_and_not_without_one() -> None:
    driver = Driver()
    driver.snapshot()
    driver.tick(10)
    assert driver.metric("projection", applied=0) == []

    driver.event("FilesTagged", tag="fix", files=1)

    assert [load.tag[1] for load in driver.metric("projection", applied=0) if isinstance(load, RunQuery)] == [
        "files",
        "waiting",
    ]
    assert driver.metric("projection", applied=0) == []


def test_a_job_that_waits_at_its_worker_is_no_straggler() -> None:
    driver = Driver()
    held = [{"job_id": job_id(1), "epoch": 1, "seconds": 0.0}]
    worker = {"id": "w1", "pid": 1, "slots": 1, "state": "busy", "jobs": held}
    driver.snapshot([OPEN_JOB | {"state": "LEASED"}], [worker])

    assert driver.shell.present.jobs.by_id[job_id(1)].started_at == 0


def test_a_job_that_its_worker_has_not_begun_is_no_straggler() -> None:
    driver = Driver()
    driver.snapshot()
    run_job(driver, 1)
    driver.event("JobCompleted", job_id=job_id(1), status="COMPLETED", rows=1, quarantined=0, skipped=0, seconds=0.1)
    driver.event("JobQueued", **queued(job_id(2)))
    driver.event("JobLeased", job_id=job_id(2), worker_id="w1", attempt=1, sandbox="none")
    driver.tick(600)
    book = driver.shell.present.jobs
    assert not book.is_straggler(book.by_id[job_id(2)], driver.now_us)

    driver.event("JobStarted", job_id=job_id(2), epoch=driver.seq, guest_pid=1)
    driver.tick(600)

    assert book.is_straggler(book.by_id[job_id(2)], driver.now_us)


def test_the_history_of_monitoring_begins_when_the_totals_are_known() -> None:
    driver = Driver()
    driver.send(Heard(Snapshot(seq=1, jobs=[], workers=[], totals={})))
    driver.metric("throughput", rows_per_second=0.0, bytes_per_second=0.0)
    assert not driver.shell.present.samples

    totals(driver, 1, FAILED=11)
    driver.metric("throughput", rows_per_second=0.0, bytes_per_second=0.0)

    assert [sample.failed for sample in driver.shell.present.samples] == [11]


def test_a_job_of_a_stalled_worker_is_stalled_also_for_a_console_that_has_just_begun() -> None:
    for state, is_stalled in (("stalled", True), ("busy", False)):
        driver = Driver()
        job = OPEN_JOB | {"progress": {"items_done": 1, "updated_at": driver.now_us}}
        held = [{"job_id": job_id(1), "epoch": 1, "seconds": 90.0}]
        driver.snapshot([job], [{"id": "w1", "pid": 1, "slots": 1, "state": state, "jobs": held}])
        assert driver.shell.present.is_stalled(driver.shell.present.jobs.by_id[job_id(1)]) is is_stalled


def test_a_request_to_cancel_is_known_of_a_running_job_and_makes_none_of_an_unknown_one() -> None:
    driver = Driver()
    driver.snapshot()
    made = run_job(driver, 1)
    driver.event("JobCancelRequested", job_id=made, reason="wrong file")
    driver.event("JobCancelRequested", job_id=job_id(2), reason="")
    book = driver.shell.present.jobs

    assert (book.by_id[made].state, book.by_id[made].reason) == ("RUNNING", "wrong file")
    assert book.get(job_id(2)) is None


def test_a_replayed_job_begins_anew() -> None:
    driver = Driver()
    driver.snapshot()
    made = run_job(driver, 1)
    fail(driver, made)
    driver.event("JobReplayed", **queued(made), from_state="FAILED")
    job = driver.shell.present.jobs.by_id[made]

    assert (job.state, job.attempt, job.error_code, job.ended_at, job.worker_id) == ("QUEUED", 0, "", 0, "")
    assert driver.shell.present.failed == 0


def test_an_event_of_a_newer_program_changes_nothing_and_is_counted_as_heard() -> None:
    driver = Driver()
    driver.snapshot()
    driver.hear(FeedEvent(1, driver.now_us, "JobTeleported", 1, "sentinel", {"job_id": job_id(1)}))

    assert driver.shell.present.seq == 1
    assert not driver.shell.present.jobs.by_id


FULL = "disk: 1 MiB free, below the floor of 512 MiB"


def test_a_console_that_joins_later_knows_that_intake_is_paused() -> None:
    driver = Driver()
    driver.hear(Snapshot(seq=7, jobs=[], workers=[], totals={}, intake=FULL))
    assert driver.shell.present.intake_paused == FULL
    assert f"No new work is taken: {FULL}" in driver.text(120)


@pytest.mark.parametrize("news", ["event", "snapshot", "metric"])
def test_intake_is_open_again_by_whatever_says_so_first(news: str) -> None:
    """The event may have been lost in a gap; then the snapshot behind it or a metric tells."""
    driver = Driver()
    driver.snapshot()
    driver.event("IntakePaused", reason=FULL)
    driver.metric("queue", queued=0, running=0, retrying=0, dead_letter=0, intake=FULL)
    assert driver.shell.present.intake_paused == FULL

    if news == "event":
        driver.event("IntakeResumed", reason="700 MiB free")
    elif news == "snapshot":
        driver.hear(Gap(driver.seq, driver.seq + 4), Snapshot(seq=driver.seq + 9, jobs=[], workers=[], totals={}))
    else:
        driver.metric("queue", queued=0, running=0, retrying=0, dead_letter=0, intake="open")

    assert driver.shell.present.intake_paused == ""
