"""Registered parsers: run the tests, register, choose the current version, set parameters."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from packaging.version import Version
from pydantic import JsonValue

from casparian_app.gateway import Gateway
from casparian_app.names import unknown
from casparian_app.texts import UsageProblem, WorkFailed, count
from casparian_protocol.contract import Contract
from casparian_protocol.home import Home, make_home
from casparian_protocol.jobs.kinds import JobInput, ParseWork
from casparian_protocol.parsers import ParameterRefused
from casparian_protocol.parsers import read_bundle as unpack
from casparian_protocol.parsers.metadata import accept_parameter, read_parameter
from casparian_protocol.queries.registry import ContractsListed, ParserVersion, ParserVersions, StoredParameters
from casparian_protocol.settings import SandboxSettings, Settings, load
from casparian_protocol.wire.operations.base import Call
from casparian_protocol.wire.operations.registry import REGISTER, SET_PARAMETERS, RegisterResult
from casparian_protocol.wording import what_to_do, why_waits
from casparian_sentinel import (
    BundleTest,
    Observed,
    PreparedArtifact,
    bundle_differences,
    bundle_tests,
    home_key,
    prepare_artifact,
    updated_expectation,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from casparian_protocol.jobs import Manifest
    from casparian_worker import Outcome, ParseTask

__all__ = ["ParserTestsFailed", "PreparedArtifact", "Registered", "home_key", "register_parser"]


class ParserTestsFailed(WorkFailed):
    """A parser whose own tests fail is not registered."""

    def __init__(self, failed: int, ran: int, case: str, differences: tuple[str, ...]) -> None:
        more = f" (and {len(differences) - 1} more differences)" if len(differences) > 1 else ""
        super().__init__(
            f"{failed} of {count(ran, 'test')} of the parser failed, so it was not registered: {case}: {differences[0]}{more}",
            remedy="Correct the parser, or accept its present output: `casparian parser test PATH --update`.",
        )


@dataclass(frozen=True, slots=True)
class Registered:
    """The bundle, and the daemon's answer."""

    prepared: PreparedArtifact
    tests_passed: int
    answer: RegisterResult


def register_parser(gateway: Gateway, path: Path, *, runs_tests: bool = True) -> Registered:
    """Register the parser in a file or directory. Its tests run in a real guest; if one fails, the parser is refused."""
    if not path.exists():
        raise UsageProblem(
            f"There is no file or directory {path}.", remedy="Name a .py file, or a directory that contains a parser."
        )
    settings = load(gateway.home, dict(os.environ)).settings
    prepared = prepare_artifact(path, home_key=home_key(gateway.home.keys), gatekeeper_mode=settings.gatekeeper.mode)
    passed = _run_tests(path) if runs_tests else 0
    for content in prepared.blobs.values():
        gateway.upload(content)
    registered = Call(REGISTER, REGISTER.read_args({"artifact": prepared.facts()}))
    return Registered(prepared, passed, gateway.perform(registered))


def _run_tests(path: Path) -> int:
    """Run the parser's tests. Returns their number; all passed."""
    results = run_bundle_tests(path)
    failed = [one for one in results if not one.is_passed]
    if failed:
        raise ParserTestsFailed(len(failed), len(results), failed[0].case, failed[0].differences)
    return len(results)


