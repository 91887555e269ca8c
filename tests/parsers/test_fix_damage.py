"""FIX logs with one piece of damage: intact messages arrive exactly, and a damaged one is never half read.

The cases are those of `bench.damage`; `-m campaign` reads all of them. `read` checks that every line and byte is accounted for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.damage import Case, cases_of, sample
from tests.parsers.fix_runs import read

#: What tells where a message was, and its text if others are on its line.
_PLACE = ("__cf_row_id", "message_index", "_cf_raw")


def rows_by_line(path: Path, data: bytes) -> tuple[dict[int, list[dict[str, Any]]], set[int]]:
    """The rows of each line without their places, and the lines of rejected messages."""
    path.write_bytes(data)
    recorded = read(path)
    found: dict[int, list[dict[str, Any]]] = {}
    for output, rows in recorded.rows.items():
        for row in rows:
            values = {name: _without_end(value) for name, value in row.items() if name not in _PLACE}
            found.setdefault(row["__cf_row_id"], []).append({"output": output, **values})
    return found, {line for _, _, _, line, _ in recorded.rejected}


def _without_end(value: Any) -> Any:
    """The text of a message is right without the separator at its end too."""
    return value.removesuffix("\x01") if isinstance(value, str) else value


def problems(cases: Iterable[Case], path: Path) -> Iterator[str]:
    clean = next(case for case in cases_of("fix") if case.damage == "none")
    intact, _ = rows_by_line(path, clean.data)
    row_of = {row: intact[line] for line, row in enumerate((s.records[0] for s in clean.stretches), 1)}
    for case in cases:
        rows, rejected = rows_by_line(path, case.data)
        for stretch, span in zip(case.stretches, case.spans, strict=True):
            lines = range(span.line, span.line + span.line_count)
            came = [row for line in lines for row in rows.get(line, [])]
            held = stretch.records if stretch.readings is None else stretch.readings
            right = [row for record in held for row in row_of.get(record, [])]
            if not stretch.is_damaged and came != right:
                yield f"{case.name}: line {span.line} is intact: {came}"
            elif any(row not in right for row in came):
                yield f"{case.name}: line {span.line} is silently different: {came}"
            elif stretch.records and not came and rejected.isdisjoint(lines):
                yield f"{case.name}: line {span.line} is lost"


def test_damage_to_one_message_costs_no_other(tmp_path: Path) -> None:
    assert list(problems(sample(cases_of("fix"), 150), tmp_path / "log.fix"))[:5] == []


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_every_damage_to_a_log(tmp_path: Path) -> None:
    assert list(problems(cases_of("fix"), tmp_path / "log.fix"))[:20] == []
