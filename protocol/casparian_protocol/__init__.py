"""The words that all our processes share: what sentinel, workers, console and command line must agree on.

Rooms, each with a face: `wire` (messages and operations), `jobs` (specification, states, manifest), `events`,
`contract`, `parsers` (source, metadata, bundles), `home` (where everything lies). Beside them: `client` and `feed` (the
sockets of one asker), `bounds` of what a stranger may
say, `packing` (msgpack), `errors`, `settings`, `globs` and `tagging`, `values` (rendering), `wording`, `minisign`. Leaves
every decision to the sentinel and every execution to the worker. Imports nothing above itself, and outside `values` neither
pyarrow nor duckdb at module level: the sentinel starts without them.
"""
