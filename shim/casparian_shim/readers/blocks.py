"""Blocks of records: what a format module makes. `feed` turns them into rows, batches, rejected rows and tape entries.

**How to write a reader.** A format module has one public function and one generator of `Block`s. The generator gets an `Input`
(`source`), usually cuts it with `lines.line_blocks`, and says of every byte whether it belongs to a row, to a record that it
rejects, or to a declared skip. It never touches the tape, the job or the outputs:

    def read_pairs(source: Source, *, encoding: Encoding = "utf-8", **common: Unpack[Common]) -> Any:
        # Each line `key=value` as a row.
        return records(source, _blocks, encoding=encoding, **common)

    def _blocks(input: Input) -> Iterator[Block]:
        for lines in line_blocks(input):
            made = BlockBuilder(["key", "value"])
            for line in lines.lines():
                key, equals, value = (line.text or "").partition("=")
                if line.reason is not None:
                    made.reject(line.number, line.end, line.reason, line.raw)
                elif not line.text:
                    made.skip(What.BLANK_LINE, line.number, line.end)
                elif not equals:
                    made.reject(line.number, line.end, "has no '='", line.raw)
                else:
                    made.row((key, value), line.number, line.end)
            yield made.block()

The rules of a `Block`:
- Rows, rejects and skips are each in the order of the file. Together they cover the bytes from the end of the block before (or
  `input.offset`) to their highest `end` without a gap: an entry begins where the one before it ends, so only ends are stated.
- `end` strictly increases. `row_id` increases from record to record: it is the line on which the record begins, and a format
  without lines numbers its records. A skip has the number of its first line.
- A reason is a predicate of "the record": "has 5 fields instead of 4". Only what makes every record unreadable raises, such as
  a header that is no header (`BadHeader`). A format whose records are not numbered by lines says so in `input.unit`.
- Columns are Arrow arrays or lists of values: texts or None, unless the format has types of its own. Vectorised code gives
  arrays, careful code lists; blocks of both kinds may follow each other. Columns may also differ from block to block.
- A block may be of any size; `pieces` cuts it. Yield one for each `LineBlock` or chunk, so that memory use is constant.
- With `input.has_fallback`, the column `RAW_ENCODING` has the codec that read each row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import pyarrow as pa

from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.readers.source import RAW_BYTES_MAX
from casparian_shim.readers.tape import What

#: The column with the number of each record's first line.
ROW_ID = "__cf_row_id"
#: The column with the codec that read each record, in readers that were given several.
RAW_ENCODING = "_cf_raw_encoding"
_SHOWN_CHARACTERS = 120

#: A column: an Arrow array, or a list of values.
Values: TypeAlias = "pa.Array | Sequence[object]"


class Reject(NamedTuple):
    """A record without the promised shape."""

    row_id: int
    end: int
    reason: str
    #: Its bytes, of which the first 16 KiB are kept.
    raw: bytes = b""
    #: The output that it belongs to, in a reader of several.
    output: str | None = None
    #: Its values as far as they are known, by column, so that it can be found in the quarantine.
    values: Mapping[str, str] | None = None
    #: `raw` is a part of the record, so the worker cannot cut the text out of the input.
    is_part: bool = False


class Skip(NamedTuple):
    """A stretch of the input that is not a record."""

    what: What
    row_id: int
    end: int


class Group(NamedTuple):
    """The rows of one output, in a block whose rows belong to several."""

    output: str
    columns: Mapping[str, Values]
    #: The places of these rows among the block's rows, ascending.
    places: pa.Int64Array


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive entries of the input. `row_ids` and `ends` have one entry a row, as each of `columns` does.

    A reader of several outputs says which one the rows and rejects of this block belong to (`output`), or gives `groups` instead
    of `columns`; each row is in one of them. Its rows are then pairs of an output and a dict.

    With `has_parts`, rows and rejects that follow each other with one row id are parts of one record, each with an end of its
    own: several messages on a line. The record is one entry of the tape; its rows give their text in `_cf_raw`.
    """

    columns: Mapping[str, Values]
    row_ids: pa.Int64Array | Sequence[int]
    ends: pa.Int64Array | Sequence[int]
    rejects: Sequence[Reject] = ()
    skips: Sequence[Skip] = ()
    groups: Sequence[Group] = ()
    output: str | None = None
    has_parts: bool = False


