"""Operations: the requests of clients, as generators that yield each step and leave performing it to their caller.

`steps` defines the steps (query the projection, let the core decide, work in a thread). `table` maps each operation of the
protocol to its handler; `discovery`, `jobs`, `registry` and `daemon` have the handlers, one module per subject. `planning` turns
files into jobs, and `kinds` recreates jobs of each kind. The daemon performs the steps in its event loop, `local` in the command
line's own process; a handler is the same in both.
"""
