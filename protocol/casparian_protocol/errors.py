"""Errors of our own, for everybody above the shim: whose making a failure is, and the code that programs are told.

The classes live in `casparian_shim.errors`; what each code means to people is `error_codes`'. The core and the projection count
failures of a parser's own making by the same rule, so that what is shown is what was judged. A code alone does not tell: a
parser may run into a full disk, and a worker may find what a parser did.
"""

from __future__ import annotations

import re

from casparian_shim.errors import RETRYABLE_ONCE, TRANSIENT, CasparianError, ErrorCode, ErrorReport
from casparian_shim.trace import fingerprint

__all__ = [
    "NEVER_THE_PARSERS",
    "RETRYABLE_ONCE",
    "CasparianError",
    "ErrorCode",
    "ErrorReport",
    "code_of",
    "code_of_name",
    "fingerprint_of_code",
    "is_parsers_own",
]

#: What a parser does by itself although it may pass: it runs too long, or ends with the status that asks for a retry.
_PARSERS_OWN_TRANSIENT = frozenset({ErrorCode.TIMEOUT, ErrorCode.CONNECTION_RESET})
#: Never a parser's making, whoever says so: the machine, the disk, the input.
NEVER_THE_PARSERS: frozenset[ErrorCode] = (TRANSIENT - _PARSERS_OWN_TRANSIENT) | {ErrorCode.FILE_NOT_FOUND}


def is_parsers_own(origin: str, code: str) -> bool:
    """Whether a failure (a `JobError` with these) says something about the parser."""
    return origin == "parser" and code not in NEVER_THE_PARSERS


def fingerprint_of_code(code: str) -> str:
    """The fingerprint of a failure of which nothing but its code is known."""
    return fingerprint("", code, "", {})


_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def code_of(error: CasparianError) -> str:
    """The code under which a refusal is told to programs: the request's, the job's, or the name of the error's class."""
    code = str(getattr(error, "reply_code", "") or error.code)
    return code_of_name(type(error).__name__) if code == ErrorCode.UNKNOWN_ERROR else code


def code_of_name(name: str) -> str:
    """The name of an error's class as a code: `NoSentinel` is `NO_SENTINEL`."""
    return _WORD.sub("_", name).upper()
