"""One command on the desk: what is known, what time it is, and the decision as it grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from casparian_protocol.events import Event
from casparian_protocol.events.packing import Cause
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
    #: What leads to the events that are recorded from here on: the request, or an event of this decision.
    cause: Cause = 0

    def record(self, event: Event, *, actor: str = "", cause: Cause = 0) -> int:
        """Record an event; returns the sequence it will have in the log.

        `actor` when it is not the command's. `cause` when it is neither the request nor the job's event before this one.
        """
        decision = self.decision
        events = decision.events
        if actor:
            decision.others[len(events)] = actor
        decision.causes.append(cause or self.cause or self._event_before(event))
        events.append(event)
        return self.state.seq + len(events)

    def _event_before(self, event: Event) -> int:
        job = self.state.jobs.get(getattr(event, "job_id", ""))
        return job.last_seq if job is not None else 0

    def do(self, effect: Effect) -> None:
        self.decision.effects.append(effect)

    def send(self, worker_id: str, message: Message) -> None:
        self.decision.effects.append(SendToWorker(worker_id, message))

    def answer(self, **facts: Any) -> None:
        self.decision.answer = facts

    def reject(self, problem: str, remedy: str, code: str = "REFUSED") -> None:
        self.decision.answer = Rejected(problem, remedy, code)
