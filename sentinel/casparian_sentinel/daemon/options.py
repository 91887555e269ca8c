"""How a daemon is started: the choices of the command line, and the notifications to the service manager.

`ServiceManager` implements sd_notify(3): one datagram of `NAME=value` lines says that the daemon is ready, alive or stopping. A
manager that does not listen is no reason to fail, and without a socket every method does nothing.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field

from casparian_protocol.events import WeakerSandboxAccepted
from casparian_protocol.home import Home
from casparian_protocol.wire.operations.jobs import QueueArgs
from casparian_sentinel.daemon.children import FIRST_BACKOFF_SECONDS, worker_command
from casparian_shim.safe import scrub

#: Notify twice within the manager's time limit, as sd_watchdog_enabled(3) advises, with a margin for a late turn.
_SHARE = 0.4
_STATUS_CHARACTERS = 200

logger = logging.getLogger(__name__)


class ServiceManager:
    def __init__(self, address: str = "", watchdog_seconds: float = 0.0) -> None:
        """`address` is a path, or an abstract name that begins with `@`; empty means that there is no service manager."""
        self.watchdog_seconds = watchdog_seconds
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._alive_sent_s = float("-inf")
        self._status = ""
        self._is_stopping = False
        self._has_complained = False

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """Read the variables and remove them from the environment, so that no child notifies in this process's name."""
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
        """Send the status if it changed, except while stopping: `stopping` already gave the reason."""
        line = _one_line(text)
        if line != self._status and not self._is_stopping:
            self._status = line
            self._notify(f"STATUS={line}")

    def stopping(self, why: str) -> None:
        self._is_stopping = True
        self._notify("STOPPING=1", f"STATUS={_one_line(why)}")

    def alive(self, now_s: float) -> None:
        """The event loop is running. Call this often; the manager is notified as often as it asked."""
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
        except OSError as cause:  # gone, full, or not writable
            if not self._has_complained:
                self._has_complained = True
                logger.warning("The service manager cannot be reached: %s", cause)


def _one_line(text: str) -> str:
    return scrub(text)[:_STATUS_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Options:
    #: The number of local workers; 0 if all come from elsewhere.
    workers: int
    #: Settings given on the command line; they hold whatever the home's settings say later.
    flags: Mapping[str, object] = field(default_factory=dict)
    #: Plan once, run until nothing more can run, then exit.
    until_idle: bool = False
    #: Whether pending files become jobs automatically, at the start and after every change.
    plans_by_itself: bool = True
    #: The filters of every plan (`process --parser …`).
    plan: QueueArgs = field(default_factory=QueueArgs)
    #: Written to and closed when the daemon is ready to serve; None if no process waits for it.
    ready_descriptor: int | None = None
    log_to_stderr: bool = False
    #: A weaker sandbox that the user accepts for the jobs of this daemon, and the user.
    accepted: tuple[WeakerSandboxAccepted, str] | None = None
    #: The wait before a child that ended at once is restarted; each further wait is longer.
    first_backoff_seconds: float = FIRST_BACKOFF_SECONDS
    worker_command: Callable[[Home, str], list[str]] = worker_command
    #: Is notified when the daemon is ready, alive or stopping.
    service: ServiceManager = field(default_factory=ServiceManager)
