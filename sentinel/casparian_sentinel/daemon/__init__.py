"""The daemon: the shell around the pure core, everything that touches the world while a sentinel runs.

`main` is the process from start to end, `boot` opens the log, `shell` connects the parts. `journal` makes decisions durable,
`promoter` puts committed files in place, `snapshots` shorten the next start. `bus`, `inbox` and `requests` talk with workers
and clients; `children` and `projector` are the processes that it keeps alive. `planner` turns files into jobs, `upkeep` watches
the disk, `failures` is what becomes of errors. Deciding is the core's.

The names below are what a command without a daemon shares with it. `main.run` is imported from `main`, where it is also run as
a program.
"""

from __future__ import annotations

from casparian_sentinel.daemon.boot import (
    Booted,
    boot_home,
    caches,
    first_commands,
    signed_heads_of_others,
    tables_in_a_process,
    witnesses_of,
)
from casparian_sentinel.daemon.journal import Engine, Entry, batches_of
from casparian_sentinel.daemon.promoter import parked_view
from casparian_sentinel.daemon.promoter import perform as perform_on_disk
from casparian_sentinel.daemon.snapshots import pack_snapshot, write_snapshot
from casparian_sentinel.daemon.upkeep import judge_intake

__all__ = [
    "Booted",
    "Engine",
    "Entry",
    "batches_of",
    "boot_home",
    "caches",
    "first_commands",
    "judge_intake",
    "pack_snapshot",
    "parked_view",
    "perform_on_disk",
    "signed_heads_of_others",
    "tables_in_a_process",
    "witnesses_of",
    "write_snapshot",
]
