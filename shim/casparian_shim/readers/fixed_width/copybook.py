"""COBOL copybooks as layouts: which bytes of a record are which item, and how each is encoded.

`copybook` reads the data descriptions and gives a `Copybook`; its `layout` chooses a record and, where items redefine each other,
which of them is meant. What changes positions and is not understood here is refused by name and line, because every later field
would be cut at the wrong place. `picture` reads PICTURE and USAGE; `sentences` cuts the text into words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from casparian_shim.readers.fixed_width.layout import Field, Layout
from casparian_shim.readers.fixed_width.numbers import ByteOrder
from casparian_shim.readers.fixed_width.picture import BadCopybook, Description, Elementary, elementary
from casparian_shim.readers.fixed_width.sentences import Entry, Occurs, entries_of

Unset = Literal["reject", "null"]
_ITEMS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Item:
    """A data item: a group of items, or an elementary one. A table has `occurs`."""

    entry: Entry
    items: tuple[Item, ...]
    elementary: Elementary | None

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def occurs(self) -> Occurs:
        return self.entry.occurs or Occurs(1, 1, None)


def copybook(
    text: str, *, columns: tuple[int, int] | None = (7, 72), comp5: ByteOrder = "big", unset: Unset = "reject"
) -> Copybook:
    """The records that a copybook describes.

    `columns` are those of the indicator and of the last character; None is for free format. `comp5` is the byte order of the
    machine that wrote COMP-5 items. With `unset="null"` a number that was never set (see `Field`) is NULL.
    """
    if not isinstance(text, str):
        raise ValueError(f"a copybook is text, not {type(text).__name__}: decode it, as in ctx.resource(name).decode()")
    entries = entries_of(text.removeprefix("\ufeff"), columns)
    if not entries:
        raise BadCopybook(1, "begins no data description", remedy="Give the text of the copybook, not its file name.")
    items: list[Item] = []
    position = 0
    while position < len(entries):
        item, position = _item(entries, position, Description(), comp5)
        items.append(item)
    if any(item.entry.level not in (1, 77) for item in items):  # to be copied below an 01 of the program
        items = [Item(Entry("RECORD", entries[0].line, 1), tuple(items), None)]
    records: dict[str, Item] = {}
    for item in items:
        if item.name in records:
            raise BadCopybook(item.entry.line, f"describes the record {item.name} again")
        records[item.name] = item
    return Copybook(records, unset)


def _item(entries: Sequence[Entry], position: int, above: Description, comp5: ByteOrder) -> tuple[Item, int]:
    """The item at `position` with the items below it, and the position after them."""
    entry = entries[position]
    own = entry.description
    described = replace(
        own,
        usage=own.usage or above.usage,
        sign=own.sign or above.sign,
        is_separate=own.is_separate if own.sign else above.is_separate,
    )
    position += 1
    below: list[Item] = []
    while position < len(entries) and entry.level < entries[position].level < 77 and entry.level != 77:
        item, position = _item(entries, position, described, comp5)
        below.append(item)
    if own.sign and own.picture and "S" not in own.picture:
        raise BadCopybook(entry.line, f"has a SIGN, but its PICTURE {own.picture} has no S")
    if not below:
        return Item(entry, (), elementary(described, entry.line, native=comp5)), position
    if own.picture is not None:
        raise BadCopybook(below[0].entry.line, f"puts {below[0].name} below {entry.name}, which has a PICTURE")
    if len({item.entry.level for item in below}) > 1:
        odd = next(item for item in below if item.entry.level != below[0].entry.level)
        raise BadCopybook(
            odd.entry.line, f"has the level {odd.entry.level:02d} among items of {below[0].entry.level:02d}"
        )
    return Item(entry, tuple(below), None), position


@dataclass(frozen=True, slots=True)
class Copybook:
    """The records of a copybook, by name."""

    records: Mapping[str, Item]
    unset: Unset = "reject"

    def layout(self, record: str | None = None, *, take: Collection[str] = ()) -> Layout:
        """The layout of a record; `record` may be left out if there is one.

        Of items that redefine each other the first counts, unless `take` names another. Names become lower-case, with `_` for
        `-`; items of a table end in their number ("price_1", "price_2_1"); equal names are qualified by their group. FILLER is
        left out.
        """
        if record is None and len(self.records) != 1:
            raise ValueError(f"name one of the records {', '.join(self.records)}")
        chosen = self.records.get(next(iter(self.records)) if record is None else record.upper())
        if chosen is None:
            raise ValueError(f"{record!r} is not a record of the copybook: {', '.join(self.records)}")
        if (count := _item_count(chosen)) > _ITEMS_MAX:
            raise BadCopybook(chosen.entry.line, f"describes {count:,} items; at most {_ITEMS_MAX:,} are read")
        taken = frozenset(name.upper() for name in take)
        redefining = {item.name for item in _all(chosen) if item.entry.redefines}
        if unknown := sorted(taken - redefining):
            raise ValueError(f"take names {unknown[0]!r}, which redefines nothing in {chosen.name}")
        plan = _Plan(chosen, taken, self.unset)
        most = plan.laid_out({})
        tables = tuple(item for item in _all(chosen) if item.occurs.depending_on)
        if not tables:
            return Layout(most.fields, most.length, True)
        least = plan.laid_out({item.name: item.occurs.least for item in tables})
        for table in tables:
            counter = table.occurs.depending_on
            if counter not in most.counters:
                raise BadCopybook(table.entry.line, f"depends on {counter}, which the record does not have once")
            if plan.laid_out({table.name: table.occurs.least}).counters.get(counter) != most.counters[counter]:
                raise BadCopybook(table.entry.line, f"depends on {counter}, which comes after it")
        return VariableLayout(most.fields, most.length, True, plan, tables, least.length)


def _item_count(item: Item) -> int:
    """How many elementary items there are with all occurrences."""
    return item.occurs.most * (1 if item.elementary is not None else sum(map(_item_count, item.items)))


def _all(item: Item) -> Iterator[Item]:
    yield item
    for below in item.items:
        yield from _all(below)


@dataclass(frozen=True, slots=True)
class _Placed:
    """An elementary item at its position: its groups and itself, by name, and the numbers of its occurrences."""

    path: tuple[str, ...]
    numbers: tuple[int, ...]
    line: int
    field: Field


@dataclass(frozen=True, slots=True)
class _LaidOut:
    fields: dict[str, Field]
    counters: dict[str, Field]
    length: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """Places the items of a record one after the other, for given counts of its tables."""

    record: Item
    taken: frozenset[str]
    unset: Unset

    def laid_out(self, counts: Mapping[str, int]) -> _LaidOut:
        placed: list[_Placed] = []
        length = self._place(self.record, 0, (), (), counts, placed)
        counters: dict[str, Field] = {}
        for each in placed:
            if not each.numbers:
                counters.setdefault(each.path[-1], each.field)
        return _LaidOut(_named(placed), counters, length)

    def _place(
        self, item: Item, start: int, path: tuple[str, ...], numbers: tuple[int, ...], counts: Mapping[str, int],
        placed: list[_Placed] | None,
    ) -> int:  # fmt: skip
        """Place an item with all its occurrences; returns the position after it. Without `placed` it is only measured."""
        path = (*path, item.name)
        count = counts.get(item.name, item.occurs.most) if item.occurs.depending_on else item.occurs.most
        for number in range(1, count + 1):
            inner = (*numbers, number) if item.entry.occurs else numbers
            if item.elementary is None:
                start = self._place_below(item, start, path, inner, counts, placed)
                continue
            if placed is not None and item.name != FILLER:
                placed.append(_Placed(path, inner, item.entry.line, item.elementary.field(start, self.unset)))
            start += item.elementary.width
        return start

    def _place_below(
        self, group: Item, start: int, path: tuple[str, ...], numbers: tuple[int, ...], counts: Mapping[str, int],
        placed: list[_Placed] | None,
    ) -> int:  # fmt: skip
        for alternatives in _alternatives(group):
            chosen = [item for item in alternatives if item.name in self.taken]
            if len(chosen) > 1:
                raise ValueError(f"take names both {chosen[0].name} and {chosen[1].name}, which share their bytes")
            kept = chosen[0] if chosen else alternatives[0]
            ends = [
                self._place(item, start, path, numbers, counts, placed if item is kept else None)
                for item in alternatives
            ]
            start = max(ends)
        return start


def _alternatives(group: Item) -> list[list[Item]]:
    """The items of a group, in order, each with those that redefine it."""
    found: list[list[Item]] = []
    for item in group.items:
        if item.entry.redefines is None:
            found.append([item])
        elif found and item.entry.redefines in {other.name for other in found[-1]}:
            found[-1].append(item)
        else:
            raise BadCopybook(item.entry.line, f"redefines {item.entry.redefines}, which is not the item before it")
    return found


FILLER = "FILLER"


def _named(placed: Sequence[_Placed]) -> dict[str, Field]:
    """The fields by name. Equal names are qualified by as many of their groups as tell them apart."""
    depths = [1] * len(placed)
    while True:
        names = [_column(each, depth) for each, depth in zip(placed, depths, strict=True)]
        twice = {name for name, count in Counter(names).items() if count > 1}
        if not twice:
            return {name: each.field for name, each in zip(names, placed, strict=True)}
        doubled = [position for position, name in enumerate(names) if name in twice]
        for position in doubled:
            depths[position] += 1
            if depths[position] > len(placed[position].path):
                last = placed[doubled[-1]]
                raise BadCopybook(last.line, f"describes {last.path[-1]} twice in one group")


def _column(placed: _Placed, depth: int) -> str:
    words = [name for name in placed.path[-depth:] if name != FILLER]
    return "_".join([*words, *map(str, placed.numbers)]).lower().replace("-", "_")


@dataclass(frozen=True, slots=True)
class VariableLayout(Layout):
    """A layout with OCCURS DEPENDING ON: a record says how long its tables are. `fields` and `length` are the longest's."""

    plan: _Plan
    tables: tuple[Item, ...]
    shortest_length: int
    _known: dict[tuple[int, ...], Layout] = field(default_factory=dict, compare=False, repr=False)

    @property
    def shortest(self) -> int:
        return self.shortest_length

    def at(self, record: bytes, encoding: str) -> Layout:
        counts: dict[str, int] = {}
        for table in self.tables:
            counts[table.name] = _count(table, self._counter(table, counts), record, encoding)
        return self._with(counts)

    @property
    def only_counter(self) -> Field | None:
        """The field of the count, if there is one table."""
        return self._counter(self.tables[0], {}) if len(self.tables) == 1 else None

    def with_count(self, count: int) -> Layout | None:
        """The layout of records with this count of the only table; None if they cannot have it."""
        occurs = self.tables[0].occurs
        return self._with({self.tables[0].name: count}) if occurs.least <= count <= occurs.most else None

    def _counter(self, table: Item, counts: Mapping[str, int]) -> Field:
        """The field of a table's count, which comes before the table. `counts` are those of the tables before it."""
        assert table.occurs.depending_on is not None
        return self.plan.laid_out(counts).counters[table.occurs.depending_on]

    def _with(self, counts: Mapping[str, int]) -> Layout:
        key = tuple(counts.values())
        if key not in self._known:
            laid_out = self.plan.laid_out(counts)
            self._known[key] = Layout(laid_out.fields, laid_out.length, True)
        return self._known[key]


def _count(table: Item, counter: Field, record: bytes, encoding: str) -> int:
    occurs = table.occurs
    if counter.end is None or counter.end > len(record):
        raise ValueError(f"ends before {occurs.depending_on}, the count of {table.name}")
    try:
        value = counter.value(record[counter.start : counter.end], encoding)
    except ValueError as cause:
        raise ValueError(f"has no count of {table.name} in {occurs.depending_on}: {cause}") from None
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError(f"has no count of {table.name} in {occurs.depending_on}: {value!r:.60} is not a number")
    count = int(value or 0)
    if not occurs.least <= count <= occurs.most:
        raise ValueError(f"has {count} of {table.name}, not {occurs.least} to {occurs.most}")
    return count
