"""What is known about the failures of one parser version, and whether they hold its jobs back.

A breaker exists from the first failure of the parser's own making on, until a success. Closed, it counts; open, nothing
of its version is leased; half-open, one job at a time may try. Only `evolve` changes it; who judges is `decide_breaker`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

CLOSED = "closed"
OPEN = "open"
HALF_OPEN = "half_open"
#: Distinct things are remembered up to here; no threshold is above it (`BreakerSettings`).
REMEMBERED = 100


def lane_of(parser: str, version: str) -> str:
    """The lane of the ready queue that jobs of this parser version wait in."""
    return f"{parser}@{version}"


@dataclass(slots=True)
class Breaker:
    """Failures since the last success, one after the other."""

    parser: str
    version: str
    state: str = CLOSED
    failures: int = 0
    #: Different causes, the first two: more than one says that it is not one accident over and over.
    fingerprints: list[str] = field(default_factory=list)
    #: Different contents that it failed on, shortened.
    files: list[str] = field(default_factory=list)
    #: When and why it opened last; the time is µs UTC.
    opened_at: int = 0
    reason: str = ""
    #: The job that tries while it is half-open; "" while none is leased.
    probe: str = ""

    @property
    def lane(self) -> str:
        return lane_of(self.parser, self.version)

    def count(self, fingerprint: str, content: str) -> None:
        """One more failure."""
        self.failures += 1
        if len(self.fingerprints) < 2 and fingerprint not in self.fingerprints:
            self.fingerprints.append(fingerprint)
        if len(self.files) < REMEMBERED and content not in self.files:
            self.files.append(content)

    def forget(self) -> None:
        """A success: nothing that failed before counts any more."""
        self.failures = 0
        self.fingerprints.clear()
        self.files.clear()

    def is_beyond(self, failures: int) -> bool:
        """Whether so many failures are enough: by more than one cause, or each on another file."""
        return self.failures >= failures and (len(self.fingerprints) > 1 or len(self.files) >= failures)
