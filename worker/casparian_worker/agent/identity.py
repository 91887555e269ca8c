"""Who a worker is, and how it introduces itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from casparian_protocol.wire.messages import PROTOCOL_VERSION, Held, Hello
from casparian_worker.agent.contact import DEFAULT_WAIT_SECONDS
from casparian_worker.guest import effective_level

RETELL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """Who this worker is and how it lives."""

    worker_id: str
    slots: int
    endpoint: str
    version: str
    #: Started by a sentinel: leaves when none answers for long.
    is_managed: bool = True
    #: An offer or a failure that nobody answered is said again.
    retell_seconds: float = RETELL_SECONDS
    #: Started by a person: what becomes of the connection is told here; None for a managed one.
    tell: Callable[[str], None] | None = None
    #: So long such a worker waits for the first sentinel.
    wait_seconds: float = DEFAULT_WAIT_SECONDS


def hello_of(options: AgentOptions, holding: list[Held]) -> Hello:
    """The introduction of this process, with what it has in hand."""
    return Hello(
        protocol=PROTOCOL_VERSION,
        worker_id=options.worker_id,
        host=socket.gethostname()[:255],
        pid=os.getpid(),
        slots=options.slots,
        version=options.version,
        sandbox=effective_level(),
        holding=holding,
    )
