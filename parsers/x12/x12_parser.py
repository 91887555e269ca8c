"""Casparian's premade parser for X12: payments (835), claims (837), purchase orders (850), and the segments of any other set.

This file owns the contract, and what becomes of each segment; `x12_tables` says which element fills which column. Segments come
from `read_segments`, which accounts for every byte and compares the counts of SE, GE and IEA. Nothing is repaired: a value that
the contract does not allow is sent as it stands and quarantined by the worker.
"""

from collections.abc import Iterator
from typing import Any

from x12_tables import Extractor

from casparian_shim import read_segments
from casparian_shim.readers.segments import RejectedSegments

name, version, topics = "x12_parser", "1.0.0", ["x12"]
dependencies: list[str] = []
params = {
    "encoding": "utf-8",  # of texts; several with commas are tried one after the other for each segment
    "segments": "all",  # or "other": x12_segments leaves out those that became rows of another output
    "ids": "",  # segment ids of your partners that the standard does not have in an 835 or 837, with commas
}
outputs = {
    "x12_transactions": {
        "mode": "strict",
        "columns": [
            {
                "name": "message",
                "type": "int64",
                "nullable": False,
                "description": "number of the transaction set in the file, from 1",
            },
            {"name": "control_number", "type": "string", "nullable": False, "description": "ST02"},
            {"name": "set_id", "type": "string", "nullable": False, "description": "ST01, such as 837"},
            {"name": "implementation", "type": "string", "description": "ST03"},
            {"name": "functional_id", "type": "string", "description": "GS01"},
            {"name": "application_sender", "type": "string", "description": "GS02"},
            {"name": "application_receiver", "type": "string", "description": "GS03"},
            {"name": "group_date", "type": "date", "format": ["%Y%m%d", "%y%m%d"], "description": "GS04"},
            {"name": "group_time", "type": "string", "description": "GS05"},
            {"name": "group_control_number", "type": "string", "description": "GS06"},
            {"name": "group_version", "type": "string", "description": "GS08"},
            {"name": "sender_qualifier", "type": "string", "description": "ISA05"},
            {"name": "sender", "type": "string", "description": "ISA06, without blanks at its end"},
            {"name": "receiver_qualifier", "type": "string", "description": "ISA07"},
            {"name": "receiver", "type": "string", "description": "ISA08, without blanks at its end"},
            {"name": "interchange_date", "type": "string", "description": "ISA09: year, month, day of two digits each"},
            {"name": "interchange_time", "type": "string", "description": "ISA10"},
            {"name": "interchange_version", "type": "string", "description": "ISA12"},
            {"name": "interchange_control_number", "type": "string", "description": "ISA13"},
            {"name": "usage", "type": "string", "description": "ISA15: P production, T test"},
        ],
    },
    "x12_payments": {
        "mode": "strict",
        "columns": [
            {
                "name": "message",
                "type": "int64",
                "nullable": False,
                "description": "number of the transaction set in the file, from 1",
            },
            {"name": "control_number", "type": "string", "nullable": False, "description": "ST02"},
            {"name": "handling_code", "type": "string", "description": "BPR01"},
            {
                "name": "amount",
                "type": {"kind": "decimal", "precision": 18, "scale": 2},
                "nullable": False,
                "description": "BPR02",
            },
            {"name": "credit_debit", "type": "string", "description": "BPR03"},
            {"name": "method", "type": "string", "description": "BPR04"},
            {"name": "payment_date", "type": "date", "format": ["%Y%m%d"], "description": "BPR16"},
            {"name": "trace_number", "type": "string", "description": "TRN02"},
            {"name": "originator", "type": "string", "description": "TRN03"},
            {"name": "payer_name", "type": "string", "description": "N102 of N1*PR"},
            {"name": "payer_id", "type": "string", "description": "N104 of N1*PR"},
            {"name": "payee_name", "type": "string", "description": "N102 of N1*PE"},
            {"name": "payee_id", "type": "string", "description": "N104 of N1*PE"},
        ],
    },
    "x12_claim_payments": {
        "mode": "strict",
        "columns": [
            {
                "name": "message",
                "type": "int64",
                "nullable": False,
                "description": "number of the transaction set in the file, from 1",
            },
            {"name": "control_number", "type": "string", "nullable": False, "description": "ST02"},
            {
                "name": "position",
                "type": "int64",
                "nullable": False,
                "description": "place of the segment in its transaction set, from 1",
            },
            {"name": "claim_id", "type": "string", "nullable": False, "description": "CLP01"},
            {"name": "status", "type": "string", "description": "CLP02"},
            {"name": "charge", "type": {"kind": "decimal", "precision": 18, "scale": 2}, "description": "CLP03"},
            {"name": "paid", "type": {"kind": "decimal", "precision": 18, "scale": 2}, "description": "CLP04"},
            {
                "name": "patient_responsibility",
                "type": {"kind": "decimal", "precision": 18, "scale": 2},
                "description": "CLP05",
            },
            {"name": "filing_indicator", "type": "string", "description": "CLP06"},
            {"name": "payer_claim_number", "type": "string", "description": "CLP07"},
            {"name": "facility_type", "type": "string", "description": "CLP08"},
            {"name": "frequency", "type": "string", "description": "CLP09"},
            {"name": "patient_last_name", "type": "string", "description": "NM103 of NM1*QC"},
            {"name": "patient_first_name", "type": "string", "description": "NM104 of NM1*QC"},
            {"name": "patient_id", "type": "string", "description": "NM109 of NM1*QC"},
            {"name": "statement_from", "type": "date", "format": ["%Y%m%d"], "description": "DTM02 of DTM*232"},
            {"name": "statement_to", "type": "date", "format": ["%Y%m%d"], "description": "DTM02 of DTM*233"},
            {"name": "received", "type": "date", "format": ["%Y%m%d"], "description": "DTM02 of DTM*050"},
        ],
    },
    "x12_service_payments": {
        "mode": "strict",
        "columns": [
            {
                "name": "message",
                "type": "int64",
                "nullable": False,
                "description": "number of the transaction set in the file, from 1",
            },
            {"name": "control_number", "type": "string", "nullable": False, "description": "ST02"},
            {
                "name": "position",
                "type": "int64",
                "nullable": False,
                "description": "place of the segment in its transaction set, from 1",
            },
            {"name": "claim_id", "type": "string", "nullable": False, "description": "CLP01"},
            {"name": "code_qualifier", "type": "string", "description": "SVC01-1"},
            {"name": "code", "type": "string", "description": "SVC01-2"},
            {"name": "modifiers", "type": {"kind": "list", "item": "string"}, "description": "SVC01-3 to SVC01-6"},
            {"name": "charge", "type": {"kind": "decimal", "precision": 18, "scale": 2}, "description": "SVC02"},
            {"name": "paid", "type": {"kind": "decimal", "precision": 18, "scale": 2}, "description": "SVC03"},
            {"name": "revenue_code", "type": "string", "description": "SVC04"},
            {"name": "units", "type": {"kind": "decimal", "precision": 18, "scale": 6}, "description": "SVC05"},
            {
                "name": "service_from",
                "type": "date",
                "format": ["%Y%m%d"],
                "description": "DTM02 of DTM*472 or DTM*150",
            },
            {"name": "service_to", "type": "date", "format": ["%Y%m%d"], "description": "DTM02 of DTM*472 or DTM*151"},
            {"name": "line_control_number", "type": "string", "description": "REF02 of REF*6R"},
        ],
    },
    "x12_adjustments": {
        "mode": "strict",
        "columns": [
            {
                "name": "message",
                "type": "int64",
                "nullable": False,
                "description": "number of the transaction set in the file, from 1",
            },
            {"name": "control_number", "type": "string", "nullable": False, "description": "ST02"},
            {
                "name": "position",
                "type": "int64",
                "nullable": False,
                "description": "place of the segment in its transaction set, from 1",
            },
            {"name": "claim_id", "type": "string", "nullable": False, "description": "CLP01"},
            {
                "name": "service_position",
                "type": "int64",
                "description": "position of the SVC; NULL for an adjustment of the whole claim",
            },
            {"name": "group_code", "type": "string", "description": "CAS01"},
            {"name": "reason_code", "type": "string", "description": "CAS02, CAS05, CAS08, …"},
            {
                "name": "amount",
                "type": {"kind": "decimal", "precision": 18, "scale": 2},
                "description": "CAS03, CAS06, CAS09, …",
            },
            {
                "name": "quantity",
                "type": {"kind": "decimal", "precision": 18, "scale": 6},
                "description": "CAS04, CAS07, CAS10, …",
            },
        ],
    },
    "x12_claims": {
        "mode": "strict",
        "columns": [
            {
                "name": "message",
                "type": "int64",
                "nullable": False,
                "description": "number of the transaction set in the file, from 1",
            },
            {"name": "control_number", "type": "string", "nullable": False, "description": "ST02"},
            {
                "name": "position",
                "type": "int64",
                "nullable": False,
                "description": "place of the segment in its transaction set, from 1",
            },
            {"name": "claim_id", "type": "string", "nullable": False, "description": "CLM01"},
            {"name": "charge", "type": {"kind": "decimal", "precision": 18, "scale": 2}, "description": "CLM02"},
            {"name": "facility_code", "type": "string", "description": "CLM05-1"},
            {"name": "facility_qualifier", "type": "string", "description": "CLM05-2"},
            {"name": "frequency", "type": "string", "description": "CLM05-3"},
            {"name": "provider_signature", "type": "string", "description": "CLM06"},
            {"name": "assignment", "type": "string", "description": "CLM07"},
            {"name": "benefits_assignment", "type": "string", "description": "CLM08"},
            {"name": "billing_provider_name", "type": "string", "description": "NM103 of NM1*85"},
            {"name": "billing_provider_id", "type": "string", "description": "NM109 of NM1*85"},
            {"name": "subscriber_last_name", "type": "string", "description": "NM103 of NM1*IL"},
            {"name": "subscriber_first_name", "type": "string", "description": "NM104 of NM1*IL"},
            {"name": "subscriber_id", "type": "string", "description": "NM109 of NM1*IL"},
            {
                "name": "patient_last_name",
                "type": "string",
                "description": "NM103 of NM1*QC, if the patient is not the subscriber",
            },
            {"name": "patient_first_name", "type": "string", "description": "NM104 of NM1*QC"},
            {"name": "payer_name", "type": "string", "description": "NM103 of NM1*PR"},
            {"name": "payer_id", "type": "string", "description": "NM109 of NM1*PR"},
            {
                "name": "diagnoses",
                "type": {"kind": "list", "item": "string"},
                "description": "HI: the second component of each element, the principal one first",
            },
            {
                "name": "statement_from",
                "type": "date",
                "format": ["%Y%m%d"],
                "description": "DTP03 of DTP*434, its first day",
            },
            {
                "name": "statement_to",
                "type": "date",
                "format": ["%Y%m%d"],
                "description": "DTP03 of DTP*434, its last day",
            },
        ],
    },
    "x12_claim_lines": {
        "mode": "strict",
        "columns": [
            {
                "name": "message",
                "type": "int64",
                "nullable": False,
                "description": "number of the transaction set in the file, from 1",
            },
            {"name": "control_number", "type": "string", "nullable": False, "description": "ST02"},
            {
                "name": "position",
                "type": "int64",
                "nullable": False,
                "description": "place of the segment in its transaction set, from 1",
            },
            {"name": "claim_id", "type": "string", "nullable": False, "description": "CLM01"},
            {"name": "line_number", "type": "string", "description": "LX01"},
            {"name": "code_qualifier", "type": "string", "description": "SV101-1, SV202-1"},
            {"name": "code", "type": "string", "description": "SV101-2, SV202-2, SV301-2"},
            {
                "name": "modifiers",
                "type": {"kind": "list", "item": "string"},
                "description": "the code's components 3 to 6",
            },
            {"name": "revenue_code", "type": "string", "description": "SV201"},
            {
                "name": "charge",
                "type": {"kind": "decimal", "precision": 18, "scale": 2},
                "description": "SV102, SV203, SV302",
            },
            {"name": "unit", "type": "string", "description": "SV103, SV204"},
            {
                "name": "quantity",
                "type": {"kind": "decimal", "precision": 18, "scale": 6},
                "description": "SV104, SV205, SV306",
            },
            {"name": "place_of_service", "type": "string", "description": "SV105, SV303"},
            {
                "name": "service_from",
                "type": "date",
                "format": ["%Y%m%d"],
                "description": "DTP03 of DTP*472, its first day",
            },
            {
                "name": "service_to",
                "type": "date",
                "format": ["%Y%m%d"],
                "description": "DTP03 of DTP*472, its last day",
            },
        ],
    },
    "x12_orders": {
        "mode": "strict",
        "columns": [
            {
                "name": "message",
                "type": "int64",
                "nullable": False,
                "description": "number of the transaction set in the file, from 1",
            },
            {"name": "control_number", "type": "string", "nullable": False, "description": "ST02"},
            {"name": "purpose", "type": "string", "description": "BEG01"},
            {"name": "type", "type": "string", "description": "BEG02"},
            {"name": "order_number", "type": "string", "nullable": False, "description": "BEG03"},
            {"name": "release_number", "type": "string", "description": "BEG04"},
            {"name": "order_date", "type": "date", "format": ["%Y%m%d"], "description": "BEG05"},
            {"name": "currency", "type": "string", "description": "CUR02"},
            {"name": "buyer", "type": "string", "description": "N102 of N1*BY"},
            {"name": "buyer_id", "type": "string", "description": "N104 of N1*BY"},
            {"name": "ship_to", "type": "string", "description": "N102 of N1*ST"},
            {"name": "ship_to_id", "type": "string", "description": "N104 of N1*ST"},
            {"name": "vendor", "type": "string", "description": "N102 of N1*VN or N1*SE"},
            {"name": "requested", "type": "date", "format": ["%Y%m%d"], "description": "DTM02 of DTM*002"},
            {"name": "line_count", "type": "int64", "description": "CTT01"},
        ],
    },
    "x12_order_lines": {
        "mode": "strict",
        "columns": [
            {
                "name": "message",
                "type": "int64",
                "nullable": False,
                "description": "number of the transaction set in the file, from 1",
            },
            {"name": "control_number", "type": "string", "nullable": False, "description": "ST02"},
            {
                "name": "position",
                "type": "int64",
                "nullable": False,
                "description": "place of the segment in its transaction set, from 1",
            },
            {"name": "order_number", "type": "string", "nullable": False, "description": "BEG03"},
            {"name": "line_number", "type": "string", "description": "PO101"},
            {"name": "quantity", "type": {"kind": "decimal", "precision": 18, "scale": 6}, "description": "PO102"},
            {"name": "unit", "type": "string", "description": "PO103"},
            {"name": "unit_price", "type": {"kind": "decimal", "precision": 18, "scale": 6}, "description": "PO104"},
            {"name": "price_basis", "type": "string", "description": "PO105"},
            {"name": "buyer_part", "type": "string", "description": "product id with qualifier BP or IN"},
            {"name": "vendor_part", "type": "string", "description": "product id with qualifier VP or VN"},
            {"name": "upc", "type": "string", "description": "product id with qualifier UP, UK, UI or EN"},
            {
                "name": "product_ids",
                "type": {"kind": "list", "item": "string"},
                "description": "PO106 and the elements behind it: qualifier and id, such as UP:0123",
            },
            {"name": "description", "type": "string", "description": "PID05 of PID*F"},
        ],
    },
    "x12_segments": {
        "mode": "strict",
        "columns": [
            {"name": "segment", "type": "string", "nullable": False, "description": "id, such as CLM"},
            {
                "name": "message",
                "type": "int64",
                "description": "number of the transaction set in the file; NULL in the envelope",
            },
            {"name": "position", "type": "int64", "description": "place in the transaction set, from 1"},
            {
                "name": "fields",
                "type": {"kind": "list", "item": "string"},
                "nullable": False,
                "description": "elements as written: fields[1] is CLM01",
            },
            {
                "name": "separators",
                "type": "string",
                "nullable": False,
                "description": "ISA and the separators in force",
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
    encodings = [each.strip() for each in ctx.params["encoding"].split(",")]
    encoding = encodings if len(encodings) > 1 else encodings[0]
    rejected = RejectedSegments()
    extractor = Extractor(rejected, ctx.reject)
    ids = [each.strip() for each in ctx.params["ids"].split(",") if each.strip()]
    segments = read_segments(
        ctx.file, "x12", encoding=encoding, ids=ids, output="x12_segments", as_="batches", on_bad=rejected.note
    )
    for batch in segments:
        if kept == "all":
            yield "x12_segments", batch
            yield from extractor.take(batch)
        else:
            yield from extractor.take_at_once(batch)
    yield from extractor.finish()
