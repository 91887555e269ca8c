"""The header of delimited text: the names of its columns, or an error that says what is wrong and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Sequence

from casparian_shim.readers.blocks import BadHeader
from casparian_shim.readers.csv.scan import Dialect

_DELIMITERS = (";", "\t", ",", "|", "~", "^")
_NAMES = {"\t": "tab"}


def column_names(
    records: Sequence[Sequence[str | None]],
    separator: str,
    columns: Sequence[str] | None,
    dialect: Dialect,
    line: int,
    texts: Sequence[str],
) -> list[str]:
    """The names that the header's records give, joined where there are several; or `columns`, which must be as many.

    `texts` are the header's last line and some lines after it: they tell what is wrong with a header.
    """
    text, *following = texts
    counts = [len(record) for record in records]
    if len(set(counts)) > 1:
        given = "1 name" if counts[-1] == 1 else f"{counts[-1]} names"
        raise BadHeader(line, f"has {given}, but a header line before it has {counts[0]}", text)
    names = [separator.join(part for part in parts if part) for parts in zip(*records, strict=True)]
    if columns is not None:
        if len(names) != len(columns):
            raise BadHeader(
                line, f"has {len(names)} names, but columns= has {len(columns)}", text, remedy=_without_header(records)
            )
        return list(columns)
    if len(names) == 1:
        _refuse_wrong_delimiter(dialect, line, text, following)
    first_places: dict[str, int] = {}
    for place, name in enumerate(names, 1):
        if not name.strip():
            _refuse_nameless(names, place, dialect, line, text, following)
        if (first := first_places.setdefault(name, place)) != place:
            reason = f"names {name[:80]!r} twice, at positions {first} and {place}"
            raise BadHeader(line, reason, text)
    return names


def _without_header(records: Sequence[Sequence[str | None]]) -> str:
    return f"Give {len(records[-1])} names, or skip the header: header=False, skip_lines={len(records)}."


def _refuse_nameless(
    names: list[str], place: int, dialect: Dialect, line: int, text: str, following: Sequence[str]
) -> None:
    if place < len(names) or place == 1:
        raise BadHeader(line, f"has no name at position {place} of {len(names)}", text)
    counts = [dialect.field_count(each) for each in following]
    hint = f"has no name at position {place} of {len(names)}; the line ends with a delimiter"
    if counts and all(each.endswith(dialect.delimiter) for each in following):
        given = [*names[:-1], "unused"]
        raise BadHeader(line, f"{hint}, as the records do", text, remedy=f"Name that column too: columns={given!r}.")
    if counts and all(count == len(names) - 1 for count in counts):
        remedy = f"The records have one field fewer: skip_lines=1, header=False, columns={names[:-1]!r}."
        raise BadHeader(line, f"{hint}, but the records do not", text, remedy=remedy)
    raise BadHeader(line, hint, text)


def _refuse_wrong_delimiter(dialect: Dialect, line: int, text: str, following: Sequence[str]) -> None:
    found = better_delimiter(dialect, [text, *following])
    if found is None:
        return
    delimiter, count = found
    raise BadHeader(
        line,
        f"is one name, but {count} names with the delimiter {_shown(delimiter)}",
        text,
        remedy=f"Give the delimiter: delimiter={delimiter!r}. If the file has one column, name it: columns=['text'].",
    )


def better_delimiter(dialect: Dialect, lines: Sequence[str], field_count: int | None = None) -> tuple[str, int] | None:
    """Another delimiter by which all these lines have equally many fields (at least two, or `field_count`), and how many."""
    quote = re.escape(dialect.quote or "")
    bare = [re.sub(f"{quote}[^{quote}]*{quote}", "", line) if quote else line for line in lines]
    for delimiter in _DELIMITERS:
        if delimiter == dialect.delimiter or delimiter in (dialect.quote, dialect.escape):
            continue
        counts = {line.count(delimiter) + 1 for line in bare}
        if len(counts) == 1 and (count := counts.pop()) > 1 and field_count in (None, count):
            return delimiter, count
    return None


def _shown(delimiter: str) -> str:
    return _NAMES.get(delimiter, repr(delimiter))
