"""Formats of messages: HL7 v2, X12, EDIFACT and FIX, how they are recognised and cut; and NACHA, BAI2 and MT940 of banks.

The first four state their separators, and each is cut by its own rules: a segment ends with the separator that the interchange
header names, not with the line; MSH-1 is the separator itself; a FIX data field is as long as the length field before it says.
Files of banks are recognised by their first records.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from casparian_worker.detection.result import Detected, Segments
from casparian_worker.detection.text import Text

_FIX = re.compile(r"(?<![0-9])8=FIX")
_HL7 = re.compile(r"(?:^|[\r\n])[\x0b\x1c]?(MSH|FHS|BHS)([^\w\s])")
#: Length field → data field, whose value may hold any character.
FIX_DATA = {
    90: 91, 93: 89, 95: 96, 212: 213, 348: 349, 350: 351, 352: 353, 354: 355, 356: 357, 358: 359, 360: 361, 362: 363,
    364: 365, 445: 446, 618: 619, 621: 622, 1184: 1185, 1277: 1278, 1280: 1281, 1282: 1283, 1397: 1398, 1401: 1402,
    1468: 1469, 1525: 1527, 1578: 1580, 1620: 1621, 1664: 1665, 1678: 1697,
}  # fmt: skip
_FIX_SEPARATORS = ("\x01", "|", "^A", "^", ";", "\x02")
_NACHA_LENGTH = 94
_NACHA_HEAD = re.compile(r"101[ \d][\d ]{9}[ \dA-Z][\w ]{9}\d{6}")
_BAI2 = re.compile(r"(?:01|02|03|16|49|88|98|99),|.+/$")
_MT940_FIELD = re.compile(r":(\d\d[A-Z]?):")


def detect_fix(text: Text) -> Detected | None:
    """FIX: a line with 8=FIX, also behind the prefix of a log."""
    lines = text.all_lines()
    numbered = [(number, line) for number, line in enumerate(lines) if _FIX.search(line)]
    if not numbered:
        return None
    separators = Counter(fix_separator(line[line.find("8=FIX") :]) for _, line in numbered[:200])
    separator = separators.most_common(1)[0][0]
    types = Counter(dict(fix_fields(line, separator)).get("35", "?") for _, line in numbered[:2000])
    first = numbered[0][0]
    filled = sum(bool(line.strip()) for line in lines)
    prefixed = sum(not line.startswith("8=FIX") for _, line in numbered)
    evidence = [
        f"has 8=FIX in line {first + 1}",
        f"{len(numbered):,} of {filled:,} lines hold a message, fields end with {separator!a}",
    ]
    if prefixed:
        evidence.append(f"{prefixed:,} messages stand behind a prefix")
    doubts = []
    if types.get("?"):
        doubts.append(f"{types['?']:,} messages have no message type (35)")
    share = min(1.0, len(numbered) / max(1, filled))
    details = Segments(separator, "\n", messages=tuple(types.most_common(20)))
    return Detected("fix", round(share, 4), tuple(evidence), tuple(doubts), details=details)


def fix_separator(body: str) -> str:
    """What ends the fields of a message: the character before its second tag if that is a known one."""
    found = re.match(r"8=FIXT?\.[0-9.]+(?:SP[0-9])?(\^A|[^0-9A-Za-z.])9=", body)
    if found:
        return found[1]
    return next((each for each in _FIX_SEPARATORS if each in body), "\x01")


def fix_fields(line: str, separator: str) -> Iterator[tuple[str, str]]:
    """Tag and value of each field of the first message in a line. A data field is as long as its length says."""
    at = line.find("8=FIX")
    if at < 0:
        return
    data_tag, data_length = 0, 0
    while at < len(line):
        equals = line.find("=", at)
        if equals < 0:
            return
        tag = line[at:equals]
        if not tag.isascii() or not tag.isdigit():
            return
        end = line.find(separator, equals + 1)
        if int(tag) == data_tag and line.startswith(separator, equals + 1 + data_length):
            end = equals + 1 + data_length
        value = line[equals + 1 : end if end >= 0 else len(line)]
        yield tag, value
        if int(tag) == 10 or end < 0:
            return
        data_tag = FIX_DATA.get(int(tag), 0) if value.isascii() and value.isdigit() and len(value) < 9 else 0
        data_length = int(value) if data_tag else 0
        at = end + len(separator)


def detect_hl7(text: Text) -> Detected | None:
    """HL7 v2: a header segment whose fourth character separates the fields."""
    head = text.head[:8192]
    found = _HL7.search(head)
    if found is None:
        return None
    element = found[2]
    marks = re.match(rf"[^\s{re.escape(element)}]*", head[found.end() :])
    coding = marks[0] if marks else ""
    segments = [line.strip("\x0b\x1c") for line in text.all_lines()]
    segments = [each for each in segments if each.strip()]
    shaped = sum(bool(re.match(r"[A-Z][A-Z0-9]{2}", each)) and each[3:4] in (element, "") for each in segments)
    headers = [each.split(element) for each in segments if each.startswith("MSH")]
    types = Counter(fields[8] if len(fields) > 8 else "?" for fields in headers)
    component, repetition, escape = (coding[at : at + 1] for at in range(3))
    details = Segments(element, "\r", component, repetition, escape, tuple(types.most_common(20)))
    evidence = [
        f"has a message header {found[1]}{element}",
        f"{shaped:,} of {len(segments):,} lines are segments, {len(headers):,} of them message headers",
    ]
    doubts = []
    if text.line_ends.style != "CR":
        doubts.append(f"segments end with {text.line_ends} here; the standard says CR")
    if len(coding) < 4:
        doubts.append(f"MSH-2 is {coding!r} instead of four encoding characters")
    share = shaped / max(1, len(segments))
    return Detected("hl7", round(share, 4), tuple(evidence), tuple(doubts), details=details)


def hl7_fields(segment: str, element: str) -> list[str]:
    """The fields of a segment, the segment's name first. In MSH, FHS and BHS field 1 is the separator itself."""
    name, *fields = segment.split(element)
    return [name, element, *fields] if name in ("MSH", "FHS", "BHS") else [name, *fields]


