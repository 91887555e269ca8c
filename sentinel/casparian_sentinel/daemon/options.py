"""How a daemon is started: what the command line decides, beside the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from casparian_protocol.home import Home
from casparian_protocol.wire.operations.jobs import QueueArgs
from casparian_sentinel.daemon.children import FIRST_BACKOFF_SECONDS
from casparian_sentinel.daemon.local_workers import worker_command
from casparian_sentinel.daemon.service_manager import ServiceManager


@dataclass(frozen=True, slots=True)
class Options:
    #: Local workers; 0 when all come from elsewhere.
    workers: int
    #: Settings that the command line gave: they stay whatever the home says later.
    flags: Mapping[str, Any] = field(default_factory=dict)
    #: Plan once, run until nothing more can run, then end.
    until_idle: bool = False
    #: Pending files become jobs without being asked: at the start and whenever something changed.
    plans_by_itself: bool = True
    #: What plans are narrowed to (`process --parser …`).
    plan: QueueArgs = field(default_factory=QueueArgs)
    #: Written to and closed when the daemon can be asked; None: nobody waits.
    ready_descriptor: int | None = None
    log_to_stderr: bool = False
    #: Before a child that died at once is started again; each further wait is longer.
    first_backoff_seconds: float = FIRST_BACKOFF_SECONDS
    worker_command: Callable[[Home, str], list[str]] = worker_command
    #: Who is told that we are ready, alive and stopping.
    service: ServiceManager = field(default_factory=ServiceManager)
