"""Hostile parsers and files in production: each job ends with its code, nothing is lost, nothing stays behind."""

import os

import pytest

from tests.end_to_end.world import World

#: What the parser does is what its file says; `end` is what must come of it.
DEEDS = {
    "raise at row 1000": ("INVALID_DATA", "row 1000 is bad"),
    "exit 0": ("UNKNOWN_ERROR", "left by sys.exit(0)"),
    "die 0": ("PROTOCOL_ERROR", "exited with status 0 before its end of stream"),
    "raise nothing": ("UNKNOWN_ERROR", "GeneratorExit, without a message"),
    "cleanup": ("UNKNOWN_ERROR", "cleanup broke"),
    "close sockets": ("UNKNOWN_ERROR", "before its end of stream"),
    "garbage": ("PROTOCOL_ERROR", "0xdeadbeef"),
    "other output": ("SCHEMA_MISMATCH", "other is not declared"),
    "bad output": ("OUTPUT_NAME", "../../x"),
    "twin columns": ("SCHEMA_MISMATCH", "two columns have the same name 'id'"),
    "reserved": ("SCHEMA_MISMATCH", "_cf_job_id"),
    "empty rows": ("SCHEMA_MISMATCH", "rows without any column"),
    "many columns": ("LIMIT_EXCEEDED", "at most 4,096 are allowed"),
    "huge cell": ("LIMIT_EXCEEDED", "config.toml"),
    "all bad": ("QUARANTINE_EXCEEDED", "100 of 100 rows are bad"),
    "long error": ("INVALID_DATA", "yyyy"),
}
PARSER = """
import os
import socket
import stat
import sys

import pyarrow as pa

name, version, topics, dependencies = "advice", "1.0.0", ["advice"], []
outputs = {"deeds": {"columns": [
    {"name": "id", "type": "int64", "nullable": False}, {"name": "v", "type": "string"},
]}}


def row(id, v="x", **more):
    return {"id": id, "v": v, "__cf_row_id": 1, "_cf_raw": f"raw {id!r} \\x1b[31m", **more}


def sockets():
    return [fd for fd in range(3, 64) if os.path.exists(f"/proc/self/fd/{fd}") and stat.S_ISSOCK(os.fstat(fd).st_mode)]


def parse(path, ctx):
    deed = ctx.file.read().decode(errors="replace").strip()
    if deed not in ("all bad", "twin columns", "empty rows"):
        yield row(0)
    match deed:
        case "raise at row 1000":
            yield [row(number) for number in range(999)]
            raise ValueError("row 1000 is bad")
        case "exit 0":
            sys.exit(0)
        case "die 0":
            os._exit(0)
        case "raise nothing":
            raise GeneratorExit
        case "cleanup":
            try:
                yield row(1)
            finally:
                raise RuntimeError("cleanup broke")
        case "close sockets":
            for fd in sockets():
                os.close(fd)
        case "garbage":
            for fd in sockets():
                os.write(fd, b"\\xde\\xad\\xbe\\xef" * 100)
        case "other output":
            yield "other", row(1)
        case "bad output":
            yield "../../x", row(1)
        case "twin columns":
            yield pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["id", "id"])
        case "reserved":
            yield row(1, _cf_job_id="forged")
        case "empty rows":
            yield [{}, {}]
        case "many columns":
            yield row(1, **{f"c{number}": 1 for number in range(100_000)})
        case "huge cell":
            yield row(1, "x" * 20_000_000)
        case "all bad":
            yield [row(f"bad {number}") for number in range(100)]
        case "long error":
            raise ValueError("y" * 5_000_000)
        case "odd values":
            yield [row(number) for number in range(90)]
            yield [row(2**63), row(None), row("seven"), row(91, b"\\xff\\x00"), row(92, {"a": [1]}), row(93, 2**200)]
"""


