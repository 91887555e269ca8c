"""Events about sources, scans, tags and rules. The changes that a scan found are in a blob that its event names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal, NamedTuple

from casparian_protocol.bounds import Json, Scalar
from casparian_protocol.events.base import Event, event
from casparian_protocol.tagging import TagRule


class FileContent(NamedTuple):
    """A file and its content."""

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
    """A source was removed; its files stay known."""

    source_id: str


@event()
class ScanStarted(Event):
    """A scan began."""

    scan_id: str
    roots: Annotated[tuple[str, ...], "absolute paths"]
    source_id: str = ""
    job_id: Annotated[str, "the SCAN job of the scan"] = ""


@event()
class FilesObserved(Event):
    """A scan found changes, which are in a blob."""

    scan_id: str
    blob: Annotated[str, "Arrow IPC of changes (discovery)"]
    new: Annotated[int, "count"]
    changed: Annotated[int, "count"]
    vanished: Annotated[int, "count"]
    renamed: Annotated[int, "count"]
    tagged: Annotated[int, "count"]


@event()
class FilesRevised(Event):
    """Facts about files changed without a scan: rules gave other tags, or contents were hashed."""

    blob: Annotated[str, "Arrow IPC of changes (discovery)"]
    retagged: Annotated[int, "count"]
    rehashed: Annotated[int, "count"]


@event()
class ScanFinished(Event):
    """A scan ended."""

    scan_id: str
    complete: Annotated[bool, "false: no file was marked as vanished"]
    files: Annotated[int, "count"]
    bytes: Annotated[int, "the files and their facts"]
    unchanged: Annotated[int, "count"]
    unreadable: Annotated[int, "count"]
    seconds: float


@event()
class TagRuleAdded(Event):
    """A tagging rule was added."""

    rule: Annotated[TagRule, "TagRule as a map"]

    @property
    def subject(self) -> str:
        return self.rule.id


@event()
class TagRuleRemoved(Event):
    """A tagging rule was removed; the blob removes the tags that it gave."""

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
    """Files have a content that their parser has processed before. Its rows are live, so no job is needed."""

    parser: str
    on_change: Annotated[
        Literal["replace", "append"], "replace|append: whether the rows of earlier contents are superseded"
    ]
    as_of_seq: Annotated[int, "the position of the file index at that time"]
    contents: Annotated[tuple[FileContent, ...], "[[file id, content hash]…], up to 100"] = ()
    blob: Annotated[str, "msgpack {files: [[file id, content hash]…]}"] = ""
    files: Annotated[int, "count"]