#: A policy under which any number of bad rows is accepted.
_COUNT_ONLY: dict[str, bool | int | float | str | None] = {"allow": True, "max_pct": 100.0, "max_count": None}


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The result of one test case."""

    case: str
    #: The differences from the expected rows, one sentence each; empty when the case passed.
    differences: tuple[str, ...]
    #: The file of expected rows, if it was rewritten.
    rewritten: Path | None = None

    @property
    def is_passed(self) -> bool:
        return not self.differences


def run_bundle_tests(path: Path, *, is_update: bool = False) -> list[CaseResult]:
    """Run every test case of the parser at `path`. Raises for an invalid bundle.

    `is_update`: rewrite the expected rows of the cases that differ; a case whose run failed stays as it is.
    """
    tests = bundle_tests(path)
    if not tests:
        return []
    with tempfile.TemporaryDirectory(prefix="casparian-test-") as folder:
        home = Home(Path(folder).resolve() / "home")
        make_home(home)
        # `register` reports warnings of the gatekeeper; a test checks rows only.
        prepared = prepare_artifact(path, home_key=home_key(home.keys), gatekeeper_mode="warn")
        bundle = _unpacked(home, prepared)
        return [_run_case(home, prepared, bundle, test, number, is_update) for number, test in enumerate(tests)]


def _unpacked(home: Home, prepared: PreparedArtifact) -> Path:
    folder = home.artifacts / prepared.artifact_hash
    for name, content in unpack(prepared.bundle).items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder


def _run_case(
    home: Home, prepared: PreparedArtifact, bundle: Path, test: BundleTest, number: int, is_update: bool
) -> CaseResult:
    """Run one case and compare; with `is_update`, record the actual rows."""
    from casparian_worker import CancelToken, Failed, WorkerContext, execute_task

    # Contained as in production, at the strongest level of this machine, whatever that is.
    settings = Settings(sandbox=SandboxSettings(minimum="none"))
    outcome: Outcome = execute_task(_task(prepared, bundle, test, number), WorkerContext(home, settings), CancelToken())
    if isinstance(outcome, Failed):
        return CaseResult(test.case, (f"{outcome.error.code}: {outcome.error.message}",))
    try:
        observed = _observed(outcome.staging.path, outcome.manifest)
    finally:
        outcome.staging.remove()
    found = bundle_differences(test, observed)
    if not found or not is_update:
        return CaseResult(test.case, found)
    text = json.dumps(updated_expectation(test, observed), indent=2, ensure_ascii=False) + "\n"
    aside = test.expected_path.with_name(f".{test.expected_path.name}.new")
    aside.write_text(text, encoding="utf-8")
    aside.replace(test.expected_path)
    return CaseResult(test.case, (), test.expected_path)


def _task(prepared: PreparedArtifact, bundle: Path, test: BundleTest, number: int) -> ParseTask:
    from casparian_worker import ParseTask

    contracts: Mapping[str, Contract] = prepared.contracts
    params: dict[str, JsonValue] = {
        name: param.default for name, param in prepared.metadata.params.items() if param.kind != "file"
    }
    work = ParseWork(
        input=JobInput(path=str(test.input_path.resolve()), size=test.input_path.stat().st_size),
        parser=prepared.metadata.name,
        parser_version=prepared.metadata.version,
        artifact=prepared.artifact_hash,
        contracts={output: contract.hash() for output, contract in contracts.items()},
        params=params,
        policies=dict.fromkeys(contracts, _COUNT_ONLY),
    )
    return ParseTask(
        job_id=f"{number + 1:016x}",
        work=work,
        attempt=1,
        epoch=1,
        leased_at_us=time.time_ns() // 1000,
        bundle=bundle,
        entry=prepared.entry,
        contracts=dict(contracts),
    )


def _without_nanoseconds(table: pa.Table) -> pa.Table:
    """Python's times stop at microseconds, so finer ones are compared as the text that commands print."""
    import pyarrow as pa

    from casparian_protocol.values import cell_texts

    for at, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            table = table.set_column(at, field.name, pa.array(cell_texts(table.column(at)), pa.string()))
    return table


def _observed(path_of: Callable[[str], Path], manifest: Manifest) -> Observed:
    """The staged rows, as a query would return them."""
    import pyarrow.parquet as pq

    rows: dict[str, list[Mapping[str, object]]] = {output: [] for output in manifest.outputs}
    for file in manifest.files:
        if file.kind == "data":
            rows[file.output] += _without_nanoseconds(pq.read_table(path_of(file.name))).to_pylist()
    quarantined = {output: counted.quarantined for output, counted in manifest.outputs.items()}
    return Observed(rows, quarantined, manifest.skipped_records)


