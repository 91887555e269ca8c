"""What the readers of `casparian_shim` say of a case: rows with their lines and offsets, rejected records, and every byte.

The file is in memory but has a descriptor, so that the reader keeps its tape as it does in a guest.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import casparian_shim
from bench.damage.case import Case, Delimited, Document, Entries, FixedWidth, JsonLines, Row, Segments
from bench.damage.judge import Accounted, Rejected, Returned, Taken
from casparian_shim.errors import CasparianError
from casparian_shim.readers.blocks import ROW_ID
from casparian_shim.readers.tape import SKIP_REASONS, RecordTape, What, use_tape
from casparian_shim.readers.tape import Entries as TapeEntries
from casparian_worker.detection import Dialect, Sample, detect

_OFFSET = "offset"
_log = logging.getLogger("casparian.readers")


def read_case(case: Case, **more: Any) -> Returned:
    """What the reader for this case says when it is told what the case declares. `more` are further options of the reader."""
    told = case.declared
    match told:
        case Delimited() if case.packed is not None:
            options = csv_options(told) | more
            said = read_with(case.data, lambda file: reader("read_csv")(reader("open_member")(file), **options))
            # Of a compressed file records are counted, not bytes; and what comes after a cut has none.
            cut = next((bad.reason for bad in said.rejects if bad.reason.startswith("is cut off")), None)
            return replace(said, accounted=None, rejects=() if cut else said.rejects, failed=said.failed or cut)
        case Delimited():
            return read_with(
                case.data, lambda file: reader("read_csv")(file, offsets=True, **csv_options(told), **more)
            )
        case FixedWidth():
            fields = {name: (begin, end) for name, begin, end in told.fields}
            options = {"unit": told.unit, "encoding": told.encoding, "offsets": True, **more}
            return read_with(case.data, lambda file: reader("read_fixed_width")(file, fields, **options))
        case JsonLines():
            return read_with(case.data, lambda file: reader("read_jsonl")(file, offsets=True, **more), _texts)
        case Document():
            options = {"at": told.at} if told.format == "json" else {"element": "order"}
            options |= {"offsets": True, **more}
            said = read_with(case.data, lambda file: reader(f"read_{told.format}")(file, **options), _texts)
            return _without_lines(said)
        case Entries(start=None):
            return read_with(case.data, lambda file: reader("read_lines")(file, **more))
        case Entries():
            return read_with(case.data, lambda file: reader("read_records")(file, start=told.start, **more))
        case Segments(format="fix"):
            raise NotImplementedError("FIX is read by its premade parser, which this does not run")
        case Segments():
            options = {"format": told.format, "offsets": True, **more}
            said = read_with(case.data, lambda file: reader("read_segments")(file, **options), _segment)
            return _without_lines(said)


def _without_lines(said: Returned) -> Returned:
    """Segments and elements are numbered, and how many are in damaged text is the reader's judgement: offsets are compared."""
    return replace(said, rows=tuple(replace(taken, line=None) for taken in said.rows))


def read_detected(case: Case) -> Returned:
    """What `read_csv` says when the detector has told it how the file is written."""
    found = detect(Sample.of_bytes(case.data))
    if not isinstance(found.details, Dialect) or found.encoding is None:
        return Returned(failed=f"it is taken for {found.kind}: {found.why}")
    options: dict[str, Any] = {**found.details.options, "encoding": found.encoding.name or "utf-8"}
    return read_with(case.data, lambda file: reader("read_csv")(file, offsets=True, **options))


def reader(name: str) -> Callable[..., Any]:
    """A reader of `casparian_shim` by its public name."""
    if name not in casparian_shim.__all__:
        raise NotImplementedError(f"this version has no {name}")
    found: Callable[..., Any] = getattr(casparian_shim, name)
    return found


def _values(row: dict[str, Any]) -> Row:
    return tuple(row.values())