def detect_x12(text: Text) -> Detected | None:
    """X12: an interchange header of 106 characters with 16 elements."""
    body = text.head.lstrip()
    if len(body) < 106 or not body.startswith("ISA") or body[3].isalnum() or body[:105].count(body[3]) != 16:
        return None
    element, segment = body[3], body[105]
    details = Segments(element, segment, component=body[104], repetition="" if body[82].isalnum() else body[82])
    names = [each.split(element) for each in segments_of(text.head, details)]
    types = Counter(each[1] for each in names if each[0] == "ST" and len(each) > 1)
    details = Segments(element, segment, body[104], details.repetition, messages=tuple(types.most_common(20)))
    evidence = (
        f"begins with an interchange header ISA{element} of 16 elements",
        f"{len(names):,} segments end with {segment!a}, {sum(types.values()):,} transaction sets: {_counted(types)}",
    )
    doubts = []
    if text.is_whole and names and names[-1][0] != "IEA":
        doubts.append(f"the last segment is {names[-1][0][:10]!r}, not IEA: the interchange is cut")
    return Detected("x12", 1.0, evidence, tuple(doubts), details=details)


def detect_edifact(text: Text) -> Detected | None:
    """EDIFACT: service string advice UNA, or the interchange header UNB with the separators of the standard."""
    body = text.head.lstrip()
    component, element, escape, segment = ":", "+", "?", "'"
    if body.startswith("UNA") and len(body) >= 9 and body[9:].lstrip().startswith("UNB"):
        component, element, escape, segment = body[3], body[4], body[6].strip(), body[8]
        why = f"begins with UNA{body[3:9]}, which names its separators"
    elif body.startswith("UNB+"):
        why = "begins with an interchange header UNB+ and the separators of the standard"
    else:
        return None
    details = Segments(element, segment, component, "", escape)
    names = [edifact_elements(each, details) for each in segments_of(text.head, details)]
    types = Counter(each[2].split(component)[0] for each in names if each[0] == "UNH" and len(each) > 2)
    details = Segments(element, segment, component, "", escape, tuple(types.most_common(20)))
    evidence = (
        why,
        f"{len(names):,} segments end with {segment!a}, {sum(types.values()):,} messages: {_counted(types)}",
    )
    doubts = []
    if text.is_whole and names and names[-1][0] != "UNZ":
        doubts.append(f"the last segment is {names[-1][0][:10]!r}, not UNZ: the interchange is cut")
    return Detected("edifact", 1.0, evidence, tuple(doubts), details=details)


