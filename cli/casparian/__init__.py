"""The command line: reads arguments, asks, renders answers. It decides nothing.

One module a command group under `commands/`, loaded when its command is called. A command reads arguments, asks a
gateway (the running sentinel, or the home opened under its lock), and renders the answer: data to stdout,
messages to stderr, the verdict in the exit code. What outlives a command belongs to `casparian_sentinel` and `casparian_worker`.
"""

__version__ = "0.1.0"
