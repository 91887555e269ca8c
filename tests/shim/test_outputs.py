"""The guest's outputs on a real socket: rows become batches, each is numbered, nothing is lost whatever order it comes in."""

from __future__ import annotations

import collections
import io
import threading
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_shim.arrow.batches import (
    BATCH_ROWS_MAX,
    ColumnNameNotText,
    ColumnWithoutName,
    RowTooLarge,
    RowWithoutColumns,
)
from casparian_shim.context import Context
from casparian_shim.emitting import (
    FLUSH_SECONDS,
    UNDECLARED_OUTPUT,
    Outputs,
    OutputUnknown,
    _row_id,
)
from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.frames import LogLevel, OutputEnd, OutputKind, OutputStart
from casparian_shim.frames.kinds import GuestJob, ValueKind
from casparian_shim.frames.reader import BadOutputName
from casparian_shim.readers.feed import Part, Rejection
from casparian_shim.readers.fixed_width import read_fixed_width
from casparian_shim.readers.tape import Entries, What
from tests.shim.guests import Heard
from tests.shim.streams import heard_from_sender, of_kind

REJECTS = OutputKind.REJECTS


def standing(*arguments: Any, **more: Any) -> Outputs:
    """Outputs for which no time passes, however busy this machine is: batches are sent when they are full."""
    return Outputs(*arguments, clock=lambda: 0.0, **more)


def starts(heard: Heard) -> list[tuple[int, str, OutputKind]]:
    return [(one.index, one.name, one.kind) for one in of_kind(heard, OutputStart) if isinstance(one, OutputStart)]


def ends(heard: Heard) -> list[tuple[int, int]]:
    return [(one.index, one.row_count) for one in of_kind(heard, OutputEnd) if isinstance(one, OutputEnd)]


def test_rows_arrive_as_they_were_given_and_each_output_says_how_many() -> None:
    with heard_from_sender() as (sender, heard):
        outputs = standing(sender, ["orders", "trades"])
        add_order, add_trade = outputs.rows_into("orders"), outputs.rows_into("trades")
        for number in range(3):
            add_order({"id": number})
        add_trade({"id": "x", "price": 1.5})
        outputs.finish()

    assert heard.rows("orders") == [{"id": 0}, {"id": 1}, {"id": 2}]
    assert heard.rows("trades") == [{"id": "x", "price": 1.5}]
    assert starts(heard) == [(0, "orders", OutputKind.ROWS), (1, "trades", OutputKind.ROWS)]
    assert ends(heard) == [(0, 3), (1, 1)]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["orders", "trades"]),
            st.booleans(),
            st.dictionaries(st.sampled_from("abc"), st.integers(0, 9) | st.text(max_size=3) | st.none(), max_size=3),
        ),
        max_size=40,
    )
)
def test_every_row_and_every_reject_has_its_place_in_the_order_in_which_it_came(
    given_rows: list[tuple[str, bool, dict[str, Any]]],
) -> None:
    """A rejected row says its number; accepted rows take the numbers left over, in order."""
    with heard_from_sender() as (sender, heard):
        outputs = standing(sender)
        for output in ("orders", "trades"):
            outputs.rows_into(output)({"a": "first"})
        for output, is_rejected, row in given_rows:
            if is_rejected:
                outputs.reject(output, row, "bad", None, None)
            else:
                outputs.rows_into(output)(row)
        outputs.finish()

    for output in ("orders", "trades"):
        came = [(False, {"a": "first"})] + [(bad, row) for name, bad, row in given_rows if name == output]
        rejected = {int(str(row["_cf_output_row_index"])): row for row in heard.rows(output, REJECTS)}
        assert sorted(rejected) == [place for place, (bad, _) in enumerate(came) if bad]
        accepted = heard.rows(output)
        assert len(accepted) == sum(not bad for bad, _ in came)
        for place, (bad, row) in enumerate(came):
            if bad:
                texts = {name: None if value is None else str(value) for name, value in row.items()}
                assert {name: rejected[place].get(name) for name in texts} == texts
        columns = dict.fromkeys(name for bad, row in came if not bad for name in row)
        assert all(list(row) == list(columns)[: len(row)] for row in accepted)


