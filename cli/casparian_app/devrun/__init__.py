"""Dev mode: run a parser from a file and show its rows. Nothing is kept unless a sink is named.

`parser` reads the parser's metadata and parameters, `engine` runs it on one input, `rows` counts the rows, keeps the first ones
and writes files. Guests, their stream and validation belong to the worker.
"""
