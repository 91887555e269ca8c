"""Helpers for authors of parsers: outputs, safe readers, exact values. Import them from `casparian_shim`."""
