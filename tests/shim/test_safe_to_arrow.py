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
from casparian_shim.arrow.batches import (
    ColumnsChanged,
    RowTooLarge,
    aligned,
    batch_of_columns,
    columns_of_rows,
    estimated_bytes,
    is_table,
    messages,
)
from casparian_shim.arrow.columns import MIXED_TYPE, column_of_values, text_of
from casparian_shim.arrow.kinds import _UNCHANGING, copied_row, kinded, payload
from casparian_shim.emitting import _row_id
from casparian_shim.frames.kinds import ValueKind
from casparian_shim.frames.kinds import ValueKind as K
from casparian_shim.process import OomRisk, available_bytes, ensure_room
from casparian_shim.running import _is_by_output

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
@settings(max_examples=200, deadline=None)
def test_a_column_is_exact_or_each_value_stands_beside_its_kind(values: list[object]) -> None:
    array, is_mixed = column_of_values(values)

    array.validate(full=True)
    if is_mixed:
        assert array.type == MIXED_TYPE
        assert array.to_pylist() == [
            {"kind": kind, "value": payload((kind, plain))} for kind, plain in map(kinded, values)
        ]
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


COUNTED = 1_704_153_600_000_000  # 2024-01-02T00:00 in microseconds
MIXED: dict[str, tuple[list[object], list[tuple[ValueKind, bytes | None]]]] = {
    "one bad value": ([1, "x", None], [(K.INT, b"1"), (K.TEXT, b"x"), (K.NULL, None)]),
    "integers beyond int64": ([2**63, 1], [(K.INT, b"9223372036854775808"), (K.INT, b"1")]),
    "an integer of 5,000 digits": ([10**5_000], [(K.INT, b"1" + b"0" * 5_000)]),
    "a truth among numbers": ([True, 1], [(K.BOOL, b"true"), (K.INT, b"1")]),
    "whole numbers among floats": ([1, 2.0, math.nan], [(K.INT, b"1"), (K.FLOAT, b"2.0"), (K.FLOAT, b"nan")]),
    "whole numbers among decimals": ([1, Decimal("1.50")], [(K.INT, b"1"), (K.DECIMAL, b"1.50")]),
    "a date beside a datetime": ([MIDNIGHT.date(), MIDNIGHT], [(K.DATE, b"19724"), (K.DATETIME, b"%d" % COUNTED)]),
    "a naive beside a zoned time": (
        [MIDNIGHT, MIDNIGHT.replace(tzinfo=UTC)],
        [(K.DATETIME, b"%d" % COUNTED), (K.INSTANT, b"%d" % COUNTED)],
    ),
    "a time of day with a zone": ([datetime.time(1, tzinfo=UTC)], [(K.OTHER, b"01:00:00 with a zone")]),
    "bytes beside text": (
        [b"caf\xc3\xa9", "x", b"\xff"],
        [(K.BYTES, b"caf\xc3\xa9"), (K.TEXT, b"x"), (K.BYTES, b"\xff")],
    ),
    "a lone surrogate": (["a\udc80"], [(K.OTHER, b"a\\udc80")]),
    "a decimal that is not a number": ([Decimal("NaN"), Decimal("1.50")], [(K.DECIMAL, b"NaN"), (K.DECIMAL, b"1.50")]),
    "more than 38 digits": ([Decimal("1e40")], [(K.DECIMAL, b"1E+40")]),
    "a set": ([{1}], [(K.OTHER, b"<set>")]),
    "a class": ([int], [(K.OTHER, b"<type>")]),
    "an empty dict": ([{}], [(K.DICT, b"{}")]),
    "a dict with numbers as keys": ([{1: 2}], [(K.OTHER, b'{"1": 2}')]),
    "dicts of different keys": ([{"a": 1}, {"b": 1}], [(K.DICT, b'{"a": [3, "1"]}'), (K.DICT, b'{"b": [3, "1"]}')]),
    "numbers beside texts, deep down": ([[1], ["x"]], [(K.LIST, b'[[3, "1"]]'), (K.LIST, b'[[1, "x"]]')]),
    "whole numbers beside floats, deep down": ([[1, 2.5]], [(K.LIST, b'[[3, "1"], [4, "2.5"]]')]),
    "a date beside a datetime, deep down": (
        [[{"a": MIDNIGHT.date()}], [{"a": MIDNIGHT}]],
        [(K.LIST, b'[[16, {"a": [6, "19724"]}]]'), (K.LIST, b'[[16, {"a": [7, "%d"]}]]' % COUNTED)],
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_what_fits_no_one_type_is_sent_value_by_value_with_its_kind(name: str) -> None:
    values, pairs = MIXED[name]

    array, is_mixed = column_of_values(values)

    assert is_mixed
    assert [(each["kind"], each["value"]) for each in array.to_pylist()] == pairs


def test_nothing_is_asked_of_a_strangers_class() -> None:
    class Sly:
        def __repr__(self) -> str:
            raise SystemExit

        __str__ = __repr__

        def __getattribute__(self, name: str) -> object:
            raise SystemExit

    loop: list[object] = []
    loop.append(loop)
    deep: object = 1
    for _ in range(1_000):
        deep = [deep]

    assert text_of(Sly()) == f"<{__name__}.test_nothing_is_asked_of_a_strangers_class.<locals>.Sly>"
    assert "nested deeper than 16" in str(text_of(loop)) and "nested deeper than 16" in str(text_of(deep))
    assert len(str(text_of(type("x" * 10_000, (), {})()))) < 300


class _Raising:
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError


class _Pretending:
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return str


class _LongList(list[object]):
    def __len__(self) -> int:
        return 10**12


@pytest.mark.parametrize("kind", [_Raising, _Pretending, _LongList])
def test_a_value_that_lies_about_its_class_or_its_length_ends_no_job(kind: type) -> None:
    value = kind()

    assert estimated_bytes({"s": value}) < 100
    assert not is_table(value)
    assert not _is_by_output({"s": value}, ())
    assert _row_id(None, {"__cf_row_id": value}) is None
    assert [name for name, *_ in columns_of_rows([{"s": value}])] == ["s"]


READABLE: dict[str, tuple[object, str | None]] = {
    "nothing": (None, None),
    "bytes": (b"caf\xc3\xa9\xff", "café\\xff"),
    "an exact zero": (Decimal("0E-10"), "0.0000000000"),
    "a large exponent": (Decimal("1E+5"), "100000"),
    "an exponent beyond reason": (Decimal("1E+999999"), "1E+999999"),
    "a date": (MIDNIGHT.date(), "2024-01-02"),
    "a datetime": (MIDNIGHT.replace(microsecond=500_000), "2024-01-02T00:00:00.5"),
    "an instant": (MIDNIGHT.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=2))), "2024-01-01T22:00:00Z"),
    "a time": (datetime.time(1, 2), "01:02:00"),
    "a duration": (-datetime.timedelta(seconds=1.5), "-PT1.5S"),
    "a list": ([1, "x", None, 1.5, math.inf, Decimal("1.50"), b"y"], '[1, "x", null, 1.5, "inf", "1.50", "y"]'),
}


