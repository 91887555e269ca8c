"""Fictional orders as FIX messages, the faults that are planted in them, and the truth about each file.

`fix_logs` writes the files. Everything is derived from a seed.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

Fields = list[tuple[int, str]]
T = TypeVar("T")

SOH = b"\x01"


class Dice:
    """Random numbers that are the same for a seed in every Python version: only `random()` is used, whose sequence is fixed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, limit: int) -> int:
        return int(self._random.random() * limit)

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]


def encode(begin_string: str, fields: Fields, separator: bytes) -> bytes:
    """The message as a log shows it: BodyLength and CheckSum are computed with SOH, which `separator` then replaces.

    A data field that contains the separator keeps its length, because the fields are joined with SOH first.
    """
    body = b"".join(b"%d=%s\x01" % (tag, value.encode()) for tag, value in fields)
    head = b"8=%s\x019=%d\x01" % (begin_string.encode(), len(body))
    checksum = (sum(head) + sum(body)) % 256
    return (head + body + b"10=%03d\x01" % checksum).replace(SOH, separator)


def stamp(at: datetime, digits: int = 3) -> str:
    """FIX's UTCTimestamp: 20240102-09:30:00.123."""
    fraction = f"{at.microsecond:06d}"[:digits]
    return f"{at:%Y%m%d-%H:%M:%S}.{fraction}"


class Ticker:
    """A clock that advances by random steps."""

    def __init__(self, dice: Dice, day_number: int) -> None:
        self._dice = dice
        self.now = datetime(2024, 1, 2, 9, 0, tzinfo=UTC) + timedelta(days=day_number)

    def tick(self, milliseconds_max: int = 400) -> datetime:
        self.now += timedelta(milliseconds=1 + self._dice.below(milliseconds_max))
        return self.now


def cents(amount: int) -> str:
    return f"{amount // 100}.{amount % 100:02d}"


SYMBOLS = ("AAPL", "MSFT", "GOOGL", "AMZN", "JPM", "XOM", "KO", "PFE", "CAT", "BA")
TEXTS = ("", "", "", "", "Zürich desk", "a=b pair", "late report", "house account")


@dataclass
class Message:
    """One message. `event` is the expected value in fix_orders; "" for a message of another output."""

    msg_type: str
    is_from_client: bool
    fields: Fields
    event: str = ""
    fault: str | None = None


@dataclass
class Order:
    """One order as the venue sees it; prices in cents."""

    cl_ord_id: str
    symbol: str
    side: str
    quantity: int
    price: int
    is_fix42: bool
    account: str
    exec_count: int = 0
    filled: int = 0
    paid: int = 0
    fault: str | None = None
    previous_id: str | None = None
    text: str = ""

    @property
    def order_id(self) -> str:
        return f"O-{self.cl_ord_id.partition('.')[0]}"

    def request(self, msg_type: str, event: str) -> Message:
        """A message D, F, G or H from the client."""
        fields: Fields = [(11, self.cl_ord_id)]
        if self.previous_id and msg_type in "FG":
            fields += [(41, self.previous_id), (37, self.order_id)]
        fields += [(1, self.account), (55, self.symbol), (54, self.side)]
        if msg_type != "H":
            fields.append((38, str(self.quantity)))
        if msg_type in "DG":
            fields += [(40, "2"), (44, cents(self.price)), (59, "0")]
        if self.text:
            fields.append((58, self.text))
        return Message(msg_type, True, fields, event)

    def report(self, exec_type: str, status: str, event: str, extra: Fields | None = None) -> Message:
        """An ExecutionReport."""
        self.exec_count += 1
        fields: Fields = [(37, self.order_id), (11, self.cl_ord_id)]
        if self.previous_id:
            fields.append((41, self.previous_id))
        fields.append((17, f"E-{self.cl_ord_id}-{self.exec_count}"))
        if self.is_fix42:
            fields.append((20, "0"))
        is_open = status in "01356"
        fields += [(150, exec_type), (39, status), (1, self.account), (55, self.symbol), (54, self.side)]
        fields += [(38, str(self.quantity)), (44, cents(self.price)), *(extra or [])]
        fields += [(151, str(self.quantity - self.filled if is_open else 0)), (14, str(self.filled))]
        fields.append((6, self.average_price()))
        return Message("8", False, fields, event)

    def average_price(self) -> str:
        """The average price to four places, rounded half up, with integers only."""
        if not self.filled:
            return "0"
        ten_thousandths = (self.paid * 200 + self.filled) // (2 * self.filled)
        return f"{ten_thousandths // 10_000}.{ten_thousandths % 10_000:04d}"

    def trade(self, quantity: int, price: int) -> Message:
        self.filled += quantity
        self.paid += quantity * price
        is_last = self.filled == self.quantity
        status = "2" if is_last else "1"
        event = "fill" if is_last else "partial_fill"
        return self.report(
            status if self.is_fix42 else "F", status, event, [(31, cents(price)), (32, str(quantity)), (30, "XNYS")]
        )


def open_order(order: Order) -> Iterator[Message]:
    yield order.request("D", "new_order")
    yield order.report("0", "0", "ack")


