"""The pure core of the sentinel: `decide(state, presence, command, now)` gives a `Decision`, `fold` makes it so.

No clock, socket, file or randomness in this folder: times and ids come in with commands, and what must be done leaves as
effects. The state is what the events say; replaying the log is calling `evolve`. Neither `decide` nor what it calls changes
anything. Rooms: `attempts`, `leasing`, `jobs`, `breaker` and `clock` decide about jobs, `files` about files, `registry` about
parsers, `workers` about workers; `kinds` holds what differs between kinds of jobs. Public are `commands`, `decide`, `decision`,
`evolve`, `state`, `snapshot` and `workers.presence`.
"""
