"""Operations: what clients ask for, as generators that name each step and leave doing it to whoever runs them.

`steps` are the words (ask the projection, let the core decide, work in a thread), `table` maps each operation of the
protocol to its handler; `discovery`, `jobs`, `registry` and `daemon` are the handlers, one module a subject; `planning` turns
files into jobs, `views` show the state. The daemon runs the steps in its loop, `local` runs them in the command line's own
process: the handlers cannot tell.
"""
