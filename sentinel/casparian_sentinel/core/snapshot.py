"""The durable state as one map that msgpack can hold, and back, so that a boot depends on open work and not on history.

A snapshot is a cache of the log up to its `seq`: a process that cannot read one folds the log instead. Derived indexes (the
ready queue, leases by worker) are rebuilt, not stored. `dump` also serves as the state's fingerprint: two states with equal
dumps are equal.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import fields
from typing import Any, TypeAlias

from casparian_protocol.events import WorkerJoined
from casparian_protocol.events.base import as_map, from_map
from casparian_protocol.jobs import JobState, Manifest, OutputStatus
from casparian_protocol.jobs.kinds import WORKS, Checked, Work, unchecked_work_of
from casparian_protocol.packing import pack
from casparian_protocol.tagging import TagRule
from casparian_sentinel.core.folding import rebuild
from casparian_sentinel.core.kinds import kind_of
from casparian_sentinel.core.state import (
    Breaker,
    Commit,
    Contract,
    Keeping,
    OpenJob,
    OutputOwner,
    OutputVersion,
    ParserLine,
    ParserVersion,
    Source,
    State,
)

FORMAT = 6
#: A part of the state as msgpack stores it: values by field name.
Dumped: TypeAlias = dict[str, Any]
_NOT_PLAIN = frozenset({"work", "state", "commit", "is_checked"})
_PLAIN = tuple(name for name in (f.name for f in fields(OpenJob)) if name not in _NOT_PLAIN)
_NAMES: dict[type, tuple[str, ...]] = {
    kind: tuple(f.name for f in fields(kind))
    for kind in (Breaker, Commit, Contract, Keeping, OutputOwner, OutputVersion, ParserLine, ParserVersion, Source)
}


class UnreadableSnapshot(ValueError):
    """This is not a snapshot of this format; fold the log instead."""


class OtherFormat(UnreadableSnapshot):
    """A valid snapshot of another version."""


def _plain(thing: Any) -> Dumped:
    return {name: getattr(thing, name) for name in _NAMES[type(thing)]}


class _Works:
    """Works as rows: a map that many works share is dumped once, and is one object again after loading."""

    def __init__(self) -> None:
        #: `[kind, {field: map}]`, each stored once.
        self.shared: list[list[Any]] = []
        self._by_identity: dict[tuple[Any, ...], int] = {}
        self._by_content: dict[bytes, int] = {}

    def dump(self, work: Work) -> list[Any]:
        """`[index in shared, other values]`."""
        maps, own = {}, []
        for name in work.names():
            value = getattr(work, name)
            if value.__class__ is dict:
                maps[name] = value
            else:
                own.append(
                    {each: getattr(value, each) for each in value.names()} if isinstance(value, Checked) else value
                )
        key = (work.kind, *map(id, maps.values()))
        number = self._by_identity.get(key)
        if number is None:
            row = [work.kind, maps]
            number = self._by_identity[key] = self._by_content.setdefault(pack(row), len(self.shared))
            if number == len(self.shared):
                self.shared.append(row)
        return [number, own]


class _LoadedWorks:
    """Works from their rows. A text that a work shares with the previous one becomes one object again, too."""

    def __init__(self, state: State, shared: list[list[Any]]) -> None:
        self._state = state
        self._shared = [
            (kind, maps, [each for each in WORKS[kind].names() if each not in maps]) for kind, maps in shared
        ]
        self._before: dict[int, list[Any]] = {}

    def load(self, number: int, own: list[Any]) -> Work:
        kind, maps, names = self._shared[number]
        own = [old if old == new else new for old, new in zip(self._before.get(number, own), own, strict=True)]
        self._before[number] = own
        work = unchecked_work_of({"kind": kind, **maps, **dict(zip(names, own, strict=True))})
        folded: Work = kind_of(work).folded(self._state, work)
        return folded


def dump(state: State) -> Dumped:
    """Everything that `load` needs, as maps, lists, texts and numbers."""
    works = _Works()
    jobs: list[list[Any]] = []
    for job in state.jobs.values():
        commit = None if job.commit is None else _dump_kept(job.commit)
        plain = [getattr(job, name) for name in _PLAIN]
        jobs.append([*works.dump(job.work), job.state.value, commit, plain])
    return {
        "format": FORMAT,
        "seq": state.seq,
        "works": works.shared,
        "jobs": jobs,
        "keeping": [[*attempt, _dump_kept(keeping)] for attempt, keeping in state.keeping.items()],
        "recent_keys": list(state.recent_keys.items()),
        "settled": [[job_id, epoch, answer] for job_id, (epoch, answer) in state.answered.items()],
        "counts": {key.value: count for key, count in state.counts.items()},
        "joined": [each.to_data() for each in state.joined.values()],
        "parsers": [_dump_line(line) for line in state.parsers.values()],
        "breakers": [
            {**_plain(each), "fingerprints": list(each.fingerprints), "files": list(each.files)}
            for each in state.breakers.values()
        ],
        "contracts": [_plain(contract) for contract in state.contracts.values()],
        "outputs": [_dump_owner(owner) for owner in state.outputs.values()],
        "policies": [[*scope, policy] for scope, policy in state.policies.items()],
        "sources": [_plain(source) for source in state.sources.values()],
        "rules": [as_map(rule) for rule in state.rules.values()],
        "scans": dict(state.scans),
        "intake_paused": state.intake_paused,
    }


def _dump_kept(kept: Commit | Keeping) -> Dumped:
    return {**_plain(kept), "manifest": None if kept.manifest is None else as_map(kept.manifest)}


def _with_manifest(row: Dumped) -> Dumped:
    manifest = row["manifest"]
    return {**row, "manifest": None if manifest is None else from_map(Manifest, manifest)}


def _dump_line(line: ParserLine) -> Dumped:
    versions = [{**_plain(version), "approved": sorted(version.approved)} for version in line.versions.values()]
    return {**_plain(line), "versions": versions}


def _dump_owner(owner: OutputOwner) -> Dumped:
    versions = [
        {**_plain(version), "status": version.status.value, "contracts": list(version.contracts)}
        for version in owner.versions.values()
    ]
    return {**_plain(owner), "versions": versions}


def _load_owner(row: Dumped) -> OutputOwner:
    versions = [
        OutputVersion(**{**v, "status": OutputStatus(v["status"]), "contracts": list(v["contracts"])})
        for v in row["versions"]
    ]
    return OutputOwner(**{**row, "versions": {version.number: version for version in versions}})


def load(snapshot: Dumped) -> State:
    """The state that was dumped. Raises `UnreadableSnapshot` for anything that this version has not dumped."""
    if not isinstance(snapshot, dict) or snapshot.get("format") != FORMAT:
        raise OtherFormat("another format of snapshot")
    state = State()
    try:
        _load_rest(state, snapshot)
        _load_jobs(state, snapshot)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as cause:
        raise UnreadableSnapshot(f"damaged snapshot ({type(cause).__name__}: {cause})") from cause
    return state


def _load_rest(state: State, snapshot: Dumped) -> None:
    state.seq = snapshot["seq"]
    state.keeping = {(job_id, epoch): Keeping(**_with_manifest(row)) for job_id, epoch, row in snapshot["keeping"]}
    state.recent_keys = dict(snapshot["recent_keys"])
    state.answered = OrderedDict((job_id, (epoch, answer)) for job_id, epoch, answer in snapshot["settled"])
    state.counts = {JobState(key): count for key, count in snapshot["counts"].items()}
    state.joined = {row["worker_id"]: WorkerJoined.from_data(row) for row in snapshot["joined"]}
    for row in snapshot["parsers"]:
        versions = [ParserVersion(**{**v, "approved": set(v["approved"])}) for v in row["versions"]]
        state.parsers[row["name"]] = ParserLine(**{**row, "versions": {v.version: v for v in versions}})
    state.breakers = {
        (row["parser"], row["version"]): Breaker(
            **{**row, "fingerprints": list(row["fingerprints"]), "files": list(row["files"])}
        )
        for row in snapshot["breakers"]
    }
    state.contracts = {row["contract_id"]: Contract(**row) for row in snapshot["contracts"]}
    state.outputs = {row["name"]: _load_owner(row) for row in snapshot["outputs"]}
    state.policies = {(parser, output): policy for parser, output, policy in snapshot["policies"]}
    state.sources = {row["source_id"]: Source(**row) for row in snapshot["sources"]}
    state.rules = {row["id"]: from_map(TagRule, row) for row in snapshot["rules"]}
    state.scans = dict(snapshot["scans"])
    state.intake_paused = snapshot["intake_paused"]


def _load_jobs(state: State, snapshot: Dumped) -> None:
    works = _LoadedWorks(state, snapshot["works"])
    for number, own, status, commit, plain in snapshot["jobs"]:
        job = OpenJob(
            work=works.load(number, own),
            state=JobState(status),
            commit=None if commit is None else Commit(**_with_manifest(commit)),
            **dict(zip(_PLAIN, plain, strict=True)),
        )
        state.jobs[job.job_id] = job
    rebuild(state)
