"""Seeded FIX logs of fictional venues, with planted faults and a record of the expected results (the truth).

`generate` fills a directory with logs of several venues; `write_big_log` writes one file of any size for benchmarks. Files are
written as a stream, so memory does not grow with their size. The module knows no parser.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from casparian.demo.fix_orders import (
    BROKEN_ORDER_FAULT,
    FAULTS,
    GARBAGE_LINES,
    LIVES,
    PRICE_WITH_COMMA,
    SOH,
    SYMBOLS,
    TEXTS,
    BrokenOrder,
    Dice,
    Fields,
    FileTruth,
    Message,
    Order,
    Ticker,
    Truth,
    broken,
    cents,
    encode,
    filled,
    stamp,
    with_comma,
)

__all__ = ["BrokenOrder", "FileTruth", "Truth", "generate", "write_big_log"]

_OPEN_ORDERS = 4  # how many orders are open at the same time
_ORDERS_PER_FAULT = 6  # keeps bad rows well below the quarantine limit of 10 %


@dataclass(frozen=True)
class Venue:
    name: str
    client: str
    begin_string: str
    separator: bytes
    prefix: str  # "", gateway, syslog or json


VENUES = (
    Venue("NORTHEX", "CASTLE", "FIX.4.4", b"|", ""),
    Venue("HARBOR", "CASTLE", "FIX.4.2", SOH, ""),
    Venue("LUMEN", "PIKE", "FIX.4.4", b"|", "gateway"),
    Venue("QUARRY", "PIKE", "FIXT.1.1", b"^", ""),
    Venue("TARN", "CASTLE", "FIX.4.4", b"|", "json"),
    Venue("OSIER", "PIKE", "FIX.4.2", SOH, "syslog"),
)


def generate(
    directory: Path,
    *,
    seed: int,
    files: int = 6,
    orders_per_file: int = 200,
    faults_per_file: int = 12,
    truth_path: Path | None = None,
) -> Truth:
    """Write `files` logs into `directory`, and the truth next to it: not inside, because the directory will be scanned.

    Fewer faults are planted if there are too few orders for them. `faults_per_file=0` gives clean logs without a broken order.
    """
    path = truth_path or directory.with_name(f"{directory.name}.truth.json")
    if directory.resolve() in path.resolve().parents:
        raise ValueError(f"The truth file {path} would lie inside the scanned directory {directory}.")
    directory.mkdir(parents=True, exist_ok=True)
    counted: list[FileTruth] = []
    broken_order: BrokenOrder | None = None
    for number in range(files):
        venue = VENUES[number % len(VENUES)]
        log = _Log(venue, Dice(seed * 1_000_003 + number), number, directory)
        fault_count = min(faults_per_file, orders_per_file // _ORDERS_PER_FAULT)
        has_broken_order = faults_per_file > 0 and number == 0
        log.write(orders_per_file, fault_count, has_broken_order)
        counted.append(log.truth)
        broken_order = broken_order or log.broken_order()
    truth = Truth(seed, tuple(counted), broken_order, path)
    truth.write()
    return truth


class _Log:
    """One venue's log of one day."""

    def __init__(self, venue: Venue, dice: Dice, number: int, directory: Path) -> None:
        self._venue = venue
        self._dice = dice
        self._ticker = Ticker(dice, number)
        self._number = number
        day = f"{self._ticker.now:%Y%m%d}"
        self._path = directory / f"{venue.name.lower()}_{day}_{number:03d}.fix"
        self.truth = FileTruth(self._path.name)
        self._next_seq = {True: 1, False: 1}
        self._story: list[tuple[str, int]] = []  # the broken order: event, line
        self._broken: Order | None = None
        self._file: BinaryIO

    def write(self, order_count: int, fault_count: int, has_broken_order: bool) -> None:
        with self._path.open("wb") as self._file:
            self._comment(f"{self._venue.name} {self._venue.begin_string}, all messages of the day")
            self._logon()
            for message in self._orders(order_count, fault_count, has_broken_order):
                self._send(message)
                self._talk()
            if fault_count:
                self._line(self._dice.pick(GARBAGE_LINES))
                self._quarantined("fix_other", (("parser_rejected", ""),))
            self._send(Message("5", True, [(58, "End of day")]))
            self._send(Message("5", False, []))
        self.truth.size_bytes = self._path.stat().st_size

    def broken_order(self) -> BrokenOrder | None:
        if self._broken is None:
            return None
        events, lines = zip(*self._story, strict=True)
        return BrokenOrder(
            cl_ord_id=self._broken.cl_ord_id,
            file=self._path.name,
            symbol=self._broken.symbol,
            events=events,
            lines=lines,
            quarantined_line=lines[3],
            quarantined_value=cents(self._broken.price + 1).replace(".", ","),
            cum_qty=self._broken.quantity,
            valid_last_qty=self._broken.quantity - 100,
        )

    def _orders(self, order_count: int, fault_count: int, has_broken_order: bool) -> Iterator[Message]:
        """The messages of all orders. A few orders are open at the same time, so their messages mix."""
        kinds = list(FAULTS)
        fault_of = {
            (place + 1) * order_count // (fault_count + 1): kinds[(self._number * 5 + place) % len(kinds)]
            for place in range(fault_count)
        }
        open_lives: list[Iterator[Message]] = []
        next_order = 0
        while next_order < order_count or open_lives:
            while next_order < order_count and len(open_lives) < _OPEN_ORDERS:
                is_broken = has_broken_order and next_order == order_count // 2
                open_lives.append(self._life(next_order, fault_of.get(next_order), is_broken))
                next_order += 1
            life = self._dice.pick(open_lives)
            message = next(life, None)
            if message is None:
                open_lives.remove(life)
            else:
                yield message

    def _life(self, number: int, fault: str | None, is_broken: bool) -> Iterator[Message]:
        dice = self._dice
        order = Order(
            cl_ord_id=f"{self._venue.name[:2]}{self._number:02d}-{number:06d}",
            symbol=dice.pick(SYMBOLS),
            side=dice.pick(("1", "2", "5")),
            quantity=300 if is_broken else 100 * (1 + dice.below(9)),
            price=1_000 + dice.below(40_000),
            is_fix42=self._venue.begin_string == "FIX.4.2",
            account=f"ACCT{dice.below(40):03d}",
            text=dice.pick(TEXTS),
        )
        if is_broken:
            self._broken = order
            return broken(order, dice)
        if fault is None:
            return dice.pick(LIVES)(order, dice)
        return _with_fault(filled(order, dice), fault)

    def _send(self, message: Message) -> None:
        """Write one message as one line, with its fault if it has one, and count it first."""
        fault = FAULTS.get(message.fault or "")
        fields = self._header(message) + message.fields
        if message.event:
            fields.append((60, stamp(self._ticker.now)))
        if message.fault == PRICE_WITH_COMMA:
            fault, fields = BROKEN_ORDER_FAULT, with_comma(fields)
        if fault and fault.fields:
            fields = fault.fields(fields)
        text = encode(self._venue.begin_string, fields, self._venue.separator)
        if fault and fault.line:
            text = fault.line(text)
        self._line(self._prefixed(text, message.is_from_client))
        if self._broken and (11, self._broken.cl_ord_id) in message.fields:
            self._story.append((message.event, self.truth.line_count))
        if fault:
            self._quarantined(fault.output, fault.violations)
        else:
            self._valid(message)

    def _header(self, message: Message) -> Fields:
        venue, client = self._venue.name, self._venue.client
        sender, target = (client, venue) if message.is_from_client else (venue, client)
        seq = self._next_seq[message.is_from_client]
        self._next_seq[message.is_from_client] = seq + 1
        sent_at = stamp(self._ticker.tick(), 6 if self._venue.begin_string == "FIXT.1.1" else 3)
        return [(35, message.msg_type), (49, sender), (56, target), (34, str(seq)), (52, sent_at)]

    def _logon(self) -> None:
        for is_from_client in (True, False):
            self._send(Message("A", is_from_client, [(98, "0"), (108, "30"), (141, "Y")]))

    def _talk(self) -> None:
        """Write the other lines of a log: session messages, and remarks of people and programs."""
        throw = self._dice.below(160)
        if throw < 4:
            for is_from_client in (True, False):
                self._send(Message("0", is_from_client, []))
        elif throw == 4:
            self._send(Message("1", True, [(112, f"TEST{self.truth.line_count}")]))
            self._send(Message("0", False, [(112, f"TEST{self.truth.line_count - 1}")]))
        elif throw == 5:
            seq = self._next_seq[False]
            self._send(Message("2", True, [(7, str(max(1, seq - 3))), (16, "0")]))
            self._send(Message("4", False, [(123, "Y"), (36, str(seq + 1))]))
        elif throw == 6:
            self._send(Message("3", False, [(45, "7"), (371, "55"), (372, "D"), (373, "1"), (58, "Tag missing")]))
        elif throw == 7:
            book: Fields = [(55, self._dice.pick(SYMBOLS)), (268, "2")]
            self._send(Message("W", False, [*book, (269, "0"), (270, "101.10"), (269, "1"), (270, "101.12")]))
        elif throw == 8:
            self._send(Message("B", False, [(148, "Halt lifted"), (33, "1"), (95, "9"), (96, "a|b^10=0|")]))
        elif throw == 9:
            self._comment("gateway switched to line B")
        elif throw == 10:
            self._line(b"")
            self.truth.skips["blank line"] += 1

    def _comment(self, text: str) -> None:
        self._line(b"# " + text.encode())
        self.truth.skips["comment"] += 1

    def _prefixed(self, text: bytes, is_from_client: bool) -> bytes:
        now: datetime = self._ticker.now
        direction = b"OUT" if is_from_client else b"IN"
        if self._venue.prefix == "gateway":
            return b"%s INFO gw-1 %s %s" % (now.isoformat(timespec="milliseconds").encode(), direction, text)
        if self._venue.prefix == "syslog":
            return b"%s fixhost engine[4711]: %s" % (f"{now:%b %d %H:%M:%S}".encode(), text)
        if self._venue.prefix == "json":
            return b'{"ts":"%s","dir":"%s","msg":"%s"}' % (now.isoformat().encode(), direction, text)
        return text

    def _line(self, line: bytes) -> None:
        self._file.write(line + b"\n")
        self.truth.line_count += 1

    def _valid(self, message: Message) -> None:
        output = "fix_orders" if message.event else "fix_session" if message.msg_type in "A012345j" else "fix_other"
        self.truth.valid_rows[output] += 1
        if message.event:
            self.truth.order_events[message.event] += 1

    def _quarantined(self, output: str, violations: tuple[tuple[str, str], ...]) -> None:
        self.truth.quarantined_rows[output] += 1
        for code, column in violations:
            self.truth.violations[(output, code, column)] += 1


