"""Pages of files: however they are asked for, they are the list that one question without a page gives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_protocol.queries.files import (
    FileFilter,
    FileIds,
    FilePage,
    FilePaged,
    FilePaths,
    FileTotals,
    IndexedFile,
    KnownFiles,
    PageStart,
)
from casparian_sentinel.projection.store import Projection

_FILES = """
insert into scout_files by name
select 'f' || lpad(i::varchar, 3, '0') as id, '/data/' || rel_path as path, rel_path, i as size,
    case when i % 7 = 0 then 'vanished' else 'tagged' end as status
from (select i, chr((97 + i % 5)::integer) || '/' || (i // 10) || '.csv' as rel_path from range(90) t(i))
"""
_TAGS = "insert into scout_file_tags by name select id as file_id, 'orders' as tag from scout_files where size % 3 = 0"
_FILTERS = st.sampled_from(
    [
        FileFilter(),
        FileFilter(tag="orders"),
        FileFilter(contains="B/"),
        FileFilter(status="vanished"),
        FileFilter(ends_with="3.csv"),
    ]
)
_LIMITS = st.integers(1, 30)


@pytest.fixture(scope="module")
def projection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Projection]:
    """Several files have one path, as when a file came back under another id."""
    with Projection(tmp_path_factory.mktemp("paging") / "state.duckdb", lambda _digest: b"", "boot") as made:
        made._db.execute(_FILES)
        made._db.execute(_TAGS)
        yield made


def keys(projection: Projection, filter_: FileFilter) -> list[tuple[str, str]]:
    return [(row["path"], row["id"]) for row in projection.ask(FileIds(filter_))]


@settings(max_examples=10)
@given(filter_=_FILTERS, limit=_LIMITS)
def test_pages_one_after_the_other_are_the_whole_list(projection: Projection, filter_: FileFilter, limit: int) -> None:
    found: list[tuple[str, str]] = []
    page = projection.ask(FilePage(filter_, limit))
    while page:
        found += [(row["path"], row["id"]) for row in page]
        page = projection.ask(FilePage(filter_, limit, "after", page[-1]["path"], page[-1]["id"]))
    assert found == keys(projection, filter_)


@settings(max_examples=10)
@given(filter_=_FILTERS, limit=_LIMITS, place=st.integers(0, 89), is_descending=st.booleans())
def test_a_page_around_a_key_is_the_part_of_the_list_around_it(
    projection: Projection, filter_: FileFilter, limit: int, place: int, is_descending: bool
) -> None:
    listed = keys(projection, filter_)
    path, id_ = keys(projection, FileFilter(status="tagged"))[place % 77]
    parts: dict[PageStart, list[tuple[str, str]]] = {
        "after": [key for key in listed if key > (path, id_)],
        "from": [key for key in listed if key >= (path, id_)],
        "before": [key for key in listed if key < (path, id_)],
        "all": listed,
    }
    for where, part in parts.items():
        page: list[FilePaged] = projection.ask(FilePage(filter_, limit, where, path, id_, is_descending))
        expected = part[::-1][:limit] if is_descending else part[:limit]
        assert [(row["path"], row["id"]) for row in page] == expected, where
    (total,) = projection.ask(FileTotals(filter_, path, id_))
    assert (total["files"], total["before"]) == (len(listed), len(parts["before"]))
    paths = projection.ask(FilePaths(filter_, limit, path, id_))
    assert [(row["path"], row["id"]) for row in paths] == parts["after"][:limit]


@settings(max_examples=10)
@given(limit=_LIMITS, is_gone=st.sampled_from([None, False, True]))
def test_pages_of_what_a_scan_compares_are_the_whole_index_below_its_root(
    projection: Projection, limit: int, is_gone: bool | None
) -> None:
    whole = projection.ask(KnownFiles("/data/b", is_gone=is_gone))
    found: list[IndexedFile] = []
    key = ("", "")
    while page := projection.ask(KnownFiles("/data/b", is_gone, *key, limit)):
        found += page
        key = page[-1]["path"], page[-1]["id"]
    assert found == whole


def test_a_file_of_a_page_costs_the_same_however_many_files_have_tags(tmp_path: Path) -> None:
    files = "select 'f' || i as id, '/d/' || lpad(i::varchar, 8, '0') as path, 't' || i as rel_path, 'tagged' as status"
    with Projection(tmp_path / "state.duckdb", lambda _digest: b"", "boot") as tables:
        spent, first = [], 0
        for count in (6_000, 60_000):
            tables._db.execute(f"insert into scout_files by name {files} from range({first}, {count}) t(i)")
            tags = f"select 'f' || i as file_id, 'x' as tag from range({first}, {count}) t(i)"
            tables._db.execute(f"insert into scout_file_tags by name {tags}")
            first = count
            tables.table(KnownFiles("/d", False, "", "", 3_000))  # once beforehand: the first time reads more
            began, seen, key = time.thread_time(), 0, ("", "")
            while (page := tables.table(KnownFiles("/d", False, *key, 3_000))).num_rows:
                seen += page.num_rows
                key = page.column("path")[-1].as_py(), page.column("id")[-1].as_py()
            spent.append((time.thread_time() - began) / seen)
            assert seen == count
        assert spent[1] < 2.5 * spent[0]  # 5 times as much when each page listed the tags of all files
