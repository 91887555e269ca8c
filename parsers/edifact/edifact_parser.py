"""Casparian's premade parser for EDIFACT: one row for each message, with what its interchange says, and all segments.

Segments come from `read_segments`, which accounts for every byte and compares the counts of UNT, UNE and UNZ. Nothing is
repaired: a value that the contract does not allow is sent as it stands and quarantined by the worker.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim import read_segments
from casparian_shim.readers.segments import SegmentColumns, joined_batches

name, version, topics = "edifact_parser", "1.0.0", ["edifact"]
dependencies: list[str] = []
params = {
    # Of texts: what UNB declares. Several with commas are tried one after the other for each segment.
    "encoding": "declared",
}
outputs = {
    "edifact_messages": {
        "mode": "strict",
        "columns": [
            {
                "name": "message",
                "type": "int64",
                "nullable": False,
                "description": "number of the message in the file, from 1",
            },
            {"name": "reference", "type": "string", "nullable": False, "description": "UNH 0062"},
            {
                "name": "message_type",
                "type": "string",
                "nullable": False,
                "description": "UNH S009 0065, such as ORDERS",
            },
            {"name": "message_version", "type": "string", "description": "UNH S009 0052"},
            {"name": "message_release", "type": "string", "description": "UNH S009 0054"},
            {"name": "agency", "type": "string", "description": "UNH S009 0051"},
            {"name": "association_code", "type": "string", "description": "UNH S009 0057"},
            {"name": "document_code", "type": "string", "description": "BGM C002 1001"},
            {"name": "document_number", "type": "string", "description": "BGM 1004"},
            {"name": "document_function", "type": "string", "description": "BGM 1225"},
            {"name": "syntax", "type": "string", "description": "UNB S001 0001"},
            {"name": "syntax_version", "type": "string", "description": "UNB S001 0002"},
            {"name": "sender", "type": "string", "description": "UNB S002 0004"},
            {"name": "sender_qualifier", "type": "string", "description": "UNB S002 0007"},
            {"name": "recipient", "type": "string", "description": "UNB S003 0010"},
            {"name": "recipient_qualifier", "type": "string", "description": "UNB S003 0007"},
            {"name": "interchange_date", "type": "string", "description": "UNB S004 0017, as written"},
            {"name": "interchange_time", "type": "string", "description": "UNB S004 0019, as written"},
            {"name": "interchange_reference", "type": "string", "description": "UNB 0020"},
            {"name": "application_reference", "type": "string", "description": "UNB 0026"},
            {"name": "is_test", "type": "string", "description": "UNB 0035: 1 for a test"},
            {"name": "group_reference", "type": "string", "description": "UNG 0048"},
        ],
    },
    "edifact_segments": {
        "mode": "strict",
        "columns": [
            {"name": "segment", "type": "string", "nullable": False, "description": "tag, such as NAD"},
            {
                "name": "message",
                "type": "int64",
                "description": "number of the message in the file; NULL in the envelope",
            },
            {"name": "position", "type": "int64", "description": "place in the message, from 1"},
            {
                "name": "fields",
                "type": {"kind": "list", "item": "string"},
                "nullable": False,
                "description": "data elements as written: fields[1] is the first behind the tag",
            },
            {
                "name": "separators",
                "type": "string",
                "nullable": False,
                "description": "UNA and the separators in force",
            },
        ],
    },
}

Tables = Iterator[tuple[str, pa.RecordBatch]]
#: Column → data element and component.
Columns = Mapping[str, tuple[int, int]]

_MESSAGE: Columns = {
    "reference": (1, 1), "message_type": (2, 1), "message_version": (2, 2), "message_release": (2, 3), "agency": (2, 4),
    "association_code": (2, 5),
}  # fmt: skip
_DOCUMENT: Columns = {"document_code": (1, 1), "document_number": (2, 1), "document_function": (3, 1)}
_INTERCHANGE: Columns = {
    "syntax": (1, 1), "syntax_version": (1, 2), "sender": (2, 1), "sender_qualifier": (2, 2), "recipient": (3, 1),
    "recipient_qualifier": (3, 2), "interchange_date": (4, 1), "interchange_time": (4, 2), "interchange_reference": (5, 1),
    "application_reference": (7, 1), "is_test": (11, 1),
}  # fmt: skip
_GROUP: Columns = {"group_reference": (5, 1)}
_READ = pa.array(["UNB", "UNG", "UNH", "BGM", "UNE", "UNZ"])
_NO_GROUP = pa.array(["UNB", "UNE", "UNZ"])
#: Segments are gathered up to this number before their rows are made.
_GATHERED = 16 * 1024


def parse(path: str, ctx: Any) -> Tables:
    encodings = [each.strip() for each in ctx.params["encoding"].split(",")]
    encoding = None if encodings == ["declared"] else encodings if len(encodings) > 1 else encodings[0]
    messages = _Messages()
    for batch in read_segments(ctx.file, "edifact", encoding=encoding, output="edifact_segments", as_="batches"):
        yield "edifact_segments", batch
        yield from messages.take(batch)
    yield from messages.finish()


class _Messages:
    """The rows of messages. The last one of some segments waits, because its BGM may follow."""

    def __init__(self) -> None:
        self._gathered: list[pa.RecordBatch] = []
        self._count = 0

    def take(self, batch: pa.RecordBatch) -> Tables:
        """The rows that are complete with these segments, if enough were gathered."""
        mine = batch.filter(pc.is_in(batch.column("segment"), _READ))
        self._gathered.append(mine)
        self._count += len(mine)
        if self._count >= _GATHERED:
            yield from self._tables(is_last=False)

    def finish(self) -> Tables:
        yield from self._tables(is_last=True)

    def _tables(self, *, is_last: bool) -> Tables:
        batch = joined_batches(self._gathered)
        self._gathered, self._count = [], 0
        if batch is None:
            return
        segments = SegmentColumns(batch)
        unb, ung, unh, bgm = (pc.equal(segments.ids, id) for id in ("UNB", "UNG", "UNH", "BGM"))
        interchange = segments.in_force(unb, pc.equal(segments.ids, "UNZ"))
        group = segments.in_force(ung, pc.is_in(segments.ids, _NO_GROUP))
        begun = segments.in_force(unh)
        document = _first_of_each(segments, bgm, begun)
        messages = segments.numbers.filter(unh)
        if not is_last:
            waiting = messages.slice(max(0, len(messages) - 1))
            messages = messages.slice(0, max(0, len(messages) - 1))
            rest = waiting[0].as_py() if len(waiting) else len(segments)
            kept = {each[rest - 1].as_py() for each in (interchange, group)} - {None} if rest else set()
            self._gathered = [batch.take(pa.array(sorted(kept), pa.int64())), batch.slice(rest)]
        if not len(messages):
            return
        heads = segments.take(messages)
        cells = {"message": heads.messages} | _values(heads, _MESSAGE)
        for places, columns in ((document, _DOCUMENT), (interchange, _INTERCHANGE), (group, _GROUP)):
            cells |= _values(segments.take(places.take(messages)), columns)
        cells["__cf_row_id"] = heads.row_ids
        if heads.raw_encodings is not None:
            cells["_cf_raw_encoding"] = heads.raw_encodings
        yield "edifact_messages", pa.RecordBatch.from_pydict(cells)


def _first_of_each(segments: SegmentColumns, bgm: pa.BooleanArray, begun: pa.Int64Array) -> pa.Int64Array:
    """For each UNH the place of the first BGM of its message."""
    places = segments.numbers.filter(bgm)
    heads = begun.take(places)
    is_mine = pc.fill_null(pc.equal(segments.messages.take(heads), segments.messages.take(places)), False)
    places, heads = places.filter(is_mine), heads.filter(is_mine)
    return places.take(pc.index_in(segments.numbers, heads))  # `index_in` tells the first


def _values(segments: SegmentColumns, columns: Columns) -> dict[str, pa.Array]:
    return {name: segments.value(*place) for name, place in columns.items()}
