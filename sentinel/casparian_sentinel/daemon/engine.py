"""The one place where commands meet the core: time is read, the core steps, the decision goes to be made durable.

A decision is part of the state at once, so that the next command sees it; nobody outside hears of it before it is
durable. Daemon and local mode differ only in the journal they pass.
"""

from __future__ import annotations

from collections.abc import Callable

from casparian_sentinel.core.commands import Command, Now
from casparian_sentinel.core.decide import step
from casparian_sentinel.core.effects import Decision
from casparian_sentinel.core.live import Live
from casparian_sentinel.core.state import State
from casparian_sentinel.daemon.group_commit import Entry
from casparian_sentinel.ports import Clock


class Engine:
    def __init__(self, state: State, live: Live, clock: Clock, journal: Callable[[Entry], None]) -> None:
        self.state = state
        self.live = live
        self._clock = clock
        self._journal = journal

    def now(self) -> Now:
        return Now(self._clock.wall_microseconds(), self._clock.monotonic_seconds())

    def submit(self, command: Command, waiter: Callable[[], None] | None = None) -> Decision:
        """Decide; `waiter` is called once the decision, and all before it, is durable and its effects are released."""
        decision = step(self.state, self.live, command, self.now())
        self._journal(Entry(decision, waiter))
        return decision
