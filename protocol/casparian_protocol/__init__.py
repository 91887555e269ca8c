"""What all processes of Casparian share: the messages between them, and the data that they agree on.

Packages: `wire` (messages and operations on the bus), `events` (what the log records), `jobs` (specification, states,
manifest), `queries` (named questions to the tables), `contract` and `parsers` (source, metadata, bundles). Modules: `client`
and `feed` are the only ones with sockets; `home` and `trees` touch files; `bounds` has the types of fields that others fill
in, `packing` is msgpack, `values` renders table values, `wording` has sentences shared by the front ends; `errors`,
`error_codes`, `settings`, `globs`, `tagging`, `job_life` and `minisign` do what their names say.

The sentinel decides and the worker executes. Functions here are pure unless their docstring names files or sockets. The package
imports no other package of Casparian. At module level only `values` imports pyarrow and no module imports duckdb, because the
sentinel starts without them.
"""
