"""Failures in words: bounded, harmless, and blamed on whom they belong to."""

import errno
import os
import signal
from pathlib import Path

import pytest

from casparian_protocol.contract import PolicyBreach
from casparian_protocol.errors import ErrorCode, ErrorReport, is_parsers_own
from casparian_protocol.wire.messages import Fail, decode, encode
from casparian_worker.execute.failures import QuarantineExceeded, error_of_exit, of_exception, of_report
from casparian_worker.execute.files import InputUnreadable
from casparian_worker.guest import GuestExit


def test_the_largest_report_of_a_guest_fits_a_message() -> None:
    wide = "\U0001f40d"
    report = ErrorReport(
        ErrorCode.INVALID_DATA,
        exception=wide * 512,
        message=wide * 16_384,
        trace=wide * 4096,
        context={f"{wide * 400}{number}": wide * 4096 for number in range(64)},
    )
    encode(Fail(job_id="0" * 16, epoch=1, error=of_report(report, Path("/bundle"))))


@pytest.mark.parametrize(
    ("status", "cpu_seconds", "code"),
    [
        (0, 0.0, ErrorCode.PROTOCOL_ERROR),
        (1, 0.0, ErrorCode.UNKNOWN_ERROR),
        (2, 0.0, ErrorCode.CONNECTION_RESET),
        (76, 0.0, ErrorCode.PARSER_ERROR),
        (-signal.SIGXCPU, 10.0, ErrorCode.TIMEOUT),
        (-signal.SIGKILL, 12.0, ErrorCode.TIMEOUT),
        (-signal.SIGKILL, 1.0, ErrorCode.OOM_RISK),
        (-signal.SIGTERM, 1.0, ErrorCode.CONNECTION_RESET),
        (-signal.SIGXFSZ, 1.0, ErrorCode.LIMIT_EXCEEDED),
        (-signal.SIGSEGV, 1.0, ErrorCode.UNKNOWN_ERROR),
    ],
)
def test_an_end_is_classified_by_its_cause(status: int, cpu_seconds: float, code: ErrorCode) -> None:
    error = error_of_exit(GuestExit(status, cpu_seconds, 0), cpu_seconds=10)
    assert error.code is code
    if status == -signal.SIGSEGV:
        assert "SIGSEGV" in str(error)


@pytest.mark.parametrize(
    ("status", "origin"),
    [
        (1, "parser"),
        (2, "parser"),
        (-signal.SIGSEGV, "parser"),
        (-signal.SIGKILL, "environment"),
        (-signal.SIGTERM, "environment"),
    ],
)
def test_whoever_kills_a_guest_from_outside_does_not_blame_its_parser(status: int, origin: str) -> None:
    error = of_exception(error_of_exit(GuestExit(status, 0.0, 0), cpu_seconds=10))
    assert (error.origin, is_parsers_own(error.origin, error.code)) == (origin, origin == "parser")


def test_a_guest_that_somebody_killed_is_tried_again() -> None:
    """The kernel short of memory (once, with fewer slots), or a service manager that stops everything of ours."""
    ended = [error_of_exit(GuestExit(-number, 0.0, 0), cpu_seconds=10) for number in (signal.SIGKILL, signal.SIGTERM)]
    assert [of_exception(error).retryable for error in ended] == [True, True]


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_place_of_ours_that_takes_no_files_is_no_missing_input(number: int) -> None:
    error = of_exception(OSError(number, os.strerror(number), ".staging/1-2/data.parquet"), "environment")
    assert (error.code, error.retryable) == ("SINK_UNAVAILABLE", True)


def test_an_input_that_is_gone_is_not_waited_for() -> None:
    error = of_exception(InputUnreadable("/data/1.fix", FileNotFoundError(errno.ENOENT, "gone")), "environment")
    assert (error.code, error.retryable) == ("FILE_NOT_FOUND", False)


def test_a_full_disk_is_nobodys_fault() -> None:
    error = of_exception(OSError(28, "No space left on device"))
    assert (error.code, error.origin, error.retryable) == ("DISK_FULL", "environment", True)


