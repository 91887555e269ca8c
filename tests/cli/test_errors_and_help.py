"""What a person or a script gets when a command cannot do what it was asked: words with a way out, or a document."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rich_click as click

from casparian.app import ExitCode
from casparian.main import casparian, run
from casparian_app.names import hint
from casparian_app.texts import listed
from tests.cli.calls import Caller


@pytest.mark.parametrize(
    ("line", "code", "exit_code"),
    [
        ("jobs --limt 3", "USAGE", 2),
        ("proces", "USAGE", 2),
        ("jobs --status funny", "UNKNOWN_STATE", 2),
        ("job show 00000000", "UNKNOWN_JOB", 2),
        ("parser show advise", "UNKNOWN_NAME", 2),
        ("sql 'select * from nothing_here'", "", 1),
        ("stop", "NO_SENTINEL", 3),
        ("scan /nowhere/at/all", "USAGE", 2),
    ],
)
def test_an_error_is_a_document_under_json_with_the_same_exit_code(
    lived: Caller, line: str, code: str, exit_code: int
) -> None:
    import shlex

    words = shlex.split(line)
    told = lived(*words, "--json")
    plain = lived(*words)

    assert (told.code, plain.code, plain.out) == (exit_code, exit_code, "")
    error = told.document["error"]
    assert set(error) == {"code", "problem", "remedy"}
    assert error["code"] == (code or error["code"])
    assert f"casparian: {error['problem']}" in plain.err
    assert error["remedy"] in plain.err
    assert plain.err.count("\n") <= 3


def test_a_home_that_is_not_there_is_a_document_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told = Caller(tmp_path / "none", capfd)("jobs", "--json")

    assert (told.code, told.document["error"]["code"]) == (3, "NO_HOME")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["proces"], "Did you mean process?"),
        (["job", "shwo"], "Did you mean show?"),
        (["retry"], "Did you mean job retry?"),
        (["help", "quarantin"], "Did you mean quarantine?"),
    ],
)
def test_a_command_that_is_not_there_names_the_one_like_it(lived: Caller, words: list[str], meant: str) -> None:
    told = lived(*words)

    assert (told.code, meant in told.err) == (2, True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("jobs --parser advise", "There is no parser advise. Did you mean advice?"),
        ("jobs --tag advise", "There is no tag advise. Did you mean advice?"),
        ("files --tag advise", "There is no tag advise. Did you mean advice?"),
        ("files --source inbox", "There is no source inbox."),
        ("errors list --code INVALID_DATE", "There is no error code INVALID_DATE. Did you mean INVALID_DATA?"),
        ("quarantine summary --code type_mismach", "There is no violation type_mismach. Did you mean type_mismatch?"),
        ("quarantine summary --output advice", "There is no output advice. Did you mean advices?"),
    ],
)
def test_a_filter_that_names_nothing_says_so_beside_the_empty_list(lived: Caller, line: str, said: str) -> None:
    told = lived(*line.split(), "--json")

    assert (told.code, told.document, said in told.err) == (0, [], True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("parser show advise", "There is no parser advise.\n  Did you mean advice?"),
        ("parser pause advise", "There is no parser advise.\n  Did you mean advice?"),
        ("contract show advise", "There is no contract advise.\n  Did you mean advice?"),
        ("outputs show advice", "There is no output advice.\n  Did you mean advices?"),
        ("quarantine show advice", "There is no quarantine of an output advice.\n  Did you mean advices?"),
        ("verify --sample 1 advice", "There is no output advice.\n  Did you mean advices?"),
        ("verify advice", "There is no output advice.\n  Did you mean advices?"),
        ("contract approve advise", "There is no contract advise.\n  Did you mean advice?"),
        ("contract reject advise@9 --reason x", "There is no contract advise@9."),
        (
            "tag fix nothing.txt",
            "fix is not in the file index.\n  There is no such file either. Give files first and the tag last",
        ),
        ("source rescan nothing", "There is no source nothing.\n  `casparian source list`"),
        ("rule remove nothing", "There is no rule nothing.\n  `casparian rule list`"),
        ("tag --tagged advise fix", "There is no tag advise.\n  Did you mean advice?"),
        ("config show retry.max_retry", "Did you mean retry.max_retries?"),
        ("process --tag advise", "There is no tag advise.\n  Did you mean advice?"),
    ],
)
def test_a_name_that_nobody_knows_is_refused_with_the_one_like_it(lived: Caller, line: str, said: str) -> None:
    told = lived(*line.split())

    assert (told.code, said in told.err) == (2, True), told.err


def test_help_takes_the_words_of_a_command(lived: Caller) -> None:
    assert lived("help", "job", "cancel").out == lived("job", "cancel", "--help").out
    assert lived("help").out == lived("--help").out


def test_the_help_groups_every_command_by_what_one_wants_to_do() -> None:
    grouped = [name for group in click.rich_click.COMMAND_GROUPS["casparian"] for name in group["commands"]]

    assert sorted(grouped) == sorted(casparian.list_commands(click.Context(casparian)))


def test_a_name_is_only_suggested_when_it_is_like() -> None:
    assert hint("FIX_ORDER", ["fix_orders", "hl7"]) == "Did you mean fix_orders? "
    assert hint("zebra", ["fix_orders", "hl7"]) == ""
    assert hint("x" * 100_000, ["fix_orders"]) == ""
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(number) for number in range(9)], most=3) == "0, 1 and 7 more"


@pytest.mark.parametrize(
    ("words", "at", "found"),
    [
        ("casparian pro", 1, "plain,process"),
        ("casparian job re", 2, "plain,rerun"),
        ("casparian jobs --stat", 2, "plain,--status"),
        ("casparian sql --format j", 3, "plain,json"),
    ],
)
def test_tab_completes_commands_options_and_values(words: str, at: int, found: str) -> None:
    environment = {**os.environ, "COMP_WORDS": words, "COMP_CWORD": str(at), "_CASPARIAN_COMPLETE": "bash_complete"}
    program = [sys.executable, "-c", "import sys; sys.argv[0] = 'casparian'; from casparian.main import main; main()"]

    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=True)

    assert found in done.stdout.splitlines()


def test_a_column_that_a_state_table_does_not_have_is_answered_with_the_nearest_and_a_command(lived: Caller) -> None:
    told = lived("sql", "select statuss from cf_jobs")

    assert (told.code, told.out) == (1, "")
    assert "There is no column statuss in cf_jobs." in told.err
    assert "Did you mean status?" in told.err and "`casparian sql 'describe cf_jobs'`" in told.err
    assert lived("sql", "describe cf_jobs").out.count("VARCHAR") > 3


@pytest.mark.parametrize(
    ("error", "problem", "remedy"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device.", "Free some space: `df` shows"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/in"),
            "/data/in: Permission denied.",
            "`ls -ld` shows who may write there",
        ),
        (
            OSError(errno.EXDEV, "Invalid cross-device link", "/a/x", None, "/b/x"),
            "/a/x → /b/x: Invalid cross-device link.",
            "Run again with -v for the traceback.",
        ),
    ],
)
def test_an_error_of_the_system_names_its_paths_and_a_remedy_that_fits(
    error: OSError, problem: str, remedy: str, capfd: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def failing() -> None:
        raise error

    assert run(failing, []) == ExitCode.FAILED
    said = capfd.readouterr().err.splitlines()
    assert said[0] == f"casparian: {problem}"
    assert said[1].startswith(f"  {remedy}")
