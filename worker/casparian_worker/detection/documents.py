"""JSON and XML: one value a line, an array, one object; the element that repeats in a document."""

from __future__ import annotations

import json
import re
from collections import Counter

from casparian_worker.detection.result import Detected, Json, Xml
from casparian_worker.detection.text import Text

_LINES_JUDGED = 1000
_NAMES_MAX = 500


def detect_json(text: Text) -> Detected | None:
    """JSON lines, also with a few broken ones; otherwise one JSON document."""
    body = text.head.lstrip()
    if body[:1] not in ("{", "["):
        return None
    return _json_lines(text) or _document(text, body)


def _json_lines(text: Text) -> Detected | None:
    places = [
        (stretch.place(at), line) for stretch in text.stretches for at, line in enumerate(stretch.lines) if line.strip()
    ]
    step = max(1, len(places) // _LINES_JUDGED)
    judged = places[::step]
    if len(judged) < 2 or not judged[0][1].lstrip().startswith(("{", "[")):
        return None
    names: dict[str, None] = {}
    good = objects = 0
    bad: list[str] = []
    for place, line in judged:
        value = parsed(line)
        if value is None or not line.lstrip().startswith(("{", "[")):
            bad.append(place)
            continue
        good += 1
        if isinstance(value, dict):
            objects += 1
            names.update(dict.fromkeys(list(value)[:_NAMES_MAX]))
    if good < 2 or good * 10 < len(judged) * 6:
        return None
    # A document that was written over several lines has lines that are values too, but not its first one.
    if parsed(judged[0][1]) is None and parsed(text.head) is not None:
        return None
    what = "object" if objects == good else "value"
    evidence = f"{good:,} of {len(judged):,} lines are one JSON {what} each"
    doubts = []
    if bad:
        more = f" and {len(bad) - 5:,} more" if len(bad) > 5 else ""
        doubts.append(f"not one JSON value: {', '.join(bad[:5])}{more}")
    details = Json("lines", tuple(names)[:_NAMES_MAX], good, len(bad))
    return Detected("ndjson", round(good / len(judged), 4), (evidence,), tuple(doubts), details=details)


def _document(text: Text, body: str) -> Detected | None:
    shape = "object" if body[0] == "{" else "array"
    if text.is_whole:
        value = parsed(body)
        if value is not None:
            records = value if isinstance(value, list) else [value]
            names = dict.fromkeys(str(name) for each in records[:1000] if isinstance(each, dict) for name in each)
            evidence = f"is one JSON {shape}" + (f" of {len(records):,} values" if isinstance(value, list) else "")
            return Detected("json", 1.0, (evidence,), details=Json(shape, tuple(names)[:_NAMES_MAX], len(records)))
    if not re.match(r'\{\s*(?:"(?:[^"\\]|\\.)*"\s*:|\})|\[\s*(?:[\[{"\]\-0-9]|true|false|null)', body[:4096]):
        return None
    if text.is_whole and (
        (body[0] == "[" and not re.match(r'\[\s*[\[{"0-9\-]', body)) or re.match(r"\[+\s*$", body[:4096])
    ):
        return None
    doubts = (f"it is not valid JSON as a whole: {_fault(body)}",) if text.is_whole else ()
    if text.is_whole and not re.match(r'[\[{]\s*["{\[]', body):
        return None
    return Detected("json", 0.5 if doubts else 0.9, (f"begins like a JSON {shape}",), doubts, details=Json(shape))


def parsed(text: str) -> object:
    """The value of a JSON text, numbers as they are written; None if it is not JSON."""
    try:
        value: object = json.loads(text, parse_float=str, parse_int=str, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    return value


def _refused(constant: str) -> object:
    raise ValueError(f"JSON has no {constant}")


def _fault(body: str) -> str:
    try:
        json.loads(body)
    except json.JSONDecodeError as cause:
        return f"{cause.msg} at line {cause.lineno} column {cause.colno}"
    except (ValueError, RecursionError):
        return "it is nested too deeply, or has a number that is too long"
    return "JSON has no NaN or Infinity"


_TAG = re.compile(r"<(/?)([A-Za-z_][\w:.\-]*)((?:\s+[\w:.\-]+\s*=\s*(?:\"[^\"<]*\"|'[^'<]*'))*)\s*(/?)>")
#: What may hold tags that are none: how it begins and how it ends.
_NOISE = (("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>"))


_CAMT = re.compile(r"""xmlns(?::\w+)?\s*=\s*["']urn:iso:std:iso:20022:tech:xsd:(camt\.053\.\d{3}\.\d{2})["']""")


def detect_xml(text: Text) -> Detected | None:
    """XML: a declaration or an element at the beginning, and the element that repeats below the root."""
    body = text.head.lstrip()
    if body.startswith("<?xml"):
        why = "begins with an XML declaration"
    elif re.match(r"<!DOCTYPE\s+(?!html)|<!--", body, re.IGNORECASE) or (
        re.match(r"<[A-Za-z_][\w:.-]*(?:\s[^<>]*)?/?>", body) and not re.match(r"<html", body, re.IGNORECASE)
    ):
        why = "begins with an XML element"
    else:
        return None
    details, doubts, percent = _outline(_without_noise(body), text.is_whole)
    evidence = [why]
    if details.element:
        evidence.append(f"<{details.element}> repeats {details.element_count:,} times in <{details.root}>")
    kind = "xml"
    if (found := _CAMT.search(body[:4096])) is not None:
        kind = "camt053"
        evidence.insert(0, f"is a document of {found[1]}")
    elif details.element and percent < 50 and text.is_whole and not doubts:
        doubts.append(f"<{details.element}> holds {percent} % of the document, and what is outside it would be skipped")
    return Detected(kind, 1.0, tuple(evidence), tuple(doubts), details=details)


def _without_noise(body: str) -> str:
    """The text without comments, CDATA and processing instructions; one that does not end takes the rest."""
    for begins, ends in _NOISE:
        parts: list[str] = []
        at = 0
        while (found := body.find(begins, at)) >= 0:
            parts.append(body[at:found])
            end = body.find(ends, found + len(begins))
            at = len(body) if end < 0 else end + len(ends)
        body = "".join([*parts, body[at:]])
    return body


def _outline(body: str, is_whole: bool) -> tuple[Xml, list[str], int]:
    """The root and the element that occurs most often at the least depth, with the names inside it; doubts; its share in %."""
    path: list[tuple[str, int]] = []
    counts: Counter[tuple[int, str]] = Counter()
    covered: Counter[tuple[int, str]] = Counter()
    inside: dict[tuple[int, str], dict[str, None]] = {}
    root, opening = "", 0
    for found in _TAG.finditer(body):
        closing, name, attributes, is_empty = found.groups()
        if closing:
            if path:
                opened, begin = path.pop()
                covered[len(path), opened] += found.end() - begin
            continue
        root, opening = (root, opening) if root else (name, found.end() - found.start())
        key = (len(path), name)
        counts[key] += 1
        names = inside.setdefault(key, {})
        if len(names) < _NAMES_MAX:
            names.update(dict.fromkeys(re.findall(r"([\w:.\-]+)\s*=\s*[\"']", attributes)))
        if path:
            above = inside.setdefault((len(path) - 1, path[-1][0]), {})
            if len(above) < _NAMES_MAX:
                above.setdefault(name)
        if is_empty:
            covered[key] += found.end() - found.start()
        else:
            path.append((name, found.start()))
    repeated = [(depth, -count, name) for (depth, name), count in counts.items() if depth >= 1 and count >= 2]
    doubts = []
    if is_whole and path:
        doubts.append(f"<{path[-1][0]}> is not closed at the end: it is cut, or not well-formed")
    if not repeated:
        return Xml(root, "", 0), [*doubts, "no element repeats"], 0
    depth, count, name = min(repeated)
    percent = covered[depth, name] * 100 // max(1, covered[0, root] - opening)
    return Xml(root, name, -count, tuple(inside.get((depth, name), ()))), doubts, percent