def segments_of(head: str, separators: Segments) -> list[str]:
    """The segments of X12 or EDIFACT text, without the line ends that people put between them."""
    body = head.lstrip()
    if body.startswith("UNA"):
        body = body[9:]
    if separators.escape:
        mark, escape = re.escape(separators.segment), re.escape(separators.escape)
        pieces = re.findall(rf"(?:{escape}.|[^{escape}{mark}])+", body, re.DOTALL)
    else:
        pieces = body.split(separators.segment)
    return [piece.strip("\r\n \0\x1a") for piece in pieces if piece.strip("\r\n \0\x1a")]


def edifact_elements(segment: str, separators: Segments) -> list[str]:
    """The elements of a segment; a released separator is data."""
    mark, escape = re.escape(separators.element), re.escape(separators.escape or "?")
    elements: list[str] = []
    for found in re.finditer(rf"((?:{escape}.|[^{escape}{mark}])*)({mark}|\Z|{escape}\Z)", segment, re.DOTALL):
        elements.append(found[1])
        if found[2] != separators.element:
            break
    return elements


def _counted(types: Counter[str]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in types.most_common(6)) or "none"


def detect_bank_file(text: Text) -> Detected | None:
    """The verdict, if the text is the file of a bank."""
    for judge in (_nacha, _bai2, _mt940):
        if (found := judge(text)) is not None:
            return found
    return None


def _filled(text: Text) -> list[str]:
    return [line for line in text.all_lines() if line.strip()]


def _nacha(text: Text) -> Detected | None:
    """A file header (101) before batches, in records of 94 characters."""
    if not _NACHA_HEAD.match(text.head):
        return None
    lines = _filled(text)
    shaped = sum(line[:1] in "156789" and len(line) == _NACHA_LENGTH for line in lines)
    if shaped * 2 < len(lines):
        return None
    evidence = (
        "begins with the file header 101 of NACHA",
        f"{shaped:,} of {len(lines):,} lines are records of 94 characters",
    )
    return Detected("nacha", round(shaped / len(lines), 4), evidence)


def _bai2(text: Text) -> Detected | None:
    """A file header (01) with its group header (02) behind it."""
    lines = _filled(text)
    if len(lines) < 2 or not lines[0].startswith("01,") or not any(line.startswith("02,") for line in lines[1:6]):
        return None
    shaped = sum(bool(_BAI2.match(line.rstrip())) for line in lines)
    evidence = ("begins with the file header 01 of BAI2", f"{shaped:,} of {len(lines):,} lines are records")
    return Detected("bai2", round(shaped / len(lines), 4), evidence)


def _mt940(text: Text) -> Detected | None:
    """The fields 20, 25, 28 and 60 of a statement, each at the beginning of a line."""
    lines = _filled(text)
    fields = [found[1] for line in lines if (found := _MT940_FIELD.match(line))]
    if "20" not in fields[:3] or "25" not in fields[:6] or not {"60F", "60M"} & set(fields[:10]):
        return None
    statements = fields.count("20")
    evidence = (
        "has the fields :20:, :25: and :60F: of MT940",
        f"{len(fields):,} of {len(lines):,} lines begin a field, {statements:,} of them a statement",
    )
    return Detected("mt940", 1.0, evidence)
