"""Casparian's premade parser for FIX logs: orders, session messages and everything else, each in its own output.

This file owns the contract and decides what becomes of every line; framing is `fix_messages`, tables are
`fix_tables`. Every physical line ends as rows, as rejected rows or as a declared skip, and nothing is repaired:
a value the contract does not allow is sent as it stands and quarantined by the worker.
"""

import codecs
import os
from collections.abc import Iterator
from typing import Any, BinaryIO
from zoneinfo import ZoneInfoNotFoundError

import pyarrow as pa
from fix_lanes import Lane, Lanes
from fix_messages import Found, find_messages, integrity_problem
from fix_tables import HEADER, ORDER_EVENTS, ORDER_FIELDS, SESSION_EVENTS, SESSION_FIELDS, Batch, Clock, text_of

name, version, topics = "fix_parser", "1.0.0", ["fix"]
dependencies: list[str] = []
params = {
    "tz": "UTC",  # the zone the log writes its times in; FIX says UTC
    "checksums": "verify",  # or "dummies": 10=000 is a placeholder; or "ignore": a log with made-up trailers
    "encoding": "utf-8",  # of texts
}
outputs = {
    "fix_orders": {
        "mode": "strict",
        "columns": [
            {"name": "event", "type": "string", "nullable": False, "description": "what happened, in one word"},
            {"name": "begin_string", "type": "string", "nullable": False, "description": "tag 8"},
            {"name": "msg_type", "type": "string", "nullable": False, "description": "tag 35"},
            {"name": "sender_comp_id", "type": "string", "nullable": False, "description": "tag 49"},
            {"name": "target_comp_id", "type": "string", "nullable": False, "description": "tag 56"},
            {"name": "msg_seq_num", "type": "int64", "nullable": False, "description": "tag 34"},
            {
                "name": "sending_time",
                "type": {"kind": "timestamp_tz", "tz": "UTC"},
                "nullable": False,
                "description": "tag 52",
            },
            {"name": "poss_dup_flag", "type": "string", "values": ["Y", "N"], "description": "tag 43"},
            {"name": "poss_resend", "type": "string", "values": ["Y", "N"], "description": "tag 97"},
            {"name": "orig_sending_time", "type": {"kind": "timestamp_tz", "tz": "UTC"}, "description": "tag 122"},
            {"name": "cl_ord_id", "type": "string", "nullable": False, "null_values": [""], "description": "tag 11"},
            {"name": "orig_cl_ord_id", "type": "string", "description": "tag 41"},
            {"name": "order_id", "type": "string", "description": "tag 37"},
            {"name": "exec_id", "type": "string", "description": "tag 17"},
            {"name": "exec_ref_id", "type": "string", "description": "tag 19"},
            {"name": "exec_trans_type", "type": "string", "description": "tag 20"},
            {"name": "exec_type", "type": "string", "description": "tag 150"},
            {"name": "ord_status", "type": "string", "description": "tag 39"},
            {"name": "account", "type": "string", "description": "tag 1"},
            {"name": "symbol", "type": "string", "description": "tag 55"},
            {"name": "security_id", "type": "string", "description": "tag 48"},
            {"name": "currency", "type": "string", "description": "tag 15"},
            {
                "name": "side",
                "type": "string",
                "values": ["1", "2", "3", "4", "5", "6", "7", "8", "9", "A", "B", "C", "D", "E", "F", "G", "H"],
                "description": "tag 54",
            },
            {"name": "ord_type", "type": "string", "description": "tag 40"},
            {"name": "time_in_force", "type": "string", "description": "tag 59"},
            {"name": "order_qty", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "description": "tag 38"},
            {"name": "price", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "description": "tag 44"},
            {"name": "stop_px", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "description": "tag 99"},
            {"name": "last_px", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "description": "tag 31"},
            {"name": "last_qty", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "description": "tag 32"},
            {"name": "leaves_qty", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "description": "tag 151"},
            {"name": "cum_qty", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "description": "tag 14"},
            {"name": "avg_px", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "description": "tag 6"},
            {"name": "last_mkt", "type": "string", "description": "tag 30"},
            {"name": "ord_rej_reason", "type": "int64", "description": "tag 103"},
            {"name": "cxl_rej_reason", "type": "int64", "description": "tag 102"},
            {"name": "cxl_rej_response_to", "type": "string", "description": "tag 434"},
            {"name": "text", "type": "string", "description": "tag 58"},
            {"name": "transact_time", "type": {"kind": "timestamp_tz", "tz": "UTC"}, "description": "tag 60"},
            {"name": "message_index", "type": "int64", "nullable": False, "description": "place on the line, from 0"},
            {"name": "raw_tags", "type": "string", "nullable": False, "description": "the whole message as logged"},
        ],
    },
    "fix_session": {
        "mode": "strict",
        "columns": [
            {"name": "event", "type": "string", "nullable": False, "description": "what happened, in one word"},
            {"name": "begin_string", "type": "string", "nullable": False, "description": "tag 8"},
            {"name": "msg_type", "type": "string", "nullable": False, "description": "tag 35"},
            {"name": "sender_comp_id", "type": "string", "nullable": False, "description": "tag 49"},
            {"name": "target_comp_id", "type": "string", "nullable": False, "description": "tag 56"},
            {"name": "msg_seq_num", "type": "int64", "nullable": False, "description": "tag 34"},
            {
                "name": "sending_time",
                "type": {"kind": "timestamp_tz", "tz": "UTC"},
                "nullable": False,
                "description": "tag 52",
            },
            {"name": "poss_dup_flag", "type": "string", "values": ["Y", "N"], "description": "tag 43"},
            {"name": "poss_resend", "type": "string", "values": ["Y", "N"], "description": "tag 97"},
            {"name": "orig_sending_time", "type": {"kind": "timestamp_tz", "tz": "UTC"}, "description": "tag 122"},
            {"name": "encrypt_method", "type": "string", "description": "tag 98"},
            {"name": "heart_bt_int", "type": "int64", "description": "tag 108"},
            {"name": "reset_seq_num_flag", "type": "string", "values": ["Y", "N"], "description": "tag 141"},
            {"name": "test_req_id", "type": "string", "description": "tag 112"},
            {"name": "begin_seq_no", "type": "int64", "description": "tag 7"},
            {"name": "end_seq_no", "type": "int64", "description": "tag 16"},
            {"name": "new_seq_no", "type": "int64", "description": "tag 36"},
            {"name": "gap_fill_flag", "type": "string", "values": ["Y", "N"], "description": "tag 123"},
            {"name": "ref_seq_num", "type": "int64", "description": "tag 45"},
            {"name": "ref_tag_id", "type": "int64", "description": "tag 371"},
            {"name": "ref_msg_type", "type": "string", "description": "tag 372"},
            {"name": "session_reject_reason", "type": "int64", "description": "tag 373"},
            {"name": "business_reject_ref_id", "type": "string", "description": "tag 379"},
            {"name": "business_reject_reason", "type": "int64", "description": "tag 380"},
            {"name": "text", "type": "string", "description": "tag 58"},
            {"name": "message_index", "type": "int64", "nullable": False, "description": "place on the line, from 0"},
            {"name": "raw_tags", "type": "string", "nullable": False, "description": "the whole message as logged"},
        ],
    },
    "fix_other": {
        "mode": "strict",
        "quarantine": {"max_pct": 100.0},  # lines that are not a message go here, in some files nothing else does
        "columns": [
            {"name": "begin_string", "type": "string", "nullable": False, "description": "tag 8"},
            {"name": "msg_type", "type": "string", "nullable": False, "description": "tag 35"},
            {"name": "sender_comp_id", "type": "string", "nullable": False, "description": "tag 49"},
            {"name": "target_comp_id", "type": "string", "nullable": False, "description": "tag 56"},
            {"name": "msg_seq_num", "type": "int64", "nullable": False, "description": "tag 34"},
            {
                "name": "sending_time",
                "type": {"kind": "timestamp_tz", "tz": "UTC"},
                "nullable": False,
                "description": "tag 52",
            },
            {"name": "poss_dup_flag", "type": "string", "values": ["Y", "N"], "description": "tag 43"},
            {"name": "poss_resend", "type": "string", "values": ["Y", "N"], "description": "tag 97"},
            {"name": "orig_sending_time", "type": {"kind": "timestamp_tz", "tz": "UTC"}, "description": "tag 122"},
            {"name": "message_index", "type": "int64", "nullable": False, "description": "place on the line, from 0"},
            {"name": "raw_tags", "type": "string", "nullable": False, "description": "the whole message as logged"},
        ],
    },
}

