"""Parsers, contracts and output versions: what may run, which version is current, which parameters its jobs get."""
