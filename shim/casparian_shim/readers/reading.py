"""What every reader shares: `records` makes rows, batches or a table of the blocks that a format module gives.

The docstring of `blocks` says how to write a reader. `feed` does the work.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from types import CodeType
from typing import Any, Literal, TypedDict

import pyarrow as pa

from casparian_shim.arrow.columns import column_of_values
from casparian_shim.readers.blocks import Block, Values
from casparian_shim.readers.feed import Feed, OnBad, Part, Rejected, Row
from casparian_shim.readers.pieces import listed
from casparian_shim.readers.source import Encoding, Input, Source, codec_names

As = Literal["rows", "batches", "arrow", "pandas", "polars"]


class Common(TypedDict, total=False):
    """The options that every reader passes on to `records` unchanged."""

    on_bad: OnBad
    output: str | None
    offsets: bool
    as_: As


def records(
    source: Source,
    blocks: Callable[[Input], Iterator[Block]],
    *,
    encoding: Encoding = "utf-8",
    on_bad: OnBad = "reject",
    output: str | None = None,
    offsets: bool = False,
    as_: As = "rows",
    has_offsets: bool = True,
    **unknown: object,
) -> Any:
    """The records of `source` as `as_` says: `Records`, an iterator of record batches, or one table.

    `has_offsets=False` is for formats that are not read in order of bytes; the `ends` of their blocks only put entries in order.
    """
    caller = sys._getframe(1)
    if "has_offsets" in caller.f_locals.get("common", ()):  # it is the reader's own to say
        unknown = {"has_offsets": has_offsets}
    if unknown:
        raise _unknown_option(caller.f_code, next(iter(unknown)))
    if as_ not in ("rows", "batches", "arrow", "pandas", "polars"):
        raise ValueError(f"as_ is rows, batches, arrow, pandas or polars, not {as_!r}")
    if on_bad not in ("reject", "raise") and not callable(on_bad):
        raise ValueError(f"on_bad is 'reject', 'raise' or a function, not {on_bad!r:.80}")
    codec_names(encoding)  # refuses a wrong name here, where the parser calls the reader
    if offsets and not has_offsets:
        raise ValueError("offsets=True is for formats that are read in the order of their bytes, which this one is not")
    made = Records(Feed(source, blocks, encoding, on_bad, output, offsets, has_offsets))
    if as_ == "rows":
        return made
    if as_ == "batches":
        return made.batches()
    table = made.table()
    if isinstance(table, dict):
        return {name: _as_table(each, as_) for name, each in table.items()}
    return _as_table(table, as_)


def _unknown_option(reader: CodeType, name: str) -> TypeError:
    """The error for an option that the reader does not have. `reader` is the code of the function that the author called."""
    from difflib import get_close_matches  # only where it is needed

    own = reader.co_varnames[1 : reader.co_argcount + reader.co_kwonlyargcount]
    close = get_close_matches(name, [*own, *Common.__annotations__], n=3, cutoff=0.6)
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    return TypeError(f"{reader.co_name}() has no option {name!r:.80}{hint}")


def _one_column(pieces: Sequence[Values]) -> pa.ChunkedArray:
    """The pieces of a column as one. What it becomes does not depend on where it is cut."""
    made = [(piece, False) if isinstance(piece, pa.Array) else column_of_values(piece) for piece in pieces]
    kinds = {array.type for array, _ in made if array.null_count < len(array)}
    if len(kinds) <= 1 and not any(is_of_several_kinds for _, is_of_several_kinds in made):
        kind = kinds.pop() if kinds else pa.string()
        arrays = [array if array.type == kind else pa.nulls(len(array), kind) for array, _ in made]
        return pa.chunked_array(arrays, kind)
    values = [value for piece in pieces for value in listed(piece)]
    array, is_of_several_kinds = column_of_values(values)
    return pa.chunked_array([pa.array(map(_text_of, values), pa.string()) if is_of_several_kinds else array])


def _text_of(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _as_table(table: pa.Table, as_: As) -> Any:
    if as_ == "pandas":
        return table.to_pandas()
    if as_ == "polars":
        from importlib import import_module

        return import_module("polars").from_arrow(table)
    return table


class Records(chain[Row]):
    """The records of one source: an iterator of rows, which are dicts. What is left may also be taken in batches or as a table.

    `return records`, `yield records` and `yield "output", records` in a parser send whole blocks, and so does
    `yield from records`: no dict is made of a row that the parser does not look at.
    """

    _feed: Feed

    def __new__(cls, feed: Feed) -> Records:
        self = super().__new__(cls, chain.from_iterable(feed.row_iterators()))
        self._feed = feed
        return self

    @property
    def rejected(self) -> Rejected:
        """The records rejected so far."""
        return self._feed.rejected

    @property
    def output(self) -> str | None:
        """The output that was named for rejected records."""
        return self._feed.output

    @property
    def outputs(self) -> set[str]:
        """The outputs that rows belong to, of a reader of several."""
        return self._feed.outputs

    def batches(self) -> Iterator[Any]:
        """The rest as record batches: text columns, `__cf_row_id`, and `offset` if it was asked for.

        A reader of several outputs gives pairs of an output and a batch.
        """
        return self._feed.batches()

    def table(self) -> Any:
        """The rest as one table; as a dict of tables for a reader of several outputs.

        A column that has values of several kinds, such as texts and objects or objects with different names, is text: what is no
        text is written as JSON.
        """
        found: dict[str | None, dict[str, list[Values]]] = {}
        counts: Counter[str | None] = Counter()
        for part in self._feed.values():
            columns = found.setdefault(part.output, {}) if part.columns else {}
            for name, values, _ in part.columns:
                if name not in columns:
                    columns[name] = [pa.nulls(counts[part.output], pa.string())] if counts[part.output] else []
                columns[name].append(values)
            counts[part.output] += part.row_count
            for name in columns.keys() - {name for name, _, _ in part.columns}:
                columns[name].append(pa.nulls(part.row_count, pa.string()))
        tables = {
            output: pa.table({name: _one_column(pieces) for name, pieces in columns.items()})
            for output, columns in found.items()
        }
        return tables if None not in tables and tables else tables.get(None, pa.table({}))

    def parts(self, default_output: str | None = None) -> Iterator[Part]:
        """The rest, with rejected records that are still to be sent. For `emitting`, which numbers rows and rejected rows.

        An error in reading ends the parts; `error` has it, and asking for the next row raises it.
        """
        return self._feed.parts(default_output)

    def take_back(self) -> bool:
        """Give the last row again, in `parts`; returns whether that is possible. For a caller that knows that it is untouched."""
        return self._feed.take_back()

    @property
    def error(self) -> Exception | None:
        return self._feed.error
