"""The table of handlers: one command in, one decision out.

`decide` judges a command and changes nothing durable. `step` also folds the decision's events into the state, so that the next
command sees them before they are on disk. The shell must release nothing of a decision before its events are durable.
`smaller` splits a command that failed as a whole, so that a fault in one job does not affect the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from casparian_protocol.events.packing import Cause
from casparian_sentinel.core import attempts, clock, commits, files, jobs, leasing, workers
from casparian_sentinel.core import commands as c
from casparian_sentinel.core import worker_commands as w
from casparian_sentinel.core.decision import Decision, DecisionBuilder
from casparian_sentinel.core.folding import apply
from casparian_sentinel.core.presence import PresenceDraft, WorkerPresence
from casparian_sentinel.core.registry import parameters, parsers, versions
from casparian_sentinel.core.state import State

_HANDLERS: dict[type, Callable[[DecisionBuilder, Any], None]] = {
    # workers and their attempts
    w.HelloReceived: workers.on_hello,
    w.BeatReceived: workers.on_heartbeat,
    w.ProgressReceived: workers.on_progress,
    w.SinksReceived: workers.on_sinks,
    w.WantReceived: workers.on_want,
    w.ByeReceived: workers.on_bye,
    c.WorkerGone: workers.on_gone,
    c.Dispatch: leasing.dispatch,
    w.JobsStarted: attempts.on_started,
    w.FinishReceived: commits.on_finish,
    w.FailReceived: attempts.on_fail,
    w.ReleaseReceived: attempts.on_released,
    c.AbandonAttempt: attempts.abandon,
    c.Promoted: commits.on_promoted,
    c.Kept: commits.on_kept,
    c.FilesDone: commits.on_files_done,
    # time, and the daemon itself
    c.Tick: clock.tick,
    c.RedoFileWork: clock.redo_file_work,
    c.RecordStart: clock.start,
    c.RecordStop: clock.stop_recorded,
    c.RecordTornTail: clock.torn_tail,
    c.PauseIntake: clock.pause_intake,
    c.ResumeIntake: clock.resume_intake,
    c.Drain: clock.drain,
    c.Stop: clock.stop,
    # jobs
    c.QueueJobs: jobs.queue,
    c.CancelJob: jobs.cancel,
    c.CancelJobs: jobs.cancel_jobs,
    c.ReplayJob: jobs.replay,
    c.ReplayJobs: jobs.replay_jobs,
    c.CloseFailures: jobs.close_failures,
    # sources, rules and files
    c.AddSource: files.add_source,
    c.RemoveSource: files.remove_source,
    c.AddRule: files.add_rule,
    c.RemoveRule: files.remove_rule,
    c.BeginScan: files.begin_scan,
    c.ObserveFiles: files.observe,
    c.EndScan: files.end_scan,
    c.ReviseFiles: files.revise,
    c.TagFiles: files.tag,
    c.RecogniseContents: files.recognise,
    # parsers and contracts
    c.RegisterParser: parsers.register,
    c.DecideContract: parsers.decide_contract,
    c.PauseParser: parsers.pause,
    c.ResumeParser: parsers.resume,
    c.RetireParser: parsers.retire,
    c.SetQuarantinePolicy: parsers.set_policy,
    c.SetParameters: parameters.set_parameters,
    c.UseVersion: versions.use,
}


def decide(state: State, presence: WorkerPresence, command: c.Command, now: c.Now, cause: Cause = 0) -> Decision:
    """Judge one command without changing anything. `cause` is the request that the command came from.

    Raises `EventRefused` for an event that the log could not hold. Any other exception is a bug.
    """
    draft = PresenceDraft(presence)
    made = Decision(first_seq=state.seq + 1, ts=now.wall_us, actor=command.actor, presence=draft)
    decision = DecisionBuilder(state, draft, now, made, cause)
    _HANDLERS[type(command)](decision, command)
    if state.waiting_lines:
        versions.after_ends(decision)
    made.pack()
    return made


def fold(state: State, decision: Decision) -> None:
    """Apply a decision: fold its events, numbered from `first_seq` on, and adopt its changes to the presence of workers."""
    seq, ts = decision.first_seq, decision.ts
    for event in decision.events:
        apply(state, seq, ts, event)
        seq += 1
    if decision.presence is not None:
        decision.presence.apply()


def step(state: State, presence: WorkerPresence, command: c.Command, now: c.Now, cause: Cause = 0) -> Decision:
    """Judge one command and apply the decision."""
    decision = decide(state, presence, command, now, cause)
    fold(state, decision)
    return decision


def smaller(command: c.Command) -> Sequence[c.Command]:
    """The smaller commands to try instead; none when the command cannot be split."""
    match command:
        case w.FinishReceived(worker_id=worker_id, items=items) if len(items) > 1:
            return [w.FinishReceived(worker_id, [item]) for item in items]
        case w.JobsStarted(worker_id=worker_id, message=message) if len(message.jobs) > 1:
            return [w.JobsStarted(worker_id, message.model_copy(update={"jobs": [job]})) for job in message.jobs]
        case w.ReleaseReceived(worker_id=worker_id, message=message) if len(message.jobs) > 1:
            return [w.ReleaseReceived(worker_id, message.model_copy(update={"jobs": [job]})) for job in message.jobs]
        case w.BeatReceived(worker_id=worker_id, message=message) if message.jobs:
            return [
                w.BeatReceived(worker_id, message.model_copy(update={"jobs": []}))
            ]  # it is alive, whatever its jobs do
        case c.FilesDone(items=items):
            return items
        case c.Tick(duty=""):
            return [c.Tick(duty) for duty in clock.DUTIES]
    return []


def attempts_of(command: c.Command) -> list[tuple[str, int]]:
    """(job, epoch) of each attempt whose end the command reports; the worker repeats the report until it is answered."""
    match command:
        case w.FinishReceived(items=items):
            return [(item.job_id, item.epoch) for item in items]
        case w.FailReceived(message=message):
            return [(message.job_id, message.epoch)]
        case w.ReleaseReceived(message=message):
            return [(job.job_id, job.epoch) for job in message.jobs]
    return []