class Waits(TypedDict):
    """Why a version waits, and the remedy."""

    said: str
    remedy: str
    problems: list[dict[str, object]]


class WaitingVersion(Waits):
    parser: str
    version: str
    #: The version that takes files in the meantime; empty for none.
    current: str


class Parameter(TypedDict):
    """A declared parameter: its value, its default, and where the value comes from."""

    name: str
    value: Any
    default: Any
    origin: str


class ParserHealth(TypedDict):
    """The health of a version, as `parser health --json` prints it."""

    parser: str
    version: str
    #: `running`, `paused` (by a user), `open` or `half_open`, `retired`.
    state: str
    consecutive_failures: int
    half_open: bool
    paused_at: int | None
    pause_reason: str | None
    #: When its circuit breaker lets one job through as a trial.
    probe_at: int | None
    last_failure_reason: str | None
    total_executions: int
    successful_executions: int
    last_run_at: int | None


@dataclass(frozen=True, slots=True)
class ParserStanding:
    """One registered version and its status."""

    row: ParserVersion
    #: current, ready (it may run, but another version is current), waits, or why it cannot run.
    standing: str
    #: The version of this parser that takes new and changed files; empty for none.
    current: str

    @property
    def name(self) -> str:
        return self.row["name"]

    @property
    def version(self) -> str:
        return self.row["version"]

    @property
    def is_current(self) -> bool:
        return self.row["is_current"]

    @property
    def paused_at(self) -> int | None:
        """Whether it is paused, by a user or by its circuit breaker."""
        return self.row["paused_at"] or self.row["opened_at"]

    @property
    def pause_reason(self) -> str | None:
        return self.row["pause_reason"] or self.row["breaker_reason"]

    @property
    def state(self) -> str:
        """`standing`, with "paused" added if that is why its jobs do not run."""
        return "paused" if self.paused_at and self.standing in ("current", "ready") else self.standing

    @property
    def declared(self) -> dict[str, JsonValue]:
        """Its parameters with their defaults."""
        declared: dict[str, JsonValue] = json.loads(self.row["params_json"] or "{}")
        return declared

    @property
    def outputs(self) -> dict[str, JsonValue]:
        outputs: dict[str, JsonValue] = json.loads(self.row["outputs_json"] or "{}")
        return outputs

    @property
    def waits(self) -> Waits | None:
        """Why it waits and the remedy; None when it does not wait."""
        if not self.row["waits_json"] or self.standing != "waits":
            return None
        waits = json.loads(self.row["waits_json"])
        may_be_chosen = self.row["may_be_chosen"]
        return {
            "said": why_waits(waits["problems"], waits["left_out"]),
            "remedy": what_to_do(
                self.name, self.version, waits["problems"], may_be_chosen=may_be_chosen, like=waits["like"]
            ),
            "problems": waits["problems"],
        }

    def document(self) -> dict[str, object]:
        """As `parser list --json` prints it."""
        row: Mapping[str, object] = self.row
        return {
            **{name: row[name] for name in _DOCUMENTED},
            "paused_at": self.paused_at,
            "pause_reason": self.pause_reason,
            "params": self.declared,
            "outputs": self.outputs,
            "state": self.state,
            "waits": self.waits,
        }

    def health(self) -> ParserHealth:
        row, breaker = self.row, self.row["breaker"] or "closed"
        state = "running" if breaker == "closed" else breaker
        if row["paused_at"]:
            state = "paused"
        if row["state"] == "RETIRED":
            state = "retired"
        return {
            "parser": self.name,
            "version": self.version,
            "state": state,
            "consecutive_failures": row["consecutive_failures"] or 0,
            "half_open": breaker == "half_open",
            "paused_at": self.paused_at,
            "pause_reason": row["pause_reason"] if row["paused_at"] else row["breaker_reason"],
            "probe_at": row["probe_at"] if breaker == "open" else None,
            "last_failure_reason": row["last_failure_reason"],
            "total_executions": row["total_executions"] or 0,
            "successful_executions": row["successful_executions"] or 0,
            "last_run_at": row["last_run_at"],
        }


