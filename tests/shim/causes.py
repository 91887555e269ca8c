"""Failures as parsers make them, for one interpreter after the other: prints `{name: [code, exception, trace, fingerprint]}`.

Run as a script with the shim's directory as its argument. Standard library only; it must mean the same to every Python
from 3.11 on.
"""

import asyncio
import codecs
import configparser
import csv
import decimal
import enum
import io
import json
import os
import pathlib
import re
import statistics
import string
import struct
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

NOTHING: dict[str, int] = {}


class Side(enum.Enum):
    BUY = 1


class Odd(Exception):
    """An error of the parser's own."""


def list_comprehension() -> Any:
    return [int(text) for text in ["1", "x"]]


def nested_comprehensions() -> Any:
    return {key: {int(text) for text in texts} for key, texts in {"a": ["x"]}.items()}


def generator_expression() -> Any:
    return sum(int(text) for text in ["1", "x"])


def lambda_and_map() -> Any:
    return list(map(lambda text: int(text), ["x"]))  # noqa: C417 - the lambda is the point


def with_notes() -> Any:
    try:
        int("x")
    except ValueError as error:
        error.add_note(f"at {id(error)}")
        raise


def nested_causes() -> Any:
    try:
        try:
            json.loads("{nope")
        except ValueError as cause:
            raise KeyError("symbol") from cause
    except KeyError as cause:
        raise Odd(f"line {id(cause)}") from cause


def while_handling() -> Any:
    try:
        NOTHING["symbol"]
    except KeyError:
        return struct.unpack("<q", b"1")


def replaced() -> Any:
    try:
        NOTHING["symbol"]
    except KeyError:
        raise Odd("no symbol") from None


def group() -> Any:
    found: list[Exception] = []
    for parse in (list_comprehension, nested_causes, list_comprehension):
        try:
            parse()
        except Exception as error:  # noqa: BLE001
            found.append(error)
    raise ExceptionGroup(f"{len(found)} records", found)


def other_group() -> Any:
    raise ExceptionGroup("records", [KeyError("a")])


def tasks() -> Any:
    async def one(text: str) -> int:
        await asyncio.sleep(0)
        return int(text)

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(one("x"))

    asyncio.run(both())


def recursion() -> Any:
    return recursion()


def enumeration() -> Any:
    return Side(7)


def decimals() -> Any:
    return decimal.Decimal("x")


def dates() -> Any:
    return datetime.strptime("x", "%Y-%m-%d")


def regular_expression() -> Any:
    return re.compile("(")


def csv_field() -> Any:
    return list(csv.reader(io.StringIO('"' + "x" * 200_000)))


def csv_dictionary() -> Any:
    return csv.DictWriter(io.StringIO(), ["a"]).writerow({"b": 1})


def missing_path() -> Any:
    return pathlib.Path("/nowhere/at/all").read_text()


def directories() -> Any:
    return os.makedirs("/proc/nowhere/at/all")


def archive() -> Any:
    return zipfile.ZipFile(io.BytesIO(b"nothing")).namelist()


def decoding() -> Any:
    return codecs.decode(b"\xff", "utf-8")


def reading() -> Any:
    return io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="ascii").read()


def settings() -> Any:
    parser = configparser.ConfigParser()
    parser.read_string("x")


def template() -> Any:
    return string.Template("$a").substitute({})


def mean() -> Any:
    return statistics.mean([])


def threads() -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(int, "x").result()


def class_body() -> Any:
    class Record:
        size = tuple(int(text) for text in ["x"])

    return Record


def closure() -> Any:
    def inner(value: str) -> int:
        return int(value)

    return (lambda: inner("x"))()


CAUSES: tuple[Callable[[], Any], ...] = (
    list_comprehension, nested_comprehensions, generator_expression, lambda_and_map, with_notes, nested_causes,
    while_handling, replaced, group, other_group, tasks, recursion, enumeration, decimals, dates, regular_expression,
    csv_field, csv_dictionary, missing_path, directories, archive, decoding, reading, settings, template, mean, threads,
    class_body, closure,
)  # fmt: skip


def main(shim: str) -> None:
    sys.path.insert(0, shim)
    from casparian_shim.errors import code_for_parsers_exception
    from casparian_shim.trace import exception_name, fingerprint, normalise_trace

    found = {}
    for cause in CAUSES:
        try:
            cause()
        except BaseException as error:  # noqa: BLE001
            code, name, trace = code_for_parsers_exception(error), exception_name(error), normalise_trace(error)
            found[cause.__name__] = [code, name, trace, fingerprint(name, code, trace, {})]
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
