"""Asks the tables which files will never run as things stand; `casparian_protocol.wording` judges."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from casparian_protocol.wording import WAITING_FILES, Candidate, WaitingFiles, waiting_files

_CONTRACTS = "select parser, version, output, state from cf_schema_contracts order by proposed_at"
_CANDIDATES = """
select p.name, p.version, p.state, p.outputs_json, list(t.topic) filter (t.topic is not null) as topics
from cf_parsers p left join cf_parser_topics t on t.parser_id = p.id
group by p.id, p.name, p.version, p.state, p.outputs_json, p.registered_at order by p.registered_at
"""


def find_waiting_files(rows: Callable[[str], list[dict[str, Any]]]) -> list[WaitingFiles]:
    """What waits; `rows` answers a SELECT over the tables with maps."""
    counts = {row["tag"]: row["files"] for row in rows(WAITING_FILES)}
    if not counts:
        return []
    states: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows(_CONTRACTS):
        states.setdefault((row["parser"], row["version"]), {})[row["output"]] = row["state"].lower()
    candidates = []
    for row in rows(_CANDIDATES):
        known = states.get((row["name"], row["version"]), {})
        contracts = {output: known.get(output, "") for output in json.loads(row["outputs_json"] or "{}")}
        topics = frozenset(row["topics"] or ())
        candidates.append(Candidate(row["name"], row["version"], topics, contracts, row["state"] == "RETIRED"))
    return waiting_files(counts, candidates)
