"""Time, and an event loop that lives in it: real coroutines, futures and callbacks, in an order that one seed decides.

The shipped daemon code gets this loop from `asyncio.get_running_loop()` and cannot tell. Work for threads is done at one
moment and reported at a later one, so that the loop goes on between them. A loop belongs to one process: when that dies,
nothing of it happens any more; while it is frozen, everything of it waits.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, TypeVar, TypeVarTuple, cast

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_DAY_US = 86_400_000_000
_THREAD_SECONDS = 0.02
_NO_HANDLE = cast(asyncio.Handle, None)  # of a callback that is due at once: nobody cancels one


@dataclass(slots=True)
class Agenda:
    """What happens when; what falls on the same moment happens in the order of its planning."""

    now_s: float = 0.0
    _items: list[tuple[float, int, SimLoop | None, Callable[..., object], tuple[Any, ...]]] = field(
        default_factory=list
    )
    _planned: int = 0

    def after(
        self, delay_s: float, action: Callable[..., object], *arguments: Any, loop: SimLoop | None = None
    ) -> None:
        self._planned += 1
        heappush(self._items, (self.now_s + delay_s, self._planned, loop, action, arguments))

    def forget(self) -> None:
        """The history is over."""
        self._items.clear()

    def run_next(self) -> SimLoop | None:
        """Do what is next; whose it was."""
        at_s, number, loop, action, arguments = heappop(self._items)
        self.now_s = at_s
        if loop is not None and loop.frozen_until_s > at_s:
            if not loop.is_dead:
                heappush(self._items, (loop.frozen_until_s, number, loop, action, arguments))
            return None
        try:
            action(*arguments)
        except Exception as error:
            if loop is None or loop.is_dead:
                raise
            loop.call_exception_handler({"message": f"a callback failed: {action}", "exception": error})
        return loop


class SimLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as the daemon asks for; the rest raises `NotImplementedError`."""

    def __init__(self, agenda: Agenda, dice: random.Random) -> None:
        self._agenda = agenda
        self._dice = dice
        self.is_dead = False
        #: For ever, once it is dead.
        self.frozen_until_s = 0.0
        self._tasks: list[asyncio.Task[Any]] = []
        self._handler: Callable[[Any, dict[str, Any]], object] | None = None

    def time(self) -> float:
        return self._agenda.now_s

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Any = None) -> asyncio.Handle:
        agenda = self._agenda
        agenda._planned += 1
        heappush(agenda._items, (agenda.now_s, agenda._planned, self, callback, args))
        return _NO_HANDLE

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Any = None
    ) -> asyncio.TimerHandle:
        timer = _Timer(callback, args)
        self._agenda.after(delay, timer.fire, loop=self)
        return cast(asyncio.TimerHandle, timer)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_later(when - self.time(), callback, *args)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        work: Coroutine[Any, Any, Any] = coro
        task = asyncio.Task(work, loop=self, name=name or "task")
        self._tasks = [*(t for t in self._tasks if not t.done()), task]
        return task

    def die(self) -> None:
        """Nothing of this process happens any more."""
        self.is_dead, self.frozen_until_s = True, math.inf
        for task in self._tasks:
            if not task.done():
                task.get_coro().close()
        self._tasks.clear()

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        self._agenda.after(self._dice.random() * _THREAD_SECONDS, self._in_thread, future, func, args, loop=self)
        return future

    def _in_thread(self, future: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
        delay_s = self._dice.random() * _THREAD_SECONDS
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001 -- reported through the future, as threads do
            self._agenda.after(delay_s, _report, future, None, error, loop=self)
        else:
            self._agenda.after(delay_s, _report, future, result, None, loop=self)

    def add_signal_handler(self, sig: int, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Nobody sends signals here."""

    def set_exception_handler(self, handler: Callable[[Any, dict[str, Any]], object] | None) -> None:
        self._handler = handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What a callback raised, or a task that nobody asked: the daemon's own handler hears of it, as in the real loop."""
        if self.is_dead:
            return
        if self._handler is None:
            raise context.get("exception") or RuntimeError(context["message"])
        self._handler(self, context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self.is_dead

    def is_closed(self) -> bool:
        return False


def new_loop(agenda: Agenda, dice: random.Random) -> SimLoop:
    kind: Any = SimLoop  # what the daemon never calls stays abstract, and its `NotImplementedError` would tell
    loop: SimLoop = kind(agenda, dice)
    return loop


class _Timer:
    __slots__ = ("_arguments", "_callback", "_is_cancelled")

    def __init__(self, callback: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._callback = callback
        self._arguments = arguments
        self._is_cancelled = False

    def cancel(self) -> None:
        self._is_cancelled = True

    def fire(self) -> None:
        if not self._is_cancelled:
            self._callback(*self._arguments)


def _report(future: asyncio.Future[T], result: T, error: Exception | None) -> None:
    if future.cancelled():  # nobody waits for the thread any more; a real loop drops its result too
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


class SimClock:
    """Monotonic time is the agenda's; wall time is what somebody set it to."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self.wall_offset_us = 1_700_000_000_000_000

    def wall_microseconds(self) -> int:
        return self.wall_offset_us + int(self._agenda.now_s * 1_000_000)

    def monotonic_seconds(self) -> float:
        return self._agenda.now_s

    def jump(self, days: float) -> None:
        self.wall_offset_us += int(days * _DAY_US)
