"""Where the sockets of a home may lie: in a directory that is private to this user, all the way."""

import resource
from pathlib import Path

import pytest

from casparian_protocol.home import Home, make_home, record_sockets


@pytest.fixture
def deep_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home too deep for ipc paths, so that its sockets lie elsewhere."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    return Home(tmp_path / ("deep" * 25) / "home")


def test_sockets_of_a_deep_home_lie_in_a_private_directory(deep_home: Home) -> None:
    make_home(deep_home)

    assert deep_home.sockets != deep_home.run
    assert deep_home.sockets.stat().st_mode & 0o777 == 0o700


def test_a_parent_that_others_may_write_is_refused(deep_home: Home) -> None:
    deep_home.sockets.parent.chmod(0o777)

    with pytest.raises(PermissionError, match="not private"):
        make_home(deep_home)


def test_a_link_in_place_of_the_directory_is_refused(deep_home: Home, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    deep_home.sockets.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(PermissionError, match="not private"):
        make_home(deep_home)


def test_clients_of_another_environment_find_the_sockets_that_the_daemon_recorded(
    deep_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_home(deep_home)
    record_sockets(deep_home)
    chosen = deep_home.sockets_here
    for runtime in (None, str(tmp_path / "of-cron")):
        if runtime is None:
            monkeypatch.delenv("XDG_RUNTIME_DIR")
        else:
            monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        assert deep_home.sockets_here != chosen
        assert deep_home.sockets == chosen


def test_a_home_with_two_names_has_its_sockets_in_one_place(deep_home: Home, tmp_path: Path) -> None:
    make_home(deep_home)
    (tmp_path / "h").symlink_to(deep_home.root)
    short = Home(tmp_path / "h")
    record_sockets(deep_home)
    assert short.sockets == deep_home.sockets
    record_sockets(short)
    assert deep_home.sockets == short.sockets == short.run


def test_a_disk_that_takes_no_record_leaves_no_wrong_one(deep_home: Home) -> None:
    make_home(deep_home)
    deep_home.sockets_record.write_text("/of/an/earlier/daemon\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        record_sockets(deep_home)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert deep_home.sockets == deep_home.sockets_here
    assert [each.name for each in deep_home.run.iterdir() if each.is_file()] == []


@pytest.mark.parametrize("record", [b"", b"relative/path", b"/" + b"x" * 300, b"\xff\xfe"])
def test_a_record_that_makes_no_sense_is_ignored(deep_home: Home, record: bytes) -> None:
    make_home(deep_home)
    deep_home.sockets_record.write_bytes(record)
    assert deep_home.sockets == deep_home.sockets_here
