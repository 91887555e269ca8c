"""Time travel: the console at an earlier sequence of the log. Pure: the log's events are asked for with `LoadPast`.

Owns the facts of the past, where it stands, and playing. What a screen shows of it is the screen's; nothing is changed there.
"""

from __future__ import annotations

from typing import Any

from casparian_console.actions import Action
from casparian_console.canvas import Line
from casparian_console.effects import Effects
from casparian_console.facts.store import Facts


class Travel:
    def __init__(self) -> None:
        self.is_on = False
        #: The picture at `seq`; None while it is now, or while the log is being read.
        self.facts: Facts | None = None
        self.seq: int | None = None

    def actions(self) -> tuple[Action, ...]:
        return ()

    def enter(self, context: Any) -> Effects:
        return []

    def leave(self, context: Any) -> Effects:
        self.is_on, self.facts, self.seq = False, None, None
        return []

    def tick(self, context: Any) -> Effects:
        return []

    def took(self, message: Any, context: Any) -> Effects:
        return []

    def bar(self, context: Any, width: int) -> Line:
        return []
