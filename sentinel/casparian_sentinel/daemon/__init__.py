"""The daemon: the shell around the pure core, which does all input and output while a sentinel runs.

`main` is the process from start to end, `boot` opens the log, `shell` connects the parts. `journal` makes decisions durable,
`promoter` puts committed files in place, and `snapshots` shortens the next start. `bus`, `inbox` and `requests` talk with workers
and clients; `children` and `projector` keep other processes alive. `planner` turns files into jobs, `upkeep` watches the disk,
and `failures` reports errors. The core makes the decisions.

The names below are shared with commands that run without a daemon. Import `main.run` from `main`, which is also a program.
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
