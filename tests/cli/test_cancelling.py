"""`job cancel`, `retry`, `rerun` and `close` of several jobs, and what is said of those that stay as they are."""

from __future__ import annotations

from tests.cli.calls import Caller


def test_several_jobs_are_cancelled_by_one_command_and_one_that_has_ended_makes_it_fail(lived: Caller) -> None:
    jobs = {job["status"]: job["id"] for job in lived("jobs", "--json").document}
    waiting = [lived("job", "rerun", jobs[status], "--json").document["job_id"] for status in ("COMPLETED", "FAILED")]

    done = lived("job", "cancel", *waiting, jobs["COMPLETED"][:8], "--reason", "wrong files")
    again = lived("job", "cancel", *waiting, "--json")

    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == ["2 jobs cancelled", "1 job not cancelled: it is not open"]
    assert {job["id"] for job in lived("jobs", "--status", "cancelled", "--json").document} == set(waiting)
    assert again.code == 1
    assert again.document == {"cancelled": 0, "requested": 0, "refused": [{"reason": "it is not open", "jobs": 2}]}


def test_all_queued_jobs_of_a_parser_are_cancelled_after_a_dry_run_that_counts_them(lived: Caller) -> None:
    jobs = {job["status"]: job for job in lived("jobs", "--json").document}
    waiting = {
        lived("job", "rerun", jobs[status]["id"], "--json").document["job_id"] for status in ("COMPLETED", "FAILED")
    }
    parser = jobs["COMPLETED"]["parser"]

    trial = lived("job", "cancel", "--queued", "--parser", parser, "--dry-run")
    document = lived("job", "cancel", "--open", "--dry-run", "--json").document
    unknown = lived("job", "cancel", "--open", "--parser", f"{parser}x")
    done = lived("job", "cancel", "--queued", "--parser", parser, "--reason", "wrong files")
    none = lived("job", "cancel", "--open", "--json")

    assert (trial.code, trial.out) == (0, "2 jobs would be cancelled\n")
    assert document == {"cancelled": 2, "dry_run": True}
    assert (unknown.code, f"There is no parser {parser}x." in unknown.err) == (2, True)
    assert (done.code, done.err) == (0, "2 jobs cancelled\n")
    assert {job["id"] for job in lived("jobs", "--status", "cancelled", "--json").document} == waiting
    assert (none.code, none.document) == (0, {"cancelled": 0, "requested": 0, "refused": []})


def test_cancel_names_the_ways_to_say_which_jobs(lived: Caller) -> None:
    for wrong in ((), ("3f2a91c0", "--open"), ("--queued", "--open"), ("3f2a91c0", "--dry-run")):
        assert lived("job", "cancel", *wrong).code == 2


def test_several_jobs_are_retried_rerun_and_closed_by_one_command_each(lived: Caller) -> None:
    jobs = {job["status"]: job["id"] for job in lived("jobs", "--json").document}
    failed, completed = jobs["FAILED"], jobs["COMPLETED"]

    closed = lived("job", "close", failed[:8], completed, "--reason", "known", "--json")
    retried = lived("job", "retry", failed, completed)
    rerun = lived("job", "rerun", failed, completed)

    assert (closed.code, closed.document) == (
        1,
        {"closed": 1, "refused": [{"reason": "it has not failed", "jobs": 1}]},
    )
    assert (retried.code, retried.err.splitlines()) == (
        1,
        ["1 job queued again", "1 job not queued again: it has succeeded"],
    )
    assert (rerun.code, rerun.err.splitlines()) == (
        1,
        ["1 job queued again", "1 job not queued again: it has not ended"],
    )


def test_a_rerun_of_all_failures_that_is_refused_in_part_makes_the_command_fail(lived: Caller) -> None:
    assert lived("parser", "retire", "advice@1.0.0").code == 0

    tried = lived("job", "rerun", "--failed", "--dry-run", "--json")
    done = lived("job", "rerun", "--failed")

    (refused,) = tried.document["refused"]
    assert (tried.code, tried.document) == (1, {"rerun": 0, "refused": [refused], "dry_run": True})
    assert (done.code, done.out) == (1, "0 failed inputs queued again\n")
    assert done.err.splitlines() == [f"1 failed input not queued again: {refused['reason']}"]
