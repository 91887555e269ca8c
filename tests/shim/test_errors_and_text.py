"""Codes, reports, traces, fingerprints and the scrubbing of text."""

import csv
import errno
import json
import subprocess
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim.errors import (
    CasparianError,
    ErrorCode,
    ErrorReport,
    MalformedErrorReport,
    code_for_exception,
    retryable,
)
from casparian_shim.safe import scrub
from casparian_shim.trace import fingerprint, normalise_text, normalise_trace, raised_at


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyError("a"), ErrorCode.UNKNOWN_ERROR),
        (FileNotFoundError(), ErrorCode.FILE_NOT_FOUND),
        (PermissionError(), ErrorCode.PERMISSION_ERROR),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), ErrorCode.ENCODING_ERROR),
        (ValueError(), ErrorCode.INVALID_DATA),
        (InvalidOperation(), ErrorCode.INVALID_DATA),
        (csv.Error(), ErrorCode.INVALID_DATA),
        (MemoryError(), ErrorCode.MEMORY_ERROR),
        (OSError(errno.ENOSPC, "full"), ErrorCode.DISK_FULL),
        (ConnectionResetError(), ErrorCode.CONNECTION_RESET),
        (TimeoutError(), ErrorCode.TIMEOUT),
        (RecursionError(), ErrorCode.UNKNOWN_ERROR),
        (SystemExit(0), ErrorCode.UNKNOWN_ERROR),
        (MalformedErrorReport("x"), ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_each_exception_has_its_code(error: BaseException, code: ErrorCode) -> None:
    assert code_for_exception(error) is code


def test_only_what_the_environment_did_is_retried() -> None:
    assert {code.value for code in ErrorCode if retryable(code)} == {
        *("MEMORY_ERROR", "OOM_RISK", "TIMEOUT", "START_TIMEOUT", "INPUT_CHANGED", "WORKER_LOST", "DISK_FULL"),
        *("CONNECTION_RESET", "VENV_BUILD_FAILED", "SINK_UNAVAILABLE"),
    }


def test_a_report_survives_json() -> None:
    report = ErrorReport(ErrorCode.TIMEOUT, "E", "m", "t", {"a": 1, "b": None, "c": "x", "d": 1.5, "e": True}, True)

    assert ErrorReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {"code": "X"},
        {"code": "TIMEOUT", "message": 1},
        {"code": "TIMEOUT", "context": []},
        {"code": "TIMEOUT", "context": {"a": []}},
        {"code": "TIMEOUT", "retryable": "yes"},
        {"code": "TIMEOUT", "surprise": 1},
    ],
)
def test_a_report_of_other_types_is_refused(raw: object) -> None:
    with pytest.raises(MalformedErrorReport):
        ErrorReport.from_dict(raw)


def test_a_report_beyond_its_limits_is_cut_and_odd_numbers_become_text() -> None:
    context = {
        "far": 10**30,
        "nan": float("nan"),
        "long": "x" * 9_000,
        "endless": 10**5_000,
        "n" * 600: 1,
        "exact": 2**53 - 1,
    }
    report = ErrorReport.from_dict({"code": "TIMEOUT", "message": "m" * 20_000, "context": context})
    many = ErrorReport.from_dict({"code": "TIMEOUT", "context": {str(n): n for n in range(65)}})

    assert report.message == "m" * 16_384
    assert report.context["far"] == "1" + "0" * 30
    assert report.context["nan"] == "nan"
    assert report.context["long"] == "x" * 4_096
    assert report.context["endless"] == "an integer of 16,610 bits"
    assert report.context["exact"] == 2**53 - 1
    assert max(map(len, report.context)) == 512
    assert len(many.context) == 64


def test_an_error_says_what_to_do() -> None:
    error = CasparianError("It broke.", remedy="Mend it.")

    assert (error.problem, error.remedy, str(error)) == ("It broke.", "Mend it.", "It broke. Mend it.")


PARSER = """
import decimal, json

class Odd(Exception):
    pass

def deep(n):
    return deep(n - 1) if n else json.loads("{nope")

def parse(value):
    try:
        [deep(n) for n in [value]]
    except ValueError as cause:
        raise Odd(f"at {id(cause):#x}") from cause
"""