@pytest.mark.parametrize("name", READABLE)
def test_rejected_values_are_written_for_people(name: str) -> None:
    value, text = READABLE[name]

    assert text_of(value) == text


def test_only_the_column_that_needs_it_is_mixed_and_its_field_says_so() -> None:
    (batch,) = safe_to_arrow([{"a": 1, "b": 1}, {"a": "x", "b": 2}])

    assert batch.schema.types == [MIXED_TYPE, pa.int64()]
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


def test_maps_become_lists_of_entries_and_twinless_types_go_value_by_value() -> None:
    pairs = pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64()))
    wide = pa.array([Decimal(10**50), None], pa.decimal256(60, 0))

    (batch,) = safe_to_arrow(pa.table({"m": pairs, "w": wide}))

    assert batch["m"].to_pylist() == [[{"key": "k", "value": 1}], None]
    assert batch["w"].to_pylist() == [{"kind": K.DECIMAL, "value": b"1" + b"0" * 50}, {"kind": K.NULL, "value": None}]
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
        (1.5, 1, "int64"),
        (1.5, 2**60 + 1, "int64"),
        (1, 1.5, "double"),
        (1, None, "int64"),
        (None, 1, "int64"),
        ("x", 1, "int64"),
        (Decimal("1.25"), Decimal("100.5"), "decimal128(5, 2)"),
    ],
)
def test_a_later_batch_keeps_the_type_of_its_stream_where_that_changes_no_kind(
    first: object, second: object, kind: str
) -> None:
    assert _next_types([{"a": first}], [{"a": second}]) == [kind]


