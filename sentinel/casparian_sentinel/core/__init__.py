"""The pure core of the sentinel: `decide(state, live, command, now)` and `evolve(state, event)`.

No clock, socket, file or randomness in this folder: times and ids come in with commands, and what must be done leaves
as effects. The state is what the events say; replaying the log is calling `evolve`.
"""