def _failure(folder: Path, depth: int, *, blank_lines: int) -> BaseException:
    folder.mkdir(parents=True)
    path = folder / "parser.py"
    path.write_text("\n" * blank_lines + PARSER)
    names: dict[str, object] = {"__name__": "parser"}
    exec(compile(path.read_text(), str(path), "exec"), names)
    try:
        names["parse"](depth)  # type: ignore[operator]
    except Exception as error:  # noqa: BLE001 - it is what the test is about
        return error
    raise AssertionError("it did not fail")


def test_a_trace_is_the_same_wherever_the_parser_lies_and_however_deep_it_went(tmp_path: Path) -> None:
    one = _failure(tmp_path / "a", 1, blank_lines=0)
    other = _failure(tmp_path / "b" / "c d", 50, blank_lines=9)

    assert normalise_trace(one) == normalise_trace(other)
    assert normalise_trace(one).splitlines() == [
        "parser.Odd",
        "  test_errors_and_text.py: _failure",
        "  parser.py: parse",
        "caused by json.decoder.JSONDecodeError",
        "  parser.py: parse",
        "  parser.py: deep",
        "  json: loads",
    ]
    place = raised_at(other)
    assert place is not None
    assert (place[0], place[2]) == ("parser.py", "parse")


def test_a_trace_is_never_longer_than_4_kib() -> None:
    kind = type("É" * 3_000, (Exception,), {})

    assert len(normalise_trace(kind()).encode()) <= 4096


def test_text_about_a_failure_loses_paths_lines_and_addresses() -> None:
    text = (
        'File "/home/x/dir/parser.py", line 17, in parse\n    ~~~^^^\n<object at 0x7f00aa> rel/dir/p.py C:\\a b\\q.py'
    )

    assert normalise_text(text) == 'File "parser.py", in parse\n<object at 0x…> p.py a b\\q.py'.replace("a b\\q", "a q")


def test_normalising_a_long_word_takes_no_quadratic_time() -> None:
    assert len(normalise_text("a" * 200_000)) == 200_000


def test_a_fingerprint_depends_on_the_cause_and_on_nothing_else() -> None:
    base = fingerprint("ValueError", "INVALID_DATA", "ValueError\n  parser.py: parse", {"line": 1, "file": "a"})

    assert len(base) == 16
    assert int(base, 16) >= 0
    assert base == fingerprint(
        "ValueError", ErrorCode.INVALID_DATA, "ValueError\n  /opt/x/parser.py: parse", {"file": "b", "line": 2}
    )
    assert base != fingerprint("KeyError", "INVALID_DATA", "ValueError\n  parser.py: parse", {"line": 1, "file": "a"})
    assert base != fingerprint("ValueError", "INVALID_DATA", "ValueError\n  parser.py: other", {"line": 1, "file": "a"})
    assert base != fingerprint(
        "ValueError", "INVALID_DATA", "ValueError\n  parser.py: parse", {"line": "1", "file": "a"}
    )


def test_only_the_first_4_kib_of_a_trace_count() -> None:
    assert fingerprint("E", "C", "x" * 4096, {}) == fingerprint("E", "C", "x" * 9000, {})


def test_hostile_text_becomes_visible() -> None:
    assert scrub("a\x1b[31m\u202eb\u200b\x9b\r\n\t\ud800\u2028\U000e0041é€😀") == (
        "a\\x1b[31m\\u202eb\\u200b\\x9b\\r\\n\\t\\ud800\\u2028\\U000e0041é€😀"
    )
    assert scrub("a\nb\r", keep_newlines=True) == "a\nb\\r"


@given(st.text())
def test_scrubbed_text_is_printable_utf8_and_scrubbing_twice_changes_nothing(text: str) -> None:
    once = scrub(text)

    assert scrub(once) == once
    once.encode("utf-8")
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in once)


def test_the_shared_words_need_neither_pyarrow_nor_anything_else_foreign() -> None:
    code = (
        "import sys\n"
        "import casparian_shim, casparian_shim.frames, casparian_shim.trace, casparian_shim.safe\n"
        "print('pyarrow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_decimal_failures_are_named_with_their_module() -> None:
    try:
        Decimal("x")
    except InvalidOperation as error:
        assert normalise_trace(error).splitlines()[0] == "decimal.InvalidOperation"
