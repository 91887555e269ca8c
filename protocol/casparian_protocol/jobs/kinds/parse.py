"""PARSE: give one file to a parser and commit the rows that it makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from casparian_protocol.bounds import (
    Count,
    HashText,
    IdText,
    Json,
    PathText,
    PositiveSmallCount,
    Scalar,
    ShortText,
    TagText,
)
from casparian_protocol.jobs.kinds.work import Briefing, Checked, Work

_OUTPUTS = Field(max_length=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInput(Checked):
    """The file that a parser is given."""

    path: PathText
    file_id: IdText = ""
    #: BLAKE3, hex, as the scan saw it; the worker hashes again and the two must agree.
    content_hash: HashText = ""
    size: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseBriefing(Briefing):
    kind = "PARSE"
    #: Entry module of the bundle, and whether it is a function or a class.
    entry: ShortText = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseWork(Work):
    kind = "PARSE"
    briefing = ParseBriefing

    input: JobInput
    artifact: HashText = ""
    #: output → hash of its approved contract.
    contracts: Annotated[dict[ShortText, HashText], _OUTPUTS] = field(default_factory=dict)
    #: output → the version of it that the rows go to, fixed when the job is queued.
    output_versions: Annotated[dict[ShortText, PositiveSmallCount], _OUTPUTS] = field(default_factory=dict)
    #: Every declared parameter with its effective value, fixed when the job is queued.
    params: Annotated[dict[ShortText, Json], _OUTPUTS] = field(default_factory=dict)
    #: Where values came from: `set`, `source NAME`, `rule NAME`. What is not named here has its declared default.
    param_origins: Annotated[dict[ShortText, ShortText], _OUTPUTS] = field(default_factory=dict)
    #: output → effective quarantine policy, resolved when queued.
    policies: Annotated[dict[ShortText, dict[ShortText, Scalar]], _OUTPUTS] = field(default_factory=dict)
    #: The tag of the file that the parser asked for.
    tag: TagText = ""
    #: Whether rows of earlier contents of the file stay live.
    on_change: Literal["replace", "append"] = "replace"

    @property
    def subject(self) -> str:
        return self.input.path

    @property
    def content(self) -> str:
        return self.input.content_hash or self.input.path

    @property
    def topic(self) -> str:
        return self.tag
