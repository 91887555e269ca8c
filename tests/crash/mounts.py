"""File systems of the tests' own: small ones that fill, one whose writers can be made to wait. Skips where root may not."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

_CHUNK_BYTES = 4096
_REFILL_SECONDS = 0.01


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


def _mounted(stack: ExitStack, place: Path, *how: str | Path) -> None:
    done = _run("mount", *how, place)
    if done.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    stack.callback(_run, "umount", "--lazy", place)


def move_onto_tmpfs(stack: ExitStack, place: Path, size: str) -> None:
    """The directory with its content on a small file system in memory, until the stack ends."""
    content = place.with_name(f"{place.name}.moved")
    place.rename(content)
    place.mkdir(mode=0o700)
    _mounted(stack, place, "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs")
    shutil.copytree(content, place, symlinks=True, dirs_exist_ok=True)


def move_onto_ext4(stack: ExitStack, place: Path, size: str) -> None:
    """The directory with its content on a disk of its own, which can be frozen."""
    image = place.with_name(f"{place.name}.ext4")
    os.close(os.open(image, os.O_CREAT | os.O_WRONLY, 0o600))
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed here")
    done = _run("mkfs.ext4", "-q", "-F", image, size)
    assert done.returncode == 0, done.stderr
    content = place.with_name(f"{place.name}.moved")
    place.rename(content)
    place.mkdir(mode=0o700)
    _mounted(stack, place, "-o", "loop", image)
    place.chmod(0o700)
    shutil.copytree(content, place, symlinks=True, dirs_exist_ok=True)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Nobody can write on this directory, not even root."""
    with ExitStack() as stack:
        _mounted(stack, place, "--bind", place)
        _mounted(stack, place, "-o", "remount,ro,bind")
        yield


@contextmanager
def frozen(place: Path) -> Iterator[None]:
    """Every write on this file system waits."""
    if _run("fsfreeze", "--freeze", place).returncode != 0:
        pytest.skip("fsfreeze is not permitted here")
    try:
        yield
    finally:
        _run("fsfreeze", "--unfreeze", place)


@contextmanager
def filled(place: Path) -> Iterator[None]:
    """Not a byte is free: whatever is given back is taken at once."""
    ballast = place / "ballast"
    stopping = threading.Event()
    full = threading.Event()

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file:
            while not stopping.is_set():
                try:
                    file.write(bytes(_CHUNK_BYTES))
                except OSError:
                    full.set()
                    stopping.wait(_REFILL_SECONDS)

    filler = threading.Thread(target=fill)
    filler.start()
    try:
        assert full.wait(30)
        yield
    finally:
        stopping.set()
        filler.join()
        with suppress(FileNotFoundError):
            ballast.unlink()
