"""The faults that are planted in generated logs, and the truth about them: what must come out of each file.

The truth is written when a fault is planted; nothing here derives it from a run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from casparian.samples.fix_orders import Fields

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

    def add(self, other: FileTruth) -> None:
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


REJECTED = ("parser_rejected", "")


@dataclass(frozen=True)
class Fault:
    """What is done to the first message of an order with this `event`, and how the row must end."""

    event: str
    violations: tuple[tuple[str, str], ...]  # (code, column); column "" where the parser rejects the whole message
    fields: Callable[[Fields], Fields] | None = None
    line: Callable[[bytes], bytes] | None = None
    output: str = "fix_orders"


def _replace(tag: int, value: str) -> Callable[[Fields], Fields]:
    return lambda fields: [(number, value if number == tag else text) for number, text in fields]


def _drop(tag: int) -> Callable[[Fields], Fields]:
    return lambda fields: [one for one in fields if one[0] != tag]


def _twice(tag: int) -> Callable[[Fields], Fields]:
    return lambda fields: [copy for one in fields for copy in ((one, one) if one[0] == tag else (one,))]


def _two_faults(fields: Fields) -> Fields:
    return _replace(54, "Z")(_replace(38, "1,000")(fields))


def _wrong_checksum(line: bytes) -> bytes:
    """Another checksum than the true one, whatever stands after it."""
    at = line.rindex(b"10=") + 3
    return line[:at] + b"%03d" % ((int(line[at : at + 3]) + 1) % 256) + line[at + 3 :]


def _changed_on_the_way(line: bytes) -> bytes:
    """One digit more in the quantity: BodyLength and CheckSum both tell."""
    return line.replace(b"38=", b"38=9", 1)


def _cut_short(line: bytes) -> bytes:
    return line[: line.rindex(b"55=") + 4]


FAULTS = {
    "price_not_a_number": Fault("new_order", (("type_mismatch", "price"),), _replace(44, "12O.50")),
    "wrong_checksum": Fault("ack", (REJECTED,), line=_wrong_checksum),
    "nanoseconds": Fault(
        "ack", (("precision_exceeded", "transact_time"),), _replace(60, "20240102-10:00:00.123456789")
    ),
    "side_unknown": Fault("new_order", (("value_not_allowed", "side"),), _replace(54, "Z")),
    "cut_short": Fault("new_order", (REJECTED,), line=_cut_short, output="fix_other"),
    "too_many_decimals": Fault("fill", (("precision_exceeded", "last_px"),), _replace(31, "101.12345678901")),
    "no_cl_ord_id": Fault("ack", (("null_not_allowed", "cl_ord_id"),), _drop(11)),
    "no_such_day": Fault("fill", (("format_mismatch", "transact_time"),), _replace(60, "20240230-10:00:00.000")),
    "changed_on_the_way": Fault("new_order", (REJECTED,), line=_changed_on_the_way),
    "two_faults": Fault("new_order", (("type_mismatch", "order_qty"), ("value_not_allowed", "side")), _two_faults),
    "tag_twice": Fault("ack", (REJECTED,), _twice(37)),
}
PRICE_WITH_COMMA = "price_with_comma"
BROKEN_ORDER_FAULT = Fault("partial_fill", (("type_mismatch", "last_px"),))

# Lines that no parser can read as a message.
GARBAGE_LINES = (
    b"connection reset by peer, key=value, retrying",
    b"8=FIX.4.49=6535=049=NORTHEX56=HARBOR34=752=20240102-09:30:00.00010=113",
    b"35=D without a beginning, 11=ORPHAN",
)


def with_comma(fields: Fields) -> Fields:
    """LastPx with a decimal comma."""
    return [(tag, value.replace(".", ",") if tag == 31 else value) for tag, value in fields]
