"""Values that no honest peer sends, and every place in a plain document where one can be put: made from the document itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def _deep_map(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


NUMBERS: tuple[Any, ...] = (
    *(0, -1, 2**31, -(2**31) - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**30, -(10**30)),
    *(float("nan"), float("inf"), float("-inf"), 1e308, -0.5),
)
TEXTS: tuple[Any, ...] = ("", "x" * 70_000, "é" * 3000, "\ud800", "a\0b", "\x1b[31mred", "../../x", "CON")
OTHERS: tuple[Any, ...] = (None, True, [], {}, _deep(40), _deep_map(600), b"\xff\0", {"": ""}, [[]], [{"a": 1}] * 300)
EXTREMES = (*NUMBERS, *TEXTS, *OTHERS)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside maps and lists, however deep; of a list the first item stands for all."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield (*path, name)
            yield from places(value, (*path, name))
    elif isinstance(document, list) and document:
        yield (*path, 0)
        yield from places(document[0], (*path, 0))


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy that has this value there."""
    changed = copy.deepcopy(document)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return changed


def spoiled(
    document: Any, values: tuple[Any, ...] = EXTREMES, *, every: int = 1, offset: int = 0
) -> Iterator[tuple[str, Any]]:
    """The document with one value spoiled, in every way; with `every`, each n-th of the ways, beginning at the `offset`-th."""
    number = offset
    for path in places(document):
        for value in values:
            number += 1
            if number % every == 0:
                yield f"{'.'.join(map(str, path))} = {repr(value)[:40]}", with_value(document, path, value)
