"""Messages in a stream by RFC 6587, each behind its length in bytes: `83 <34>1 2024-…`. A message may have several lines.

A length that is wrong would shift all that follows. A message therefore counts only if another one, a line end or the end of the
file is behind it; otherwise what is up to the next place that begins like a message is one rejected record.
"""

import re
from collections.abc import Iterator
from typing import Any

from casparian_shim.readers import Block, BlockBuilder, Input, What, records
from casparian_shim.readers.lines import decoded

#: The column with the codec that read a message.
RAW_ENCODING = "_cf_raw_encoding"
#: The length of a message, and its first bytes.
_BEGIN = re.compile(rb"([1-9][0-9]{0,7}) (?=<[0-9]{1,3}>)")
#: What a cut leaves of these.
_CUT_BEGIN = re.compile(rb"[1-9][0-9]{0,7}(?: (?:<[0-9]{0,3})?)?")
_NEXT = re.compile(rb"(?<![0-9])[1-9][0-9]{0,7} <[0-9]{1,3}>")
_ENDS = b"\r\n"
#: Enough to see the beginning of the message behind one.
_AHEAD = 32
_MESSAGE_BYTES_MAX = 16 * 1024 * 1024


def read_octets(source: Any, encoding: str | list[str]) -> Any:
    """Each message as `{"text", "__cf_row_id"}`, numbered from 1."""
    return records(source, _blocks, encoding=encoding)


def _blocks(opened: Input) -> Iterator[Block]:
    opened.unit = "message"
    made = BlockBuilder(["text", RAW_ENCODING] if opened.has_fallback else ["text"])
    held, begin, number = b"", opened.offset, 1
    for chunk in opened.chunks():
        held += chunk
        taken, number = _take(made, opened, held, begin, number, is_end=False)
        held, begin = held[taken:], begin + taken
        yield made.block()
    _take(made, opened, held, begin, number, is_end=True)
    yield made.block()


def _take(made: BlockBuilder, opened: Input, held: bytes, begin: int, number: int, *, is_end: bool) -> tuple[int, int]:
    """The messages that are here whole. Returns up to where, and the number of the next one."""
    at = 0
    while at < len(held):
        end = at
        while end < len(held) and held[end] in _ENDS:
            end += 1
        if end > at:
            made.skip(What.BETWEEN_RECORDS, number, begin + end)
            at, number = end, number + 1
            continue
        found = _BEGIN.match(held, at)
        length = int(found[1]) if found is not None else 0
        end = found.end() + length if found is not None else at
        is_long = length > _MESSAGE_BYTES_MAX
        if not is_end and len(held) < (at if is_long else end) + _AHEAD:
            break
        if found is None or is_long or end > len(held) or not _may_end(held, end):
            place = _NEXT.search(held, at + 1)
            if place is None and not is_end and len(held) - at < _MESSAGE_BYTES_MAX:
                break  # the next message may begin in the bytes to come
            stop = len(held) if place is None else place.start()
            made.reject(number, begin + stop, _reason(found, end - len(held)), held[at:stop])
            at, number = stop, number + 1
            continue
        try:
            text, codec = decoded(held[found.end() : end], opened.encodings)
        except UnicodeError:
            made.reject(number, begin + end, f"is not valid {' or '.join(opened.encodings)}", held[at:end])
        else:
            made.row((text, codec) if opened.has_fallback else (text,), number, begin + end)
        at, number = end, number + 1
    return at, number


def _may_end(held: bytes, end: int) -> bool:
    """Whether a message may end here."""
    if end == len(held) or held[end] in _ENDS or _BEGIN.match(held, end) is not None:
        return True
    return len(held) - end < _AHEAD and _CUT_BEGIN.fullmatch(held, end) is not None


def _reason(found: re.Match[bytes] | None, missing: int) -> str:
    if found is None:
        return "has no length before it"
    if missing > 0:
        return f"has {missing:,} bytes less than its length of {int(found[1]):,}"
    return f"does not end after its length of {int(found[1]):,} bytes"
