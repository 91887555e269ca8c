"""Drives a real casparian: homes, daemons, workers that speak the bus, parsers."""