def _texts(row: dict[str, Any]) -> Row:
    """The columns of the JSON lines as texts."""
    cells = (row.get(name) for name in ("id", "name", "city", "amount"))
    return tuple(cell if cell is None or isinstance(cell, str) else json.dumps(cell, default=str) for cell in cells)


def _segment(row: dict[str, Any]) -> Row:
    """The text of a segment as it was written."""
    name, fields = row["segment"], row["fields"]
    if name == "UNA":
        return (name, name + fields[0][:-1])  # the terminator is its last service character
    separator = row["separators"][4 if row["separators"].startswith("UNA") else 3]  # else after MSH or ISA
    if name in ("MSH", "FHS", "BHS"):
        return (name, name + fields[0] + separator.join(fields[1:]))
    return (name, separator.join([name, *fields]))


def csv_options(told: Delimited) -> dict[str, Any]:
    options: dict[str, Any] = {
        "delimiter": told.dialect.delimiter,
        "quote": told.dialect.quote,
        "encoding": told.dialect.encoding,
        "header": told.header_lines if told.header_lines > 1 else told.header_lines == 1,
        "skip_lines": told.skip_lines,
    }
    if told.dialect.escape is not None:
        options |= {"escape": told.dialect.escape, "doublequote": False}
    if told.comment is not None:
        options["comment"] = told.comment
    if told.record_bytes_max is not None:
        options["record_bytes_max"] = told.record_bytes_max
    if told.header_lines == 0:
        options["columns"] = list(told.columns)
    return options


def read_with(data: bytes, read: Callable[[Any], Any], values: Callable[[dict[str, Any]], Row] = _values) -> Returned:
    """Everything that a reader says of these bytes."""
    entries: list[tuple[int, int, int]] = []

    def send(_stream: str, sent: TapeEntries) -> None:
        entries.extend(zip(sent.rows.to_pylist(), sent.ends.to_pylist(), sent.whats.to_pylist(), strict=True))

    rows: list[Taken] = []
    failed = None
    descriptor = os.memfd_create("damaged")
    try:
        with os.fdopen(descriptor, "rb") as file, quietly():
            os.write(descriptor, data)
            os.lseek(descriptor, 0, os.SEEK_SET)
            tape = RecordTape("", descriptor, send)
            use_tape(tape)
            records = None
            try:
                records = read(file)
                for each in records:
                    row = {"": each[0], **each[1]} if isinstance(each, tuple) else each  # a reader of several outputs
                    line, offset = row.pop(ROW_ID), row.pop(_OFFSET, None)
                    rows.append(Taken(values(row), line, offset))
            except CasparianError as error:
                failed = error.problem
            tape.flush()
    finally:
        use_tape(None)
    bad_ones = () if records is None else records.rejected.first
    rejects = tuple(Rejected(bad.raw, bad.line, bad.offset, bad.reason) for bad in bad_ones)
    rejected_at = {bad.offset for bad in bad_ones}
    accounted = tuple(_accounted(entries, rejected_at))
    # A reader may leave it to the worker to cut the text out of the file.
    texts = {part.begin: data[part.begin : part.end] for part in accounted}
    rejects = tuple(each if each.raw else replace(each, raw=texts.get(each.offset or 0)) for each in rejects)
    return Returned(tuple(rows), rejects, failed, accounted)


def _accounted(entries: list[tuple[int, int, int]], rejected_at: set[int | None]) -> Iterator[Accounted]:
    begin = 0
    for _row, end, what in entries:
        if what not in (What.POSITION, What.COMPLETE):
            kind = "rejected" if begin in rejected_at else SKIP_REASONS.get(What(what), "record")
            yield Accounted(begin, end, kind)
        begin = end


@contextmanager
def quietly() -> Iterator[None]:
    """Without the warning that a reader outside a guest gives for its first rejected record."""
    was, _log.disabled = _log.disabled, True
    try:
        yield
    finally:
        _log.disabled = was
