"""Trees of any shape are measured as they are, and removed whole without touching what lies outside."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_protocol.trees import measure_tree, open_directory, remove_if_unused, remove_scratch, remove_tree

NAMES = st.sampled_from(["a", "b", ".c", "d e", "é", "-rf", "*", "a\nb"])
#: A tree: a directory as a map, a file as its bytes, a link as its target.
TREES = st.recursive(
    st.dictionaries(NAMES, st.binary(max_size=8) | st.sampled_from(["../outside", "a", "/nowhere"]), max_size=3),
    lambda inner: st.dictionaries(NAMES, inner | st.binary(max_size=8), max_size=3),
    max_leaves=8,
)
Tree = dict[str, object]


def make(root: Path, tree: Tree, mode: int = 0o700) -> None:
    root.mkdir()
    for name, content in tree.items():
        path = root / name
        if isinstance(content, dict):
            make(path, content, mode)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.symlink_to(str(content))
    root.chmod(mode)


def count(tree: Tree) -> tuple[int, int]:
    """Entries, and bytes in regular files."""
    entries = size = 0
    for content in tree.values():
        entries += 1
        if isinstance(content, dict):
            inner, inner_size = count(content)
            entries, size = entries + inner, size + inner_size
        elif isinstance(content, bytes):
            size += len(content)
    return entries, size


@settings(max_examples=60, deadline=None)
@given(TREES, st.sampled_from([0o700, 0o000, 0o500]))
def test_any_tree_is_measured_and_removed_and_nothing_else(tree: Tree, mode: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        outside, root = Path(place) / "outside", Path(place) / "tree"
        outside.mkdir()
        (outside / "kept").write_bytes(b"kept")
        outside.chmod(0o755)
        make(root, tree, mode)
        seen: list[os.stat_result] = []
        measure_tree(root, seen.append)
        if mode == 0o700 or os.getuid() == 0:
            sizes = sum(each.st_size for each in seen if stat.S_ISREG(each.st_mode))
            assert (len(seen), sizes) == count(tree)

        remove_tree(root)
        assert not root.exists()
        assert (outside / "kept").read_bytes() == b"kept"
        assert stat.S_IMODE(outside.stat().st_mode) == 0o755


def test_what_is_not_there_is_the_systems_error_and_no_trouble_for_scratch(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        remove_tree(tmp_path / "absent")
    remove_scratch(tmp_path / "absent")
    assert not remove_if_unused(tmp_path / "absent")
    measure_tree(tmp_path / "absent", lambda status: pytest.fail("nothing is there"))


def test_a_file_in_the_place_of_a_directory_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")

    with pytest.raises(NotADirectoryError):
        remove_tree(path)
    with pytest.raises(NotADirectoryError):
        open_directory(path)
    assert not remove_if_unused(path)
    assert path.read_bytes() == b"x"


def test_a_directory_that_a_living_worker_holds_is_left_alone(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    make(scratch, {"a": b"x"})
    held = open_directory(scratch)
    try:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert not remove_if_unused(scratch)
        assert (scratch / "a").exists()
    finally:
        os.close(held)

    assert remove_if_unused(scratch)
    assert not scratch.exists()


def test_what_cannot_be_removed_is_reported_and_the_rest_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scratch = tmp_path / "scratch"
    make(scratch, {"stuck": b"x", "free": b"y", "deep": {"free": b"z"}})
    unlink = os.unlink

    def stubborn(path: str, *, dir_fd: int | None = None) -> None:
        if path == "stuck":
            raise PermissionError(1, "not permitted", path)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr("casparian_protocol.trees.os.unlink", stubborn)
    remove_scratch(scratch)

    assert [path.name for path in scratch.iterdir()] == ["stuck"]
    assert "The scratch directory scratch could not be removed completely" in caplog.text
    with pytest.raises(PermissionError):
        remove_tree(scratch)
