"""What is cut to fit an event: it always fits, its totals are those of the whole, and what is left out is counted."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_protocol.events import JobFailed, QuarantineCount
from casparian_protocol.events.packing import MAX_EVENT_BYTES, fact_of, pack_event
from casparian_protocol.jobs import JobError, Manifest, OutputAccounting, StagedFile, ViolationCount
from casparian_protocol.packing import pack
from casparian_sentinel.core.manifests import (
    ERROR_BESIDE_MANIFEST_BYTES,
    MANIFEST_IN_EVENT_BYTES,
    cut,
    fitted,
    fitting,
    fitting_map,
    needs_blob,
    quarantine_of,
)

JOB = "a" * 16
TEXTS = st.text(max_size=60)
#: As long as a model lets a text be, in characters that take the most bytes.
WIDE = "\U0001f4a5"


def staged(number: int, kind: str = "quarantine", output: str = "orders", rows: int = 1) -> StagedFile:
    name = f"{kind}.{output}.{number}.parquet"
    return StagedFile.model_validate(
        {"name": name, "kind": kind, "output": output, "rows": rows, "bytes": 1, "digest": "0" * 64}
    )


def manifest(files: int, violations: list[ViolationCount], output: str = "orders") -> Manifest:
    rows = sum(one.rows for one in violations)
    counts = OutputAccounting(status="partial_success", received=rows, valid=0, quarantined=rows, violations=violations)
    return Manifest(files=[staged(number, output=output) for number in range(files)], outputs={output: counts})


def bytes_in_the_log(event: object) -> int:
    return len(pack_event(fact_of(2**53, event, "worker:" + "w" * 64)))  # type: ignore[arg-type]


@given(st.lists(TEXTS, max_size=20), st.integers(0, 200), st.integers(0, 20))
def test_the_first_items_that_fit_are_taken_and_no_more(items: list[str], room_bytes: int, limit: int) -> None:
    taken = fitting(items, room_bytes=room_bytes, limit=limit)

    assert taken == items[: len(taken)]
    assert sum(len(pack(item)) for item in taken) <= room_bytes
    is_full = len(taken) == min(limit, len(items))
    assert is_full or sum(len(pack(item)) for item in items[: len(taken) + 1]) > room_bytes


@given(st.text(max_size=80), st.integers(3, 60))
def test_a_cut_text_fits_and_says_that_it_is_cut(text: str, room_bytes: int) -> None:
    short = cut(text, room_bytes)

    assert len(short.encode("utf-8", "replace")) <= max(room_bytes, 3)
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


@given(st.dictionaries(st.text(max_size=200), st.text(max_size=400) | st.integers(-9, 9) | st.none(), max_size=24))
def test_a_context_keeps_its_first_entries_within_its_room(values: dict[str, str | int | None]) -> None:
    kept = fitting_map(values, room_bytes=1024)

    assert sum(len(pack((name, value))) for name, value in kept.items()) <= 1024
    assert len(kept) <= len(values)


@settings(deadline=None)
@given(
    st.integers(0, 80),
    st.lists(st.tuples(st.text(max_size=64), st.text(max_size=100), st.integers(0, 10**9)), max_size=120),
    st.booleans(),
)
def test_what_was_set_aside_fits_an_event_and_its_totals_are_exact(
    files: int, told: list[tuple[str, str, int]], is_committed: bool
) -> None:
    violations = [ViolationCount(code=code, column=column, rows=rows) for code, column, rows in told]
    whole = manifest(files, violations, output="o" + "x" * 62)

    event = quarantine_of(whole, JOB, "o" + "x" * 62, 2**31 - 1, is_committed)

    assert bytes_in_the_log(event) <= MAX_EVENT_BYTES
    assert (event.rows, len(event.files) + event.files_left_out) == (files, files)
    assert len(event.counts) + event.left_out == len(violations)
    assert sum(one.rows for one in event.counts) + event.left_out_rows == sum(rows for _, _, rows in told)
    assert [one.rows for one in event.counts] == sorted((rows for _, _, rows in told), reverse=True)[
        : len(event.counts)
    ]


def test_rows_that_were_set_aside_are_named_where_they_lie() -> None:
    one = manifest(1, [ViolationCount(code="type_mismatch", column="qty", rows=3)])

    committed, failed = (quarantine_of(one, JOB, "orders", 2, is_committed) for is_committed in (True, False))

    assert committed.counts == failed.counts == (QuarantineCount("type_mismatch", "qty", 3),)
    assert committed.files[0].startswith(f"quarantine/orders/v2/part-{JOB}-0-")
    assert failed.files == (f"quarantine/_uncommitted/{JOB}/quarantine.orders.0.parquet",)


def test_only_quarantine_of_the_output_is_named() -> None:
    files = [staged(0), staged(0, output="trades"), staged(0, kind="data")]

    event = quarantine_of(Manifest(files=files), JOB, "orders", 1, is_committed=False)

    assert event.files == (f"quarantine/_uncommitted/{JOB}/quarantine.orders.0.parquet",)


def the_longest_error() -> JobError:
    return JobError(
        code="INVALID_DATA",
        exception=WIDE * 256,
        message=WIDE * 2048,
        trace=WIDE * 4096,
        context={f"{number}{WIDE * 60}": WIDE * 1024 for number in range(24)},
        fingerprint="f" * 16,
    )


def test_the_longest_error_fits_an_event_and_counts_what_it_left_out() -> None:
    longest = the_longest_error()
    short = fitted(longest)

    assert bytes_in_the_log(JobFailed(job_id=JOB, epoch=2**53, error=short)) <= MAX_EVENT_BYTES
    assert len(short.context) + short.left_out == len(longest.context)
    assert (short.code, short.fingerprint, short.origin) == (longest.code, longest.fingerprint, longest.origin)
    assert short.message.endswith("…") and short.trace.endswith("…")


def test_an_error_that_fits_is_kept_as_it_is() -> None:
    error = JobError(code="INVALID_DATA", message="column qty", context={"line": 3})

    assert fitted(error) is error


def test_the_longest_error_fits_beside_the_largest_manifest_that_needs_no_blob() -> None:
    files = 1
    while not needs_blob(Manifest(files=[staged(number) for number in range(files + 1)])):
        files += 1
    largest = Manifest(files=[staged(number) for number in range(files)])

    event = JobFailed(
        job_id=JOB,
        epoch=2**53,
        error=fitted(the_longest_error(), ERROR_BESIDE_MANIFEST_BYTES),
        uncommitted=largest,
        tells_when_kept=True,
    )

    assert files > 12
    assert bytes_in_the_log(event) <= MAX_EVENT_BYTES


def test_a_manifest_is_measured_once_it_might_be_too_large() -> None:
    assert not needs_blob(Manifest(files=[staged(number) for number in range(12)]))
    assert not needs_blob(Manifest(facts={"lines": 3}))
    assert needs_blob(Manifest(facts={"names": ["x" * 4000] * 3}))
    assert needs_blob(
        Manifest(skipped={"x" * 200 + str(number): 1 for number in range(MANIFEST_IN_EVENT_BYTES // 200)})
    )