def test_rejects_are_told_before_any_batch_that_holds_a_later_row() -> None:
    """So that a reader can give numbers batch by batch."""
    with heard_from_sender() as (sender, heard):
        outputs = standing(sender)
        outputs.rows_into("o")({"a": 1})
        outputs.reject("o", {"a": "x"}, "bad", None, None)
        outputs.rows_into("o")({"a": 2})
        outputs.finish()

    assert [kind for _, _, kind in starts(heard)] == [REJECTS, OutputKind.ROWS]
    assert heard.rows("o", REJECTS)[0]["_cf_output_row_index"] == 1
    assert heard.rows("o") == [{"a": 1}, {"a": 2}]


def test_columns_that_come_later_are_null_before_and_after() -> None:
    with heard_from_sender() as (sender, heard):
        outputs = standing(sender)
        outputs.add_table(None, pa.table({"a": [1]}))
        outputs.add_table(None, pa.table({"a": [2], "b": ["x"]}))
        outputs.add_table(None, pa.table({"a": [3]}))
        outputs.finish()

    assert heard.rows("output") == [{"a": 1}, {"a": 2, "b": "x"}, {"a": 3, "b": None}]
    assert [index for index, _, _ in starts(heard)] == [0, 0]  # the stream goes on under a wider schema


def test_rows_without_a_column_wait_for_one() -> None:
    with heard_from_sender() as (sender, heard):
        outputs = standing(sender)
        add = outputs.rows_into(None)
        add({})
        add({})
        outputs.add_table(None, pa.table({"a": [1]}))
        outputs.finish()
    assert heard.rows("output") == [{"a": None}, {"a": None}, {"a": 1}]


class Settings(dict[str, object]):
    """A row of a class of the parser's own."""


@pytest.mark.parametrize("kind", [dict, Settings, collections.OrderedDict])
def test_a_row_is_what_it_was_when_it_was_given(kind: type[dict[str, object]]) -> None:
    """Though the parser fills the same dict, list and buffer again for the next record."""
    row, tags, place, raw = kind(), ["old"], {"ward": {"beds": [0]}}, bytearray(b"-")
    with heard_from_sender() as (sender, heard):
        outputs = Outputs(sender)
        add = outputs.rows_into(None)
        for number in range(3):
            tags[0], place["ward"]["beds"][0], raw[:] = f"t{number}", number, b"%d" % number
            row |= {"n": number, "tags": tags, "place": place, "raw": raw}
            add(row)
        row.clear()
        outputs.finish()

    assert [(one["n"], one["tags"], one["place"], one["raw"]) for one in heard.rows("output")] == [
        (number, [f"t{number}"], {"ward": {"beds": [number]}}, b"%d" % number) for number in range(3)
    ]


def test_an_array_of_numpy_is_what_it_was_when_its_row_was_given() -> None:
    points = pytest.importorskip("numpy").zeros(1)
    with heard_from_sender() as (sender, heard):
        outputs = Outputs(sender)
        add = outputs.rows_into(None)
        for number in range(3):
            points[0] = number
            add({"points": points})
        outputs.finish()

    assert [one["points"] for one in heard.rows("output")] == [
        {"kind": int(ValueKind.LIST), "value": f'[[4, "{number}.0"]]'.encode()} for number in range(3)
    ]


def test_a_rejected_row_is_what_it_was_when_it_was_rejected() -> None:
    row: dict[str, object] = {"tags": ["old"]}
    with heard_from_sender() as (sender, heard):
        outputs = Outputs(sender)
        for number in range(3):
            row["tags"] = [number]
            outputs.reject(None, row, "bad", None, None)
        outputs.finish()
    assert [one["tags"] for one in heard.rows("output", REJECTS)] == ["[0]", "[1]", "[2]"]


def test_what_a_row_leaves_out_is_null_though_its_dict_has_a_default() -> None:
    with heard_from_sender() as (sender, heard):
        outputs = Outputs(sender)
        outputs.rows_into(None)({"a": 1, "b": 2})
        outputs.rows_into(None)(collections.defaultdict(int, a=3))
        outputs.finish()
    assert heard.rows("output") == [{"a": 1, "b": 2}, {"a": 3, "b": None}]


def fails(error: type[CasparianError], give: Any, declared: Sequence[str] = (), **more: Any) -> CasparianError:
    with heard_from_sender(is_whole=False) as (sender, _heard):
        outputs = standing(sender, declared, **more)
        with pytest.raises(error) as refused:
            give(outputs)
            outputs.finish()
    return refused.value


