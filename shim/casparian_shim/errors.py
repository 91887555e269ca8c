"""Error codes, what follows from each (retries, blame, who may report it), and the report of a failed parser.

This module uses only the standard library, because every process of Casparian uses these codes. `trace` turns tracebacks into
text, `safe` makes hostile text harmless, and `frames` sends reports over a socket. This module says whether a retry makes sense;
the sentinel decides when it happens.
"""

import errno
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from casparian_shim.safe import INT64_MAX, INT64_MIN

ContextValue = str | int | float | bool | None

NAME_CHARACTERS_MAX = 512
MESSAGE_CHARACTERS_MAX = 16 * 1024
TRACE_CHARACTERS_MAX = 4 * 1024
CONTEXT_ENTRIES_MAX = 64
CONTEXT_VALUE_CHARACTERS_MAX = 4 * 1024


@dataclass(frozen=True, slots=True)
class Nature:
    """The consequences of an error code."""

    #: Whether another attempt makes sense: not at all, one with more memory, or several later ones.
    retry: Literal["never", "once", "later"] = "never"
    #: Whether it may count against the parser. Other codes never do: the machine, the disk or the input is the cause.
    may_blame_parser: bool = True
    #: Whether a guest may report it; a guest that claimed another code could influence retries or blame.
    is_for_guests: bool = True


_FOUND_BY_WORKER = Nature(is_for_guests=False)
_MEMORY = Nature("once")
#: The environment failed.
_PASSES = Nature("later", may_blame_parser=False)
_PASSES_FOUND_BY_WORKER = Nature("later", may_blame_parser=False, is_for_guests=False)
#: It may pass but is the parser's own fault: it runs too long, or exits with the status that asks for a retry.
_PARSERS_OWN_PASSES = Nature("later")


class ErrorCode(StrEnum):
    """Why a job failed, in one word, and what follows from it. Code, log, CLI and console use the same codes."""

    _value_: str
    nature: Nature

    SCHEMA_MISMATCH = "SCHEMA_MISMATCH"
    FILE_NOT_FOUND = "FILE_NOT_FOUND", Nature(may_blame_parser=False)
    PERMISSION_ERROR = "PERMISSION_ERROR"
    ENCODING_ERROR = "ENCODING_ERROR"
    INVALID_DATA = "INVALID_DATA"
    UNKNOWN_ERROR = "UNKNOWN_ERROR"
    PARSER_ERROR = "PARSER_ERROR"
    DEPENDENCY_MISSING = "DEPENDENCY_MISSING"
    UNACCOUNTED = "UNACCOUNTED", _FOUND_BY_WORKER
    QUARANTINE_EXCEEDED = "QUARANTINE_EXCEEDED", _FOUND_BY_WORKER
    CONTRACT_MISSING = "CONTRACT_MISSING", _FOUND_BY_WORKER
    SANDBOX_UNAVAILABLE = "SANDBOX_UNAVAILABLE", _FOUND_BY_WORKER
    UNTRUSTED_ARTIFACT = "UNTRUSTED_ARTIFACT", _FOUND_BY_WORKER
    PROTOCOL_ERROR = "PROTOCOL_ERROR"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    OUTPUT_NAME = "OUTPUT_NAME"
    MEMORY_ERROR = "MEMORY_ERROR", _MEMORY
    OOM_RISK = "OOM_RISK", _MEMORY
    TIMEOUT = "TIMEOUT", _PARSERS_OWN_PASSES
    START_TIMEOUT = "START_TIMEOUT", _PASSES_FOUND_BY_WORKER
    INPUT_CHANGED = "INPUT_CHANGED", _PASSES_FOUND_BY_WORKER
    WORKER_LOST = "WORKER_LOST", _PASSES_FOUND_BY_WORKER
    DISK_FULL = "DISK_FULL", _PASSES
    CONNECTION_RESET = "CONNECTION_RESET", _PARSERS_OWN_PASSES
    VENV_BUILD_FAILED = "VENV_BUILD_FAILED", _PASSES_FOUND_BY_WORKER
    SINK_UNAVAILABLE = "SINK_UNAVAILABLE", _PASSES_FOUND_BY_WORKER
    #: An internal error of the sentinel.
    INTERNAL = "INTERNAL", _FOUND_BY_WORKER

    def __new__(cls, code: str, nature: Nature = Nature()) -> "ErrorCode":
        member = str.__new__(cls, code)
        member._value_ = code
        member.nature = nature
        return member


#: The job is tried once more, alone on its host, so that it can use more memory; a second such failure is final.
RETRYABLE_ONCE = frozenset(code for code in ErrorCode if code.nature.retry == "once")
#: The job is tried again later.
TRANSIENT = frozenset(code for code in ErrorCode if code.nature.retry == "later")


def retryable(code: ErrorCode) -> bool:
    """Whether another attempt may succeed (for `RETRYABLE_ONCE`: one other attempt)."""
    return code in TRANSIENT or code in RETRYABLE_ONCE


class CasparianError(Exception):
    """An error raised on purpose: it says what is wrong, and what the user can do about it."""

    #: The code with which a job fails if this error is not handled.
    code: ErrorCode = ErrorCode.UNKNOWN_ERROR
    #: Whether the home or its daemon could not be reached, so that nothing was tried.
    is_about_connecting: bool = False
    #: What distinguishes failures of this class (a status, an output, codes): part of the fingerprint, unlike the message.
    facts: Mapping[str, ContextValue] = {}

    def __init__(self, problem: str, *, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem} {self.remedy}".rstrip()


