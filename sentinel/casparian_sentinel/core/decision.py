"""A decision and how it is built: the events to record, the effects to release once they are durable, and the answer.

Effects are released in order, after the batch with their decision's events; a decision without events waits for all earlier
effects. Every effect may be repeated: after a crash the shell performs promotions again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from casparian_protocol.events import Event, JobQueued, JobReplayed
from casparian_protocol.events.packing import Cause, EventPacker, Fact, fact_of
from casparian_protocol.job_life import may_follow, target_of
from casparian_protocol.jobs import ENDED, PART_NAMES, JobState, Manifest
from casparian_protocol.wire.messages import Message
from casparian_sentinel.core.answers import Answer
from casparian_sentinel.core.commands import Now
from casparian_sentinel.core.presence import PresenceDraft
from casparian_sentinel.core.state import OpenJob, State


@dataclass(frozen=True, slots=True)
class SendToWorker:
    worker_id: str
    message: Message


@dataclass(frozen=True, slots=True)
class Promote:
    """Rename a commit's staged files to their final paths, then send `Promoted`.

    `manifest` is given for a fresh commit. After a boot it is None; then `recorded` is what the log has, or the manifest is in
    the blob.
    """

    job_id: str
    epoch: int
    manifest: Manifest | None
    manifest_blob: str
    #: output → the output version that its files belong to.
    versions: Mapping[str, int]
    recorded: Manifest | None = None
    #: The naming scheme of its part files, as its event records it.
    part_names: int = PART_NAMES


@dataclass(frozen=True, slots=True)
class DropStaging:
    """Remove the staging of an attempt that no commit refers to."""

    job_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class DropUnpublished:
    """Remove the staging of attempts, (job, epoch) each, that committed and have no file to publish: most staged nothing."""

    attempts: tuple[tuple[str, int], ...]

    @property
    def job_id(self) -> str:
        """The first of its jobs, which names it."""
        return self.attempts[0][0]

    @property
    def epoch(self) -> int:
        return self.attempts[0][1]


@dataclass(frozen=True, slots=True)
class KeepUncommitted:
    """Move a failed attempt's quarantine to `quarantine/_uncommitted/<job>/`, drop its staging, then send `Kept`.

    `manifest` is None if it is in the blob.
    """

    job_id: str
    epoch: int
    manifest: Manifest | None
    manifest_blob: str = ""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Remove the staging of every attempt that was dead at the time of the decision."""

    alive: frozenset[tuple[str, int]]
    #: Attempts with a higher epoch began after the decision.
    upto_epoch: int


@dataclass(frozen=True, slots=True)
class PublishOutputViews:
    """The set of published files or datasets changed; at most one publication a second is enough."""


@dataclass(frozen=True, slots=True)
class PlanFiles:
    """Files, tags, rules or parsers changed, so pending files may now have work. The shell debounces this."""


Effect: TypeAlias = (
    SendToWorker | Promote | DropStaging | DropUnpublished | KeepUncommitted | Sweep | PublishOutputViews | PlanFiles
)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refusal for a reason that the user can act on: what is wrong, what to try, and a code for programs."""

    problem: str
    remedy: str
    code: str = "REFUSED"


@dataclass(slots=True)
class Decision:
    """Events to record, effects to release, and the answer to the caller.

    `decide` fills in `first_seq`, `ts` and `actor`: event number i gets sequence number `first_seq + i`, and all share `ts`.
    """

    events: list[Event] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    #: The answer or the refusal; None when the caller only needs to know that the command was decided.
    answer: Answer | Rejected | None = None
    first_seq: int = 0
    ts: int = 0
    actor: str = ""
    #: Index of an event → its actor, for events whose actor is not the command's.
    others: dict[int, str] = field(default_factory=dict)
    #: The cause of each event.
    causes: list[Cause] = field(default_factory=list)
    #: The events as bytes of the log, once they are validated.
    packed: list[bytes] = field(default_factory=list)
    #: The presence of workers as the decision leaves it.
    presence: PresenceDraft | None = None
    _facts: list[Fact] = field(default_factory=list)

    def pack(self) -> list[bytes]:
        """Validate every event against its types and bounds, and pack it. Raises `EventRefused`."""
        if len(self.packed) != len(self.events):
            pack, ts, actor, others = EventPacker().pack, self.ts, self.actor, self.others
            self.packed = [
                pack(ts, event, others.get(index, actor) if others else actor, self.causes[index])
                for index, event in enumerate(self.events)
            ]
        return self.packed

    def facts(self) -> list[Fact]:
        """The events as the log takes them. Raises `EventRefused` for a field of the wrong type."""
        if len(self._facts) != len(self.events):
            ts, actor, others = self.ts, self.actor, self.others
            pairs = zip(self.events, self.causes, strict=True)
            if others:
                self._facts = [
                    fact_of(ts, event, others.get(index, actor), cause) for index, (event, cause) in enumerate(pairs)
                ]
            else:
                self._facts = [fact_of(ts, event, actor, cause) for event, cause in pairs]
        return self._facts


class ImpossibleStep(Exception):
    """A bug: the decision records an event that its job's state does not allow."""


