"""The tests in a parser's directory: sample files with the rows that are expected from them.

This module finds and reads the cases, and compares the result of a run with the expectation. Running the parser needs a guest, so
the caller does it. docs/reference/parser-bundle.md documents the form.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, TypeAdapter, ValidationError

from casparian_protocol.parsers import NAME_PATTERN, TESTS_FOLDER
from casparian_sentinel.registry.prepare import BundleTestInvalid

EXPECTED_SUFFIX = ".expected.json"
_EXPECTED_BYTES_MAX = 16_000_000
_DIFFERENCES_MAX = 20

_OutputName = Annotated[str, Field(pattern=f"^{NAME_PATTERN.pattern}$")]


class ExpectedOutput(BaseModel):
    """The expected result of one output; fields that are left out are not compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Valid rows in order; each has only the keys to compare, as text.
    rows: list[dict[str, str | None]] | None = None
    #: The number of valid rows.
    valid: NonNegativeInt | None = None
    quarantined: NonNegativeInt | None = None
    #: Declared skips in the whole file, in whichever output they are named.
    skipped: NonNegativeInt | None = None


_EXPECTED: TypeAdapter[dict[_OutputName, ExpectedOutput]] = TypeAdapter(dict[_OutputName, ExpectedOutput])


@dataclass(frozen=True, slots=True)
class BundleTest:
    """One case: an input, and the expected result."""

    case: str
    input_path: Path
    expected_path: Path
    expected: dict[str, ExpectedOutput]


@dataclass(frozen=True, slots=True)
class Observed:
    """The result of running the parser on a case's input."""

    #: Output → valid rows in order, with Python values or text. Every output of the parser is named.
    rows: Mapping[str, Sequence[Mapping[str, object]]]
    quarantined: Mapping[str, int]
    skipped: int


def bundle_tests(path: Path) -> tuple[BundleTest, ...]:
    """The tests of the parser at `path`, sorted by case name.

    A directory owns all cases in its `tests/`; a single file `orders.py` owns the cases named `orders` or `orders_…`.
    """
    folder = (path if path.is_dir() else path.parent) / TESTS_FOLDER
    if not folder.is_dir():
        return ()
    names = sorted(one.name for one in folder.iterdir() if one.is_file())
    cases = [name.removesuffix(EXPECTED_SUFFIX) for name in names if name.endswith(EXPECTED_SUFFIX)]
    inputs: dict[str, list[str]] = {case: [] for case in cases}
    for name in names:
        owners = [case for case in cases if name == case or name.startswith(f"{case}.")]
        if owners and not name.endswith(EXPECTED_SUFFIX):
            inputs[max(owners, key=len)].append(name)
    owned = [case for case in cases if path.is_dir() or case == path.stem or case.startswith(f"{path.stem}_")]
    return tuple(_read_case(folder, case, inputs[case]) for case in owned)


def differences(test: BundleTest, observed: Observed) -> tuple[str, ...]:
    """The differences between a run and the expectation, one sentence each; empty if the test passes."""
    found = [line for output, expected in test.expected.items() for line in _compare(output, expected, observed)]
    unexpected = sorted(output for output, rows in observed.rows.items() if rows and output not in test.expected)
    found += [f"{output}: has {len(observed.rows[output])} rows, none were expected" for output in unexpected]
    more = len(found) - _DIFFERENCES_MAX
    return (*found[:_DIFFERENCES_MAX], f"and {more} more differences") if more > 0 else tuple(found)


def updated(test: BundleTest, observed: Observed) -> dict[str, dict[str, object]]:
    """The expectation that this run would pass: the same fields and columns, with the values of the run.

    An output that gave rows without being expected gets its counts.
    """
    document: dict[str, dict[str, object]] = {}
    for output in dict.fromkeys([*test.expected, *(name for name, rows in observed.rows.items() if rows)]):
        rows = observed.rows.get(output, ())
        expected = test.expected.get(output) or ExpectedOutput(valid=0, quarantined=0)
        fields: dict[str, object] = {}
        if expected.rows is not None:
            columns = {column for row in expected.rows for column in row}
            fields["rows"] = [
                {
                    column: as_text(value)
                    for column, value in row.items()
                    if (column in columns if columns else not column.startswith("_cf_"))
                }
                for row in rows
            ]
        if expected.valid is not None:
            fields["valid"] = len(rows)
        if expected.quarantined is not None:
            fields["quarantined"] = observed.quarantined.get(output, 0)
        if expected.skipped is not None:
            fields["skipped"] = observed.skipped
        document[output] = fields
    return document


def as_text(value: object) -> str | None:
    """A value as an expected row writes it: exact, without float rounding noise and independent of the locale."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case Decimal():
            return format(value, "f")
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case _:
            return str(value)


def _read_case(folder: Path, case: str, inputs: Sequence[str]) -> BundleTest:
    path = folder / f"{case}{EXPECTED_SUFFIX}"
    if len(inputs) != 1:
        found = ", ".join(map(ascii, inputs)) or "none"
        raise BundleTestInvalid(path, f"it needs exactly one input named {ascii(case)[1:-1]}.…, found {found}")
    if path.stat().st_size > _EXPECTED_BYTES_MAX:
        raise BundleTestInvalid(path, f"it has more than {_EXPECTED_BYTES_MAX:,} bytes")
    try:
        # Numbers keep their text: 185.60 is not 185.6.
        literal = json.loads(path.read_bytes(), parse_float=str, parse_int=str)
        expected = _EXPECTED.validate_python(_with_texts(literal))
    except ValidationError as cause:
        first = cause.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise BundleTestInvalid(path, f"{ascii(place)[1:-1]}: {first['msg']}") from cause
    except (ValueError, RecursionError) as cause:  # invalid JSON or UTF-8
        raise BundleTestInvalid(path, str(cause)) from cause
    return BundleTest(case, folder / inputs[0], path, expected)


def _with_texts(literal: object) -> object:
    """True and false in rows as the words that `as_text` uses."""
    if isinstance(literal, bool):
        return as_text(literal)
    if isinstance(literal, list):
        return [_with_texts(item) for item in literal]
    return {key: _with_texts(item) for key, item in literal.items()} if isinstance(literal, dict) else literal


def _compare(output: str, expected: ExpectedOutput, observed: Observed) -> Iterator[str]:
    rows = observed.rows.get(output, ())
    if expected.valid not in (None, len(rows)):
        yield f"{output}: {expected.valid} valid rows were expected, {len(rows)} came"
    if expected.rows is not None:
        if len(rows) != len(expected.rows):
            yield f"{output}: {len(expected.rows)} rows were expected, {len(rows)} came"
        for index, (wanted, row) in enumerate(zip(expected.rows, rows, strict=False)):
            for column, text in wanted.items():
                got = as_text(row.get(column)) if column in row else "no such column"
                if got != text:
                    yield f"{output}: row {index}, {column!a}: expected {text!a}, got {got!a}"
    quarantined = observed.quarantined.get(output, 0)
    if expected.quarantined not in (None, quarantined):
        yield f"{output}: {expected.quarantined} quarantined rows were expected, {quarantined} came"
    if expected.skipped not in (None, observed.skipped):
        yield f"{output}: {expected.skipped} skipped records were expected, {observed.skipped} came"
