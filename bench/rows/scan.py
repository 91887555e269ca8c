"""Row 10: a tree of many files scanned by a real daemon, again when nothing has changed, and with its contents hashed.

The clock runs from the start of the command until the tables contain what it found: a file counts when it can be queried. Making
the files and starting the daemon come before it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from bench.children import ChildFailed, Unavailable
from bench.measure import Benchmark, Case, Figure, Sample, Setting, Size, Target
from bench.world import casparian, cpu_seconds, daemon, new_home, wait_for_tables
from casparian_protocol.client import Client
from casparian_protocol.home import Home

_A_DIRECTORY = 1_000
_RATE = "rate"
_ALL = "all files"


def write_tree(root: Path, files: int) -> None:
    """So many files of a few bytes, a thousand in a directory."""
    for first in range(0, files, _A_DIRECTORY):
        directory = root / f"d{first // _A_DIRECTORY:05d}"
        directory.mkdir(parents=True)
        for number in range(first, min(files, first + _A_DIRECTORY)):
            (directory / f"file_{number:07d}.txt").write_bytes(b"%d\n" % number)


def _walked(root: Path) -> int:
    """The bare loop: names, sizes and times, in one process."""
    found, waiting = 0, [str(root)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    found += 1
    return found


def _found(root: Path) -> int:
    program = shutil.which("find")
    if program is None:
        raise Unavailable("find is not installed")
    said = subprocess.run(
        [program, str(root), "-type", "f", "-printf", "%s %T@ %p\\n"], capture_output=True, check=True
    )
    return said.stdout.count(b"\n")


def _prepare(setting: Setting) -> Sequence[Case]:
    files = setting.sizes["files"]
    tree = setting.scratch / "tree"
    write_tree(tree, files)

    @contextmanager
    def home() -> Iterator[tuple[Home, Client]]:
        scratch = Path(mkdtemp(dir=setting.scratch))
        try:
            home = new_home(scratch / "home")
            with daemon(home, 1) as client:
                yield home, client
        finally:
            shutil.rmtree(scratch)

    def scanned(home: Home, client: Client, *options: str) -> Sample:
        before = cpu_seconds(home)
        began = time.perf_counter()
        casparian(home, ["scan", str(tree), *options])
        wait_for_tables(client, int(client.request("ping")["seq"]))
        took = time.perf_counter() - began
        rows = client.query("select count(*) from scout_files", at_least_seq=int(client.request("ping")["seq"])).rows
        if rows[0][0] != files:
            raise ChildFailed(f"{rows[0][0]} files were found where there are {files}")
        spent = {name: round(seconds - before[name], 2) for name, seconds in cpu_seconds(home).items()}
        return Sample({_RATE: files / took / 1000}, {"files": files, "seconds": took, "cpu_seconds": spent})

    def first() -> Sample:
        with home() as (place, client):
            return scanned(place, client)

    def again() -> Sample:
        with home() as (place, client):
            scanned(place, client)
            return scanned(place, client)

    def hashed() -> Sample:
        with home() as (place, client):
            return scanned(place, client, "--tag", "bench")

    def bare(count: Callable[[Path], int]) -> Sample:
        began = time.perf_counter()
        found = count(tree)
        took = time.perf_counter() - began
        if found != files:
            raise ChildFailed(f"{found} files were found where there are {files}")
        return Sample({_RATE: files / took / 1000}, {"files": files, "seconds": took})

    return [
        Case("casparian", "casparian", first, "until every file can be queried"),
        Case("casparian, nothing changed", "casparian", again),
        Case("casparian, hashed", "casparian", hashed, "every file is tagged, so it is read and hashed", "hashed"),
        Case("find -printf", "peer", lambda: bare(_found), "prints sizes and times; keeps nothing"),
        Case("os.scandir", "bare", lambda: bare(_walked), "reads sizes and times; keeps nothing"),
    ]


SCAN = Benchmark(
    name="scan",
    row=10,
    title="a tree of files with size and time, from the request until they can be queried",
    figures=[Figure(_RATE, "k files/s", is_higher_better=True, digits=1)],
    sizes=[Size("--files", 100_000, "files of the tree")],
    prepare=_prepare,
    targets=[
        Target("at least 150 k files/s", _RATE, at_least=150.0),
        Target(
            "at least 300 k files/s where nothing has changed", _RATE, at_least=300.0, case="casparian, nothing changed"
        ),
    ],
    notes=["The start of the command (about 0.3 s) is inside casparian's clock."],
)
