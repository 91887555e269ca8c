"""Row numbers over accepted and rejected rows, and bad rows in their order."""

import os
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_protocol.contract import Contract
from casparian_shim.frames import OutputKind
from casparian_worker.execute.outputs import BadRows, JudgedOutput, Lineage, RowNumbers, StagedRowWriter
from casparian_worker.execute.raw import RAW_BYTES_MAX, RawBudget
from casparian_worker.execute.records import SourceRecords
from casparian_worker.sinks import ParquetStaging, WriterSettings
from casparian_worker.staging import StagingDirectory
from casparian_worker.validation import ValidationLimits


def listed(given_numbers: object, count: int) -> list[int]:
    if isinstance(given_numbers, int):
        return list(range(given_numbers, given_numbers + count))
    return list(given_numbers.to_pylist())  # type: ignore[attr-defined]


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 7))
def test_every_row_gets_the_number_of_its_turn(is_rejected: list[bool], batch_rows: int) -> None:
    numbers, accepted = RowNumbers(), [place for place, bad in enumerate(is_rejected) if not bad]
    got: list[int] = []
    sent_until = 0
    for start in range(0, len(accepted), batch_rows):
        batch = accepted[start : start + batch_rows]
        numbers.take([place for place in range(sent_until, batch[-1]) if is_rejected[place]])
        sent_until = batch[-1]
        got += listed(numbers.give(len(batch)), len(batch))
    assert got == accepted


def test_a_long_run_of_rejected_rows_costs_no_memory() -> None:
    numbers = RowNumbers()
    for start in range(0, 100_000, 1000):
        numbers.take(range(start + 1, start + 1001))
    assert len(numbers._runs) == 1
    assert listed(numbers.give(2), 2) == [0, 100_001]


def test_repeated_and_late_numbers_of_a_hostile_guest_do_no_harm() -> None:
    numbers = RowNumbers()
    assert numbers.give(3) == 0
    numbers.take([1, 1, 4, 4, 2**62])
    assert listed(numbers.give(3), 3) == [3, 5, 6]


CONTRACT = Contract.from_literal({"columns": [{"name": "a", "type": "int64"}], "mode": "allow_extra"})
ROWS = st.lists(
    st.tuples(
        st.booleans(),
        st.fixed_dictionaries({"a": st.sampled_from(["1", "x"])}, optional={name: st.just(name) for name in "zyb"}),
    ),
    max_size=30,
)


def text_batch(rows: list[dict[str, Any]], numbers: list[int] | None = None) -> pa.RecordBatch:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in names}
    if numbers is not None:
        columns |= {"_cf_output_row_index": pa.array(numbers, pa.int64()), "_cf_reject_reason": ["bad"] * len(rows)}
    return pa.record_batch(columns)


def quarantined(rows: list[tuple[bool, dict[str, Any]]], cuts: list[int]) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of the quarantine, and the digests of its files, when a guest sends what it has at these places."""
    with tempfile.TemporaryDirectory() as folder:
        directory = StagingDirectory(Path(folder), "0123456789abcdef", 1)
        writer = StagedRowWriter(ParquetStaging(directory), "o", Lineage("h", "j", 0, "1"), WriterSettings(columns=1))
        judged = JudgedOutput(
            "o",
            CONTRACT,
            writer,
            policy=None,
            limits=ValidationLimits(),
            warn=lambda text: None,
            records=SourceRecords(0, -1),
        )
        places = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
        for start, end in pairwise(places):
            some = list(enumerate(rows[start:end], start))
            rejected = [(place, row) for place, (is_rejected, row) in some if is_rejected]
            given_rows = [row for _, (is_rejected, row) in some if not is_rejected]
            if rejected:
                batch = text_batch([row for _, row in rejected], [place for place, _ in rejected])
                judged.take(batch, OutputKind.REJECTS)
            if given_rows:
                judged.take(text_batch(given_rows), OutputKind.ROWS)
        judged.finish()
        files = [file for file in writer.close() if file.kind == "quarantine"]
        tables = [pq.ParquetFile(directory.path(file.name)).read().to_pylist() for file in files]
        directory.remove()
        return [row for table in tables for row in table], [file.digest for file in files]


@settings(max_examples=60, deadline=None)
@given(ROWS, st.lists(st.integers(0, 30)))
def test_the_quarantine_is_the_same_wherever_the_clock_cuts_the_batches(
    rows: list[tuple[bool, dict[str, Any]]], cuts: list[int]
) -> None:
    whole, digests = quarantined(rows, [])
    bad = [place for place, (is_rejected, row) in enumerate(rows) if is_rejected or row["a"] == "x"]
    names = sorted({name for place in bad for name in rows[place][1]} - {"a"})

    assert [row["_cf_output_row_index"] for row in whole] == bad
    assert [list(row)[: len(names) + 1] for row in whole] == [["a", *names]] * len(bad)
    assert [[row[name] for name in names] for row in whole] == [
        [rows[place][1].get(name) for name in names] for place in bad
    ]
    assert len(digests) == min(1, len(bad))
    assert quarantined(rows, cuts) == (whole, digests)


def test_rejected_rows_whose_predecessors_never_come_are_not_held_for_ever() -> None:
    bad, kept = BadRows(0), 0
    for start in range(1, 200_001, 50_000):
        bad.add(pa.record_batch({"_cf_output_row_index": pa.array(range(start, start + 50_000), pa.int64())}))
        due = bad.due(before=1)
        kept += due.num_rows if due is not None else 0
    assert kept == 150_000


def test_the_text_of_bad_rows_is_bounded_by_their_order_alone(tmp_path: Path) -> None:
    """2048 rows may have 16 KiB each; those behind them have the beginning of their text, up to the 65,536th."""
    budget, allowed = RawBudget(), []
    for _ in range(65_537):
        allowed.append(budget.allowed_bytes)
        budget.use(allowed[-1])
        budget.pass_over(1)
    assert [place for place, size in enumerate(allowed) if size == RAW_BYTES_MAX] == [*range(2048), 65_536]

    path = tmp_path / "input"
    path.write_bytes(b"".join(b"%d\n" % number for number in range(10)))
    descriptor = os.open(path, os.O_RDONLY)
    records, whats = SourceRecords(20, descriptor), pa.array([0] * 10, pa.int8())
    tape = {"row": pa.array(range(1, 11), pa.int64()), "end": pa.array(range(2, 22, 2), pa.int64()), "what": whats}
    records.announce("utf-8", pa.record_batch(tape).schema)
    records.take(pa.record_batch(tape))
    bad = pa.record_batch(
        {
            "_cf_source_row": pa.array([3, None, 5, 4], pa.int64()),
            "_cf_source_offset": pa.nulls(4, pa.int64()),
            "_cf_raw": pa.array([None, None, "own", None]),
            "_cf_raw_encoding": pa.nulls(4, pa.string()),
        }
    )
    found = records.with_origin(bad, RawBudget())
    os.close(descriptor)
    assert found["_cf_raw"].to_pylist() == ["2", None, "own", "3"]
    assert found["_cf_source_offset"].to_pylist() == [4, None, 8, 6]
