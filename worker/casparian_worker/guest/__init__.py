"""Guests: the processes that run parsers. Started, limited, listened to and ended here; never believed.

`spawner` is the port that every way of starting a guest has, and the plain one; `process` owns a running guest until nothing
of it is left; `children` knows this process's children and ends what escaped from a guest; `launch` is the program that one
begins as.
"""

from casparian_worker.guest.children import GuestExit
from casparian_worker.guest.spawner import (
    BASE_ENVIRONMENT,
    ColdSpawner,
    Environment,
    Guest,
    GuestLimits,
    GuestSpec,
    Level,
    Spawner,
    StartTimeout,
    limits_from,
    scrubbed_variables,
)

__all__ = [
    "BASE_ENVIRONMENT",
    "ColdSpawner",
    "Environment",
    "Guest",
    "GuestExit",
    "GuestLimits",
    "GuestSpec",
    "Level",
    "Spawner",
    "StartTimeout",
    "limits_from",
    "scrubbed_variables",
]
