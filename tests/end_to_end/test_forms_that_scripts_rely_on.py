"""The commands of docs and scripts, exactly in the form that is promised, on one home from `init` to `stop`."""

import json
import os

import psutil
import pytest

from tests.end_to_end.world import World, advice, lines


def test_a_home_a_parser_and_its_contract(story: World) -> None:
    story.run("init")
    (story.root / "advice.py").write_text(advice())

    said = story.run("parser", "register", story.root / "advice.py").stdout
    assert "advice 1.0.0" in said
    assert "artifact" in said
    assert "advices: proposed" in said
    assert "approved: advice@1.0.0/advices" in story.run("contract", "approve", "advice").stdout


def test_a_scan_tags_what_it_finds_and_process_says_how_it_went(story: World) -> None:
    story.write("may.txt", "# of May\n" + lines(20, bad=[7]))
    story.write("june.txt", lines(3, start=100))
    story.run("scan", story.inbox, "--tag", "advice")

    summary = story.ask("process", "--workers", "2")

    jobs = {"completed": 1, "partial_success": 1, "failed": 0, "dead_letter": 0}
    assert jobs.items() <= summary["jobs"].items()
    assert (summary["rows"], summary["quarantined"], summary["skipped"]) == (22, 1, 1)
    assert summary["seconds"] > 0
    story.assert_at_rest()


def test_rows_bad_rows_and_jobs_without_a_daemon(story: World) -> None:
    assert story.sql("select count(*) as n from advices") == [{"n": 22}]
    (bad,) = story.sql("select * from quarantine.advices")
    assert (bad["id"], bad["amount"], bad["_cf_source_row"]) == ("A7", "1,50", 9)
    assert bad["_cf_violations"][0]["code"] == "type_mismatch"
    (summary,) = story.ask("quarantine", "summary")
    expected = {"output": "advices", "code": "type_mismatch", "column": "amount", "rows": 1}
    assert expected.items() <= summary.items()
    jobs = story.ask("jobs")
    assert sorted(job["status"] for job in jobs) == ["COMPLETED", "PARTIAL_SUCCESS"]
    named = {"id", "type", "status", "parser", "input", "rows", "quarantined", "skipped", "error_code", "fingerprint"}
    assert named <= jobs[0].keys()
    assert (jobs[0]["type"], jobs[0]["parser"]) == ("PARSE", "advice")


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_text('/etc/passwd')",
        "select * from '/etc/passwd'",
        "copy (select 1) to '/tmp/x.csv'",
        "attach 'x.db'",
        "create table t as select 1",
        "select 1; select 2",
        "pragma database_list",
        "install httpfs",
    ],
)
def test_sql_refuses_whatever_is_no_question_about_our_tables(story: World, query: str) -> None:
    done = story.run("sql", query, status=1)

    assert done.stdout == ""
    assert 0 < len(done.stderr.strip().splitlines()) <= 3
    assert "root:" not in done.stderr


def test_a_daemon_is_started_asked_and_stopped(story: World) -> None:
    story.run("start", "--workers", "2", "--detach")

    status = story.ask("status")
    assert {"pid", "seq", "ready"} <= status["sentinel"].keys()
    assert status["sentinel"]["ready"] is True
    assert status["sentinel"]["pid"] == story.daemon_pid()
    assert status["queue"].keys() >= {"queued", "running", "retrying", "dead_letter"}
    story.write("july.txt", lines(5, start=200))
    story.run("scan", story.inbox, "--tag", "advice")
    story.ask("process")
    status = story.ask("status")
    assert len(status["workers"]) == 2
    assert {"id", "pid", "state", "jobs"} <= status["workers"][0].keys()
    assert all(psutil.pid_exists(worker["pid"]) for worker in status["workers"])
    assert story.sql("select count(*) as n from advices") == [{"n": 27}]


def test_a_second_daemon_is_refused_with_the_pid_of_the_first(story: World) -> None:
    done = story.run("start", "--foreground", "--workers", "1", status=3)

    assert str(story.daemon_pid()) in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3
    detached = story.run("start", "--detach", status=3)
    assert str(story.daemon_pid()) in detached.stderr


def test_stop_ends_everything_and_the_log_is_intact(story: World) -> None:
    story.run("stop")

    story.run("log", "verify")
    story.assert_at_rest()
    story.run("stop", status=3)
    assert json.loads(story.run("status", "--json").stdout)["sentinel"]["ready"] is False


def test_a_deleted_projection_is_rebuilt_with_the_same_answers(story: World) -> None:
    questions = [("jobs",), ("quarantine", "summary"), ("files",), ("contract", "list"), ("outputs", "list")]
    before = [story.ask(*question) for question in questions]
    for path in story.home.glob("state.duckdb*"):
        os.unlink(path)

    assert [story.ask(*question) for question in questions] == before
    assert story.sql("select count(*) as n from advices") == [{"n": 27}]


def test_a_flipped_bit_in_the_log_is_found(story: World) -> None:
    segment = sorted((story.home / "log").glob("*.caslog"))[0]
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)

    assert "DAMAGED" in story.run("log", "verify", status=1).stdout
