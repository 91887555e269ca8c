"""Dev mode: a parser from a file on disk, its rows looked at, nothing kept unless a sink is named.

`parser` reads what the parser says about itself and which parameters it is given, `engine` runs it on one input, `rows`
counts them, keeps the first ones and writes files. Guests, validation and the reading of their stream are the worker's.
"""
