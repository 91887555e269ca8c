"""The words that all our processes share.

Owns what sentinel, workers, console and command line must agree on: events (`events`), job states (`states`), messages
and their encoding (`messages`, `codec`), manifests, progress, contracts, settings, the layout of a home, the client.
Leaves every decision to the sentinel and every execution to the worker. Imports nothing above itself, and neither
pyarrow nor duckdb at module level: the sentinel starts without them.
"""
