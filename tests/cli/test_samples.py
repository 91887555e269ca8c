"""The made-up FIX logs: real messages, the same from the same seed, and a truth that the files themselves bear out."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.demo.fix_logs import VENUES, Truth, generate, write_big_log
from casparian.demo.fix_orders import (
    FAULTS,
    GARBAGE_LINES,
    LIVES,
    OUTPUTS,
    SOH,
    Dice,
    Fields,
    FileTruth,
    Life,
    Order,
    Ticker,
    broken,
    cents,
    encode,
    stamp,
)

MESSAGE = re.compile(rb"8=FIX.*")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    directory = tmp_path_factory.mktemp("samples") / "logs"
    return directory, generate(directory, seed=5, files=len(VENUES), orders_per_file=80)


def sums_hold(message: bytes) -> bool:
    """Whether BodyLength and CheckSum are those of the message, in SOH."""
    head, _, rest = message.partition(SOH + b"9=")
    length, _, body = rest.partition(SOH)
    inner, _, checksum = body.rpartition(b"10=")
    whole = message[: message.rindex(b"10=")]
    return len(inner) == int(length) and sum(whole) % 256 == int(checksum.rstrip(SOH)) and head.startswith(b"8=")


# --- messages

TAGS = st.integers(11, 9999)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x01"), max_size=12)


@given(st.lists(st.tuples(TAGS, TEXTS), min_size=1, max_size=8))
def test_any_fields_become_a_message_whose_sums_hold(fields: Fields) -> None:
    message = encode("FIX.4.4", [(35, "D"), *fields], SOH)

    assert sums_hold(message)
    assert message.startswith(b"8=FIX.4.4\x01") and message.endswith(SOH)


def test_the_separator_is_put_in_after_the_sums_were_made() -> None:
    fields: Fields = [(35, "B"), (95, "9"), (96, "a|b^10=0|")]

    shown = encode("FIX.4.4", fields, b"|")
    assert shown == encode("FIX.4.4", fields, SOH).replace(SOH, b"|")
    assert b"96=a|b^10=0|" in shown


@given(st.integers(0, 10**7))
def test_cents_are_written_with_two_places(amount: int) -> None:
    assert round(float(cents(amount)) * 100) == amount
    assert re.fullmatch(r"\d+\.\d\d", cents(amount))


@given(st.integers(0, 2**32), st.integers(1, 1000))
def test_the_same_seed_throws_the_same_dice(seed: int, limit: int) -> None:
    one, other = Dice(seed), Dice(seed)
    throws = [one.below(limit) for _ in range(20)]

    assert throws == [other.below(limit) for _ in range(20)]
    assert all(0 <= throw < limit for throw in throws)
    assert one.pick("abc") == other.pick("abc")


def test_a_clock_only_goes_on() -> None:
    ticker = Ticker(Dice(1), 3)
    times = [ticker.now, *(ticker.tick() for _ in range(50))]

    assert times == sorted(set(times))
    assert stamp(times[0]) == "20240105-09:00:00.000"
    assert len(stamp(times[1], 6)) == len("20240105-09:00:00.000000")


# --- lives of orders


def an_order(*, is_fix42: bool = False) -> Order:
    return Order("NO00-000001", "AAPL", "1", 300, 12_345, is_fix42, "ACCT001")


@pytest.mark.parametrize("is_fix42", [True, False])
@pytest.mark.parametrize("life", [*dict.fromkeys(LIVES), broken])
def test_what_a_venue_reports_adds_up(life: Life, is_fix42: bool) -> None:
    order = an_order(is_fix42=is_fix42)
    messages = list(life(order, Dice(3)))
    filled = 0
    for message in messages:
        found = dict(message.fields)
        filled += int(found.get(32, "0"))
        if message.msg_type == "8":
            assert int(found[14]) == filled
            assert int(found[151]) in (0, int(found[38]) - filled)
            assert (20 in found) == is_fix42
        assert message.is_from_client == (message.msg_type in "DFGH")
    assert filled in (0, order.quantity)
    assert messages[0].event == "new_order"
    assert order.filled == filled


def test_an_average_price_is_that_of_the_fills_to_four_places() -> None:
    order = an_order()
    assert order.average_price() == "0"
    order.trade(100, 100)
    order.trade(200, 101)

    assert order.average_price() == "1.0067"


def test_a_broken_order_writes_its_second_fill_with_a_fault() -> None:
    faults = [message.fault for message in broken(an_order(), Dice(1))]

    assert faults == [None, None, None, "price_with_comma", None]


# --- logs


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    one = generate(tmp_path / "a", seed=9, files=2, orders_per_file=20)
    two = generate(tmp_path / "b", seed=9, files=2, orders_per_file=20)
    other = generate(tmp_path / "c", seed=10, files=2, orders_per_file=20)

    def contents(folder: str) -> list[bytes]:
        return [path.read_bytes() for path in sorted((tmp_path / folder).iterdir())]

    assert contents("a") == contents("b") != contents("c")
    assert one.as_json() == two.as_json() != other.as_json()


def test_the_truth_lies_beside_the_logs_and_says_how_long_they_are(made: tuple[Path, Truth]) -> None:
    directory, truth = made

    assert truth.path.parent == directory.parent
    assert json.loads(truth.path.read_text(encoding="utf-8")) == json.loads(json.dumps(truth.as_json()))
    for file in truth.files:
        content = (directory / file.name).read_bytes()
        assert (file.line_count, file.size_bytes) == (content.count(b"\n"), len(content))


def test_every_line_is_a_row_a_rejected_row_or_a_skip(made: tuple[Path, Truth]) -> None:
    for file in made[1].files:
        rows = sum(file.valid_rows.values()) + sum(file.quarantined_rows.values())
        assert rows + sum(file.skips.values()) == file.line_count
        assert set(file.valid_rows) | set(file.quarantined_rows) <= set(OUTPUTS)
        assert sum(file.order_events.values()) == file.valid_rows["fix_orders"]


def test_in_a_file_without_faults_every_message_holds(tmp_path: Path) -> None:
    truth = generate(tmp_path / "clean", seed=4, files=len(VENUES), orders_per_file=30, faults_per_file=0)

    assert truth.broken_order is None
    for file, venue in zip(truth.files, VENUES, strict=True):
        assert not file.quarantined_rows
        found = 0
        for line in (tmp_path / "clean" / file.name).read_bytes().splitlines():
            message = MESSAGE.search(line)
            if message is None or line.startswith(b"#"):
                continue
            text = message[0].removesuffix(b'"}')
            if b"96=a|b^10=0|" not in text:  # the display separator inside a value cannot be taken back
                assert sums_hold(text.replace(venue.separator, SOH)), text
            found += 1
        assert found == sum(file.valid_rows.values())


def test_faults_are_a_small_part_and_each_has_its_reason(made: tuple[Path, Truth]) -> None:
    total = made[1].total
    bad, good = sum(total.quarantined_rows.values()), sum(total.valid_rows.values())

    assert 0 < bad < good / 10
    reasons = {(code, column) for _output, code, column in total.violations}
    assert reasons <= {violation for fault in FAULTS.values() for violation in fault.violations} | {
        ("type_mismatch", "last_px")
    }
    assert len(reasons) > 5


def test_the_broken_order_is_told_line_by_line(made: tuple[Path, Truth]) -> None:
    directory, truth = made
    order = truth.broken_order
    assert order is not None
    lines = (directory / order.file).read_bytes().splitlines()

    assert len(order.events) == len(order.lines)
    assert all(order.cl_ord_id.encode() in lines[number - 1] for number in order.lines)
    assert f"31={order.quarantined_value}".encode() in lines[order.quarantined_line - 1]
    assert (order.cum_qty, order.valid_last_qty) == (300, 200)
    assert Counter(order.events)["partial_fill"] == 2


def test_the_truth_may_not_lie_among_what_is_scanned(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="would lie inside the scanned directory"):
        generate(tmp_path / "logs", seed=1, truth_path=tmp_path / "logs" / "truth.json")


def test_lines_that_are_no_message_begin_like_none() -> None:
    assert all(not sums_holds_or_fails(line) for line in GARBAGE_LINES)


def sums_holds_or_fails(line: bytes) -> bool:
    try:
        return sums_hold(line)
    except ValueError:
        return False


def test_truths_add_up() -> None:
    one, other = FileTruth("a", 3, 10), FileTruth("b", 4, 20)
    one.valid_rows["fix_orders"] = 2
    other.valid_rows["fix_orders"] = 5
    other.skips["comment"] = 1
    one.add(other)

    assert (one.line_count, one.size_bytes, one.valid_rows["fix_orders"], one.skips["comment"]) == (7, 30, 7, 1)


@pytest.mark.parametrize("messages", [1, 3, 4, 10])
def test_a_big_log_has_exactly_so_many_messages_and_all_hold(tmp_path: Path, messages: int) -> None:
    path = tmp_path / "big.fix"

    assert write_big_log(path, seed=2, messages=messages) == path.stat().st_size
    lines = path.read_bytes().splitlines()
    assert len(lines) == messages
    assert all(sums_hold(line) for line in lines)
    shown = tmp_path / "shown.fix"
    write_big_log(shown, seed=2, messages=messages, separator=b"|")
    assert shown.read_bytes() == path.read_bytes().replace(SOH, b"|")
