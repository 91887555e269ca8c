"""The events of the log for time travel: `casparian log export -` read on a thread, told in stretches.

Owns that process. The log itself is only ever read by the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from casparian_console.effects import LoadPast, Tag
from casparian_console.messages import Ended, Failed, Message, PastEvents
from casparian_protocol.feed import FeedEvent

#: Folding a stretch must not hold up keys for long.
STRETCH_EVENTS = 1000
_STDERR_LIMIT_CHARACTERS = 4096


@dataclass(eq=False)
class _Reading:
    process: subprocess.Popen[bytes] | None = None
    is_stopped: bool = False


class Past:
    """See the module. `prefix` is the command line up to its command."""

    def __init__(self, prefix: Sequence[str], took: Callable[[Message], None]) -> None:
        self._prefix = tuple(prefix)
        self._took = took
        self._loop = asyncio.get_running_loop()
        self._reading: dict[Tag, _Reading] = {}

    @property
    def running(self) -> int:
        return len(self._reading)

    def load(self, effect: LoadPast) -> None:
        self.stop(effect.tag)
        reading = self._reading[effect.tag] = _Reading()
        threading.Thread(target=self._work, args=(effect, reading), name="console-past", daemon=True).start()

    def stop(self, tag: Tag) -> None:
        if (reading := self._reading.pop(tag, None)) is not None:
            reading.is_stopped = True
            if reading.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    reading.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        for tag in list(self._reading):
            self.stop(tag)

    # --- on the thread ------------------------------------------------------------------------------------------------

    def _work(self, effect: LoadPast, reading: _Reading) -> None:
        try:
            last = self._read(effect, reading)
        except (OSError, ValueError, KeyError, TypeError) as error:
            last = Failed(effect.tag, f"The log could not be read: {type(error).__name__}: {error}.", _REMEDY)
        self._tell(effect.tag, reading, last, is_last=True)

    def _read(self, effect: LoadPast, reading: _Reading) -> Message:
        arguments = [*self._prefix, "log", "export", "-", "--from", str(effect.from_seq)]
        stretch: list[FeedEvent] = []
        with subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            reading.process = process
            assert process.stdout is not None
            assert process.stderr is not None
            for line in process.stdout:
                if reading.is_stopped:
                    process.terminate()
                    break
                stretch.append(_event(json.loads(line)))
                if len(stretch) == STRETCH_EVENTS:
                    self._tell(effect.tag, reading, PastEvents(effect.tag, tuple(stretch)))
                    stretch = []
            said = process.stderr.read().decode("utf-8", "replace")[:_STDERR_LIMIT_CHARACTERS]
        if stretch:
            self._tell(effect.tag, reading, PastEvents(effect.tag, tuple(stretch)))
        return Ended(effect.tag, process.returncode, said)

    def _tell(self, tag: Tag, reading: _Reading, message: Message, *, is_last: bool = False) -> None:
        with contextlib.suppress(RuntimeError):  # the loop ended before this thread
            self._loop.call_soon_threadsafe(self._told, tag, reading, message, is_last)

    # --- on the loop --------------------------------------------------------------------------------------------------

    def _told(self, tag: Tag, reading: _Reading, message: Message, is_last: bool) -> None:
        if reading.is_stopped:
            return
        if is_last and self._reading.get(tag) is reading:
            del self._reading[tag]
        self._took(message)


_REMEDY = "`casparian log verify` checks the log."


def _event(line: dict[str, object]) -> FeedEvent:
    return FeedEvent(line["seq"], line["ts"], line["type"], line["v"], line["actor"], line["data"])  # type: ignore[arg-type]
