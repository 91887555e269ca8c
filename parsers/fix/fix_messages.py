"""One line of a log to the FIX messages on it, as bytes, with a reason wherever a message is broken.

It knows FIX's framing: BeginString, BodyLength, CheckSum, separators, data fields whose length is given. It does
not know what a tag means; `fix_tables` names tags, `fix_parser` decides what becomes of a message. A message is
taken whole or not at all: what cannot be framed is returned with a problem, never as half a message.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple
from zlib import adler32

# As logs show SOH: itself, the usual stand-ins, and what `cat -v` and viewers print. Longer ones come first.
_HEAD = re.compile(rb"8=(FIXT?\.[0-9]\.[0-9](?:SP[0-9])?)(<SOH>|\^A|[\x01|^;])9=")
_START = re.compile(rb"8=FIX")  # also right behind a digit: the message before it may have been cut short
_CHECKSUM = re.compile(rb"[0-9]{3}(?![0-9])")

CHECKSUM_TEXTS = [b"%03d" % value for value in range(256)]

# Tags that give the length in bytes of the data field which must follow them (FIX 4.0 to 5.0 SP2).
DATA_FIELD_OF = {
    b"90": b"91",
    b"93": b"89",
    b"95": b"96",
    b"212": b"213",
    b"348": b"349",
    b"350": b"351",
    b"352": b"353",
    b"354": b"355",
    b"356": b"357",
    b"358": b"359",
    b"360": b"361",
    b"362": b"363",
    b"364": b"365",
    b"445": b"446",
    b"618": b"619",
    b"621": b"622",
    b"1184": b"1185",
    b"1277": b"1278",
    b"1280": b"1281",
    b"1282": b"1283",
    b"1397": b"1398",
    b"1401": b"1402",
    b"1468": b"1469",
    b"1525": b"1527",
    b"1578": b"1580",
    b"1620": b"1621",
    b"1664": b"1665",
    b"1678": b"1697",
}


class Found(NamedTuple):
    """A message (no problem) or a stretch of the line that should have been one (a problem, no tags)."""

    raw: bytes  # its part of the line, log prefix included: the parts of a line put together are the line
    text: bytes  # from `8=` to the end of the checksum, and the separator after it
    tags: list[bytes]
    values: list[bytes]
    separator: bytes
    problem: str | None


class _Unframed(Exception):
    """The bytes at hand are not one whole FIX message; the text says why."""


def byte_sum(data: bytes) -> int:
    """The sum of all bytes. Adler-32's low half is 1 + that sum, exact while it stays below 65521."""
    if len(data) <= 256 or (len(data) <= 512 and data.isascii()):
        return (adler32(data) & 0xFFFF) - 1
    return sum((adler32(data[start : start + 256]) & 0xFFFF) - 1 for start in range(0, len(data), 256))


def integrity_problem(found: Found) -> str | None:
    """What BodyLength and CheckSum say about the message, both computed over SOH whatever the log shows."""
    separator = found.separator
    body_and_head = found.text.removesuffix(separator)[:-6]  # all before `10=nnn`
    replaced_count = len(found.tags) - 1
    start = len(found.values[0]) + len(found.values[1]) + 4 + 2 * len(separator)
    shrink = (replaced_count - 2) * (len(separator) - 1)
    length = len(body_and_head) - start - shrink
    total = byte_sum(body_and_head) + replaced_count * (1 - byte_sum(separator))
    told_length, told_sum = found.values[1], found.values[-1]
    problems = []
    if not told_length.isdigit() or told_length.lstrip(b"0") != b"%d" % length:
        problems.append(f"BodyLength (9) says {_shown(told_length)}, the body has {length} bytes")
    if told_sum != CHECKSUM_TEXTS[total & 255]:
        problems.append(f"CheckSum (10) says {_shown(told_sum)}, the bytes sum to {total & 255:03d}")
    return "; ".join(problems) or None


def find_messages(line: bytes) -> Iterator[Found]:
    """Every message on the line in order, broken ones too; nothing at all when the line holds none."""
    starts = [match.start() for match in _START.finditer(line)]
    part_start, index = 0, 0
    while index < len(starts):
        start = starts[index]
        try:
            tags, values, separator, end = _frame(line, start)
            problem = None
        except _Unframed as cause:
            tags, values, separator, problem = [], [], b"", str(cause)
            end = starts[index + 1] if index + 1 < len(starts) else len(line)
        while index < len(starts) and starts[index] < end:  # `8=FIX` inside a data field starts nothing
            index += 1
        text = line[start:end]
        part_end = end if index < len(starts) else len(line)
        yield Found(line[part_start:part_end], text, tags, values, separator, problem)
        part_start = part_end


def _frame(line: bytes, start: int) -> tuple[list[bytes], list[bytes], bytes, int]:
    head = _HEAD.match(line, start)
    if head is None:
        raise _Unframed("after 8=FIX… comes no version, separator and BodyLength (9): separators stripped?")
    separator = head[2]
    tags, values = [b"8"], [head[1]]
    at = head.end() - 2
    while tags[-1] != b"10":
        tag, value, at = _field(line, at, separator, tags, values)
        if tag in (b"8", b"9", b"35") and tag in tags:
            raise _Unframed(f"a second tag {tag.decode()} before any CheckSum (10): truncated?")
        tags.append(tag)
        values.append(value)
    if tags[2] != b"35" or not values[2]:
        raise _Unframed("the third field is not a MsgType (35)")
    return tags, values, separator, at


def _field(line: bytes, at: int, separator: bytes, tags: list[bytes], values: list[bytes]) -> tuple[bytes, bytes, int]:
    """The field at `at` and where the next one starts; CheckSum ends after its three digits."""
    equals = line.find(b"=", at, at + 12)
    tag = line[at:equals] if equals > 0 else b""
    if not tag.isdigit() or tag[:1] == b"0":
        if at >= len(line):
            raise _Unframed("the line ends before a CheckSum (10): truncated?")
        raise _Unframed(f"field {len(tags) + 1} is not tag=value: {_shown(line[at : at + 20])}")
    value_start = equals + 1
    if tag == b"10":
        checksum = _CHECKSUM.match(line, value_start)
        if checksum is None:
            raise _Unframed(f"CheckSum (10) is not three digits: {_shown(line[value_start : value_start + 8])}")
        end = checksum.end()
        return tag, checksum[0], end + len(separator) * line.startswith(separator, end)
    if DATA_FIELD_OF.get(tags[-1]) == tag:
        return tag, *_data(line, value_start, separator, tag, values[-1])
    end = line.find(separator, value_start)
    if end < 0:
        raise _Unframed("the line ends before a CheckSum (10): truncated?")
    return tag, line[value_start:end], end + len(separator)


def _data(line: bytes, start: int, separator: bytes, tag: bytes, given: bytes) -> tuple[bytes, int]:
    if not given.isdigit() or len(given) > 9:
        raise _Unframed(f"the length given for data tag {tag.decode()} is not a number: {_shown(given)}")
    end = start + int(given)
    if line[end : end + len(separator)] != separator:
        raise _Unframed(f"data tag {tag.decode()} does not end after the {int(given)} bytes given")
    return line[start:end], end + len(separator)


def _shown(data: bytes) -> str:
    return ascii(data[:40].decode("latin-1"))
