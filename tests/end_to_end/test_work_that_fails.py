"""All or nothing: a job that fails publishes nothing, says why, and can be taken up again."""

import pytest

from tests.end_to_end.world import World, advice, lines


@pytest.fixture(scope="module")
def failing(story: World) -> World:
    story.run("init")
    story.serve(1)
    return story


@pytest.mark.parametrize("decision", ["undecided", "rejected"])
def test_what_nobody_approved_is_not_queued_and_says_so(failing: World, decision: str) -> None:
    failing.register(advice(), approves=False)
    failing.write("one.txt", lines(3))
    failing.scan()
    if decision == "rejected":
        failing.run("contract", "reject", "advice", "--reason", "amount must say its currency")

    summary = failing.ask("process", status=1)

    assert summary["queued"] == 0
    (reason,) = summary["not_queued"]
    assert (reason["parser"], reason["files"]) == ("advice", 1)
    assert "approve" in reason["reason"] or "reject" in reason["reason"]
    assert failing.ask("jobs") == []


def test_a_parser_that_raises_in_the_middle_publishes_nothing(failing: World) -> None:
    failing.inbox.joinpath("one.txt").unlink()
    failing.scan()  # before something approved could take the file: the daemon plans by itself
    failing.register(advice("1.0.1"))
    failing.write("crash.txt", lines(1000) + "!boom\n" + lines(10, start=2000))
    failing.scan()

    summary = failing.ask("process", status=1)

    assert (summary["jobs"]["failed"], summary["rows"]) == (1, 0)
    (job,) = failing.ask("jobs", "--status", "failed")
    assert job["error_code"] == "INVALID_DATA"
    assert "no idea what line 1001 is" in job["error_message"]
    assert len(job["fingerprint"]) == 16
    assert failing.published() == []
    failing.stop()


def test_a_retry_runs_the_same_parser_and_a_rerun_the_corrected_one(failing: World) -> None:
    (job,) = failing.ask("jobs", "--status", "failed")
    failing.run("job", "retry", job["id"])
    failing.ask("process", "--workers", "1", status=1)
    (again,) = failing.ask("jobs")
    assert (again["id"], again["status"], again["version"]) == (job["id"], "FAILED", "1.0.1")

    failing.register(advice("1.0.2", on_boom='ctx.skip("boom")'))
    failing.run("job", "rerun", job["id"])
    summary = failing.ask("process", "--workers", "1")

    assert (summary["jobs"]["completed"], summary["rows"], summary["skipped"]) == (1, 1010, 1)
    assert failing.sql("select count(*) as n, count(distinct _cf_job_id) as jobs from advices") == [
        {"n": 1010, "jobs": 1}
    ]


def test_too_many_bad_rows_fail_the_job_and_are_kept_to_be_looked_at(failing: World) -> None:
    failing.write("bad.txt", lines(20, bad=range(5), start=5000))
    failing.scan()

    summary = failing.ask("process", "--workers", "1", status=1)

    assert summary["jobs"]["failed"] == 1
    (job,) = failing.ask("jobs", "--status", "failed", "--limit", "1")
    assert job["error_code"] == "QUARANTINE_EXCEEDED"
    assert failing.sql("select count(*) as n from advices where substr(id, 2)::int >= 5000") == [{"n": 0}]
    assert failing.sql("select count(*) as n from quarantine.advices") == [{"n": 0}]
    (kept,) = failing.ask("quarantine", "list", "--uncommitted")
    assert kept["job_id"] == job["id"]
    assert failing.sql("select count(*) as n, min(_cf_job_id) as job from uncommitted.advices") == [
        {"n": 5, "job": job["id"]}
    ]
    failing.assert_at_rest()