def _with_fault(life: Iterator[Message], fault: str) -> Iterator[Message]:
    """The order's messages, with the first one of the fault's kind marked."""
    is_planted = False
    for message in life:
        if not is_planted and message.event == FAULTS[fault].event:
            is_planted, message.fault = True, fault
        yield message


def write_big_log(path: Path, *, seed: int, messages: int, separator: bytes = SOH) -> int:
    """Write one clean log with this number of order messages, as fast as possible. Returns its size in bytes."""
    dice = Dice(seed)
    with path.open("wb", buffering=1 << 20) as log:
        for first in range(0, messages, 4):
            for text in _big_log_life(dice, first, messages):
                body = text + b"60=%s\x01" % _big_log_time(first)
                head = b"8=FIX.4.4\x019=%d\x01" % len(body)
                line = b"%s%s10=%03d\x01" % (head, body, (sum(head) + sum(body)) & 255)
                log.write((line if separator == SOH else line.replace(SOH, separator)) + b"\n")
    return path.stat().st_size


def _big_log_time(millisecond: int) -> bytes:
    """The time this many milliseconds after nine o'clock, modulo twelve hours."""
    hours, rest = divmod(millisecond % 43_200_000, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return b"20240115-%02d:%02d:%02d.%03d" % (9 + hours, minutes, *divmod(rest, 1_000))


def _big_log_life(dice: Dice, first: int, limit: int) -> list[bytes]:
    """One order: new order, acknowledgement, partial fill, fill. The limit may cut off the last order."""
    symbol, price, half = dice.pick(SYMBOLS).encode(), 1_000 + dice.below(40_000), 50 * (1 + dice.below(20))
    quantity, cl_ord_id = 2 * half, b"C%09d" % first
    money = b"%d.%02d" % divmod(price, 100)
    sent = b"52=%s\x01" % _big_log_time(first)
    order = b"11=%s\x0155=%s\x0154=%d\x0138=%d\x0144=%s\x01" % (cl_ord_id, symbol, 1 + first // 4 % 2, quantity, money)
    client = b"49=CASTLE\x0156=NORTHEX\x0134=%d\x01" % (first // 4 + 1)
    lines = [b"35=D\x01" + client + sent + order + b"40=2\x0159=0\x01"]
    for number, (exec_type, status, done) in enumerate(
        ((b"0", b"0", 0), (b"F", b"1", half), (b"F", b"2", quantity)), 1
    ):
        venue = b"35=8\x0149=NORTHEX\x0156=CASTLE\x0134=%d\x01" % (first + number)
        report = b"37=O%d\x0117=E%d\x01150=%s\x0139=%s\x01" % (first, first + number, exec_type, status)
        trade = b"31=%s\x0132=%d\x01" % (money, half) if done else b""
        lines.append(venue + sent + report + order + trade + b"151=%d\x0114=%d\x01" % (quantity - done, done))
    return lines[: limit - first]
