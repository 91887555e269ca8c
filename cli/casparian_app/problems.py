"""The three ways in which a use case can fail, whatever the front end: called wrongly, no daemon, the work failed.

A front end decides what each means to its user: the command line ends with status 2, 3 and 1.
"""

from __future__ import annotations

from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home


class UsageProblem(CasparianError):
    """The command was called in a way that cannot be meant. Exit code 2."""

    @property
    def reply_code(self) -> str:
        """USAGE, as for a command line that cannot be read; a subclass goes by its own name."""
        return "USAGE" if type(self) is UsageProblem else ""


class WorkFailed(CasparianError):
    """The command ran, and its work failed. Exit code 1."""


class NoDaemon(CasparianError):
    """There is no running daemon, or no home, to ask."""


class NoHome(NoDaemon):
    """There is no home where one was named."""

    def __init__(self, home: Home) -> None:
        super().__init__(
            f"There is no home at {home.root}.",
            remedy="`casparian init` makes one; --home or CASPARIAN_HOME names another.",
        )
