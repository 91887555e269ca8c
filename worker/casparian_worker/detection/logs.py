"""Logs: syslog, key=value lines, and records of several lines that begin with a time or a level.

How a header of syslog is written, is here and nowhere else in the detector and the drafts (`SYSLOG_HEADERS`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from casparian_worker.detection.result import Detected, Log
from casparian_worker.detection.text import Text

_LINES_JUDGED = 1000
_PRIORITY = r"<(?P<priority>\d{1,3})>"
#: The time of RFC 3164, without a year.
_SHORT_TIME = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
#: The pattern of each header of syslog, with the names that the premade parser gives to its parts. What follows is the message.
#: The detector, the preview and the drafts use it; a premade parser has patterns of its own, because it is copied.
SYSLOG_HEADERS = {
    "rfc5424": rf"(?:\d{{1,5}} )?{_PRIORITY}1 (?P<time>-|\d{{4}}-\d\d-\d\dT\S+) (?P<host>\S+) (?P<app>\S+) (?P<proc_id>\S+) "
    r"(?P<msg_id>\S+) ",
    "rfc3164": rf"(?:{_PRIORITY})?(?P<time>{_SHORT_TIME}|\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\S*) (?P<host>\S+) "
    r"(?P<app>[^\s:\[]+)(?:\[(?P<proc_id>[^\]]*)\])?: ?",
}
_PAIR = re.compile(r"(?:^|[\s,;|])([A-Za-z_][\w.\-]*)=(\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s,;|]*)")
#: A time and a level before pairs, which are no part of them.
_HEAD = re.compile(r"\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d\S* (?:\[?[A-Z]{4,8}\]? )?")
#: Patterns that begin a record, the most particular first.
_STARTS = (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d",
    r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d",
    r"\d\d[/.]\d\d[/.]\d{4} \d\d:\d\d:\d\d",
    r"\d\d-[A-Z][a-z]{2}-\d{4} \d\d:\d\d:\d\d",
    r"\[\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d",
    r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d",
    _SHORT_TIME,
    r"\d\d:\d\d:\d\d[.,]\d{3}",
    r"(?:TRACE|DEBUG|INFO|WARN|WARNING|ERROR|FATAL|CRITICAL)\b",
    r"\[(?:TRACE|DEBUG|INFO|WARN|WARNING|ERROR|FATAL|CRITICAL)\]",
)


def detect_syslog(text: Text) -> Detected | None:
    """Syslog by RFC 5424 or RFC 3164, if four of five lines have its header."""
    lines = _judged(text)
    if not lines:
        return None
    counts = {style: sum(bool(re.match(header, line)) for line in lines) for style, header in SYSLOG_HEADERS.items()}
    count = sum(counts.values())
    if count * 5 < len(lines) * 4:
        return None
    style = max(counts, key=lambda each: counts[each])
    names = " or ".join(each.upper().replace("RFC", "RFC ") for each, found in counts.items() if found)
    years = sum(bool(re.match(r"(?:<\d+>)?[A-Z]", line)) for line in lines)
    return Detected(
        "syslog",
        round(count / len(lines), 4),
        (f"{count:,} of {len(lines):,} lines have the header of {names} syslog",),
        ("its times have no year and no zone: a reader needs both",) if years else (),
        details=Log(style, record_count=count),
    )


def detect_key_value(text: Text) -> Detected | None:
    """Lines of at least two key=value pairs that make up most of the line."""
    if "=" not in text.head:
        return None
    lines = _judged(text)
    keys: Counter[str] = Counter()
    count = covered = total = 0
    for line in lines:
        head = _HEAD.match(line)
        pairs = list(_PAIR.finditer(line))
        total += len(line) - (head.end() if head is not None else 0)
        if len(pairs) >= 2:
            count += 1
            covered += sum(len(pair[0]) for pair in pairs)
            keys.update({pair[1] for pair in pairs})
    if not lines or count * 5 < len(lines) * 4 or covered * 2 < total:
        return None
    evidence = (f"{count:,} of {len(lines):,} lines are key=value pairs, with {len(keys)} different keys",)
    common = [key for key, seen in keys.items() if seen * 2 >= count]
    doubts = (
        () if len(common) == len(keys) else (f"{len(keys) - len(common)} keys are in fewer than half of the lines",)
    )
    names = tuple(key for key, _ in keys.most_common(200))
    return Detected(
        "key_value",
        round(count / len(lines), 4),
        evidence,
        doubts,
        details=Log("key_value", keys=names, record_count=count),
    )


def pairs_of(line: str) -> dict[str, str]:
    """The pairs of a line; of a key that is repeated, the first value."""
    found: dict[str, str] = {}
    for pair in _PAIR.finditer(line):
        value = pair[2]
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = re.sub(r"\\(.)", r"\1", value[1:-1]) if value[0] == '"' else value[1:-1]
        found.setdefault(pair[1], value)
    return found


def detect_multiline(text: Text) -> Detected | None:
    """Records that begin with a time or a level; the lines between two beginnings belong to the record before them."""
    lines = _judged(text)
    if len(lines) < 3:
        return None
    for source in _STARTS:
        pattern = re.compile(source)
        if not any(map(pattern.match, lines[:100])):
            continue
        starts = sum(bool(pattern.match(line)) for line in lines)
        if starts >= 2 and starts * 10 >= len(lines) and (pattern.match(lines[0]) or starts * 3 >= len(lines)):
            rest = len(lines) - starts
            evidence = [f"{starts:,} of {len(lines):,} lines begin with {_example(pattern, lines)!r} or alike"]
            if rest:
                evidence.append(f"{rest:,} lines continue the record before them")
            doubts = () if pattern.match(lines[0]) else ("the first line is not the beginning of a record",)
            return Detected(
                "multiline", 0.9, tuple(evidence), doubts, details=Log("multiline", f"^{source}", record_count=starts)
            )
    return None


def _example(pattern: re.Pattern[str], lines: Sequence[str]) -> str:
    return next((found[0] for line in lines if (found := pattern.match(line))), "")


def _judged(text: Text) -> list[str]:
    lines = [line for line in text.all_lines() if line.strip()]
    return lines[:_LINES_JUDGED] if len(text.stretches) == 1 else lines[:: max(1, len(lines) // _LINES_JUDGED)]
