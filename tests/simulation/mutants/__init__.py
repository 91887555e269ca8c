"""Mutants: each breaks the shipped code in one way that a tired programmer might, while its context lasts.

A check that no mutant ever trips over proves nothing; `test_mutants` shows for each which check catches it. Every module has
`mutated()`, a context manager, and says what the programmer thought.
"""
