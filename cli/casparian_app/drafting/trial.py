"""A plan tried on files: in a real guest, through the worker's own checks, as `casparian run` does.

Nothing is assumed about a draft: what it reads, rejects and passes over is what a run of it said.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from casparian_app.devrun.engine import run_input
from casparian_app.devrun.parser import DevParser, read_params
from casparian_app.devrun.rows import InputRun, OnRows
from casparian_protocol.contract import Contract
from casparian_protocol.parsers import CONTRACT_SUFFIX, contracts_of, read_metadata

#: Enough rows to judge a draft and its types; of a larger file the first ones.
TRIAL_ROWS_MAX = 200_000


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one file."""

    path: Path
    #: Output → valid and rejected rows.
    outputs: dict[str, tuple[int, int]]
    skipped: int
    #: Why the run failed; empty if it did not.
    problem: str
    #: Whether only the first rows were read.
    is_cut: bool
    #: Why most of the rejected rows were rejected.
    reason: str = ""

    @property
    def valid(self) -> int:
        return sum(valid for valid, _ in self.outputs.values())

    @property
    def rejected(self) -> int:
        return sum(rejected for _, rejected in self.outputs.values())

    @property
    def is_good(self) -> bool:
        """Whether the file was read: it gave rows, and not more rejected ones than good ones."""
        return not self.problem and self.valid > 0 and self.rejected <= self.valid

    def sentence(self) -> str:
        """The outcome for a person."""
        if self.problem:
            return f"{self.path.name}: fails: {self.problem}"
        first = f"the first {TRIAL_ROWS_MAX:,} rows: " if self.is_cut else ""
        are_many = self.reason and self.rejected * 4 > self.valid + self.rejected
        why = f" (mostly: {self.reason.rstrip('.')})" if are_many else ""
        rows = "row" if self.valid == 1 else "rows"
        counts = f"{self.valid:,} {rows} valid, {self.rejected:,} rejected{why}, {self.skipped:,} skipped"
        return f"{self.path.name}: {first}{counts}"


def try_files(
    files: Mapping[str, bytes],
    entry: str,
    path: Path,
    *,
    with_contract: bool,
    on_rows: OnRows | None = None,
    limit: int | None = TRIAL_ROWS_MAX,
) -> Trial:
    """Run the parser in these files on a file. Without its contract every row is given to `on_rows` as it arrives."""
    metadata = read_metadata(files[entry].decode(), entry)
    own = {name: data.decode() for name, data in files.items() if name.endswith(CONTRACT_SUFFIX)}
    contracts: Mapping[str, Contract] = contracts_of(metadata, own, entry) if with_contract else {}
    parser = DevParser(Path(entry), metadata, dict(files), entry, dict(contracts))
    run = run_input(
        parser,
        path,
        params=read_params((), metadata.params),
        python=sys.executable,
        limit=limit,
        rows_shown=0,
        on_rows=on_rows,
        in_terminal=False,
    )
    return _trial(path, run)


def _trial(path: Path, run: InputRun) -> Trial:
    outputs = {name: (each.valid_count, each.bad_count) for name, each in run.outputs.items()}
    problem = "" if run.error is None else run.error.message.strip().splitlines()[0]
    return Trial(path, outputs, sum(run.skips.values()), problem, run.is_cut, _first_reason(run))


def _first_reason(run: InputRun) -> str:
    """Why most of the bad rows are bad, by the first example of it."""
    found = [
        (count, key, each.examples[key][0])
        for each in run.outputs.values()
        for key, count in each.violations.items()
        if each.examples.get(key)
    ]
    if not found:
        return ""
    _, (code, column), example = max(found, key=lambda each: each[0])
    where = f"{code} in {column}: " if column else ""
    return f"{where}{example.got or f'expected {example.expected}'}"
