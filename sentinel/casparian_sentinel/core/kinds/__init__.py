"""How the core treats each kind of job: one object for each kind, all with the same few methods (`JobKind`).

A kind is one file here and one line in `KINDS`. What all jobs have in common (queueing, leases, retries, states) is decided
elsewhere, without asking about the kind.
"""

from __future__ import annotations

from typing import Any

from casparian_protocol.jobs.kinds import Work
from casparian_sentinel.core.kinds.kind import JobKind
from casparian_sentinel.core.kinds.parse import Parse
from casparian_sentinel.core.kinds.scan import Scan

__all__ = ["KINDS", "JobKind", "kind_of"]

KINDS: dict[str, JobKind[Any]] = {
    "PARSE": Parse(),
    "SCAN": Scan(),
}


def kind_of(work: Work) -> JobKind[Any]:
    return KINDS[work.kind]
