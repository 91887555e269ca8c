"""What all processes of Casparian share: the messages between them, and the data that they agree on.

Packages: `wire` (messages and operations on the bus), `events` (what the log records), `jobs` (specification, states,
manifest), `queries` (named questions to the tables), `contract` and `parsers` (source, metadata, bundles). Modules: `client`
and `feed` are the only ones with sockets; `home` and `trees` touch files; `bounds` has the types of fields that others fill
in, `packing` is msgpack, `values` renders table values, `wording` has sentences shared by the front ends; `errors`,
`error_codes`, `settings`, `globs`, `tagging`, `job_life` and `minisign` do what their names say.

Decisions are the sentinel's, execution is the worker's. Functions here are pure unless their docstring names files or
sockets. Nothing imports a package above this one; pyarrow is imported at module level by `values` only, duckdb by none,
because the sentinel starts without them.
"""
