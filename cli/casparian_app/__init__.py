"""What a user can do with Casparian, as typed functions: the layer below every front end.

A front end (the command line, the console, later an MCP server and a Python API) opens a `Gateway` to a home and hands it to
a use case; the use case gives a typed result or raises a `CasparianError`. Nothing here knows click, prints, or asks a
terminal. It knows the sentinel and the worker by what they list in their `__init__`, and nothing deeper.

| module | use case |
|---|---|
| `gateway`, `past` | ask whoever owns the home: the running sentinel, this process, or the past |
| `names`, `problems`, `wording`, `documents` | what people call things; refusals; numbers and times in sentences; JSON |
| `scanning`, `previewing` | find files and take them into the catalogue; look at one |
| `registering`, `scaffold`, `devrun` | register a parser, run its tests, draft one, run one on a file |
| `processing`, `spawning` | what became of the files asked for; what waits; start a daemon |
| `sql`, `export` | a person's SQL; answers as files |
| `event_log`, `proof`, `reproducing`, `stories` | read the log, prove it, run a job again and compare, tell a job's story |
| `doctor`, `support` | check the machine and the home; write a support bundle |
"""
