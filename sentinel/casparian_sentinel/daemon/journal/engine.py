"""The one place where commands meet the core: time is read, the core steps, the decision goes to be made durable.

A decision is part of the state at once, so that the next command sees it; nobody outside hears of it before it is
durable. Daemon and local mode differ only in the journal they pass.

A command whose handler fails is refused as `INTERNAL` and has left no trace. A worker says the end of an attempt again until
it is answered: when that fails `INTERNAL_TRIES` times, the attempt fails with the fault ours, and the worker is answered.
Folding never fails for what a stranger said; if it does, the state is not to be trusted and this process must end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from casparian_protocol.events.packing import Cause, EventRefused, EventTooLarge
from casparian_protocol.wire.messages import Refusal, Refused
from casparian_sentinel.core.commands import AbandonAttempt, Command, FromWorker, Now
from casparian_sentinel.core.decide import attempts_of, decide, fold, smaller
from casparian_sentinel.core.decision import Decision, Rejected, SendToWorker
from casparian_sentinel.core.state import State
from casparian_sentinel.core.workers.lifecycle import lives_all_the_same
from casparian_sentinel.core.workers.presence import WorkerPresence
from casparian_sentinel.daemon.failures import InternalErrors
from casparian_sentinel.daemon.journal.group_commit import Entry
from casparian_sentinel.ports import Clock

#: So often the end of an attempt is tried before the attempt is given up.
INTERNAL_TRIES = 3
_REMEMBERED_ATTEMPTS = 10_000


class StateBroken(Exception):
    """Folding failed earlier: nothing is decided any more."""


class Engine:
    def __init__(
        self,
        state: State,
        presence: WorkerPresence,
        clock: Clock,
        journal: Callable[[Entry], None],
        internal: InternalErrors | None = None,
    ) -> None:
        self.state = state
        self.presence = presence
        self.internal = internal or InternalErrors(clock.monotonic_seconds)
        self._clock = clock
        self._journal = journal
        self._is_broken = False
        #: (job, epoch) → how often its end could not be decided.
        self._failures: OrderedDict[tuple[str, int], int] = OrderedDict()

    @property
    def is_broken(self) -> bool:
        return self._is_broken

    def now(self) -> Now:
        return Now(self._clock.wall_microseconds(), self._clock.monotonic_seconds())

    def submit(self, command: Command, waiter: Callable[[], None] | None = None, *, cause: Cause = 0) -> Decision:
        """Decide; `waiter` is called once the decision, and all before it, is durable and its effects are released.

        `cause` is the request that the command came from.
        """
        if self._is_broken:
            raise StateBroken("the state could not be folded; nothing more is decided")
        now = self.now()
        try:
            decision = decide(self.state, self.presence, command, now, cause)
        except Exception as error:  # noqa: BLE001 -- an error of ours ends this command, told and counted, not the daemon
            decision = self._refused(command, now, error)
        else:
            self._is_broken = True
            fold(self.state, decision)
            self._is_broken = False
        self._journal(Entry(decision, waiter))
        return decision

    def attempt_failed(self, worker_id: str, attempts: list[tuple[str, int]], why: str) -> None:
        """The end of these attempts could not be taken, for a reason of our own. Too often: they end here."""
        for attempt in attempts:
            count = self._failures.pop(attempt, 0) + 1
            self._failures[attempt] = count
            if len(self._failures) > _REMEMBERED_ATTEMPTS:
                self._failures.popitem(last=False)
            if count >= INTERNAL_TRIES:
                self.submit(AbandonAttempt(worker_id, *attempt, why))

    def _refused(self, command: Command, now: Now, error: Exception) -> Decision:
        """What the asker hears instead; smaller commands are tried in its place."""
        if isinstance(error, EventRefused) and command.actor.startswith("user:"):  # what they asked for says too much
            code = "TOO_LARGE" if isinstance(error, EventTooLarge) else "BAD_ARGUMENTS"
            answer = Rejected(error.problem, "Send less at once, with plain values.", code)
            return Decision([], [], answer, self.state.seq + 1, now.wall_us, command.actor)
        self.internal.note(f"deciding {type(command).__name__}", error)
        if isinstance(command, FromWorker):
            lives_all_the_same(self.presence, command, now)
        parts = smaller(command)
        for part in parts:
            self.submit(part)
        what = f"{type(error).__name__}: {error}"[:300]
        answer = Rejected(
            f"An internal error: {what}.", "logs/daemon.log has the traceback. Please report it.", "INTERNAL"
        )
        decision = Decision([], [], answer, self.state.seq + 1, now.wall_us, command.actor)
        if isinstance(command, FromWorker) and not parts:
            refused = Refused(
                reason=f"an internal error of the sentinel: {what}", code=Refusal.INTERNAL, of_kind=command.of_kind
            )
            decision.effects.append(SendToWorker(command.worker_id, refused))
            self.attempt_failed(command.worker_id, attempts_of(command), what)
        return decision
