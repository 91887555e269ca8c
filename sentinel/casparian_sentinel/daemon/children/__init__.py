"""Processes that the daemon keeps running: local workers, the projector, and helpers that compute one answer."""
