"""Nothing a parser gives is lost, rounded or crashes on its way into Arrow."""

import datetime
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_shim.arrow import BATCH_TARGET_BYTES, FALLBACK_METADATA, safe_to_arrow
from casparian_shim.arrow.aligning import aligned
from casparian_shim.arrow.rows import columns_of_rows
from casparian_shim.arrow.sending import ColumnsChanged, RowTooLarge, batch_of_columns, messages
from casparian_shim.arrow.values import column_of_values, text_of
from casparian_shim.memory import OomRisk, available_bytes, ensure_room

UTC = datetime.UTC
MIDNIGHT = datetime.datetime(2024, 1, 2)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(max_size=8),
    st.decimals(),
    st.dates(),
    st.datetimes(timezones=st.none() | st.just(UTC)),
    st.times(timezones=st.none() | st.just(UTC)),
    st.timedeltas(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def _equal(sent: Any, came: Any) -> bool:
    """Equal in value, whatever plain type carries it."""
    if isinstance(sent, float) and math.isnan(sent):
        return isinstance(came, float) and math.isnan(came)
    if isinstance(sent, dict):
        # A struct has the fields of all its rows; those a row did not have are null.
        return isinstance(came, dict) and all(_equal(sent.get(key), value) for key, value in came.items())
    if isinstance(sent, list | tuple):
        return isinstance(came, list) and len(sent) == len(came) and all(map(_equal, sent, came))
    if isinstance(sent, datetime.datetime):
        return isinstance(came, datetime.datetime) and (sent.tzinfo is None) == (came.tzinfo is None) and sent == came
    if isinstance(sent, bool) is not isinstance(came, bool):
        return False
    return bool(sent == came)


@given(st.lists(VALUES, min_size=1, max_size=6))
@settings(max_examples=400, deadline=None)
def test_a_column_is_exact_or_it_is_its_text(values: list[object]) -> None:
    array, is_fallback = column_of_values(values)

    array.validate(full=True)
    if is_fallback:
        assert array.to_pylist() == [text_of(value) for value in values]
    else:
        assert all(map(_equal, values, array.to_pylist())), (values, array)


@given(st.lists(st.dictionaries(st.text(max_size=4), SCALARS, max_size=4), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_rows_survive_the_wire(rows: list[dict[str, object]]) -> None:
    if not any(rows):
        return
    (batch,) = safe_to_arrow(rows)
    (message,) = messages(batch)
    schema = pa.ipc.read_schema(pa.py_buffer(batch.schema.serialize()))

    read = pa.ipc.read_record_batch(message, schema)
    read.validate(full=True)
    assert read.schema.equals(batch.schema, True)
    assert read.num_rows == len(rows)


TEXTS: dict[str, tuple[list[object], list[str | None]]] = {
    "one bad value": ([1, "x", None], ["1", "x", None]),
    "integers beyond int64": ([2**63, 1], ["9223372036854775808", "1"]),
    "an integer of 5,000 digits": ([10**5_000], ["1" + "0" * 5_000]),
    "a truth among numbers": ([True, 1], ["True", "1"]),
    "a date beside a datetime": ([MIDNIGHT.date(), MIDNIGHT], ["2024-01-02", "2024-01-02 00:00:00"]),
    "a naive beside a zoned time": (
        [MIDNIGHT, MIDNIGHT.replace(tzinfo=UTC)],
        ["2024-01-02 00:00:00", "2024-01-02 00:00:00+00:00"],
    ),
    "a time of day with a zone": ([datetime.time(1, tzinfo=UTC)], ["01:00:00+00:00"]),
    "bytes beside text": ([b"caf\xc3\xa9", "x", b"\xff"], ["café", "x", "\\xff"]),
    "a lone surrogate": (["a\udc80"], ["a\\udc80"]),
    "a decimal that is no number": ([Decimal("NaN"), Decimal("1.50")], ["NaN", "1.50"]),
    "more than 38 digits": ([Decimal("1e40")], ["1E+40"]),
    "a float beside a decimal": ([1.5, Decimal("1.5")], ["1.5", "1.5"]),
    "a set": ([{1}], ["{1}"]),
    "an empty dict": ([{}], ["{}"]),
    "a dict with numbers as keys": ([{1: 2}], ["{1: 2}"]),
    "a date beside a datetime, deep down": (
        [[{"a": MIDNIGHT.date()}], [{"a": MIDNIGHT}]],
        ["[{'a': datetime.date(2024, 1, 2)}]", "[{'a': datetime.datetime(2024, 1, 2, 0, 0)}]"],
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_fits_no_one_type_is_sent_as_its_text(name: str) -> None:
    values, texts = TEXTS[name]

    array, is_fallback = column_of_values(values)

    assert (array.to_pylist(), is_fallback) == (texts, True)


def test_only_the_column_that_needs_it_falls_back_and_its_field_says_so() -> None:
    (batch,) = safe_to_arrow([{"a": 1, "b": 1}, {"a": "x", "b": 2}])

    assert [str(kind) for kind in batch.schema.types] == ["string", "int64"]
    assert [field.metadata for field in batch.schema] == [FALLBACK_METADATA, None]


def test_keys_are_united_in_order_of_first_appearance_and_missing_ones_are_null() -> None:
    (batch,) = safe_to_arrow([{"b": 1}, {"a": "x", "c": None}])

    assert batch.to_pylist() == [{"b": 1, "a": None, "c": None}, {"b": None, "a": "x", "c": None}]


NESTED = pa.array([[{"a": 1}], None, []])
ODD_TYPES: dict[str, Callable[[], Any]] = {
    "dictionary": lambda: pa.array(["x", None, "y"]).dictionary_encode(),
    "large string": lambda: pa.array(["x", None, "y"], pa.large_string()),
    "string view": lambda: pa.array(["x", None, "y"], pa.string_view()),
    "binary view": lambda: pa.array([b"x", None, b"y"], pa.binary_view()),
    "fixed-size binary": lambda: pa.array([b"x", None, b"y"], pa.binary(1)),
    "run-end": lambda: pa.RunEndEncodedArray.from_arrays([2, 3], ["x", "y"]),
    "null": lambda: pa.nulls(3),
    "large list": lambda: pa.array([[1], None, []], pa.large_list(pa.int64())),
    "fixed-size list": lambda: pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2)),
    "list of null": lambda: pa.array([[None], None, []]),
    "list of dictionary": lambda: pa.array([["x"], None, []], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
    "list view": lambda: pa.array([[1], None, []], pa.list_view(pa.int64())),
    "decimal 256": lambda: pa.array([Decimal("1.5"), None, Decimal("2.5")], pa.decimal256(20, 2)),
    "decimal 64": lambda: pa.array([Decimal("1.5"), None, Decimal("2.5")], pa.decimal64(10, 2)),
    "float 16": lambda: pa.array([1.5, None, 2.5], pa.float16()),
    "nested, as it is": lambda: NESTED,
}


@pytest.mark.parametrize("name", ODD_TYPES)
def test_every_arrow_type_becomes_a_plain_one_with_the_same_values(name: str) -> None:
    array = ODD_TYPES[name]()

    (batch,) = safe_to_arrow(pa.table({"a": array}))

    assert batch["a"].to_pylist() == array.to_pylist()
    assert not any(
        word in str(batch.schema) for word in ("dictionary", "view", "large", "run_end", "null", "fixed", "256")
    )


def test_maps_become_lists_of_entries_and_twinless_types_text() -> None:
    pairs = pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64()))
    wide = pa.array([Decimal(10**50), None], pa.decimal256(60, 0))

    (batch,) = safe_to_arrow(pa.table({"m": pairs, "w": wide}))

    assert batch.to_pylist() == [{"m": [{"key": "k", "value": 1}], "w": "1" + "0" * 50}, {"m": None, "w": None}]
    assert batch.schema.field("w").metadata == FALLBACK_METADATA


def test_columns_with_one_name_are_sent_as_they_are() -> None:
    twins = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])

    (batch,) = safe_to_arrow(twins)

    assert batch.schema.names == ["a", "a"]


