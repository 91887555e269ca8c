"""Operations on sources, scans, tags and tagging rules."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from casparian_protocol.bounds import (
    Count,
    IdText,
    Json,
    LongText,
    PathText,
    Scalar,
    Seconds,
    ShortText,
)
from casparian_protocol.wire.operations.base import FILE_IDS_LIMIT, Args, Digest, Done, IdPrefix, PollSeconds, Tag


class AddSourceArgs(Args):
    name: Annotated[str, Field(min_length=1, max_length=128)]
    path: PathText
    poll_seconds: PollSeconds = 0
    options: dict[ShortText, Scalar | list[LongText]] = Field(default_factory=dict, max_length=16)
    #: Parameters for parsers that take its files; they override those of the parser.
    params: dict[ShortText, Json] = Field(default_factory=dict, max_length=64)


class AddSourceResult(Done):
    source_id: str
    name: str
    path: str
    already: bool


class SourceArgs(Args):
    """A source by its id, a unique prefix of it, or its name."""

    source: Annotated[str, Field(min_length=1, max_length=128)]


class SourceResult(Done):
    source_id: str
    name: str = ""


class RescanResult(SourceResult):
    #: The SCAN job; one that is open already is named again.
    job_id: str
    already: bool = False


class BeginScanArgs(Args):
    """A scan that the client itself carries out."""

    roots: list[PathText] = Field(min_length=1, max_length=256)
    source_id: IdText | None = None


class BeginScanResult(Done):
    scan_id: str


class ObserveArgs(Args):
    """What the scan found changed; the blob (Arrow IPC of changes) is durable already."""

    scan_id: IdPrefix
    blob: Digest
    new: Count = 0
    changed: Count = 0
    vanished: Count = 0
    renamed: Count = 0
    tagged: Count = 0


class EndScanArgs(Args):
    scan_id: IdPrefix
    complete: bool
    files: Count = 0
    bytes: Count = 0
    unchanged: Count = 0
    unreadable: Count = 0
    seconds: Seconds = 0.0


class ReviseArgs(Args):
    """Changes of what is known of files, without a scan; the blob (Arrow IPC of changes) is durable already."""

    blob: Digest


class ReviseResult(Done):
    retagged: Count
    rehashed: Count


class TagArgs(Args):
    """Files by id (at most 200) or in a durable blob (Arrow IPC, column `id`); exactly one of both."""

    tag: Tag
    remove: bool = False
    file_ids: list[IdText] | None = Field(default=None, max_length=FILE_IDS_LIMIT)
    blob: Digest | None = None
    files: Count = 0


class TagResult(Done):
    tag: str
    files: Count


class AddRuleArgs(Args):
    """A `tagging.TagRule` as a map; its `id` is given by the sentinel when it is missing."""

    rule: dict[ShortText, Json] = Field(max_length=32)


class RuleResult(Done):
    rule_id: str
    name: str = ""


class RemoveRuleArgs(Args):
    """A rule by its id, a unique prefix of it, or its name."""

    rule: Annotated[str, Field(min_length=1, max_length=128)]
