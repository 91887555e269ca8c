"""How the console shows each kind of job: one object a kind, with the same few methods (`JobLook`).

A kind is one file here and one line in `KINDS`. Lists, groups and cards ask the object, never the name of the kind.
"""

from __future__ import annotations

from casparian_console.kinds.look import JobLook
from casparian_console.kinds.parse import ParseLook
from casparian_console.kinds.scan import ScanLook

__all__ = ["KINDS", "JobLook", "look_of"]

KINDS: dict[str, JobLook] = {
    "PARSE": ParseLook(),
    "SCAN": ScanLook(),
}
_OTHER = JobLook()


def look_of(kind: str) -> JobLook:
    """A kind that this console does not know is shown all the same."""
    return KINDS.get(kind, _OTHER)
