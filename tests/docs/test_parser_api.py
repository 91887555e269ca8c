"""The parser API's page: its examples run in real guests and print what it says, and it names everything there is.

`python -m tests.docs.test_parser_api` puts the true output below each command of the page.
"""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import pytest

import casparian_shim
from casparian_protocol.parsers.source import METADATA_FIELDS
from casparian_shim import Context, readers
from casparian_shim.errors import code_for_parsers_exception
from casparian_shim.readers.tape import SKIP_REASONS
from tests.cli.calls import Caller
from tests.end_to_end.tutorial import play

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "parser-api.md"
TEXT = PAGE.read_text("utf-8")
#: Members of `Context` that the guest calls, not the parser.
_GUESTS_OWN = frozenset({"close", "finish"})


def test_every_example_prints_what_the_page_says(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    call = Caller(tmp_path / "home", capfd)

    def run_here(command: str, directory: Path, _environment: dict[str, str]) -> list[str]:
        answer = call(*shlex.split(command)[1:])
        return shown(answer.out, answer.err, directory)

    assert play(TEXT, tmp_path, run_here) == TEXT, "run: python -m tests.docs.test_parser_api"


def run_apart(command: str, directory: Path, environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        shlex.split(command), cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    return shown(done.stdout, done.stderr, directory)


def shown(out: str, err: str, directory: Path) -> list[str]:
    """The rows, then what was said about them."""
    return f"{out}{err}".replace(f"{directory}/", "").splitlines()


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_member_of_ctx_is_there_with_its_arguments_and_no_other() -> None:
    rows = re.findall(r"^\| `ctx\.(\w+)(\([^`]*\))?` \|", section("ctx"), re.MULTILINE)
    expected = {}
    for name, member in vars(Context).items():
        if name.startswith("_") or name in _GUESTS_OWN:
            continue
        is_method = inspect.isfunction(member)
        expected[name] = _call_of(member, without_self=True) if is_method else ""
    expected["log"] = ""  # set in __init__
    assert dict(rows) == expected


def test_every_name_of_the_sdk_is_there_with_its_arguments_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `(\w+)(\([^`]*\))?` \|", section("casparian_shim"), re.MULTILINE))
    named = {name: getattr(casparian_shim, name) for name in casparian_shim.__all__}
    expected = {
        name: _call_of(value) if inspect.isfunction(value) else rows.get(name, "?") for name, value in named.items()
    }
    assert rows == expected


def test_every_name_for_authors_of_readers_is_there_with_its_arguments_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `(\w+)(\([^`]*\))?` \|", section("casparian_shim.readers"), re.MULTILINE))
    named = {name: getattr(readers, name) for name in readers.__all__}
    expected = {}
    for name, value in named.items():
        is_called = inspect.isfunction(value) or rows.get(name)
        expected[name] = _call_of(value) if is_called else ""
    assert rows == expected


def test_the_readers_page_names_every_kind_of_skip_for_authors() -> None:
    told = re.search(r"^\| `What` \| (.*) \|$", section("casparian_shim.readers"), re.MULTILINE)
    assert told is not None
    engines_own = {readers.What.BYTE_ORDER_MARK, readers.What.READ_BY_PARSER}
    assert set(re.findall(r"`(\w+)`", told[1])) == {what.name for what in SKIP_REASONS.keys() - engines_own}


def test_every_metadata_literal_is_there_and_no_other() -> None:
    assert re.findall(r"^\| `(\w+)` \|", section("Metadata"), re.MULTILINE) == list(METADATA_FIELDS)


def test_exceptions_have_the_codes_that_the_page_gives() -> None:
    builtin = vars(__builtins__) if inspect.ismodule(__builtins__) else __builtins__
    checked = 0
    for names, codes in re.findall(
        r"^\| ([A-Z]\w+Error.*?) \| (.*) \|$", section("When a parser raises"), re.MULTILINE
    ):
        kinds = [builtin[name] for name in re.findall(r"\b[A-Z]\w+Error\b", names) if name != "OSError"]
        given = re.findall(r"`(\w+)`", codes)
        for kind, code in zip(kinds, given if len(given) == len(kinds) else given * len(kinds), strict=True):
            error = UnicodeDecodeError("utf-8", b"x", 0, 1, "bad") if kind is UnicodeError else kind("x")
            assert code_for_parsers_exception(error) == code, kind
            checked += 1
    assert checked > 15


def _call_of(function: object, *, without_self: bool = False) -> str:
    """`(source, *, encoding="utf-8")`: the arguments and defaults of a function, without types."""
    assert callable(function)
    signature = inspect.signature(function)
    parameters = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    plain = signature.replace(
        parameters=parameters[1:] if without_self else parameters, return_annotation=inspect.Signature.empty
    )
    return re.sub(r"'(\"|[^'\"]*)'", lambda found: found[0] if found[1] == '"' else f'"{found[1]}"', str(plain))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as room:
        PAGE.write_text(play(TEXT, Path(room), run_apart), encoding="utf-8")
