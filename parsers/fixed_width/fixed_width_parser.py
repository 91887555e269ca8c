"""Casparian's premade parser for fixed-width records: by a layout file or a COBOL copybook in its directory.

A layout file is JSON: `{"fields": {"id": [0, 8], "amount": {"start": 8, "end": 13, "kind": "packed", "scale": 2}}}`, with the
options of `Field`. For several types of records it is `{"type_at": [0, 2], "record_types": {"01": {"output": "heads", "fields":
{…}}, "99": null}}`; null passes records over. How records are cut, and what becomes of a damaged one, `read_fixed_width` says.
"""

import json
from collections.abc import Mapping
from typing import Any

from casparian_shim import Field, copybook, read_fixed_width

name, version, topics = "fixed_width", "1.0.0", ["fixed_width"]
dependencies: list[str] = []
include: list[str] = []
params = {
    "layout": "layout.json",  # the layout file
    "copybook": "",  # a COBOL copybook instead of it
    "record": "",  # which record of the copybook, if it has several
    "records": {},  # of a file with several types of records: the code of each type and its record in the copybook
    "type_at": "",  # where that code is, as 0-2: from the first position up to, not including, the last one
    "take": "",  # items of the copybook that redefine another one and are meant, with commas
    "format": "7-72",  # the columns of the copybook that hold its text; or "free"
    "comp5": "big",  # the byte order of COMP-5 items; or "little"
    "unset": "reject",  # a number that was never set (blanks, zero bytes); or "null"
    "unit": "",  # what positions count: bytes or chars; empty where both are the same
    "encoding": "utf-8",  # as cp037 for EBCDIC; several with commas are tried one after the other for each record
    "framing": "lines",  # how records are separated; or "none", "rdw", "bdw"
    "length": "",  # the length of a record; empty: the layout's; or "any": records may be longer
    "trailing_blanks": "exact",  # or "free": blanks may be missing at the end of a record, or be too many
    "strip": True,  # whether blanks around a text are left out
    "empty": "null",  # a field of blanks; or "text": an empty text
    "skip_lines": 0,  # lines to skip first
    "footer_lines": 0,  # lines at the end that are no records
    "line_ends": "any",  # or "lf": a lone CR is data; or "nel": NEL ends a line too
    "record_bytes_max": 67_108_864,  # a longer record is rejected
}


class BadParameter(ValueError):
    """A parameter has a value this parser does not know."""

    def __init__(self, parameter: str, value: object, reason: object) -> None:
        super().__init__(f"{value!r:.200} is not a valid value of the parameter {parameter}: {reason}.")


def parse(path: str, ctx: Any) -> Any:
    given = ctx.params
    read = copybook_of if given["copybook"] else layout_of
    text = ctx.resource(given["copybook"] or given["layout"]).decode("utf-8")
    return read_fixed_width(path, **read(text, given), **options_of(given))


def options_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `read_fixed_width`, but for the layout."""
    length = given["length"]
    if length not in ("", "any") and not (length.isascii() and length.isdigit()):
        raise BadParameter("length", length, "it is a number or any")
    encodings = [each.strip() for each in given["encoding"].split(",")]
    return {
        "unit": given["unit"] or None,
        "encoding": encodings if len(encodings) > 1 else encodings[0],
        "framing": given["framing"],
        "length": int(length) if length.isdigit() else length or None,
        "trailing_blanks": given["trailing_blanks"],
        "strip": given["strip"],
        "empty": given["empty"],
        "skip_lines": given["skip_lines"],
        "footer_lines": given["footer_lines"],
        "line_ends": given["line_ends"],
        "record_bytes_max": given["record_bytes_max"],
    }


def copybook_of(text: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The layouts of a copybook."""
    columns = None if given["format"] == "free" else _positions("format", given["format"])
    book = copybook(text, columns=columns, comp5=given["comp5"], unset=given["unset"])
    take = [each.strip() for each in given["take"].split(",") if each.strip()]
    if not given["records"]:
        return {"fields": book.layout(given["record"] or None, take=take)}
    types = {
        code: None if record is None else (record.lower().replace("-", "_"), book.layout(record, take=take))
        for code, record in given["records"].items()
    }
    return {"record_types": types, "type_at": _positions("type_at", given["type_at"])}


def layout_of(text: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The layouts of a layout file."""
    try:
        document = json.loads(text)
        if "fields" in document:
            return {"fields": fields_of(document["fields"])}
        types = {
            code: None if each is None else (each["output"], fields_of(each["fields"]))
            for code, each in document["record_types"].items()
        }
        return {"record_types": types, "type_at": tuple(document["type_at"])}
    except (ValueError, TypeError, KeyError, AttributeError) as cause:
        what = f"it has no {cause}" if isinstance(cause, KeyError) else cause
        raise BadParameter("layout", given["layout"], f"the file is no layout: {what}") from cause


def fields_of(document: Mapping[str, Any]) -> dict[str, Field]:
    """The fields of a record: each a pair of positions, or the options of `Field`."""
    return {
        each: Field(*position) if isinstance(position, list) else Field(**position)
        for each, position in document.items()
    }


def _positions(parameter: str, text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first.strip().isdigit() and last.strip().isdigit()):
        raise BadParameter(parameter, text, "write two numbers, like 7-72")
    return int(first), int(last)
