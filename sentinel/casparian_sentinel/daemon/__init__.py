"""The daemon: the shell around the pure core: sockets, files, clocks and child processes.

`main` is the process (lock, log, exit code) and `shell` its wiring; `engine` lets the core decide and `group_commit`
makes decisions durable before anybody hears of them; `bus`, `inbox` and `outbox` speak to workers and clients,
`requests` performs their operations, `feed` publishes; `promoter` moves files, `projector` and `local_workers` keep child
processes alive, `planner` turns files into jobs, `intake` watches the disk, `boot` opens the log, `snapshot` shortens that.
Decisions are the core's, bytes on disk the log's, SQL the projector's.
"""
