"""Casparian's premade parser for Windows event logs (EVTX): a row for each record, with its data as JSON.

This file owns the contract. `evtx_chunks` finds the records in the bytes and makes rows, `evtx_binxml` reads their binary XML.
Nothing is repaired: a chunk whose checksum is wrong is rejected, and the other chunks stay.
"""

from collections.abc import Iterator
from typing import Any

from evtx_chunks import Log, read_events

name, version, topics = "evtx_parser", "1.0.0", ["evtx"]
dependencies: list[str] = []
params = {
    "checksums": "check",  # or "ignore": records of chunks with a wrong checksum are read
}
outputs = {
    "evtx_events": {
        "mode": "strict",
        "columns": [
            {
                "name": "record_id",
                "type": "int64",
                "nullable": False,
                "description": "number that Windows gave the record",
            },
            {
                "name": "time",
                "type": {"kind": "timestamp_tz", "tz": "UTC", "unit": "ns"},
                "description": "TimeCreated, exact to 100 ns",
            },
            {
                "name": "written_at",
                "type": {"kind": "timestamp_tz", "tz": "UTC", "unit": "ns"},
                "nullable": False,
                "description": "of the record, exact to 100 ns",
            },
            {"name": "channel", "type": "string"},
            {"name": "provider", "type": "string"},
            {"name": "provider_guid", "type": "string"},
            {
                "name": "event_source",
                "type": "string",
                "description": "name of the source in the registry, of older providers",
            },
            {"name": "event_id", "type": "int64", "nullable": False},
            {"name": "qualifiers", "type": "int64"},
            {"name": "version", "type": "int64"},
            {
                "name": "level",
                "type": "int64",
                "description": "0 always, 1 critical, 2 error, 3 warning, 4 information, 5 verbose",
            },
            {"name": "task", "type": "int64"},
            {"name": "opcode", "type": "int64"},
            {"name": "keywords", "type": "string", "description": "hexadecimal"},
            {"name": "computer", "type": "string"},
            {"name": "event_record_id", "type": "int64", "description": "EventRecordID"},
            {"name": "process_id", "type": "int64"},
            {"name": "thread_id", "type": "int64"},
            {"name": "activity_id", "type": "string"},
            {"name": "related_activity_id", "type": "string"},
            {"name": "user_id", "type": "string", "description": "SID"},
            {
                "name": "is_verified",
                "type": "boolean",
                "nullable": False,
                "description": "the checksums of its chunk are right",
            },
            {
                "name": "data_element",
                "type": "string",
                "description": "EventData, UserData, or another element beside System",
            },
            {"name": "data", "type": "string", "description": "its content as a JSON object, values as text"},
        ],
    },
}


class BadParameter(ValueError):
    """A parameter has a value this parser does not know."""

    def __init__(self, parameter: str, value: object, allowed: str) -> None:
        super().__init__(f"Parameter {parameter} is {value!r}. Give {allowed}.")


def parse(path: str, ctx: Any) -> Iterator[tuple[str, Any]]:
    checksums = ctx.params["checksums"]
    if checksums not in ("check", "ignore"):
        raise BadParameter("checksums", checksums, "check or ignore")
    columns: Any = outputs["evtx_events"]["columns"]
    names = [each["name"] for each in columns]
    log = Log()
    yield "evtx_events", read_events(ctx.file, log, names, "evtx_events", checks=checksums == "check")
    if log.whole < log.stated:
        reason = f"is missing: the header of the file tells of {log.stated} chunks, and {log.whole} are whole"
        ctx.reject("evtx_events", None, reason, source_row=log.last_row, raw="")