_HELD = (None, JobState.LEASED, JobState.RUNNING)


@dataclass(slots=True)
class DecisionBuilder:
    """The context of one command's handler: the state, the time, and the decision so far.

    `state` does not change while a decision is built. The job states that the decision itself causes are noted in `moved`, so
    that no event is recorded that could not be folded, and no handler gives a lease back twice.
    """

    state: State
    presence: PresenceDraft
    now: Now
    made: Decision
    #: The cause of the events recorded from here on: the request, or an event of this decision.
    cause: Cause = 0
    #: Jobs that this decision changes → the state in which it leaves them.
    moved: dict[str, JobState] = field(default_factory=dict)

    @property
    def events(self) -> Sequence[Event]:
        """The events recorded so far."""
        return self.made.events

    def record(self, event: Event, *, actor: str = "", cause: Cause = 0) -> int:
        """Record an event; returns the sequence number it will have in the log.

        Give `actor` if it is not the command's. Give `cause` if it is neither the request nor the job's previous event.
        Raises `ImpossibleStep`.
        """
        target = target_of(event)
        job = self._move(event, target) if target is not None else self.state.jobs.get(getattr(event, "job_id", ""))
        made = self.made
        events = made.events
        if actor:
            made.others[len(events)] = actor
        made.causes.append(cause or self.cause or (job.last_seq if job is not None else 0))
        events.append(event)
        return self.state.seq + len(events)

    def _move(self, event: Event, target: JobState) -> OpenJob | None:
        """Note the state that the event puts its job into; returns the job as it was before this decision."""
        kind, moved = event.__class__, self.moved
        is_new = kind is JobQueued or kind is JobReplayed
        job_id: str = event.job.job_id if is_new else event.job_id  # type: ignore[attr-defined]
        job = self.state.jobs.get(job_id)
        before = moved.get(job_id)
        if before is None and job is not None:
            before = job.state
        is_fit = (
            before is None or before in ENDED if is_new else before is not None and may_follow(before, event, target)
        )
        if not is_fit:
            raise ImpossibleStep(f"{event.about.name} of job {job_id}, which is {before or 'not open'}")
        moved[job_id] = target
        return job

    def leases_of(self, worker_id: str) -> dict[str, int]:
        """Job → epoch of the leases this worker holds, without those that the decision has already taken away."""
        leases = self.state.epochs_held.get(worker_id, {})
        return {job_id: epoch for job_id, epoch in leases.items() if self.moved.get(job_id) in _HELD}

    def do(self, effect: Effect) -> None:
        self.made.effects.append(effect)

    def send(self, worker_id: str, message: Message) -> None:
        self.made.effects.append(SendToWorker(worker_id, message))

    def answer(self, answer: Answer) -> None:
        self.made.answer = answer

    def reject(self, problem: str, remedy: str, code: str = "REFUSED") -> None:
        self.made.answer = Rejected(problem, remedy, code)
