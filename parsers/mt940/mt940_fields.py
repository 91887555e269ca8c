"""The fields of an MT940 statement: balances (60, 62, 64, 65), statement lines (61) and information (86). Pure functions only."""

import json
import re
from collections.abc import Sequence
from datetime import date
from typing import Any

Row = dict[str, Any]
TAGS = frozenset(
    ("20", "21", "25", "25P", "28", "28C", "60F", "60M", "61", "62F", "62M", "64", "65", "86", "13", "13D", "34F", "90C", "90D",
     "NS", "NS0"),
)  # fmt: skip
#: Fields of several lines.
CONTINUED = frozenset(("25P", "61", "86", "NS"))
BALANCES = frozenset(("60F", "60M", "62F", "62M", "64", "65"))
FIELD = re.compile(r":([0-9A-Z]{2,3}):(.*)", re.DOTALL)
_AMOUNT = r"(?=[0-9,]{2,15}(?![0-9,]))([0-9]+,[0-9]*)"
_BALANCE = re.compile(rf"([CD])([0-9]{{6}})([A-Z]{{3}}){_AMOUNT}")
_LINE = re.compile(
    rf"([0-9]{{6}})([0-9]{{4}})?(RC|RD|EC|ED|C|D)([A-Z])?{_AMOUNT}([A-Z][A-Z0-9]{{3}})(.*?)(?://(.*))?", re.DOTALL
)
#: A line that would be a field if one character at its beginning were not lost, added or changed.
_NEARLY = re.compile(r"(?:|.|.:)(60[FM]|61|62[FM]|64|65|86):(.*)|[^ ]:?(20|25|25P|28|28C):\S.*", re.DOTALL)
_STATEMENT_LINE = re.compile(r"[0-9]{6}(?:[0-9]{4})?[RE]?[CD][A-Z]?[0-9]+,")
_SOME_BALANCE = re.compile(r"[CD][0-9]{6}[A-Z]{3}[0-9]+,")
_CODED = re.compile(r"([0-9]{3})((?:\?[0-9]{2}[^?]*)+)")
_SUBFIELD = re.compile(r"\?([0-9]{2})([^?]*)")
_KNOWN = (
    "ABWA|ABWE|ADDR|BENM|BIC|CHGS|CNTP|CRED|CSID|DEBT|EREF|IBAN|ISDT|KREF|MARF|MREF|NAME|OCMT|ORDP|PREF|PURP|REMI|RTRN|SVWZ|TRCD"
    "|TRTP|ULTB|ULTC|ULTD"
)
_TAGGED = re.compile(rf"/({_KNOWN})/")
#: The last two-digit year of this century; contracts read two digits in the same way.
_YEAR_MAX = 68


class BadField(ValueError):
    """Not a field of MT940. The message is a predicate of the field."""


def looks_like_a_field(line: str) -> bool:
    """Whether a line that does not begin with a tag may be one whose tag is damaged."""
    if line.startswith(":"):
        return True
    found = _NEARLY.fullmatch(line)
    if found is None:
        return False
    tag, content = found[1], found[2]
    if tag is None or tag == "86":
        return True
    return (_LINE if tag == "61" else _BALANCE).fullmatch(content) is not None


def may_belong_to_the_field_before(line: str) -> bool:
    """Whether a line that cannot be read may be the information, or more lines, of the statement line before it."""
    found = FIELD.match(line)
    if found is not None and found[1] in TAGS and found[1] != "86":
        return False
    is_another = (
        _STATEMENT_LINE.search(line[:40]) or _SOME_BALANCE.search(line[:40]) or line.startswith(("{", ":2", "-}"))
    )
    return not is_another and len(line) > len(":86:")


def balance(text: str) -> Row:
    """60, 62, 64 or 65."""
    found = _BALANCE.fullmatch(text)
    if found is None:
        raise BadField("is no balance: mark, date, currency and an amount with a comma")
    mark, day, currency, amount = found.groups()
    number = decimal(amount)
    return {"date": _date(day).isoformat(), "currency": currency, "balance": f"-{number}" if mark == "D" else number}


def statement_line(lines: Sequence[str]) -> Row:
    """61, with its second line."""
    found = _LINE.fullmatch(lines[0])
    if found is None:
        raise BadField("is no statement line: date, mark, an amount with a comma, type and reference")
    if len(lines) > 2:
        raise BadField(f"has {len(lines)} lines; a statement line has at most 2")
    value, entry, mark, funds_code, amount, kind, reference, bank_reference = found.groups()
    number = decimal(amount)
    value_date = _date(value)
    return {
        "value_date": value_date.isoformat(),
        "entry_date": None if entry is None else _nearest(entry, value_date).isoformat(),
        "mark": mark,
        "funds_code": funds_code,
        "amount": number,
        "signed_amount": f"-{number}" if mark in ("D", "RC", "ED") else number,
        "type": kind,
        "reference": reference or None,
        "bank_reference": bank_reference or None,
        "supplementary": lines[1] if len(lines) > 1 else None,
    }


def information(lines: Sequence[str]) -> Row:
    """86: its text, and its fields if there is one way to tell them apart."""
    code, fields = structure("".join(lines))
    return {
        "information": "\n".join(lines),
        "information_code": code,
        "information_fields": None if fields is None else json.dumps(fields, ensure_ascii=False),
    }


def structure(text: str) -> tuple[str | None, dict[str, str] | None]:
    """`166?00TRANSFER?20…` or `/EREF/…/REMI/…`, as a code and fields by name."""
    found = _CODED.fullmatch(text)
    if found is not None:
        pairs = _SUBFIELD.findall(found[2])
        fields = dict(pairs)
        return found[1], fields if len(fields) == len(pairs) else None
    parts = _TAGGED.split(text)
    names, values = parts[1::2], parts[2::2]
    if parts[0] or not names or len(set(names)) < len(names):
        return None, None
    return None, dict(zip(names, values, strict=True))


def decimal(text: str) -> str:
    """`12,5` as `12.5`."""
    return text.replace(",", ".").removesuffix(".")


def _date(text: str) -> date:
    year = int(text[:2])
    try:
        return date(year + (2000 if year <= _YEAR_MAX else 1900), int(text[2:4]), int(text[4:]))
    except ValueError:
        raise BadField(f"has the date {text!r}, which does not exist") from None


def _nearest(text: str, value_date: date) -> date:
    """A month and a day in the year that brings it nearest to the value date."""
    found = []
    for year in (value_date.year - 1, value_date.year, value_date.year + 1):
        try:
            found.append(date(year, int(text[:2]), int(text[2:])))
        except ValueError:
            continue
    if not found:
        raise BadField(f"has the entry date {text!r}, which does not exist")
    return min(found, key=lambda each: abs(each - value_date))
