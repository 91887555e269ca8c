"""Damage in text whose records are lines, or lines that go on until the next one begins: syslog and stack traces.

Any text is a record here, so what a damaged file holds is said by a few lines of Python: it is cut at line ends, and lines
that do not begin a record belong to the one before. Only bytes that are no text can be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bench.damage.case import Case, Entries, Stretch, lines_in

_SYSLOG = (
    '<165>1 2024-05-01T12:00:00.003Z host.example app 1234 ID47 [origin@32473 ip="10.0.0.1"] started, é and “quotes”',
    "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
    "2024-05-01T12:00:01+02:00 gate sshd[77]: Accepted publickey for ann from 10.0.0.2 port 22",
    "<13>1 - - - - - - \t#033[31mred#033[0m",
    "<30>Feb  5 17:32:18 router kernel: [12.5] eth0: link up",
)
_LOG = (
    "2024-05-01 12:00:00,001 INFO  started",
    "2024-05-01 12:00:01,500 ERROR could not é\nTraceback (most recent call last):\n  File \"a.py\", line 3\n\nValueError: 'x'",
    '2024-05-01 12:00:02,000 WARN  {"a": 1}',
    "2024-05-01 12:00:03,250 ERROR\n\tat a.b.C(D.java:7)\n\tat a.b.E(F.java:9)\nCaused by: java.io.IOException",
    "2024-05-01 12:00:04,000 INFO  stopped",
)
_START = r"[0-9]{4}-[0-9]{2}-[0-9]{2} "
_PIECES = (
    b"\xe9",
    b"\xc3\x28",
    b"\xff\xfe",
    b"\0",
    b"\x85",
    b"\x0b",
    b"\x1a",
    "\u2028".encode(),
    b"\r",
    b"\n",
    b"\r\n",
    b"x",
)
_FOREIGN = (
    b"-- MARK --",
    bytes(40),
    bytes(range(128, 150)),
    b"",
    b"2024-05-01 ",
    b"\xef\xbb\xbf2024-05-01 12:00:00,000 again",
)


def entry_cases() -> Iterator[Case]:
    for name, entries, start in (("syslog lines", _SYSLOG, None), ("multi-line log", _LOG, _START)):
        for damage, place, data in _damaged([text.encode() for text in entries]):
            yield _case(f"{name}", damage, place, data, start)


def _damaged(texts: list[bytes]) -> Iterator[tuple[str, str, bytes]]:
    whole = b"\n".join(texts) + b"\n"
    yield "none", "the clean file", whole
    for at in range(len(whole)):
        place = f"at byte {at}"
        yield "cut end", place, whole[:at]
        yield "missing byte", place, whole[:at] + whole[at + 1 :]
        for piece in (_PIECES[at % len(_PIECES)], _PIECES[(at * 5 + 1) % len(_PIECES)]):
            yield "odd bytes", f"{place}: {piece.hex(' ')}", whole[:at] + piece + whole[at:]
    for number in range(len(texts) + 1):
        for foreign in _FOREIGN:
            place = f"{foreign[:4].hex(' ')} before record {number + 1}"
            yield "foreign line", place, b"\n".join([*texts[:number], foreign, *texts[number:]]) + b"\n"
    for name, end in (("CRLF", b"\r\n"), ("CR", b"\r")):
        yield "other record ends", f"all {name}", end.join(texts) + end
        yield "mixed record ends", f"{name} after the first", end.join([texts[0], b"\n".join(texts[1:])])
    yield "byte order mark", "at the start", b"\xef\xbb\xbf" + whole
    yield "padding at the end", "NULs", whole + bytes(100)


def _case(name: str, damage: str, place: str, data: bytes, start: str | None) -> Case:
    mark = b"\xef\xbb\xbf"
    stretches = [Stretch(mark)] if data.startswith(mark) else []
    groups: list[list[bytes]] = []
    has_begun = False
    for line in lines_in(data.removeprefix(mark)):
        # A line that is no text begins a record if it begins like one; before the first record it may be one.
        is_start = start is None or re.match(start, line.decode(errors="replace")) is not None
        begins = is_start or (not has_begun and _text(line) is None)
        has_begun |= is_start
        if begins or not groups:
            groups.append([])
        groups[-1].append(line)
    for number, group in enumerate(groups):
        raw, text = b"".join(group), _text(*group)
        is_preamble = start is not None and not number and text is not None and re.match(start, text) is None
        if is_preamble and len(groups) > 1:
            stretches.append(Stretch(raw))
        elif text is None or is_preamble:
            stretches.append(Stretch(raw, ((raw.decode(errors="replace"),),), frozenset()))
        else:
            stretches.append(Stretch(raw, ((text,),)))
    return Case(name, damage, place, Entries(start), tuple(stretches))


def _text(*lines: bytes) -> str | None:
    """The text of some lines without the last line end; None if it is none."""
    try:
        text = b"".join(lines).decode()
    except UnicodeDecodeError:
        return None
    return text.removesuffix("\n").removesuffix("\r")
