"""Time travel: the console at an earlier event of the log. The log's events are asked for with `LoadPast`."""

from casparian_console.travel.travel import Travel

__all__ = ["Travel"]
