"""Durations from text: pyarrow has no such cast."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

# Few digits a part keep the sum far below int64's end; longer ones are left to the rule.
_ISO = (
    r"^(?P<sign>[+-]?)P(?:(?P<weeks>[0-9]{1,6})W|(?:(?P<days>[0-9]{1,7})D)?"
    r"(?:T(?:(?P<hours>[0-9]{1,8})H)?(?:(?P<minutes>[0-9]{1,8})M)?"
    r"(?:(?P<seconds>[0-9]{1,8})(?:\.(?P<fraction>[0-9]{1,6})0*)?S)?)?)$"
)
_CLOCK = (
    r"^(?:(?P<sign>[+-]?)|(?P<days>-?[0-9]{1,7}) days?, )(?P<hours>[0-9]{1,8}):(?P<minutes>[0-5][0-9])"
    r":(?P<seconds>[0-5][0-9])(?:\.(?P<fraction>[0-9]{1,6})0*)?$"
)
_SECONDS = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}


def duration_of_text(texts: pa.StringArray) -> pa.Array:
    """ISO 8601, clock and Python's spelling, in microseconds; NULL for all else."""
    iso = pc.if_else(pc.match_substring_regex(texts, r"P(?:T?[0-9]).*[0-9A-Z]$"), texts, None)
    iso = pc.if_else(pc.match_substring(iso, "T"), pc.if_else(pc.match_substring_regex(iso, "T[0-9]"), iso, None), iso)
    by_iso = _sum(pc.extract_regex(iso, _ISO))
    if by_iso.null_count == texts.null_count:
        return by_iso
    return pc.coalesce(by_iso, _sum(pc.extract_regex(texts, _CLOCK)))


def _sum(parts: pa.StructArray) -> pa.Array:
    names = [field.name for field in parts.type]
    columns = dict(zip(names, parts.flatten(), strict=True))
    total = None
    for name, seconds in _SECONDS.items():
        if name not in columns:
            continue
        text = columns[name]
        number = pc.if_else(pc.equal(text, ""), "0", text).cast(pa.int64())
        micros = pc.multiply(number, seconds * 1_000_000)
        total = micros if total is None else pc.add(total, micros)
    fraction = pc.utf8_rpad(columns["fraction"], 6, "0").cast(pa.int64())
    total = pc.add(total, fraction)
    signed = pc.if_else(pc.equal(columns["sign"], "-"), pc.negate(total), total)
    return signed.cast(pa.duration("us"))
