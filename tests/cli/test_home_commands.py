"""init, new, config and preview, as their users call them."""

import os
import re
import shlex
import stat
from pathlib import Path

import pytest

from casparian_protocol.home import Home
from casparian_protocol.settings import known_keys
from casparian_sentinel import HomeLock
from tests.cli.calls import Answer, Caller, call_process, longest_line
from tests.crash.mounts import read_only


@pytest.fixture
def call(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Caller:
    monkeypatch.setenv("COLUMNS", "80")
    return Caller(tmp_path / "home", capfd)


def test_init_makes_a_private_home_and_says_what_it_made(call: Caller) -> None:
    answer = call("init")

    assert (answer.code, answer.out) == (0, "")
    assert "created the home, config.toml, the signing key" in answer.err
    assert stat.S_IMODE(call.home.stat().st_mode) == 0o700
    assert stat.S_IMODE((call.home / "run" / "keys" / "home.ed25519").stat().st_mode) == 0o600
    assert "[limits]" in (call.home / "config.toml").read_text()


def test_init_twice_leaves_all_as_it_is(call: Caller) -> None:
    first = call("init", "--json").document
    (call.home / "config.toml").write_text("[retry]\nmax_retries = 9\n")
    (call.home / "outputs").rmdir()

    second = call("init", "--json").document

    assert second == {**first, "made": ["its directories (outputs)"]}
    assert (call.home / "config.toml").read_text() == "[retry]\nmax_retries = 9\n"


def test_init_does_not_move_into_a_directory_of_other_files(call: Caller) -> None:
    call.home.mkdir()
    (call.home / "thesis.tex").touch()

    answer = call("init")

    assert answer.code == 1
    assert answer.err == (
        f"casparian: {call.home} is not empty and is not a Casparian home.\n"
        "  Name a new or empty directory with --home.\n"
    )
    assert os.listdir(call.home) == ["thesis.tex"]


@pytest.mark.parametrize("words", ["init", "doctor", "start", "status", "config path", "config show", "log verify"])
def test_a_file_is_refused_as_a_home_by_every_command(call: Caller, words: str) -> None:
    call.home.touch()
    assert call(*words.split()) == Answer(
        3,
        "",
        f"casparian: {call.home} is not a valid home: it is a file.\n  Name a directory with --home or CASPARIAN_HOME.\n",
    )


def test_a_home_below_a_file_is_refused_by_the_file(call: Caller) -> None:
    call.home.touch()
    below = Caller(call.home / "a" / "b", call._capfd)
    for words in ("init", "doctor"):
        assert below(words).err.startswith(f"casparian: {below.home} is not a valid home: {call.home} is a file.\n")


def test_a_second_daemon_is_refused_before_it_says_that_it_runs(call: Caller) -> None:
    call("init")
    lock = Home(call.home).lock_file
    with HomeLock.acquire(lock):
        assert call_process(call.home, "start", "--no-workers") == Answer(
            3,
            "",
            f"casparian: A running daemon (pid {os.getpid()}) holds {lock}.\n"
            "  Stop it with `casparian stop`, or name another home with --home.\n",
        )


@pytest.mark.parametrize("has_lock_file", [True, False])
def test_a_read_only_home_is_verified_and_called_read_only(lived: Caller, has_lock_file: bool) -> None:
    lock = Home(lived.home).lock_file
    if not has_lock_file:
        lock.unlink()
    with read_only(lived.home):
        verified = lived("log", "verify", "--tables")
        doctor = {each["check"]: each for each in lived("doctor", "--json").document}
        jobs = lived("jobs")

    assert verified.code == 0, verified
    assert "tables equal to a replay of" in verified.out
    assert (doctor["home"]["verdict"], doctor["home"]["seen"]) == ("fail", f"{lived.home} cannot be written")
    assert jobs == Answer(
        3,
        "",
        f"casparian: The home cannot be opened: {lock} cannot be written: Read-only file system.\n"
        "  `ls -ld` and `mount` show why. Without writing, `casparian log verify` and commands with --as-of read it.\n",
    )


def test_init_warns_when_others_can_enter(call: Caller) -> None:
    call.home.mkdir(mode=0o755)
    assert f"chmod 700 {call.home}" in call("init").err


def test_config_shows_values_and_where_they_came_from(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    call("init")
    (call.home / "config.toml").write_text("[retry]\nmax_retries = 9\n")
    monkeypatch.setenv("CASPARIAN_LIMITS__WALL_SECONDS", "60")

    shown = call("config", "show", "--json").document

    assert shown["retry.max_retries"]["value"] == 9
    assert shown["retry.max_retries"]["from"] == str(call.home / "config.toml")
    assert shown["retry.max_retries"]["built_in"] == 3
    assert shown["limits.wall_seconds"]["from"] == "CASPARIAN_LIMITS__WALL_SECONDS"
    assert shown["log.segment_bytes"]["from"] == "built-in"
    assert [line.split()[:2] for line in call("config", "show", "retry").out.splitlines()[2:]] == [
        ["retry.max_retries", "9"],
        ["retry.backoff_seconds", "[1.0,"],
        ["retry.max_worker_losses", "3"],
    ]


def test_config_names_the_nearest_setting(call: Caller) -> None:
    answer = call("config", "show", "limts")
    assert (answer.code, answer.err) == (
        2,
        "casparian: There is no setting or group 'limts'.\n  Did you mean limits?\n",
    )

    call("init")
    (call.home / "config.toml").write_text("[retry]\nmax_retry = 9\n")
    answer = call("config", "check")
    assert answer.code == 1
    assert "There is no setting retry.max_retry" in answer.err
    assert "Did you mean retry.max_retries?" in answer.err


def test_config_check_counts_and_path_prints_nothing_but_the_path(call: Caller) -> None:
    assert call("config", "path").out == f"{call.home / 'config.toml'}\n"
    assert call("config", "check", "--json").document == {
        "ok": True,
        "settings": len(known_keys()),
        "changed": {},
        "ignored": [],
    }


def test_new_parser_is_drafted_from_a_sample_and_never_overwrites(call: Caller, tmp_path: Path) -> None:
    sample = tmp_path / "trades.csv"
    sample.write_text("id,day\n1,2024-05-31\n2,2024-06-01\n")
    written = ["trades.py", "tests/trades.csv", "tests/trades.expected.json"]

    answer = call("new", "parser", "trades", "--from", str(sample), "--dir", str(tmp_path / "parsers"))

    assert answer.code == 0
    assert answer.out.splitlines() == [str(tmp_path / "parsers" / "trades" / name) for name in written]
    assert '{"name": "day", "type": "date"}' in (tmp_path / "parsers/trades/trades.py").read_text()
    again = call("new", "parser", "trades", "--dir", str(tmp_path / "parsers"))
    assert again.code == 1
    assert "already exists" in again.err


@pytest.mark.parametrize("kind", ["x12", "evtx", "nacha"])
def test_the_line_to_try_a_new_premade_parser_reads_its_sample(call: Caller, tmp_path: Path, kind: str) -> None:
    answer = call("new", "parser", "mine", "--premade", kind, "--dir", str(tmp_path))

    (line,) = re.findall("Try it: +casparian (.*)", answer.err)
    tried = call(*shlex.split(line), "--json")
    assert tried.code == 0
    (read,) = tried.document["inputs"]
    assert read["status"] == "success"
    assert sum(output["valid"] for output in read["outputs"].values()) > 3


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["Trades"], 1, "'Trades' is not a valid parser name."),
        (["trades", "--from", "/nowhere.csv"], 2, "/nowhere.csv: No such file or directory."),
    ],
)
def test_new_parser_says_what_it_refuses(call: Caller, arguments: list[str], code: int, problem: str) -> None:
    answer = call("new", "parser", *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith(f"casparian: {problem}")


def test_preview_shows_kind_types_and_records_and_names_columns_without_room(call: Caller, tmp_path: Path) -> None:
    file = tmp_path / "wide.csv"
    file.write_text("id," + ",".join(f"column_{n}" for n in range(20)) + "\n1," + ",".join(["value"] * 20) + "\n")

    answer = call("preview", str(file))

    assert answer.code == 0
    assert "kind       delimited" in answer.out
    assert longest_line(answer.out.partition("\n\n")[2]) <= 80
    assert "more columns: column_" in answer.err
    assert call("preview", str(file), "--json").document["columns"][0] == {"name": "id", "type": "int64"}


def test_preview_shows_nothing_that_a_terminal_would_obey(call: Caller, tmp_path: Path) -> None:
    file = tmp_path / "evil\x1b[31m.csv"
    file.write_text("a,b\n\x1b]0;owned\x07,\u202etxt\n1,2\n")
    for option in ((), ("--raw",), ("--hex",), ("--json",)):
        answer = call("preview", str(file), *option)
        assert answer.code == 0
        assert not set(answer.out + answer.err) & {"\x1b", "\x07", "\u202e"}
    answer = call("preview", str(file) + "no")
    assert answer.code == 2
    assert "\x1b" not in answer.err


def test_preview_hex_and_raw_are_bounded_by_n(call: Caller, tmp_path: Path) -> None:
    file = tmp_path / "f.bin"
    file.write_bytes(bytes(range(256)))
    assert call("preview", str(file), "--hex", "-n", "2").out.splitlines()[1].startswith("00000010  10 11 12")
    assert call("preview", str(file), "--hex", "--raw").code == 2


def test_the_command_line_runs_as_a_program(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert call_process(home, "init").code == 0
    help_page = call_process(home, "preview", "--help")
    assert "$ casparian preview venue.log --raw -n 5\n" in "".join(
        line.rstrip() + "\n" for line in help_page.out.splitlines()
    )
    assert longest_line(help_page.out) <= 80
    assert call_process(home, "preview").code == 2
