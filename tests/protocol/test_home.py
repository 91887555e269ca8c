"""Where the sockets of a home may lie: in a directory that is private to this user, all the way."""

from pathlib import Path

import pytest

from casparian_protocol.home import Home, make_home


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