def test_rows_that_never_have_a_column_are_refused() -> None:
    refused = fails(RowWithoutColumns, lambda outputs: outputs.rows_into("orders")({}))

    assert refused.problem == "Output orders was given rows without any column."


@pytest.mark.parametrize(
    ("declared", "name", "words"),
    [
        (("orders",), "trades", "The output trades is not declared; the parser declares orders."),
        (
            ("orders", "trades"),
            None,
            "The parser yielded data without naming an output; the parser declares orders, trades.",
        ),
    ],
)
def test_an_output_that_is_not_declared_is_refused(declared: tuple[str, ...], name: str | None, words: str) -> None:
    refused = fails(OutputUnknown, lambda outputs: outputs.rows_into(name), declared)

    assert refused.problem == words
    assert refused.code is ErrorCode.SCHEMA_MISMATCH


@pytest.mark.parametrize("name", ["Orders", "", "a/b", "../x", "a" * 64])
def test_a_name_that_could_name_no_table_is_refused(name: str) -> None:
    fails(BadOutputName, lambda outputs: outputs.rows_into(name))


def test_of_one_declared_output_no_name_is_needed() -> None:
    with heard_from_sender() as (sender, heard):
        outputs = standing(sender, ["orders"])
        assert outputs.declared == ("orders",)
        outputs.rows_into(None)({"a": 1})
        outputs.finish()
    assert heard.rows("orders") == [{"a": 1}]


@pytest.mark.parametrize(
    ("give", "error", "words"),
    [
        (lambda outputs: outputs.rows_into("o")({1: 2}), ColumnNameNotText, "A column is named 1, a int."),
        (
            lambda outputs: outputs.rows_into("o")({"a": 1, "": 2}),
            ColumnWithoutName,
            "Column 2 of output o has no name",
        ),
        (
            lambda outputs: outputs.rows_into("o")({"a": 1, "x" * 300: 2}),
            ColumnWithoutName,
            "Column 2 of output o has a name of 300 characters, more than 255",
        ),
    ],
)
def test_a_column_without_a_name_is_refused(give: Any, error: type[CasparianError], words: str) -> None:
    assert words in fails(error, give).problem


def test_a_row_that_fits_no_batch_is_refused_with_its_size() -> None:
    refused = fails(RowTooLarge, lambda outputs: outputs.rows_into("o")({"a": "x" * 5000}), batch_bytes=1024)

    assert "a batch holds at most 1,024 (limits.batch_bytes)" in refused.problem


def test_many_rows_are_cut_into_batches_by_count_and_by_bytes() -> None:
    with heard_from_sender() as (sender, heard):
        outputs = standing(sender)
        add = outputs.rows_into("many")
        for number in range(BATCH_ROWS_MAX + 10):
            add({"n": number})
        outputs.finish()
    batches = heard.batches["many", OutputKind.ROWS]
    assert [batch.num_rows for batch in batches] == [BATCH_ROWS_MAX, 10]

    with heard_from_sender() as (sender, heard):
        outputs = standing(sender, batch_bytes=64 * 1024)
        add = outputs.rows_into("wide")
        for number in range(100):
            add({"n": number, "text": "x" * 2000})
        outputs.finish()
    batches = heard.batches["wide", OutputKind.ROWS]
    assert [row["n"] for row in heard.rows("wide")] == list(range(100))
    assert len(batches) > 4
    assert all(batch.nbytes <= 64 * 1024 for batch in batches)


def test_values_of_several_kinds_are_told_once_a_column() -> None:
    with heard_from_sender() as (sender, heard):
        outputs = standing(sender)
        for _ in range(3):
            outputs.add_table("o", pa.table({"a": [1]}))
            add = outputs.rows_into("o")
            add({"a": 1})
            add({"a": "x"})
        outputs.finish()
    assert heard.log(LogLevel.WARNING) == [
        "Column a of o has values of several types; each value is judged separately."
    ]


def test_what_readers_gave_out_goes_before_the_rows_made_of_it() -> None:
    with heard_from_sender() as (sender, heard):
        outputs = standing(sender)
        entry = Entries.of((1, 5, What.RECORD))
        outputs.before_rows = lambda: outputs.add_entries("utf_8", entry) if not told else None
        told: list[int] = []
        outputs.rows_into("o")({"a": 1})
        outputs.finish()
        told.append(1)
    assert starts(heard)[:2] == [(0, "utf_8", OutputKind.RECORDS), (1, "o", OutputKind.ROWS)]
    assert heard.rows("utf_8", OutputKind.RECORDS)[0] == {"row": 1, "end": 5, "what": 0}