def test_large_tables_are_cut_by_bytes_and_messages_never_exceed_a_frame() -> None:
    table = pa.table({"t": ["x" * (1 << 20)] * 40})

    batches = list(safe_to_arrow(table))

    assert sum(batch.num_rows for batch in batches) == 40
    assert max(batch.nbytes for batch in batches) <= BATCH_TARGET_BYTES + (1 << 20)
    whole = pa.record_batch({"t": ["x" * (30 << 20)] * 3})
    assert [message.size <= 64 << 20 for message in messages(whole)] == [True, True]
    with pytest.raises(RowTooLarge):
        list(messages(pa.record_batch({"t": ["x" * (65 << 20)]})))


def _next_types(first: list[dict[str, object]], second: list[dict[str, object]]) -> list[str]:
    schema = batch_of_columns(columns_of_rows(first)).schema
    batch = batch_of_columns(aligned("o", columns_of_rows(second, schema.names), schema))
    return [str(kind) for kind in batch.schema.types]


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (1.5, 1, "double"),
        (1.5, 2**60 + 1, "int64"),
        (1, 1.5, "double"),
        (1, None, "int64"),
        (None, 1, "int64"),
        ("x", 1, "int64"),
        (Decimal("1.25"), Decimal("100.5"), "decimal128(5, 2)"),
    ],
)
def test_a_later_batch_keeps_the_type_of_its_stream_where_that_is_exact(
    first: object, second: object, kind: str
) -> None:
    assert _next_types([{"a": first}], [{"a": second}]) == [kind]


def test_a_stream_never_changes_its_columns() -> None:
    with pytest.raises(ColumnsChanged, match=r"began with the columns \[a\] and now has \[a, b\]"):
        _next_types([{"a": 1}], [{"a": 1, "b": 2}])


def test_a_batch_that_memory_cannot_hold_three_times_is_refused_with_advice() -> None:
    available = available_bytes()
    assert available is None or available > 0
    ensure_room(1 << 20)

    if available is not None:
        with pytest.raises(OomRisk) as caught:
            ensure_room(available)
        assert "Stream" in caught.value.remedy


def test_pandas_frames_come_column_by_column() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None], "c": [1, "x"], "d": [1.5, None]})

    (batch,) = safe_to_arrow(frame)

    assert batch.to_pylist() == [{"a": 1, "b": "x", "c": "1", "d": 1.5}, {"a": 2, "b": None, "c": "x", "d": None}]


def test_polars_frames_come_column_by_column() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1, 2], "b": ["x", None], "d": [1.5, float("nan")]})

    (batch,) = safe_to_arrow(frame)

    assert batch["b"].to_pylist() == ["x", None]
    assert math.isnan(batch["d"].to_pylist()[1])


def test_one_nan_does_not_spoil_a_column_of_whole_numbers() -> None:
    column, is_text = column_of_values([1, 2**60 + 1, float("nan"), None])

    assert is_text
    assert column.to_pylist() == ["1", str(2**60 + 1), "nan", None]
