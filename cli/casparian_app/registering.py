"""Registering a parser: bundle, check, run its own tests, sign, store, and propose its contracts.

A test runs the bundle as it would be registered, through a real guest and the worker's own engine, in a directory of its own
that is gone afterwards; no home is touched. The cases and the comparing are the registry's. The quarantine policy does not
judge a case: how many rows must be bad is what the case itself says.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from casparian_app.gateway import Gateway
from casparian_app.problems import UsageProblem, WorkFailed
from casparian_app.texts import count
from casparian_protocol.contract import Contract
from casparian_protocol.home import Home, make_home
from casparian_protocol.jobs.kinds import JobInput, ParseWork
from casparian_protocol.parsers import read_bundle as unpack
from casparian_protocol.settings import Settings, load
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
            f"{failed} of {count(ran, 'test')} of the parser failed, nothing was registered: {case}: {differences[0]}{more}",
            remedy="Correct the parser, or take over what it gives now: `casparian parser test PATH --update`.",
        )


@dataclass(frozen=True, slots=True)
class Registered:
    """What was bundled, and what the sentinel answered."""

    prepared: PreparedArtifact
    tests_passed: int
    answer: dict[str, Any]


def register_parser(gateway: Gateway, path: Path, *, runs_tests: bool = True) -> Registered:
    """Register the parser in a file or directory. Its tests run through a real guest; one that fails refuses it."""
    if not path.exists():
        raise UsageProblem(f"There is nothing at {path}.", remedy="Name a .py file or a directory with a parser in it.")
    settings = load(gateway.home, dict(os.environ)).settings
    prepared = prepare_artifact(path, home_key=home_key(gateway.home.keys), gatekeeper_mode=settings.gatekeeper.mode)
    passed = _run_tests(path) if runs_tests else 0
    for content in prepared.blobs.values():
        gateway.upload(content)
    return Registered(prepared, passed, gateway.request("register", artifact=prepared.facts()))


def _run_tests(path: Path) -> int:
    """How many tests lie beside the parser, and passed."""
    results = run_bundle_tests(path)
    failed = [one for one in results if not one.is_passed]
    if failed:
        raise ParserTestsFailed(len(failed), len(results), failed[0].case, failed[0].differences)
    return len(results)


#: Every row is judged, none is too many.
_COUNT_ONLY: dict[str, bool | int | float | str | None] = {"allow": True, "max_pct": 100.0, "max_count": None}


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of one case."""

    case: str
    #: What came otherwise than expected, a sentence each; none when the case passed.
    differences: tuple[str, ...]
    #: The file of expected rows, when it was rewritten.
    rewritten: Path | None = None

    @property
    def is_passed(self) -> bool:
        return not self.differences


def run_bundle_tests(path: Path, *, is_update: bool = False) -> list[CaseResult]:
    """Run every case beside the parser at `path`. Raises for an invalid bundle.

    `is_update`: write what came into the expected rows of the cases that differ; a case whose run failed stays as it is.
    """
    tests = bundle_tests(path)
    if not tests:
        return []
    with tempfile.TemporaryDirectory(prefix="casparian-test-") as folder:
        home = Home(Path(folder).resolve() / "home")
        make_home(home)
        # What `warn` finds is reported by `register`; a test is about rows.
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
    """Run one case and compare; with `is_update` write down what came."""
    from casparian_worker import CancelToken, Failed, WorkerContext, execute_task

    outcome: Outcome = execute_task(
        _task(prepared, bundle, test, number), WorkerContext(home, Settings()), CancelToken()
    )
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
    """Python's own times end at microseconds: finer ones are compared as the text that every command prints."""
    import pyarrow as pa

    from casparian_protocol.values import cell_texts

    for at, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            table = table.set_column(at, field.name, pa.array(cell_texts(table.column(at)), pa.string()))
    return table


def _observed(staged: Path, manifest: Manifest) -> Observed:
    """The staged rows, read back as a query would read them."""
    import pyarrow.parquet as pq

    rows: dict[str, list[Mapping[str, object]]] = {output: [] for output in manifest.outputs}
    for file in manifest.files:
        if file.kind == "data":
            rows[file.output] += _without_nanoseconds(pq.read_table(staged / file.name)).to_pylist()
    quarantined = {output: counted.quarantined for output, counted in manifest.outputs.items()}
    return Observed(rows, quarantined, manifest.skipped_records)
