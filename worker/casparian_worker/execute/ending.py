"""How a guest's stream and its process end together: only both ends good is good."""

from __future__ import annotations

import time

from casparian_protocol.errors import CasparianError
from casparian_shim.frames import FrameReader, ProtocolBreach, StreamCut
from casparian_worker.execute.failures import TimeIsUp, error_of_exit
from casparian_worker.guest import Guest

#: A guest that has sent everything, or whose stream is gone, has this long to be gone itself.
EXIT_SECONDS = 5.0
_TICK_SECONDS = 0.1


def error_after_cut(guest: Guest, cut: StreamCut, *, cpu_seconds: int | None) -> CasparianError:
    """The stream broke off: what the end of the process says about why."""
    if not guest.wait(EXIT_SECONDS):  # it closed its stream and went on
        guest.end()
        return cut
    return error_of_exit(guest.end(), cpu_seconds=cpu_seconds)


def error_after_end(guest: Guest, reader: FrameReader, *, cpu_seconds: int | None) -> CasparianError | None:
    """The end of stream has come: nothing may follow, and the process has to end well, soon."""
    deadline_s = time.monotonic() + EXIT_SECONDS
    is_closed = False
    while not guest.wait(_TICK_SECONDS if is_closed else 0):
        if time.monotonic() >= deadline_s:
            guest.end()
            return TimeIsUp("time to end after its end of stream", EXIT_SECONDS)
        if not is_closed:
            try:
                reader.expect_silence(idle_seconds=_TICK_SECONDS)
                is_closed = True
            except TimeoutError:
                continue
            except ProtocolBreach as breach:
                return breach
    unread = None if is_closed else _unread(reader)
    ended = guest.end()
    if unread is not None:
        return unread
    if ended.status != 0:
        return error_of_exit(ended, cpu_seconds=cpu_seconds)
    return None


def _unread(reader: FrameReader) -> CasparianError | None:
    """What was sent between the end of stream and the end of the process."""
    try:
        reader.expect_silence(idle_seconds=0)
    except TimeoutError:  # a child that it left behind holds the connection
        return None
    except ProtocolBreach as breach:
        return breach
    return None