def _ended_with(status: int) -> str:
    return of_exception(error_of_exit(GuestExit(status, 0.0, 0), cpu_seconds=10)).fingerprint


def test_each_exit_status_and_each_signal_has_a_fingerprint_of_its_own() -> None:
    statuses = [
        0,
        1,
        2,
        7,
        255,
        -signal.SIGSEGV,
        -signal.SIGABRT,
        -signal.SIGBUS,
        -signal.SIGKILL,
        -signal.SIGTERM,
        -60,
    ]
    assert len({_ended_with(status) for status in statuses}) == len(statuses)
    assert _ended_with(7) == _ended_with(7)


def test_what_an_end_was_is_context_for_people_and_programs() -> None:
    killed, left = (error_of_exit(GuestExit(status, 0.0, 0), cpu_seconds=10) for status in (-signal.SIGSEGV, 7))
    assert of_exception(killed).context == {"signal": "SIGSEGV"}
    assert of_exception(left).context == {"exit_status": 7}


def test_an_exceeded_quarantine_is_known_by_its_output_and_its_codes() -> None:
    def exceeded(output: str, reason: str, *codes: str) -> str:
        return of_exception(QuarantineExceeded(output, PolicyBreach("max_count", reason), codes)).fingerprint

    base = exceeded("orders", "11 rows are bad, 10 may be", "not_an_integer", "required")
    assert exceeded("orders", "99 rows are bad, 10 may be", "required", "not_an_integer") == base
    others = {
        exceeded("trades", "11 rows are bad, 10 may be", "not_an_integer", "required"),
        exceeded("orders", "11 rows are bad, 10 may be", "required"),
        base,
    }
    assert len(others) == 3


@pytest.mark.parametrize(
    "value",
    [10**30, -(10**30), 10**5_000, float("nan"), float("inf"), "\ud800", "x" * 10**6],
    ids=["far", "far below", "endless", "nan", "inf", "half a character", "long"],
)
def test_no_value_in_a_report_keeps_a_failure_from_being_told(value: str | float) -> None:
    report = ErrorReport(
        ErrorCode.INVALID_DATA,
        "E",
        "the parser's own words",
        context={"odd": value, "fine": 1, "file": value, "line": value, "input_line": value, "module": value},
    )
    told = Fail(job_id="0" * 16, epoch=1, error=of_report(report, Path("/bundle")))
    heard, _ = decode(encode(told))
    assert heard == told
    assert (told.error.code, told.error.message) == ("INVALID_DATA", "E: the parser's own words")
    assert told.error.context["fine"] == 1


@pytest.mark.parametrize("number", [errno.ECHILD, errno.EAGAIN, errno.EMFILE, errno.ENOMEM])
def test_what_a_worker_lacks_for_its_own_processes_is_no_fault_of_a_sink(number: int) -> None:
    error = of_exception(OSError(number, os.strerror(number)), "environment")
    assert (error.code, error.origin, error.retryable) == ("CONNECTION_RESET", "environment", True)


def test_the_line_of_the_input_is_no_part_of_the_cause() -> None:
    marks = {
        of_report(
            ErrorReport(ErrorCode.PARSER_ERROR, "KeyError", "'x'", "KeyError", {"file": "p.py", **more}),
            Path("/bundle"),
        ).fingerprint
        for more in ({}, {"input_line": 3}, {"input_line": 4})
    }
    assert len(marks) == 1


def test_a_file_that_the_bundle_left_out_is_told_with_the_include_that_brings_it() -> None:
    def said(named: str) -> str:
        message = f"[Errno 2] No such file or directory: {named!r}"
        report = ErrorReport(ErrorCode.FILE_NOT_FOUND, "FileNotFoundError", message, "", {})
        return of_report(report, Path("/bundle")).message

    told = said("/bundle/tables/codes.csv")
    assert "The parser's bundle does not contain tables/codes.csv" in told
    assert 'name it there with `include = ["tables/codes.csv"]` and register a new version.' in told
    assert "include" not in said("/elsewhere/codes.csv")
