"""Casparian's premade parser for JSON lines: the members that the contract names as columns, and the other ones as JSON.

A member that the contract does not name does not stop a file: it is in the column `rest` until the contract names it.
"""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from casparian_shim import read_jsonl

name, version, topics = "jsonl", "1.0.0", ["jsonl"]
dependencies: list[str] = []
params = {
    "columns": "",  # the members that are columns, with commas or as a list in JSON; empty: the contract's; * all of them
    "rest": "rest",  # the column with all other members, as a JSON object; NULL if there are none
    "numbers": "text",  # with all their digits; or "exact": integers and decimals
    "encoding": "utf-8",  # several with commas are tried one after the other for each line
    "record_bytes_max": 67_108_864,  # a longer line is rejected
}

_OWN = ("__cf_", "_cf_")

Row = dict[str, Any]


class BadParameter(ValueError):
    """A parameter has a value this parser does not know."""

    def __init__(self, parameter: str, value: object, reason: object) -> None:
        super().__init__(f"{value!r:.200} is not a valid value of the parameter {parameter}: {reason}.")


def parse(path: str, ctx: Any) -> Iterator[Any]:
    given = ctx.params
    options = {
        "numbers": given["numbers"],
        "encoding": encodings_of(given["encoding"]),
        "record_bytes_max": given["record_bytes_max"],
    }
    if given["columns"] == "*":
        yield read_jsonl(path, **options)
        return
    columns = names_of(given["columns"]) or contracts_columns(ctx)
    rest = given["rest"]
    if not rest:
        raise BadParameter("rest", rest, "name a column of the contract")
    fixed = dict.fromkeys(each for each in columns if each != rest)
    for row in read_jsonl(path, **options):
        yield with_rest(row, fixed, rest)


def contracts_columns(ctx: Any) -> list[str]:
    """The columns of the contract next to this parser."""
    contract = json.loads(ctx.resource(f"{name}.schema.json"))
    return [column["name"] for column in contract["columns"]]


def with_rest(row: Row, columns: Mapping[str, None], rest: str) -> Row:
    """The row with exactly these columns, and one with its other members as JSON. A member that is null is like none."""
    others = {}
    made: Row = {**columns, rest: None}
    for member, value in row.items():
        if member in columns or member.startswith(_OWN):
            made[member] = value
        elif value is not None:
            others[member] = value
    if others:
        made[rest] = _json(others)
    return made


def _json(value: object) -> str:
    """The value as JSON, with every digit of a decimal."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {_json(each)}" for key, each in value.items())
        return f"{{{pairs}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_json, value))}]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


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
