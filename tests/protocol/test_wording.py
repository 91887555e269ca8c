"""What front ends and refusals say alike: files that never run, versions that wait, a daemon in trouble, names of columns."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.wire.operations.daemon import (
    InternalErrors,
    ParkedCommit,
    ParsersView,
    ProjectionView,
    QueueCounts,
    StatusResult,
)
from casparian_protocol.wording import (
    CONTRACT,
    JOB_WORDS,
    JOBS_OPEN,
    NOT_COMPARED,
    RegisteredVersion,
    WaitingFiles,
    command_line,
    in_columns,
    in_words,
    say_internal,
    say_parked,
    say_poison,
    say_trouble,
    say_violated,
    say_violation,
    waiting_files,
    what_to_do,
    why_waits,
)

APPROVED = {"orders": "approved"}


def candidate(contracts: dict[str, str], *, version: str = "1.0.0", is_retired: bool = False) -> RegisteredVersion:
    return RegisteredVersion("fix", version, frozenset({"fix"}), contracts, is_retired)


def reasons(*candidates: RegisteredVersion, tag: str = "fix") -> list[str]:
    return [each.reason for each in waiting_files({tag: 5}, candidates)]


def test_files_that_a_parser_takes_do_not_wait() -> None:
    assert reasons(candidate(APPROVED)) == []
    assert reasons(candidate(APPROVED), candidate({"orders": "rejected"}, version="1.1.0")) == []


def test_a_tag_that_no_parser_takes_is_named_with_the_nearest_topic() -> None:
    assert waiting_files({"fxi": 2, "hl7": 1}, [candidate(APPROVED)]) == [
        WaitingFiles("fxi", 2, "", "no parser takes the tag fxi; did you mean fix?"),
        WaitingFiles("hl7", 1, "", "no parser takes the tag hl7"),
    ]


def test_a_parser_that_cannot_run_is_named_with_the_reason() -> None:
    cannot = "fix 1.0.0 cannot run: the contract of orders"
    assert reasons(candidate({"orders": "rejected"})) == [f"{cannot} was rejected"]
    assert reasons(candidate({"orders": "proposed"})) == [f"{cannot} is not approved yet"]
    assert reasons(candidate({"orders": ""})) == [f"{cannot} does not exist"]
    assert reasons(candidate({})) == ["fix 1.0.0 declares no outputs"]
    assert reasons(candidate(APPROVED, is_retired=True)) == ["no parser takes the tag fix"]


def test_the_newest_version_speaks_for_its_parser() -> None:
    found = reasons(candidate({"orders": "rejected"}), candidate({"orders": "proposed"}, version="1.1.0"))

    assert found == ["fix 1.1.0 cannot run: the contract of orders is not approved yet"]


# --- versions that wait


def problem(
    code: str = CONTRACT, *, output: str = "orders", column: str = "price", what: str = "its type changed"
) -> dict[str, str]:
    return {"code": code, "output": output, "column": column, "what": what}


@pytest.mark.parametrize(
    ("problems", "left_out", "said"),
    [
        ([], 0, ""),
        ([problem()], 0, "orders.price: its type changed"),
        ([problem(column="")], 0, "orders: its type changed"),
        ([problem(output="", column="", what="2 jobs are open")], 0, "2 jobs are open"),
        ([problem()] * 3, 0, "; ".join(["orders.price: its type changed"] * 3)),
        ([problem()] * 5, 0, "; ".join(["orders.price: its type changed"] * 3) + "; 2 more"),
        ([problem()] * 3, 40, "; ".join(["orders.price: its type changed"] * 3) + "; 40 more"),
        ([problem()], 1, "orders.price: its type changed; 1 more"),
    ],
)
def test_the_first_reasons_are_named_and_the_rest_counted(
    problems: list[dict[str, str]], left_out: int, said: str
) -> None:
    assert why_waits(problems, left_out) == said


@pytest.mark.parametrize(
    ("problems", "may_be_chosen", "like", "words"),
    [
        ([problem(JOBS_OPEN)], True, "", "It becomes current by itself when the open jobs have ended"),
        (
            [problem(NOT_COMPARED)],
            False,
            "",
            "`casparian parser use fix@2.0 --reason TEXT` makes it current, if its contracts match the existing rows.",
        ),
        (
            [problem()],
            True,
            "",
            "`casparian parser use fix@2.0 --reason TEXT` makes it current: its contracts are stricter",
        ),
        (
            [problem(), problem(column="qty")],
            False,
            "1.0",
            "Register another version in which the output orders has a new name, or the contract of fix@1.0;",
        ),
        (
            [problem(), problem(output="trades")],
            False,
            "",
            "in which the outputs orders, trades have a new name, or the contract of the existing rows;",
        ),
        ([problem(JOBS_OPEN), problem()], False, "", "Register another version"),
    ],
)
def test_what_to_do_about_a_version_that_waits(
    problems: list[dict[str, str]], may_be_chosen: bool, like: str, words: str
) -> None:
    assert words in what_to_do("fix", "2.0", problems, may_be_chosen=may_be_chosen, like=like)


# --- a daemon in trouble


def parked(number: int, path: str = "outputs/a") -> ParkedCommit:
    return ParkedCommit(
        job_id=f"job{number}", epoch=1, path=path, errno=28, reason="No space left", since=1, tries=number
    )


def test_commits_that_wait_for_the_disk_are_named_up_to_five() -> None:
    assert say_parked([]) == []
    assert say_parked([parked(2)]) == [
        "job job2 is committed, but its files cannot be put in place: outputs/a: No space left (tried 2 times; it is tried "
        "again)"
    ]
    assert ": No space left (tried 3" in say_parked([parked(3, path="")])[0]
    assert "outputs" not in say_parked([parked(3, path="")])[0]
    many = say_parked([parked(number) for number in range(9)])
    assert (len(many), many[-1]) == (6, "and 4 more jobs like that")


def test_events_that_no_table_holds_and_errors_of_our_own_are_counted() -> None:
    assert say_poison(0) == []
    assert say_poison(1)[0].startswith("1 event is left out of the tables: `casparian sql")
    assert say_poison(1200)[0].startswith("1,200 events are left out")
    assert say_internal(InternalErrors()) == []
    assert say_internal(InternalErrors(count=1, last="commit.py:7")) == [
        "1 internal error since the start, the last in commit.py:7; logs/daemon.log has the tracebacks"
    ]
    assert say_internal(InternalErrors(count=2000))[0].startswith("2,000 internal errors since the start")


def test_a_status_is_in_trouble_only_when_something_is() -> None:
    calm = StatusResult(
        pid=1, seq=1, ready=True, version="1", home="/home/ada", mode="daemon", workers=[],
        queue=QueueCounts(queued=0, running=0, retrying=0, dead_letter=0),
        projection=ProjectionView(seq=1, lag=0, state="running"), parsers=ParsersView(paused=[]),
    )  # fmt: skip
    troubled = calm.model_copy(update={"parked": [parked(1)], "internal_errors": InternalErrors(count=1, last="x")})

    assert say_trouble(calm, 0) == []
    assert [line.split()[0] for line in say_trouble(troubled, 2)] == ["job", "2", "1"]


# --- names in documents


@given(st.dictionaries(st.sampled_from([*JOB_WORDS, "status", "priority"]), st.integers(), max_size=8))
def test_a_row_in_words_comes_back_in_columns(row: dict[str, int]) -> None:
    assert in_columns(in_words(row)) == row
    assert not set(in_words(row)) & (set(JOB_WORDS) - set(JOB_WORDS.values()))


@pytest.mark.parametrize(
    ("violation", "said"),
    [
        (("parser_rejected", None, "checksum", "accepted by the parser"), "rejected by the parser: checksum"),
        (("parser_rejected", "", None, ""), "rejected by the parser"),
        (("type_mismatch", "price", "x", "int64"), "type_mismatch in price: got 'x', expected int64"),
        (("null_not_allowed", "price", None, ""), "null_not_allowed in price"),
        (("column_extra", None, None, None), "column_extra"),
    ],
)
def test_a_violation_is_said_with_its_column_only_where_there_is_one(
    violation: tuple[str, str | None, str | None, str | None], said: str
) -> None:
    assert say_violation(*violation) == said
    assert said.startswith(say_violated(*violation[:2]))


# --- commands to paste ---

HOSTILE = [
    "a b",
    "a`id`$(id).txt",
    "it's",
    "",
    "we ird [1].txt",
    "esc\x1b[31m\n7'\\.txt",
    "\udcff.txt",
    "\u202egpj.exe",
    "~",
    "é;#!",
]


def test_a_command_to_paste_gives_its_words_back_whatever_strangers_wrote() -> None:
    line = command_line(*HOSTILE)
    assert line.isprintable() and line.startswith("casparian 'a b' ")
    script = f"casparian() {{ printf '%s\\0' \"$@\"; }}; {line}"
    pasted = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    assert pasted.split(b"\0")[:-1] == [os.fsencode(word) for word in HOSTILE]


def test_a_command_of_plain_words_is_not_quoted() -> None:
    assert command_line("job", "show", "/data/fix-1.log") == "casparian job show /data/fix-1.log"
