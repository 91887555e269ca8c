"""Staged files: where they are, what they hold, and what a full disk does."""

import os
import queue
import resource
import tempfile
import threading
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_protocol.jobs import StagedFile
from casparian_worker.execute.outputs import Lineage
from casparian_worker.sinks import StagedParquet, WriterSettings, size_of
from casparian_worker.slots import Syncer
from casparian_worker.staging import IN_MEMORY_BYTES, RealDisk, StagingDirectory, remove_attempt, sync_together

JOB = "0123456789abcdef"


def numbers(start: int, count: int) -> pa.RecordBatch:
    return pa.record_batch({"n": pa.array(range(start, start + count), pa.int64())})


def test_row_groups_are_bounded_and_digests_are_those_of_the_files(tmp_path: Path) -> None:
    directory = StagingDirectory(tmp_path, JOB, 1)
    writer = StagedParquet(directory, "out", "data", WriterSettings(row_group_rows=5000))
    for start in range(0, 20_000, 400):
        writer.write(numbers(start, 400))
    (file,) = writer.close()
    assert sync_together([directory]) == [None]
    path = directory.path(file.name)
    assert (blake3(path.read_bytes()).hexdigest(), path.stat().st_size) == (file.digest, file.bytes)
    parquet = pq.ParquetFile(path)
    assert row_groups(path) == [8192, 8192, 3616]
    assert parquet.read()["n"].to_pylist() == list(range(20_000))


def row_groups(path: Path) -> list[int]:
    metadata = pq.ParquetFile(path).metadata
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


ROWS = pa.record_batch(
    {
        "n": pa.array(range(30_000), pa.int64()),
        "word": pa.array([None if number % 7 == 0 else f"word {number % 501}" for number in range(30_000)]),
        "many": pa.array([f"{number * 7919 % 30_000:040d}" for number in range(30_000)]),
    }
)


