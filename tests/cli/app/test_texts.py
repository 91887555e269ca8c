"""Numbers, times and lists in sentences; JSON documents that every reader takes."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_app.texts import NoHome, count, dated, iso, json_text, listed, plain, size, when, when_short
from casparian_protocol.home import Home

#: 2001-09-09 to 2200: what the log may have noted.
TIMES = st.integers(1_000_000_000_000_000, 7_258_118_400_000_000)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (2345, "2,345 rows"), (10**9, "1,000,000,000 rows")],
)
def test_a_count_names_its_things(number: int, said: str) -> None:
    assert count(number, "row") == said


def test_an_irregular_plural_is_given() -> None:
    assert [count(number, "batch", "batches") for number in (1, 2)] == ["1 batch", "2 batches"]


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (None, ""),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (3 * 1024**4, "3.0 TiB"),
        (2**63, "8388608.0 TiB"),
    ],
)
def test_a_size_has_the_unit_that_fits(amount: int | None, said: str) -> None:
    assert size(amount) == said


@given(st.integers(0, 2**60))
def test_a_size_is_never_far_from_the_truth(amount: int) -> None:
    number, unit = size(amount).split()
    factor = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}[unit]
    assert math.isclose(float(number) * factor, amount, rel_tol=0.06, abs_tol=1)


@given(TIMES)
def test_a_time_is_said_to_the_second_in_utc(microseconds: int) -> None:
    said = when(microseconds)
    read = datetime.strptime(said, "%Y-%m-%d %H:%M:%SZ").replace(tzinfo=UTC)
    assert 0 <= microseconds / 1e6 - read.timestamp() < 1.001
    assert when_short(microseconds) == f"{said[5:16]}Z"


def test_no_time_is_no_text() -> None:
    assert (when(None), when(0), when_short(None)) == ("", "", "")


@given(TIMES)
def test_iso_times_keep_every_microsecond(microseconds: int) -> None:
    read = datetime.fromisoformat(iso(microseconds))
    assert (read - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) == microseconds


@given(st.lists(st.text("abc", min_size=1, max_size=3), max_size=12), st.integers(2, 8))
def test_a_list_names_as_many_as_fit_and_counts_the_rest(names: list[str], most: int) -> None:
    said = listed(names, most=most)
    if len(names) <= most:
        assert said == ", ".join(names)
    else:
        shown, _, rest = said.rpartition(" and ")
        assert shown == ", ".join(names[: most - 1])
        assert rest == f"{len(names) - most + 1} more"


# --- no home ---


@pytest.mark.parametrize(
    ("made", "problem", "remedy"),
    [
        ("", "There is no home at {root}.", "Create it with `casparian init`"),
        ("empty/", "There is no home at {root}.", "Create it with `casparian init`"),
        ("file", "{root} is not a valid home: it is a file.", "Name a directory with --home"),
        ("other/x", "{root} is not a home: it is a directory with other files.", "Name a home with --home"),
        (
            "above/home/log/",
            "{root} is not a home: it is a directory with other files.",
            "Did you mean --home {root}/home?",
        ),
    ],
)
def test_a_place_that_is_no_home_is_called_what_it_is(made: str, problem: str, remedy: str, tmp_path: Path) -> None:
    root = tmp_path / (made.split("/")[0] or "none")
    if made.endswith("/"):
        (tmp_path / made).mkdir(parents=True)
    elif made:
        (tmp_path / made).parent.mkdir(exist_ok=True)
        (tmp_path / made).write_text("")
    refused = NoHome(Home(root))
    assert refused.problem == problem.format(root=root)
    assert refused.remedy is not None and refused.remedy.startswith(remedy.format(root=root))


# --- documents ---


@given(JSON)
def test_data_of_users_come_out_as_they_went_in(document: Any) -> None:
    assert json.loads(json_text(document, has_data=True)) == document


@given(JSON)
def test_every_document_is_json_and_one_line(document: Any) -> None:
    text = json_text(document)
    json.loads(text)
    assert "\n" not in text


@given(st.floats())
def test_numbers_that_json_does_not_have_are_texts(number: float) -> None:
    read = json.loads(json_text({"value": number, "more": [number]}, has_data=True))
    expected = number if math.isfinite(number) else str(number)
    assert read == {"value": expected, "more": [expected]}


@given(st.decimals(allow_nan=False, allow_infinity=False, places=10))
def test_decimals_are_texts_of_the_same_value_without_an_exponent(number: Decimal) -> None:
    text = plain(number)
    assert Decimal(text) == number and "E" not in text.upper()


def test_bytes_are_hex_and_paths_are_texts() -> None:
    assert json.loads(json_text({"digest": b"\x00\xff", "path": Path("/a/b")})) == {"digest": "00ff", "path": "/a/b"}


@given(TIMES, st.sampled_from(["queued_at", "ts", "end_time", "first_seen", "current_since", "last_commit", "when"]))
def test_a_time_is_known_by_its_name_wherever_it_stands(microseconds: int, name: str) -> None:
    assert dated({name: microseconds}) == {name: iso(microseconds)}
    assert dated([{"deep": {name: microseconds}}]) == [{"deep": {name: iso(microseconds)}}]


@given(TIMES, st.sampled_from(["rows", "bytes", "seq", "timestamped", "attempt"]))
def test_other_numbers_stay_numbers(number: int, name: str) -> None:
    assert dated({name: number}) == {name: number}


@given(st.integers(0, 999_999_999_999_999) | st.booleans() | st.none())
def test_a_small_number_under_the_name_of_a_time_is_no_time(value: Any) -> None:
    assert dated({"queued_at": value}) == {"queued_at": value}


def test_rows_of_users_are_never_dated() -> None:
    row = {"queued_at": 1_700_000_000_000_000}
    assert json.loads(json_text(row, has_data=True)) == row
    assert json.loads(json_text(row)) == {"queued_at": "2023-11-14T22:13:20.000000Z"}
