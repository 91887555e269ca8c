"""How often a worker must be heard, and hear, under a lease of a given length. Pure; the sentinel tells, workers keep it."""

from __future__ import annotations

from dataclasses import dataclass

#: A lease sees at least so many beats, however seldom the setting asks for one.
BEATS_A_LEASE = 5
#: Of the lease: a worker that heard nothing for so long asks. A sentinel answers a hello in any state, beats it does not.
_QUESTION_SHARE = 0.25
#: Of the lease: a worker that heard nothing for so long takes its leases for lost; before anybody else may have them.
_LOST_SHARE = 0.8
#: Between two hellos of a worker that is not welcome yet.
_HELLO_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Rhythm:
    """All times in seconds. Each follows the lease, so that no setting makes a healthy worker lose one."""

    lease_seconds: float
    beat_seconds: float

    @classmethod
    def of(cls, heartbeat_seconds: float, lease_seconds: float) -> Rhythm:
        """A beat as often as the setting says, and often enough for the lease."""
        return cls(lease_seconds, min(heartbeat_seconds, lease_seconds / BEATS_A_LEASE))

    @property
    def hello_seconds(self) -> float:
        return min(_HELLO_SECONDS, self.lease_seconds / BEATS_A_LEASE)

    def must_ask(self, silent_seconds: float, since_hello_seconds: float) -> bool:
        """Whether to say hello again: nothing was heard for a while, nor asked."""
        return min(silent_seconds, since_hello_seconds) > _QUESTION_SHARE * self.lease_seconds

    def has_lost(self, silent_seconds: float) -> bool:
        """Whether a worker that heard nothing for so long must stop what it runs."""
        return silent_seconds > _LOST_SHARE * self.lease_seconds
