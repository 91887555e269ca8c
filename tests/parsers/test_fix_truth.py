"""Generated logs through the parser and the worker's validation: every count as it was written down beforehand."""

from pathlib import Path

import pytest
from fix_parser import outputs
from fix_tables import HEADER, ORDER_FIELDS, SESSION_FIELDS

from casparian.demo.fix_logs import generate, write_big_log
from casparian_protocol.contract import Contract
from tests.parsers.fix_runs import read, verdicts


def test_a_generated_directory_is_judged_exactly_as_its_truth_says(tmp_path: Path) -> None:
    truth = generate(tmp_path / "logs", seed=11, files=6, orders_per_file=120)

    assert {path.name for path in (tmp_path / "logs").iterdir()} == {one.name for one in truth.files}
    for expected in truth.files:
        recorded = read(tmp_path / "logs" / expected.name)
        for output, counts in verdicts(recorded).items():
            assert counts.valid == expected.valid_rows[output]
            assert counts.quarantined == expected.quarantined_rows[output]
            found = {(output, code.value, column): count for (code, column), count in counts.violations.items()}
            assert found == {key: count for key, count in expected.violations.items() if key[0] == output}
        assert recorded.skips == dict(expected.skips)
        assert recorded.accounted_lines == expected.line_count
        assert recorded.done_bytes == expected.size_bytes


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    texts = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        generate(tmp_path / name, seed=seed, files=2, orders_per_file=30)
        texts.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])

    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    assert (tmp_path / "a.truth.json").read_bytes() == (tmp_path / "b.truth.json").read_bytes()


def test_the_broken_order_has_one_fill_in_quarantine_and_its_fills_do_not_add_up(tmp_path: Path) -> None:
    truth = generate(tmp_path / "logs", seed=3, files=1, orders_per_file=60)
    broken = truth.broken_order
    assert broken is not None

    rows = [
        row for row in read(tmp_path / "logs" / broken.file).of("fix_orders") if row["cl_ord_id"] == broken.cl_ord_id
    ]

    assert tuple(row["event"] for row in rows) == broken.events
    assert tuple(row["__cf_row_id"] for row in rows) == broken.lines
    bad = [row for row in rows if row["__cf_row_id"] == broken.quarantined_line]
    assert [row["last_px"] for row in bad] == [broken.quarantined_value]
    good_fills = [int(row["last_qty"]) for row in rows if row not in bad and row["last_qty"]]
    assert sum(good_fills) == broken.valid_last_qty
    assert int(rows[-1]["cum_qty"]) == broken.cum_qty != broken.valid_last_qty


def test_clean_logs_have_nothing_to_quarantine(tmp_path: Path) -> None:
    truth = generate(tmp_path / "logs", seed=3, files=2, orders_per_file=20, faults_per_file=0)

    assert truth.broken_order is None
    assert not truth.total.quarantined_rows


def test_the_truth_never_lies_in_the_directory_that_is_scanned(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside the scanned directory"):
        generate(tmp_path, seed=1, files=1, truth_path=tmp_path / "truth.json")


def test_a_big_log_has_the_messages_asked_for_and_all_are_valid(tmp_path: Path) -> None:
    size = write_big_log(tmp_path / "big.fix", seed=2, messages=10_002)

    counts = verdicts(recorded := read(tmp_path / "big.fix"))

    assert counts["fix_orders"].valid == 10_002
    assert recorded.rejected == []
    assert recorded.done_bytes == size


def test_contract_and_tables_have_the_same_columns() -> None:
    contracts = {name: Contract.from_literal(literal) for name, literal in outputs.items()}
    columns = {output: {column.name for column in contract.columns} for output, contract in contracts.items()}

    own = {"message_index", "raw_tags"}
    assert columns["fix_orders"] == {*ORDER_FIELDS, *own, "event"}
    assert columns["fix_session"] == {*SESSION_FIELDS, *own, "event"}
    assert columns["fix_other"] == {*HEADER, *own}
