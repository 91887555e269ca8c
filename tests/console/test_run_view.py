"""What a watcher of a run sees, from the feed alone."""

from typing import Any

from casparian_console.run_view import RunView
from casparian_protocol.feed import Metric, Silence
from casparian_protocol.wire.operations.daemon import Snapshot
from tests.console.driving import snapshot_of
from tests.console.events import whole


def job(number: int) -> dict[str, Any]:
    made = f"{number:016x}"
    return {"job_id": made, "key": made, "type": "PARSE", "parser": "fix", "input": {"path": f"/logs/{number}.fix"}}


def watch(*items: Any) -> RunView:
    view = RunView(started=0.0)
    view.apply(Snapshot(seq=0, jobs=[], workers=[], totals={}))
    for seq, item in enumerate(items, 1):
        view.apply(whole(seq, 0, *item) if isinstance(item, tuple) else item)
    return view


def queued(number: int) -> tuple[str, dict[str, Any]]:
    return "JobQueued", {"job": job(number)}


def completed(number: int, rows: int = 10, quarantined: int = 0) -> tuple[str, dict[str, Any]]:
    status = "PARTIAL_SUCCESS" if quarantined else "COMPLETED"
    return "JobCompleted", {
        "job_id": f"{number:016x}", "status": status, "rows": rows, "quarantined": quarantined, "skipped": 1,
    }  # fmt: skip


def test_an_empty_queue_is_idle_only_once_it_was_looked_at() -> None:
    assert not RunView(started=0.0).is_idle
    assert watch().is_idle


def test_open_jobs_keep_a_run_going_and_ended_ones_end_it() -> None:
    assert not watch(queued(1), queued(2), completed(1)).is_idle
    assert watch(queued(1), completed(1)).is_idle


def test_rows_of_completed_jobs_add_up() -> None:
    view = watch(queued(1), queued(2), completed(1, 10, 2), completed(2, 5))

    assert (view.rows, view.quarantined, view.skipped) == (15, 2, 2)
    assert view.ended == {"PARTIAL_SUCCESS": 1, "COMPLETED": 1}


def test_a_job_that_waits_for_its_retry_still_counts() -> None:
    view = watch(queued(1), ("JobRetryScheduled", {"job_id": f"{1:016x}"}))

    assert not view.is_idle
    assert view.running == []


def test_jobs_of_a_paused_parser_do_not_keep_a_run_going() -> None:
    assert watch(queued(1), ("ParserPaused", {"name": "fix"})).is_idle
    assert not watch(queued(1), ("ParserPaused", {"name": "fix"}), ("ParserResumed", {"name": "fix"})).is_idle


def test_a_failure_is_told_with_its_file_and_cause() -> None:
    error = {"code": "INVALID_DATA", "message": "no such month"}
    view = watch(queued(1), ("JobFailed", {"job_id": f"{1:016x}", "error": error}))

    assert view.failures == ["1.fix: INVALID_DATA: no such month"]
    assert view.ended["FAILED"] == 1


def test_lines_fit_their_width_and_carry_no_control_characters() -> None:
    hostile = job(0xF) | {"job_id": "f" * 16, "input": {"path": "/logs/\x1b[31mred" + "x" * 200}}
    view = watch(queued(1), completed(1), ("JobQueued", {"job": hostile}), ("JobLeased", {"job_id": "f" * 16}))
    lines = view.lines(now=2.0, width=60)

    assert all(len(line) <= 60 and "\x1b" not in line for line in lines)
    assert "1/2 jobs" in lines[0]


def test_silence_is_said_and_the_next_word_ends_it() -> None:
    view = watch(Silence(4.0))
    assert any("nothing heard" in line for line in view.lines(5.0, 80))

    view.apply(whole(9, 0, *queued(3)))
    assert not any("nothing heard" in line for line in view.lines(5.0, 80))


def test_a_version_that_its_circuit_breaker_holds_waits_and_moves_again_when_one_job_may_probe() -> None:
    spec = {**job(1), "parser_version": "1.0"}
    held = ("ParserPaused", {"name": "fix", "version": "1.0"})
    assert watch(("JobQueued", {"job": spec}), held).is_idle
    assert not watch(("JobQueued", {"job": {**spec, "parser_version": "1.1"}}), held).is_idle
    assert not watch(("JobQueued", {"job": spec}), held, ("ParserHalfOpened", held[1])).is_idle
    assert watch(("JobQueued", {"job": spec}), held, ("ParserHalfOpened", held[1]), held).is_idle
    assert not watch(("JobQueued", {"job": spec}), held, ("ParserResumed", {"name": "fix"})).is_idle
    assert watch(
        ("JobQueued", {"job": spec}), held, ("ParserPaused", {"name": "fix"}), ("ParserResumed", held[1])
    ).is_idle


