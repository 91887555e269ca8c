"""The files of banks: NACHA (ACH), BAI2 and SWIFT MT940. Each is recognised by its own first records."""

from __future__ import annotations

import re

from casparian_worker.detection.result import Detected
from casparian_worker.detection.text import Text

_NACHA_LENGTH = 94
_NACHA_HEAD = re.compile(r"101[ \d][\d ]{9}[ \dA-Z][\w ]{9}\d{6}")
_BAI2 = re.compile(r"(?:01|02|03|16|49|88|98|99),|.+/$")
_MT940_FIELD = re.compile(r":(\d\d[A-Z]?):")


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
