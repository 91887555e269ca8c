"""Records of 94 characters one after the other, without line ends.

A byte too few or too many shifts all records behind it. A place that is no record is therefore passed over up to the next place
where two records in a row begin; what is between is one rejected record.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from nacha_records import LENGTH, looks_like_a_record

from casparian_shim.readers import Block, BlockBuilder, Input, What, records

#: How far the next record is looked for.
_SEARCHED = 3 * LENGTH
_MARGINS = b" \r\n\0\x1a"


def has_line_ends(head: bytes) -> bool:
    """Whether a file that begins like this has one record a line."""
    return b"\n" in head or b"\r" in head or len(head) <= LENGTH


def read_unframed(source: Any, encoding: str | list[str], output: str) -> Any:
    """Each record as `{"text", "__cf_row_id"}`, numbered from 1."""
    return records(source, _blocks, encoding=encoding, output=output)


def _blocks(opened: Input) -> Iterator[Block]:
    made = BlockBuilder(["text"])
    held, begin, number = b"", opened.offset, opened.lines_before + 1
    for chunk in opened.chunks():
        held += chunk
        taken, number = _take(made, held, begin, number, len(held) - _SEARCHED - 2 * LENGTH, opened.encodings)
        held, begin = held[taken:], begin + taken
        yield made.block()
    rest = held.rstrip(_MARGINS)
    blanks = len(held) - len(rest) if held[len(rest) :].strip(b" ") == b"" else 0
    whole = len(rest) + min(blanks, -len(rest) % LENGTH)
    taken, number = _take(made, held[:whole], begin, number, whole, opened.encodings)
    if len(held) > taken:
        made.skip(What.PADDING, number, begin + len(held))
    yield made.block()


def _take(made: BlockBuilder, held: bytes, begin: int, number: int, stop: int, encodings: list[str]) -> tuple[int, int]:
    """The records that begin before `stop`. Returns up to where, and the number of the next one."""
    at, is_record = 0, _is_record(held, 0, encodings)
    while at < stop:
        end, is_next = at + LENGTH, _is_record(held, at + LENGTH, encodings)
        if not (is_record and is_next):
            found = _next(held, at, encodings)
            # The byte is missing in this record, not in the next one, if the place behind it is nearer.
            if not is_record or found < at + LENGTH + LENGTH // 2:
                end, is_record = found, is_record and found == at + LENGTH
                is_next = _is_record(held, end, encodings)
        text = _decoded(held[at:end], encodings)
        if is_record and text is not None:
            made.row((text,), number, begin + end)
        else:
            made.reject(number, begin + end, _reason(end - at), held[at:end])
        at, is_record, number = end, is_next, number + 1
    return at, number


def _reason(length: int) -> str:
    return "is no record of NACHA" if length == LENGTH else f"is no record of NACHA: {length} bytes instead of {LENGTH}"


def _next(held: bytes, at: int, encodings: list[str]) -> int:
    """Where the record after a damaged one begins: the expected place, if that will do."""
    for end in chain((at + LENGTH,), range(at + 1, at + _SEARCHED)):
        if _is_record(held, end, encodings):
            is_last = len(held) <= end + LENGTH
            if is_last or _is_record(held, end + LENGTH, encodings):
                return end
    return min(at + LENGTH, len(held))


def _is_record(held: bytes, at: int, encodings: list[str]) -> bool:
    text = _decoded(held[at : at + LENGTH], encodings)
    return text is not None and looks_like_a_record(text)


def _decoded(piece: bytes, encodings: list[str]) -> str | None:
    for encoding in encodings:
        try:
            return piece.decode(encoding)
        except UnicodeError:
            continue
    return None