@pytest.mark.parametrize(
    ("source_row", "row", "found"),
    [
        (7, None, 7),
        (None, {"__cf_row_id": 8}, 8),
        (7, {"__cf_row_id": 8}, 7),
        (None, {"__cf_row_id": "9"}, 9),
        (None, {"__cf_row_id": "-9"}, None),
        (None, {"__cf_row_id": "9" * 30}, None),
        (None, {"__cf_row_id": "٣"}, None),
        (None, {"__cf_row_id": 1.0}, None),
        (None, {"__cf_row_id": True}, None),
        (None, {"__cf_row_id": 2**63}, None),
        (None, {}, None),
        (None, None, None),
    ],
)
def test_the_line_of_a_rejected_row_is_a_whole_number_or_unknown(
    source_row: int | None, row: dict[str, object] | None, found: int | None
) -> None:
    assert _row_id(source_row, row) == found


# --- rows of a slow parser ----------------------------------------------------------------------------------------------


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def batches_of(heard: Heard, output: str) -> list[list[object]]:
    return [batch["n"].to_pylist() for batch in heard.batches[output, OutputKind.ROWS]]


def test_rows_are_sent_when_the_parser_yields_and_a_second_has_passed() -> None:
    clock = Clock()
    with heard_from_sender() as (sender, heard):
        outputs = Outputs(sender, clock=clock)
        add = outputs.rows_into("slow")
        for number in range(12):
            clock.now_s += 0.4
            add({"n": number})
        outputs.finish()

    assert batches_of(heard, "slow") == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]


def test_the_rows_of_every_output_are_sent_together_and_rejects_before_them() -> None:
    clock = Clock()
    with heard_from_sender() as (sender, heard):
        outputs = Outputs(sender, clock=clock)
        outputs.rows_into("orders")({"n": 1})
        outputs.reject("orders", {"n": 2}, "bad", None, None)
        clock.now_s += FLUSH_SECONDS
        outputs.rows_into("trades")({"n": 3})
        sent = sender_has_sent(outputs)
        outputs.finish()

    assert sent == {("orders", REJECTS): 1, ("orders", OutputKind.ROWS): 1, ("trades", OutputKind.ROWS): 1}
    assert starts(heard) == [
        (0, "orders", REJECTS),
        (1, "orders", OutputKind.ROWS),
        (2, "trades", OutputKind.ROWS),
    ]


def sender_has_sent(outputs: Outputs) -> dict[tuple[str, OutputKind], int]:
    return {key: stream.row_count for key, stream in outputs._streams.items()}


def test_progress_sends_the_rows_of_a_parser_that_yields_none_for_long() -> None:
    clock = Clock()
    with heard_from_sender() as (sender, _heard):
        outputs = Outputs(sender, clock=clock)
        outputs.rows_into("out")({"n": 1})
        ctx = Context(GuestJob(token="t", socket_fd=-1, parser_path="p.py", input_path="in"), outputs, sender)
        ctx.progress(1, 10)
        assert sender_has_sent(outputs) == {}
        clock.now_s += FLUSH_SECONDS
        ctx.progress(2, 10)
        assert sender_has_sent(outputs) == {("out", OutputKind.ROWS): 1}
        outputs.finish()


def test_another_thread_sends_no_rows() -> None:
    """It could take a row that is just being added."""
    clock = Clock()
    with heard_from_sender() as (sender, _heard):
        outputs = Outputs(sender, clock=clock)
        outputs.rows_into("out")({"n": 1})
        clock.now_s += FLUSH_SECONDS
        other = threading.Thread(target=outputs.flush_when_due)
        other.start()
        other.join()
        assert sender_has_sent(outputs) == {}
        outputs.finish()


