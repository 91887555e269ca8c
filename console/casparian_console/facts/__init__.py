"""What the console knows about the home: a snapshot, the feed's events and the answers to queries, folded together.

`store` has `Facts`, which combines the parts. `jobs` and `book` hold the jobs and count them in buckets; `registry` holds the
parsers, contracts, outputs and sources; `readings` holds the metrics; `loading` has the queries and puts their answers into the
book. Screens read facts and never change them.
"""

from __future__ import annotations

from casparian_console.facts.book import JobBook, Move
from casparian_console.facts.jobs import (
    CLOSED,
    OPEN_STATES,
    SECOND_US,
    STANDINGS,
    Bucket,
    BucketKey,
    Job,
    Standing,
    recency,
)
from casparian_console.facts.loading import GroupPage, page_of, states_of
from casparian_console.facts.readings import Sample
from casparian_console.facts.registry import Contract, Output, Parser, Registry
from casparian_console.facts.store import Facts, is_load

__all__ = [
    "CLOSED",
    "OPEN_STATES",
    "SECOND_US",
    "STANDINGS",
    "Bucket",
    "BucketKey",
    "Contract",
    "Facts",
    "GroupPage",
    "Job",
    "JobBook",
    "Move",
    "Output",
    "Parser",
    "Registry",
    "Sample",
    "Standing",
    "is_load",
    "page_of",
    "recency",
    "states_of",
]
