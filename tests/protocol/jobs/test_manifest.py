"""A manifest's names, places and sums: what may be staged, where it goes, and how an account is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from casparian_protocol.bounds import COUNT_MAX
from casparian_protocol.events.base import from_map
from casparian_protocol.jobs import (
    PART_NAMES,
    PLAIN_PART_NAMES,
    Manifest,
    OutputAccounting,
    RecordAccounting,
    StagedFile,
    part_at,
    published_path,
)
from casparian_protocol.jobs.manifest import Part

DIGEST = "0123456789abcdef" * 4
JOB = "00000000000000aa"
OUTPUTS = st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True)


def staged(name: str, **more: Any) -> StagedFile:
    kind = name.partition(".")[0]
    return StagedFile.model_validate({"name": name, "kind": kind, "rows": 1, "bytes": 2, "digest": DIGEST, **more})


def account(**counts: int) -> OutputAccounting:
    return OutputAccounting.model_validate({"status": "success", "received": 0, "valid": 0, "quarantined": 0, **counts})


# --- names and places


@given(OUTPUTS, st.integers(0, 99_999), st.integers(1, 10**9 - 1), st.sampled_from(["data", "quarantine"]))
def test_a_staged_file_goes_where_its_name_says_and_comes_back_as_that_part(
    output: str, number: int, version: int, kind: str
) -> None:
    file = staged(f"{kind}.{output}.{number}.parquet")
    tree = "outputs" if kind == "data" else "quarantine"

    path = published_path(file, JOB, version)
    assert path == f"{tree}/{output}/v{version}/part-{JOB}-{number}-0123456789abcdef.parquet"
    assert part_at(path) == Part(tree, output, version, JOB, number)
    assert published_path(file, JOB, version, PLAIN_PART_NAMES) == path.replace("-0123456789abcdef", "")
    assert part_at(published_path(file, JOB, version, PLAIN_PART_NAMES)) == part_at(path)


def test_parts_of_one_job_and_place_are_one_whatever_they_hold() -> None:
    file, other = staged("data.orders.0.parquet"), staged("data.orders.0.parquet", digest="f" * 64)
    one, two = (part_at(published_path(each, JOB, 3)) for each in (file, other))

    assert one is not None and two is not None
    assert published_path(file, JOB, 3) != published_path(other, JOB, 3)
    assert one.place == two.place == ("outputs", "orders", 0)
    assert PART_NAMES > PLAIN_PART_NAMES


@pytest.mark.parametrize(
    "path",
    [
        "",
        "outputs/orders/v1/part-aa-0.parquet/x",
        "outputs/orders/v1/part-aa-0.csv",
        "outputs/orders/v1/part-aa-0.parquet\n",
        "outputs/Orders/v1/part-aa-0.parquet",
        "outputs/orders/1/part-aa-0.parquet",
        "outputs/orders/v/part-aa-0.parquet",
        "outputs/orders/v1/part-AA-0.parquet",
        "outputs/orders/v1/part-aa-.parquet",
        "outputs/orders/v1/part-aa-0-0123.parquet",
        "blobs/orders/v1/part-aa-0.parquet",
        "/outputs/orders/v1/part-aa-0.parquet",
        "outputs/../orders/v1/part-aa-0.parquet",
    ],
)
def test_any_other_file_is_no_part(path: str) -> None:
    assert part_at(path) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "data",
        "data.orders.parquet",
        "data.Orders.0.parquet",
        "data.orders.x.parquet",
        "data.orders.123456.parquet",
        "data.orders.0.parquet\n",
        "data.orders.0.parquet.x",
        "data/orders.0.parquet",
        "../data.orders.0.parquet",
        "rejects.orders.0.parquet",
        "changes.arrow.x",
        "data." + "a" * 200 + ".0.parquet",
    ],
)
def test_a_file_with_another_name_is_never_staged(name: str) -> None:
    with pytest.raises(ValidationError):
        staged(name, kind="data")


def test_what_a_scan_found_is_never_published() -> None:
    with pytest.raises(ValueError, match=r"'changes\.arrow' is not a publishable file"):
        published_path(staged("changes.arrow"), JOB, 1)


@pytest.mark.parametrize(
    "more",
    [
        {"rows": -1},
        {"bytes": -1},
        {"rows": COUNT_MAX + 1},
        {"digest": ""},
        {"digest": DIGEST.upper()},
        {"kind": "other"},
    ],
)
def test_a_staged_file_has_counts_and_a_digest(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        staged("data.orders.0.parquet", **more)


# --- sums


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), max_size=5),
    st.dictionaries(st.text(max_size=5), st.integers(0, 99), max_size=4),
)
def test_a_manifest_adds_its_outputs_up(rows: list[tuple[int, int]], skipped: dict[str, int]) -> None:
    outputs = {
        f"o{number}": account(received=valid + bad, valid=valid, quarantined=bad)
        for number, (valid, bad) in enumerate(rows)
    }
    manifest = Manifest(outputs=outputs, skipped=skipped)

    assert manifest.valid_rows == sum(valid for valid, _ in rows)
    assert manifest.quarantined_rows == sum(bad for _, bad in rows)
    assert manifest.skipped_records == sum(skipped.values())
    assert Manifest.model_validate(manifest.model_dump()) == manifest


HALF = COUNT_MAX // 2 + 1


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"outputs": {"a": account(received=HALF), "b": account(received=HALF)}}, "rows received add up"),
        ({"outputs": {"a": account(valid=HALF, quarantined=HALF)}}, "rows add up"),
        (
            {"outputs": {name: account(rows_without_source_row=HALF) for name in "ab"}},
            "rows without a source row add up",
        ),
        ({"files": [staged(f"data.a.{n}.parquet", rows=HALF) for n in range(2)]}, "rows in files add up"),
        ({"files": [staged(f"data.a.{n}.parquet", bytes=HALF) for n in range(2)]}, "bytes in files add up"),
        ({"skipped": {"blank": HALF, "comment": HALF}}, "skipped records add up"),
        ({"records": RecordAccounting(bytes_given=HALF, bytes_skipped=HALF)}, "bytes accounted for add up"),
    ],
)
def test_counts_that_no_table_could_add_up_are_refused(manifest: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Manifest.model_validate(manifest)

    assert f"{words} to more than {COUNT_MAX:,}" in str(refused.value)


@pytest.mark.parametrize("name", ["Orders", "", "or-ders", "a" * 64])
def test_an_output_in_a_manifest_has_an_outputs_name(name: str) -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate({"outputs": {name: account()}})


def test_a_manifest_of_before_every_kind_had_facts_is_read() -> None:
    facts: dict[str, int | bool | str | list[str]] = {"new": 3, "complete": True}

    assert Manifest.model_validate({"scan": facts, "total_seconds": 1.5}) == Manifest(facts=facts, total_seconds=1.5)
    assert from_map(Manifest, {"scan": facts}) == Manifest(facts=facts)


def test_a_newer_worker_may_say_more() -> None:
    assert Manifest.model_validate({"from_the_future": 1, "source_bytes": 3}) == Manifest(source_bytes=3)


# --- how an account is told


@pytest.mark.parametrize(
    ("records", "lines", "gap"),
    [
        (RecordAccounting(), ["records: not counted, the parser reads the file itself"], ""),
        (
            RecordAccounting(is_counted=True, given=1000),
            ["records: 1,000 returned by the reader, all accounted for"],
            "",
        ),
        (
            RecordAccounting(is_counted=True, given=10, bytes_total=2000, bytes_given=1950, bytes_skipped=50),
            [
                "records: 10 returned by the reader, all accounted for",
                "bytes: 2,000 of 2,000 read, 50 of them skipped",
            ],
            "",
        ),
        (
            RecordAccounting(is_counted=True, given=10, unaccounted=1, first_rows=[7]),
            ["records: 10 returned by the reader, 1 of them dropped"],
            "1 of 10 records that the reader returned became no row, no rejected row and no declared skip (line 7)",
        ),
        (
            RecordAccounting(is_counted=True, given=9000, unaccounted=3000, first_rows=[7, 1200]),
            ["records: 9,000 returned by the reader, 3,000 of them dropped"],
            "3,000 of 9,000 records that the reader returned became no row, no rejected row and no declared skip "
            "(lines 7, 1,200, …)",
        ),
        (
            RecordAccounting(is_counted=True, given=5, skipped_beyond=2),
            ["records: 5 returned by the reader, 2 more declared skipped than there were"],
            "the parser declared 2 more skipped records than the reader returned without a row",
        ),
        (
            RecordAccounting(is_counted=True, given=5, unaccounted=2, bytes_total=900, bytes_unread=100, is_cut=True),
            ["records: 5 returned by the reader, 2 of them dropped"],
            "2 of 5 records that the reader returned became no row, no rejected row and no declared skip; the parser stopped "
            "reading before the last 100 of 900 bytes; the parser stopped reading before the end of the input",
        ),
        (
            RecordAccounting(is_counted=True, is_nothing=True, bytes_total=4096),
            ["records: 0 returned by the reader, all accounted for"],
            "the input has 4,096 bytes, but produced no row, no rejected row and no declared skip",
        ),
    ],
)
def test_an_account_is_described_in_lines_and_its_gap_in_a_sentence(
    records: RecordAccounting, lines: list[str], gap: str
) -> None:
    assert records.lines() == lines
    assert records.gap == gap


def test_no_more_than_ten_lines_are_named() -> None:
    with pytest.raises(ValidationError):
        RecordAccounting(first_rows=list(range(11)))
