"""The daemon: the shell around the pure core, everything that touches the world while a sentinel runs.

`main` is the process, `boot` opens the log, `shell` connects the parts, `life` begins and ends it. `bus` is what clients and
workers hear and say, `journal` makes decisions durable and acts on them, `children` are the processes that it keeps alive.
`planner` turns files into jobs, `upkeep` watches the disk, `failures` is what becomes of errors. Deciding is the core's.
"""
