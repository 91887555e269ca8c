"""The command line: it reads arguments, calls a use case and prints the answer. It decides nothing.

`commands/` has one module for each command group, loaded when its command is called. A command reads arguments, asks a gateway
(the running daemon, or the home opened under its lock) and prints the answer: data to stdout, messages to stderr, the result
in the exit code. Whatever outlives a command belongs to `casparian_sentinel` and `casparian_worker`.
"""

__version__ = "0.1.0"
