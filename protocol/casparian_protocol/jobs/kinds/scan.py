"""SCAN: walk a directory and record which of its files are new, changed or gone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from casparian_protocol.bounds import IdText, Json, LongText, PathText, Scalar, ShortText, TagText
from casparian_protocol.jobs.kinds.work import Briefing, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanBriefing(Briefing):
    kind = "SCAN"
    #: Rules that tag what the scan finds, and tags that some parser wants hashed.
    rules: list[dict[ShortText, Json]] = field(default_factory=list)
    wanted_tags: list[TagText] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanWork(Work):
    kind = "SCAN"
    briefing = ScanBriefing

    root: PathText
    source_id: IdText = ""
    #: excludes, tag, hash, pattern.
    options: Annotated[dict[ShortText, Scalar | list[LongText]], Field(max_length=32)] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        return self.root
