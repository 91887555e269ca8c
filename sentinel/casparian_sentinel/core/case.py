"""One command on the desk: what is known, what time it is, and the decision as it grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from casparian_protocol.wire.messages import Message
from casparian_sentinel.core.commands import Now
from casparian_sentinel.core.effects import Decision, Effect, Rejected, SendToWorker
from casparian_sentinel.core.live import Live
from casparian_sentinel.core.state import State


@dataclass(slots=True)
class Case:
    """Handlers read `state`, keep `live` up to date, and record what is to become history."""

    state: State
    live: Live
    now: Now
    decision: Decision

    def record(self, kind: str, data: dict[str, Any], *, actor: str = "") -> int:
        """Record an event; returns the sequence it will have in the log. `actor` when it is not the command's."""
        events = self.decision.events
        if actor:
            self.decision.others[len(events)] = actor
        events.append((kind, data))
        return self.state.seq + len(events)

    def do(self, effect: Effect) -> None:
        self.decision.effects.append(effect)

    def send(self, worker_id: str, message: Message) -> None:
        self.decision.effects.append(SendToWorker(worker_id, message))

    def answer(self, **facts: Any) -> None:
        self.decision.answer = facts

    def reject(self, problem: str, remedy: str, code: str = "REFUSED") -> None:
        self.decision.answer = Rejected(problem, remedy, code)
