"""Casparian's errors: whether a failure is the parser's fault, and the code that programs see.

The classes are in `casparian_shim.errors`; `error_codes` explains each code. The core and the projection use the same rule for a
parser's own failures, so that tables agree with decisions. The code alone is not enough: a parser may run into a full disk, and
a worker may detect a fault of the parser.
"""

from __future__ import annotations

import re

from casparian_shim.errors import RETRYABLE_ONCE, TRANSIENT, CasparianError, ErrorCode, ErrorReport
from casparian_shim.trace import fingerprint

__all__ = [
    "NEVER_THE_PARSERS",
    "RETRYABLE_ONCE",
    "TRANSIENT",
    "CasparianError",
    "ErrorCode",
    "ErrorReport",
    "code_of",
    "code_of_name",
    "fingerprint_of_code",
    "is_parsers_own",
]

#: Codes that are never the parser's fault, whatever the origin: the machine, the disk, the input.
NEVER_THE_PARSERS = frozenset(code for code in ErrorCode if not code.nature.may_blame_parser)


def is_parsers_own(origin: str, code: str) -> bool:
    """Whether a failure (a `JobError` with these) counts against the parser."""
    return origin == "parser" and code not in NEVER_THE_PARSERS


def fingerprint_of_code(code: str) -> str:
    """The fingerprint of a failure of which only the code is known."""
    return fingerprint("", code, "", {})


_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def code_of(error: CasparianError) -> str:
    """The code that programs see for a refusal: the request's, the job's, or the name of the error's class."""
    code = str(getattr(error, "reply_code", "") or error.code)
    return code_of_name(type(error).__name__) if code == ErrorCode.UNKNOWN_ERROR else code


def code_of_name(name: str) -> str:
    """The name of an error's class as a code: `NoSentinel` is `NO_SENTINEL`."""
    return _WORD.sub("_", name).upper()
