"""What follows from the open jobs: queues, leases by worker, who waits, what is being promoted, open jobs of each parser.

`enter` and `leave` keep these lists up to date while events are folded; `rebuild` makes them anew from the jobs, as a
snapshot does that does not store them. `validate` holds the one against the other.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from casparian_protocol.jobs import OPEN, JobState
from casparian_sentinel.core.ready import Entry, ReadyQueue
from casparian_sentinel.core.state import OpenJob, State


def enter(state: State, job: OpenJob) -> None:
    """List an open job where its state says."""
    now = job.state
    if now is JobState.QUEUED:
        state.queue_of(job).push(job.lane, job.priority, job.queued_seq, job.job_id)
    elif now is JobState.LEASED or now is JobState.RUNNING:
        held = state.epochs_held.get(job.worker_id)
        if held is None:
            held = state.epochs_held[job.worker_id] = {}
        held[job.job_id] = job.epoch
        if job.runs_alone:
            state.alone_held[job.job_id] = None
    elif now is JobState.COMMITTED:
        state.promoting[job.job_id] = None
    elif now is JobState.RETRY_WAIT:
        state.waiting[job.job_id] = None


def leave(state: State, job: OpenJob) -> None:
    """Take it off the list of its state; queues drop what is stale by themselves."""
    before = job.state
    if before is JobState.LEASED or before is JobState.RUNNING:
        held = state.epochs_held[job.worker_id]
        del held[job.job_id]
        if not held:
            del state.epochs_held[job.worker_id]
        state.alone_held.pop(job.job_id, None)
    elif before is JobState.COMMITTED:
        del state.promoting[job.job_id]
    elif before is JobState.RETRY_WAIT:
        del state.waiting[job.job_id]


def rebuild(state: State) -> None:
    """All lists of the open jobs, which are in `state.jobs` already, and of parsers that wait for their end."""
    lanes: dict[str, list[Entry]] = {}
    alone_lanes: dict[str, list[Entry]] = {}
    for job in state.jobs.values():
        state.open_keys[job.key] = job.job_id
        if job.state is JobState.QUEUED:
            mine = alone_lanes if job.runs_alone else lanes
            mine.setdefault(job.lane, []).append((-job.priority, job.queued_seq, job.job_id))
        else:
            enter(state, job)
    for lane, entries in lanes.items():
        state.ready.load(lane, entries)
    for lane, entries in alone_lanes.items():
        state.ready_alone.load(lane, entries)
    for line in state.parsers.values():
        if line.waits_for_jobs():
            state.waiting_lines[line.name] = None


def validate(state: State) -> None:
    """Raise `AssertionError` when a list is not what the open jobs make of it. O(open jobs): for tests, not for service."""
    anew = State()
    anew.jobs, anew.parsers = state.jobs, state.parsers
    rebuild(anew)
    kept, expected = _lists(state), _lists(anew)
    wrong = {name: (kept[name], made) for name, made in expected.items() if kept[name] != made}
    by_state = Counter(job.state for job in state.jobs.values())
    wrong |= {
        f"counts of {each}": (state.counts[each], by_state[each])
        for each in OPEN
        if state.counts[each] != by_state[each]
    }
    of_parser = Counter(job.work.parser for job in state.jobs.values())
    wrong |= {
        f"open jobs of {line.name}": (line.open_jobs, of_parser[line.name])
        for line in state.parsers.values()
        if line.open_jobs != of_parser[line.name]
    }
    for breaker in state.breakers.values():
        job = state.jobs.get(breaker.probe)
        if breaker.probe and (job is None or job.worker_id == "" or job.lane != breaker.lane):
            wrong[f"probe of {breaker.lane}"] = (breaker.probe, "no lease of that lane")
    assert not wrong, f"lists that are not what the open jobs make of them (kept, expected): {wrong}"


def _lists(state: State) -> dict[str, Any]:
    return {
        "open_keys": state.open_keys,
        "ready": _queued_in(state.ready),
        "ready_alone": _queued_in(state.ready_alone),
        "alone_held": state.alone_held,
        "waiting": state.waiting,
        "promoting": state.promoting,
        "epochs_held": state.epochs_held,
        "waiting_lines": state.waiting_lines,
    }


def _queued_in(queue: ReadyQueue) -> dict[str, list[Entry]]:
    """What waits in each lane; stale entries do not."""
    return {name: entries for name, entries in queue.current().items() if entries}
