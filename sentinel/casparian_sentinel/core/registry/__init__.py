"""Decisions about parsers, contracts, output versions and parameters: which may run, which is current, what jobs get."""