def digest_of(folder: Path, cuts: list[int]) -> tuple[str, list[int]]:
    """Of the file that these rows make when they come cut at these places; and its row groups."""
    directory = StagingDirectory(folder, JOB, 1)
    writer = StagedParquet(directory, "out", "data", WriterSettings(row_group_rows=20_000, row_group_bytes=900_000))
    for start, end in pairwise([0, *sorted(cuts), ROWS.num_rows]):
        writer.write(ROWS.slice(start, end - start))
    (file,) = writer.close()
    assert sync_together([directory]) == [None]
    found = row_groups(directory.path(file.name))
    directory.remove()
    return file.digest, found


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, ROWS.num_rows), max_size=80))
def test_the_same_rows_give_the_same_bytes_in_whatever_batches_they_come(cuts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole = digest_of(Path(folder), [])
        assert whole[1] == [16_384, 13_616]
        assert digest_of(Path(folder), cuts) == whole


def test_a_batch_of_one_row_at_a_time_is_kept_in_few_pieces(tmp_path: Path) -> None:
    writer = StagedParquet(StagingDirectory(tmp_path, JOB, 1), "out", "data", WriterSettings())
    for number in range(5000):
        writer.write(ROWS.slice(number, 1))
        assert len(writer._loose) <= 64
    (file,) = writer.close()
    assert file.rows == 5000


def test_rows_larger_than_a_block_may_wait_for_are_written(tmp_path: Path) -> None:
    directory = StagingDirectory(tmp_path, JOB, 1)
    writer = StagedParquet(directory, "out", "data", WriterSettings(row_group_bytes=400_000))
    for number in range(10):
        writer.write(pa.record_batch({"text": [str(number) * 60_000]}))
    (file,) = writer.close()
    assert sync_together([directory]) == [None]
    assert row_groups(directory.path(file.name)) == [7, 3]


#: Seven columns that come one after another, between the contract's two and Casparian's own.
def widening(rows: int) -> list[pa.RecordBatch]:
    return [
        pa.record_batch(
            {
                "n": pa.array([number], pa.int64()),
                "word": pa.array([None if number % 5 else f"word {number}"], pa.string()),
                **{name: [f"{name}{number}"] for name in "hgfedcba"[: number * 8 // rows] if number % 3},
                "_cf_violations": pa.array(
                    [[{"code": "x"}] * (number % 3)], pa.list_(pa.struct([("code", pa.string())]))
                ),
                "_cf_raw": ["raw " * (number % 50)],
            }
        )
        for number in range(rows)
    ]


WIDENING = widening(6000)


def joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """As if the guest had sent them at once."""
    if len({tuple(batch.schema.names) for batch in batches}) == 1:
        return pa.concat_batches(batches)
    table = pa.concat_tables([pa.Table.from_batches([batch]) for batch in batches], promote_options="default")
    names = ["n", "word", *sorted(set(table.column_names) & set("abcdefgh")), "_cf_violations", "_cf_raw"]
    (batch,) = table.select(names).combine_chunks().to_batches()
    return batch


@pytest.mark.parametrize("cuts", [[], [100, 101, 4096], [1000, 3000, 3001, 5999], list(range(0, 6000, 70))])
def test_a_column_that_comes_late_is_null_before_and_the_file_is_the_same_wherever_batches_are_cut(
    cuts: list[int], tmp_path: Path
) -> None:
    settings = WriterSettings(columns=2, row_group_rows=4096, row_group_bytes=200_000, metadata={"cf.parser": "p 1"})

    def staged(folder: str, cuts: list[int]) -> tuple[list[StagedFile], Path]:
        (tmp_path / folder).mkdir()
        directory = StagingDirectory(tmp_path / folder, JOB, 1)
        writer = StagedParquet(directory, "out", "quarantine", settings)
        for start, end in pairwise([0, *cuts, 6000]):
            if start < end:
                writer.write(joined(WIDENING[start:end]))
        files = writer.close()
        assert sync_together([directory]) == [None]
        return files, directory.path(files[0].name)

    (whole,), path = staged("whole", [])
    assert [file.digest for file in staged("cut", cuts)[0]] == [whole.digest]
    table = pq.ParquetFile(path).read()
    assert table.column_names == ["n", "word", *"bcdefgh", "_cf_violations", "_cf_raw"]
    assert (whole.name, whole.rows, os.listdir(tmp_path / "cut")) == (
        "quarantine.out.0.parquet",
        6000,
        [f"{JOB}.1.quarantine.out.0.parquet"],
    )
    expected = [dict.fromkeys(table.column_names) | batch.to_pylist()[0] for batch in WIDENING]
    assert table.to_pylist() == expected


LARGE = pa.record_batch(
    {
        "n": pa.array(range(300), pa.int64()),
        "texts": pa.array([[f"{number}" * (number * 37 % 900), None] if number % 4 else None for number in range(300)]),
        "is": pa.array([number % 3 == 0 for number in range(300)]),
        "pair": pa.array([{"a": "x" * (number * 91 % 500), "b": number} for number in range(300)]),
    }
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, LARGE.num_rows), max_size=40))
def test_rows_that_cannot_wait_for_a_block_end_row_groups_by_their_size_alone(cuts: list[int]) -> None:
    def groups(folder: str, cuts: list[int]) -> tuple[str, list[int]]:
        directory = StagingDirectory(Path(folder), JOB, 1)
        writer = StagedParquet(directory, "out", "data", WriterSettings(row_group_bytes=50_000))
        for start, end in pairwise([0, *sorted(cuts), LARGE.num_rows]):
            writer.write(LARGE.slice(start, end - start))
        (file,) = writer.close()
        assert sync_together([directory]) == [None]
        found = row_groups(directory.path(file.name))
        directory.remove()
        return file.digest, found

    with tempfile.TemporaryDirectory() as folder:
        whole = groups(folder, [])
        assert len(whole[1]) > 3
        assert groups(folder, cuts) == whole


def test_only_texts_that_come_again_have_a_dictionary(tmp_path: Path) -> None:
    directory = StagingDirectory(tmp_path, JOB, 1)
    writer = StagedParquet(directory, "out", "data", WriterSettings())
    count = 10_000
    columns = {
        "id": [f"order {number}" for number in range(count)],
        "side": ["BUY" if number % 3 else None for number in range(count)],
        "account": [f"A{number * 7919 % 1_000}" for number in range(count)],
        "none": [None] * count,
    }
    writer.write(pa.record_batch({name: pa.array(values, pa.string()) for name, values in columns.items()}))
    (file,) = writer.close()
    assert sync_together([directory]) == [None]
    parquet = pq.ParquetFile(directory.path(file.name))
    group = parquet.metadata.row_group(0)
    chunks = [group.column(place) for place in range(group.num_columns)]
    with_dictionary = {each.path_in_schema for each in chunks if each.has_dictionary_page}
    assert with_dictionary == {"side", "account", "none"}
    assert parquet.read().to_pydict() == columns


#: Far apart, near the limits, and NULL.
NUMBERS = [0, -1, 2**63 - 1, -(2**63), None, 10**17, 1, 1, -(10**17)] * 700
OF_INTEGERS = {
    "n": (NUMBERS, pa.int64()),
    "n.x": (NUMBERS, pa.int64()),
    "day": ([number and number % 2_932_897 - 719_162 for number in NUMBERS], pa.int32(), pa.date32()),
    "at": ([number and number % 10**16 for number in NUMBERS], pa.int64(), pa.timestamp("us", "UTC")),
    "clock": ([number and number % 86_400_000_000 for number in NUMBERS], pa.int64(), pa.time64("us")),
    "took": (NUMBERS, pa.int64(), pa.duration("us")),
    "short": ([number and Decimal(number % 10**4).scaleb(-2) for number in NUMBERS], pa.decimal128(4, 2)),
    "money": ([number and Decimal(number % 10**18).scaleb(-4) for number in NUMBERS], pa.decimal128(18, 4)),
    "long": ([number and Decimal(number).scaleb(-4) for number in NUMBERS], pa.decimal128(19, 4)),
    "listed": ([[number] for number in NUMBERS], pa.list_(pa.int64())),
}


def test_integers_are_stored_as_differences_and_read_as_they_were(tmp_path: Path) -> None:
    columns = {}
    for name, (values, kind, *views) in OF_INTEGERS.items():
        columns[name] = pa.array(values, kind)
        for view in views:
            columns[name] = columns[name].view(view)
    rows = pa.record_batch(columns)
    directory = StagingDirectory(tmp_path, JOB, 1)
    writer = StagedParquet(directory, "out", "data", WriterSettings(metadata={"cf.parser": "p 1"}))
    writer.write(rows)
    (file,) = writer.close()
    assert sync_together([directory]) == [None]
    path = directory.path(file.name)
    read = pq.ParquetFile(path)
    assert read.read().select([*columns]).to_batches()[0].equals(rows)
    assert read.schema_arrow.metadata == read.schema_arrow.field("n").metadata == {b"cf.parser": b"p 1"}
    group = read.metadata.row_group(0)
    chunks = [group.column(place) for place in range(group.num_columns)]
    as_differences = {each.path_in_schema for each in chunks if "DELTA_BINARY_PACKED" in each.encodings}
    assert as_differences == {*OF_INTEGERS} - {"n.x", "long", "listed"}
    with duckdb.connect() as database:
        found = database.sql(f"set TimeZone = 'UTC'; from read_parquet('{path}')").to_arrow_table()
    for name in {*OF_INTEGERS} - {"took"}:  # DuckDB gives a number
        assert found[name].to_pylist() == rows[name].to_pylist(), name


def test_lineage_that_is_a_dictionary_is_stored_and_read_as_text(tmp_path: Path) -> None:
    """And gives the same bytes, but for the limits of row groups: a file may have been written before."""

    def staged(folder: str, *, has_dictionaries: bool) -> Path:
        (tmp_path / folder).mkdir()
        directory = StagingDirectory(tmp_path / folder, JOB, 1)
        writer = StagedParquet(directory, "out", "data", WriterSettings(metadata={"cf.parser": "p 1"}))
        lineage = Lineage("hash", "job", 17, "1.0", has_dictionaries=has_dictionaries)
        for start in range(0, 6000, 700):
            batch = numbers(start, 700)
            writer.write(lineage.valid(batch, batch["n"], None))
        (file,) = writer.close()
        assert sync_together([directory]) == [None]
        return directory.path(file.name)

    plain, encoded = staged("plain", has_dictionaries=False), staged("encoded", has_dictionaries=True)
    assert encoded.read_bytes() == plain.read_bytes()
    read = pq.ParquetFile(encoded)
    assert read.schema_arrow.field("_cf_source_hash").equals(pa.field("_cf_source_hash", pa.string(), nullable=False))
    assert set(read.read()["_cf_job_id"].to_pylist()) == {"job"}


@given(st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=30)
def test_the_size_of_rows_is_the_sum_of_the_sizes_of_each(start: int, count: int) -> None:
    rows = pa.Table.from_batches([LARGE]).append_column("text", [pa.array([None, "", "é"] * 100)])
    rows = rows.append_column("key", [pa.array([f"{number}" for number in range(300)])])
    assert size_of(rows.slice(start, count)) <= rows.slice(start, count).nbytes  # so that it need not be known
    assert size_of(rows.slice(start, count)) == sum(
        size_of(rows.slice(place, 1)) for place in range(start, min(300, start + count))
    )


def test_a_large_file_leaves_memory_before_it_is_complete(tmp_path: Path) -> None:
    directory = StagingDirectory(tmp_path, JOB, 1)
    writer = StagedParquet(directory, "out", "data", WriterSettings(row_group_rows=10_000, compression="none"))
    rows = 3 * IN_MEMORY_BYTES // 8
    for start in range(0, rows, 10_000):
        writer.write(numbers(start, 10_000).cast(pa.schema([("n", pa.float64())])))
    assert (directory.path("data.out.0.parquet")).stat().st_size > IN_MEMORY_BYTES
    directory.remove()


def test_nobody_elses_directory_or_link_is_written_into(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / "root"
    root.mkdir()
    link = StagingDirectory(tmp_path / "link", JOB, 1)
    link.root.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        link.create("data.out.0.parquet")
    taken = StagingDirectory(root, JOB, 1)
    taken.path("data.out.0.parquet").symlink_to(tmp_path / "elsewhere" / "file")
    mine, again = StagingDirectory(root, JOB, 2), StagingDirectory(root, JOB, 2)
    mine.create("data.out.0.parquet").close()  # nothing was written, and the name is taken
    for directory in (taken, again):
        with pytest.raises(FileExistsError):
            directory.create("data.out.0.parquet").close()
        directory.remove()
    assert len(list(root.iterdir())) == 2
    assert not list((tmp_path / "elsewhere").iterdir())
    mine.remove()


def test_an_abandoned_writer_writes_nothing_more(tmp_path: Path) -> None:
    directory = StagingDirectory(tmp_path, JOB, 1)
    writer = StagedParquet(directory, "out", "data", WriterSettings(row_group_rows=1))
    writer.write(numbers(0, 10))
    directory.remove()
    del writer
    assert not list(tmp_path.iterdir())


def test_a_file_that_the_system_refuses_is_an_os_error(tmp_path: Path) -> None:
    directory = StagingDirectory(tmp_path, JOB, 1)
    writer = StagedParquet(directory, "out", "data", WriterSettings(compression="none"))
    writer.write(numbers(0, 100_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    directory.remove()


def test_a_mistake_while_attempts_are_synced_leaves_no_descriptor_open(tmp_path: Path) -> None:
    class CountingDisk(RealDisk):
        opened = 0

        def open_directory(self, path: Path) -> int:
            self.opened += 1
            return super().open_directory(path)

        def create(self, directory: int, name: str) -> int:
            self.opened += 1
            return super().create(directory, name)

        def close(self, descriptor: int) -> None:
            self.opened -= 1
            super().close(descriptor)

    disk = CountingDisk()
    attempts = [StagingDirectory(tmp_path, JOB, epoch, disk) for epoch in (1, 2)]
    for attempt in attempts:
        attempt.create("changes").write(bytes(IN_MEMORY_BYTES + 1))  # and it is not closed, which is the mistake
    assert disk.opened == 4

    with pytest.raises(AssertionError, match="closed first"):
        sync_together(attempts)
    assert disk.opened == 0


def test_waiting_attempts_are_synced_in_one_group(tmp_path: Path) -> None:
    groups: list[list[tuple[int, Exception | None]]] = []
    is_done = threading.Event()

    def note(group: list[tuple[int, Exception | None]]) -> None:
        groups.append(group)
        if sum(map(len, groups)) == 20:
            is_done.set()

    staged = []
    for epoch in range(20):
        directory = StagingDirectory(tmp_path, JOB, epoch)
        writer = StagedParquet(directory, "out", "data", WriterSettings())
        writer.write(numbers(0, 3))
        writer.close()
        staged.append(directory)
    syncer: Syncer[int] = Syncer(note)
    for epoch, directory in enumerate(staged):
        syncer.sync(epoch, directory)
    assert is_done.wait(20)
    syncer.close()
    assert [epoch for group in groups for epoch, _ in group] == list(range(20))
    assert all(trouble is None for group in groups for _, trouble in group)
    assert len(groups) < 20
    assert len(os.listdir(tmp_path)) == 20


def test_what_cannot_be_synced_is_told_and_the_next_group_is_synced(tmp_path: Path) -> None:
    """A root that cannot be opened (no descriptors left, or gone), and an accident of ours: neither ends the syncer."""
    told: queue.SimpleQueue[tuple[str, Exception | None]] = queue.SimpleQueue()

    def staged(root: Path, *, is_closed: bool = True) -> StagingDirectory:
        root.mkdir()
        directory = StagingDirectory(root, JOB, 1)
        writer = StagedParquet(directory, "out", "data", WriterSettings())
        writer.write(numbers(0, 3))
        if is_closed:
            writer.close()
        else:
            directory.create("data.other.0.parquet")
        return directory

    def note(group: list[tuple[str, Exception | None]]) -> None:
        for each in group:
            told.put(each)

    gone, odd, good = staged(tmp_path / "a"), staged(tmp_path / "b", is_closed=False), staged(tmp_path / "c")
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    syncer: Syncer[str] = Syncer(note)
    answers = []
    for name, directory in (("gone", gone), ("odd", odd), ("good", good)):
        syncer.sync(name, directory)
        answers.append(told.get(timeout=20))
    syncer.close()

    assert [(name, type(trouble)) for name, trouble in answers] == [
        ("gone", FileNotFoundError),
        ("odd", AssertionError),
        ("good", type(None)),
    ]
    odd.close()


def test_an_attempt_begins_while_another_of_its_job_is_removed(tmp_path: Path) -> None:
    is_done = threading.Event()

    def remove_others() -> None:
        while not is_done.is_set():
            remove_attempt(tmp_path, JOB, 0)

    remover = threading.Thread(target=remove_others)
    remover.start()
    try:
        for epoch in range(1, 60):
            directory = StagingDirectory(tmp_path, JOB, epoch)
            directory.create("data.out.0.parquet")
            directory.remove()
    finally:
        is_done.set()
        remover.join()
    assert os.listdir(tmp_path) == []


def test_a_file_that_somebody_made_before_is_neither_used_nor_removed(tmp_path: Path) -> None:
    """Simulation, seed 1534: an attempt that found the files of another one, committed by now, deleted them."""
    first, second = StagingDirectory(tmp_path, JOB, 7), StagingDirectory(tmp_path, JOB, 7)
    writer = StagedParquet(first, "out", "data", WriterSettings())
    writer.write(numbers(0, 3))
    (file,) = writer.close()
    assert sync_together([first]) == [None]
    with pytest.raises(FileExistsError):
        second.create("data.out.0.parquet").close()
    second.remove()
    assert first.path(file.name).is_file()
    first.remove()
    assert not list(tmp_path.iterdir())


def test_attempts_that_may_wait_are_synced_with_the_next_one_that_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casparian_worker.slots.QUICK_GROUP_SECONDS", 60.0)
    groups: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
    syncer: Syncer[int] = Syncer(lambda group: groups.put([owner for owner, _ in group]))
    directories = [StagingDirectory(tmp_path, JOB, epoch) for epoch in range(3)]
    for epoch, directory in enumerate(directories):
        syncer.sync(epoch, directory, may_wait=epoch < 2)
    assert groups.get(timeout=20) == [0, 1, 2]
    syncer.sync(3, StagingDirectory(tmp_path, JOB, 3), may_wait=True)
    syncer.close()
    assert groups.get(timeout=20) == [3], "nothing is left behind at the end"
