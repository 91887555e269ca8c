"""A tree that a stranger made is removed whole, however deep or closed, and nothing outside it is touched."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from casparian_protocol.trees import measure_tree, remove_if_unused, remove_scratch, remove_tree


def deep(root: Path, levels: int) -> None:
    """Directories in each other, a file in each, deeper than any path may be long."""
    root.mkdir()
    here = os.open(root, os.O_RDONLY)
    for number in range(levels):
        os.close(os.open(f"file{number}", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.mkdir("d" * 40, dir_fd=here)
        below = os.open("d" * 40, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def test_a_tree_deeper_than_any_recursion_or_path_is_removed(tmp_path: Path) -> None:
    deep(tmp_path / "tree", 1_100)
    remove_tree(tmp_path / "tree")

    assert list(tmp_path.iterdir()) == []


def test_a_deep_tree_is_measured_to_its_end(tmp_path: Path) -> None:
    deep(tmp_path / "tree", 300)
    seen: list[os.stat_result] = []
    measure_tree(tmp_path / "tree", seen.append)
    remove_tree(tmp_path / "tree")

    assert sum(stat.S_ISREG(each.st_mode) for each in seen) == sum(stat.S_ISDIR(each.st_mode) for each in seen) == 300


def test_links_are_removed_and_what_they_lead_to_keeps_its_content_and_its_mode(tmp_path: Path) -> None:
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    outside.chmod(0o500)
    (tree / "closed").mkdir(parents=True)
    (tree / "to-directory").symlink_to(outside)
    (tree / "closed" / "to-directory").symlink_to(outside)
    (tree / "to-file").symlink_to(outside / "kept")
    (tree / "hard").hardlink_to(outside / "kept")
    (tree / "loop").symlink_to(tree)
    (tree / "to-nothing").symlink_to("nowhere")
    (tree / "closed").chmod(0o000)
    remove_scratch(tree)

    assert not tree.exists()
    assert (outside / "kept").read_text() == "kept"
    assert stat.S_IMODE(outside.stat().st_mode) == 0o500
    outside.chmod(0o700)


def test_a_link_in_the_place_of_a_tree_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir(mode=0o500)
    (tmp_path / "tree").symlink_to(tmp_path / "outside")

    assert not remove_if_unused(tmp_path / "tree")
    with pytest.raises(OSError, match="tree"):
        remove_tree(tmp_path / "tree")
    assert stat.S_IMODE((tmp_path / "outside").stat().st_mode) == 0o500


def test_anything_that_is_not_a_file_is_removed_too_whatever_its_name(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / ("x" * 255)).mkdir(parents=True)
    os.mkfifo(tree / "pipe")
    here = Path.cwd()
    os.chdir(tree)
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind("socket")
    finally:
        os.chdir(here)
    os.mkdir(os.fsencode(tree) + b"/\xff\n\x1b")
    (tree / "-rf").write_text("")
    remove_tree(tree)

    assert not tree.exists()


def as_nobody(place: Path, action: Callable[[], None]) -> None:
    """In a process of a user who has no rights but its own; `action` finds itself in `place`."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.chdir(place)
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            action()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="modes are tried as another user, which only root may become")
def test_directories_that_were_closed_to_their_owner_are_opened_and_removed(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, 65534, 65534)

    def make_and_remove() -> None:
        tree = Path("tree")
        for name, mode in {"none": 0o000, "listed": 0o400, "entered": 0o100, "read": 0o500}.items():
            (tree / name / "inner" / "most").mkdir(parents=True)
            (tree / name / "inner" / "file").write_text("x")
            (tree / name / "inner" / "most").chmod(0o000)
            (tree / name / "inner").chmod(mode)
            (tree / name).chmod(mode)
        tree.chmod(0o000)
        assert remove_if_unused(tree)

    as_nobody(place, make_and_remove)

    assert list(place.iterdir()) == []
