"""The help: every command has one, in one voice, that fits 80 columns and is printed without loading what the command does."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import rich_click as click

from casparian.app import Group
from casparian.main import COMMANDS, casparian
from tests.cli.calls import Answer, Caller, call_process, longest_line

_COMMON = {"home", "json", "quiet", "verbose", "help", "version"}
#: Verbs that begin a help text. A new one belongs here when it is an imperative.
VERBS = frozenset({
    "add", "also", "answer", "approve", "begin", "bundle", "cancel", "check", "choose", "close", "compare",
    "connect", "continue", "count", "create", "cut", "draft", "draw", "end", "explain", "export", "find", "follow",
    "give", "hash", "import", "include", "instead", "leave", "let", "list", "manage", "move", "name", "overwrite", "pass",
    "pause", "play", "press", "print", "process", "put", "query", "queue", "read", "record", "register", "reject",
    "remove", "replace", "replay", "rerun", "reset", "resume", "retire", "rewrite", "run", "say", "scan", "select", "set",
    "show", "sign", "skip", "start", "stay", "stop", "tag", "take", "tell", "try", "turn", "use", "wait", "watch",
    "when", "with", "write",
})  # fmt: skip
#: Begins of help that say when an option counts, before the verb.
_CONDITIONS = re.compile(r"^(Instead of FILES|With --failed|With a filter on failures): ")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command, groups too, as it is called."""
    context = click.Context(group)
    for name in group.list_commands(context):
        _, command, _ = group.resolve_command(context, [name])
        assert command is not None
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = dict(commands(casparian))
LEAVES = {name: command for name, command in ALL.items() if not isinstance(command, click.Group)}


def options(command: click.Command) -> Iterator[click.Option]:
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden and parameter.name not in _COMMON:
            yield parameter


@pytest.fixture
def call(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Caller:
    monkeypatch.setenv("COLUMNS", "80")
    return Caller(tmp_path / "nowhere", capfd)


def first_word(text: str) -> str:
    return re.split(r"[^a-z]", _CONDITIONS.sub("", text).lower(), maxsplit=1)[0]


# --- every command ---


@pytest.mark.parametrize("name", ["", *ALL])
def test_every_command_has_a_help_that_fits_80_columns_and_needs_no_home(call: Caller, name: str) -> None:
    answer: Answer = call(*name.split(), "--help")
    assert (answer.code, answer.err) == (0, "")
    assert f"Usage: casparian {name}".rstrip() in answer.out
    assert longest_line(answer.out) <= 80
    assert not call.home.exists()


@pytest.mark.parametrize("name", LEAVES)
def test_a_command_says_what_it_does_first(name: str) -> None:
    text = LEAVES[name].help or ""
    sentence = text.split("\n\n")[0]
    assert first_word(sentence) in VERBS, sentence
    assert sentence.rstrip().endswith((".", '"')), sentence


@pytest.mark.parametrize("name", [name for name, command in ALL.items() if isinstance(command, Group)])
def test_a_group_says_what_its_commands_are_for(name: str) -> None:
    assert first_word(ALL[name].help or "") in VERBS, ALL[name].help


@pytest.mark.parametrize("name", LEAVES)
def test_an_option_says_what_to_do(name: str) -> None:
    for option in options(LEAVES[name]):
        text = option.help or ""
        assert text and text[0].isupper() and text.rstrip().endswith((".", ")")), (option.name, text)
        assert first_word(text) in VERBS, (option.name, text)


@pytest.mark.parametrize("name", LEAVES)
def test_an_option_with_a_value_names_it_and_its_unit(name: str) -> None:
    """`--limit N`: "at most N files"; seconds and bytes are named so."""
    for option in options(LEAVES[name]):
        if option.is_flag or option.metavar is None:
            continue
        if option.metavar in ("N", "SECONDS", "BYTES"):
            assert option.metavar in (option.help or ""), (option.name, option.help)
        if option.metavar == "SECONDS":
            assert "seconds" in (option.help or "").lower()


@pytest.mark.parametrize("name", LEAVES)
def test_a_number_says_what_it_is_without_the_option(name: str) -> None:
    """By itself, or in words: "(default: all)"."""
    for option in options(LEAVES[name]):
        if isinstance(option.type, click.IntRange | click.FloatRange) and "size" not in (option.name or ""):
            assert option.show_default or "(default: " in (option.help or ""), (option.name, option.help)


@pytest.mark.parametrize("name", LEAVES)
def test_the_examples_of_a_command_call_it(name: str) -> None:
    lines = [
        line.strip() for line in (LEAVES[name].epilog or "").splitlines() if line.strip().startswith("$ casparian")
    ]
    if name in ("config path", "tui"):
        return
    assert lines, name
    own = "console" if name == "tui" else name
    assert any(shlex.split(line.partition("#")[0])[2 : 2 + len(own.split())] == own.split() for line in lines), lines


@pytest.mark.parametrize("name", LEAVES)
def test_the_options_of_the_examples_exist(name: str) -> None:
    for line in (LEAVES[name].epilog or "").splitlines():
        if not line.strip().startswith("$ casparian"):
            continue
        words = shlex.split(line.strip().partition("  #")[0])[2:]
        known = {flag for parameter in LEAVES[name].params for flag in (*parameter.opts, *parameter.secondary_opts)}
        if words[: len(name.split())] != name.split():
            continue
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, (word, line)


# --- the overview ---


def test_the_overview_is_grouped_by_what_one_wants_to_do(call: Caller) -> None:
    out = call("--help").out
    places = [out.index(f"─ {wanted} ─") for wanted in COMMANDS]
    assert places == sorted(places)
    assert list(COMMANDS) == [
        "Get started",
        "Files",
        "Parsers and contracts",
        "Run the daemon",
        "Jobs and failures",
        "Data",
        "Proof and repair",
        "This installation",
    ]


def test_every_line_of_the_overview_is_the_command_in_brief(call: Caller) -> None:
    """What stands there is written beside the name, so that no command is loaded for it."""
    for name, (_module, line) in casparian.lazy.items():
        assert line.endswith("."), line
        assert first_word(line) in VERBS or line == "The same as `console`.", line
        assert len(line) <= 72, line
        assert name in ALL


def test_a_group_without_a_command_shows_its_help_and_under_json_refuses(call: Caller) -> None:
    shown = call_process(call.home, "errors")
    assert "Usage: casparian errors" in shown.out
    refused = call("--json", "errors")
    assert (refused.code, refused.document["error"]["code"]) == (2, "USAGE")
    assert refused.document["error"]["problem"] == "Missing command."


def test_the_same_words_stand_for_the_same_thing_everywhere() -> None:
    """One option, one text: --as-of, --force and --reason do not differ from command to command."""
    texts: dict[str, set[str]] = {}
    for command in LEAVES.values():
        for option in options(command):
            texts.setdefault("/".join(option.opts), set()).add(option.help or "")
    assert len(texts["--as-of"]) == 1
    assert all(text.startswith("Say why") for text in texts["--reason"])
    assert {text for text in texts["--force"] if "--sink" not in text} == {"Overwrite an existing file."}
