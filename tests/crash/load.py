"""What the crash tests process: many small generated files, bad rows planted at known places, and the truth about them.

Pure but for `generate`, which writes the files. One seed, one load.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PARSER = '''
"""Readings: `id;amount` a line. Lines that begin with `!` make a file slow or large on request."""

import time

name, version, topics = "readings", "1.0.0", ["readings"]
dependencies = []
outputs = {"readings": {"columns": [
    {"name": "id", "type": "int", "nullable": False},
    {"name": "amount", "type": {"kind": "decimal", "precision": 12, "scale": 2}, "nullable": False},
    {"name": "note", "type": "string"},
]}}


def parse(path, ctx):
    for line in ctx.file.read().decode().splitlines():
        if line.startswith("#"):
            ctx.skip("comment")
        elif line.startswith("!sleep "):
            ctx.skip("pause")
            time.sleep(float(line.split()[1]))
        elif line.startswith("!flood "):
            ctx.skip("flood")
            first, count = map(int, line.split()[1:])
            for number in range(first, first + count):
                yield {"id": number, "amount": "1.00", "note": "x" * 1000}
        else:
            id, amount = line.split(";")
            yield {"id": id, "amount": amount, "note": None}
'''

#: Whatever is killed or frozen is found out about quickly, and no number of kills is taken for the parser's fault.
CONFIG = """
[liveness]
heartbeat_seconds = 0.2
lease_timeout_seconds = 3.0
rejoin_seconds = 3.0

[retry]
backoff_seconds = [0.2]
max_worker_losses = 100

[breaker]
consecutive_failures = 100

[quarantine]
max_pct = 90.0

[log]
segment_bytes = 65536
reserve_bytes = 262144
low_disk_bytes = 0
"""


@dataclass(frozen=True, slots=True)
class Expected:
    """What one file holds."""

    good: frozenset[int]
    bad: frozenset[int]
    skipped: int


Truth = Mapping[str, Expected]


def generate(folder: Path, seed: int, files: int, pause_seconds: float = 0.0) -> dict[str, Expected]:
    """Write the load; the truth by path. With a pause in each file it lasts longer and costs no more."""
    folder.mkdir(parents=True)
    dice = random.Random(seed)
    truth = {}
    next_id = 0
    for number in range(files):
        ids = list(range(next_id, next_id := next_id + dice.randint(5, 60)))
        bad = frozenset(one for one in ids if dice.random() < 0.1)
        comments = dice.randint(0, 3)
        lines = [f"{one};{'none' if one in bad else f'{one}.25'}" for one in ids]
        for _ in range(comments):
            lines.insert(dice.randint(0, len(lines)), "# a comment")
        if pause_seconds:
            lines.insert(dice.randint(0, len(lines)), f"!sleep {pause_seconds}")
        path = folder / f"readings_{number:04d}.txt"
        path.write_text("\n".join(lines) + "\n")
        truth[str(path)] = Expected(frozenset(ids) - bad, bad, comments + bool(pause_seconds))
    return truth


def slow_file(path: Path, seconds: float, first_id: int) -> dict[str, Expected]:
    """A file whose parser pauses for so long between its two rows."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{first_id};1.00\n!sleep {seconds}\n{first_id + 1};2.00\n")
    return {str(path): Expected(frozenset({first_id, first_id + 1}), frozenset(), 1)}


def large_file(path: Path, rows: int, first_id: int) -> dict[str, Expected]:
    """A file of one line, whose parser sends about a kilobyte for each of so many rows."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"!flood {first_id} {rows}\n")
    return {str(path): Expected(frozenset(range(first_id, first_id + rows)), frozenset(), 1)}
