"""What a user can do with Casparian, as typed functions: the layer below every front end.

A front end (the command line, the console, later an MCP server and a Python API) opens a `Gateway` to a home and passes it to a
use case, which returns a typed result or raises a `CasparianError`. The package does not use click, print, or read from a
terminal. It imports only the public names of the sentinel and the worker, as listed in their `__init__`.

| module | use case |
|---|---|
| `gateway` | query and change a home: through the running daemon, in this process, or as of the past |
| `names`, `texts` | names and shortened ids; numbers and times in sentences; JSON documents |
| `files`, `processing` | scan, preview a file, tag; the selection of `process`, and its outcome |
| `parsers`, `devrun` | register a parser; its versions and parameters; run one on a file |
| `drafting`, `inferring` | draft a parser from samples; draft a contract from rows |
| `jobs`, `stories` | list jobs, show one, run it again and compare; tell its story |
| `sql` | SQL of the user; answers as files |
| `event_log` | read, verify and repair the log |
| `daemons` | start a daemon, and show its status |
| `doctor`, `measuring`, `support` | check the machine and the home; write a support bundle |
"""