class BlockBuilder:
    """Gathers a block entry by entry, for careful code."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._rows: list[Sequence[object]] = []
        self._row_ids: list[int] = []
        self._ends: list[int] = []
        self._rejects: list[Reject] = []
        self._skips: list[Skip] = []

    def __len__(self) -> int:
        return len(self._rows) + len(self._rejects) + len(self._skips)

    def row(self, values: Sequence[object], row_id: int, end: int) -> None:
        self._rows.append(values)
        self._row_ids.append(row_id)
        self._ends.append(end)

    def reject(self, row_id: int, end: int, reason: str, raw: bytes = b"") -> None:
        self._rejects.append(Reject(row_id, end, reason, raw[:RAW_BYTES_MAX]))

    def skip(self, what: What, row_id: int, end: int) -> None:
        self._skips.append(Skip(what, row_id, end))

    def block(self) -> Block:
        """The block so far; the builder is empty again."""
        rows, row_ids, ends, rejects, skips = self._rows, self._row_ids, self._ends, self._rejects, self._skips
        self._rows, self._row_ids, self._ends, self._rejects, self._skips = [], [], [], [], []
        values = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in self._names]
        return Block(dict(zip(self._names, values, strict=True)), row_ids, ends, rejects, skips)


# --- errors ---


class BadRecord(CasparianError):
    """A record does not have the shape that its file promised."""

    code = ErrorCode.INVALID_DATA

    def __init__(
        self,
        line: int,
        reason: str,
        raw: bytes = b"",
        *,
        offset: int | None = None,
        remedy: str = "",
        member: str = "",
        unit: str = "line",
    ) -> None:
        shown = f": {_shown(raw.decode('utf-8', 'backslashreplace'))}" if raw else ""
        named = f"The record on line {line}" if unit == "line" else f"{unit.capitalize()} {line}"
        super().__init__(
            f"{named}{f' of the member {member!r:.200}' if member else ''} {reason}{shown}.",
            remedy=remedy or "Read with on_bad='reject': such a record is rejected, and the reader continues.",
        )
        self.line = line
        #: The member of an archive that it is in.
        self.member = member
        #: Where the record begins, in bytes from the start of the source.
        self.offset = offset
        self.reason = reason
        #: The record's bytes, at most 16 KiB of them.
        self.raw = raw


class NotTheEncoding(BadRecord):
    """The bytes of a record are not valid text in the reader's encoding."""

    code = ErrorCode.ENCODING_ERROR

    def __init__(
        self,
        line: int,
        reason: str,
        raw: bytes = b"",
        *,
        offset: int | None = None,
        member: str = "",
        unit: str = "line",
    ) -> None:
        guess = "utf-16-le" if raw.count(b"\0") * 4 > len(raw) > 0 else "cp1252"
        remedy = f"Give the reader the file's encoding, for example encoding='{guess}'."
        super().__init__(line, reason, raw, offset=offset, remedy=remedy, member=member, unit=unit)


class BadHeader(CasparianError):
    """The header does not name the columns, so that no record of the file can be read."""

    code = ErrorCode.INVALID_DATA

    def __init__(self, line: int, reason: str, text: str, *, remedy: str = "") -> None:
        super().__init__(
            f"The header on line {line} {reason}: {_shown(text)}.",
            remedy=remedy
            or "Name the columns yourself with columns=[…]; skip_lines=N skips lines before the header, and "
            "header=False is for files without one.",
        )
        self.line = line


def _shown(text: str) -> str:
    plain = text.rstrip("\r\n")
    return repr(plain if len(plain) <= _SHOWN_CHARACTERS else plain[:_SHOWN_CHARACTERS] + "…")
