"""What the walk finds, passes by and reports."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_worker.discovery.files import (
    CacheKey,
    InputChanged,
    RootUnreadable,
    WalkCounts,
    WalkOptions,
    hash_file,
    names_text,
    path_os,
    path_text,
    walk,
)


def found(root: Path, **options: object) -> tuple[list[str], WalkCounts]:
    counts = WalkCounts()
    paths = [
        each.directory + name
        for each in walk(str(root), WalkOptions(**options), counts)  # type: ignore[arg-type]
        for name in each.names
    ]
    return paths, counts


def put(root: Path, *names: str, text: str = "") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_the_order_is_the_same_every_time(tmp_path: Path) -> None:
    put(tmp_path, "b/z", "b/a", "a/1/x", "a/2", "c", "B")

    assert found(tmp_path)[0] == ["B", "c", "a/2", "a/1/x", "b/a", "b/z"]


def test_evidence_is_not_hidden_but_clutter_is_counted(tmp_path: Path) -> None:
    put(tmp_path, ".gitignore", text="*.log\n")
    put(tmp_path, "a.log", ".git/config", "sub/node_modules/x", "sub/.env")

    paths, counts = found(tmp_path)

    assert paths == [".gitignore", "a.log", "sub/.env"]
    assert counts.excluded == 2


def test_gitignore_holds_only_on_request_and_nested_ones_decide(tmp_path: Path) -> None:
    put(tmp_path, ".gitignore", text="*.log\nbuild/\n")
    put(tmp_path, "keep/.gitignore", text="!important.log\n")
    put(tmp_path, "a.log", "a.csv", "build/x", "keep/important.log", "keep/other.log")

    assert found(tmp_path, gitignore=True)[0] == [".gitignore", "a.csv", "keep/.gitignore", "keep/important.log"]


def test_excludes_and_patterns_are_globs(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "tmp/b.csv", "x/tmp/c.csv", "x/d.txt", "x/deep/e.csv")

    assert found(tmp_path, excludes=["tmp/"], patterns=["*.csv"])[0] == ["a.csv", "x/deep/e.csv"]
    assert found(tmp_path, excludes=["x/*.txt", "x/deep"])[0] == ["a.csv", "tmp/b.csv", "x/tmp/c.csv"]


def test_symlinks_and_special_files_are_passed_by(tmp_path: Path) -> None:
    put(tmp_path, "real/a")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "real/a")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
        paths, counts = found(tmp_path)

    assert paths == ["real/a"]
    assert (counts.symlinks, counts.pipes, counts.sockets, counts.devices, counts.special) == (3, 1, 1, 0, 2)


def test_a_root_that_is_a_link_is_followed(tmp_path: Path) -> None:
    put(tmp_path, "real/a")
    (tmp_path / "link").symlink_to(tmp_path / "real")

    assert found(tmp_path / "link")[0] == ["a"]


def test_what_cannot_be_scanned_says_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "missing"):
        with pytest.raises(RootUnreadable):
            found(tmp_path / name)


def test_a_path_beyond_the_system_limit_is_listed_not_fatal(tmp_path: Path) -> None:
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(20):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
        Path("deepest").touch()
    finally:
        os.chdir(here)

    paths, counts = found(tmp_path)

    assert paths == []
    assert counts.unreadable_count == 1
    assert counts.unreadable[0].reason == "File name too long"


NAMES = st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name and b"/" not in name)


@given(NAMES | st.sampled_from([b"\\x5c", b"\\xe9", b"\\x5cxe9", b"\\\\xe9\xe9", b"\xe9\\xe9"]))
def test_every_name_has_a_text_that_leads_back(name: bytes) -> None:
    given_name = os.fsdecode(name)
    text = path_text(given_name)

    assert os.fsencode(path_os(text)) == name
    text.encode()
    assert names_text([given_name]) == [text]


@given(st.lists(NAMES, unique=True, max_size=8))
def test_two_names_never_share_a_text(names: list[bytes]) -> None:
    assert len({path_text(os.fsdecode(name)) for name in names}) == len(names)


def test_a_file_that_is_not_the_expected_one_has_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(os.urandom(3 << 20))
    digest = hash_file(str(path))

    assert hash_file(str(path), digest.key) == digest
    with pytest.raises(InputChanged):
        hash_file(str(path), CacheKey(0, 0, 0, 0))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        hash_file(str(tmp_path / "pipe"))
