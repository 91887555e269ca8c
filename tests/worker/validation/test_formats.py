"""Formats, whole batches: what Python writes by a pattern is read back, and what is damaged is judged as one by one."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_protocol.contract import Contract
from casparian_protocol.contract.text import reader
from casparian_worker.validation import OutputValidator

FORMATS = [
    ("date", "%d/%m/%Y"),
    ("date", "%Y-%j"),
    ("date", "%a, %d %b %Y"),
    ("date", "%A %d. %B %Y"),
    ("date", "%y%m%d"),
    ("time", "%H%M%S.%f"),
    ("time", "%I:%M:%S %p"),
    ("timestamp", "%Y%m%d-%H:%M:%S.%f"),
    ("timestamp", "%d.%m.%Y %I.%M.%S %p"),
    ("timestamp", "%Y%m%d"),
    ("timestamp", "%d/%m/%y"),
    ("timestamp_tz", "%d %b %Y %H:%M:%S %z"),
    ("timestamp_tz", "%Y(%m)[%d]%z %H:%M:%S"),
]
moments = st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2068, 12, 31, 23, 59, 59))
zones = st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=-9, minutes=-30)), dt.timezone(dt.timedelta(hours=14))])


def judged(kind: str, pattern: str, texts: list[str]) -> list[Any]:
    """The value of each text as text, or its code."""
    spelled = {"kind": "timestamp_tz", "tz": "UTC"} if kind == "timestamp_tz" else kind
    contract = Contract.from_literal({"columns": [{"name": "v", "type": spelled, "format": pattern}]})
    checked = OutputValidator("o", contract).check(pa.record_batch({"v": pa.array(["", *texts]).slice(1)}), 0)
    bad = {}
    if checked.bad is not None:
        bad = {row["_cf_output_row_index"]: row["_cf_violation_type"] for row in checked.bad.to_pylist()}
    good = iter(checked.valid.column("v").to_pylist())
    return [bad[row] if row in bad else next(good) for row in range(len(texts))]


@pytest.mark.parametrize(("kind", "pattern"), FORMATS)
@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.tuples(moments, zones), min_size=1, max_size=40))
def test_what_python_writes_is_read_back(kind: str, pattern: str, values: list[tuple[dt.datetime, Any]]) -> None:
    if "%f" not in pattern:
        values = [(moment.replace(microsecond=0), zone) for moment, zone in values]
    aware = [moment.replace(tzinfo=zone if kind == "timestamp_tz" else None) for moment, zone in values]
    if not {"%H", "%I"} & set(re.findall("%.", pattern)):
        aware = [dt.datetime.combine(each, dt.time()) for each in aware]
    wanted = {"date": dt.datetime.date, "time": dt.datetime.time}.get(kind, lambda moment: moment)
    assert judged(kind, pattern, [moment.strftime(pattern) for moment in aware]) == [wanted(each) for each in aware]


@pytest.mark.parametrize(("kind", "pattern"), FORMATS)
@settings(max_examples=30, deadline=None)
@given(
    moment=moments,
    damage=st.lists(st.tuples(st.integers(0, 30), st.sampled_from("0123456789 -:+ZaM.\n")), min_size=1, max_size=40),
)
def test_damaged_texts_are_judged_as_one_by_one(
    kind: str, pattern: str, moment: dt.datetime, damage: list[tuple[int, str]]
) -> None:
    text = moment.replace(tzinfo=dt.UTC).strftime(pattern)
    texts = [text[:place] + letter + text[place + 1 :] for place, letter in damage]
    spelled = {"kind": "timestamp_tz", "tz": "UTC"} if kind == "timestamp_tz" else kind
    column = Contract.from_literal({"columns": [{"name": "v", "type": spelled, "format": pattern}]}).columns[0]
    rule = reader(column.type, column.formats)
    one_by_one = [rule(each) for each in texts]
    assert judged(kind, pattern, texts) == [each.code.value if each.code else each.value for each in one_by_one]
