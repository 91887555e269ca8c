"""What the shipped modules find in place of this machine while a history lasts: no threads, no sockets, no words in a log.

Facts about the machine are the same everywhere, or a seed would tell another story on each. Changes modules, so one
history at a time; what happens in the history is `world`'s.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from casparian_sentinel.daemon import boot, journal, promoter, shell
from casparian_worker import staging


@contextmanager
def simulated_machine() -> Iterator[None]:
    """Facts about this machine are the same on every machine."""
    real = [(module, {name: vars(module)[name] for name in simulated}) for module, simulated in _SIMULATED]
    for module, simulated in _SIMULATED:
        vars(module).update(simulated)
    try:
        with undisturbed():
            yield
    finally:
        for module, names in real:
            vars(module).update(names)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Without words from thousands of broken disks, and without looking for garbage: histories leave little of it.

    Around a few hundred histories it costs next to nothing in each.
    """
    was_disabled, was_collecting = logging.root.manager.disable, gc.isenabled()
    if was_disabled >= logging.CRITICAL and not was_collecting:
        yield
        return
    logging.disable(logging.CRITICAL)
    gc.disable()
    try:
        yield
    finally:
        logging.disable(was_disabled)
        if was_collecting:
            gc.enable()


class _SameMachine:
    """What a boot records about the process and the host."""

    def getpid(self) -> int:
        return 1

    def gethostname(self) -> str:
        return "here"


class _NoThreads:
    """Where the loop's threads would live (`SimLoop.run_in_executor` is what they do)."""

    def __init__(self, size: int, thread_name_prefix: str = "") -> None: ...

    def shutdown(self, wait: bool = True) -> None: ...


class _NoSockets:
    """Where sockets would come from, if anybody here made one."""

    class Context:
        def destroy(self, linger: int) -> None: ...


_SIMULATED: tuple[tuple[ModuleType, dict[str, Any]], ...] = (
    (boot, {"boot_id": lambda: "b", "os": _SameMachine(), "socket": _SameMachine()}),
    (shell, {"ThreadPoolExecutor": _NoThreads, "zmq": _NoSockets}),
    (journal, {"ThreadPoolExecutor": _NoThreads}),
    (promoter, {"ThreadPoolExecutor": _NoThreads}),
    (staging, {"IN_MEMORY_BYTES": 64}),  # files of a few hundred bytes are written in pieces too
)
