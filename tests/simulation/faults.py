"""How bad a world is: each seed draws a few kinds of trouble, so that histories differ in kind and not only in luck."""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass, fields, replace

KINDS_OF_OPERATION = ("open", "create", "read", "write", "sync", "truncate", "allocate", "rename", "unlink")
ERRORS = (errno.EIO, errno.ENOSPC, errno.EINTR, 0)


@dataclass(frozen=True, slots=True)
class Faults:
    """Rates are per second for events and per message for the network. All ends at `until_s`."""

    until_s: float = 2.5
    #: The acting process dies in the middle of a file operation.
    halts: float = 0.0
    #: As above, and everybody dies, with all that was not synced.
    power_cuts: float = 0.0
    worker_crashes: float = 0.0
    #: A worker is stopped for up to three leases, then goes on as if nothing had happened.
    worker_freezes: float = 0.0
    sentinel_freezes: float = 0.0
    clean_restarts: float = 0.0
    drop: float = 0.0
    double: float = 0.0
    delay_s: float = 0.02
    partitions: float = 0.0
    #: A file operation fails, once or from then on.
    disk_errors: float = 0.0
    disk_full: float = 0.0
    wall_jumps: float = 0.0
    cancels: float = 0.0
    #: Telling a worker fails by an error of ours; and so does a handler of what a worker said, when it has decided.
    effect_errors: float = 0.0
    handler_errors: float = 0.0


_TROUBLE = {
    "halts": 5.0,
    "power_cuts": 5.0,
    "worker_crashes": 2.0,
    "worker_freezes": 2.0,
    "sentinel_freezes": 1.0,
    "clean_restarts": 1.0,
    "drop": 0.2,
    "double": 0.2,
    "delay_s": 0.8,
    "partitions": 1.0,
    "disk_errors": 2.5,
    "disk_full": 1.0,
    "wall_jumps": 2.0,
    "cancels": 0.5,
    "effect_errors": 0.1,
    "handler_errors": 0.2,
}
assert set(_TROUBLE) == {f.name for f in fields(Faults)} - {"until_s"}

CALM = Faults(until_s=0.0)


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a world is and what its work is like."""

    workers: int = 2
    jobs: int = 2
    #: Every so many jobs are scans; 0: none.
    scan_every: int = 0
    outputs: int = 1
    #: How many manifests are too large for an event.
    large_manifests: float = 0.0
    #: The first job runs until somebody cancels it.
    has_endless_job: bool = False


SMALL = Shape()


def drawn_shape(seed: int) -> Shape:
    """Small mostly: most that can go wrong needs two of everything. Some have more of it, a few have ten workers."""
    dice = random.Random(-1 - seed)
    size = dice.random()
    if size < 0.6:
        return SMALL
    workers, jobs = (10, 14) if size > 0.97 else (dice.randint(1, 4), dice.randint(2, 5))
    return Shape(
        workers, jobs, dice.choice((0, 2, 3)), dice.randint(1, 2), dice.choice((0.0, 0.5)), dice.random() < 0.3
    )


def drawn(dice: random.Random) -> Faults:
    """One to five kinds of trouble, for a while."""
    chosen = dice.sample(sorted(_TROUBLE), dice.randint(1, 5))
    rates = {name: _TROUBLE[name] * dice.uniform(0.5, 1.5) for name in chosen}
    return replace(Faults(until_s=dice.uniform(0.6, 1.6)), **rates)
