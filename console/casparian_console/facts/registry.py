"""Parsers, contracts, sources and outputs as the cards and lists show them.

A query loads a table, and events update it. Counts of files are exact only as of the last answer. The screens query details
themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import NamedTuple

from casparian_console.canvas import clock, count
from casparian_console.facts.jobs import SECOND_US
from casparian_console.messages import Answer
from casparian_protocol.events import (
    ContentsRecognised,
    ContractApproved,
    ContractProposed,
    ContractRejected,
    Event,
    FilesObserved,
    FilesRevised,
    FilesTagged,
    JobCompleted,
    JobDeadLettered,
    JobFailed,
    JobOutputsCommitted,
    OutputVersionSetLive,
    ParserCurrentChanged,
    ParserHalfOpened,
    ParserPaused,
    ParserRegistered,
    ParserResumed,
    ParserRetired,
    ParserVersionWaits,
    Problem,
    ScanFinished,
    SourceAdded,
    SourceRemoved,
    TagRuleAdded,
    TagRuleRemoved,
)
from casparian_protocol.jobs import Manifest
from casparian_protocol.queries.outputs import OutputListed
from casparian_protocol.queries.registry import ContractListed, ParserVersion
from casparian_protocol.wording import RegisteredVersion, WaitingFiles, waiting_files, what_to_do, why_waits


@dataclass(slots=True)
class Parser:
    """One version of a parser."""

    name: str
    version: str
    state: str = "registered"
    registered_at: int = 0
    artifact: str = ""
    topics: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    #: Why its jobs are paused, by a user or by its circuit breaker; empty while they run.
    paused: str = ""
    #: closed, open or half_open
    breaker: str = "closed"
    #: When an open breaker lets one job try, µs; 0 if only a user can end the pause.
    probe_at: int = 0
    runs: int = 0
    successes: int = 0
    last_run_at: int = 0
    last_failure: str = ""
    #: Whether new and changed files go to this version.
    is_current: bool = False
    #: Why the version may run and is not current, and the remedy; empty if there is no obstacle.
    waits: str = ""
    waits_remedy: str = ""


@dataclass(slots=True)
class Contract:
    contract_id: str
    parser: str
    version: str
    output: str
    #: proposed, approved or rejected
    state: str
    columns: int = 0
    contract_hash: str = ""
    proposed_at: int = 0


@dataclass(slots=True)
class Source:
    source_id: str
    name: str
    path: str
    poll_seconds: float = 0.0


@dataclass(slots=True)
class Output:
    """A published table."""

    name: str
    parser: str = ""
    version: int = 0
    rows: int = 0
    bytes: int = 0
    files: int = 0
    quarantined: int = 0
    last_commit: int = 0


#: After these events only the tables know the counts of files.
_CHANGES_FILES = (FilesObserved, FilesRevised, FilesTagged, ScanFinished, TagRuleAdded, TagRuleRemoved)


class RegistryItem(NamedTuple):
    """An event, with the parser ("" without one) and the last error of the job that it is about."""

    seq: int
    at: int
    event: Event
    parser: str = ""
    problem: str = ""


#: The tables: each is loaded by a query and updated by events.
TABLES = ("sources", "files", "waiting", "parsers", "contracts", "outputs")


@dataclass(slots=True)
class Registry:
    """The tables. `on_answer` replaces one, `fold` updates them."""

    #: (name, version) → parser, in the order of registration.
    parsers: dict[tuple[str, str], Parser] = field(default_factory=dict)
    contracts: dict[str, Contract] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    files: int = 0
    file_bytes: int = 0
    untagged: int = 0
    #: tag → number of files that never became a job.
    without_job: dict[str, int] = field(default_factory=dict)
    #: Tables whose numbers can no longer be derived from events; they are removed when they are queried again.
    stale: set[str] = field(default_factory=set)
    #: table → sequence of its last answer; events up to it are in the answer.
    _loaded: dict[str, int] = field(default_factory=dict)

    def knows(self, *tables: str) -> bool:
        """Whether each of `TABLES` has been loaded; before that, its numbers mean nothing."""
        return all(table in self._loaded for table in tables)

    def begin_from_nothing(self) -> None:
        """Start with empty tables, which events fill from the first one on."""
        self._loaded = dict.fromkeys(TABLES, 0)

    @property
    def waiting_contracts(self) -> list[Contract]:
        return [contract for contract in self.contracts.values() if contract.state == "proposed"]

    @property
    def paused_parsers(self) -> list[Parser]:
        return [parser for parser in self.parsers.values() if parser.paused]

    def candidate(self, parser: Parser) -> RegisteredVersion:
        """The version in the form that `casparian_protocol.wording` takes."""
        states = {
            each.output: each.state
            for each in self.contracts.values()
            if each.parser == parser.name and each.version == parser.version
        }
        contracts = {output: states.get(output, "") for output in parser.outputs}
        is_retired = parser.state == "retired"
        return RegisteredVersion(parser.name, parser.version, frozenset(parser.topics), contracts, is_retired)

    @property
    def waiting_files(self) -> list[WaitingFiles]:
        """The files that will not run until something changes."""
        if not self.without_job:
            return []
        return waiting_files(self.without_job, map(self.candidate, self.parsers.values()))

    def pause_of(self, parser: str, version: str) -> str:
        """Why jobs of the version are paused, and when one of them tries; empty while they run."""
        known = self.parsers.get((parser, version))
        if known is None or not known.paused:
            return ""
        tries = f" · one job tries at {clock(known.probe_at)[11:]}" if known.probe_at else ""
        return f"{known.paused}{tries}"

    @property
    def watched(self) -> str:
        """Where the files come from, in words."""
        return count(len(self.sources), "source") if self.sources or not self.files else "scanned by hand"

    def current_of(self, name: str) -> Parser | None:
        """The current version of this parser: new and changed files go to it."""
        return next((each for each in self.parsers.values() if each.name == name and each.is_current), None)

    def current(self) -> list[Parser]:
        """The version of each parser to show first: the newest while it awaits a decision, else the current."""
        newest: dict[str, Parser] = {}
        for parser in self.parsers.values():
            if parser.state != "retired" or parser.name not in newest:
                newest[parser.name] = parser
        undecided = {(each.parser, each.version) for each in self.waiting_contracts}
        return [
            each if (each.name, each.version) in undecided else self.current_of(each.name) or each
            for each in newest.values()
        ]

    def fork(self) -> Registry:
        """A copy; a change to one of the two leaves the other as it was."""
        fresh = copy(self)
        fresh.parsers = {key: copy(parser) for key, parser in self.parsers.items()}
        fresh.contracts = {key: copy(contract) for key, contract in self.contracts.items()}
        fresh.outputs = {key: copy(output) for key, output in self.outputs.items()}
        fresh.sources, fresh._loaded, fresh.stale = self.sources.copy(), self._loaded.copy(), self.stale.copy()
        return fresh

    def on_answer(self, table: str, answer: Answer) -> None:
        """Take in an answer to one of `loading.queries`; the caller folds later events again."""
        self._loaded[table] = answer.seq
        rows = answer.rows
        if table == "parsers":
            self.parsers = {(row["name"], row["version"]): _parser(row) for row in rows}
        elif table == "contracts":
            self.contracts = {row["contract_id"]: _contract(row) for row in rows}
        elif table == "sources":
            self.sources = {
                row["id"]: Source(row["id"], row["name"], row["path"], row["poll_interval_secs"] or 0.0)
                for row in rows
                if row["enabled"] is not False
            }
        elif table == "outputs":
            self.outputs = {row["name"]: _output(row) for row in rows}
        elif table == "waiting":
            self.without_job = {row["tag"]: row["files"] for row in rows}
        elif table == "files":
            self.files, self.file_bytes, self.untagged = rows[0]["files"], rows[0]["bytes"], rows[0]["untagged"]

    def fold(self, item: RegistryItem, tables: Iterable[str] = TABLES) -> None:
        """Apply an event to those of `tables` whose last answer is older than it."""
        for table in tables:
            if item.seq > self._loaded.get(table, -1):
                _FOLDS[table](self, item)

    def _fold_sources(self, item: RegistryItem) -> None:
        match item.event:
            case SourceAdded() as event:
                self.sources[event.source_id] = Source(event.source_id, event.name, event.path, event.poll_seconds)
            case SourceRemoved(source_id=source_id):
                self.sources.pop(source_id, None)

    def _fold_files(self, item: RegistryItem) -> None:
        event = item.event
        if isinstance(event, FilesObserved):
            self.files += event.new - event.vanished
            self.untagged += event.new - event.tagged
        if isinstance(event, _CHANGES_FILES):
            self.stale.add("files")

    def _fold_waiting(self, item: RegistryItem) -> None:
        if isinstance(item.event, _CHANGES_FILES):
            self.stale.add("waiting")

    def _fold_parsers(self, item: RegistryItem) -> None:
        match item.event:
            case ParserRegistered() as event:
                self.parsers[event.name, event.version] = Parser(
                    event.name,
                    event.version,
                    registered_at=item.at,
                    artifact=event.artifact,
                    topics=event.topics,
                    outputs=tuple(event.outputs),
                )
            case ParserRetired(name=name, version=version):
                if parser := self.parsers.get((name, version)):
                    parser.state = "retired"
            case ParserCurrentChanged(name=name, version=version):
                for parser in self._versions(name):
                    parser.is_current = parser.version == version
                    if parser.is_current:
                        parser.waits = parser.waits_remedy = ""
            case ParserVersionWaits(name=name, version=version) as event:
                if parser := self.parsers.get((name, version)):
                    parser.waits, parser.waits_remedy = _waits(
                        name, version, event.problems, event.left_out, event.like, may_be_chosen=event.may_be_chosen
                    )
            case ParserPaused(name=name, version=version) as event:
                cooldown_us = round((event.cooldown_seconds or 0) * SECOND_US)
                for parser in self._versions(name, version):
                    parser.paused = event.reason or "paused"
                    parser.breaker = "open" if version else parser.breaker
                    parser.probe_at = item.at + cooldown_us if version and cooldown_us else 0
            case ParserHalfOpened(name=name, version=version):
                for parser in self._versions(name, version):
                    parser.breaker, parser.probe_at = "half_open", 0
            case ParserResumed(name=name, version=version):
                for parser in self._versions(name, version):
                    parser.paused, parser.breaker, parser.probe_at = "", "closed", 0
            case JobCompleted() | JobFailed() | JobDeadLettered() if item.parser:
                self._count_run(item)

    def _versions(self, name: str, version: str = "") -> list[Parser]:
        """The versions of a parser, or the one."""
        return [each for each in self.parsers.values() if each.name == name and version in ("", each.version)]

    def _fold_contracts(self, item: RegistryItem) -> None:
        match item.event:
            case ContractProposed() as event:
                self.contracts[event.contract_id] = Contract(
                    event.contract_id,
                    event.parser,
                    event.version,
                    event.output,
                    "proposed",
                    event.columns,
                    event.contract_hash,
                    item.at,
                )
            case ContractApproved(contract_id=contract_id) if contract := self.contracts.get(contract_id):
                contract.state = "approved"
            case ContractRejected(contract_id=contract_id) if contract := self.contracts.get(contract_id):
                contract.state = "rejected"

    def _fold_outputs(self, item: RegistryItem) -> None:
        match item.event:
            case JobOutputsCommitted() as event:
                self._committed(event, item)
                self.stale.add("outputs")  # only the tables know which earlier rows it supersedes
            case ContentsRecognised():
                self.stale.add("outputs")
            case OutputVersionSetLive() as event if output := self.outputs.get(event.output):
                output.version = event.version
                self.stale.add("outputs")

    def _count_run(self, item: RegistryItem) -> None:
        """Count an ended PARSE job. The totals cover all versions of a name, as in the projection."""
        is_success = isinstance(item.event, JobCompleted)
        for known in self._versions(item.parser):
            known.runs += 1
            known.successes += is_success
            known.last_run_at = item.at
            known.last_failure = known.last_failure if is_success else item.problem

    def _committed(self, event: JobOutputsCommitted, item: RegistryItem) -> None:
        manifest = event.manifest or Manifest()
        for name, version in event.versions.items():
            output = self.outputs.setdefault(name, Output(name))
            output.version = output.version or version  # the first commit; later an event says which version is live
            output.parser = max(output.parser, item.parser)
            if accounting := manifest.outputs.get(name):
                output.rows += accounting.valid
                output.quarantined += accounting.quarantined
            output.last_commit = item.at
            for file in manifest.files:
                if file.kind == "data" and file.output == name:
                    output.files += 1
                    output.bytes += file.bytes


_FOLDS: dict[str, Callable[[Registry, RegistryItem], None]] = {
    "sources": Registry._fold_sources,
    "files": Registry._fold_files,
    "waiting": Registry._fold_waiting,
    "parsers": Registry._fold_parsers,
    "contracts": Registry._fold_contracts,
    "outputs": Registry._fold_outputs,
}


def _waits(
    name: str, version: str, problems: Sequence[Problem], left_out: int, like: str, *, may_be_chosen: bool
) -> tuple[str, str]:
    """Why a version waits and the remedy, from the recorded facts; empty if there is no obstacle."""
    if not problems:
        return "", ""
    remedy = what_to_do(name, version, problems, may_be_chosen=may_be_chosen, like=like)
    return why_waits(problems, left_out), remedy


def _parser(row: ParserVersion) -> Parser:
    waits: tuple[str, str] = ("", "")
    if row["waits_json"]:
        found = json.loads(row["waits_json"])
        waits = _waits(
            row["name"],
            row["version"],
            found["problems"],
            found["left_out"],
            found["like"],
            may_be_chosen=row["may_be_chosen"],
        )
    breaker = row["breaker"] or "closed"
    held = row["breaker_reason"] or "its circuit breaker is open" if breaker != "closed" else ""
    by_hand = (row["pause_reason"] or "paused") if row["paused_at"] is not None else ""
    return Parser(
        row["name"],
        row["version"],
        (row["state"] or "registered").lower(),
        row["registered_at"] or 0,
        row["artifact"] or "",
        tuple(row["topics"] or ()),
        tuple(json.loads(row["outputs_json"] or "{}")),
        by_hand or held,
        breaker,
        (row["probe_at"] or 0) if breaker == "open" else 0,
        row["total_executions"] or 0,
        row["successful_executions"] or 0,
        row["last_run_at"] or 0,
        row["last_failure_reason"] or "",
        row["is_current"],
        *waits,
    )


def _contract(row: ContractListed) -> Contract:
    return Contract(
        row["contract_id"],
        row["parser"],
        row["version"],
        row["output"],
        row["state"].lower(),
        row["columns"] or 0,
        row["contract_hash"],
        row["proposed_at"] or 0,
    )


def _output(row: OutputListed) -> Output:
    return Output(
        row["name"],
        row["parser"] or "",
        row["version"],
        row["rows"],
        row["bytes"],
        row["files"],
        row["quarantined"],
        row["last_commit"] or 0,
    )
