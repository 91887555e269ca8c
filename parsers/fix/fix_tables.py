"""Messages to columns: which tag fills which column, what happened in one word, times.

Rows are kept as one flat list of cells per output and become columns by strides: no dict per row. Every value
leaves as text, exactly as the log has it (the contract judges it), save for two: timestamps in FIX's own form are
put into ISO 8601 with their offset, and `event` is derived. A value not in that form is left as it stands.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

Cells = tuple[bytes | None, ...]
Pick = Callable[[Sequence[bytes | None]], Cells]

_PLANS_MAX = 10_000
_ROWS_SEALED = 1_000

HEADER = {
    "begin_string": 8,
    "msg_type": 35,
    "sender_comp_id": 49,
    "target_comp_id": 56,
    "msg_seq_num": 34,
    "sending_time": 52,
    "poss_dup_flag": 43,
    "poss_resend": 97,
    "orig_sending_time": 122,
}
ORDER_FIELDS = HEADER | {
    "cl_ord_id": 11,
    "orig_cl_ord_id": 41,
    "order_id": 37,
    "exec_id": 17,
    "exec_ref_id": 19,
    "exec_trans_type": 20,
    "exec_type": 150,
    "ord_status": 39,
    "account": 1,
    "symbol": 55,
    "security_id": 48,
    "currency": 15,
    "side": 54,
    "ord_type": 40,
    "time_in_force": 59,
    "order_qty": 38,
    "price": 44,
    "stop_px": 99,
    "last_px": 31,
    "last_qty": 32,
    "leaves_qty": 151,
    "cum_qty": 14,
    "avg_px": 6,
    "last_mkt": 30,
    "ord_rej_reason": 103,
    "cxl_rej_reason": 102,
    "cxl_rej_response_to": 434,
    "text": 58,
    "transact_time": 60,
}
SESSION_FIELDS = HEADER | {
    "encrypt_method": 98,
    "heart_bt_int": 108,
    "reset_seq_num_flag": 141,
    "test_req_id": 112,
    "begin_seq_no": 7,
    "end_seq_no": 16,
    "new_seq_no": 36,
    "gap_fill_flag": 123,
    "ref_seq_num": 45,
    "ref_tag_id": 371,
    "ref_msg_type": 372,
    "session_reject_reason": 373,
    "business_reject_ref_id": 379,
    "business_reject_reason": 380,
    "text": 58,
}
TIMES = frozenset({"sending_time", "orig_sending_time", "transact_time"})

ORDER_EVENTS = {
    b"D": "new_order",
    b"F": "cancel_request",
    b"G": "replace_request",
    b"9": "cancel_reject",
    b"H": "status_request",
}
SESSION_EVENTS = {
    b"0": "heartbeat",
    b"1": "test_request",
    b"2": "resend_request",
    b"3": "reject",
    b"4": "sequence_reset",
    b"5": "logout",
    b"A": "logon",
    b"j": "business_reject",
}
EXEC_EVENTS = {
    b"0": "ack",
    b"1": "partial_fill",
    b"2": "fill",
    b"3": "done_for_day",
    b"4": "cancel",
    b"5": "replace",
    b"6": "pending_cancel",
    b"7": "stopped",
    b"8": "reject",
    b"9": "suspended",
    b"A": "pending_new",
    b"B": "calculated",
    b"C": "expire",
    b"D": "restate",
    b"E": "pending_replace",
    b"G": "trade_correct",
    b"H": "trade_cancel",
    b"I": "order_status",
    b"J": "trade_in_clearing_hold",
    b"K": "trade_released",
    b"L": "triggered",
}
TRADE_EVENTS = {b"1": "partial_fill", b"2": "fill"}
TRANS_EVENTS = {b"1": "trade_cancel", b"2": "trade_correct", b"3": "order_status"}  # FIX 4.2's ExecTransType


def order_event(
    msg_type: bytes | None, exec_type: bytes | None, ord_status: bytes | None, trans_type: bytes | None
) -> str:
    """What happened to the order. An unknown ExecType is an `execution_report`, its code in `exec_type`."""
    if msg_type != b"8":
        return ORDER_EVENTS[msg_type or b""]
    if trans_type in TRANS_EVENTS:
        return TRANS_EVENTS[trans_type]
    if exec_type == b"F":  # FIX 4.3 and later: one code for every trade, OrdStatus says which
        return TRADE_EVENTS.get(ord_status or b"", "trade")
    return EXEC_EVENTS.get(exec_type or ord_status or b"", "execution_report")


_FIX_TIME = "([0-9]{4})([0-9]{2})([0-9]{2})-([0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.][0-9]+)?)"
#: Times of a few lengths are converted length by length.
_SIZES_MAX = 4
_is_fix_time = re.compile(_FIX_TIME).fullmatch


def _iso_of_one_day(column: pa.StringArray, suffix: bytes) -> pa.StringArray | None:
    """Times of equal length on one day, several times quicker than by a regular expression; None for any others."""
    first = column[0].as_py() if len(column) and not column.null_count else None
    if first is None or not _is_fix_time(first):
        return None
    texts, size = column.view(pa.binary()), len(first)
    day = first[:9].encode()
    if pc.starts_with(texts, day).false_count or pc.not_equal(pc.binary_length(texts), size).true_count:
        return None
    _, offsets, data = texts.buffers()
    start = pa.Array.from_buffers(pa.int32(), 1, [None, offsets], offset=texts.offset)[0].as_py()
    given = pa.Array.from_buffers(pa.uint8(), size * len(texts), [None, data], offset=start)
    is_digit = [each.isdigit() for each in first]
    least = bytes(ord("0") if digit else ord(each) for each, digit in zip(first, is_digit, strict=True))
    span = bytes(9 * digit for digit in is_digit)
    beyond_least = pc.subtract(given, _tiled(least, len(texts)))  # wraps around below it
    if pc.greater(beyond_least, _tiled(span, len(texts))).true_count:
        return None
    iso_day = b"%s-%s-%sT" % (day[:4], day[4:6], day[6:8])
    iso = pc.binary_replace_slice(texts, 0, 9, iso_day)
    return pc.binary_replace_slice(iso, size + 2, size + 2, suffix).view(pa.string())


def _tiled(pattern: bytes, count: int) -> pa.Array:
    return pa.Array.from_buffers(pa.uint8(), len(pattern) * count, [None, pa.py_buffer(pattern * count)])


class Clock:
    """FIX timestamps to ISO 8601. A local time that a zone skips or has twice keeps no offset: there is none that is certain."""

    def __init__(self, zone_name: str) -> None:
        self.is_utc = zone_name in ("UTC", "Etc/UTC", "Z")
        self._zone = ZoneInfo(zone_name)
        self._known: dict[str, str] = {}

    def iso(self, column: pa.StringArray) -> pa.StringArray:
        iso = self._iso(column)
        if self.is_utc:
            return iso
        return pa.array([text and self._with_offset(text) for text in iso.to_pylist()], pa.string())

    def _iso(self, column: pa.StringArray) -> pa.StringArray:
        suffix = "Z" if self.is_utc else ""
        iso = _iso_of_one_day(column, suffix.encode())
        if iso is not None:
            return iso
        sizes = pc.binary_length(column)
        counts = pc.value_counts(sizes).field("values").to_pylist()
        if 1 < len(counts) <= _SIZES_MAX:  # of several systems, or with NULLs
            masks = [sizes.is_null() if size is None else pc.fill_null(pc.equal(sizes, size), False) for size in counts]
            parts = [self._iso(column.filter(mask)) for mask in masks]
            places = pa.concat_arrays([pc.indices_nonzero(mask) for mask in masks])
            return pa.concat_arrays(parts).take(pc.inverse_permutation(places.cast(pa.int64())))
        return pc.replace_substring_regex(column, rf"\A{_FIX_TIME}\z", r"\1-\2-\3T\4" + suffix)

    def _with_offset(self, local: str) -> str:
        second, fraction = local[:19], local[19:]
        if second not in self._known:
            if len(self._known) > 100_000:
                self._known.clear()
            self._known[second] = self._offset(second)
        return local[:19] + fraction + self._known[second]

    def _offset(self, second: str) -> str:
        """`+HH:MM` where the zone gives exactly one answer, nothing otherwise: the contract then asks for a zone."""
        try:
            local = datetime.strptime(second, "%Y-%m-%dT%H:%M:%S")
        except ValueError:
            return ""
        first = local.replace(tzinfo=self._zone).utcoffset()
        second_answer = local.replace(tzinfo=self._zone, fold=1).utcoffset()
        if first is None or first != second_answer or first % timedelta(minutes=1):
            return ""
        minutes = first // timedelta(minutes=1)
        return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


class Plan:
    """How the values of one sequence of tags become cells: made once, used for every message of that shape."""

    def __init__(self, tags: list[bytes], fields: dict[str, int]) -> None:
        own_tags = {name: b"%d" % tag for name, tag in fields.items()}
        present = set(tags)
        self.names = [name for name, tag in own_tags.items() if tag in present]
        self.places = {name: tags.index(own_tags[name]) for name in self.names}
        twice = [f"{name} ({own_tags[name].decode()})" for name in self.names if tags.count(own_tags[name]) > 1]
        self.problem = f"given more than once: {', '.join(twice)}" if twice else None
        self.seen_count = 0
        self._tag_count = len(tags)
        self.pick: Pick = _nothing

    def pick_for(self, names: list[str]) -> None:
        """Let `pick` give the cells of these columns, out of the values followed by one None."""
        places = [self.places.get(name, self._tag_count) for name in names]
        self.pick = itemgetter(*places) if len(places) > 1 else _nothing


def _nothing(values: Sequence[bytes | None]) -> Cells:
    return ()


class Rows(NamedTuple):
    """Some rows of one output as columns. `lines` and `ends` ascend."""

    #: Only the columns that some row fills.
    cells: Mapping[str, pa.StringArray]
    #: The place of each row's line in its block.
    lines: pa.Int64Array
    #: Where each row's part of the input ends, from the start of the input.
    ends: pa.Int64Array
    #: None if every row is a whole line, which is its message and nothing else.
    parts: "Parts | None" = None


class Parts(NamedTuple):
    """What rows have that are not whole lines."""

    message_indexes: pa.Int64Array
    #: The messages as logged.
    texts: pa.StringArray
    #: The part of the line, for rows whose line has several parts.
    raws: pa.StringArray


class Batch:
    """Rows of one output on their way to columns, from messages that are read one at a time."""

    def __init__(self, output: str, fields: dict[str, int], clock: Clock, encoding: str) -> None:
        self.output = output
        self.fields = fields
        self.clock = clock
        self.cells: list[bytes | None] = []
        self._about: list[tuple[int, int, int, bytes, bytes | None]] = []
        self._plans: dict[bytes, Plan] = {}
        self._names: list[str] = []  # of the columns that `cells` hold, row by row
        self._pieces: list[Rows] = []
        self._encoding = encoding

    def plan_for(self, tags: list[bytes]) -> Plan:
        key = b"=".join(tags)
        plan = self._plans.get(key)
        if plan is None:
            plan = Plan(tags, self.fields)
            if len(self._plans) < _PLANS_MAX:  # beyond it, a plan serves one message
                self._plans[key] = plan
            if not set(plan.names).issubset(self._names):
                self._widen(plan.names)
            plan.pick_for(self._names)
        return plan

    def row_as_text(self, plan: Plan, values: list[bytes]) -> dict[str, str]:
        """A message that is not a valid row, by column, so that it can be found in the quarantine."""
        return {name: text_of(values[place], self._encoding) for name, place in plan.places.items()}

    def add(
        self,
        pick: Pick,
        values: Sequence[bytes | None],
        line: int,
        end: int,
        index: int,
        text: bytes,
        raw: bytes | None,
    ) -> None:
        self.cells += pick(values)
        self._about.append((line, end, index, text, raw))
        if len(self._about) >= _ROWS_SEALED:
            self._seal()

    def take(self) -> list[Rows]:
        """All rows since the last call."""
        self._seal()
        pieces, self._pieces = self._pieces, []
        return pieces

    def _widen(self, names: list[str]) -> None:
        self._seal()
        self._names = [name for name in self.fields if name in self._names or name in names]
        for plan in self._plans.values():
            plan.pick_for(self._names)

    def _seal(self) -> None:
        """Make columns of the rows at hand. Often, while their cells are still in the processor's cache."""
        if not self._about:
            return
        width = len(self._names)
        values = {name: self.cells[place::width] for place, name in enumerate(self._names)}
        cells = {name: text_column(each, self._encoding) for name, each in values.items()}
        lines, ends, indexes, texts, raws = zip(*self._about, strict=True)
        parts = Parts(
            pa.array(indexes, pa.int64()), text_column(texts, self._encoding), text_column(raws, self._encoding)
        )
        self._pieces.append(
            Rows(self.finished(cells, len(lines)), pa.array(lines, pa.int64()), pa.array(ends, pa.int64()), parts)
        )
        self.cells, self._about = [], []

    def finished(
        self, cells: dict[str, pa.StringArray], count: int, msg_type: bytes | None = None
    ) -> dict[str, pa.StringArray]:
        """The columns with times in ISO 8601 and `event`; `msg_type` if all rows have the same."""
        for name in TIMES & cells.keys():
            cells[name] = self.clock.iso(cells[name])
        if self.output == "fix_other":
            return cells
        if msg_type in (None, b"8"):
            cells["event"] = _events([cells.get(name) for name in _EVENT_FIELDS], count)
        else:
            cells["event"] = pa.repeat(pa.scalar(_event(msg_type, None, None, None)), count)
        return cells


