"""Casparian's premade parser for FIX logs: orders, session messages and everything else, each in its own output.

This file owns the contract and decides what becomes of every line. Blocks of lines go to the wide lane
(`fix_columns`); what it leaves is read line by line (`fix_lanes`, `fix_messages`); `fix_tables` makes columns. Every
physical line ends as rows, as rejected rows or as a declared skip, and nothing is repaired: a value the contract
does not allow is sent as it stands and quarantined by the worker.
"""

import codecs
import os
from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

import pyarrow as pa
import pyarrow.compute as pc
from fix_columns import Taken, WideLane, in_file_order
from fix_lanes import Lane, Lanes
from fix_messages import Found, find_messages, integrity_problem
from fix_tables import HEADER, ORDER_EVENTS, ORDER_FIELDS, SESSION_EVENTS, SESSION_FIELDS, Batch, Clock

from casparian_shim.readers import Block, Input, LineBlock, Records, Reject, Skip, What, line_blocks, records

name, version, topics = "fix_parser", "1.1.0", ["fix"]
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

_BLOCK_BYTES = 4 << 20
_LINE_BYTES_MAX = 8 << 20
_WIDE_FROM = 32  # lines of a block; fewer go line by line
_ASCII = bytes(range(128))
_SEEN_BEFORE_LANE = 8  # messages of one shape, so that a log of nothing but new shapes opens no lanes


class BadParameter(ValueError):
    """A parameter has a value this parser does not know."""

    def __init__(self, parameter: str, value: object, allowed: str) -> None:
        super().__init__(f"Parameter {parameter} is {value!r}. Give {allowed}.")


def parse(path: str, ctx: Any) -> Records:
    reader = _Reader(ctx.params)
    log = ctx.file  # the very file that was hashed, whatever `path` names by now
    total = os.fstat(log.fileno()).st_size

    def blocks(log: Input) -> Iterator[Block]:
        for lines in line_blocks(log, line_ends="lf", record_bytes_max=_LINE_BYTES_MAX, block_bytes=_BLOCK_BYTES):
            yield reader.read(lines)
            ctx.progress(lines.ends[-1].as_py(), total, "bytes")

    found: Records = records(log, blocks, encoding=reader.encoding, output="fix_other")
    return found


