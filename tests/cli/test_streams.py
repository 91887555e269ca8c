"""What the caller did to the standard streams, the locale and the screen is not a reason to fail."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from casparian.render import shares
from tests.cli.calls import call_process, longest_line

PARSER = """
name, version = "plain", "1"

def parse(path):
    yield {"line": open(path).read(), "at": path}
"""


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """`casparian …` in a shell; `$CASPARIAN` stands for the command."""
    command = f"{shlex.quote(sys.executable)} -m casparian"
    environment = {**os.environ, "CASPARIAN": command, "COLUMNS": "80"}
    words = ["bash", "-o", "pipefail", "-c", line]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("streams")
    assert shell(f"$CASPARIAN --home {root / 'home'} init").returncode == 0
    return root / "home"


@pytest.mark.parametrize(
    ("command", "closing"),
    [("jobs", "<&-"), ("jobs", ">&-"), ("jobs", "2>&-"), ("process --workers 1", "<&- >&- 2>&-")],
)
def test_closed_streams_are_as_good_as_the_null_device(home: Path, command: str, closing: str) -> None:
    done = shell(f"$CASPARIAN --home {home} {command} {closing}; echo ended with $? > {home}.status")

    assert Path(f"{home}.status").read_text() == "ended with 0\n"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["config show", "config show --json", "config path"])
def test_a_full_disk_below_stdout_is_said_in_two_lines(home: Path, command: str) -> None:
    """However little is written: a short answer is still in the buffer when the command has ended."""
    done = shell(f"$CASPARIAN --home {home} {command} > /dev/full")

    assert done.returncode == 1
    assert done.stderr.startswith("casparian: No space left on device.\n")
    assert len(done.stderr.splitlines()) == 2


def test_a_reader_that_has_seen_enough_is_no_failure(home: Path) -> None:
    done = shell(f"$CASPARIAN --home {home} sql 'select range as n from range(1000000)' --format csv | head -1")

    assert (done.returncode, done.stdout, done.stderr) == (0, '"n"\n', "")


def test_wrong_usage_is_said_in_two_lines_with_the_way_to_help(home: Path) -> None:
    answer = call_process(home, "jobs", "--frobnicate")

    assert answer.code == 2
    assert answer.err.splitlines() == [
        "casparian: No such option '--frobnicate'.",
        "  `casparian jobs --help` lists its commands and options.",
    ]


def test_a_name_that_is_no_text_is_still_one_json_document(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(PARSER)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/in\xff.txt")).write_text("x")

    done = shell(f"cd {tmp_path} && $CASPARIAN run plain.py in*.txt --json")

    assert done.returncode == 0
    assert json.loads(done.stdout)["inputs"][0]["input"] == "in\udcff.txt"


def test_a_locale_without_the_characters_gets_escapes(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(PARSER)
    (tmp_path / "in.txt").write_text("x")

    done = shell(f"cd {tmp_path} && LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 $CASPARIAN run plain.py in.txt")

    assert done.returncode == 0, done.stderr
    assert "in.txt \\u2192 plain 1" in done.stdout


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_tables_heed_columns_where_there_is_no_terminal(home: Path, columns: int) -> None:
    answer = call_process(home, "config", "show", columns=columns)

    assert answer.code == 0
    assert longest_line(answer.out) <= columns


def test_the_widest_columns_give_room_first() -> None:
    assert shares([8, 30, 6], room=44) == [8, 30, 6]
    assert shares([8, 30, 6], room=30) == [8, 16, 6]
    assert shares([8, 30, 6], room=12) == [4, 4, 4]
