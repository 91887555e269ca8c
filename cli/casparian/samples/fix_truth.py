"""What is in a generated log, counted while it is written: the yardstick for whatever reads it afterwards."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OUTPUTS = ("fix_orders", "fix_session", "fix_other")


@dataclass
class FileTruth:
    """One file. Every line is counted as messages, as a rejected row or as a skip."""

    name: str
    line_count: int = 0
    size_bytes: int = 0
    valid_rows: Counter[str] = field(default_factory=Counter)
    quarantined_rows: Counter[str] = field(default_factory=Counter)
    violations: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # (output, code, column)
    skips: Counter[str] = field(default_factory=Counter)
    order_events: Counter[str] = field(default_factory=Counter)  # of valid rows

    def add(self, other: "FileTruth") -> None:
        self.line_count += other.line_count
        self.size_bytes += other.size_bytes
        for name in ("valid_rows", "quarantined_rows", "violations", "skips", "order_events"):
            getattr(self, name).update(getattr(other, name))

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "lines": self.line_count,
            "bytes": self.size_bytes,
            "outputs": {
                output: {"valid": self.valid_rows[output], "quarantined": self.quarantined_rows[output]}
                for output in OUTPUTS
            },
            "violations": [
                {"output": output, "code": code, "column": column, "count": count}
                for (output, code, column), count in sorted(self.violations.items())
            ],
            "skips": dict(sorted(self.skips.items())),
            "order_events": dict(sorted(self.order_events.items())),
        }


@dataclass(frozen=True)
class BrokenOrder:
    """The order whose fills do not add up: one of them is in quarantine."""

    cl_ord_id: str
    file: str
    symbol: str
    events: tuple[str, ...]  # as they happened
    lines: tuple[int, ...]  # where, one for each event
    quarantined_line: int
    quarantined_value: str  # LastPx as the venue wrote it
    cum_qty: int  # what the venue says was filled
    valid_last_qty: int  # what the valid rows add up to
    code: str = "type_mismatch"
    column: str = "last_px"

    def as_json(self) -> dict[str, Any]:
        return {**self.__dict__, "events": list(self.events), "lines": list(self.lines)}


@dataclass(frozen=True)
class Truth:
    """Everything a run over the generated directory must find."""

    seed: int
    files: tuple[FileTruth, ...]
    broken_order: BrokenOrder | None
    path: Path  # where the same is written as JSON

    @property
    def total(self) -> FileTruth:
        total = FileTruth("total")
        for one in self.files:
            total.add(one)
        return total

    def as_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "total": self.total.as_json(),
            "broken_order": self.broken_order.as_json() if self.broken_order else None,
            "files": [one.as_json() for one in self.files],
        }

    def write(self) -> None:
        self.path.write_text(json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