@pytest.mark.parametrize("kind", [pa.string_view(), pa.large_string(), pa.string()])
def test_dictionaries_of_any_kind_of_text_are_the_texts(kind: pa.DataType) -> None:
    array = pa.DictionaryArray.from_arrays(pa.array([1, 0, None, 1]), pa.array(["a", None], kind)).slice(1)

    (batch,) = safe_to_arrow(pa.table({"v": array}))

    assert (batch["v"].type, batch["v"].to_pylist()) == (pa.string(), ["a", None, None])


def test_a_stream_keeps_its_columns_and_takes_new_ones_at_its_end() -> None:
    assert _next_types([{"a": 1}], [{"b": 2, "a": 1}]) == ["int64", "int64"]
    assert _next_types([{"a": 1}], [{"b": 2}]) == ["int64", "int64"]


def test_two_columns_of_one_name_are_refused_where_the_batches_differ() -> None:
    twice = pa.table([[1], [2]], names=["a", "a"])
    schema = pa.schema([("a", pa.int64())])
    with pytest.raises(ColumnsChanged, match=r"began with the columns \[a\] and now has \[a, a\]"):
        aligned("o", [("a", column.chunk(0), False) for column in twice.columns], schema)


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

    assert batch.drop_columns("c").to_pylist() == [{"a": 1, "b": "x", "d": 1.5}, {"a": 2, "b": None, "d": None}]
    assert batch["c"].to_pylist() == [{"kind": K.INT, "value": b"1"}, {"kind": K.TEXT, "value": b"x"}]


def test_polars_frames_come_column_by_column() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1, 2], "b": ["x", None], "d": [1.5, float("nan")]})

    (batch,) = safe_to_arrow(frame)

    assert batch["b"].to_pylist() == ["x", None]
    assert math.isnan(batch["d"].to_pylist()[1])


class Refuses(list[object]):
    def __iter__(self) -> Any:
        raise RuntimeError("no")


class Unhashed(type):
    __hash__ = None  # type: ignore[assignment]


class Strange(metaclass=Unhashed):
    pass


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals()
SCALARS |= st.datetimes() | st.binary().map(bytearray) | st.sampled_from([{1}, int, Refuses([1]), Strange()])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
)


@settings(max_examples=40)
@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_a_copied_row_says_what_the_row_says(row: dict[str, object]) -> None:
    assert repr({name: kinded(value) for name, value in copied_row(row).items()}) == repr(
        {name: kinded(value) for name, value in row.items()}
    )


def test_a_class_that_was_seen_once_costs_little() -> None:
    class Text(str):
        pass

    class Tags(list[object]):
        pass

    for _ in range(2):
        row: dict[str, object] = {"a": Text("x"), "b": Tags([1])}
        copy = copied_row(row)
        assert copy["a"] is row["a"] and copy["b"] == [1] and copy["b"] is not row["b"]
    assert Text in _UNCHANGING and Tags not in _UNCHANGING


def test_a_list_that_holds_itself_is_copied_as_deep_as_it_is_read() -> None:
    endless: list[object] = [1]
    endless.append(endless)
    copy = copied_row({"a": endless})
    told = kinded(endless)
    endless[0] = 2
    assert kinded(copy["a"]) == told