@pytest.fixture(scope="module")
def bad(story: World) -> World:
    story.run("init")
    # The breaker would stop this parser after five files.
    (story.home / "config.toml").write_text("[breaker]\nconsecutive_failures = 100\n")
    story.register(PARSER)
    for number, deed in enumerate([*DEEDS, "odd values"]):
        story.write(f"{number:02d}.txt", deed)
    story.write("empty.txt", "")
    (story.inbox / os.fsdecode(b"\xff\nline\x1b[31m.txt")).write_text("nothing special")
    (story.inbox / "binary.dat").write_bytes(bytes(range(256)) * 10)
    os.mkfifo(story.inbox / "fifo")
    (story.inbox / "loop").symlink_to("loop")
    story.write("gone.txt", "soon")
    story.scan()
    (story.inbox / "gone.txt").unlink()
    return story


def test_every_deed_ends_with_its_code_and_publishes_nothing(bad: World) -> None:
    summary = bad.ask("process", "--workers", "2", status=1)

    assert summary["queued"] == len(DEEDS) + 5
    assert summary["jobs"] == {
        "completed": 3,
        "partial_success": 1,
        "failed": len(DEEDS) + 1,
        "dead_letter": 0,
        "cancelled": 0,
    }
    ended = {os.path.basename(job["input"]): job for job in bad.ask("jobs", "--limit", "100")}
    for number, (deed, (code, said)) in enumerate(DEEDS.items()):
        job = ended[f"{number:02d}.txt"]
        assert (deed, job["error_code"], said in job["error_message"]) == (deed, code, True), job["error_message"]
        assert len(job["error_message"]) <= 2048
    assert ended["gone.txt"]["error_code"] == "FILE_NOT_FOUND"


def test_what_was_good_is_published_and_what_was_bad_is_kept_as_it_was(bad: World) -> None:
    """The rows with odd values: what the contract does not take is kept as the parser sent it, whatever stood beside it."""
    assert bad.sql("select count(*) as n, count(distinct _cf_job_id) as jobs from deeds") == [{"n": 94, "jobs": 4}]
    assert bad.sql(
        "select id, v, _cf_raw, _cf_violation_type as code from quarantine.deeds order by _cf_output_row_index"
    ) == [
        {"id": "9223372036854775808", "v": "x", "_cf_raw": f"raw {2**63} \x1b[31m", "code": "out_of_range"},
        {"id": None, "v": "x", "_cf_raw": "raw None \x1b[31m", "code": "null_not_allowed"},
        {"id": "seven", "v": "x", "_cf_raw": "raw 'seven' \x1b[31m", "code": "type_mismatch"},
        {"id": "91", "v": "ff00", "_cf_raw": "raw 91 \x1b[31m", "code": "type_mismatch"},
        {"id": "92", "v": '{"a": [1]}', "_cf_raw": "raw 92 \x1b[31m", "code": "type_mismatch"},
        {"id": "93", "v": str(2**200), "_cf_raw": "raw 93 \x1b[31m", "code": "type_mismatch"},
    ]


def test_the_summary_counts_what_is_published_beside_not_what_failed_jobs_left(bad: World) -> None:
    found = {(each["code"], each["rows"]) for each in bad.ask("quarantine", "summary")}

    assert found == {("out_of_range", 1), ("null_not_allowed", 1), ("type_mismatch", 1), ("type_mismatch", 3)}


def test_a_job_says_why_it_failed_also_without_a_traceback(bad: World) -> None:
    (job,) = [each for each in bad.ask("jobs", "--limit", "100") if each["error_code"] == "QUARANTINE_EXCEEDED"]

    shown = bad.run("job", "show", job["id"]).stdout

    assert "QUARANTINE_EXCEEDED: Output deeds: 100 of 100 rows are bad" in shown
    assert "\x1b" not in shown


def test_a_parser_that_nobody_knows_is_wrong_usage(bad: World) -> None:
    done = bad.run("process", "--parser", "advise", "--workers", "1", status=2)

    assert "casparian: There is no parser advise.\n" in done.stderr


def test_nothing_is_left_behind(bad: World) -> None:
    bad.assert_at_rest()


def test_a_worker_that_no_sentinel_answers_says_whom_it_waited_for_and_ends_with_3(world: World) -> None:
    world.run("init")

    done = world.run("worker", "--wait", "0", status=3)

    assert f"No daemon answered for 0 s: home {world.home}. `casparian start` starts one." in done.stderr + done.stdout
