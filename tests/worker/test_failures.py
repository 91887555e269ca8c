"""Failures in words: bounded, harmless, and blamed on whom they belong to."""

import errno
import os
import signal

import pytest

from casparian_protocol.blame import is_parsers_own
from casparian_protocol.codec import encode
from casparian_protocol.errors import ErrorCode, ErrorReport
from casparian_protocol.messages import Fail
from casparian_worker.execute.failures import error_of_exit, of_exception, of_report
from casparian_worker.execute.source import InputUnreadable
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
    encode(Fail(job_id="0" * 16, epoch=1, error=of_report(report)))


@pytest.mark.parametrize(
    ("status", "cpu_seconds", "code"),
    [
        (0, 0.0, ErrorCode.PROTOCOL_ERROR),
        (1, 0.0, ErrorCode.UNKNOWN_ERROR),
        (2, 0.0, ErrorCode.CONNECTION_RESET),
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
    assert (error.origin, is_parsers_own(error.model_dump())) == (origin, origin == "parser")


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
