"""Casparian's premade parser for delimited text: the options of `read_csv` as parameters.

The columns are those of the header, or of the parameter `columns`; the contract says which there are and what they hold. Nothing
else is decided here: what becomes of a damaged record, `read_csv` says.
"""

import json
from collections.abc import Mapping
from typing import Any

from casparian_shim import read_csv

name, version, topics = "csv", "1.0.0", ["csv"]
dependencies: list[str] = []
params = {
    "delimiter": ",",  # one character or several; \t is a tab, \x01 the character with that code
    "quote": '"',  # empty: quotes are plain text
    "escape": "",  # the character before a quote, delimiter or line end that is data
    "doublequote": True,  # whether two quotes in a quoted field are one
    "comment": "",  # lines that begin with this are skipped
    "header": 1,  # how many lines the header has; 0 if there is none
    "header_separator": " ",  # what joins the lines of a header
    "columns": "",  # the names of the columns, with commas or as a list in JSON, instead of the header's
    "skip_lines": 0,  # lines to skip first
    "preamble": "",  # a pattern that the header line matches; all lines before it are skipped
    "footer": "",  # the number of lines at the end that are no records, or a pattern that such lines match
    "tables": {},  # of a file with several tables: each output, with a pattern that its header line matches
    "ragged": "reject",  # or "pad": a record with too few fields is filled up with NULL
    "empty": "null",  # a field with nothing in it; or "text": an empty text
    "quoted_empty": "text",  # a field that is ""; or "null"
    "encoding": "utf-8-sig",  # several with commas are tried one after the other for each record
    "line_ends": "any",  # or "lf": a lone CR is data; or "nel": NEL ends a line too
    "record_bytes_max": 67_108_864,  # a longer record is rejected
}


class BadParameter(ValueError):
    """A parameter has a value this parser does not know."""

    def __init__(self, parameter: str, value: object, reason: object) -> None:
        super().__init__(f"{value!r:.200} is not a valid value of the parameter {parameter}: {reason}.")


def parse(path: str, ctx: Any) -> Any:
    return read_csv(path, **options_of(ctx.params))


def options_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `read_csv`."""
    footer = given["footer"]
    return {
        "delimiter": plain("delimiter", given["delimiter"]),
        "quote": plain("quote", given["quote"]) or None,
        "escape": plain("escape", given["escape"]) or None,
        "doublequote": given["doublequote"],
        "comment": given["comment"] or None,
        "header": given["header"],
        "header_separator": given["header_separator"],
        "columns": names_of(given["columns"]),
        "skip_lines": given["skip_lines"],
        "preamble": given["preamble"] or None,
        "footer": int(footer) if footer.isascii() and footer.isdigit() else footer or None,
        "tables": given["tables"] or None,
        "ragged": given["ragged"],
        "empty": given["empty"],
        "quoted_empty": given["quoted_empty"],
        "encoding": encodings_of(given["encoding"]),
        "line_ends": given["line_ends"],
        "record_bytes_max": given["record_bytes_max"],
    }


def plain(parameter: str, text: str) -> str:
    """The text itself; with a backslash and a letter, what Python means by it, so that a tab can be written."""
    if len(text) < 2 or "\\" not in text:
        return text
    try:
        return text.encode("latin-1").decode("unicode_escape")
    except UnicodeError as cause:
        raise BadParameter(parameter, text, "write \\t for a tab, \\x01 for a control character") from cause


def names_of(text: str) -> list[str] | None:
    """The names in a list with commas or in JSON; None if there are none."""
    if not text.lstrip().startswith("["):
        return [each.strip() for each in text.split(",")] if text else None
    try:
        names = json.loads(text)
    except ValueError as cause:
        raise BadParameter("columns", text, cause) from cause
    if not all(isinstance(each, str) for each in names):
        raise BadParameter("columns", text, "a name is text")
    return list(names)


def encodings_of(text: str) -> str | list[str]:
    encodings = [each.strip() for each in text.split(",")]
    return encodings if len(encodings) > 1 else encodings[0]
