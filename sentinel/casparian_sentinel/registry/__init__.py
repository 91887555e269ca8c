"""Registering a parser: from its files on disk to the facts of `ParserRegistered` and `ContractProposed`.

`prepare` combines the steps; `gatekeeper` lints the source, `keys` holds the home's signing key, and `bundle_tests` finds the
parser's tests. The core records the events, `blobs` stores the blobs, and a worker runs the parser. Nothing in this package
imports or runs a parser.
"""