def test_rows_that_cannot_be_sent_end_the_job_though_the_parser_caught_the_error() -> None:
    clock = Clock()
    with heard_from_sender(is_whole=False) as (sender, _heard):
        outputs = Outputs(sender, clock=clock)
        outputs.rows_into("out")({"n": 1, "": 2})
        clock.now_s += FLUSH_SECONDS
        with pytest.raises(ColumnWithoutName):  # out of ctx.progress, say, where a parser may catch it
            outputs.flush_when_due()
        outputs.rows_into("out")({"n": 3})
        with pytest.raises(ColumnWithoutName):
            outputs.finish()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["rows", "rejects"]), st.floats(0, 2), st.integers(0, 9) | st.text(max_size=2)))
)
def test_the_clock_changes_neither_rows_nor_their_order(given_rows: list[tuple[str, float, int | str]]) -> None:
    def told(clock: Clock) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
        with heard_from_sender() as (sender, heard):
            outputs = Outputs(sender, clock=clock)
            for kind, pause_s, value in given_rows:
                clock.now_s += pause_s
                if kind == "rows":
                    outputs.rows_into("out")({"n": str(value)})
                else:
                    outputs.reject("out", {"n": value}, "bad", None, None)
            outputs.finish()
        return heard.rows("out"), heard.rows("out", REJECTS)

    class Standing(Clock):
        def __call__(self) -> float:
            return 0.0

    assert told(Clock()) == told(Standing())


def test_records_of_several_types_go_to_their_outputs_and_each_numbers_its_rejects() -> None:
    types = {"1": ("batches", {"id": (1, 3)}), "2": ("payments", {"cents": (1, 4)})}
    data = b"101\n2100\n2xx\n102\n1\n2200\n3\n"
    with heard_from_sender() as (sender, heard):
        outputs = standing(sender, ["batches", "payments"])
        outputs.add_records(None, read_fixed_width(io.BytesIO(data), record_types=types, type_at=(0, 1)))
        outputs.finish()

    assert [row["id"] for row in heard.rows("batches")] == ["01", "02"]
    assert [row["cents"] for row in heard.rows("payments")] == ["100", "200"]
    rejected = {
        name: [(row["_cf_output_row_index"], row["__cf_row_id"]) for row in heard.rows(name, REJECTS)]
        for name in ("batches", "payments")
    }
    assert rejected == {"batches": [(2, 5), (3, 7)], "payments": [(1, 3)]}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["row", "reject", "part", "numbers", "empty"]),
            st.floats(0, 0.4),
            st.lists(st.booleans(), min_size=1, max_size=5),
        ),
        max_size=20,
    ),
    st.integers(1, 400),
)
def test_parts_rows_and_rejects_keep_their_numbers_however_they_are_joined(
    given_rows: list[tuple[str, float, list[bool]]], most_bytes: int
) -> None:
    """The parts of a reader wait for each other, also with rows before and after them and with columns of other types."""
    accepted: list[str | int | None] = []
    rejected: list[int] = []
    clock, turn = Clock(), 0
    with heard_from_sender() as (sender, heard), pytest.MonkeyPatch.context() as patch:
        patch.setattr("casparian_shim.emitting.JOINED_BYTES_MAX", most_bytes)
        outputs = Outputs(sender, clock=clock)
        for kind, pause_s, are_rows in given_rows:
            clock.now_s += pause_s
            values: list[str | int | None] = []
            rejections = []
            for is_row in are_rows if kind in ("part", "numbers") else [kind != "reject"]:
                if is_row:
                    value = None if kind == "empty" else turn if kind == "numbers" else f"text {turn}"
                    values.append(value)
                    accepted.append(value)
                else:
                    rejected.append(turn)
                    rejections.append(Rejection(len(values), turn, "bad", None, None, None))
                turn += 1
            if kind == "row":
                outputs.rows_into("out")({"n": values[0]})
            elif kind == "reject":
                outputs.reject("out", None, "bad", turn - 1, None)
            else:
                type_ = pa.int64() if kind == "numbers" else pa.string()
                outputs.add_part("out", Part([("n", pa.array(values, type_), False)], len(values), rejections))
        outputs.finish()

    assert [row["n"] for row in heard.rows("out")] == accepted
    numbers = [(row["_cf_output_row_index"], row["__cf_row_id"]) for row in heard.rows("out", REJECTS)]
    assert numbers == [(number, number) for number in rejected]


def test_small_parts_are_one_batch() -> None:
    with heard_from_sender() as (sender, heard):
        outputs = standing(sender)
        outputs.rows_into(None)({"n": None})
        for number in range(100):
            outputs.add_part(None, Part([("n", pa.array([str(number)] * 1000), False)], 1000, []))
        outputs.finish()

    assert [batch.num_rows for batch in heard.batches[UNDECLARED_OUTPUT, OutputKind.ROWS]] == [65_001, 35_000]
    assert [row["n"] for row in heard.rows(UNDECLARED_OUTPUT)][1::1000] == [str(number) for number in range(100)]
