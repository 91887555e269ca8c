"""Damaged files, and a judge of what readers make of them.

From clean files `cases_of` makes files with one piece of damage each, at each place where it can be. A `Case` knows its bytes,
what a reader is told, the clean records with their places, and which readings of damaged ones are right. `judge` compares what
a tool returned with that. Everything is a pure function of a seed and needs only Python, so that peers are judged in their own
environment.
"""

from bench.damage.case import Case, Delimited, Dialect, FixedWidth, JsonLines, Row, Segments, Span, Stretch
from bench.damage.judge import Accounted, Rejected, Returned, Score, Taken, Verdict, judge
from bench.damage.made import CSV_TABLES, FORMATS, Format, cases_of, csv_cases, sample

__all__ = [
    "CSV_TABLES",
    "FORMATS",
    "Accounted",
    "Case",
    "Delimited",
    "Dialect",
    "FixedWidth",
    "Format",
    "JsonLines",
    "Rejected",
    "Returned",
    "Row",
    "Score",
    "Segments",
    "Span",
    "Stretch",
    "Taken",
    "Verdict",
    "cases_of",
    "csv_cases",
    "judge",
    "sample",
]
