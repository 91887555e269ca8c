"""Operations: what clients ask for, as generators that name each step and leave doing it to their caller.

`steps` defines the steps (ask the projection, let the core decide, work in a thread), `table` maps each operation of the
protocol to its handler; `discovery`, `jobs`, `registry` and `daemon` hold the handlers, one module a subject; `planning` turns
files into jobs, `kinds` makes a job of each kind again. The daemon runs the steps in its loop, `local` runs them in the
command line's own process; a handler is the same in both.
"""