class MalformedErrorReport(CasparianError):
    """A peer sent an invalid error report."""

    code = ErrorCode.PROTOCOL_ERROR

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The error report is malformed: {reason}.",
            remedy="The sender is broken or hostile; its report was ignored.",
        )


_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})

# Named, not imported: these modules would slow down the start of every guest.
_CONVERSION_ERRORS = frozenset({("_csv", "Error"), ("struct", "error"), ("zlib", "error"), ("lzma", "LZMAError")})


def code_for_exception(error: BaseException) -> ErrorCode:
    """The code of the failed job for an exception of a parser or of Casparian."""
    match error:
        case CasparianError():
            return error.code
        case MemoryError():  # includes pyarrow's
            return ErrorCode.MEMORY_ERROR
        case FileNotFoundError():
            return ErrorCode.FILE_NOT_FOUND
        case PermissionError():
            return ErrorCode.PERMISSION_ERROR
        case ConnectionError():
            return ErrorCode.CONNECTION_RESET
        case TimeoutError():
            return ErrorCode.TIMEOUT
        case OSError(errno=number) if number in _NO_SPACE:
            return ErrorCode.DISK_FULL
        case OSError(errno=errno.EFBIG):
            return ErrorCode.LIMIT_EXCEEDED
        case UnicodeError():
            return ErrorCode.ENCODING_ERROR
        case ValueError() | ArithmeticError():
            return ErrorCode.INVALID_DATA
    if (type(error).__module__, type(error).__name__) in _CONVERSION_ERRORS:
        return ErrorCode.INVALID_DATA
    return ErrorCode.UNKNOWN_ERROR


#: In a parser these exceptions mean a bug in its code, or an assumption that the input violates.
_MISTAKES = (
    LookupError,
    AttributeError,
    TypeError,
    NameError,
    AssertionError,
    NotImplementedError,
    RecursionError,
    SyntaxError,
)


def code_for_parsers_exception(error: BaseException) -> ErrorCode:
    """The code for an exception that a parser raised: `code_for_exception`, plus bugs in its code and missing libraries."""
    if isinstance(error, ImportError):
        return ErrorCode.DEPENDENCY_MISSING
    code = code_for_exception(error)
    return ErrorCode.PARSER_ERROR if code is ErrorCode.UNKNOWN_ERROR and isinstance(error, _MISTAKES) else code


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """The facts about a failure. `trace` is normalised; `context` has only plain values."""

    code: ErrorCode
    exception: str
    message: str
    trace: str = ""
    context: Mapping[str, ContextValue] = field(default_factory=dict)
    retryable: bool = False

    def to_dict(self) -> dict[str, object]:
        """The report as a map for JSON or msgpack."""
        return {
            "code": self.code.value,
            "exception": self.exception,
            "message": self.message,
            "trace": self.trace,
            "context": dict(self.context),
            "retryable": self.retryable,
        }

    @classmethod
    def from_dict(cls, raw: object) -> "ErrorReport":
        """Read a report from a peer. Raises `MalformedErrorReport` for anything but a report.

        Long text is cut, and a number that readers would round becomes text, because the reason of a failure matters more than
        the report's form. `retryable` follows from the code, so a guest cannot cause retries by claiming it.
        """
        if not isinstance(raw, dict):
            raise MalformedErrorReport("it is not an object")
        unknown = raw.keys() - {"code", "exception", "message", "trace", "context", "retryable"}
        if unknown:
            raise MalformedErrorReport(f"it has {len(unknown)} unknown fields")
        try:
            code = ErrorCode(_text(raw, "code", NAME_CHARACTERS_MAX))
        except ValueError:
            raise MalformedErrorReport("its code is unknown") from None
        if not isinstance(raw.get("retryable", False), bool):
            raise MalformedErrorReport("retryable is not a boolean")
        return cls(
            code=code,
            exception=_text(raw, "exception", NAME_CHARACTERS_MAX),
            message=_text(raw, "message", MESSAGE_CHARACTERS_MAX),
            trace=_text(raw, "trace", TRACE_CHARACTERS_MAX),
            context=_context(raw.get("context", {})),
            retryable=retryable(code),
        )


def _text(raw: Mapping[object, object], name: str, characters_max: int) -> str:
    value = raw.get(name, "")
    if not isinstance(value, str):
        raise MalformedErrorReport(f"{name} is not text")
    return value[:characters_max]


def _context(raw: object) -> dict[str, ContextValue]:
    if not isinstance(raw, dict):
        raise MalformedErrorReport("context is not an object")
    context: dict[str, ContextValue] = {}
    for name, value in list(raw.items())[:CONTEXT_ENTRIES_MAX]:
        if not isinstance(name, str):
            raise MalformedErrorReport("a context key is not text")
        if not isinstance(value, str | int | float | bool | None):
            raise MalformedErrorReport(f"context value of type {type(value).__name__} is not plain")
        context[name[:NAME_CHARACTERS_MAX]] = bounded_value(value)
    return context


def bounded_value(value: ContextValue) -> ContextValue:
    """The value in a portable form: short text, and numbers that no reader rounds or refuses."""
    if isinstance(value, str):
        return value[:CONTEXT_VALUE_CHARACTERS_MAX]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not INT64_MIN <= value <= INT64_MAX:
        return _text_of_integer(value)
    return value


def _text_of_integer(value: int) -> str:
    """All digits if there are few; Python refuses to print thousands of digits."""
    return str(value) if value.bit_length() <= 256 else f"an integer of {value.bit_length():,} bits"