def test_a_run_has_no_hope_only_when_every_local_worker_is_given_up_and_no_other_is_there() -> None:
    gone = {"worker": "local-1", "reason": "it exited with 7"}
    far = {"id": "far-1", "pid": 7, "state": "idle", "slots": 1}
    values = {"seq": 1, "workers": [], "local_workers": 1, "given_up": [gone]}

    assert watch(queued(1), Metric("workers", values)).hopeless == "local-1: it exited with 7"
    assert watch(queued(1), Metric("workers", {**values, "workers": [far]})).hopeless == ""
    assert watch(queued(1), Metric("workers", {**values, "local_workers": 2})).hopeless == ""
    assert watch(queued(1), Metric("workers", {**values, "local_workers": 0, "given_up": []})).hopeless == ""


def test_a_metric_of_another_version_is_noted_and_the_run_goes_on() -> None:
    view = watch(queued(1), Metric("workers", {"seq": 1, "workers": [{"id": "x"}]}))
    assert view.note.startswith("What the daemon published cannot be read: ") and view.left == 1


def test_a_run_says_that_the_daemon_has_no_worker_when_it_starts_none_itself() -> None:
    none = {"seq": 1, "workers": [], "local_workers": 0, "given_up": []}
    view = watch(queued(1), Metric("workers", none))
    assert view.lacks_workers and view.left == 1
    assert view.lines(1.0, 80)[-1] == "the daemon has no worker: `casparian worker` starts one"

    assert not watch(
        queued(1), Metric("workers", {**none, "workers": [{"id": "far-1", "pid": 7, "state": "idle", "slots": 1}]})
    ).lacks_workers
    assert not watch(queued(1), Metric("workers", {**none, "local_workers": 2})).lacks_workers


def test_a_commit_whose_folder_refuses_its_files_again_and_again_is_not_waited_for() -> None:
    committed = ("JobOutputsCommitted", {"job_id": job(1)["job_id"]})
    place = {"job_id": job(1)["job_id"], "epoch": 1, "path": "outputs/x"}
    parked = {**place, "errno": 13, "reason": "Permission denied", "since": 0, "tries": 2}

    assert not watch(queued(1), committed, Metric("trouble", {"seq": 1, "parked": [parked]})).is_idle
    view = watch(queued(1), committed, Metric("trouble", {"seq": 1, "parked": [{**parked, "tries": 3}]}))
    assert view.is_idle and view.stuck == {job(1)["job_id"]: "outputs/x: Permission denied"}
    assert not watch(
        queued(1), queued(2), committed, Metric("trouble", {"seq": 1, "parked": [{**parked, "tries": 3}]})
    ).is_idle


# --- more jobs than a snapshot lists ----------------------------------------------------------------------------------


def listed(number: int) -> dict[str, Any]:
    made = f"{number:016x}"
    return {"job_id": made, "type": "PARSE", "state": "QUEUED", "parser": "fix", "parser_version": "1.0",
            "input": f"/logs/{number}.fix"}  # fmt: skip


def long_queue(jobs: int, listed_jobs: int) -> RunView:
    """A run over so many jobs, of which the snapshot lists the first."""
    view = RunView(started=0.0, wanted={f"{number:016x}" for number in range(jobs)})
    group = {"type": "PARSE", "state": "QUEUED", "parser": "fix", "parser_version": "1.0", "input": "", "jobs": jobs}
    view.apply(snapshot_of(0, [listed(number) for number in range(listed_jobs)], groups=[group]))
    return view


def hear(view: RunView, *told: tuple[str, dict[str, Any]]) -> None:
    for kind, data in told:
        view.apply(whole(1, 0, kind, data))


def test_a_run_goes_on_until_the_jobs_that_no_snapshot_listed_have_ended_too() -> None:
    view = long_queue(3, 1)
    assert (view.left, view.is_idle, view.must_look) == (3, False, False)
    hear(view, completed(0))
    assert (view.left, view.is_idle, view.must_look) == (2, False, True)
    hear(view, ("JobLeased", {"job_id": f"{1:016x}"}), completed(1), completed(2))

    assert (view.left, view.is_idle, view.ended.total()) == (0, True, 3)
    assert "3/3 jobs" in view.lines(1.0, 100)[0]


def test_jobs_that_had_ended_before_the_snapshot_are_not_waited_for_once_the_tables_have_said_so() -> None:
    view = long_queue(3, 1)
    hear(view, completed(0))
    view.keep_open([f"{2:016x}", "another"])
    assert (view.left, view.is_idle) == (1, False)
    hear(view, completed(2))
    assert view.is_idle


def test_jobs_that_no_snapshot_listed_do_not_keep_a_run_going_while_their_parser_is_paused() -> None:
    view = long_queue(3, 1)
    hear(view, ("ParserPaused", {"name": "fix"}))
    assert view.is_idle
    hear(view, ("ParserResumed", {"name": "fix"}))
    assert not view.is_idle


def test_a_snapshot_that_lists_all_leaves_nothing_to_look_for() -> None:
    view = long_queue(1, 1)
    hear(view, completed(0))
    assert (view.must_look, view.is_idle) == (False, True)
