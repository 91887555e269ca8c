"""Casparian's premade parser for EDIFACT: one row for each message, with what its interchange says, and all segments.

Segments come from `read_segments`, which accounts for every byte and compares the counts of UNT, UNE and UNZ. Nothing is
repaired: a value that the contract does not allow is sent as it stands and quarantined by the worker.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim import Segment, read_segments

name, version, topics = "edifact_parser", "1.0.0", ["edifact"]
dependencies: list[str] = []
params = {
    "encoding": "utf-8",  # of texts; several with commas are tried one after the other for each segment
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

Row = dict[str, Any]
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
_READ = pa.array(["UNB", "UNG", "UNH", "BGM", "UNE"])


def parse(path: str, ctx: Any) -> Iterator[tuple[str, Any]]:
    encodings = [each.strip() for each in ctx.params["encoding"].split(",")]
    encoding = encodings if len(encodings) > 1 else encodings[0]
    messages = _Messages()
    for batch in read_segments(ctx.file, "edifact", encoding=encoding, output="edifact_segments", as_="batches"):
        yield "edifact_segments", batch
        rows = batch.filter(pc.is_in(batch.column("segment"), _READ)).to_pylist()
        yield "edifact_messages", messages.take(rows)
    yield "edifact_messages", messages.finish()


class _Messages:
    """The rows of messages; a message's row waits for its BGM."""

    def __init__(self) -> None:
        self._interchange: Row = dict.fromkeys(_INTERCHANGE)
        self._group: Row = dict.fromkeys(_GROUP)
        self._waiting: Row | None = None
        self._rows: list[Row] = []

    def take(self, rows: list[Row]) -> list[Row]:
        for each in rows:
            self._take(Segment(each))
        taken, self._rows = self._rows, []
        return taken

    def finish(self) -> list[Row]:
        self._give()
        return self._rows

    def _take(self, segment: Segment) -> None:
        match segment.id:
            case "BGM":
                if self._waiting is not None and self._waiting["message"] == segment.message:
                    self._waiting |= _values(segment, _DOCUMENT)
                    self._give()
            case "UNH":
                self._give()
                shared = dict.fromkeys(_DOCUMENT) | self._interchange | self._group
                numbers: Row = {"message": segment.message, "__cf_row_id": segment.row_id}
                if segment.raw_encoding is not None:
                    numbers |= {"_cf_raw_encoding": segment.raw_encoding}
                self._waiting = _values(segment, _MESSAGE) | shared | numbers
            case "UNB":
                self._interchange, self._group = _values(segment, _INTERCHANGE), dict.fromkeys(_GROUP)
            case "UNG":
                self._group = _values(segment, _GROUP)
            case "UNE":
                self._group = dict.fromkeys(_GROUP)

    def _give(self) -> None:
        if self._waiting is not None:
            self._rows.append(self._waiting)
        self._waiting = None


def _values(segment: Segment, columns: Columns) -> Row:
    return {name: segment.value(*place) for name, place in columns.items()}
