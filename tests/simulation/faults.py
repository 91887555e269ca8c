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
    #: Telling a worker fails by an error of ours; never drawn, only asked for.
    effect_errors: float = 0.0


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
}
assert set(_TROUBLE) == {f.name for f in fields(Faults)} - {"until_s", "effect_errors"}

CALM = Faults(until_s=0.0)


def drawn(dice: random.Random) -> Faults:
    """One to five kinds of trouble, for a while."""
    chosen = dice.sample(sorted(_TROUBLE), dice.randint(1, 5))
    rates = {name: _TROUBLE[name] * dice.uniform(0.5, 1.5) for name in chosen}
    return replace(Faults(until_s=dice.uniform(0.6, 1.6)), **rates)