class _Reader:
    """Blocks of lines in, blocks of rows out: decides for every line which of the three ends it takes."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._checksums = _checksums(params["checksums"])
        self.encoding = _encoding(params["encoding"])
        clock = _clock(params["tz"])
        orders = Batch("fix_orders", ORDER_FIELDS, clock, self.encoding)
        session = Batch("fix_session", SESSION_FIELDS, clock, self.encoding)
        self._other = Batch("fix_other", HEADER, clock, self.encoding)
        self._batches = (orders, session, self._other)
        self._batch_of = dict.fromkeys((*ORDER_EVENTS, b"8"), orders)
        self._batch_of.update(dict.fromkeys(SESSION_EVENTS, session))
        self._wide_lane = WideLane(self._batch_of, self._other, self._checksums)
        self._lanes = Lanes()
        self._first = 0  # the number of the block's first line
        self._rejects: list[Reject] = []
        self._skips: list[Skip] = []
        self._has_parts = False

    def read(self, lines: LineBlock) -> Block:
        """The rows, rejected rows and skips of some lines: of all that can be taken at once first, then line by line."""
        self._first = lines.first
        self._rejects, self._skips, self._has_parts = [], [], False
        taken = self._taken(lines)
        self._read_lines(lines, taken.left if taken is not None else None)
        rows = [*(taken.rows if taken is not None else ())]
        for batch in self._batches:
            rows += [(batch, each) for each in batch.take()]
        messages = taken.messages if taken is not None else None
        groups, row_lines, ends = in_file_order(rows, messages)
        numbers = pc.add(row_lines, lines.first)
        return Block({}, numbers, ends, self._rejects, self._skips, groups, has_parts=self._has_parts)

    def _taken(self, lines: LineBlock) -> Taken | None:
        """What the wide lane takes; None if it is not for these lines."""
        raws = lines.raw  # first, because the sizes follow from it
        if len(lines) < _WIDE_FROM or pc.max(lines.sizes).as_py() > _LINE_BYTES_MAX:
            return None
        if self.encoding != "utf-8" and not lines.data.isascii():
            is_plain = [line.isascii() for line in raws.to_pylist()]
        else:
            try:
                return self._wide_lane.take(raws.cast(pa.string()), lines.ends)
            except pa.ArrowInvalid:
                is_plain = [_is_utf8(line) for line in raws.to_pylist()]
        plain = pc.if_else(pa.array(is_plain), raws, b"")  # the wide lane leaves empty lines
        return self._wide_lane.take(plain.cast(pa.string()), lines.ends)

    def _read_lines(self, block: LineBlock, places: pa.Array | None) -> None:
        """The fast lane, for intact messages of a known shape with nothing behind them; `_read_odd` for all others."""
        raws, ends, sizes = block.raw, block.ends, block.sizes
        if places is not None:
            raws, ends, sizes = raws.take(places), ends.take(places), sizes.take(places)
        listed = range(len(block)) if places is None else places.to_pylist()
        lanes_of, is_verified = self._lanes.by_shape, self._checksums == "verify"
        for place, line, end, size in zip(listed, raws.to_pylist(), ends.to_pylist(), sizes.to_pylist(), strict=True):
            if size > _LINE_BYTES_MAX:
                reason = f"is longer than {_LINE_BYTES_MAX:,} bytes"
                self._rejects.append(Reject(block.first + place, end, reason, line, "fix_other"))
                continue
            text = line if line[:5] == b"8=FIX" else line[line.find(b"8=FIX") :]
            separator = text[10:11] if text[5:6] == b"T" else text[9:10]
            for lane in lanes_of.get((separator, text.count(separator)), ()):
                match = lane.match(text)
                if match is not None:
                    values = match.groups()
                    if lane.is_intact(text, values) if is_verified else self._is_trusted(lane, text, values):
                        lane.batch.add(lane.plan.pick, (*values, None), place, end, 0, text, None)
                        break
            else:
                self._read_odd(line, place, end, size)

    def _is_trusted(self, lane: Lane, text: bytes, values: tuple[bytes, ...]) -> bool:
        return self._checksums == "ignore" or values[-1] == b"000" or lane.is_intact(text, values)

    def _read_odd(self, line: bytes, place: int, end: int, size: int) -> None:
        """Any line at all: new shapes, several messages, data fields, damage, comments, nothing."""
        content = line.strip()
        number = self._first + place
        if not content or content[:1] == b"#":
            self._skips.append(Skip(What.COMMENT if content else What.BLANK_LINE, number, end))
            return
        messages = list(find_messages(line))
        if not messages:
            self._rejects.append(Reject(number, end, "no FIX message on this line", line, "fix_other"))
        is_part = len(messages) > 1
        self._has_parts |= is_part
        part_end = end - size
        for index, found in enumerate(messages):
            part_end = part_end + len(found.raw) if index < len(messages) - 1 else end
            if found.problem is None:
                self._take(found, place, part_end, index, is_part)
            else:
                self._rejects.append(Reject(number, part_end, found.problem, found.raw, "fix_other", None, is_part))

    def _take(self, found: Found, place: int, end: int, index: int, is_part: bool) -> None:
        batch = self._batch_of.get(found.values[2], self._other)
        plan = batch.plan_for(found.tags)
        problem = plan.problem or self._integrity_problem(found)
        if problem is not None:
            values = batch.row_as_text(plan, found.values)
            number = self._first + place
            self._rejects.append(Reject(number, end, problem, found.raw, batch.output, values, is_part))
            return
        raw = found.raw if is_part else None
        batch.add(plan.pick, [*found.values, None], place, end, index, found.text, raw)
        plan.seen_count += 1
        if plan.seen_count % _SEEN_BEFORE_LANE == 0:
            self._lanes.learn(found, batch, plan)

    def _integrity_problem(self, found: Found) -> str | None:
        if self._checksums == "ignore" or (self._checksums == "dummies" and found.values[-1] == b"000"):
            return None
        return integrity_problem(found)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _checksums(value: str) -> str:
    if value not in ("verify", "dummies", "ignore"):
        raise BadParameter("checksums", value, "verify, dummies or ignore")
    return value


def _encoding(value: str) -> str:
    try:
        if _ASCII.decode(value, "backslashreplace").encode("ascii") == _ASCII:  # refuses codecs of bytes too
            return codecs.lookup(value).name
        cause = None
    except (LookupError, UnicodeError) as error:
        cause = error
    raise BadParameter("encoding", value, "a text encoding that includes ASCII, like utf-8 or latin-1") from cause


def _clock(value: str) -> Clock:
    try:
        return Clock(value)
    except (ValueError, OSError, ZoneInfoNotFoundError) as cause:
        raise BadParameter("tz", value, "an IANA zone, like UTC or America/New_York") from cause
