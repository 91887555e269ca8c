"""Faults planted in FIX logs, each with the verdict that Casparian must reach, written down before any parser runs."""

from collections.abc import Callable
from dataclasses import dataclass

from casparian.samples.fix_wire import Fields

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