_BLOCK_BYTES = 256 << 10
_BLOCKS_PER_BATCH = 16
_ROWS_SEALED = 1_000
_LINE_BYTES_MAX = 8 << 20
_SEEN_BEFORE_LANE = 8  # messages of one shape, so that a log of nothing but new shapes opens no lanes


class BadParameter(ValueError):
    """A parameter has a value this parser does not know."""

    def __init__(self, parameter: str, value: object, allowed: str) -> None:
        super().__init__(f"Parameter {parameter} is {value!r}. Give {allowed}.")


def parse(path: str, ctx: Any) -> Iterator[tuple[str, pa.Table]]:
    reader = _Reader(ctx)
    log = ctx.file  # the very file that was hashed, whatever `path` names by now
    total = os.fstat(log.fileno()).st_size
    done = blocks_read = 0
    for lines, size, is_cut in _line_blocks(log):
        reader.read(lines, is_cut)
        done, blocks_read = done + size, blocks_read + 1
        if blocks_read % _BLOCKS_PER_BATCH == 0:
            yield from reader.take_tables()
            ctx.progress(done, total, "bytes")
    yield from reader.take_tables()
    ctx.progress(done, total, "bytes")


def _line_blocks(log: BinaryIO) -> Iterator[tuple[list[bytes], int, bool]]:
    """Lines without their ends (LF or CRLF), the bytes read for them, and whether the last one goes on."""
    rest = b""
    while block := log.read(_BLOCK_BYTES):
        data = (rest + block).replace(b"\r\n", b"\n")
        lines = data.split(b"\n")
        is_cut = len(lines[-1]) > _LINE_BYTES_MAX
        rest = b"" if is_cut else lines.pop()
        yield lines, len(block), is_cut
    if rest:
        yield [rest], 0, False


