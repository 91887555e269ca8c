"""The registry's pieces: from a parser on disk to the facts of `ParserRegistered` and `ContractProposed`.

`prepare` puts the pieces together; `gatekeeper` lints the source, `keys` keeps the home's
signing key, `bundle_tests` finds the tests beside a parser. Recording the events is the core's work, storing blobs the
event log's, running parsers the worker's. Nothing in this folder ever imports or runs a parser.
"""
