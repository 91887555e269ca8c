"""Guests: the processes that run parsers. They are started, limited, read and ended here, and never trusted.

`spawner` is the interface of every way to start a guest, with the plain way, and a running guest until nothing of it is left.
`warm` is the quick way: guests are forked from a process that has loaded everything but the parser.
`sandbox` finds out by trying what sandbox this machine offers, and checks that a guest has put it on. `children` knows this
process's children and ends processes that a guest left behind. `launch` is the program that every guest starts as.
"""

from casparian_worker.guest.children import GuestExit
from casparian_worker.guest.sandbox import Level, Machine, SandboxTooWeak, probe, require_level
from casparian_worker.guest.spawner import (
    BASE_ENVIRONMENT,
    ColdSpawner,
    Environment,
    Guest,
    GuestLimits,
    GuestSpec,
    Spawner,
    StartTimeout,
    limits_from,
    scrubbed_variables,
)
from casparian_worker.guest.warm import WarmSpawner, spawner_for

__all__ = [
    "BASE_ENVIRONMENT",
    "ColdSpawner",
    "Environment",
    "Guest",
    "GuestExit",
    "GuestLimits",
    "GuestSpec",
    "Level",
    "Machine",
    "SandboxTooWeak",
    "Spawner",
    "StartTimeout",
    "WarmSpawner",
    "limits_from",
    "probe",
    "require_level",
    "scrubbed_variables",
    "spawner_for",
]
