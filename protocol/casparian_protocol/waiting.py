"""Files that will never run as things stand, and why: no parser takes their tag, or none of its versions may run.

Owns the question (`WAITING_FILES`) and the judgement, so that the command line and the console say the same. What is queued,
paused or failed is not its business: those files have jobs. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

#: Tags, and how many files carry each of which no job was ever made: nothing.
WAITING_FILES = """
select t.tag, count(distinct f.id)::bigint as files
from scout_file_tags t join scout_files f on f.id = t.file_id
where f.status <> 'vanished' and f.content_hash is not null
    and f.content_hash not in (select content_hash from cf_processing_queue where content_hash is not null)
group by t.tag order by t.tag
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A registered version of a parser: `contracts` maps each output to `approved`, `proposed`, `rejected` or "" (none)."""

    name: str
    version: str
    topics: frozenset[str]
    contracts: Mapping[str, str]
    is_retired: bool = False

    @property
    def obstacle(self) -> str:
        """Why it cannot run; empty when it can."""
        if self.is_retired:
            return "is retired"
        if not self.contracts:
            return "declares no outputs"
        for state, words in (
            ("rejected", "was rejected"),
            ("proposed", "is not approved yet"),
            ("", "does not exist"),
        ):
            outputs = sorted(output for output, found in self.contracts.items() if found == state)
            if outputs:
                return f"cannot run: the contract of {', '.join(outputs)} {words}"
        return ""


@dataclass(frozen=True, slots=True)
class WaitingFiles:
    """So many files with this tag wait; `parser` is the one that would take them, empty when none would."""

    tag: str
    files: int
    parser: str
    reason: str


def waiting_files(counts: Mapping[str, int], candidates: Iterable[Candidate]) -> list[WaitingFiles]:
    """What of `counts` (tag → files without a job) no version of a parser may take, in the order of the tags.

    `candidates` are in the order of their registration.
    """
    versions = list(candidates)
    topics = {topic for each in versions if not each.is_retired for topic in each.topics}
    found = []
    for tag, files in sorted(counts.items()):
        takers = [each for each in versions if tag in each.topics and not each.is_retired]
        if not files or any(not each.obstacle for each in takers):
            continue
        if takers:
            newest = takers[-1]
            found.append(WaitingFiles(tag, files, newest.name, f"{newest.name} {newest.version} {newest.obstacle}"))
        else:
            near = get_close_matches(tag, topics, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            found.append(WaitingFiles(tag, files, "", f"no parser takes the tag {tag}{hint}"))
    return found
