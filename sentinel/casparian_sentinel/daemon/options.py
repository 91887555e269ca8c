"""How a daemon is started: what the command line decides beside the settings, and the service manager's notifications.

`ServiceManager` speaks sd_notify(3): one datagram of `NAME=value` lines that says that we are ready, alive or stopping. A manager
that does not listen is not a reason to fail; without a socket every method does nothing.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field

from casparian_protocol.home import Home
from casparian_protocol.wire.operations.jobs import QueueArgs
from casparian_sentinel.daemon.children import FIRST_BACKOFF_SECONDS, worker_command
from casparian_shim.safe import scrub

#: Notify twice within the time that the manager waits, as sd_watchdog_enabled(3) advises; more often than it may miss one.
_SHARE = 0.4
_STATUS_CHARACTERS = 200

logger = logging.getLogger(__name__)


class ServiceManager:
    def __init__(self, address: str = "", watchdog_seconds: float = 0.0) -> None:
        """`address`: a path, or an abstract name that begins with `@`; empty: there is no service manager."""
        self.watchdog_seconds = watchdog_seconds
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._alive_sent_s = float("-inf")
        self._status = ""
        self._is_stopping = False
        self._has_complained = False

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """Takes the variables out of the environment, so that no child notifies in our name."""
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        is_ours = not pid or pid == str(os.getpid())
        seconds = int(microseconds) / 1_000_000 if is_ours and microseconds.isdecimal() else 0.0
        return cls(address if address[:1] in ("/", "@") else "", seconds)

    def ready(self, status: str) -> None:
        self._status = _one_line(status)
        self._notify("READY=1", f"MAINPID={os.getpid()}", f"STATUS={self._status}")

    def status(self, text: str) -> None:
        """Sent only when it changed, and not while we stop: `stopping` said why."""
        line = _one_line(text)
        if line != self._status and not self._is_stopping:
            self._status = line
            self._notify(f"STATUS={line}")

    def stopping(self, why: str) -> None:
        self._is_stopping = True
        self._notify("STOPPING=1", f"STATUS={_one_line(why)}")

    def alive(self, now_s: float) -> None:
        """The loop turns. Call it often; the manager is notified as often as it asked to be."""
        if self.watchdog_seconds and now_s - self._alive_sent_s >= self.watchdog_seconds * _SHARE:
            self._alive_sent_s = now_s
            self._notify("WATCHDOG=1")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _notify(self, *lines: str) -> None:
        if not self._address:
            return
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as cause:  # gone, full, or not ours to write to
            if not self._has_complained:
                self._has_complained = True
                logger.warning("The service manager cannot be reached: %s", cause)


def _one_line(text: str) -> str:
    return scrub(text)[:_STATUS_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Options:
    #: Local workers; 0 when all come from elsewhere.
    workers: int
    #: Settings that the command line gave: they stay whatever the home says later.
    flags: Mapping[str, object] = field(default_factory=dict)
    #: Plan once, run until nothing more can run, then end.
    until_idle: bool = False
    #: Pending files become jobs without being asked: at the start and whenever something changed.
    plans_by_itself: bool = True
    #: What plans are narrowed to (`process --parser …`).
    plan: QueueArgs = field(default_factory=QueueArgs)
    #: Written to and closed when the daemon can be asked; None: no process waits.
    ready_descriptor: int | None = None
    log_to_stderr: bool = False
    #: Before a child that died at once is started again; each further wait is longer.
    first_backoff_seconds: float = FIRST_BACKOFF_SECONDS
    worker_command: Callable[[Home, str], list[str]] = worker_command
    #: Is notified that we are ready, alive and stopping.
    service: ServiceManager = field(default_factory=ServiceManager)
