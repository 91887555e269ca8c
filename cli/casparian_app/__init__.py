"""What a user can do with Casparian, as typed functions: the layer below every front end.

A front end (the command line, the console, later an MCP server and a Python API) opens a `Gateway` to a home and hands it to
a use case; the use case gives a typed result or raises a `CasparianError`. Nothing here knows click, prints, or asks a
terminal. It knows the sentinel and the worker by what they list in their `__init__`, and nothing deeper.

| module | use case |
|---|---|
| `gateway` | ask the owner of the home: the running sentinel, this process, or the past |
| `names`, `texts` | what people call things; refusals, numbers and times in sentences, JSON documents |
| `files`, `processing` | scan, look into a file, tag; which files are asked for, and what happened to them |
| `parsers`, `scaffold`, `devrun` | register a parser; its versions and parameters; draft one; run one on a file |
| `jobs`, `stories` | list jobs, everything about one, run it again and compare; tell its story |
| `sql` | a person's SQL; answers as files |
| `event_log` | read, verify and repair the log |
| `daemons` | start a daemon, and show its status |
| `doctor`, `measuring`, `support` | check the machine and the home; write a support bundle |
"""
