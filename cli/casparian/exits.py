"""What a command's end means to the shell that called it."""

from __future__ import annotations

from enum import IntEnum

from casparian_protocol.errors import CasparianError


class ExitCode(IntEnum):
    OK = 0
    #: The work failed.
    FAILED = 1
    #: The command was called wrongly.
    USAGE = 2
    #: No sentinel answers, or the home cannot be opened.
    NO_SENTINEL = 3
    INTERRUPTED = 130


class UsageProblem(CasparianError):
    """The command was called in a way that cannot be meant; exit 2."""


class WorkFailed(CasparianError):
    """The command ran and the work it stands for failed; exit 1."""


class NoDaemon(CasparianError):
    """The command needs a running daemon and there is none; exit 3."""
