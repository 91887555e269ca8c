"""Sources, scans, tags and rules, as events. What a scan found is a blob that its event names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal, NamedTuple

from casparian_protocol.bounds import Json, Scalar
from casparian_protocol.events.base import Event, event
from casparian_protocol.tagging import TagRule


class FileContent(NamedTuple):
    """A file and the content that it has."""

    file_id: str
    content_hash: str


@event()
class SourceAdded(Event):
    """A directory became a source."""

    source_id: str
    name: str
    path: Annotated[str, "absolute"]
    poll_seconds: Annotated[int, "0 = only when asked"]
    options: Annotated[Mapping[str, Scalar | list[str]], "excludes, pattern, tag"]
    params: Annotated[Mapping[str, Json], "parameters for parsers that take its files"] = field(default_factory=dict)


@event()
class SourceRemoved(Event):
    """A source is no longer scanned; its files stay known."""

    source_id: str


@event()
class ScanStarted(Event):
    """A scan began."""

    scan_id: str
    roots: Annotated[tuple[str, ...], "absolute paths"]
    source_id: str = ""
    job_id: Annotated[str, "the SCAN job that it is"] = ""


@event()
class FilesObserved(Event):
    """What a scan found changed: a blob of changes."""

    scan_id: str
    blob: Annotated[str, "Arrow IPC of changes (discovery)"]
    new: Annotated[int, "count"]
    changed: Annotated[int, "count"]
    vanished: Annotated[int, "count"]
    renamed: Annotated[int, "count"]
    tagged: Annotated[int, "count"]


@event()
class FilesRevised(Event):
    """What is known of files changed without a look at a directory: rules gave other tags, or contents were hashed."""

    blob: Annotated[str, "Arrow IPC of changes (discovery)"]
    retagged: Annotated[int, "count"]
    rehashed: Annotated[int, "count"]


@event()
class ScanFinished(Event):
    """A scan ended."""

    scan_id: str
    complete: Annotated[bool, "false: nothing was taken as vanished"]
    files: Annotated[int, "count"]
    bytes: Annotated[int, "of these files"]
    unchanged: Annotated[int, "count"]
    unreadable: Annotated[int, "count"]
    seconds: float


@event()
class TagRuleAdded(Event):
    """There is another tagging rule."""

    rule: Annotated[TagRule, "TagRule as a map"]

    @property
    def subject(self) -> str:
        return self.rule.id


@event()
class TagRuleRemoved(Event):
    """A tagging rule is gone; tags it gave are gone with the blob."""

    rule_id: str


@event()
class FilesTagged(Event):
    """Files got or lost a tag."""

    tag: str
    is_removed: bool
    tag_source: Annotated[Literal["rule", "manual"], "rule|manual"]
    rule_id: str = ""
    file_ids: Annotated[tuple[str, ...], "up to 200"] = ()
    blob: Annotated[str, "Arrow IPC with column id (and tag when it varies)"] = ""
    files: Annotated[int, "count"]


@event()
class ContentsRecognised(Event):
    """Files have a content that their parser has processed before; its rows are live, and no job is needed."""

    parser: str
    on_change: Annotated[Literal["replace", "append"], "replace|append: whether their earlier contents lose them"]
    as_of_seq: Annotated[int, "where the file index stood when it was seen"]
    contents: Annotated[tuple[FileContent, ...], "[[file id, content hash]…], up to 100"] = ()
    blob: Annotated[str, "msgpack {files: [[file id, content hash]…]}"] = ""
    files: Annotated[int, "count"]
