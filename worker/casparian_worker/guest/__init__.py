"""Guests: the processes that run parsers. Started, limited, listened to and ended here; never believed.

`channel` makes the one connection, `launch` is the program that starts a guest, `sandbox` says what limits it,
`process` owns a running guest until nothing of it is left, `orphans` what escaped from one.
"""

from casparian_worker.guest.process import Guest, GuestExit, GuestSpec, StartTimeout
from casparian_worker.guest.sandbox import GuestLimits, effective_level

__all__ = ["Guest", "GuestExit", "GuestLimits", "GuestSpec", "StartTimeout", "effective_level"]
