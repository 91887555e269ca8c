"""The core's door: one command in, a decision out.

`decide` judges and changes nothing durable; `step` also makes the decision's events part of the state, so that the next
command sees them before they are on disk. Nothing of a decision may leave the process before its events are durable:
that is the shell's promise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from casparian_protocol.events.packing import Cause
from casparian_sentinel.core import commands as c
from casparian_sentinel.core import (
    decide_attempts,
    decide_clock,
    decide_files,
    decide_jobs,
    decide_leasing,
    decide_parameters,
    decide_registry,
    decide_versions,
    decide_workers,
)
from casparian_sentinel.core.case import Case
from casparian_sentinel.core.effects import Decision
from casparian_sentinel.core.evolve import apply
from casparian_sentinel.core.live import Live
from casparian_sentinel.core.state import State


def _dispatch(case: Case, command: c.Dispatch) -> None:
    decide_leasing.dispatch(case)


_HANDLERS: dict[type, Callable[[Case, Any], None]] = {
    c.HelloReceived: decide_workers.hello,
    c.BeatReceived: decide_workers.beat,
    c.ProgressReceived: decide_workers.progress,
    c.SinksReceived: decide_workers.sinks,
    c.WantReceived: decide_workers.want,
    c.ByeReceived: decide_workers.bye,
    c.AbandonAttempt: decide_attempts.abandon,
    c.WorkerGone: decide_workers.gone,
    c.JobsStarted: decide_attempts.started,
    c.FinishReceived: decide_attempts.finish,
    c.FailReceived: decide_attempts.fail,
    c.ReleaseReceived: decide_attempts.release,
    c.Promoted: decide_attempts.promoted,
    c.Tick: decide_clock.tick,
    c.Dispatch: _dispatch,
    c.RecordStart: decide_clock.start,
    c.RecordStop: decide_clock.stop_recorded,
    c.RecordTornTail: decide_clock.torn_tail,
    c.PauseIntake: decide_clock.pause_intake,
    c.ResumeIntake: decide_clock.resume_intake,
    c.Drain: decide_clock.drain,
    c.Stop: decide_clock.stop,
    c.QueueJobs: decide_jobs.queue,
    c.CancelJob: decide_jobs.cancel,
    c.ReplayJob: decide_jobs.replay,
    c.ReplayDeadLetters: decide_jobs.replay_dead_letters,
    c.RegisterParser: decide_registry.register,
    c.DecideContract: decide_registry.decide_contract,
    c.PauseParser: decide_registry.pause,
    c.ResumeParser: decide_registry.resume,
    c.RetireParser: decide_registry.retire,
    c.UseVersion: decide_versions.use,
    c.SetParameters: decide_parameters.set_parameters,
    c.SetQuarantinePolicy: decide_registry.set_policy,
    c.AddSource: decide_files.add_source,
    c.RemoveSource: decide_files.remove_source,
    c.AddRule: decide_files.add_rule,
    c.RemoveRule: decide_files.remove_rule,
    c.ReviseFiles: decide_files.revise,
    c.TagFiles: decide_files.tag,
    c.RecogniseContents: decide_files.recognise,
    c.CloseFailures: decide_jobs.close_failures,
    c.BeginScan: decide_files.begin_scan,
    c.ObserveFiles: decide_files.observe,
    c.EndScan: decide_files.end_scan,
}


def decide(state: State, live: Live, command: c.Command, now: c.Now, cause: Cause = 0) -> Decision:
    """Judge one command. `state` is only read; `live` is kept up to date. `cause` is the request that it came from.

    Whatever it raises (an error of ours, an event that the log could not hold), `state` and `live` are as they were.
    """
    decision = Decision([], [], None, state.seq + 1, now.wall_us, command.actor, {})
    live.undo.begin()
    try:
        case = Case(state, live, now, decision, cause)
        _HANDLERS[type(command)](case, command)
        if state.waiting_lines:
            decide_versions.after_ends(case)
        decision.pack()
    except BaseException:
        live.undo.roll_back()
        raise
    live.undo.keep()
    return decision


def fold(state: State, decision: Decision) -> None:
    """Make a decision's events part of the state; they take the sequences from `decision.first_seq` on."""
    seq, ts = decision.first_seq, decision.ts
    for event in decision.events:
        apply(state, seq, ts, event)
        seq += 1


def step(state: State, live: Live, command: c.Command, now: c.Now, cause: Cause = 0) -> Decision:
    """Judge one command and fold the decision's events in."""
    decision = decide(state, live, command, now, cause)
    fold(state, decision)
    return decision
