"""Contracts from rows: texts are judged, types that the parser gives are kept, and inputs are taken together."""

import pyarrow as pa
import pytest

from casparian_app.inferring import ContractInference, contract_document, sentences, spelt
from casparian_protocol.contract import Contract


def inferred(*batches: pa.RecordBatch) -> ContractInference:
    inference = ContractInference("orders")
    for batch in batches:
        inference.take("output", batch, False)
    return inference


def test_texts_of_all_batches_are_judged_together_with_their_source_rows() -> None:
    first = pa.record_batch({"a": ["1", "2"], "_cf_source_row": pa.array([2, 3], pa.int64())})
    second = pa.record_batch({"a": ["x", None], "_cf_source_row": pa.array([7, 8], pa.int64())})

    (draft,) = inferred(first, second).contracts()

    assert (draft.output, draft.row_count, draft.literal["columns"]) == ("orders", 4, [{"name": "a", "type": "string"}])
    assert draft.columns[0].evidence[-1] == "not decimal: row 7 has 'x', which is not a number"
    assert draft.columns[0].empty_count == 1


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        (pa.int32(), "int64"),
        (pa.float64(), "float64"),
        (pa.bool_(), "boolean"),
        (pa.decimal128(10, 2), {"kind": "decimal", "precision": 10, "scale": 2}),
        (pa.date32(), "date"),
        (pa.timestamp("us"), "timestamp"),
        (pa.timestamp("ns"), "timestamp_ns"),
        (pa.timestamp("us", "UTC"), {"kind": "timestamp_tz", "tz": "UTC", "unit": "us"}),
        (pa.time64("us"), "time"),
        (pa.duration("us"), "duration"),
        (pa.binary(), "binary"),
        (pa.list_(pa.string()), {"kind": "list", "item": "string"}),
    ],
)
def test_a_type_that_the_parser_gives_is_kept(kind: pa.DataType, type_: object) -> None:
    (draft,) = inferred(pa.record_batch({"a": pa.nulls(2, kind)})).contracts()
    assert draft.literal["columns"] == [{"name": "a", "type": type_}]
    Contract.from_literal(draft.literal)


def test_a_column_of_several_types_is_said() -> None:
    (draft,) = inferred(pa.record_batch({"a": [1]}), pa.record_batch({"a": ["x"]})).contracts()
    assert draft.columns[0].column["type"] == "string"
    assert draft.columns[0].ambiguities == ("several types (int64, text): give one type from the parser",)


def test_columns_that_come_later_are_missing_before() -> None:
    (draft,) = inferred(pa.record_batch({"a": ["1"]}), pa.record_batch({"b": ["2"]})).contracts()
    assert [(column.name, column.empty_count) for column in draft.columns] == [("a", 1), ("b", 1)]


def test_rejected_rows_are_counted_only_and_outputs_are_kept_apart() -> None:
    inference = inferred(pa.record_batch({"a": ["7"]}))
    inference.take("output", pa.record_batch({"a": ["bad"], "_cf_error_msg": ["no"]}), True)
    inference.take("lines", pa.record_batch({"z": ["2024-01-31"]}), False)

    drafts = inference.contracts()

    assert [(draft.output, draft.row_count, draft.rejected_count) for draft in drafts] == [
        ("orders", 1, 1),
        ("lines", 1, 0),
    ]
    document = contract_document(drafts)
    assert isinstance(document, dict) and list(document) == ["orders", "lines"]
    assert contract_document(drafts[:1]) == {"columns": [{"name": "a", "type": "int64"}]}
    assert sentences(drafts[0]) == [
        "orders: 1 rows, 1 rejected",
        "  a: int64: 1 value: all are whole numbers from 7 to 7",
    ]


def test_types_in_words() -> None:
    assert spelt({"name": "a", "type": {"kind": "decimal", "precision": 18, "scale": 2}}) == "decimal(18,2)"
    assert spelt({"name": "a", "type": "date", "format": "%d.%m.%Y"}) == "date as %d.%m.%Y"
