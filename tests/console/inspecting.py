"""An Inspect to drive: published outputs, and `casparian sql` answered by hand in its own form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from casparian_console.messages import Effects, Ended, Output, RunCommand
from casparian_console.screens.inspect import Inspect
from tests.console.driving import Driver, complete, job_id, run_job

COLUMNS = (
    ("event", "string"), ("symbol", "string"), ("price", "decimal128(38, 10)"), ("qty", "int64"),
    ("sent", "timestamp[us, tz=UTC]"), ("note", "string"),
    ("_cf_source_hash", "string"), ("_cf_job_id", "string"), ("_cf_processed_at", "timestamp[us, tz=UTC]"),
    ("_cf_parser_version", "string"), ("_cf_source_row", "int64"),
)  # fmt: skip
EVENTS = ("new_order", "ack", "fill", "cancel")
SYMBOLS = ("MSFT", "AAPL", "IBM")
BAD_COLUMNS = (
    ("event", "string"), ("side", "string"), ("price", "string"),
    ("_cf_violations", "list<item: struct<code: string, column: string, expected: string, got: string>>"),
    ("_cf_violation_type", "string"), ("_cf_error_msg", "string"), ("_cf_source_row", "int64"),
    ("_cf_output_row_index", "int64"), ("_cf_raw", "string"), ("_cf_source_hash", "string"), ("_cf_job_id", "string"),
)  # fmt: skip


def lineage(line: int, job: int = 1) -> list[Any]:
    return ["c0ca" * 16, job_id(job), "2026-03-05 13:00:00+00:00", "1.0.0", line]


def order(number: int, **changes: Any) -> list[Any]:
    """A row of `fix_orders`; the number is its line."""
    row: dict[str, Any] = {
        "event": EVENTS[number % 4],
        "symbol": SYMBOLS[number % 3],
        "price": f"{100 + number * 7 % 50}.2500000000",
        "qty": 100 * (1 + number % 9),
        "sent": f"2024-01-04 09:{number // 60 % 60:02d}:{number % 60:02d}+00:00",
        "note": None,
    }
    return [*(row | changes).values(), *lineage(number)]


def bad(line: int, violations: Sequence[tuple[str, str | None, str, str]], **values: Any) -> list[Any]:
    """A quarantined row; violations are (code, column, expected, got)."""
    told = [dict(zip(("code", "column", "expected", "got"), each, strict=True)) for each in violations]
    row = {"event": "fill", "side": "1", "price": "101.5"} | values
    raw = f"8=FIX.4.4|35=8|44={row['price']}|line {line}"
    return [*row.values(), told, violations[0][0], "", line, line - 1, raw, "c0ca" * 16, job_id(1)]


class InspectDriver(Driver):
    """Two outputs are published, Inspect is open."""

    def __init__(self, *, is_ascii: bool = False, outputs: Sequence[str] = ("fix_orders", "fix_session")) -> None:
        super().__init__(is_ascii=is_ascii)
        self.snapshot()
        for number, output in enumerate(outputs, 1):
            complete(self, run_job(self, number), rows=5000 * number, bad=42 if number == 1 else 0, output=output)
        self.tick(1)
        self.press("alt-i")

    @property
    def inspect(self) -> Inspect:
        screen = self.shell.screens["inspect"]
        assert isinstance(screen, Inspect)
        return screen

    def settled(self) -> Effects:
        """What the screen asks before the next frame."""
        return self.shell.settle()

    def tell(self, asked: Effects, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]]) -> Effects:
        """Answer the one `casparian sql` among the effects."""
        command = command_of(asked)
        head = json.dumps({"columns": [{"name": name, "type": kind} for name, kind in columns]})
        text = "".join(f"{line}\n" for line in [head, *(json.dumps(row) for row in rows)])
        return self.send(Output(command.tag, text), Ended(command.tag, 0))

    def refuse(self, asked: Effects, stderr: str) -> Effects:
        return self.send(Ended(command_of(asked).tag, 1, stderr))

    def open_orders(self, rows: Sequence[Sequence[Any]] | None = None) -> Effects:
        """Open `fix_orders` with its sample answered; what it asks next is returned (the profile)."""
        rows = [order(number) for number in range(1, 61)] if rows is None else rows
        return self.tell(self.press("enter"), COLUMNS, rows)

    def profile(self, asked: Effects) -> None:
        """Numbers for the six columns of `fix_orders`, as `queries.profile` asks for them."""
        flat: list[Any] = [5000]
        flat += [5000, 4, "ack", "new_order", [["ack", 1300], ["new_order", 2500], ["fill", 900], ["cancel", 300]]]
        flat += [4990, 3, "AAPL", "MSFT", [["AAPL", 1000], ["IBM", 1990], ["MSFT", 2000]]]
        flat += [4000, 50, "100.2500000000", "149.2500000000", [[at, 10 * at + 5] for at in range(24)]]
        flat += [5000, 9, "100", "900", [[0, 800], [12, 400], [23, 10]]]
        flat += [5000, 5000, "2024-01-04 09:00:01+00", "2024-01-04 10:23:20+00", [[at, 208] for at in range(24)]]
        flat += [0, 0, None, None, []]
        self.tell(asked, [(f"c{at}", "int64") for at in range(len(flat))], [flat])


def command_of(asked: Effects) -> RunCommand:
    (command,) = [effect for effect in asked if isinstance(effect, RunCommand)]
    return command


def sql_of(asked: Effects) -> str:
    return command_of(asked).args[-1]