def fill(order: Order, dice: Dice) -> Iterator[Message]:
    while order.filled < order.quantity:
        left = order.quantity - order.filled
        quantity = left if dice.below(2) else min(left, 100 * (1 + dice.below(3)))
        yield order.trade(quantity, order.price + dice.below(11) - 5)


def filled(order: Order, dice: Dice) -> Iterator[Message]:
    yield from open_order(order)
    yield from fill(order, dice)


def cancelled(order: Order, dice: Dice) -> Iterator[Message]:
    yield from open_order(order)
    order.previous_id, order.cl_ord_id = order.cl_ord_id, f"{order.cl_ord_id}.C"
    yield order.request("F", "cancel_request")
    yield order.report("4", "4", "cancel")


def rejected(order: Order, dice: Dice) -> Iterator[Message]:
    yield order.request("D", "new_order")
    yield order.report("8", "8", "reject", [(103, "1"), (58, "Unknown symbol")])


def replaced(order: Order, dice: Dice) -> Iterator[Message]:
    yield from open_order(order)
    order.previous_id, order.cl_ord_id = order.cl_ord_id, f"{order.cl_ord_id}.R"
    order.quantity += 100
    yield order.request("G", "replace_request")
    yield order.report("5", "0", "replace")
    yield from fill(order, dice)


def cancelled_too_late(order: Order, dice: Dice) -> Iterator[Message]:
    yield from filled(order, dice)
    order.previous_id, order.cl_ord_id = order.cl_ord_id, f"{order.cl_ord_id}.C"
    yield order.request("F", "cancel_request")
    refusal: Fields = [(37, order.order_id), (11, order.cl_ord_id), (41, order.previous_id), (39, "2")]
    yield Message("9", False, [*refusal, (434, "1"), (102, "0"), (58, "Too late to cancel")], "cancel_reject")


def asked_after(order: Order, dice: Dice) -> Iterator[Message]:
    yield from open_order(order)
    yield order.request("H", "status_request")
    if order.is_fix42:
        yield order.report("0", "0", "ack")
    else:
        yield order.report("I", "0", "order_status")
    yield from fill(order, dice)


def expired(order: Order, dice: Dice) -> Iterator[Message]:
    yield from open_order(order)
    yield order.report("C", "C", "expire")


def broken(order: Order, dice: Dice) -> Iterator[Message]:
    """An order with three fills of 100. The price of the second has a decimal comma, so that fill is not a valid row."""
    yield from open_order(order)
    for number in range(3):
        message = order.trade(100, order.price + number)
        message.fault = "price_with_comma" if number == 1 else None
        yield message


Life = Callable[[Order, Dice], Iterator[Message]]
LIVES: tuple[Life, ...] = (
    filled,
    filled,
    filled,
    cancelled,
    rejected,
    replaced,
    cancelled_too_late,
    asked_after,
    expired,
)


OUTPUTS = ("fix_orders", "fix_session", "fix_other")


@dataclass
class FileTruth:
    """The truth about one file. Every line counts as a message, a rejected row or a skip."""

    name: str
    line_count: int = 0
    size_bytes: int = 0
    valid_rows: Counter[str] = field(default_factory=Counter)
    quarantined_rows: Counter[str] = field(default_factory=Counter)
    violations: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # (output, code, column)
    skips: Counter[str] = field(default_factory=Counter)
    order_events: Counter[str] = field(default_factory=Counter)  # for valid rows

    def add(self, other: FileTruth) -> None:
        self.line_count += other.line_count
        self.size_bytes += other.size_bytes
        for name in ("valid_rows", "quarantined_rows", "violations", "skips", "order_events"):
            getattr(self, name).update(getattr(other, name))

    def as_json(self) -> dict[str, object]:
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
    """The order whose published fills do not add up, because one of them is in quarantine."""

    cl_ord_id: str
    file: str
    symbol: str
    events: tuple[str, ...]  # in order
    lines: tuple[int, ...]  # the line of each event
    quarantined_line: int
    quarantined_value: str  # LastPx as the venue wrote it
    cum_qty: int  # filled, according to the venue
    valid_last_qty: int  # the sum of the valid rows
    code: str = "type_mismatch"
    column: str = "last_px"

    def as_json(self) -> dict[str, object]:
        return {**self.__dict__, "events": list(self.events), "lines": list(self.lines)}


@dataclass(frozen=True)
class Truth:
    """The expected results of a run over the generated directory."""

    seed: int
    files: tuple[FileTruth, ...]
    broken_order: BrokenOrder | None
    path: Path  # the JSON file with the same content

    @property
    def total(self) -> FileTruth:
        total = FileTruth("total")
        for one in self.files:
            total.add(one)
        return total

    def as_json(self) -> dict[str, object]:
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
    """A fault: how it changes the first message of an order with this `event`, and the expected result of the row."""

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
    """Replace the checksum by a wrong one."""
    at = line.rindex(b"10=") + 3
    return line[:at] + b"%03d" % ((int(line[at : at + 3]) + 1) % 256) + line[at + 3 :]


def _changed_on_the_way(line: bytes) -> bytes:
    """Add a digit to the quantity, so that BodyLength and CheckSum are both wrong."""
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