#: Registry columns that a version's document shows unchanged.
_DOCUMENTED = (
    "name", "version", "registered_at", "artifact", "kind", "may_drop_records", "topics", "is_current",
    "current_since", "current_by", "current_reason", "total_executions", "successful_executions",
    "last_failure_reason",
)  # fmt: skip


def parser_versions(gateway: Gateway, name: str | None = None) -> list[ParserStanding]:
    """Every version, or those of one parser: parsers by name, versions by PEP 440."""
    contracts: dict[tuple[str, str], dict[str, str]] = {}
    for one in gateway.query(ContractsListed(parser=name)):
        contracts.setdefault((one["parser"], one["version"]), {})[one["output"]] = one["state"].lower()
    found = gateway.query(ParserVersions(name))
    current = {row["name"]: row["version"] for row in found if row["is_current"]}
    standings = [
        ParserStanding(
            row, _standing(row, contracts.get((row["name"], row["version"]), {})), current.get(row["name"], "")
        )
        for row in found
    ]
    return sorted(standings, key=lambda one: (one.name, Version(one.version)))


def versions_of(gateway: Gateway, name: str) -> list[ParserStanding]:
    """The versions of one parser. Raises `UnknownName` when there are none."""
    found = parser_versions(gateway, name)
    if not found:
        raise unknown(gateway, "parser", name)
    return found


def newest_or_current(versions: Sequence[ParserStanding]) -> ParserStanding:
    """The version to use when none is named."""
    return next((one for one in versions if one.is_current), versions[-1])


def _standing(row: ParserVersion, contracts: dict[str, str]) -> str:
    states = {contracts.get(output, "none") for output in json.loads(row["outputs_json"] or "{}")}
    if row["state"] == "RETIRED":
        return "retired"
    if "rejected" in states:
        return "contract rejected"
    if "none" in states or not states:
        return "no contract"
    if "proposed" in states:
        return "waits for approval"
    if row["waits_json"]:
        return "waits"
    return "current" if row["is_current"] else "ready"


def waiting_versions(gateway: Gateway, parsers: Collection[str]) -> list[WaitingVersion]:
    """Versions of these parsers that may run but wait."""
    return [
        {"parser": one.name, "version": one.version, "current": one.current, **waits}
        for one in parser_versions(gateway)
        if one.name in parsers and (waits := one.waits) is not None
    ]


# --- parameters -------------------------------------------------------------------------------------------------------


def parameters(gateway: Gateway, version: ParserStanding) -> list[Parameter]:
    """Each declared parameter with its value in production."""
    stored = {one["name"]: json.loads(one["value_json"]) for one in gateway.query(StoredParameters(version.name))}
    return [_parameter(version.declared, name, stored) for name in version.declared]


def _parameter(declared: Mapping[str, JsonValue], name: str, stored: Mapping[str, JsonValue]) -> Parameter:
    default = declared[name]
    if name not in stored:
        return {"name": name, "value": default, "default": default, "origin": "default"}
    try:
        value, origin = accept_parameter(declared, name, stored[name]), "set"
    except ParameterRefused:
        value, origin = stored[name], "set, but not of the type that this version declares"
    return {"name": name, "value": value, "default": default, "origin": origin}


def set_parameters(
    gateway: Gateway, version: ParserStanding, given: Sequence[str], unset: Sequence[str], *, reset: bool, reason: str
) -> None:
    """Set parameters from `NAME=VALUE`, and reset others to their declared defaults. Raises `UsageProblem` for a wrong value."""
    try:
        wanted = dict(read_parameter(version.declared, text) for text in given)
    except ParameterRefused as refused:
        raise UsageProblem(refused.problem, remedy=refused.remedy or "") from refused
    gateway.perform(SET_PARAMETERS(parser=version.name, values=wanted, unset=list(unset), reset=reset, reason=reason))
