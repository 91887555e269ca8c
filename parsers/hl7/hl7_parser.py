"""Casparian's premade parser for HL7 v2: messages, patients, visits, observations and notes of ADT and ORU, and all segments.

This file owns the contract, and what becomes of each segment; `hl7_tables` says which field fills which column. Segments come
from `read_segments`, which accounts for every byte. Nothing is repaired: a value that the contract does not allow is sent as it
stands and quarantined by the worker.
"""

from collections.abc import Iterator
from typing import Any

from hl7_tables import Clock, Extractor

from casparian_shim import read_segments
from casparian_shim.readers.segments import RejectedSegments

name, version, topics = "hl7_parser", "1.0.0", ["hl7"]
dependencies: list[str] = []
params = {
    "tz": "",  # the zone of times without an offset; without it they are quarantined as timezone_required
    # Of texts: what MSH-18 declares, or else utf-8. Several with commas are tried one after the other for each segment.
    "encoding": "declared",
    "segments": "all",  # or "other": hl7_segments leaves out those that became rows of another output
    "ids": "",  # segment ids of your programs that do not begin with Z, with commas
}
outputs = {
    "hl7_messages": {
        "mode": "strict",
        "columns": [
            {
                "name": "message",
                "type": "int64",
                "nullable": False,
                "description": "number of the message in the file, from 1",
            },
            {"name": "message_type", "type": "string", "nullable": False, "description": "MSH-9.1"},
            {"name": "trigger_event", "type": "string", "description": "MSH-9.2"},
            {"name": "structure", "type": "string", "description": "MSH-9.3"},
            {"name": "control_id", "type": "string", "nullable": False, "description": "MSH-10"},
            {"name": "sending_application", "type": "string", "description": "MSH-3.1"},
            {"name": "sending_facility", "type": "string", "description": "MSH-4.1"},
            {"name": "receiving_application", "type": "string", "description": "MSH-5.1"},
            {"name": "receiving_facility", "type": "string", "description": "MSH-6.1"},
            {"name": "message_time", "type": {"kind": "timestamp_tz", "tz": "UTC"}, "description": "MSH-7"},
            {"name": "processing_id", "type": "string", "description": "MSH-11.1"},
            {"name": "version", "type": "string", "description": "MSH-12.1"},
            {"name": "character_set", "type": "string", "description": "MSH-18"},
            {"name": "event_code", "type": "string", "description": "EVN-1"},
            {"name": "event_time", "type": {"kind": "timestamp_tz", "tz": "UTC"}, "description": "EVN-2"},
            {"name": "event_reason", "type": "string", "description": "EVN-4.1"},
            {"name": "event_operator", "type": "string", "description": "EVN-5.1"},
            {
                "name": "times_as_written",
                "type": "string",
                "description": "times of this row that their columns cannot hold, as written",
            },
        ],
    },
    "hl7_patients": {
        "mode": "strict",
        "columns": [
            {
                "name": "message",
                "type": "int64",
                "nullable": False,
                "description": "number of the message in the file, from 1",
            },
            {"name": "control_id", "type": "string", "description": "MSH-10"},
            {"name": "patient_id", "type": "string", "nullable": False, "description": "PID-3.1"},
            {"name": "patient_id_type", "type": "string", "description": "PID-3.5"},
            {"name": "patient_id_authority", "type": "string", "description": "PID-3.4"},
            {
                "name": "patient_ids",
                "type": {"kind": "list", "item": "string"},
                "description": "PID-3, every repetition as written",
            },
            {"name": "family_name", "type": "string", "description": "PID-5.1"},
            {"name": "given_name", "type": "string", "description": "PID-5.2"},
            {"name": "middle_name", "type": "string", "description": "PID-5.3"},
            {"name": "name_suffix", "type": "string", "description": "PID-5.4"},
            {"name": "name_prefix", "type": "string", "description": "PID-5.5"},
            {"name": "birth_date", "type": "date", "description": "PID-7"},
            {"name": "sex", "type": "string", "description": "PID-8"},
            {"name": "race", "type": "string", "description": "PID-10.1"},
            {"name": "street", "type": "string", "description": "PID-11.1"},
            {"name": "city", "type": "string", "description": "PID-11.3"},
            {"name": "state", "type": "string", "description": "PID-11.4"},
            {"name": "zip", "type": "string", "description": "PID-11.5"},
            {"name": "country", "type": "string", "description": "PID-11.6"},
            {"name": "phone_home", "type": "string", "description": "PID-13.1"},
            {"name": "phone_business", "type": "string", "description": "PID-14.1"},
            {"name": "language", "type": "string", "description": "PID-15.1"},
            {"name": "marital_status", "type": "string", "description": "PID-16.1"},
            {"name": "religion", "type": "string", "description": "PID-17.1"},
            {"name": "account_number", "type": "string", "description": "PID-18.1"},
            {"name": "ssn", "type": "string", "description": "PID-19"},
            {"name": "death_time", "type": {"kind": "timestamp_tz", "tz": "UTC"}, "description": "PID-29"},
            {"name": "death_indicator", "type": "string", "description": "PID-30"},
            {
                "name": "times_as_written",
                "type": "string",
                "description": "times of this row that their columns cannot hold, as written",
            },
        ],
    },
    "hl7_visits": {
        "mode": "strict",
        "columns": [
            {
                "name": "message",
                "type": "int64",
                "nullable": False,
                "description": "number of the message in the file, from 1",
            },
            {"name": "control_id", "type": "string", "description": "MSH-10"},
            {"name": "patient_id", "type": "string", "description": "PID-3.1"},
            {"name": "patient_class", "type": "string", "nullable": False, "description": "PV1-2.1"},
            {"name": "point_of_care", "type": "string", "description": "PV1-3.1"},
            {"name": "room", "type": "string", "description": "PV1-3.2"},
            {"name": "bed", "type": "string", "description": "PV1-3.3"},
            {"name": "facility", "type": "string", "description": "PV1-3.4"},
            {"name": "admission_type", "type": "string", "description": "PV1-4.1"},
            {"name": "preadmit_number", "type": "string", "description": "PV1-5.1"},
            {"name": "attending_doctor_id", "type": "string", "description": "PV1-7.1"},
            {"name": "attending_doctor_family_name", "type": "string", "description": "PV1-7.2"},
            {"name": "attending_doctor_given_name", "type": "string", "description": "PV1-7.3"},
            {"name": "referring_doctor_id", "type": "string", "description": "PV1-8.1"},
            {"name": "consulting_doctor_id", "type": "string", "description": "PV1-9.1"},
            {"name": "hospital_service", "type": "string", "description": "PV1-10.1"},
            {"name": "admit_source", "type": "string", "description": "PV1-14.1"},
            {"name": "patient_type", "type": "string", "description": "PV1-18.1"},
            {"name": "visit_number", "type": "string", "description": "PV1-19.1"},
            {"name": "discharge_disposition", "type": "string", "description": "PV1-36.1"},
            {"name": "admit_time", "type": {"kind": "timestamp_tz", "tz": "UTC"}, "description": "PV1-44"},
            {"name": "discharge_time", "type": {"kind": "timestamp_tz", "tz": "UTC"}, "description": "PV1-45"},
            {
                "name": "times_as_written",
                "type": "string",
                "description": "times of this row that their columns cannot hold, as written",
            },
        ],
    },
    "hl7_observations": {
        "mode": "strict",
        "columns": [
            {
                "name": "message",
                "type": "int64",
                "nullable": False,
                "description": "number of the message in the file, from 1",
            },
            {"name": "control_id", "type": "string", "description": "MSH-10"},
            {"name": "patient_id", "type": "string", "description": "PID-3.1"},
            {"name": "position", "type": "int64", "nullable": False, "description": "place of the OBX in its message"},
            {"name": "placer_order_number", "type": "string", "description": "OBR-2.1"},
            {"name": "filler_order_number", "type": "string", "description": "OBR-3.1"},
            {"name": "service_code", "type": "string", "description": "OBR-4.1"},
            {"name": "service_text", "type": "string", "description": "OBR-4.2"},
            {"name": "service_system", "type": "string", "description": "OBR-4.3"},
            {"name": "set_id", "type": "string", "description": "OBX-1"},
            {"name": "value_type", "type": "string", "description": "OBX-2"},
            {"name": "code", "type": "string", "nullable": False, "description": "OBX-3.1"},
            {"name": "code_text", "type": "string", "description": "OBX-3.2"},
            {"name": "code_system", "type": "string", "description": "OBX-3.3"},
            {"name": "sub_id", "type": "string", "description": "OBX-4"},
            {"name": "value", "type": "string", "description": "OBX-5: the text, the number as text, or the code"},
            {"name": "value_text", "type": "string", "description": "OBX-5.2 of coded values"},
            {"name": "value_system", "type": "string", "description": "OBX-5.3 of coded values"},
            {"name": "value_as_written", "type": "string", "description": "OBX-5"},
            {"name": "units", "type": "string", "description": "OBX-6.1"},
            {"name": "reference_range", "type": "string", "description": "OBX-7"},
            {"name": "abnormal_flags", "type": "string", "description": "OBX-8"},
            {"name": "status", "type": "string", "description": "OBX-11"},
            {
                "name": "observed_at",
                "type": {"kind": "timestamp_tz", "tz": "UTC"},
                "description": "OBX-14, or else OBR-7",
            },
            {"name": "producer", "type": "string", "description": "OBX-15.1"},
            {"name": "method", "type": "string", "description": "OBX-17.1"},
            {
                "name": "times_as_written",
                "type": "string",
                "description": "times of this row that their columns cannot hold, as written",
            },
        ],
    },
    "hl7_notes": {
        "mode": "strict",
        "columns": [
            {
                "name": "message",
                "type": "int64",
                "nullable": False,
                "description": "number of the message in the file, from 1",
            },
            {"name": "control_id", "type": "string", "description": "MSH-10"},
            {"name": "patient_id", "type": "string", "description": "PID-3.1"},
            {"name": "position", "type": "int64", "nullable": False, "description": "place of the NTE in its message"},
            {"name": "about", "type": "string", "description": "id of the segment before the notes"},
            {"name": "about_position", "type": "int64", "description": "its place in the message"},
            {"name": "set_id", "type": "string", "description": "NTE-1"},
            {"name": "source", "type": "string", "description": "NTE-2"},
            {"name": "comment", "type": "string", "description": "NTE-3, repetitions on lines of their own"},
        ],
    },
    "hl7_segments": {
        "mode": "strict",
        "columns": [
            {"name": "segment", "type": "string", "nullable": False, "description": "id, such as PID"},
            {
                "name": "message",
                "type": "int64",
                "description": "number of the message in the file; NULL outside of messages",
            },
            {"name": "position", "type": "int64", "description": "place in the message, from 1"},
            {
                "name": "fields",
                "type": {"kind": "list", "item": "string"},
                "nullable": False,
                "description": "fields as written: fields[3] is PID-3",
            },
            {
                "name": "separators",
                "type": "string",
                "nullable": False,
                "description": "MSH and the separators in force",
            },
        ],
    },
}


class BadParameter(ValueError):
    """A parameter has a value this parser does not know."""

    def __init__(self, parameter: str, value: object, allowed: str) -> None:
        super().__init__(f"Parameter {parameter} is {value!r}. Give {allowed}.")


def parse(path: str, ctx: Any) -> Iterator[tuple[str, Any]]:
    kept = ctx.params["segments"]
    if kept not in ("all", "other"):
        raise BadParameter("segments", kept, "all or other")
    given = ctx.params["encoding"]
    encodings = [each.strip() for each in given.split(",")] if given != "declared" else ["utf-8"]
    rejected = RejectedSegments()
    clock = Clock(ctx.params["tz"], ctx.log)
    extractor = Extractor(clock, encodings[0], rejected, ctx.reject, keeps_all=kept == "all")
    segments = read_segments(
        ctx.file,
        "hl7",
        encoding=None if given == "declared" else encodings if len(encodings) > 1 else encodings[0],
        ids=[each.strip() for each in ctx.params["ids"].split(",") if each.strip()],
        output="hl7_segments",
        on_bad=rejected.note,
        as_="batches",
    )
    for batch in segments:
        if kept == "all":
            yield "hl7_segments", batch
        yield from extractor.take(batch)
    yield from extractor.finish()