_EVENT_FIELDS = ("msg_type", "exec_type", "ord_status", "exec_trans_type")


def _events(codes: list[pa.StringArray | None], count: int) -> pa.StringArray:
    """The event of each row. Few combinations of codes occur, so each is looked up once. A missing code is as an empty one."""
    columns = [pa.repeat(pa.scalar(""), count) if column is None else pc.fill_null(column, "") for column in codes]
    known = pc.binary_join_element_wise(*columns, "\x00").dictionary_encode()
    combinations = [text.encode().split(b"\0") for text in known.dictionary.to_pylist()]
    if any(len(each) != len(columns) for each in combinations):  # a code has a NUL in it
        rows = zip(*(column.to_pylist() for column in columns), strict=True)
        return pa.array([_event(*(code.encode() for code in row)) for row in rows], pa.string())
    return pa.array([_event(*each) for each in combinations], pa.string()).take(known.indices)


def _event(msg_type: bytes | None, exec_type: bytes | None, ord_status: bytes | None, trans_type: bytes | None) -> str:
    session_event = SESSION_EVENTS.get(msg_type or b"")
    return session_event or order_event(msg_type, exec_type, ord_status, trans_type)


def text_of(data: bytes, encoding: str) -> str:
    """Bytes that the encoding does not know are written `\\xNN`: nothing is dropped, nothing stops the file."""
    return data.decode(encoding, "backslashreplace")


def text_column(values: Sequence[bytes | None], encoding: str) -> pa.StringArray:
    if encoding == "utf-8":
        try:
            return pa.array(values, pa.binary()).cast(pa.string())
        except pa.ArrowInvalid:  # some value is no UTF-8: the careful way for this column
            pass
    return pa.array([None if value is None else text_of(value, encoding) for value in values], pa.string())
