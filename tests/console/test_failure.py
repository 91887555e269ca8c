"""How a failure is explained, in Jobs and at the Parser Bench alike."""

from __future__ import annotations

import pytest

from casparian_console.canvas import plain
from casparian_console.screens.failure import Failure, context_of, failure_lines
from casparian_protocol.errors import ErrorCode


def told(failure: Failure, width: int = 60) -> list[str]:
    return [plain(line).rstrip() for line in failure_lines(failure, width)]


def test_a_failure_names_the_line_then_what_to_try_then_the_traceback_in_red() -> None:
    failure = Failure(
        code="PARSER_ERROR",
        message="'price'",
        exception="KeyError",
        fingerprint="ERR-1a2b3c4d",
        trace='Traceback:\n\n  File "fix.py", line 7, in parse\nKeyError: price',
        context={"file": "fix.py", "line": 7, "function": "parse", "read_line": 1000},
    )

    assert told(failure) == [
        "PARSER_ERROR  KeyError  ERR-1a2b3c4d",
        "'price'",
        "at fix.py:7 in parse",
        "read line: 1000",
        "Try: The input lacks a key that the code expects: use .get,",
        "or ctx.reject the row with a reason.",
        "  Traceback:",
        '    File "fix.py", line 7, in parse',
        "  KeyError: price",
    ]
    assert all(style == "bad" for line in failure_lines(failure, 60)[-3:] for style, _ in line)


def test_a_remedy_is_a_command_of_this_job_and_this_parser() -> None:
    failure = Failure(code="PARSER_ERROR", names={"ID": "3f2a91c0", "PARSER": "fix", "FILE": "/data/a.log"})

    assert "`casparian job show 3f2a91c0`" in failure.suggestion
    assert "`casparian run fix /data/a.log`" in failure.suggestion


@pytest.mark.parametrize("code", [code.value for code in ErrorCode])
def test_every_code_has_something_to_try(code: str) -> None:
    assert Failure(code=code).suggestion


@pytest.mark.parametrize(("text", "known"), [(None, {}), ("", {}), ("{", {"context": "{"}), ('{"row": 4}', {"row": 4})])
def test_a_context_that_cannot_be_read_is_shown_as_it_is(text: str | None, known: dict[str, object]) -> None:
    assert context_of(text) == known


def test_a_code_that_this_version_does_not_know_still_gets_advice() -> None:
    assert "breakpoint()" in Failure(code="OF_TOMORROW").suggestion
