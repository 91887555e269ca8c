"""The shared FIX samples, where they are at hand, against what is known about them."""

from collections import Counter
from pathlib import Path

import pytest

from tests.parsers.fix_runs import Recorded, read, verdicts

SAMPLES = Path(__file__).parents[2].parent / "shared" / "data" / "fix"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the shared samples are not on this machine")


def sample(name: str, checksums: str = "ignore") -> Recorded:
    recorded = read(SAMPLES / name, checksums=checksums)
    for output, counts in verdicts(recorded).items():
        assert counts.valid == len(recorded.of(output)), "the contract holds for every row"
    return recorded


def test_demo() -> None:
    rows = sample("fix_demo.fix").of("fix_orders")

    assert Counter(row["msg_type"] for row in rows) == {"D": 2, "8": 4}
    by_order = {key: [row["event"] for row in rows if row["cl_ord_id"] == key] for key in ("CLORD1", "CLORD2")}
    assert by_order == {"CLORD1": ["new_order", "ack", "partial_fill", "fill"], "CLORD2": ["new_order", "cancel"]}
    assert (rows[3]["last_px"], rows[3]["cum_qty"], rows[3]["leaves_qty"]) == ("185.60", "100", "0")


def test_demo_has_made_up_trailers_and_verifying_flags_every_line() -> None:
    recorded = read(SAMPLES / "fix_demo.fix")

    assert recorded.rows == {}
    assert [line for *_, line, _ in recorded.rejected] == [1, 2, 3, 4, 5, 6]


def test_order_lifecycle() -> None:
    rows = sample("order_lifecycle.fix").of("fix_orders")

    assert Counter(row["msg_type"] for row in rows) == {"D": 3, "8": 6, "F": 1, "G": 1, "9": 1, "H": 1}
    assert Counter(row["event"] for row in rows) == {
        "new_order": 3,
        "ack": 2,
        **dict.fromkeys(("partial_fill", "fill", "cancel", "reject", "cancel_request"), 1),
        **dict.fromkeys(("replace_request", "cancel_reject", "status_request"), 1),
    }
    assert Counter(row["cl_ord_id"] for row in rows) == {
        "CLORD001": 5,
        **dict.fromkeys(("CLORD002", "CLORD003", "CLORD004", "CLORD005"), 2),
    }
    linked = {row["cl_ord_id"]: row["orig_cl_ord_id"] for row in rows if row["orig_cl_ord_id"]}
    assert linked == {"CLORD003": "CLORD002", "CLORD005": "CLORD001"}
    assert [row["avg_px"] for row in rows if row["msg_seq_num"] == "4"] == ["185.575"]


def test_session_events() -> None:
    recorded = sample("session_events.fix")
    rows = recorded.of("fix_session")

    assert Counter(row["msg_type"] for row in rows) == {
        "0": 3,
        "A": 2,
        "5": 2,
        **dict.fromkeys(("1", "2", "3", "4", "j"), 1),
    }
    assert (recorded.of("fix_orders"), recorded.rejected) == ([], [])
    reject = next(row for row in rows if row["msg_type"] == "3")
    assert (reject["ref_seq_num"], reject["session_reject_reason"]) == ("99", "1")
    business = next(row for row in rows if row["msg_type"] == "j")
    assert (business["ref_msg_type"], business["business_reject_ref_id"]) == ("D", "REF001")
    assert business["business_reject_reason"] == "5"


def test_prefixed_logs() -> None:
    recorded = sample("prefixed_logs.fix")

    orders, sessions = recorded.of("fix_orders"), recorded.of("fix_session")
    assert [(row["cl_ord_id"], row["event"]) for row in orders] == [
        ("PREFIXED001", event) for event in ("new_order", "ack", "fill")
    ]
    assert Counter(row["msg_type"] for row in sessions) == {"A": 2, "0": 2, "5": 1}
    assert [row["message_index"] for row in sessions if row["__cf_row_id"] == 15] == [0, 1]
    assert [line for *_, line, _ in recorded.rejected] == [21]
    assert orders[1]["raw_tags"].endswith("|10=000")
    assert recorded.accounted_lines == 24


def test_stripped_separators_are_two_error_rows() -> None:
    recorded = sample("soh_delimiter_stripped.fix")

    assert recorded.rows == {}
    assert [(output, row, line) for output, row, _, line, _ in recorded.rejected] == [
        ("fix_other", {}, 1),
        ("fix_other", {}, 2),
    ]
