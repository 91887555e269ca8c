"""Telling a service manager (systemd, or whoever set NOTIFY_SOCKET) that we are ready, alive, stopping, and how we are.

The protocol of sd_notify(3): one datagram of `NAME=value` lines. A manager that does not listen is no reason to fail;
without a socket every method does nothing. What is worth telling, and when, is said by the callers.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

from casparian_shim.text import scrub

#: Tell twice within the time that the manager waits, as sd_watchdog_enabled(3) advises; more often than it may miss one.
_SHARE = 0.4
_STATUS_CHARACTERS = 200

logger = logging.getLogger(__name__)


class ServiceManager:
    def __init__(self, address: str = "", watchdog_seconds: float = 0.0) -> None:
        """`address`: a path, or an abstract name that begins with `@`; empty: nobody listens."""
        self.watchdog_seconds = watchdog_seconds
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._alive_told_s = float("-inf")
        self._status = ""
        self._is_stopping = False
        self._has_complained = False

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """Takes the variables out, so that no child tells in our name."""
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        is_ours = not pid or pid == str(os.getpid())
        seconds = int(microseconds) / 1_000_000 if is_ours and microseconds.isdecimal() else 0.0
        return cls(address if address[:1] in ("/", "@") else "", seconds)

    def ready(self, status: str) -> None:
        self._status = _one_line(status)
        self._tell("READY=1", f"MAINPID={os.getpid()}", f"STATUS={self._status}")

    def status(self, text: str) -> None:
        """Told only when it changed, and not while we stop: `stopping` said why."""
        line = _one_line(text)
        if line != self._status and not self._is_stopping:
            self._status = line
            self._tell(f"STATUS={line}")

    def stopping(self, why: str) -> None:
        self._is_stopping = True
        self._tell("STOPPING=1", f"STATUS={_one_line(why)}")

    def alive(self, now_s: float) -> None:
        """The loop turns: call it often; the manager hears it as often as it asked to."""
        if self.watchdog_seconds and now_s - self._alive_told_s >= self.watchdog_seconds * _SHARE:
            self._alive_told_s = now_s
            self._tell("WATCHDOG=1")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, *lines: str) -> None:
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
                logger.warning("The service manager does not hear us: %s", cause)


def _one_line(text: str) -> str:
    return scrub(text)[:_STATUS_CHARACTERS]