class _Reader:
    """Lines in, rows out: decides for every line which of the three ends it takes."""

    def __init__(self, ctx: Any) -> None:
        self._ctx = ctx
        self._checksums = _checksums(ctx.params["checksums"])
        self._encoding = _encoding(ctx.params["encoding"])
        clock = _clock(ctx.params["tz"])
        orders = Batch("fix_orders", ORDER_FIELDS, clock, self._encoding)
        session = Batch("fix_session", SESSION_FIELDS, clock, self._encoding)
        self._other = Batch("fix_other", HEADER, clock, self._encoding)
        self._batches = (orders, session, self._other)
        self._batch_of = dict.fromkeys((*ORDER_EVENTS, b"8"), orders)
        self._batch_of.update(dict.fromkeys(SESSION_EVENTS, session))
        self._lanes = Lanes()
        self._line_number = 0
        self._goes_on = False  # the last line read was a piece of a longer one
        self._skips: dict[str, int] = {}

    def take_tables(self) -> Iterator[tuple[str, pa.Table]]:
        """All that was read since the last call; declares the skips as well."""
        for reason, count in self._skips.items():
            self._ctx.skip(reason, count)
        self._skips.clear()
        for batch in self._batches:
            if not batch.is_empty:
                yield batch.output, batch.take_table()

    def read(self, lines: list[bytes], is_cut: bool) -> None:
        """Whole lines, save that the first may end a line too long to hold and the last (`is_cut`) may begin one."""
        if self._goes_on and lines:
            self._reject_piece(lines.pop(0))
            self._goes_on = is_cut and not lines
        piece = lines.pop() if is_cut and lines else None
        self._read_lines(lines)
        if piece is not None:
            self._line_number += 1
            self._reject_piece(piece)
            self._goes_on = True
        for batch in self._batches:
            if len(batch.line_numbers) >= _ROWS_SEALED:
                batch.seal()

    def _read_lines(self, lines: list[bytes]) -> None:
        """The fast lane, for intact messages of a known shape with nothing behind them; `_read_odd` for all others."""
        number = self._line_number
        lanes_of, is_verified = self._lanes.by_shape, self._checksums == "verify"
        for line in lines:
            number += 1
            text = line if line[:5] == b"8=FIX" else line[line.find(b"8=FIX") :]
            separator = text[10:11] if text[5:6] == b"T" else text[9:10]
            for lane in lanes_of.get((separator, text.count(separator)), ()):
                match = lane.match(text)
                if match is not None:
                    values = match.groups()
                    if lane.is_intact(text, values) if is_verified else self._is_trusted(lane, text, values):
                        lane.batch.add(lane.plan.pick, (*values, None), number, 0, text, line)
                        break
            else:
                self._read_odd(line, number)
        self._line_number = number

    def _is_trusted(self, lane: Lane, text: bytes, values: tuple[bytes, ...]) -> bool:
        return self._checksums == "ignore" or values[-1] == b"000" or lane.is_intact(text, values)

    def _read_odd(self, line: bytes, number: int) -> None:
        """Any line at all: new shapes, several messages, data fields, damage, comments, nothing."""
        content = line.strip()
        if not content or content[:1] == b"#":
            reason = "comment" if content else "blank line"
            self._skips[reason] = self._skips.get(reason, 0) + 1
            return
        index = -1
        for index, found in enumerate(find_messages(line)):
            if found.problem is None:
                self._take(found, number, index)
            else:
                self._reject("fix_other", {}, found.problem, number, found.raw)
        if index < 0:
            self._reject("fix_other", {}, "no FIX message on this line", number, line)

    def _take(self, found: Found, number: int, index: int) -> None:
        batch = self._batch_of.get(found.values[2], self._other)
        plan = batch.plan_for(found.tags)
        problem = plan.problem or self._integrity_problem(found)
        if problem is not None:
            self._reject(batch.output, batch.row_as_text(plan, found.values), problem, number, found.raw)
            return
        batch.add(plan.pick, [*found.values, None], number, index, found.text, found.raw)
        plan.seen_count += 1
        if plan.seen_count % _SEEN_BEFORE_LANE == 0:
            self._lanes.learn(found, batch, plan)

    def _integrity_problem(self, found: Found) -> str | None:
        if self._checksums == "ignore" or (self._checksums == "dummies" and found.values[-1] == b"000"):
            return None
        return integrity_problem(found)

    def _reject_piece(self, piece: bytes) -> None:
        if piece:
            reason = f"part of a line longer than {_LINE_BYTES_MAX:,} bytes"
            self._reject("fix_other", {}, reason, self._line_number, piece)

    def _reject(self, output: str, row: dict[str, str], reason: str, number: int, raw: bytes) -> None:
        self._ctx.reject(output, row, reason, source_row=number, raw=text_of(raw, self._encoding))


def _checksums(value: str) -> str:
    if value not in ("verify", "dummies", "ignore"):
        raise BadParameter("checksums", value, "verify, dummies or ignore")
    return value


def _encoding(value: str) -> str:
    try:
        b"8=FIX".decode(value, "backslashreplace")  # refuses codecs that are not text encodings
        return codecs.lookup(value).name
    except LookupError as cause:
        raise BadParameter("encoding", value, "the name of a text encoding, like utf-8 or latin-1") from cause


def _clock(value: str) -> Clock:
    try:
        return Clock(value)
    except (ValueError, OSError, ZoneInfoNotFoundError) as cause:
        raise BadParameter("tz", value, "an IANA zone, like UTC or America/New_York") from cause
